package api

import (
	"bytes"

	"p402.io/p402/internal/store"
)

// EncodeForTest writes rows as an export does.
func EncodeForTest(format string, columns []store.Column, rows [][]*string) string {
	var out bytes.Buffer
	var enc encoder = newCSV(&out)
	if format != "csv" {
		enc = newJSON(&out, format == "json")
	}
	err := enc.begin(columns)
	for _, r := range rows {
		if err == nil {
			err = enc.row(r)
		}
	}
	if err == nil {
		err = enc.end()
	}
	if err != nil {
		panic(err)
	}
	return out.String()
}
