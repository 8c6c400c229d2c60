package openapi_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"p402.io/p402/gateway/openapi"
	"p402.io/p402/meter"
)

// document is the assembled document as a reader of its JSON sees it.
func document(t *testing.T) map[string]any {
	t.Helper()
	doc, err := openapi.Document()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// operations calls back with every operation, by method and path.
func operations(t *testing.T, doc map[string]any, each func(method, path string, item, op map[string]any)) {
	t.Helper()
	n := 0
	for path, value := range doc["paths"].(map[string]any) {
		item := value.(map[string]any)
		for _, method := range openapi.Methods() {
			if op, ok := item[method].(map[string]any); ok {
				n++
				each(method, path, item, op)
			}
		}
	}
	if n < 30 {
		t.Errorf("the document has %d operations: something is lost in assembling", n)
	}
}

func TestEveryReferenceResolves(t *testing.T) {
	t.Parallel()
	doc := document(t)
	n := 0
	var walk func(at string, v any)
	walk = func(at string, v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				n++
				if !resolves(doc, ref) {
					t.Errorf("%s: %s leads nowhere", at, ref)
				}
			}
			for key, value := range v {
				walk(at+"/"+key, value)
			}
		case []any:
			for i, value := range v {
				walk(at+"/"+strconv.Itoa(i), value)
			}
		}
	}
	walk("#", doc)
	if n < 100 || resolves(doc, "#/components/schemas/NoSuchThing") {
		t.Errorf("%d references seen; the walk or the lookup is broken", n)
	}
}

func resolves(doc map[string]any, ref string) bool {
	path, ok := strings.CutPrefix(ref, "#/")
	var at any = doc
	for _, key := range strings.Split(path, "/") {
		object, isObject := at.(map[string]any)
		if !isObject {
			return false
		}
		at = object[key]
	}
	return ok && at != nil
}

// Every schema is a JSON Schema of the 2020-12 dialect, which is OpenAPI 3.1's.
func TestEverySchemaCompiles(t *testing.T) {
	t.Parallel()
	doc := document(t)
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource("http://p402.test/openapi.json", doc); err != nil {
		t.Fatal(err)
	}
	for name := range doc["components"].(map[string]any)["schemas"].(map[string]any) {
		if _, err := c.Compile("http://p402.test/openapi.json#/components/schemas/" + name); err != nil {
			t.Errorf("schema %s: %v", name, err)
		}
	}
}

func TestEveryOperationIsWhole(t *testing.T) {
	t.Parallel()
	doc := document(t)
	ids := map[string]bool{}
	operations(t, doc, func(method, path string, item, op map[string]any) {
		where := method + " " + path
		name, _ := op["operationId"].(string)
		if name == "" || ids[name] {
			t.Errorf("%s: operationId %q is missing or not its own", where, name)
		}
		ids[name] = true
		if op["summary"] == nil || op["tags"] == nil {
			t.Errorf("%s: no summary or tag", where)
		}
		responses := op["responses"].(map[string]any)
		if responses["200"] == nil && responses["201"] == nil || responses["default"] == nil {
			t.Errorf("%s: lacks a success or the error answer", where)
		}
		if method == "post" && op["requestBody"] == nil && !forMembers(op) {
			t.Errorf("%s: a POST without a body's schema", where)
		}
		for _, s := range scopes(op) {
			if !slices.Contains(append(meter.AllScopes(), meter.MemberScopes()...), meter.Scope(s)) {
				t.Errorf("%s: %q is no scope", where, s)
			}
		}
		for _, variable := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(path, -1) {
			if !declares(doc, variable[1], item, op) {
				t.Errorf("%s: the path parameter %s is not declared", where, variable[1])
			}
		}
	})
}

// forMembers reports an operation of signed-in people; some of them say all in their path.
func forMembers(op map[string]any) bool {
	list, _ := op["security"].([]any)
	return len(list) == 1 && list[0].(map[string]any)["session"] != nil
}

func scopes(op map[string]any) []string {
	var out []string
	list, _ := op["security"].([]any)
	for _, s := range list {
		for _, list := range s.(map[string]any) { // "key" or "session"
			for _, scope := range list.([]any) {
				out = append(out, scope.(string))
			}
		}
	}
	return out
}

