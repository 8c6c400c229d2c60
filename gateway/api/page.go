package api

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

// Page sizes of PRODUCT §1.
const (
	defaultLimit = 50
	maxLimit     = 200
)

// limit reads a page's size: 1 to 200, 50 when absent.
func limit(c *gin.Context) (int, error) {
	text := c.Query("limit")
	if text == "" {
		return defaultLimit, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxLimit || text[0] == '+' {
		return 0, invalid("limit", "must be a whole number from 1 to 200")
	}
	return n, nil
}

// page is what a list route was asked for.
type page struct {
	limit int
	after *store.Position // nil = from the start
}

// lastID is the id of the last row seen, or "".
func (p page) lastID() string {
	if p.after == nil {
		return ""
	}
	return string(p.after.ID)
}

func (s *Surface) page(c *gin.Context, caller meter.Caller) (page, error) {
	size, err := limit(c)
	if err != nil {
		return page{}, err
	}
	after, err := s.openCursor(c, caller)
	return page{size, after}, err
}

// list encodes one page of rows that were read one beyond the limit. place says where a row stands.
func list[T any](s *Surface, c *gin.Context, caller meter.Caller, p page, rows []T, show func(T) any, place func(T) store.Position) (gin.H, error) {
	more := len(rows) > p.limit
	if more {
		rows = rows[:p.limit]
	}
	data := make([]any, 0, len(rows))
	for _, row := range rows {
		data = append(data, show(row))
	}
	out := gin.H{"object": "list", "data": data, "has_more": more, "next_cursor": nil}
	if !more {
		return out, nil
	}
	cursor, err := s.cursor(c, caller, place(rows[len(rows)-1]))
	out["next_cursor"] = cursor
	return out, err
}

// byID is the place of a row in a list that is ordered by id alone.
func byID(text string) store.Position { return store.Position{ID: id.Event(text)} }

// rest drops what a page before has shown. rows are few, whole and in order; before says whether a row stands at or
// before the last one seen.
func rest[T any](p page, rows []T, before func(row T, last string) bool) []T {
	last := p.lastID()
	for last != "" && len(rows) > 0 && before(rows[0], last) {
		rows = rows[1:]
	}
	return rows[:min(len(rows), p.limit+1)]
}

// cursor is a signed position, bound to tenant, route and query: another tenant's, route's or filter's is refused.
func (s *Surface) cursor(c *gin.Context, caller meter.Caller, p store.Position) (string, error) {
	raw, err := json.Marshal(p)
	if err != nil {
		return "", err
	}
	body := base64.RawURLEncoding.EncodeToString(raw)
	return body + "." + base64.RawURLEncoding.EncodeToString(s.mac(c, caller, body)), nil
}

func (s *Surface) mac(c *gin.Context, caller meter.Caller, body string) []byte {
	query := url.Values{}
	for name, values := range c.Request.URL.Query() {
		if name != "cursor" && name != "limit" {
			query[name] = values
		}
	}
	h := hmac.New(sha256.New, s.CursorKey)
	h.Write([]byte(strings.Join([]string{string(caller.TenantID), strconv.FormatBool(caller.Livemode), c.FullPath(), c.Param("id"), query.Encode(), body}, "\n")))
	return h.Sum(nil)
}

func (s *Surface) openCursor(c *gin.Context, caller meter.Caller) (*store.Position, error) {
	text := c.Query("cursor")
	if text == "" {
		return nil, nil
	}
	bad := fault.Field(fault.KindInvalid, "INVALID_CURSOR", "cursor", "is not a cursor of this query")
	body, tag, ok := strings.Cut(text, ".")
	given, err := base64.RawURLEncoding.Strict().DecodeString(tag)
	if !ok || err != nil || !hmac.Equal(given, s.mac(c, caller, body)) {
		return nil, bad
	}
	raw, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil {
		return nil, bad
	}
	var p store.Position
	if json.Unmarshal(raw, &p) != nil {
		return nil, bad
	}
	return &p, nil
}
