package dashboard

import "p402.io/p402/internal/store"

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

// owned is a row's name: a link, or what a row without a key is called.
func owned(b bar) cell {
	if b.None {
		return cell{Text: b.Label, Class: "none", Link: b.Link}
	}
	return cell{Text: b.Label, Link: b.Link}
}

// costCell is what a group cost: unknown, not nothing, where no call of it has a price.
func costCell(g store.Group) cell {
	if costOf(g) == nil {
		return cell{Text: "unknown", Title: "no price is known for these calls", Class: "warn", Num: true}
	}
	return usdCell(g.CostUSD)
}
