package api

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/id"
	"p402.io/p402/internal/store"
	"p402.io/p402/meter"
)

func post(target, body string) *gin.Context {
	c, _ := gin.CreateTestContext(httptest.NewRecorder())
	c.Request = httptest.NewRequest(http.MethodPost, target, io.NopCloser(strings.NewReader(body)))
	c.Request.Header.Set("Content-Type", "application/json")
	return c
}

// Whatever arrives, the answer is a refusal of the caller's or a value; what was accepted means the same when it is sent
// again as Go would write it.
func FuzzStrictBodies(f *testing.F) {
	for _, seed := range []string{`{}`, `{"name":"a"}`, `{"name":"a","name":"b"}`, `{"Name":"a"}`, `{"scopes":["infer",1]}`, `{"defaults":{"a":"b"}}`,
		`{"expires_at":"2027-01-01T00:00:00Z"}`, `{"x":{"y":[[[]]]}}`, "{\"name\":\"\\u0000\"}", `{"name":"\ud800"}`, `[1]`, `null`, `{"livemode":null}`, "\xff"} {
		f.Add(seed, seed == `{"x":{"y":[[[]]]}}`)
	}
	f.Fuzz(func(t *testing.T, body string, tolerant bool) {
		target := "/"
		if tolerant {
			target = "/?lenient=1"
		}
		var first keyBody
		if err := decode(post(target, body), &first); err != nil {
			if kind := fault.KindOf(err); kind != fault.KindInvalid && kind != fault.KindTooLarge {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		again, err := json.Marshal(first)
		if err != nil {
			t.Fatal(err)
		}
		var second keyBody
		if err := decode(post("/", string(again)), &second); err != nil || !reflect.DeepEqual(first, second) {
			t.Fatalf("%q was read as %+v, and that as %+v: %v", body, first, second, err)
		}
	})
}

// A cursor opens only where it was made, and a changed one nowhere.
func FuzzCursors(f *testing.F) {
	s := &Surface{CursorKey: []byte("k")}
	caller := meter.Caller{TenantID: "ten_a"}
	made, err := s.cursor(post("/list?customer_id=a", ""), caller, store.Position{ID: "evt_1"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(made)
	f.Add(made + "x")
	f.Add("." + made)
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		for name, row := range map[string]struct {
			query  string
			tenant id.Tenant
			opens  bool
		}{
			"home":           {"customer_id=a", "ten_a", text == made},
			"another query":  {"customer_id=b", "ten_a", false},
			"another tenant": {"customer_id=a", "ten_b", false},
		} {
			c := post("/list?"+row.query+"&cursor="+url.QueryEscape(text), "")
			got, err := s.openCursor(c, meter.Caller{TenantID: row.tenant})
			if text == "" {
				if got != nil || err != nil {
					t.Fatalf("no cursor: %v %v", got, err)
				}
				continue
			}
			if (err == nil) != row.opens {
				t.Fatalf("%s: %q opens: %v", name, text, err)
			}
		}
	})
}
