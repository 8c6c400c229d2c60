package dashboard

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"

	"p402.io/p402/gateway"
	"p402.io/p402/internal/fault"
)

// buffer takes an answer that this process gives to itself.
type buffer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header is the answer's header.
func (b *buffer) Header() http.Header { return b.header }

// WriteHeader keeps the first status.
func (b *buffer) WriteHeader(status int) {
	if b.status == 0 {
		b.status = status
	}
}

// Write keeps the body.
func (b *buffer) Write(p []byte) (int, error) {
	b.WriteHeader(http.StatusOK)
	return b.body.Write(p)
}

// api asks a route of /api/v2 as the visitor: with the visitor's session and the ledger in view. So a form and a program meet
// the same checks, the same refusals and the same audit entry, and a role that may not is stopped in one place.
func (r *request) api(method, path string, body, into any) error {
	if body == nil {
		return r.send(method, path, "", nil, into)
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return r.send(method, path, "application/json", raw, into)
}

// send is api with a body that is ready, of a type of its own; raw nil is none.
func (r *request) send(method, path, kind string, raw []byte, into any) error {
	req, err := http.NewRequestWithContext(r.Request.Context(), method, "/api/v2"+path, bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("ask %s: %w", path, err)
	}
	req.Host, req.TLS, req.RemoteAddr = r.Request.Host, r.Request.TLS, r.Request.RemoteAddr
	if raw != nil {
		req.Header.Set("Content-Type", kind)
	}
	if cookie, err := r.Cookie(gateway.SessionCookie); err == nil {
		req.AddCookie(&http.Cookie{Name: gateway.SessionCookie, Value: cookie})
	}
	req.AddCookie(&http.Cookie{Name: gateway.ModeCookie, Value: r.view.Mode})
	req.Header.Set(gateway.HeaderCSRF, r.session.CSRF)
	out := &buffer{header: http.Header{}}
	r.s.engine.ServeHTTP(out, req)
	for _, cookie := range out.header.Values("Set-Cookie") {
		r.Writer.Header().Add("Set-Cookie", cookie)
	}
	if out.status >= 400 {
		return refusal(out)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(out.body.Bytes(), into); err != nil {
		return fmt.Errorf("read the answer of %s: %w", path, err)
	}
	return nil
}

// refusal is an API's error as the error it was.
func refusal(out *buffer) error {
	var doc struct {
		Error struct {
			Code    fault.Code `json:"code"`
			Message string     `json:"message"`
			Param   *string    `json:"param"`
		} `json:"error"`
	}
	kind := kindOf(out.status)
	if err := json.Unmarshal(out.body.Bytes(), &doc); err != nil || kind == fault.KindInternal {
		return fmt.Errorf("our own API answered %d: %.200s", out.status, out.body.Bytes())
	}
	e := &fault.Error{Kind: kind, Code: doc.Error.Code, Message: doc.Error.Message}
	if doc.Error.Param != nil {
		e.Param = *doc.Error.Param
	}
	return e
}

func kindOf(status int) fault.Kind {
	for _, kind := range []fault.Kind{fault.KindInvalid, fault.KindImpossible, fault.KindUnauthenticated, fault.KindDenied, fault.KindNotFound, fault.KindConflict,
		fault.KindRateLimited, fault.KindTooLarge, fault.KindUnavailable} {
		if gateway.Status(kind) == status {
			return kind
		}
	}
	return fault.KindInternal
}

// kindIsNotFound tells what is not there from what failed.
func kindIsNotFound(err error) bool { return fault.KindOf(err) == fault.KindNotFound }
