// Package catalogue is the built-in price book: dated rows with their source, embedded. Its version is its content's hash.
package catalogue

import (
	"crypto/sha256"
	_ "embed" // for the rows
	"encoding/hex"

	"p402.io/p402/meter"
)

//go:embed catalogue.json
var raw []byte

// Load is the built-in rate card.
func Load() (meter.RateCard, error) {
	rows, err := meter.ParseRateRows(raw)
	if err != nil {
		return meter.RateCard{}, err
	}
	sum := sha256.Sum256(raw)
	return meter.NewRateCard("builtin-"+hex.EncodeToString(sum[:6]), rows)
}
