package api

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/money"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

// filter reads a query. Every name must be known to the caller of filter or be a filter; every value must be sound.
func filter(c *gin.Context, caller meter.Caller, others ...string) (store.Filter, error) {
	f := store.Filter{TenantID: caller.TenantID, Livemode: &caller.Livemode, Equal: map[string][]string{}, Tags: map[string][]string{}}
	columns := store.FilterColumns()
	query, err := parseQuery(c)
	if err != nil {
		return f, err
	}
	for name, values := range query {
		var err error
		switch {
		case slices.Contains(others, name):
		case columns[name] != "":
			f.Equal[name] = values
			err = known(name, values)
		case strings.HasPrefix(name, "tag.") && len(name) > len("tag."):
			f.Tags[strings.TrimPrefix(name, "tag.")] = values
		default:
			err = other(&f, name, values)
		}
		if err != nil {
			return f, err
		}
	}
	if f.Since != nil && f.Until != nil && !f.Since.Before(*f.Until) {
		return f, invalid("until", "must be later than since")
	}
	return f, nil
}

// words is the closed vocabularies that a filter may name.
var words = map[string][]string{
	"outcome":        {"accepted", "revised", "escalated", "failed", "rejected", "pending_review", "unknown"},
	"cost_state":     {"reported", "priced", "estimated", "unpriced", "reconciled"},
	"receipt_status": {"none", "required", "pending", "settled", "failed", "reused"},
	"decision":       {"approved", "denied", "warned", "requires_review", "settlement_required", "settled", "receipt_reused", "cached", "optimized"},
}

func known(name string, values []string) error {
	for _, value := range values {
		if list := words[name]; list != nil && !slices.Contains(list, value) {
			return invalid(name, "must be one of "+strings.Join(list, ", "))
		}
	}
	return nil
}

// other reads the filters that are not plain columns.
func other(f *store.Filter, name string, values []string) error {
	last := values[len(values)-1]
	if len(values) > 1 && name != "unattributed" {
		return invalid(clip(name), "may be given only once")
	}
	switch name {
	case "since", "until":
		at, err := time.Parse(time.RFC3339Nano, last)
		if err != nil {
			return invalid(name, "must be an RFC 3339 time with its offset")
		}
		if name == "since" {
			f.Since = &at
		} else {
			f.Until = &at
		}
	case "min_cost_usd", "max_cost_usd":
		usd, err := money.ParseUSD(last)
		if err != nil || usd.Sign() < 0 {
			return invalid(name, "must be a decimal amount of US dollars")
		}
		if name == "min_cost_usd" {
			f.MinCost = &usd
		} else {
			f.MaxCost = &usd
		}
	case "unattributed":
		for _, dim := range values {
			if !slices.Contains(meter.Dimensions(), dim) {
				return invalid(name, "must be a dimension such as customer_id")
			}
		}
		f.Unattributed = values
	case "retry":
		if last != "true" && last != "false" {
			return invalid(name, "must be true or false")
		}
		retries := last == "true"
		f.Retry = &retries
	case "q":
		f.IDPrefix = last
	default:
		return fault.Field(fault.KindInvalid, "UNKNOWN_FILTER", clip(name), "is not a filter of this route")
	}
	return nil
}

// clip bounds a caller's name before it is shown again.
func clip(name string) string {
	if len(name) <= maxNameShown {
		return strings.ToValidUTF8(name, "?")
	}
	return strings.ToValidUTF8(name[:maxNameShown], "")
}

const maxNameShown = 64

// index is the path of a list's item.
func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
