package arch_test

import (
	"go/ast"
	"testing"
)

// The limits of STYLE. A file over 500 lines holds two ideas; a function over 70 hides one.
const (
	maxFileLines     = 500
	maxFunctionLines = 70
)

func TestFilesAndFunctionsStaySmall(t *testing.T) {
	t.Parallel()
	e := newExcuses(sizeExceptions)
	for _, s := range tree(t) {
		if s.generated {
			continue
		}
		if s.lines > maxFileLines && !e.excused(s.name) {
			t.Errorf("%s has %d lines, more than %d: it holds more than one idea", s.name, s.lines, maxFileLines)
		}
		for name, lines := range functions(s) {
			if lines > maxFunctionLines && !e.excused(s.name+" "+name) {
				t.Errorf("%s: %s has %d lines, more than %d: let the parent decide and the leaves compute", s.name, name, lines, maxFunctionLines)
			}
		}
	}
	e.unused(t)
}

// functions is the length of each function of a file, from its signature to its brace. A method is Type.Name.
func functions(s source) map[string]int {
	out := map[string]int{}
	for _, d := range s.file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		name := f.Name.Name
		if f.Recv != nil {
			name = receiver(f.Recv.List[0].Type) + "." + name
		}
		out[name] = s.set.Position(f.End()).Line - s.set.Position(f.Pos()).Line + 1
	}
	return out
}

func receiver(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.StarExpr:
		return receiver(x.X)
	case *ast.IndexExpr:
		return receiver(x.X)
	case *ast.Ident:
		return x.Name
	}
	return "?"
}

func TestFunctionLengthIsCounted(t *testing.T) {
	t.Parallel()
	s, err := parse("x.go", []byte("package x\n\ntype T struct{}\n\nfunc (t *T) Long() {\n\t_ = 1\n\t_ = 2\n}\n\nfunc Short() {}\n"))
	if err != nil {
		t.Fatal(err)
	}
	got := functions(s)
	if got["T.Long"] != 4 || got["Short"] != 1 {
		t.Errorf("lengths %v, want T.Long 4 and Short 1", got)
	}
}
