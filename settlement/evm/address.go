package evm

import (
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"p402.io/p402/internal/fault"
)

// Why an address is no payee. The messages name no value: what was typed may be anything.
var (
	ErrAddressForm     = fault.New(fault.KindInvalid, "INVALID_INPUT", "must be an address: 0x and 40 hex digits")
	ErrAddressChecksum = fault.New(fault.KindInvalid, "INVALID_INPUT", "has a wrong checksum (EIP-55): a letter may be mistyped")
	ErrAddressZero     = fault.New(fault.KindInvalid, "INVALID_INPUT", "cannot receive: it is the zero address")
)

// ParseAddress reads an address a person has typed and returns it in its checksummed form (EIP-55). All digits in one
// case carry no checksum and pass; mixed case must match, as one mistyped letter would pay a stranger (S10).
func ParseAddress(text string) (string, error) {
	if !strings.HasPrefix(text, "0x") || !common.IsHexAddress(text) {
		return "", ErrAddressForm
	}
	address := common.HexToAddress(text)
	if digits := text[2:]; digits != strings.ToLower(digits) && digits != strings.ToUpper(digits) && address.Hex() != text {
		return "", ErrAddressChecksum
	}
	if address == (common.Address{}) {
		return "", ErrAddressZero
	}
	return address.Hex(), nil
}
