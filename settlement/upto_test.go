package settlement_test

import (
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/math"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/signer/core/apitypes"

	"p402.io/p402/contracts"
	"p402.io/p402/internal/devchain"
	"p402.io/p402/internal/money"
	"p402.io/p402/settlement"
	"p402.io/p402/settlement/evm"
	"p402.io/p402/settlement/x402"
)

// ceiling is what the payer signs for; price is the part of it that is captured.
const ceiling = 5 * price

// authorizedUpto is a claimed upto payment, its permit signed as a wallet does it: from the type's own text.
func (r *rig) authorizedUpto(payer string) settlement.Payment {
	r.Helper()
	r.nonce++
	most := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1))
	r.other(payer, "approve(address,uint256)", common.HexToAddress(evm.Permit2Address), most)
	r.mine(1)
	m := &x402.Permit2Payload{From: addressOf(payer).Hex(), Token: devchain.USDCAddress, Amount: big.NewInt(ceiling).String(), Spender: evm.UptoProxyAddress,
		Nonce: big.NewInt(int64(r.nonce) + 1000).String(), Deadline: big.NewInt(r.chain.Head().Time.Unix() + 300).String(), To: addressOf("seller").Hex(),
		Facilitator: addressOf("settler").Hex(), ValidAfter: "0"}
	data := apitypes.TypedData{PrimaryType: "PermitWitnessTransferFrom", Types: apitypes.Types{
		"EIP712Domain":     {{Name: "name", Type: "string"}, {Name: "chainId", Type: "uint256"}, {Name: "verifyingContract", Type: "address"}},
		"TokenPermissions": {{Name: "token", Type: "address"}, {Name: "amount", Type: "uint256"}},
		"Witness":          {{Name: "to", Type: "address"}, {Name: "facilitator", Type: "address"}, {Name: "validAfter", Type: "uint256"}},
		"PermitWitnessTransferFrom": {{Name: "permitted", Type: "TokenPermissions"}, {Name: "spender", Type: "address"}, {Name: "nonce", Type: "uint256"},
			{Name: "deadline", Type: "uint256"}, {Name: "witness", Type: "Witness"}}},
		Domain: apitypes.TypedDataDomain{Name: "Permit2", ChainId: math.NewHexOrDecimal256(devchain.ChainID), VerifyingContract: evm.Permit2Address},
		Message: apitypes.TypedDataMessage{"permitted": map[string]any{"token": m.Token, "amount": m.Amount}, "spender": m.Spender, "nonce": m.Nonce, "deadline": m.Deadline,
			"witness": map[string]any{"to": m.To, "facilitator": m.Facilitator, "validAfter": m.ValidAfter}}}
	digest, _, err := apitypes.TypedDataAndHash(data)
	r.must(err)
	m.Signature, err = crypto.Sign(digest, keyOf(payer))
	r.must(err)
	terms := settlement.Terms{QuoteID: "quo_1", TenantID: r.tenant, WorkflowID: "demo", Scheme: x402.SchemeUpto, TransferMethod: settlement.MethodPermit2,
		Facilitator: m.Facilitator, Network: devchain.Network, Asset: devchain.USDCAddress, AssetName: "USDC", AssetVersion: "2", PayTo: m.To,
		Amount: money.Atomic(ceiling), PriceUSD: money.MustUSD("0.05"), WaitFor: settlement.WaitIncluded, QuotedAt: r.now()}
	a, err := evm.NewSuite(r.exact).Check(r.Context(), terms, x402.Payment{Version: 2, Scheme: x402.SchemeUpto, Network: devchain.Network, Permit2: m})
	r.must(err)
	p := settlement.Claim(r.ids.Payment(), terms, a, r.ids.Event(), r.now(), r.now().Add(time.Hour))
	r.must(r.db.Claim(r.Context(), p))
	return p
}

// captured decides what an upto payment comes to.
func (r *rig) captured(p settlement.Payment, amount int64) settlement.Payment {
	r.Helper()
	n := money.Atomic(amount)
	next, m, err := p.Advance(settlement.Evidence{Kind: settlement.EvidenceCapture, Amount: &n}, r.now())
	r.must(err)
	r.must(r.db.Record(r.Context(), next, m, nil))
	return next
}

// TestA117_UptoCollectsWhatWasCaptured, once, and its receipt names that amount.
func TestA117_UptoCollectsWhatWasCaptured(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.captured(r.authorizedUpto("payer-1"), price)
	if got := r.paidOnce(p); got.Amount.Cmp(money.Atomic(price)) != 0 {
		t.Errorf("booked %s", got.Amount)
	}
}

// TestA117_UptoOfNothingIsFinalAndSpent: no transaction, and the authorization cannot be claimed again.
func TestA117_UptoOfNothingIsFinalAndSpent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.authorizedUpto("payer-1")
	r.captured(p, 0)
	r.step()
	r.is(p, settlement.StateFinal, "nothing")
	if r.wallet.sent != 0 || r.sold() != 0 {
		t.Errorf("sent %d, sold %d", r.wallet.sent, r.sold())
	}
	again := settlement.Claim(r.ids.Payment(), p.Terms, p.Authorization, r.ids.Event(), r.now(), r.now().Add(time.Hour))
	if err := r.db.Claim(t.Context(), again); !errors.Is(err, settlement.ErrAuthorizationUsed) {
		t.Errorf("claimed again: %v", err)
	}
}

// TestA125_AnUptoPaymentSurvivesAReorganisation and is collected once.
func TestA125_AnUptoPaymentSurvivesAReorganisation(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.captured(r.authorizedUpto("payer-1"), price)
	r.step()
	r.mine(1)
	r.step()
	r.is(p, settlement.StateIncluded, "")
	r.must(r.chain.Reorg(1, devchain.FateDropped))
	r.step()
	r.is(p, settlement.StateSubmitted, "reorged")
	r.paidOnce(p)
}

// TestA116_AnUptoPermitTakenBackIsLost: invalidated in front of our settlement.
func TestA116_AnUptoPermitTakenBackIsLost(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.captured(r.authorizedUpto("payer-1"), price)
	r.step()
	nonce := common.HexToHash(p.Authorization.Nonce).Big()
	mask := new(big.Int).Lsh(big.NewInt(1), uint(new(big.Int).And(nonce, big.NewInt(255)).Uint64()))
	data, err := contracts.Permit2.Pack("invalidateUnorderedNonces(uint256,uint256)", new(big.Int).Rsh(nonce, 8), mask)
	r.must(err)
	r.transact("payer-1", common.HexToAddress(evm.Permit2Address), data)
	r.mine(1)
	r.step()
	r.is(p, settlement.StateLost, "cancelled")
	if n := r.sold(); n != 0 {
		t.Errorf("%d payments", n)
	}
}

// TestA116_AnAllowanceTakenBackIsLost: the payer withdraws the approval of Permit2.
func TestA116_AnAllowanceTakenBackIsLost(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.captured(r.authorizedUpto("payer-1"), price)
	r.other("payer-1", "approve(address,uint256)", common.HexToAddress(evm.Permit2Address), new(big.Int))
	r.mine(1)
	r.step()
	r.is(p, settlement.StateLost, "unfunded")
}
