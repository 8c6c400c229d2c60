package dashboard

import (
	"net/http"
	"strings"
	"time"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
	"p402.io/p402/meter"
)

var errMissing = fault.New(fault.KindNotFound, "NOT_FOUND", "there is no such object")

const listSize = 50

func (s *Surface) keys(r *request) error {
	rows, err := s.Store.KeysPage(r.Request.Context(), r.session.TenantID, id.Key(r.Query("after")), listSize+1)
	if err != nil {
		return err
	}
	g := grid{Title: "Keys", Heads: heads("Name", "Key", "Ledger", "May", "Fixed owners", "Created", "Ends", ""), Empty: "No key yet. A key says who calls; make one for each program."}
	p := gridPage{Heading: "Keys", Lead: "A key is shown once, when it is made; only its hash is kept. A revoked key stops within five seconds, everywhere."}
	if len(rows) > listSize {
		rows = rows[:listSize]
		p.Next = "/app/keys?after=" + string(rows[listSize-1].ID)
	}
	for _, k := range rows {
		ledger, ends := badge("test", "warn"), text("never")
		if k.Livemode {
			ledger = badge("live", "good")
		}
		if k.ExpiresAt != nil {
			ends = text(k.ExpiresAt.UTC().Format("2 Jan 2006 15:04"))
		}
		var owners, may []string
		for name, value := range k.Defaults {
			owners = append(owners, name+"="+value)
		}
		for _, scope := range k.Scopes {
			may = append(may, string(scope))
		}
		scopes := cell{Text: strings.Join(may, ", ")}
		if len(may) == len(meter.AllScopes()) {
			scopes = cell{Text: "everything", Title: strings.Join(may, ", ")}
		}
		row := []cell{{Text: k.Name, Title: string(k.ID), Link: "/app/events?mode=" + modeWord(k.Livemode) + "&window=all&key_id=" + string(k.ID)}, {Text: k.Prefix + "…"}, ledger, scopes, text(strings.Join(owners, ", ")),
			text(k.CreatedAt.UTC().Format("2 Jan 2006")), ends, text("")}
		switch {
		case k.RevokedAt != nil:
			row[7] = badge("revoked "+k.RevokedAt.UTC().Format("2 Jan 2006"), "bad")
		case r.may(meter.ScopeKeysWrite):
			row[7] = cell{Form: &form{Action: "/app/keys/" + string(k.ID) + "/revoke", Label: "Revoke", Confirm: "Revoke the key " + k.Name + "? Every program that uses it stops. This cannot be undone.", Class: "danger"}}
		}
		g.Rows = append(g.Rows, row)
	}
	p.Grids = []section{{Grid: g}}
	if r.may(meter.ScopeKeysWrite) {
		p.Actions = []tab{{Label: "New key", Link: "/app/keys/new"}}
	}
	return r.show("Keys", "grids.html", false, p)
}

func modeWord(live bool) string {
	if live {
		return modeLive
	}
	return modeTest
}

// keyFields is the form's pickers.
type keyFields struct {
	Scopes []meter.Scope
	Mode   string
}

func (s *Surface) newKey(r *request) formPage {
	var mine []meter.Scope
	for _, scope := range meter.AllScopes() {
		if r.may(scope) {
			mine = append(mine, scope)
		}
	}
	return formPage{Heading: "New " + r.view.Mode + " key", Data: keyFields{mine, r.view.Mode}}
}

func (s *Surface) keyForm(r *request) error {
	p := s.newKey(r)
	p.Chosen = map[string][]string{"scopes": {"infer", "meter:read", "meter:write", "outcome:write"}}
	return r.show("New key", "key_form.html", false, p)
}

// createKey shows the key in this one answer. It is not redirected anywhere: nothing keeps the key for a second look.
func (s *Surface) createKey(r *request) error {
	values, chosen := r.typed()
	defaults := map[string]string{}
	for _, dim := range []string{meter.DimWorkflow, meter.DimDepartment, meter.DimProject} {
		if values[dim] != "" {
			defaults[dim] = values[dim]
		}
	}
	body := map[string]any{"name": values["name"], "scopes": chosen["scopes"], "defaults": defaults, "allowed_models": lines(values["allowed_models"])}
	set(body, "header_override_policy", values["override"])
	if values["expires"] != "" {
		day, err := time.Parse(dayForm, values["expires"])
		if err == nil {
			body["expires_at"] = day.Format(time.RFC3339)
		} else {
			body["expires_at"] = values["expires"]
		}
	}
	var made struct{ Key string }
	if err := r.api(http.MethodPost, "/keys", body, &made); err != nil {
		p := s.newKey(r)
		p.Values, p.Chosen = values, chosen
		return r.refused(err, "New key", "key_form.html", p)
	}
	p, err := s.startPage(r)
	if err != nil {
		return err
	}
	p.Key = made.Key
	return r.show("Your new key", "start.html", false, p)
}

func (s *Surface) revokeKey(r *request) error {
	if err := r.api(http.MethodDelete, "/keys/"+r.Param("id"), nil, nil); err != nil {
		return err
	}
	return r.done("/app/keys")
}
