package meter

import (
	"fmt"
	"regexp"
	"sort"
	"strings"

	"p402.io/p402/internal/fault"
)

// Attribution is whom a call is charged to: dimension name -> the caller's own slug (PRODUCT §4), and free tags.
// An absent dimension is simply not in the map, is stored as null and shown as Unattributed.
type Attribution struct {
	Dimensions map[string]string
	Tags       map[string]string
}

// The dimensions, as keys of body metadata, columns of the ledger and names of filters.
const (
	DimWorkflow    = "workflow_id"
	DimCustomer    = "customer_id"
	DimFeature     = "feature_id"
	DimDepartment  = "department"
	DimEmployee    = "employee"
	DimProject     = "project_id"
	DimAgent       = "agent_id"
	DimTaskType    = "task_type"
	DimActionType  = "action_type"
	DimSession     = "session_id"
	DimTrace       = "trace_id"
	DimParentEvent = "parent_event_id"
)

// Dimensions is every dimension in display order.
func Dimensions() []string {
	return []string{DimWorkflow, DimCustomer, DimFeature, DimDepartment, DimEmployee, DimProject, DimAgent,
		DimTaskType, DimActionType, DimSession, DimTrace, DimParentEvent}
}

// OwnerKeys is every metadata key that names an owner, aliases included.
func OwnerKeys() []string { return append(Dimensions(), "department_id", "employee_id") }

// The limits of PRODUCT §4 and, for /v1 metadata, of OpenAI's API.
const (
	maxPairs    = 16
	maxKeyLen   = 64
	maxValueLen = 512
	maxTags     = 20
	maxTagValue = 128
)

var (
	slugForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}$`)
	tagForm  = regexp.MustCompile(`^[a-z0-9_.-]{1,40}$`)
)

// ErrMetadata is the code of every refusal of a caller's metadata.
const ErrMetadata fault.Code = "INVALID_METADATA"

func badMetadata(param, why string) *fault.Error {
	return fault.Field(fault.KindInvalid, ErrMetadata, param, why)
}

// Canonical is the dimension a metadata key means, with its aliases, or "" for a tag.
func Canonical(key string) string {
	switch key {
	case "department_id":
		return DimDepartment
	case "employee_id":
		return DimEmployee
	}
	for _, name := range Dimensions() {
		if key == name {
			return name
		}
	}
	return ""
}

// ParseMetadata reads /v1 body metadata: at most 16 pairs, keys to 64 and values to 512 characters, dimensions in
// their own form, everything else a tag. The refusal names the pair; values are never repeated in it.
func ParseMetadata(pairs map[string]string) (Attribution, error) {
	if len(pairs) > maxPairs {
		return Attribution{}, badMetadata("metadata", fmt.Sprintf("%d pairs; at most %d are allowed", len(pairs), maxPairs))
	}
	out := Attribution{Dimensions: map[string]string{}, Tags: map[string]string{}}
	for _, key := range sortedKeys(pairs) {
		value, param := pairs[key], "metadata."+clipKey(key)
		if n := len([]rune(key)); n == 0 || n > maxKeyLen {
			return Attribution{}, badMetadata(param, fmt.Sprintf("a key has 1 to %d characters", maxKeyLen))
		}
		if len([]rune(value)) > maxValueLen {
			return Attribution{}, badMetadata(param, fmt.Sprintf("the value has more than %d characters", maxValueLen))
		}
		if key == "model" || key == "vendor" {
			return Attribution{}, badMetadata(param, "is filled by p402 from what served the call")
		}
		if dim := Canonical(key); dim != "" {
			if err := out.set(dim, value, param); err != nil {
				return Attribution{}, err
			}
			continue
		}
		out.Tags[key] = value
	}
	return out, nil
}

// Set puts a dimension after checking its form; param is named in the refusal.
func (a *Attribution) set(dim, value, param string) error {
	if !slugForm.MatchString(value) {
		return badMetadata(param, "must be 1 to 128 of A-Z a-z 0-9 . _ : / - and begin with a letter or digit")
	}
	if have, ok := a.Dimensions[dim]; ok && have != value {
		return badMetadata(param, "names "+dim+" a second time with another value")
	}
	a.Dimensions[dim] = value
	return nil
}

// ParseDimensions reads values that came as headers; name gives the header's name for a refusal.
func ParseDimensions(values map[string]string, name func(dim string) string) (Attribution, error) {
	out := Attribution{Dimensions: map[string]string{}, Tags: map[string]string{}}
	for _, dim := range sortedKeys(values) {
		if err := out.set(dim, values[dim], name(dim)); err != nil {
			return Attribution{}, err
		}
	}
	return out, nil
}

// ParseTags reads "k=v,k=v"; param is the header's name.
func ParseTags(text, param string) (map[string]string, error) {
	tags := map[string]string{}
	if strings.TrimSpace(text) == "" {
		return tags, nil
	}
	for _, pair := range strings.Split(text, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
		if !ok || !tagForm.MatchString(key) || len([]rune(value)) > maxTagValue || value == "" {
			return nil, badMetadata(param, "must be k=v pairs; keys are 1 to 40 of a-z 0-9 _ . -, values 1 to 128 characters")
		}
		tags[key] = value
	}
	if len(tags) > maxTags {
		return nil, badMetadata(param, fmt.Sprintf("more than %d tags", maxTags))
	}
	return tags, nil
}

// Attribute merges the sources in their order of truth: body, then header, then the key's defaults (D15).
func Attribute(c Caller, body, header Attribution) (Attribution, error) {
	out := Attribution{Dimensions: map[string]string{}, Tags: map[string]string{}}
	for _, source := range []Attribution{c.Defaults, header, body} {
		for dim, value := range source.Dimensions {
			out.Dimensions[dim] = value
		}
		for key, value := range source.Tags {
			out.Tags[key] = value
		}
	}
	if c.Override == OverrideAllow || c.Override == "" {
		return out, nil
	}
	for _, source := range []Attribution{body, header} {
		for _, dim := range sortedKeys(source.Dimensions) {
			fixed, has := c.Defaults.Dimensions[dim]
			if source.Dimensions[dim] != fixed && (has || c.Override == OverrideDeny) {
				return Attribution{}, fault.Field(fault.KindDenied, "ATTRIBUTION_MISMATCH", dim, "this key does not let a caller set it")
			}
		}
	}
	for dim, value := range c.Defaults.Dimensions {
		out.Dimensions[dim] = value
	}
	return out, nil
}

// Get is a dimension's value, or "" when unattributed.
func (a Attribution) Get(dim string) string { return a.Dimensions[dim] }

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}

func clipKey(key string) string {
	if r := []rune(key); len(r) > maxKeyLen {
		return string(r[:maxKeyLen]) + "…"
	}
	return key
}
