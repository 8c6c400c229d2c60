package money

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/shopspring/decimal"
)

// usdcDecimals is the token's number of decimals (Circle's FiatToken: 6).
const usdcDecimals = 6

// ErrNotPayable is returned by Payable for a negative price or one that no uint256 can hold.
var ErrNotPayable = errors.New("price cannot be paid in USDC")

// USDC is a whole, non-negative number of atomic USDC units (10^-6 USDC), as a uint256 on chain.
// The zero value is zero units. Values are immutable.
type USDC struct{ n *big.Int }

// OneAtomic is the smallest amount of USDC there is.
var OneAtomic = USDC{big.NewInt(1)}

// ParseUSDC reads canonical decimal text of atomic units: digits only, no sign, no leading zero, at most
// uint256. Anything else is refused, as x402 amounts are compared as integers and as text.
func ParseUSDC(text string) (USDC, error) {
	if !digits(text) || len(text) > 78 || (len(text) > 1 && text[0] == '0') {
		return USDC{}, fmt.Errorf("atomic USDC %q: %w", clip(text), ErrFormat)
	}
	n, _ := new(big.Int).SetString(text, 10)
	if n.BitLen() > 256 {
		return USDC{}, fmt.Errorf("atomic USDC %q is above uint256: %w", clip(text), ErrFormat)
	}
	return USDC{n}, nil
}

// USDCFromBig wraps a chain amount; it refuses nil, negative numbers and more than 256 bits.
func USDCFromBig(n *big.Int) (USDC, error) {
	if n == nil || n.Sign() < 0 || n.BitLen() > 256 {
		return USDC{}, fmt.Errorf("atomic USDC: %w", ErrFormat)
	}
	return USDC{new(big.Int).Set(n)}, nil
}

// Atomic is n atomic units; a negative n is a programmer's error and panics.
func Atomic(n int64) USDC {
	if n < 0 {
		panic("money: negative USDC")
	}
	return USDC{big.NewInt(n)}
}

// Payable is what a payer owes for a price: the price in atomic units, rounded up to the next whole
// unit, so that the seller never gets less than was quoted and the payer never a whole unit more.
func Payable(price USD) (USDC, error) {
	if price.Sign() < 0 {
		return USDC{}, fmt.Errorf("price %s: %w", price, ErrNotPayable)
	}
	n := price.d.Shift(usdcDecimals).Ceil().BigInt()
	if n.BitLen() > 256 {
		return USDC{}, fmt.Errorf("price %s: %w", price, ErrNotPayable)
	}
	return USDC{n}, nil
}

// USD is the amount at one dollar for one USDC. That rate is a recorded policy of the ledger, not a fact.
func (c USDC) USD() USD { return USD{decimal.NewFromBigInt(c.Big(), -usdcDecimals)} }

// Big is a copy of the amount as an integer.
func (c USDC) Big() *big.Int {
	if c.n == nil {
		return new(big.Int)
	}
	return new(big.Int).Set(c.n)
}

// Cmp compares two amounts.
func (c USDC) Cmp(o USDC) int { return c.Big().Cmp(o.Big()) }

// Add is c + o.
func (c USDC) Add(o USDC) USDC { return USDC{new(big.Int).Add(c.Big(), o.Big())} }

// IsZero reports whether no unit is meant.
func (c USDC) IsZero() bool { return c.n == nil || c.n.Sign() == 0 }

// String is the decimal text of atomic units.
func (c USDC) String() string { return c.Big().String() }

// MarshalText writes atomic units as text; in JSON that is a string, as x402 has it.
func (c USDC) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads what ParseUSDC accepts.
func (c *USDC) UnmarshalText(text []byte) error {
	parsed, err := ParseUSDC(string(text))
	if err != nil {
		return err
	}
	*c = parsed
	return nil
}

// Value stores the amount as decimal text for a numeric(78,0) column.
func (c USDC) Value() (driver.Value, error) { return c.String(), nil }

// Scan reads a numeric(78,0) column.
func (c *USDC) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*c = USDC{}
		return nil
	case string:
		return c.scanText(v)
	case []byte:
		return c.scanText(string(v))
	case int64:
		return c.scanText(fmt.Sprint(v))
	default:
		return fmt.Errorf("scan atomic USDC from %T: %w", src, ErrFormat)
	}
}

func (c *USDC) scanText(text string) error {
	if whole, fraction, ok := strings.Cut(text, "."); ok && strings.Trim(fraction, "0") == "" {
		text = whole
	}
	return c.UnmarshalText([]byte(text))
}
