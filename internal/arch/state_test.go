package arch_test

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"
	"testing"
)

func TestNoInitAndNoMutablePackageState(t *testing.T) {
	t.Parallel()
	e := newExcuses(stateExceptions)
	all := tree(t)
	written := map[string]map[string]bool{} // folder -> names that some code of the folder writes to
	for _, s := range all {
		if !s.test {
			if written[s.folder] == nil {
				written[s.folder] = map[string]bool{}
			}
			writes(s.file, written[s.folder])
		}
	}
	for _, s := range all {
		if s.test || s.generated {
			continue
		}
		for _, bad := range state(s, written[s.folder]) {
			if !e.excused(s.folder + " " + bad.name) {
				t.Errorf("%s: %s: %s", s.at(bad.pos), bad.name, bad.why)
			}
		}
	}
	e.unused(t)
}

type finding struct {
	pos       token.Pos
	name, why string
}

// state finds init functions and package variables that are neither sentinel, table nor another thing that never changes.
func state(s source, written map[string]bool) []finding {
	var out []finding
	for _, d := range s.file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
			out = append(out, finding{f.Pos(), "init", "what runs on import cannot be tested or ordered; use a constructor"})
		}
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.VAR {
			continue
		}
		for _, spec := range g.Specs {
			v := spec.(*ast.ValueSpec)
			for i, name := range v.Names {
				switch {
				case name.Name == "_":
				case written[name.Name]:
					out = append(out, finding{v.Pos(), name.Name, "a package variable that code writes to is state shared by everybody; keep it in a struct"})
				case len(v.Values) == 0 && !embedded(g, v):
					out = append(out, finding{v.Pos(), name.Name, "a package variable without a value is there to be written to; keep it in a struct"})
				case i < len(v.Values) && !constant(v.Values[i]):
					out = append(out, finding{v.Pos(), name.Name, "package variables are sentinels, forms and tables only"})
				}
			}
		}
	}
	return out
}

// embedded reports a //go:embed variable, which the compiler fills.
func embedded(g *ast.GenDecl, v *ast.ValueSpec) bool {
	for _, doc := range []*ast.CommentGroup{g.Doc, v.Doc} {
		if doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") }) {
			return true
		}
	}
	return false
}

// makers build values that never change: sentinels, compiled forms and templates, parsed constants.
var makers = []string{"errors.New", "fault.New", "fault.Field", "x402.Refuse", "time.Date"}

// constant reports whether an initializer is a table or a value that nobody changes later.
func constant(x ast.Expr) bool {
	switch x := x.(type) {
	case *ast.CompositeLit, *ast.BasicLit, *ast.FuncLit:
		return true
	case *ast.UnaryExpr:
		return x.Op != token.AND && constant(x.X)
	case *ast.CallExpr:
		name := callee(x.Fun)
		_, last, ok := strings.Cut(name, ".")
		if !ok {
			last = name
		}
		must := strings.HasPrefix(last, "Must") || strings.HasPrefix(last, "must") || strings.HasPrefix(last, "HexTo") || strings.HasPrefix(last, "Keccak")
		return must || slices.Contains(makers, name) || isConversion(x)
	}
	return false
}

func isConversion(x *ast.CallExpr) bool {
	_, array := x.Fun.(*ast.ArrayType)
	return array
}

func callee(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.Ident:
		return x.Name
	case *ast.SelectorExpr:
		return callee(x.X) + "." + x.Sel.Name
	case *ast.CallExpr:
		return callee(x.Fun)
	}
	return "?"
}

// writes notes every name that a file assigns to, through an index or a field too. A local variable of the same name is
// told apart by its declaration in the same function.
func writes(f *ast.File, into map[string]bool) {
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		local := declared(fn)
		note := func(x ast.Expr) {
			if name := base(x); name != "" && !local[name] {
				into[name] = true
			}
		}
		ast.Inspect(fn.Body, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				if n.Tok != token.DEFINE {
					for _, x := range n.Lhs {
						note(x)
					}
				}
			case *ast.IncDecStmt:
				note(n.X)
			case *ast.CallExpr:
				if callee(n.Fun) == "delete" || callee(n.Fun) == "clear" {
					note(n.Args[0])
				}
			}
			return true
		})
	}
}

// base is the variable that an assignment's left side changes: x of x, x[i], x.f and *x.
func base(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.Ident:
		return x.Name
	case *ast.IndexExpr:
		return base(x.X)
	case *ast.SelectorExpr:
		return base(x.X)
	case *ast.StarExpr:
		return base(x.X)
	}
	return ""
}

// declared is every name that a function declares: receiver, parameters, results and locals.
func declared(fn *ast.FuncDecl) map[string]bool {
	out := map[string]bool{"_": true}
	ast.Inspect(fn, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field:
			for _, name := range n.Names {
				out[name.Name] = true
			}
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				for _, x := range n.Lhs {
					out[base(x)] = true
				}
			}
		case *ast.ValueSpec:
			for _, name := range n.Names {
				out[name.Name] = true
			}
		case *ast.RangeStmt:
			if n.Tok == token.DEFINE {
				for _, x := range []ast.Expr{n.Key, n.Value} {
					if x != nil {
						out[base(x)] = true
					}
				}
			}
		}
		return true
	})
	return out
}

func TestMutableStateIsFound(t *testing.T) {
	t.Parallel()
	s, err := parse("x/x.go", []byte(`package x
import ("errors"; "regexp"; "sync")
var ErrA = errors.New("a")
var form = regexp.MustCompile("a")
var table = map[string]int{"a": 1}
var cache = map[string]int{}
var mu sync.Mutex
var n = count()
var p = &table
func count() int { return 1 }
func init() {}
func put(k string) { cache[k] = 1 }
func shadow() { table := map[string]int{}; table["a"] = 2 }
`))
	if err != nil {
		t.Fatal(err)
	}
	written := map[string]bool{}
	writes(s.file, written)
	var names []string
	for _, f := range state(s, written) {
		names = append(names, f.name)
	}
	if want := []string{"cache", "mu", "n", "p", "init"}; !slices.Equal(names, want) {
		t.Errorf("found %v, want %v", names, want)
	}
}
