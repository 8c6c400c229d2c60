package dashboard

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"p402.io/p402/gateway"
	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

// The two ledgers.
const (
	modeLive = "live"
	modeTest = "test"
)

// The windows of time that a page may be asked for.
const (
	windowToday  = "today"
	window7      = "7d"
	window30     = "30d"
	windowMonth  = "month"
	windowAll    = "all"
	windowCustom = "custom"
)

const dayForm = "2006-01-02"

// view is what a page is asked to show: ledger, window and filters. It is read from the URL and written into every link, so
// that a page can be sent to somebody who then sees the same.
type view struct {
	Path         string
	Mode         string
	Window       string
	SinceDay     string // of a custom window, first day
	UntilDay     string // last day, inclusive
	Since, Until *time.Time
	kept         url.Values // canonical: what stands in links; no paging
	equal        map[string][]string
	unattributed []string
	retry        *bool
	prefix       string
	tenant       store.Session
}

// filterNames is every column that the bar filters by, in its order; the rest of the store's columns work in the URL too.
func filterNames() []string {
	return []string{meter.DimWorkflow, meter.DimCustomer, meter.DimFeature, meter.DimDepartment, meter.DimEmployee, meter.DimProject, meter.DimAgent,
		"model_used", "provider", "decision", "outcome", "receipt_status", "cost_state"}
}

func badParameter(name, why string) error {
	return fault.Field(fault.KindInvalid, "INVALID_INPUT", clip(name), why)
}

// clip bounds what a caller wrote before it is shown again.
func clip(text string) string {
	text = strings.ToValidUTF8(text, "?")
	if r := []rune(text); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return text
}

// maxFilterValue bounds one value; the longest slug has 128 bytes, a model's name 256.
const maxFilterValue = 256

// readView reads the query strictly: an unknown name or a bad value is refused, not ignored.
func (s *Surface) readView(r *request) (view, error) {
	v := view{Path: r.Request.URL.Path, Mode: s.modeOf(r), Window: window30, kept: url.Values{}, equal: map[string][]string{}, tenant: r.session}
	query := r.Request.URL.Query()
	columns := store.FilterColumns()
	for name, values := range query {
		value := values[0]
		if len(value) > maxFilterValue || strings.ContainsFunc(value, func(c rune) bool { return c < ' ' || c == '�' }) {
			return v, badParameter(name, "is too long, or holds characters that no id has")
		}
		if value == "" || slices.Contains(r.route.params, name) {
			continue // an empty field of a form is no filter
		}
		switch {
		case name == "format":
			if value != "csv" {
				return v, badParameter(name, "must be csv")
			}
			continue
		case name == "mode":
			if value != modeLive && value != modeTest {
				return v, badParameter(name, "must be live or test")
			}
		case name == "window", name == "since", name == "until":
		case name == "unattributed":
			if !slices.Contains(meter.Dimensions(), value) {
				return v, badParameter(name, "is not a dimension")
			}
			v.unattributed = append(v.unattributed, value)
		case name == "retry":
			if value != "1" {
				return v, badParameter(name, "must be 1")
			}
			yes := true
			v.retry = &yes
		case name == "q":
			v.prefix = value
		case columns[name] != "":
			v.equal[name] = values
		default:
			return v, badParameter(name, "is not a filter of this page")
		}
		v.kept[name] = values
	}
	return v, v.readWindow(query, s.Now())
}

func (s *Surface) modeOf(r *request) string {
	if mode := r.Query("mode"); mode == modeLive || mode == modeTest {
		return mode
	}
	if mode, err := r.Cookie(gateway.ModeCookie); err == nil && (mode == modeLive || mode == modeTest) {
		return mode
	}
	if r.session.HasLive {
		return modeLive
	}
	return modeTest
}

