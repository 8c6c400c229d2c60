package api

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

const (
	// maxName bounds the names people give to things; a page still shows it on one line.
	maxName = 200
	// maxModels and maxModelName bound a list of models.
	maxModels    = 200
	maxModelName = 256
)

type keyBody struct {
	Name          string            `json:"name"`
	Livemode      *bool             `json:"livemode"`
	Scopes        []meter.Scope     `json:"scopes"`
	Override      meter.Override    `json:"header_override_policy"`
	Defaults      map[string]string `json:"defaults"`
	AllowedModels []string          `json:"allowed_models"`
	ExpiresAt     *time.Time        `json:"expires_at"`
}

// createKey makes a key that may do no more than the one that asks: scopes, models, attribution, life and ledger are all
// bounded by it. The key stands in this answer and nowhere else, ever.
func (s *Surface) createKey(c *gin.Context, caller meter.Caller) (int, any, error) {
	var b keyBody
	if err := decode(c, &b); err != nil {
		return 0, nil, err
	}
	var parent store.KeyInfo // a signed-in person is bounded by the role alone
	if caller.KeyID != "" {
		var err error
		if parent, err = s.Store.Key(c.Request.Context(), caller.TenantID, caller.KeyID); err != nil {
			return 0, nil, err
		}
	}
	k, err := b.key(caller, parent, s.Now())
	if err != nil {
		return 0, nil, err
	}
	plain, info, err := s.Store.CreateKey(c.Request.Context(), k)
	return http.StatusCreated, gin.H{"object": "key", "key": plain, "info": info}, err
}

// wider refuses what would let a key make a key that may do more than itself.
func wider(param string) error {
	return fault.Field(fault.KindDenied, "KEY_WIDENING_DENIED", param, "would let the new key do more than the key that makes it")
}

func (b keyBody) key(caller meter.Caller, parent store.KeyInfo, now time.Time) (store.NewKey, error) {
	k := store.NewKey{TenantID: caller.TenantID, Name: b.Name, Livemode: caller.Livemode, Scopes: b.Scopes, Override: b.Override,
		AllowedModels: b.AllowedModels, ExpiresAt: b.ExpiresAt}
	var err error
	switch {
	case strings.TrimSpace(b.Name) == "" || len(b.Name) > maxName || !printable(b.Name):
		return k, invalid("name", "must have 1 to 200 bytes and no control characters")
	case b.Livemode != nil && *b.Livemode != caller.Livemode:
		return k, fault.Field(fault.KindDenied, "KEY_WIDENING_DENIED", "livemode", "must be that of the key that makes it: test and live ledgers are kept apart")
	case len(b.Scopes) == 0:
		return k, invalid("scopes", "must name at least one scope")
	case b.ExpiresAt != nil && !b.ExpiresAt.After(now):
		return k, invalid("expires_at", "lies in the past")
	case parent.ExpiresAt != nil && (b.ExpiresAt == nil || b.ExpiresAt.After(*parent.ExpiresAt)):
		return k, wider("expires_at")
	}
	for i, scope := range b.Scopes {
		switch {
		case !slices.Contains(meter.AllScopes(), scope):
			return k, invalid(index("scopes", i), "is not a scope")
		case !caller.May(scope):
			return k, fault.Field(fault.KindDenied, "SCOPE_MISSING", index("scopes", i), "a key cannot make a key that may do more than itself")
		}
	}
	if k.AllowedModels, err = narrower(caller.AllowedModels, b.AllowedModels); err != nil {
		return k, err
	}
	if k.Defaults, err = meter.ParseMetadata(b.Defaults); err != nil {
		return k, renamed(err, "metadata", "defaults")
	}
	if k.Override, err = noLooser(caller, b.Override, k.Defaults); err != nil {
		return k, err
	}
	return k, nil
}

// renamed names the field as this body calls it.
func renamed(err error, from, to string) error {
	f, ok := fault.As(err)
	if !ok {
		return err
	}
	named := *f
	named.Param = to + strings.TrimPrefix(f.Param, from)
	return &named
}

// narrower is the models of a new key: the maker's own when none are asked for, and never one beyond them.
func narrower(own, asked []string) ([]string, error) {
	if err := checkModels("allowed_models", asked); err != nil {
		return nil, err
	}
	if len(asked) == 0 {
		return own, nil
	}
	for i, model := range asked {
		if len(own) > 0 && !slices.Contains(own, model) && (strings.HasSuffix(model, "*") || !meter.AllowsModel(own, model)) {
			return nil, wider(index("allowed_models", i))
		}
	}
	return asked, nil
}

func checkModels(param string, models []string) error {
	if len(models) > maxModels {
		return invalid(param, "has more than 200 models")
	}
	for i, model := range models {
		if model == "" || len(model) > maxModelName || !printable(model) || strings.Contains(strings.TrimSuffix(model, "*"), "*") {
			return invalid(index(param, i), "must be a model's name, or a prefix that ends in *")
		}
	}
	return nil
}

// strictness orders the override policies: the tighter, the higher.
var strictness = map[meter.Override]int{meter.OverrideAllow: 0, meter.OverrideRestricted: 1, meter.OverrideDeny: 2}

// noLooser is the override policy of a new key. A maker whose own owners are fixed hands them on unchanged.
func noLooser(caller meter.Caller, asked meter.Override, defaults meter.Attribution) (meter.Override, error) {
	own := caller.Override
	if own == "" {
		own = meter.OverrideAllow
	}
	if asked == "" {
		asked = own
	}
	want, known := strictness[asked]
	switch {
	case !known:
		return "", invalid("header_override_policy", "must be allow, restricted or deny")
	case want < strictness[own]:
		return "", wider("header_override_policy")
	case own == meter.OverrideAllow:
		return asked, nil
	}
	for _, dim := range meter.Dimensions() {
		if fixed := caller.Defaults.Get(dim); fixed != "" && defaults.Get(dim) != fixed {
			return "", wider("defaults." + dim)
		}
	}
	return asked, nil
}

func (s *Surface) listKeys(c *gin.Context, caller meter.Caller) (int, any, error) {
	p, err := s.page(c, caller)
	if err != nil {
		return 0, nil, err
	}
	rows, err := s.Store.KeysPage(c.Request.Context(), caller.TenantID, id.Key(p.lastID()), p.limit+1)
	if err != nil {
		return 0, nil, err
	}
	out, err := list(s, c, caller, p, rows, func(k store.KeyInfo) any { return k }, func(k store.KeyInfo) store.Position { return byID(string(k.ID)) })
	return http.StatusOK, out, err
}

func (s *Surface) oneKey(c *gin.Context, caller meter.Caller) (int, any, error) {
	k, err := s.Store.Key(c.Request.Context(), caller.TenantID, id.Key(c.Param("id")))
	return http.StatusOK, k, err
}

func (s *Surface) revokeKey(c *gin.Context, caller meter.Caller) (int, any, error) {
	err := s.Store.RevokeKey(c.Request.Context(), caller.TenantID, id.Key(c.Param("id")))
	s.Auth.Forget()
	return http.StatusOK, gin.H{"ok": true}, err
}
