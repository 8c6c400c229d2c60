// Package openapi serves /openapi.json: the routes of every public surface, their schemas and their error codes. The document
// is written by hand in doc/*.yaml, a file a surface, because a reader of the API reads it too; a test holds it to the
// router and to real answers. Dashboard pages are not part of it.
package openapi

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"
	"gopkg.in/yaml.v3"
)

//go:embed doc/*.yaml
var files embed.FS

// Methods is the HTTP methods that may stand in a path item.
func Methods() []string { return []string{"get", "post", "put", "patch", "delete"} }

// RouteKey names, in a path item, the router's template where it cannot be told from the path: a catch-all that serves
// several documented paths.
const RouteKey = "x-p402-route"

// Document assembles the whole document: paths and components of all files, one error response for every operation, and
// the error codes as an enum. A name that two files define is an error.
func Document() (map[string]any, error) {
	names, err := fs.Glob(files, "doc/*.yaml")
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	for _, name := range names {
		raw, err := files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		var part map[string]any
		if err := yaml.Unmarshal(raw, &part); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if err := merge(out, part, ""); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	finish(out)
	return out, nil
}

// merge adds part to out; only objects may be in both.
func merge(out, part map[string]any, at string) error {
	for _, key := range slices.Sorted(maps.Keys(part)) {
		have, twice := out[key]
		if !twice {
			out[key] = part[key]
			continue
		}
		a, ok := have.(map[string]any)
		b, ok2 := part[key].(map[string]any)
		if !ok || !ok2 {
			return fmt.Errorf("%s/%s is defined twice", at, key)
		}
		if err := merge(a, b, at+"/"+key); err != nil {
			return err
		}
	}
	return nil
}

// finish writes out what every operation shares, so that no file has to repeat it.
func finish(doc map[string]any) {
	codes := section(doc, "x-error-codes")
	enum := []any{}
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		enum = append(enum, code)
	}
	section(doc, "components", "schemas")["ErrorCode"] = map[string]any{"type": "string", "enum": enum,
		"description": "What went wrong, for programs. x-error-codes says what each means."}
	filters, _ := doc["x-filters"].([]any)
	delete(doc, "x-filters")
	for _, path := range section(doc, "paths") {
		item, _ := path.(map[string]any)
		for _, method := range Methods() {
			op, ok := item[method].(map[string]any)
			if !ok {
				continue
			}
			if op["x-filters"] == true {
				delete(op, "x-filters")
				params, _ := op["parameters"].([]any)
				op["parameters"] = append(slices.Clone(params), filters...)
			}
			if responses := section(op, "responses"); responses["default"] == nil {
				responses["default"] = map[string]any{"$ref": "#/components/responses/Error"}
			}
		}
	}
}

// section is an object inside doc, made if it is missing.
func section(doc map[string]any, path ...string) map[string]any {
	for _, key := range path {
		next, ok := doc[key].(map[string]any)
		if !ok {
			next = map[string]any{}
			doc[key] = next
		}
		doc = next
	}
	return doc
}

// Route is the router's template of a documented path: {id} is :id, unless the item names its route.
func Route(path string, item map[string]any) string {
	if route, ok := item[RouteKey].(string); ok {
		return route
	}
	return strings.NewReplacer("{", ":", "}", "").Replace(path)
}

// Surface is the route of the document. It must be the last surface that is registered: it drops what this
// installation does not serve, such as paid routes without settlement.
type Surface struct{}

// Register adds the route. A malformed document is a programmer's error that a test finds.
func (Surface) Register(r *gin.Engine) {
	const path = "/openapi.json"
	doc, err := Document()
	if err != nil {
		panic("openapi: " + err.Error())
	}
	served := map[string]bool{http.MethodGet + " " + path: true}
	for _, route := range r.Routes() {
		served[route.Method+" "+route.Path] = true
	}
	Keep(doc, served)
	raw, err := json.Marshal(doc)
	if err != nil {
		panic("openapi: " + err.Error())
	}
	r.GET(path, func(c *gin.Context) {
		c.Header("Cache-Control", "no-cache")
		c.Data(http.StatusOK, "application/json; charset=utf-8", raw)
	})
}

// Keep drops every operation whose "METHOD template" is not served, and paths that are left without one.
func Keep(doc map[string]any, served map[string]bool) {
	paths := section(doc, "paths")
	for path, value := range paths {
		item, _ := value.(map[string]any)
		left := 0
		for _, method := range Methods() {
			if item[method] == nil {
				continue
			}
			if !served[strings.ToUpper(method)+" "+Route(path, item)] {
				delete(item, method)
				continue
			}
			left++
		}
		if left == 0 {
			delete(paths, path)
		}
	}
}