// readWindow turns the window into a half-open span of UTC days.
func (v *view) readWindow(query url.Values, now time.Time) error {
	if text := query.Get("window"); text != "" {
		v.Window = text
	}
	today := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, time.UTC)
	end := today.AddDate(0, 0, 1)
	begin := today
	switch v.Window {
	case windowToday:
	case window7:
		begin = today.AddDate(0, 0, -6)
	case window30:
		begin = today.AddDate(0, 0, -29)
	case windowMonth:
		begin = time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	case windowAll:
		return nil
	case windowCustom:
		var err error
		v.SinceDay, v.UntilDay = query.Get("since"), query.Get("until")
		if begin, err = time.Parse(dayForm, v.SinceDay); err != nil {
			return badParameter("since", "must be a day such as 2026-01-31")
		}
		if end, err = time.Parse(dayForm, v.UntilDay); err != nil || end.Before(begin) {
			return badParameter("until", "must be a day such as 2026-01-31, not before since")
		}
		end = end.AddDate(0, 0, 1)
	default:
		return badParameter("window", "must be today, 7d, 30d, month, all or custom")
	}
	v.Since, v.Until = &begin, &end
	return nil
}

// filter is the view as the store's selection.
func (v view) filter() store.Filter {
	live := v.Mode == modeLive
	return store.Filter{TenantID: v.tenant.TenantID, Livemode: &live, Since: v.Since, Until: v.Until, Equal: v.equal, Unattributed: v.unattributed,
		Retry: v.retry, IDPrefix: v.prefix}
}

// before is the same selection in the span of the same length right before; ok is false for an unbounded window.
func (v view) before() (f store.Filter, ok bool) {
	f = v.filter()
	if v.Since == nil {
		return f, false
	}
	since := v.Since.Add(-v.Until.Sub(*v.Since))
	f.Until, f.Since = v.Since, &since
	return f, true
}

// On is the address of a page under this view, with pairs changed; an empty value takes a name out.
func (v view) On(path string, pairs ...string) string {
	q := url.Values{}
	for name, values := range v.kept {
		q[name] = values
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			q.Del(pairs[i])
			continue
		}
		q.Set(pairs[i], pairs[i+1])
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

// With is On this page.
func (v view) With(pairs ...string) string { return v.On(v.Path, pairs...) }

// Value is what a filter is set to, or "".
func (v view) Value(name string) string { return v.kept.Get(name) }

// Testing reports whether the test ledger is shown.
func (v view) Testing() bool { return v.Mode == modeTest }

// chip is one filter in force, with the address that is without it.
type chip struct{ Name, Value, Without string }

// Chips is every filter in force but the window and the mode.
func (v view) Chips() []chip {
	var out []chip
	names := make([]string, 0, len(v.kept))
	for name := range v.kept {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		switch name {
		case "mode", "window", "since", "until":
			continue
		}
		out = append(out, chip{label(name), strings.Join(v.kept[name], " or "), v.With(name, "")})
	}
	return out
}

// choice is one option of a picker.
type choice struct {
	Value, Label string
	On           bool
}

// Windows is the window picker.
func (v view) Windows() []choice {
	out := []choice{{Value: windowToday, Label: "Today"}, {Value: window7, Label: "7 days"}, {Value: window30, Label: "30 days"}, {Value: windowMonth, Label: "This month"},
		{Value: windowAll, Label: "All time"}, {Value: windowCustom, Label: "Custom"}}
	for i := range out {
		out[i].On = out[i].Value == v.Window
	}
	return out
}

// Fields is the bar's other filters.
func (v view) Fields() []choice {
	var out []choice
	for _, name := range filterNames() {
		out = append(out, choice{Value: name, Label: label(name), On: v.kept.Get(name) != ""})
	}
	return out
}

// Span says the window in words.
func (v view) Span() string {
	if v.Since == nil {
		return "all time"
	}
	last := v.Until.Add(-time.Second)
	if v.Since.Format(dayForm) == last.Format(dayForm) {
		return v.Since.Format("2 Jan 2006") + " UTC"
	}
	return v.Since.Format("2 Jan") + " – " + last.Format("2 Jan 2006") + " UTC"
}

// label is a column's name for people.
func label(name string) string {
	switch name {
	case "model_used":
		return "Model"
	case "deny_code":
		return "Deny code"
	case "receipt_status":
		return "Receipt"
	case "cost_state":
		return "Cost state"
	case "key_id":
		return "Key"
	case "q":
		return "Id begins with"
	case "unattributed":
		return "Unattributed"
	}
	name = strings.ReplaceAll(strings.TrimSuffix(name, "_id"), "_", " ")
	return strings.ToUpper(name[:1]) + name[1:]
}
