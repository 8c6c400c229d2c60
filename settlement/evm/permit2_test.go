package evm

import (
	"encoding/json"
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"

	"p402.io/p402/contracts"
	"p402.io/p402/internal/devchain"
	"p402.io/p402/internal/money"
	"p402.io/p402/settlement"
	"p402.io/p402/settlement/x402"
)

// permitPromise is a Permit2 payment before it is signed.
type permitPromise struct {
	terms           settlement.Terms
	scheme, network string
	m               permit
	chainID         int64
	signer          string
	after           func([]byte) []byte
	extensions      map[string]json.RawMessage
}

func (r *rig) permitPromise(payer string, nonce int64, upto bool) permitPromise {
	t := settlement.Terms{Scheme: x402.SchemeExact, TransferMethod: settlement.MethodPermit2, Network: devchain.Network, Asset: devchain.USDCAddress,
		AssetName: "USDC", AssetVersion: "2", PayTo: devchain.Lookup("seller").Address, Amount: money.Atomic(10_000)}
	p := permitPromise{terms: t, scheme: x402.SchemeExact, network: devchain.Network, chainID: devchain.ChainID, signer: payer,
		m: permit{owner: addressOf(payer), token: common.HexToAddress(devchain.USDCAddress), spender: common.HexToAddress(devchain.ExactPermit2ProxyAddress),
			to: addressOf("seller"), amount: big.NewInt(10_000), nonce: big.NewInt(nonce), deadline: big.NewInt(r.now().Unix() + 300), validAfter: new(big.Int)}}
	if upto {
		p.terms.Scheme, p.terms.Facilitator, p.scheme = x402.SchemeUpto, addressOf("settler").Hex(), x402.SchemeUpto
		p.m.upto, p.m.spender, p.m.facilitator = true, common.HexToAddress(devchain.UptoPermit2ProxyAddress), addressOf("settler")
	}
	return p
}

func (p permitPromise) payment(t *testing.T) x402.Payment {
	t.Helper()
	signature, err := crypto.Sign(p.m.digest(big.NewInt(p.chainID)).Bytes(), keyOf(t, p.signer))
	if err != nil {
		t.Fatal(err)
	}
	signature[64] += 27
	if p.after != nil {
		signature = p.after(signature)
	}
	return x402.Payment{Version: 2, Scheme: p.scheme, Network: p.network, Extensions: p.extensions, Permit2: &x402.Permit2Payload{Signature: signature,
		From: p.m.owner.Hex(), Token: p.m.token.Hex(), Amount: p.m.amount.String(), Spender: p.m.spender.Hex(), Nonce: p.m.nonce.String(),
		Deadline: p.m.deadline.String(), To: p.m.to.Hex(), Facilitator: p.m.facilitator.Hex(), ValidAfter: p.m.validAfter.String()}}
}

// suite is all schemes, with the settler as our wallet.
func (r *rig) suite() *Suite {
	e := *r.exact
	e.Wallets = []common.Address{addressOf("settler")}
	return NewSuite(&e)
}

func (r *rig) approve(payer string) {
	r.Helper()
	most := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1))
	r.send(payer, common.HexToAddress(devchain.USDCAddress), pack(r.T, "approve(address,uint256)", common.HexToAddress(Permit2Address), most))
}

func (r *rig) permitRefused(name string, p permitPromise, want x402.Reason) {
	r.Helper()
	_, err := r.suite().Check(r.Context(), p.terms, p.payment(r.T))
	if got := reasonOf(err); got != want {
		r.Errorf("%s: %q (%v), want %q", name, got, err, want)
	}
}

