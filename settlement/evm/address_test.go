package evm_test

import (
	"errors"
	"testing"

	"p402.io/p402/settlement/evm"
)

// The mixed-case rows are the test vectors of EIP-55.
func TestS10_MixedCaseChecksumIsChecked(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, text, want string
		err              error
	}{
		{"all lower carries no checksum", "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", nil},
		{"all upper carries no checksum", "0x5AAEB6053F3E94C9B9A09F33669435E7EF1BEAED", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", nil},
		{"right checksum", "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359", "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359", nil},
		{"one letter's case wrong", "0xfb6916095ca1df60bB79Ce92cE3Ea74c37c5d359", "", evm.ErrAddressChecksum},
		{"no prefix", "fB6916095ca1df60bB79Ce92cE3Ea74c37c5d359", "", evm.ErrAddressForm},
		{"upper-case prefix", "0XfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359", "", evm.ErrAddressForm},
		{"39 digits", "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d35", "", evm.ErrAddressForm},
		{"a letter that is no digit", "0xgB6916095ca1df60bB79Ce92cE3Ea74c37c5d359", "", evm.ErrAddressForm},
		{"empty", "", "", evm.ErrAddressForm},
		{"zero", "0x0000000000000000000000000000000000000000", "", evm.ErrAddressZero},
	} {
		got, err := evm.ParseAddress(row.text)
		if got != row.want || row.err == nil && err != nil || row.err != nil && (err == nil || err.Error() != row.err.Error() || !errors.Is(err, row.err)) {
			t.Errorf("%s: got %q, %v", row.name, got, err)
		}
	}
}
