package dashboard

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"p402.io/p402/internal/credential"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

// membersPage is the people, and the link of one who was invited a moment ago.
type membersPage struct {
	Members []store.Member
	Roles   []meter.Role
	Owner   bool   // the visitor may make owners
	Link    string // shown in this one answer
	For     string
	Refusal string
	Values  map[string]string
	Next    string
}

func (s *Surface) members(r *request) error { return s.showMembers(r, membersPage{}, nil) }

func (s *Surface) showMembers(r *request, p membersPage, refusal error) error {
	rows, err := s.Store.Members(r.Request.Context(), r.session.TenantID, id.Member(r.Query("after")), listSize+1)
	if err != nil {
		return err
	}
	if len(rows) > listSize {
		rows = rows[:listSize]
		p.Next = "/app/members?after=" + string(rows[listSize-1].ID)
	}
	p.Members, p.Roles, p.Owner = rows, meter.Roles(), r.session.Role == meter.RoleOwner
	if !p.Owner {
		p.Roles = p.Roles[1:]
	}
	status := http.StatusOK
	if refusal != nil {
		why := formPage{}
		if err := why.explain(refusal); err != nil {
			return err
		}
		p.Refusal, status = why.Refusal, http.StatusUnprocessableEntity
	}
	r.s.render(r.Context, status, r.page("Members", "members.html", false, p))
	return nil
}

// invitation is the API's answer to an invitation.
type invitation struct {
	Member struct {
		Email string `json:"email"`
	} `json:"member"`
	Path string `json:"sign_in_path"`
}

func (s *Surface) invite(r *request) error {
	values, _ := r.typed()
	var made invitation
	if err := r.api(http.MethodPost, "/members", map[string]any{"email": values["email"], "name": values["name"], "role": values["role"]}, &made); err != nil {
		return s.showMembers(r, membersPage{Values: values}, err)
	}
	return s.showMembers(r, membersPage{Link: baseURL(r.Context) + made.Path, For: made.Member.Email}, nil)
}

// memberChange is role, removal or a fresh link: one form a row, told apart by its button.
func (s *Surface) memberChange(r *request) error {
	path := "/members/" + r.Param("id")
	var err error
	switch r.PostForm("do") {
	case "role":
		err = r.api(http.MethodPatch, path, map[string]any{"role": r.PostForm("role")}, nil)
	case "remove":
		err = r.api(http.MethodDelete, path, nil, nil)
	case "link":
		var made invitation
		if err = r.api(http.MethodPost, path+"/link", nil, &made); err == nil {
			return s.showMembers(r, membersPage{Link: baseURL(r.Context) + made.Path, For: made.Member.Email}, nil)
		}
	default:
		err = badParameter("do", "must be role, remove or link")
	}
	if err != nil {
		return s.showMembers(r, membersPage{}, err)
	}
	return r.done("/app/members")
}

// auditPage is the log with each entry's difference.
type auditPage struct {
	Entries []auditLine
	Kinds   []choice
	Next    string
	First   string
}

type auditLine struct {
	store.AuditEntry
	Changes []difference
}

// difference is one field of a thing, before and after.
type difference struct{ Name, Before, After string }

func (s *Surface) audit(r *request) error {
	f := store.AuditFilter{ObjectType: r.Query("object_type"), ObjectID: r.Query("object_id"), Actor: r.Query("actor")}
	if text := r.Query("before"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n <= 0 {
			return badParameter("before", "is not a place in this list")
		}
		f.Before = n
	}
	rows, err := s.Store.Audit(r.Request.Context(), r.session.TenantID, f, listSize+1)
	if err != nil {
		return err
	}
	var p auditPage
	if f != (store.AuditFilter{}) {
		p.First = "/app/audit"
	}
	if len(rows) > listSize {
		rows = rows[:listSize]
		p.Next = r.view.With("object_type", f.ObjectType, "object_id", f.ObjectID, "actor", f.Actor, "before", strconv.FormatInt(rows[listSize-1].ID, 10))
	}
	for _, e := range rows {
		p.Entries = append(p.Entries, auditLine{e, differences(e.Before, e.After)})
	}
	for _, kind := range []string{"", "key", "budget", "policy", "workflow", "price", "member", "session"} {
		p.Kinds = append(p.Kinds, choice{Value: kind, Label: kind, On: kind == f.ObjectType})
	}
	return r.show("Audit log", "audit.html", false, p)
}