// permitAccepted checks, collects and finds the evidence.
func (r *rig) permitAccepted(name string, p permitPromise, amount int64) settlement.Authorization {
	r.Helper()
	s := r.suite()
	a, err := s.Check(r.Context(), p.terms, p.payment(r.T))
	if err != nil {
		r.Fatalf("%s: %v", name, err)
	}
	chain := &Chain{Client: r.client}
	from := r.chain.Head().Number
	if _, found, err := chain.Evidence(r.Context(), a, from); err != nil || found {
		r.Fatalf("%s: evidence before it was collected: %v %v", name, found, err)
	}
	before := r.balance("seller")
	intent, err := s.Collect(a, money.Atomic(amount))
	r.must(err)
	receipt := r.send("settler", common.HexToAddress(intent.To), intent.Data)
	if receipt.Status != types.ReceiptStatusSuccessful {
		r.Fatalf("%s: passed the check, reverted on chain", name)
	}
	if got := r.balance("seller") - before; got != amount {
		r.Errorf("%s: the seller got %d, want %d", name, got, amount)
	}
	e, found, err := chain.Evidence(r.Context(), a, from)
	if err != nil || !found || e.Kind != settlement.EvidenceSeen || e.TxHash != receipt.TxHash.Hex() {
		r.Fatalf("%s: evidence %+v %v %v", name, e, found, err)
	}
	return a
}

func (r *rig) balance(name string) int64 {
	r.Helper()
	word, err := r.exact.read(r.Context(), common.HexToAddress(devchain.USDCAddress), sigBalance, addressOf(name))
	r.must(err)
	return new(big.Int).SetBytes(word).Int64()
}

// TestA116_EveryPermit2ReasonInItsOrder adds faults from the protocol's last check to its first, as for EIP-3009, for both schemes.
func TestA116_EveryPermit2ReasonInItsOrder(t *testing.T) {
	t.Parallel()
	for _, upto := range []bool{false, true} {
		t.Run(fmt.Sprintf("upto=%v", upto), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.approve("payer-1")
			p := r.permitPromise("payer-1", 1, upto)
			if _, err := r.suite().Check(t.Context(), p.terms, p.payment(t)); err != nil {
				t.Fatalf("without a fault: %v", err)
			}
			now := r.now().Unix()
			used := r.permitPromise("poor", 7, upto)
			data, err := contracts.Permit2.Pack("invalidateUnorderedNonces(uint256,uint256)", new(big.Int), big.NewInt(1<<7))
			r.must(err)
			r.send("poor", common.HexToAddress(Permit2Address), data)
			r.send("deployer", common.HexToAddress(devchain.USDCAddress), pack(t, "pause()"))
			scheme, network := x402.ReasonUnsupportedPayload, x402.ReasonNetworkMismatch
			if upto {
				scheme, network = x402.ReasonUptoScheme, x402.ReasonUptoNetwork
			}
			for _, fault := range []struct {
				want x402.Reason
				add  func(*permitPromise)
			}{
				{x402.ReasonPermit2Simulation, func(*permitPromise) {}}, // paused
				{x402.ReasonPermit2Allowance, func(p *permitPromise) { p.m.owner, p.signer = addressOf("payer-2"), "payer-2" }},
				{x402.ReasonPermit2Balance, func(p *permitPromise) { p.m.owner, p.signer = addressOf("poor"), "poor" }},
				{x402.ReasonPermit2Nonce, func(p *permitPromise) { p.m.nonce = used.m.nonce }},
				{x402.ReasonPermit2Signature, func(p *permitPromise) { p.signer = "payer-3" }},
				{x402.ReasonFactory, func(p *permitPromise) {
					p.after = func(sig []byte) []byte { return wrap6492(common.HexToAddress("0xfac7"), sig) }
				}},
				{x402.ReasonAssetNotDeployed, func(p *permitPromise) {
					p.m.token = common.HexToAddress("0xaa")
					p.terms.Asset = p.m.token.Hex()
				}},
				{x402.ReasonPermit2Token, func(p *permitPromise) { p.m.token = common.HexToAddress(devchain.USDCAddress) }},
				{x402.ReasonPermit2Amount, func(p *permitPromise) { p.m.amount = big.NewInt(10_001) }},
				{x402.ReasonPermit2NotYet, func(p *permitPromise) { p.m.validAfter = big.NewInt(now + 60) }},
				{x402.ReasonPermit2Expired, func(p *permitPromise) { p.m.deadline = big.NewInt(now + 5) }},
				{x402.ReasonUptoFacilitator, func(p *permitPromise) { p.m.facilitator = addressOf("payer-6") }},
				{x402.ReasonPermit2Recipient, func(p *permitPromise) { p.m.to = addressOf("payer-2") }},
				{x402.ReasonPermit2Spender, func(p *permitPromise) { p.m.spender = addressOf("settler") }},
				{network, func(p *permitPromise) { p.network = "eip155:8453" }},
				{scheme, func(p *permitPromise) { p.scheme = x402.SchemeBatch }},
			} {
				fault.add(&p)
				if fault.want != x402.ReasonUptoFacilitator || upto {
					r.permitRefused(string(fault.want), p, fault.want)
				}
			}
		})
	}
}

