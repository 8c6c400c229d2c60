package dashboard

// grid is a table of a page: heads, rows of cells, and a foot that is the total.
type grid struct {
	Title string // for who cannot see it
	Heads []head
	Rows  [][]cell
	Foot  []cell
	Note  string // beneath: what is not shown
	Empty string // what to say when there is no row
}

// head is a column's title; Num is right-aligned.
type head struct {
	Label string
	Num   bool
}

// cell is one place of a grid. Title holds what the text shortens; Share draws a bar in per cent.
type cell struct {
	Text, Title, Link string
	Class             string // good, warn, bad, none
	Badge             bool
	Num               bool
	Share             int // 0 = none
	Form              *form
}

// form is a button in a table: one POST.
type form struct {
	Action, Label, Confirm string
	Fields                 map[string]string
	Class                  string
}

func heads(labels ...string) []head {
	out := make([]head, 0, len(labels))
	for _, l := range labels {
		h := head{Label: l}
		if l != "" && l[0] == '#' { // "#Cost" is a column of numbers
			h = head{Label: l[1:], Num: true}
		}
		out = append(out, h)
	}
	return out
}

func text(s string) cell { return cell{Text: s} }

func num(s string) cell { return cell{Text: s, Num: true} }

// usdCell is an amount with all its digits in the title; a missing one is a dash.
func usdCell(v any) cell {
	if _, ok := amount(v); !ok {
		return num("–")
	}
	return cell{Text: rounded(v, 6), Title: full(v), Num: true}
}

func badge(s, class string) cell { return cell{Text: s, Badge: true, Class: class} }

func linked(s, to string) cell { return cell{Text: s, Link: to} }

// owned is a row's name: a link, or Unattributed.
func owned(key *string, link string) cell {
	if key == nil {
		return cell{Text: "Unattributed", Class: "none", Link: link}
	}
	return cell{Text: *key, Link: link}
}
