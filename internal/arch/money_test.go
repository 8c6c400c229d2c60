package arch_test

import (
	"go/ast"
	"go/token"
	"slices"
	"testing"
)

// exact is the rooms in which a float could meet money.
var exact = []string{"internal/money", "internal/journal", "internal/store", "meter", "settlement", "settlement/*", "gateway/call"}

func TestNoFloatsNearMoney(t *testing.T) {
	t.Parallel()
	e := newExcuses(floatExceptions)
	for _, s := range tree(t) {
		if s.test || !matches(exact, s.folder) {
			continue
		}
		for _, f := range floats(s.file) {
			if !e.excused(s.name) {
				t.Errorf("%s: %s: binary floats lose digits of money; use money.USD, money.USDC or integers", s.at(f.pos), f.name)
			}
		}
	}
	e.unused(t)
}

// inexact is methods of decimals and big numbers that make a float.
var inexact = []string{"ParseFloat", "InexactFloat64", "Float64", "NewFromFloat"}

func floats(f *ast.File) []finding {
	var out []finding
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Ident:
			if n.Name == "float32" || n.Name == "float64" {
				out = append(out, finding{pos: n.Pos(), name: n.Name})
			}
		case *ast.SelectorExpr:
			if slices.Contains(inexact, n.Sel.Name) {
				out = append(out, finding{pos: n.Pos(), name: n.Sel.Name})
			}
		case *ast.BasicLit:
			if n.Kind == token.FLOAT {
				out = append(out, finding{pos: n.Pos(), name: n.Value})
			}
		}
		return true
	})
	return out
}

// clocks is the rooms that may read the wall clock; everybody else is given Now.
var clocks = []string{"internal/app", "cmd/*", "internal/devchain", "internal/pgembed", "internal/pgtest", "internal/provider/mock", "internal/bench", "internal/chaos"}

func TestTheClockIsInjected(t *testing.T) {
	t.Parallel()
	e := newExcuses(clockExceptions)
	for _, s := range tree(t) {
		if s.test || matches(clocks, s.folder) {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			x, ok := n.(*ast.SelectorExpr)
			if !ok || callee(x) != "time.Now" && callee(x) != "time.Since" && callee(x) != "slog.Default" {
				return true
			}
			if !e.excused(s.name) {
				t.Errorf("%s: %s: clock and logger are handed in, so that a test decides what time it is", s.at(x.Pos()), callee(x))
			}
			return true
		})
	}
	e.unused(t)
}

func TestFloatsAreFound(t *testing.T) {
	t.Parallel()
	s, err := parse("meter/x.go", []byte("package meter\n\nvar a float64 = 1.5\n\nfunc f(s string) { g, _ := strconv.ParseFloat(s, 64) }\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := floats(s.file); len(got) != 3 {
		t.Errorf("found %d floats, want float64, 1.5 and ParseFloat", len(got))
	}
}