func TestExactOverPermit2IsCollectedOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.approve("payer-1")
	p := r.permitPromise("payer-1", 300, false)
	r.permitAccepted("EOA", p, 10_000)
	r.permitRefused("again", p, x402.ReasonPermit2Nonce)
	for i, deadline := range []string{"115792089237316195423570985008687907853269984665640564039457584007913129639935", "253402300799"} {
		forEver := r.permitPromise("payer-1", int64(301+i), false)
		forEver.m.deadline = number(t, deadline)
		r.permitAccepted("deadline "+deadline, forEver, 10_000)
	}
	high := r.permitPromise("payer-1", 303, false)
	high.after = func(sig []byte) []byte {
		s := new(big.Int).Sub(crypto.S256().Params().N, new(big.Int).SetBytes(sig[32:64]))
		copy(sig[32:64], common.BigToHash(s).Bytes())
		sig[64] = 27 + 28 - sig[64]
		return sig
	}
	r.permitRefused("high s", high, x402.ReasonPermit2Signature)
	other := r.permitPromise("payer-1", 303, false)
	other.chainID = 1
	r.permitRefused("another chain", other, x402.ReasonPermit2Signature)
	short := r.permitPromise("payer-1", 303, false)
	a, err := r.suite().Check(t.Context(), short.terms, short.payment(t))
	r.must(err)
	if _, err := r.suite().Collect(a, money.Atomic(9_999)); err == nil {
		t.Error("exact collected less")
	}
}

// TestA117_UptoCollectsAtMostWhatWasSigned, and only by the facilitator that was signed.
func TestA117_UptoCollectsAtMostWhatWasSigned(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.approve("payer-1")
	a := r.permitAccepted("part", r.permitPromise("payer-1", 1, true), 3_333)
	r.permitAccepted("all", r.permitPromise("payer-1", 2, true), 10_000)
	r.permitRefused("again", r.permitPromise("payer-1", 1, true), x402.ReasonPermit2Nonce)
	if _, err := r.suite().Collect(a, money.Atomic(10_001)); err == nil {
		t.Error("more than was signed")
	}
	p := r.permitPromise("payer-1", 3, true)
	a, err := r.suite().Check(t.Context(), p.terms, p.payment(t))
	r.must(err)
	intent, err := r.suite().Collect(a, money.Atomic(1))
	r.must(err)
	if intent.From != addressOf("settler").Hex() {
		t.Errorf("sent from %q", intent.From)
	}
	if receipt := r.send("payer-6", common.HexToAddress(intent.To), intent.Data); receipt.Status != types.ReceiptStatusFailed {
		t.Error("a stranger settled an upto permit")
	}
}

