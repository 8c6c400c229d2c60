package store_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"p402.io/p402/internal/pgtest"
	"p402.io/p402/internal/store"
)

// docs/ledger.md names every table and column of the database, and none that is gone.
func TestTheLedgerIsDescribedColumnByColumn(t *testing.T) {
	t.Parallel()
	described := describedColumns(t)
	conn, err := pgx.Connect(t.Context(), pgtest.New(t, store.Migrate))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := conn.Query(t.Context(), `SELECT c.table_name || '.' || c.column_name FROM information_schema.columns c
		JOIN information_schema.tables t USING (table_schema, table_name) WHERE table_schema = 'public' AND t.table_type = 'BASE TABLE' ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	real, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(real) < 100 {
		t.Fatalf("%d columns: %v", len(real), err)
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, column := range real {
		if !described[column] {
			t.Errorf("docs/ledger.md does not describe %s", column)
		}
	}
	for column := range described {
		if !slices.Contains(real, column) {
			t.Errorf("docs/ledger.md describes %s, which does not exist", column)
		}
	}
}

// describedColumns reads the page: a table is a "### name", its columns the `words` in the first cells below it.
func describedColumns(t *testing.T) map[string]bool {
	t.Helper()
	page, err := os.ReadFile("../../docs/ledger.md")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	table := ""
	for _, line := range strings.Split(string(page), "\n") {
		if name, ok := strings.CutPrefix(line, "### "); ok {
			table = strings.TrimSpace(name)
		}
		cells := strings.Split(line, "|")
		if table == "" || len(cells) < 3 {
			continue
		}
		for i, word := range strings.Split(cells[1], "`") {
			if i%2 == 1 {
				out[table+"."+word] = true
			}
		}
	}
	return out
}