// differences is what changed, by field; everything that was set for a new thing.
func differences(before, after json.RawMessage) []difference {
	var was, is map[string]any
	if json.Unmarshal(before, &was) != nil || json.Unmarshal(after, &is) != nil {
		return nil
	}
	names := map[string]bool{}
	for name := range was {
		names[name] = true
	}
	for name := range is {
		names[name] = true
	}
	var out []difference
	for _, name := range slices.Sorted(maps.Keys(names)) {
		a, b := shown(was[name]), shown(is[name])
		if a != b && name != "id" && name != "tenant_id" {
			out = append(out, difference{name, a, b})
		}
	}
	return out
}

// shown is a value as text; absent is empty.
func shown(v any) string {
	if v == nil {
		return ""
	}
	if s, ok := v.(string); ok {
		return s
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(raw)
}

// accountPage is the visitor's own way in.
type accountPage struct {
	Session     store.Session
	Member      *store.Member // nil for the set-up link
	Permissions string
	Refusal     string
	Saved       string
	Values      map[string]string
	TOTP        *newFactor
}

// newFactor is a second factor that waits for its first code.
type newFactor struct {
	Secret string `json:"secret"`
	URL    string `json:"url"`
	Ticket string `json:"ticket"`
	Side   int    `json:"-"` // of the picture, in squares
	Path   string `json:"-"` // its dark squares, as one path
}

func (s *Surface) account(r *request) error { return s.showAccount(r, accountPage{}, nil) }

func (s *Surface) showAccount(r *request, p accountPage, refusal error) error {
	p.Session = r.session
	var may []string
	for _, scope := range r.session.Role.Scopes() {
		may = append(may, string(scope))
	}
	p.Permissions = strings.Join(may, ", ")
	if !r.session.SetUp() {
		m, err := s.Store.Member(r.Request.Context(), r.session.TenantID, r.session.MemberID)
		if err != nil {
			return err
		}
		p.Member = &m
	}
	if word := r.Query("saved"); word != "" && refusal == nil {
		p.Saved = map[string]string{"password": "Your password is set. Your other browsers are signed out.", "on": "The second factor is on: the next sign-in asks for a code.", "off": "The second factor is off.", "you": "You are the owner now. Sign in with your address and password from now on."}[word]
	}
	status := http.StatusOK
	if refusal != nil {
		why := formPage{}
		if err := why.explain(refusal); err != nil {
			return err
		}
		p.Refusal, status = why.Refusal, http.StatusUnprocessableEntity
	}
	r.s.render(r.Context, status, r.page("Your account", "account.html", false, p))
	return nil
}

func (s *Surface) accountChange(r *request) error {
	values, _ := r.typed()
	password := r.PostForm("password")
	var err error
	saved := ""
	switch values["do"] {
	case "adopt":
		saved = "you"
		if password != r.PostForm("password_again") {
			err = badParameter("password", "the two differ")
			break
		}
		err = r.api(http.MethodPost, "/me/adopt", map[string]any{"email": values["email"], "name": values["name"], "password": password}, nil)
	case "password":
		saved = "password"
		if password != r.PostForm("password_again") {
			err = badParameter("password", "the two differ")
			break
		}
		err = r.api(http.MethodPost, "/me/password", map[string]any{"current_password": r.PostForm("current_password"), "password": password}, nil)
	case "totp":
		var f newFactor
		if err = r.api(http.MethodPost, "/me/totp", nil, &f); err == nil {
			return s.showFactor(r, f, nil)
		}
	case "confirm":
		saved = "on"
		if err = r.api(http.MethodPut, "/me/totp", map[string]any{"ticket": values["ticket"], "code": r.PostForm("code"), "password": password}, nil); err != nil {
			return s.showFactor(r, newFactor{Ticket: values["ticket"], Secret: values["secret"], URL: values["url"]}, err)
		}
	case "off":
		saved = "off"
		err = r.api(http.MethodDelete, "/me/totp", map[string]any{"password": password}, nil)
	default:
		err = badParameter("do", "is not something this page does")
	}
	if err != nil {
		return s.showAccount(r, accountPage{Values: values}, err)
	}
	return r.done("/app/account?saved=" + saved)
}

// showFactor draws the secret for a phone's camera: one path of squares, no picture from anywhere.
func (s *Surface) showFactor(r *request, f newFactor, refusal error) error {
	squares, err := credential.QR(f.URL)
	if err != nil {
		return err
	}
	var path strings.Builder
	for y, row := range squares {
		for x, dark := range row {
			if dark {
				fmt.Fprintf(&path, "M%d %dh1v1h-1z", x, y)
			}
		}
	}
	f.Side, f.Path = len(squares), path.String()
	return s.showAccount(r, accountPage{TOTP: &f}, refusal)
}
