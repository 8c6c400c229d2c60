package api

import (
	"bufio"
	"encoding/json"
	"io"
	"strings"

	"p402.io/p402/internal/store"
)

// inert makes a text cell harmless in a spreadsheet: one that begins like a formula, or with a tab, a carriage return, a quote
// or the apostrophe itself, gets an apostrophe in front, which spreadsheets show as text. So the way back is always to drop
// one leading apostrophe. Numbers are not touched, so that -5 stays a number.
func inert(text string) string {
	if text == "" {
		return text
	}
	trimmed := strings.TrimLeft(text, " \u00a0\u2007\u202f\ufeff") // blanks before a formula do not stop some programs
	if strings.ContainsRune("\t\r\n\"'", rune(text[0])) || trimmed != "" && strings.ContainsAny(trimmed[:1], "=+-@|%\t\r\n") || hasWideOperator(trimmed) {
		return "'" + text
	}
	return text
}

// hasWideOperator: full-width forms of the operators are read as formulas by some locales.
func hasWideOperator(text string) bool {
	for _, wide := range []string{"\uff1d", "\uff0b", "\uff0d", "\uff20"} {
		if strings.HasPrefix(text, wide) {
			return true
		}
	}
	return false
}

// csvRows writes RFC 4180: CRLF, a header, every text cell quoted, absent cells empty. NUL, which no CSV reader agrees on, is
// dropped.
type csvRows struct {
	out   *bufio.Writer
	kinds []store.ColumnKind
}

func newCSV(w io.Writer) *csvRows { return &csvRows{out: bufio.NewWriterSize(w, 64<<10)} }

func (c *csvRows) begin(columns []store.Column) error {
	names := make([]string, 0, len(columns))
	for _, col := range columns {
		c.kinds = append(c.kinds, col.Kind)
		names = append(names, col.Name)
	}
	_, err := c.out.WriteString(strings.Join(names, ",") + "\r\n")
	return err
}

func (c *csvRows) row(cells []*string) error {
	for i, cell := range cells {
		if i > 0 {
			if err := c.out.WriteByte(','); err != nil {
				return err
			}
		}
		if cell == nil {
			continue
		}
		text := *cell
		if c.kinds[i] == store.ColumnText {
			text = quoted(inert(strings.ReplaceAll(text, "\x00", "")))
		}
		if _, err := c.out.WriteString(text); err != nil {
			return err
		}
	}
	_, err := c.out.WriteString("\r\n")
	return err
}

func quoted(text string) string { return `"` + strings.ReplaceAll(text, `"`, `""`) + `"` }

func (c *csvRows) end() error { return c.out.Flush() }

// jsonRows writes one object a line, or one array of them. Texts are as they are; money is a string, counts are numbers.
type jsonRows struct {
	out     *bufio.Writer
	columns []store.Column
	names   [][]byte
	array   bool
	some    bool
}

func newJSON(w io.Writer, array bool) *jsonRows {
	return &jsonRows{out: bufio.NewWriterSize(w, 64<<10), array: array}
}

func (j *jsonRows) begin(columns []store.Column) error {
	j.columns = columns
	for _, c := range columns {
		name, err := json.Marshal(c.Name)
		if err != nil {
			return err
		}
		j.names = append(j.names, append(name, ':'))
	}
	if j.array {
		return j.out.WriteByte('[')
	}
	return nil
}

func (j *jsonRows) row(cells []*string) error {
	if j.some && j.array {
		if err := j.out.WriteByte(','); err != nil {
			return err
		}
	}
	j.some = true
	line := []byte{'{'}
	for i, cell := range cells {
		if i > 0 {
			line = append(line, ',')
		}
		line = append(line, j.names[i]...)
		value, err := j.value(j.columns[i].Kind, cell)
		if err != nil {
			return err
		}
		line = append(line, value...)
	}
	line = append(line, '}')
	if !j.array {
		line = append(line, '\n')
	}
	_, err := j.out.Write(line)
	return err
}

func (j *jsonRows) value(kind store.ColumnKind, cell *string) ([]byte, error) {
	if cell == nil {
		return []byte("null"), nil
	}
	switch kind {
	case store.ColumnBool, store.ColumnNumber:
		return []byte(*cell), nil
	case store.ColumnMoney, store.ColumnText, store.ColumnTime:
	}
	return json.Marshal(*cell)
}

func (j *jsonRows) end() error {
	if j.array {
		if err := j.out.WriteByte(']'); err != nil {
			return err
		}
	}
	return j.out.Flush()
}
