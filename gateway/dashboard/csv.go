package dashboard

import (
	"encoding/csv"
	"fmt"
	"net/http"
	"regexp"
	"strings"
)

// numberForm is a cell that a spreadsheet may read as the number it is.
var numberForm = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?$`)

// inert keeps a spreadsheet from running a cell as a formula (F12).
func inert(text string) string {
	if text == "" || numberForm.MatchString(text) || !strings.ContainsRune("=+-@\t\r'\"", rune(text[0])) {
		return text
	}
	return "'" + text
}

// exact is a cell as a program reads it: every digit, no grouping, no dollar; a dash is nothing.
func exact(c cell) string {
	text := c.Text
	if c.Num && strings.Contains(c.Title, "$") || c.Title != "" && strings.Contains(c.Text, "…") {
		text = c.Title // the title holds what the cell cuts
	}
	if c.Num {
		plain := strings.NewReplacer("$", "", ",", "", "−", "-", " %", "", " ms", "").Replace(text)
		if plain == "–" {
			plain = ""
		}
		return plain
	}
	return text
}

// sheet writes the tables of a page as CSV (RFC 4180): what is on the screen, with every digit.
func (r *request) sheet(name string, grids []section) error {
	r.Header("Content-Type", "text/csv; charset=utf-8; header=present")
	r.Header("Content-Disposition", fmt.Sprintf("attachment; filename=%q", "p402-"+name+"-"+r.view.Mode+".csv"))
	r.Header("Cache-Control", "no-store")
	r.Status(http.StatusOK)
	w := csv.NewWriter(r.Writer)
	w.UseCRLF = true
	for _, s := range grids {
		var line []string
		for _, h := range s.Grid.Heads {
			line = append(line, inert(h.Label))
		}
		if err := w.Write(line); err != nil {
			return err
		}
		for _, row := range s.Grid.Rows {
			line = line[:0]
			for _, c := range row {
				if c.Form == nil {
					line = append(line, inert(exact(c)))
				} else {
					line = append(line, "")
				}
			}
			if err := w.Write(line); err != nil {
				return err
			}
		}
	}
	w.Flush()
	return w.Error()
}
