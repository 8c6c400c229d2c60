// Package migrations is the schema: numbered SQL files, PostgreSQL, forward only. An applied file is never edited.
package migrations

import "embed"

// FS holds NNNN_name.sql.
//
//go:embed *.sql
var FS embed.FS
