package dashboard

import (
	"net/http"
	"slices"
	"strings"

	"p402.io/p402/internal/fault"
)

// formPage is one form with what was typed, so that a refusal costs nobody their text. Template decides the fields.
type formPage struct {
	Heading, Lead string
	Refusal       string
	Param         string // the field at fault
	Values        map[string]string
	Chosen        map[string][]string
	Data          any
}

// Is reports whether a value of a field was chosen.
func (p formPage) Is(field, value string) bool {
	return slices.Contains(p.Chosen[field], value) || p.Values[field] == value
}

// Selected is for a picker: its mark when the value was chosen.
func (p formPage) Selected(field, value string) bool { return p.Values[field] == value }

// typed is what a form holds, but for secrets.
func (r *request) typed() (map[string]string, map[string][]string) {
	values, chosen := map[string]string{}, map[string][]string{}
	if err := r.Request.ParseForm(); err != nil {
		return values, chosen
	}
	for name, list := range r.Request.PostForm {
		if name == "csrf" || strings.Contains(name, "password") || name == "code" || len(list) == 0 {
			continue
		}
		values[name], chosen[name] = strings.TrimSpace(list[0]), list
	}
	return values, chosen
}

// refused shows the form again with why, when err is a refusal that the visitor can mend; other errors are the page's.
func (r *request) refused(err error, title, template string, p formPage) error {
	if err := p.explain(err); err != nil {
		return err
	}
	r.s.render(r.Context, http.StatusUnprocessableEntity, r.page(title, template, false, p))
	return nil
}

// explain puts a refusal in words; an error that the visitor cannot mend comes back.
func (p *formPage) explain(err error) error {
	refusal, ok := fault.As(err)
	if !ok || refusal.Kind == fault.KindInternal || refusal.Kind == fault.KindUnavailable {
		return err
	}
	p.Refusal, p.Param = refusal.Message, refusal.Param
	if refusal.Param != "" && !strings.HasPrefix(refusal.Message, refusal.Param+":") {
		p.Refusal = refusal.Param + ": " + refusal.Message
	}
	return nil
}

// done sends the visitor to the page that shows what was changed, so that reloading it changes nothing again.
func (r *request) done(to string) error {
	r.Redirect(http.StatusSeeOther, to)
	return nil
}

// set keeps what was filled in: an empty field is not sent.
func set(body map[string]any, name, value string) {
	if value != "" {
		body[name] = value
	}
}

// lines splits a list that was typed one a line or with commas.
func lines(text string) []string {
	return slices.DeleteFunc(strings.FieldsFunc(text, func(c rune) bool { return c == '\n' || c == '\r' || c == ',' || c == ' ' }), func(s string) bool { return s == "" })
}
