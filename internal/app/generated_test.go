package app

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"p402.io/p402/gateway/openapi"
)

// field is one place in a request's body that a schema knows.
type field struct {
	path string // "price.amount_usd", "scopes[0]"
	kind string // string, integer, number, boolean, array, object
}

// write is one documented route that reads a body of ours.
type write struct {
	method, path string
	fields       []field
}

// writes reads every /api/v2 POST of ours and its fields out of the document, so that a new field is tried as well.
func (u user) writes() []write {
	u.t.Helper()
	doc := u.h.document(u.t)
	event := u.call(nil)
	var out []write
	for path, value := range doc["paths"].(map[string]any) {
		item := value.(map[string]any)
		for _, method := range openapi.Methods() {
			op, ok := item[method].(map[string]any)
			if !ok || op["requestBody"] == nil || !strings.HasPrefix(path, "/api/v2/") || strings.HasSuffix(path, "/verify") || strings.HasSuffix(path, "/completions") {
				continue
			}
			if security, _ := op["security"].([]any); len(security) > 0 && security[0].(map[string]any)["session"] != nil {
				continue // no key may ask: a key's fields are not looked at
			}
			media, ok := op["requestBody"].(map[string]any)["content"].(map[string]any)["application/json"].(map[string]any)
			if !ok {
				continue // a file is read by its own rules
			}
			schema := media["schema"]
			w := write{method: strings.ToUpper(method), path: strings.ReplaceAll(path, "{id}", event)}
			collect(doc, schema.(map[string]any), "", &w.fields)
			out = append(out, w)
		}
	}
	if len(out) < 5 {
		u.t.Fatalf("found %d write routes", len(out))
	}
	return out
}

// collect walks a schema's properties; anyOf and $ref are followed, the first type that is not null counts.
func collect(doc, schema map[string]any, at string, into *[]field) {
	if ref, ok := schema["$ref"].(string); ok {
		name := strings.TrimPrefix(ref, "#/components/schemas/")
		schema = doc["components"].(map[string]any)["schemas"].(map[string]any)[name].(map[string]any)
	}
	if list, ok := schema["anyOf"].([]any); ok && schema["type"] == nil {
		collect(doc, list[0].(map[string]any), at, into)
		return
	}
	kind, _ := schema["type"].(string)
	if kinds, ok := schema["type"].([]any); ok {
		kind = kinds[0].(string)
	}
	if kind == "" { // an enum or a constant of words
		kind = "string"
	}
	if at != "" {
		*into = append(*into, field{at, kind})
	}
	if items, ok := schema["items"].(map[string]any); ok {
		collect(doc, items, at+"[0]", into)
	}
	properties, _ := schema["properties"].(map[string]any)
	for name, p := range properties {
		collect(doc, p.(map[string]any), strings.TrimPrefix(at+"."+name, "."), into)
	}
}

// isDecimal reports whether a field takes a decimal, as text or as a number.
func isDecimal(path string) bool {
	return strings.HasSuffix(path, "_usd") || strings.HasSuffix(path, "_pct") || path == "quality_score"
}

// bodyWith is a body that holds value at a path, and nothing else.
func bodyWith(path, value string) string {
	parts := strings.Split(path, ".")
	for i := len(parts) - 1; i >= 0; i-- {
		name, inList := strings.CutSuffix(parts[i], "[0]")
		if inList {
			value = "[" + value + "]"
		}
		value = fmt.Sprintf("{%q:%s}", name, value)
	}
	return value
}

// refused sends a value to a field and wants a 4xx that names the field, never a 5xx.
func (u user) refused(w write, f field, value string) {
	u.t.Helper()
	r := u.do(w.method, w.path, bodyWith(f.path, value))
	code, param, _ := r.fault(u.t)
	named := param == f.path || strings.HasPrefix(param, f.path+".") || strings.HasPrefix(param, f.path+"[")
	if r.status != http.StatusBadRequest || code != "INVALID_JSON" && code != "INVALID_INPUT" || code == "INVALID_INPUT" && !named {
		u.t.Errorf("%s %s = %.40s: %d %s %q", w.path, f.path, value, r.status, code, param)
	}
}

