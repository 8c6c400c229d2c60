package dashboard

import (
	"encoding/json"
	"fmt"
	"html/template"
	"math/big"
	"net/url"
	"strconv"
	"strings"
	"time"

	"p402.io/p402/internal/money"
)

// funcs is what templates may call. Amounts keep every digit in the title and few in the cell.
var funcs = template.FuncMap{
	"usd":      full,
	"cut":      func(v any) string { return rounded(v, 6) },
	"cash":     cash,
	"count":    count,
	"when":     func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") },
	"day":      func(t time.Time) string { return t.UTC().Format("2 Jan 2006") },
	"iso":      func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) },
	"short":    short,
	"label":    label,
	"pct":      percent,
	"margin":   marginPercent,
	"cellOf":   func(c cell, csrf string) map[string]any { return map[string]any{"Cell": c, "CSRF": csrf} },
	"gridOf":   func(g grid, csrf string) map[string]any { return map[string]any{"Grid": g, "CSRF": csrf} },
	"addInt":   func(a, b int) int { return a + b },
	"seg":      url.PathEscape,
	"costOf":   costOf,
	"included": included,
	"keptFor":  keptFor,
	"pretty":   func(v any) (string, error) { raw, err := json.MarshalIndent(v, "", "  "); return string(raw), err },
	"times20":  func(n int) int { return 20 * n },
}

// amount reads a USD or a pointer to one; ok is false for none.
func amount(v any) (u money.USD, ok bool) {
	switch v := v.(type) {
	case money.USD:
		return v, true
	case *money.USD:
		if v != nil {
			return *v, true
		}
	}
	return money.USD{}, false
}

// full is every digit of an amount.
func full(v any) string {
	u, ok := amount(v)
	if !ok {
		return "unknown"
	}
	return signed(u.String())
}

// signed puts the minus before the dollar.
func signed(text string) string {
	if rest, negative := strings.CutPrefix(text, "-"); negative {
		return "−$" + grouped(rest)
	}
	return "$" + grouped(text)
}

func rounded(v any, places int32) string {
	u, ok := amount(v)
	if !ok {
		return "unknown"
	}
	return signed(u.Decimal().Round(places).StringFixed(places))
}

// cash is a figure of a strip: cents where there are dollars, six places where there are fractions of a cent.
func cash(v any) string {
	u, ok := amount(v)
	if !ok {
		return "–"
	}
	size := u
	if size.Sign() < 0 {
		size = size.Neg()
	}
	switch {
	case size.Cmp(money.MustUSD("100")) >= 0:
		return rounded(u, 2)
	case size.Cmp(money.MustUSD("1")) >= 0:
		return rounded(u, 4)
	}
	return rounded(u, 6)
}

// count groups a whole number by thousands.
func count(v any) string {
	switch v := v.(type) {
	case int64:
		return grouped(strconv.FormatInt(v, 10))
	case int:
		return grouped(strconv.Itoa(v))
	}
	return fmt.Sprint(v)
}

func grouped(text string) string {
	whole, fraction, has := strings.Cut(text, ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if has {
		return whole + "." + fraction
	}
	return whole
}

// short cuts a long id in the middle; the whole stands in the title.
func short(text string) string {
	if len(text) > 14 {
		return text[:8] + "…" + text[len(text)-4:]
	}
	return text
}

// percent is part of whole with one place, or a dash.
func percent(part, whole int64) string {
	if whole == 0 {
		return "–"
	}
	return tenths(big.NewRat(part, whole))
}

// tenths is a share as per cent with one place, cut and not rounded: what is not quite all never reads 100 %.
func tenths(share *big.Rat) string {
	whole := new(big.Rat).Mul(share, big.NewRat(1000, 1))
	cut := new(big.Int).Quo(whole.Num(), whole.Denom())
	return new(big.Rat).SetFrac(cut, big.NewInt(10)).FloatString(1) + " %"
}

// marginPercent is margin ÷ revenue; a dash without revenue, never minus a hundred (F3).
func marginPercent(margin, revenue *money.USD) string {
	if margin == nil || revenue == nil || revenue.Sign() == 0 {
		return "–"
	}
	return shareOf(*margin, *revenue)
}

// shareOf is a ÷ b as per cent with one place.
func shareOf(a, b money.USD) string {
	if b.Sign() == 0 {
		return "–"
	}
	return strings.Replace(tenths(new(big.Rat).Quo(a.Rat(), b.Rat())), "-", "−", 1)
}

// per is an amount divided by a count, nil for none.
func per(u money.USD, n int64) *money.USD {
	if n == 0 {
		return nil
	}
	each := money.FromRat(new(big.Rat).Quo(u.Rat(), new(big.Rat).SetInt64(n)))
	return &each
}
