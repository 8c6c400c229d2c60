package money

import (
	"database/sql/driver"
	"math/big"
)

// Wei is an amount of a network's own coin in its smallest unit, for gas only; it is never summed with USD or USDC.
type Wei struct{ USDC }

// WeiFromBig wraps a chain amount.
func WeiFromBig(n *big.Int) (Wei, error) {
	c, err := USDCFromBig(n)
	return Wei{c}, err
}

// Value stores the amount as decimal text for a numeric(78,0) column.
func (w Wei) Value() (driver.Value, error) { return w.USDC.Value() }

// Scan reads a numeric(78,0) column.
func (w *Wei) Scan(src any) error { return w.USDC.Scan(src) }