// Text that no column can hold, in every text field of every write route.
func TestA25_BrokenTextIsRefusedInEveryField(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	n := 0
	for _, w := range u.writes() {
		for _, f := range w.fields {
			if f.kind != "string" {
				continue
			}
			n++
			for _, value := range []string{`"a\u0000b"`, `"\ud800"`, `"\udc00x"`, "\"\xff\"", "\"\xc0\xaf\"", "\"a\nb\""} {
				u.refused(w, f, value)
			}
		}
	}
	if n < 15 {
		t.Errorf("only %d text fields were tried", n)
	}
}

// Numbers that are none, or not that kind of number, in every numeric field.
func TestA26_BrokenNumbersAreRefusedInEveryField(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	n := 0
	for _, w := range u.writes() {
		for _, f := range w.fields {
			money := isDecimal(f.path)
			values := []string{"NaN", "Infinity", "-Infinity", "0x10", "01", "1e400", `"NaN"`, `""`, `" 1"`, "[1]", "true"}
			switch {
			case money:
			case f.kind == "integer":
				values = append(values, "1.5", "9223372036854775808", "18446744073709551616", `"5"`, "1e3")
			default:
				continue
			}
			n++
			for _, value := range values {
				u.refused(w, f, value)
			}
		}
	}
	if n < 4 {
		t.Errorf("only %d numeric fields were tried", n)
	}
}

// A value of another type, in every field: the refusal names it.
func TestA30_WrongTypesAreRefusedInEveryField(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	samples := map[string]string{"string": `"x"`, "integer": "7", "boolean": "true", "array": "[]", "object": "{}"}
	n := 0
	for _, w := range u.writes() {
		for _, f := range w.fields {
			for kind, value := range samples {
				money := isDecimal(f.path)
				if kind == f.kind || money && (kind == "integer" || kind == "string") {
					continue
				}
				n++
				u.refused(w, f, value)
			}
		}
	}
	if n < 100 {
		t.Errorf("only %d wrong types were tried", n)
	}
}

// A name that stands twice, and a name in another case, in every object (A22, A23).
func TestA22_NamesTwiceAreRefused(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	for _, w := range u.writes() {
		for _, f := range w.fields {
			if strings.ContainsAny(f.path, ".[") {
				continue
			}
			r := u.do(w.method, w.path, fmt.Sprintf(`{%q:null,%q:null}`, f.path, f.path))
			if code, param, _ := r.fault(t); r.status != 400 || code != "DUPLICATE_FIELD" || param != f.path {
				t.Errorf("%s %s twice: %d %s %q", w.path, f.path, r.status, code, param)
			}
		}
	}
}

func TestA23_NamesInAnotherCaseAreNotTaken(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	for _, w := range u.writes() {
		for _, f := range w.fields {
			if strings.ContainsAny(f.path, ".[") {
				continue
			}
			for _, name := range []string{strings.ToUpper(f.path), strings.ToUpper(f.path[:1]) + f.path[1:], strings.Replace(f.path, "s", "ſ", 1), strings.Replace(f.path, "k", "K", 1)} {
				if name == f.path {
					continue
				}
				raw, err := json.Marshal(map[string]any{name: nil})
				if err != nil {
					t.Fatal(err)
				}
				r := u.do(w.method, w.path+"?lenient=1", string(raw))
				if code, param, _ := r.fault(t); r.status != 400 || code != "UNKNOWN_FIELD" || param != name {
					t.Errorf("%s %s: %d %s %q", w.path, name, r.status, code, param)
				}
			}
		}
	}
}

func TestA35_PathsLeadNowhereElse(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	for _, path := range []string{"/assets/..%2f..%2fgo.mod", "/assets/..%5c..%5cgo.mod", "/assets/%00", "/assets/%2fetc%2fpasswd", "/assets/", "/assets/....//go.mod",
		"/api/v2/receipts/..%2f..%2fme", "/api/v2/meter/events/..%2fsummary", "/api/v2/workflows/..", "/v1/models/..%2f..%2fapi%2fv2%2fme", "/x/..%2fapi/v2", "/sign-in/..%2fapp"} {
		if r := u.do("GET", path, nil); r.status != 404 && r.status != 400 || strings.Contains(string(r.body), "tenant_id") {
			t.Errorf("%s: %d %.200s", path, r.status, r.body)
		}
	}
}
