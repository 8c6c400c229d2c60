// Package money holds the two kinds of money p402 knows and the one place where they meet.
//
// USD is an exact decimal in US dollars: costs, prices, budgets. USDC is a whole number of atomic
// units (10^-6 USDC): what moves on chain. Payable is the only way from the first to the second.
// There is no floating point here, and no rounding that a caller did not ask for by name.
package money

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/shopspring/decimal"
)

// ErrFormat is wrapped by every parse error of this package.
var ErrFormat = errors.New("not a decimal amount")

// maxTextLen bounds an amount's text. The widest stored value, numeric(38,18), needs 40 characters.
const maxTextLen = 64

// storedPlaces is the scale of every money column, numeric(38,18).
const storedPlaces = 18

// USD is an exact amount of US dollars. The zero value is zero dollars.
type USD struct{ d decimal.Decimal }

// Zero is no dollars.
var Zero USD

// ParseUSD reads plain decimal text such as "0.000041250000" or "-12". Exponents, spaces, a leading
// plus, and texts longer than 64 characters are refused: no amount we accept is written like that.
func ParseUSD(text string) (USD, error) {
	if !plainDecimal(text) {
		return USD{}, fmt.Errorf("USD %q: %w", clip(text), ErrFormat)
	}
	d, err := decimal.NewFromString(text)
	if err != nil {
		return USD{}, fmt.Errorf("USD %q: %w", clip(text), ErrFormat)
	}
	return USD{d}, nil
}

// MustUSD is ParseUSD for constants in code and tests; it panics on bad text.
func MustUSD(text string) USD {
	u, err := ParseUSD(text)
	if err != nil {
		panic(err)
	}
	return u
}

// FromDecimal wraps a decimal that is already exact dollars.
func FromDecimal(d decimal.Decimal) USD { return USD{d} }

// FromRat rounds an exact fraction of dollars half-even to 18 places, the stored scale.
func FromRat(r *big.Rat) USD {
	scaled := new(big.Int).Mul(r.Num(), new(big.Int).Exp(big.NewInt(10), big.NewInt(storedPlaces), nil))
	quotient, rest := new(big.Int).QuoRem(scaled, r.Denom(), new(big.Int))
	twice := new(big.Int).Abs(new(big.Int).Lsh(rest, 1))
	if c := twice.Cmp(r.Denom()); c > 0 || (c == 0 && quotient.Bit(0) == 1) {
		quotient.Add(quotient, big.NewInt(int64(r.Sign())))
	}
	return USD{decimal.NewFromBigInt(quotient, -storedPlaces)}
}

// Decimal is the amount as a decimal, for arithmetic that this package does not offer.
func (u USD) Decimal() decimal.Decimal { return u.d }

// Rat is the amount as an exact fraction.
func (u USD) Rat() *big.Rat { return u.d.Rat() }

// Add is u + v.
func (u USD) Add(v USD) USD { return USD{u.d.Add(v.d)} }

// Sub is u - v.
func (u USD) Sub(v USD) USD { return USD{u.d.Sub(v.d)} }

// Neg is -u.
func (u USD) Neg() USD { return USD{u.d.Neg()} }

// MulInt is u times a whole number.
func (u USD) MulInt(n int64) USD { return USD{u.d.Mul(decimal.NewFromInt(n))} }

// DivPow10 moves the decimal point left by places; it is exact.
func (u USD) DivPow10(places int32) USD { return USD{u.d.Shift(-places)} }

// Cmp is -1, 0 or +1 as u is less than, equal to or greater than v.
func (u USD) Cmp(v USD) int { return u.d.Cmp(v.d) }

// Sign is -1, 0 or +1.
func (u USD) Sign() int { return u.d.Sign() }

// IsZero reports whether the amount is exactly zero.
func (u USD) IsZero() bool { return u.d.IsZero() }

// String is plain decimal text: no exponent, no trailing zeros, "0" for zero.
func (u USD) String() string {
	text := u.d.String()
	if strings.ContainsRune(text, '.') {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	if text == "-0" || text == "" {
		return "0"
	}
	return text
}

// Fixed is plain decimal text with at least the given number of fraction digits; more are kept when
// the amount has more, so nothing is ever hidden by it.
func (u USD) Fixed(places int) string {
	text := u.String()
	dot := strings.IndexByte(text, '.')
	if dot < 0 {
		text += "."
		dot = len(text) - 1
	}
	if missing := places - (len(text) - dot - 1); missing > 0 {
		text += strings.Repeat("0", missing)
	}
	return strings.TrimSuffix(text, ".")
}

// MarshalJSON writes the amount as a JSON string with 12 fraction digits or more (PRODUCT §1, Money).
func (u USD) MarshalJSON() ([]byte, error) { return []byte(`"` + u.Fixed(12) + `"`), nil }

// UnmarshalJSON reads a JSON string or number as decimal text, never through a float.
func (u *USD) UnmarshalJSON(raw []byte) error {
	text := string(raw)
	if len(text) >= 2 && text[0] == '"' && text[len(text)-1] == '"' {
		text = text[1 : len(text)-1]
	}
	parsed, err := ParseUSD(text)
	if err != nil {
		return err
	}
	*u = parsed
	return nil
}

// UnmarshalText reads plain decimal text (YAML, flags).
func (u *USD) UnmarshalText(text []byte) error {
	parsed, err := ParseUSD(string(text))
	if err != nil {
		return err
	}
	*u = parsed
	return nil
}

// Value stores the amount as decimal text, which PostgreSQL reads into numeric without loss.
func (u USD) Value() (driver.Value, error) { return u.d.String(), nil }

// Scan reads a numeric column.
func (u *USD) Scan(src any) error { return u.d.Scan(src) }

func plainDecimal(text string) bool {
	body := strings.TrimPrefix(text, "-")
	if body == "" || len(text) > maxTextLen {
		return false
	}
	whole, fraction, hasDot := strings.Cut(body, ".")
	return digits(whole) && (!hasDot || digits(fraction))
}

func digits(text string) bool {
	for i := 0; i < len(text); i++ {
		if text[i] < '0' || text[i] > '9' {
			return false
		}
	}
	return text != ""
}

func clip(text string) string {
	if len(text) > maxTextLen {
		return text[:maxTextLen] + "…"
	}
	return text
}