// TestA119_APermitThatIsTakenBack is no payment, even with a transfer of the same amount beside it.
func TestA119_APermitThatIsTakenBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.approve("payer-1")
	p := r.permitPromise("payer-1", 9, false)
	a, err := r.suite().Check(t.Context(), p.terms, p.payment(t))
	r.must(err)
	from := r.chain.Head().Number
	r.send("payer-1", common.HexToAddress(devchain.USDCAddress), pack(t, "transfer(address,uint256)", addressOf("seller"), big.NewInt(10_000)))
	data, err := contracts.Permit2.Pack("invalidateUnorderedNonces(uint256,uint256)", new(big.Int), big.NewInt(1<<9))
	r.must(err)
	r.send("payer-1", common.HexToAddress(Permit2Address), data)
	e, found, err := (&Chain{Client: r.client}).Evidence(t.Context(), a, from)
	if err != nil || !found || e.Kind != settlement.EvidenceUncollectable || e.Reason != "cancelled" {
		t.Fatalf("%+v %v %v", e, found, err)
	}
}

func TestA110_AWalletPaysOverPermit2(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.approve("payer-5")
	r.delegate("payer-5", common.HexToAddress(devchain.Delegate7702Address))
	r.permitAccepted("EIP-7702", r.permitPromise("payer-5", 1, false), 10_000)
	r.delegate("payer-5", common.HexToAddress(devchain.Multicall3Address))
	r.permitRefused("delegate without ERC-1271", r.permitPromise("payer-5", 2, false), x402.ReasonPermit2Signature)
}

// sponsoredBy adds the payer's EIP-2612 permit for Permit2.
func (r *rig) sponsoredBy(p permitPromise, change func(info map[string]string)) permitPromise {
	r.Helper()
	deadline := big.NewInt(r.now().Unix() + 300)
	hash := hashWords(typeHash("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"), address(p.m.owner),
		address(common.HexToAddress(Permit2Address)), uint256(p.m.amount), uint256(new(big.Int)), uint256(deadline))
	signature, err := crypto.Sign(Digest(Domain{"USDC", "2", big.NewInt(devchain.ChainID), p.m.token}, hash).Bytes(), keyOf(r.T, p.signer))
	r.must(err)
	signature[64] += 27
	info := map[string]string{"from": p.m.owner.Hex(), "asset": p.m.token.Hex(), "spender": Permit2Address, "amount": p.m.amount.String(), "nonce": "0",
		"deadline": deadline.String(), "signature": hexOf(signature), "version": "1", "description": "d"}
	if change != nil {
		change(info)
	}
	raw, err := json.Marshal(map[string]any{"info": info})
	r.must(err)
	p.extensions = map[string]json.RawMessage{extension2612: raw}
	return p
}

func TestAPayerWithoutGasApprovesBySignature(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i, upto := range []bool{false, true} {
		payer := []string{"payer-3", "payer-4"}[i]
		r.permitRefused("no allowance", r.permitPromise(payer, 1, upto), x402.ReasonPermit2Allowance)
		for reason, change := range map[x402.Reason]func(map[string]string){
			x402.ReasonEIP2612Format:    func(i map[string]string) { i["signature"] = "0x12" },
			x402.ReasonEIP2612From:      func(i map[string]string) { i["from"] = addressOf("payer-1").Hex() },
			x402.ReasonEIP2612Asset:     func(i map[string]string) { i["asset"] = Permit2Address },
			x402.ReasonEIP2612Spender:   func(i map[string]string) { i["spender"] = addressOf("payer-1").Hex() },
			x402.ReasonEIP2612Expired:   func(i map[string]string) { i["deadline"] = fmt.Sprint(r.now().Add(5 * time.Second).Unix()) },
			x402.ReasonPermit2612Amount: func(i map[string]string) { i["amount"] = "1" },
			x402.ReasonPermit2Allowance: func(i map[string]string) { i["deadline"] = fmt.Sprint(r.now().Add(time.Hour).Unix()) }, // not what was signed
		} {
			r.permitRefused(string(reason), r.sponsoredBy(r.permitPromise(payer, 1, upto), change), reason)
		}
		r.permitAccepted("sponsored", r.sponsoredBy(r.permitPromise(payer, 1, upto), nil), 10_000)
	}
}

