package arch_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// source is one Go file, parsed. name is its path from the root of the repository, folder its directory.
type source struct {
	name, folder string
	test         bool // a _test.go file
	generated    bool
	lines        int
	file         *ast.File
	set          *token.FileSet
}

const root = "../.."

// tree parses every Go file of the repository.
func tree(t *testing.T) []source {
	t.Helper()
	var out []source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules" || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go"):
			return nil
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		s, err := parse(filepath.ToSlash(name), raw)
		out = append(out, s)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 100 {
		t.Fatalf("found %d Go files: the walk did not see the repository", len(out))
	}
	return out
}

func parse(name string, raw []byte) (source, error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, raw, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return source{}, err
	}
	return source{name: name, folder: filepath.ToSlash(filepath.Dir(name)), test: strings.HasSuffix(name, "_test.go"), generated: ast.IsGenerated(file),
		lines: strings.Count(string(raw), "\n"), file: file, set: set}, nil
}

// at is a position for a message.
func (s source) at(p token.Pos) string {
	position := s.set.Position(p)
	return position.String()
}

// excused looks an exception up and notes that it was needed.
type excuses struct {
	of   map[string]string
	used map[string]bool
}

func newExcuses(of map[string]string) *excuses { return &excuses{of: of, used: map[string]bool{}} }

func (e *excuses) excused(what string) bool {
	if _, ok := e.of[what]; !ok {
		return false
	}
	e.used[what] = true
	return true
}

// unused fails for exceptions that nothing needs any more.
func (e *excuses) unused(t *testing.T) {
	t.Helper()
	for what, why := range e.of {
		if !e.used[what] {
			t.Errorf("the exception %q (%s) is not needed any more: remove it", what, why)
		}
	}
}
