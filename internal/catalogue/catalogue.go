// Package catalogue is the built-in price book: dated rows with their source, embedded. Its version is its content's hash.
//
// The rows are written by generate.mjs (make catalog) from a pinned open price list, with overlay.json, which is checked by
// hand, on top: tiers of service, fees and corrections the list does not have. Nothing is fetched at run time. An operator's
// own prices are laid over it as a file of the same form.
package catalogue

import (
	"crypto/sha256"
	_ "embed" // for the rows
	"encoding/hex"
	"fmt"
	"os"

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
	return meter.NewRateCard("builtin-"+digest(raw), rows)
}

// LoadWith is the built-in rate card with an operator's file on top: a JSON list of rows of the same form. path "" is none.
// A file that cannot be read, or a row that cannot be priced by, is an error: wrong prices must not start.
func LoadWith(path string) (meter.RateCard, error) {
	card, err := Load()
	if err != nil || path == "" {
		return card, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return meter.RateCard{}, fmt.Errorf("prices: %w", err)
	}
	rows, err := meter.ParseRateRows(text)
	if err != nil {
		return meter.RateCard{}, fmt.Errorf("prices %s: %w", path, err)
	}
	return card.Merge("file-"+digest(text), rows)
}

// digest is short enough to read out, and long enough that two books never share it.
func digest(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:6])
}