// TestSuiteTakesOnlyWhatWasOffered: a payload of another kind than the terms name never reaches the wrong check.
func TestSuiteTakesOnlyWhatWasOffered(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.approve("payer-1")
	permit, plain := r.permitPromise("payer-1", 1, false), r.promise("payer-1", 1)
	for name, tc := range map[string]struct {
		terms   settlement.Terms
		payment x402.Payment
		want    x402.Reason
	}{
		"EIP-3009 for Permit2":     {permit.terms, plain.payment(t), x402.ReasonUnsupportedPayload},
		"Permit2 for EIP-3009":     {plain.terms, permit.payment(t), x402.ReasonUnsupportedPayload},
		"exact permit for upto":    {r.permitPromise("payer-1", 1, true).terms, permit.payment(t), x402.ReasonUptoScheme},
		"upto permit for exact":    {permit.terms, r.permitPromise("payer-1", 1, true).payment(t), x402.ReasonUnsupportedPayload},
		"what was offered":         {permit.terms, permit.payment(t), ""},
		"what was offered (3009)":  {plain.terms, plain.payment(t), ""},
		"upto over EIP-3009 terms": {plain.terms, r.permitPromise("payer-1", 1, true).payment(t), x402.ReasonUnsupportedPayload},
	} {
		_, err := r.suite().Check(t.Context(), tc.terms, tc.payment)
		if got := reasonOf(err); got != tc.want || tc.want == "" && err != nil {
			t.Errorf("%s: %q (%v), want %q", name, got, err, tc.want)
		}
	}
}

// TestPermit2CalldataVectors checks the proxies' calls byte for byte against the published ones.
func TestPermit2CalldataVectors(t *testing.T) {
	t.Parallel()
	var file struct {
		Calldata []struct{ ID, To, Data, ActualAmount string } `json:"calldata"`
	}
	vectors(t, &file)
	seen := 0
	for _, v := range file.Calldata {
		data := common.FromHex(v.Data)
		word := func(n int) []byte { return data[4+32*n : 4+32*(n+1)] }
		tail := func(n int) []byte { return data[4+32*n : 4+32*n+65] }
		first := 0
		a := settlement.Authorization{Method: settlement.MethodPermit2, Payer: "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", PayTo: "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
			Asset: "0x036CbD53842c5426634e7929541eC2318f3dCF7e", ValidBefore: 1800000300}
		switch v.ID {
		case "calldata-exact-proxy-settle":
			a.Signature = tail(9)
		case "calldata-exact-proxy-settleWithPermit":
			first, a.Signature = 5, tail(14)
			a.Sponsored = &settlement.TokenPermit{Value: money.Atomic(10_000), Deadline: 1800000300, Signature: append(append(append([]byte{}, word(2)...), word(3)...), word(4)[31])}
		case "calldata-upto-proxy-settle-partial":
			a.Signature, a.Facilitator = tail(11), "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
		default:
			continue
		}
		seen++
		value, err := money.USDCFromBig(new(big.Int).SetBytes(word(first + 1)))
		if err != nil {
			t.Fatal(err)
		}
		a.Value, a.Nonce = value, common.BytesToHash(word(first+2)).Hex()
		amount := value
		if v.ActualAmount != "" {
			if amount, err = money.ParseUSDC(v.ActualAmount); err != nil {
				t.Fatal(err)
			}
		}
		got, err := NewSuite(&Exact{}).Collect(a, amount)
		if err != nil || hexOf(got.Data) != v.Data || got.To != v.To {
			t.Errorf("%s: %v\n%s\nwant %s", v.ID, err, hexOf(got.Data), v.Data)
		}
	}
	if seen != 3 {
		t.Errorf("%d vectors", seen)
	}
}
