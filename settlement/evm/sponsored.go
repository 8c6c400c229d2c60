package evm

import (
	"encoding/json"
	"math/big"
	"regexp"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"p402.io/p402/internal/money"
	"p402.io/p402/settlement"
	"p402.io/p402/settlement/x402"
)

// extension2612 is the key of the extension by which a payer's EIP-2612 permit travels, so that we approve Permit2 for it.
const extension2612 = "eip2612GasSponsoring"

var hexForm = regexp.MustCompile(`^0x([0-9a-fA-F]{2})+$`)

// sponsored reads and checks the EIP-2612 permit of a payment (PROTOCOL §6.6); nil if it brings none. Its signature is judged by the
// simulation: a permit that does not hold leaves the payer without allowance.
func sponsored(t settlement.Terms, p x402.Payment, m permit, now time.Time) (*settlement.TokenPermit, error) {
	raw, ok := p.Extensions[extension2612]
	if !ok {
		return nil, nil // none is the usual case
	}
	var e struct {
		Info struct{ From, Asset, Spender, Amount, Nonce, Deadline, Signature string }
	}
	if json.Unmarshal(raw, &e) != nil {
		return nil, x402.Refuse(x402.ReasonEIP2612Format, "extensions."+extension2612, "")
	}
	if e.Info.Signature == "" {
		return nil, nil // the server's own advertisement, echoed by a payer who has approved already
	}
	amount, err := money.ParseUSDC(e.Info.Amount)
	deadline, err2 := money.ParseUSDC(e.Info.Deadline)
	signature := common.FromHex(e.Info.Signature)
	const at = "extensions." + extension2612 + ".info"
	switch {
	case err != nil || err2 != nil || !hexForm.MatchString(e.Info.Signature) || len(signature) != 65 || !common.IsHexAddress(e.Info.From) ||
		!common.IsHexAddress(e.Info.Asset) || !common.IsHexAddress(e.Info.Spender):
		return nil, x402.Refuse(x402.ReasonEIP2612Format, at, "")
	case common.HexToAddress(e.Info.From) != m.owner:
		return nil, x402.Refuse(x402.ReasonEIP2612From, at+".from", "")
	case common.HexToAddress(e.Info.Asset) != common.HexToAddress(t.Asset):
		return nil, x402.Refuse(x402.ReasonEIP2612Asset, at+".asset", "")
	case common.HexToAddress(e.Info.Spender) != common.HexToAddress(Permit2Address):
		return nil, x402.Refuse(x402.ReasonEIP2612Spender, at+".spender", "")
	case deadline.Big().Cmp(big.NewInt(now.Add(minLeftSponsored).Unix())) < 0:
		return nil, x402.Refuse(x402.ReasonEIP2612Expired, at+".deadline", "")
	case amount.Big().Cmp(m.amount) != 0:
		return nil, x402.Refuse(x402.ReasonPermit2612Amount, at+".amount", "")
	case seconds(deadline.Big()) == maxSeconds:
		return nil, x402.Refuse(x402.ReasonEIP2612Format, at+".deadline", "lies beyond the year 9999")
	}
	return &settlement.TokenPermit{Value: amount, Deadline: seconds(deadline.Big()), Signature: signature}, nil
}