func declares(doc map[string]any, name string, where ...map[string]any) bool {
	for _, object := range where {
		list, _ := object["parameters"].([]any)
		for _, p := range list {
			param := p.(map[string]any)
			if ref, ok := param["$ref"].(string); ok {
				_, last, _ := strings.Cut(ref, "#/components/parameters/")
				param = doc["components"].(map[string]any)["parameters"].(map[string]any)[last].(map[string]any)
			}
			if param["name"] == name && param["in"] == "path" && param["required"] == true {
				return true
			}
		}
	}
	return false
}

// internalCodes never reach a caller: what happens inside is told with another code, or to the log alone.
var internalCodes = map[string]string{
	"AMOUNT_MISMATCH":    "a scheme asked for more than was authorized: our defect, 500",
	"EVENT_CLOSED":       "the sweeper was first; the runner goes on",
	"FEE_TOO_HIGH":       "the payment becomes lost with a reason of its own",
	"LEASE_LOST":         "another worker took over",
	"PAYMENT_MOVED":      "another writer was first; the worker reads again",
	"PAYMENT_TRANSITION": "a transition nobody may ask for: our defect, 500",
	"RECEIPT_INVALID":    "the verify routes answer valid:false",
}

// dynamicCodes are put together at run time or written without fault's constructors; they stand in the source as text.
var dynamicCodes = regexp.MustCompile(`^[A-Z_]+_BUDGET_EXCEEDED$|^PAYMENT_FAILED$`)

// O22: the document's error codes are the source's, both ways.
func TestO22_ErrorCodesAreThoseOfTheSource(t *testing.T) {
	t.Parallel()
	documented := document(t)["x-error-codes"].(map[string]any)
	used := sourceCodes(t)
	for code, where := range used {
		if documented[code] == nil && internalCodes[code] == "" {
			t.Errorf("%s is used at %s and is not in gateway/openapi/doc/errors.yaml", code, where)
		}
	}
	for code, text := range documented {
		if used[code] == "" && !dynamicCodes.MatchString(code) {
			t.Errorf("%s is documented and nothing answers it", code)
		}
		if !regexp.MustCompile(`^[1-5][0-9]{2}( or [0-9]{3})? · .`).MatchString(text.(string)) {
			t.Errorf("%s: %q must be a status and what to do", code, text)
		}
	}
	for code := range internalCodes {
		if used[code] == "" {
			t.Errorf("%s is excused and nothing uses it", code)
		}
	}
}

// sourceCodes finds every code that is written in a refusal: fault.New, fault.Field, or a Code field. A code -> where.
func sourceCodes(t *testing.T) map[string]string {
	t.Helper()
	form := regexp.MustCompile(`^[A-Z][A-Z0-9]*(_[A-Z0-9]+)+$`)
	out := map[string]string{}
	set := token.NewFileSet()
	note := func(x ast.Expr) {
		if lit, ok := x.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if text, err := strconv.Unquote(lit.Value); err == nil && form.MatchString(text) {
				out[text] = set.Position(lit.Pos()).String()
			}
		}
	}
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == "testdata" || d.Name() == "cmd"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if f, ok := n.Fun.(*ast.SelectorExpr); ok && (f.Sel.Name == "New" || f.Sel.Name == "Field") && len(n.Args) > 2 {
					note(n.Args[1])
				}
			case *ast.KeyValueExpr:
				if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Code" {
					note(n.Value)
				}
			case *ast.ValueSpec:
				if x, ok := n.Type.(*ast.SelectorExpr); ok && x.Sel.Name == "Code" {
					for _, v := range n.Values {
						note(v)
					}
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 40 {
		t.Fatalf("found %d codes: the walk did not see the source", len(out))
	}
	return out
}

func TestKeepDropsWhatIsNotServed(t *testing.T) {
	t.Parallel()
	doc := map[string]any{"paths": map[string]any{
		"/a/{id}": map[string]any{"get": map[string]any{}, "post": map[string]any{}},
		"/b":      map[string]any{"get": map[string]any{}},
		"/c/{x}":  map[string]any{openapi.RouteKey: "/c/*rest", "get": map[string]any{}},
	}}
	openapi.Keep(doc, map[string]bool{"GET /a/:id": true, "GET /c/*rest": true})
	paths := doc["paths"].(map[string]any)
	a, _ := paths["/a/{id}"].(map[string]any)
	if a["get"] == nil || a["post"] != nil || paths["/b"] != nil || paths["/c/{x}"] == nil {
		t.Errorf("left %v", paths)
	}
}
