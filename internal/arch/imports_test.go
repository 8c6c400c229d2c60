package arch_test

import (
	"strconv"
	"testing"
)

func TestEveryRoomImportsOnlyWhomItMayKnow(t *testing.T) {
	t.Parallel()
	e := newExcuses(importExceptions)
	for _, s := range tree(t) {
		for _, spec := range s.file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if path == module || s.test && path == module+"/"+s.folder {
				continue
			}
			if why := refusal(s.folder, path, s.test); why != "" && !e.excused(s.folder+" -> "+path) {
				t.Errorf("%s: %s may not import %s: %s", s.at(spec.Pos()), s.folder, path, why)
			}
		}
	}
	e.unused(t)
}

// The table itself is checked with imports that it must refuse, as a tree in order would let a blunt rule pass.
func TestTheImportTableRefuses(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		folder, path string
		test         bool
		refused      bool
	}{
		{"meter", "context", false, true},
		{"meter", "net/http", false, true},
		{"meter", module + "/settlement", false, true},
		{"meter", module + "/internal/money", false, false},
		{"meter", "testing", true, false},
		{"settlement", module + "/meter", false, true},
		{"settlement", "github.com/ethereum/go-ethereum/common", false, true},
		{"settlement/evm", "github.com/ethereum/go-ethereum/common", false, false},
		{"settlement/x402", module + "/internal/money", false, true},
		{"gateway/call", "github.com/gin-gonic/gin", false, true},
		{"gateway/call", module + "/internal/store", false, true},
		{"gateway/api", "gorm.io/gorm", false, true},
		{"gateway/api", "gorm.io/gorm", true, true},
		{"gateway/api", "github.com/ethereum/go-ethereum/common", false, true},
		{"gateway/anything", "github.com/gin-gonic/gin", false, false},
		{"internal/app", module + "/internal/devchain", false, true},
		{"internal/app", module + "/internal/devchain", true, false},
		{"internal/app", "gorm.io/gorm", false, true},
		{"cmd/p402", module + "/internal/pgembed", false, true},
		{"cmd/p402-sandbox", module + "/internal/pgembed", false, false},
		{"internal/nowhere", "fmt", false, true},
	} {
		if why := refusal(row.folder, row.path, row.test); (why != "") != row.refused {
			t.Errorf("%s -> %s (test %v): refused %v, want %v", row.folder, row.path, row.test, why != "", row.refused)
		}
	}
}
