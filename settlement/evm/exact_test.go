package evm

import (
	"bytes"
	"context"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	word "github.com/holiman/uint256"

	"p402.io/p402/contracts"
	"p402.io/p402/internal/devchain"
	"p402.io/p402/internal/money"
	"p402.io/p402/settlement"
	"p402.io/p402/settlement/x402"
)

// TestS3_EveryReasonInItsOrder adds one fault after the other, from the protocol's last check to its first: with all later
// faults still there, the reason must always be the newest fault's.
func TestS3_EveryReasonInItsOrder(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.promise("payer-1", 1)
	cancelled := r.promise("poor", 7)
	r.cancel(cancelled)
	if _, err := r.check(p); err != nil {
		t.Fatalf("without a fault: %v", err)
	}
	r.send("deployer", common.HexToAddress(devchain.USDCAddress), pack(t, "pause()"))
	now := r.now().Unix()
	for _, fault := range []struct {
		want x402.Reason
		add  func(*promise)
	}{
		{x402.ReasonSimulation, func(*promise) {}}, // the token is paused, which no reason of the protocol names
		{x402.ReasonBalance, func(p *promise) { p.m.From, p.signer = cancelled.m.From, "poor" }},
		{x402.ReasonTokenVersion, func(p *promise) { p.terms.AssetVersion, p.domain.Version = "3", "3" }},
		{x402.ReasonTokenName, func(p *promise) { p.terms.AssetName, p.domain.Name = "USD Coin", "USD Coin" }},
		{x402.ReasonNonceUsed, func(p *promise) { p.m.Nonce = cancelled.m.Nonce }},
		{x402.ReasonNotSupported, func(p *promise) { p.asset(devchain.Multicall3Address) }},
		{x402.ReasonAssetNotDeployed, func(p *promise) { p.asset("0x00000000000000000000000000000000000000aA") }},
		{x402.ReasonValue, func(p *promise) { p.m.Value = big.NewInt(10_001) }},
		{x402.ReasonValidAfter, func(p *promise) { p.m.ValidAfter = big.NewInt(now + 1) }},
		{x402.ReasonValidBefore, func(p *promise) { p.m.ValidBefore = big.NewInt(now + 5) }},
		{x402.ReasonRecipient, func(p *promise) { p.m.To = addressOf("payer-2") }},
		{x402.ReasonSignature, func(p *promise) { p.signer = "payer-3" }},
		{x402.ReasonFactory, func(p *promise) {
			p.after = func(sig []byte) []byte { return wrap6492(common.HexToAddress("0xfac7"), sig) }
		}},
		{x402.ReasonNetworkMismatch, func(p *promise) { p.network = "eip155:8453" }},
		{x402.ReasonMissingDomain, func(p *promise) { p.terms.AssetVersion = "" }},
		{x402.ReasonScheme, func(p *promise) { p.scheme = "upto" }},
	} {
		fault.add(&p)
		r.refused(string(fault.want), p, fault.want)
	}
}

func (p *promise) asset(address string) {
	p.terms.Asset, p.domain.Contract = address, common.HexToAddress(address)
}

// wrap6492 is abi.encode(factory, call, inner) and the suffix of ERC-6492.
func wrap6492(factory common.Address, inner []byte) []byte {
	out := append(address(factory), uint256Word(96)...)
	out = append(out, uint256Word(160)...)
	out = append(append(out, uint256Word(4)...), common.RightPadBytes([]byte{1, 2, 3, 4}, 32)...)
	out = append(out, uint256Word(int64(len(inner)))...)
	out = append(out, common.RightPadBytes(inner, (len(inner)+31)/32*32)...)
	return append(out, suffix6492...)
}

func uint256Word(n int64) []byte { return common.BigToHash(big.NewInt(n)).Bytes() }

func TestS3_AnEOAsSignatureIsCollectedInEveryForm(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.accepted("v as 27 or 28", r.promise("payer-1", 1))
	parity := r.promise("payer-1", 2)
	parity.after = func(sig []byte) []byte { sig[64] -= 27; return sig }
	r.accepted("v as 0 or 1, normalised", parity)
	v1 := r.promise("payer-1", 3)
	v1.version, v1.m.ValidAfter = 1, big.NewInt(r.now().Unix()-600)
	r.accepted("as v1 clients sign", v1)
}

// TestA107_SignaturesAreCanonicalOrRefused: one authorization has one acceptable signature.
func TestA107_SignaturesAreCanonicalOrRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	order := crypto.S256().Params().N
	for name, change := range map[string]func([]byte) []byte{
		"high s": func(sig []byte) []byte {
			s := new(big.Int).Sub(order, new(big.Int).SetBytes(sig[32:64]))
			copy(sig[32:64], common.BigToHash(s).Bytes())
			sig[64] = 27 + 28 - sig[64]
			return sig
		},
		"v is 29":         func(sig []byte) []byte { sig[64] = 29; return sig },
		"v is 2":          func(sig []byte) []byte { sig[64] = 2; return sig },
		"64 bytes (2098)": func(sig []byte) []byte { return sig[:64] },
		"66 bytes":        func(sig []byte) []byte { return append(sig, 0) },
		"empty":           func([]byte) []byte { return nil },
		"zeros":           func([]byte) []byte { return make([]byte, 65) },
		"twice":           func(sig []byte) []byte { return append(sig, sig...) },
	} {
		p := r.promise("payer-1", 1)
		p.after = change
		r.refused(name, p, x402.ReasonSignature)
	}
}

func TestS3_AnotherChainOrDomainIsAnotherSignature(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, change := range map[string]func(*Domain){
		"chain":    func(d *Domain) { d.ChainID = big.NewInt(8453) },
		"name":     func(d *Domain) { d.Name = "USD Coin" },
		"version":  func(d *Domain) { d.Version = "1" },
		"contract": func(d *Domain) { d.Contract = common.HexToAddress(devchain.Multicall3Address) },
	} {
		p := r.promise("payer-1", 1)
		change(&p.domain)
		r.refused(name, p, x402.ReasonSignature)
	}
}

// TestA112_TheWindowsEdges: the window must be open by our clock and by the chain's, and still long enough for the work.
func TestA112_TheWindowsEdges(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	now := r.now().Unix()
	never := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1))
	for _, tc := range []struct {
		name          string
		after, before *big.Int
		work          time.Duration
		want          x402.Reason
	}{
		{"ended", big.NewInt(0), big.NewInt(now - 1), 0, x402.ReasonValidBefore},
		{"ends now", big.NewInt(0), big.NewInt(now), 0, x402.ReasonValidBefore},
		{"5 s left", big.NewInt(0), big.NewInt(now + 5), 0, x402.ReasonValidBefore},
		{"6 s left", big.NewInt(0), big.NewInt(now + 6), 0, ""},
		{"59 s left for a minute's work", big.NewInt(0), big.NewInt(now + 59), time.Minute, x402.ReasonValidBefore},
		{"60 s left for a minute's work", big.NewInt(0), big.NewInt(now + 60), time.Minute, ""},
		{"never ends", big.NewInt(0), never, time.Minute, ""},
		{"begins in a second", big.NewInt(now + 1), big.NewInt(now + 300), 0, x402.ReasonValidAfter},
		{"never begins", never, never, 0, x402.ReasonValidAfter},
		{"began a second ago", big.NewInt(now - 1), big.NewInt(now + 300), 0, ""},
		// The protocol takes validAfter == now, the token does not yet: only the simulation may tell.
		{"begins now", big.NewInt(now), big.NewInt(now + 300), 0, x402.ReasonSimulation},
	} {
		p := r.promise("payer-1", 1)
		p.m.ValidAfter, p.m.ValidBefore, p.terms.WorkflowID = tc.after, tc.before, "demo"
		exact := *r.exact
		exact.WorkTime = tc.work
		_, err := exact.Check(t.Context(), p.terms, p.payment(t))
		if got := reasonOf(err); got != tc.want || (tc.want == "" && err != nil) {
			t.Errorf("%s: %q (%v), want %q", tc.name, got, err, tc.want)
		}
	}
	late := r.promise("payer-1", 2)
	late.m.ValidBefore = big.NewInt(now + 59)
	r.exact.WorkTime = time.Minute
	if _, err := r.check(late); err != nil {
		t.Errorf("a facilitator's client, whose work is done, was measured by ours: %v", err)
	}
	forEver := r.promise("payer-1", 3)
	forEver.m.ValidBefore = never
	r.accepted("2^256-1 is what the token is given", forEver)
	beyond := r.promise("payer-1", 4)
	beyond.m.ValidBefore = big.NewInt(maxSeconds)
	r.accepted("the last second that a clock holds", beyond)
}

func TestS3_AmountsAreExact(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for version, want := range map[int]x402.Reason{1: x402.ReasonValueV1, 2: x402.ReasonValue} {
		for _, value := range []int64{0, 9_999, 10_001} {
			p := r.promise("payer-1", 1)
			p.version, p.m.Value = version, big.NewInt(value)
			r.refused("value", p, want)
		}
	}
	p := r.promise("payer-1", 1)
	p.terms.Amount, p.m.Value = money.Atomic(10_000_000_001), big.NewInt(10_000_000_001)
	r.refused("an atomic unit above the balance", p, x402.ReasonBalance)
	p.terms.Amount, p.m.Value = money.Atomic(10_000_000_000), big.NewInt(10_000_000_000)
	r.accepted("the whole balance", p)
	a, err := r.check(r.promise("payer-2", 2))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.exact.Collect(a, money.Atomic(9_999)); err == nil {
		t.Error("exact collected less than was authorized")
	}
}

func TestA119_AUsedOrCancelledNonceIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	used := r.promise("payer-1", 1)
	r.accepted("first use", used)
	r.refused("second use", used, x402.ReasonNonceUsed)
	cancelled := r.promise("payer-1", 2)
	r.cancel(cancelled)
	r.refused("cancelled", cancelled, x402.ReasonNonceUsed)
}

// TestA103_NobodyPaysThemselvesOrUs: neither the payee nor a wallet of the house may be the payer.
func TestA103_NobodyPaysThemselvesOrUs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	self := r.promise("payer-1", 1)
	self.m.To, self.terms.PayTo = self.m.From, self.m.From.Hex()
	r.refused("payer is payee", self, x402.ReasonRecipient)
	ours := r.promise("payer-2", 1)
	r.exact.Wallets = []common.Address{addressOf("settler"), addressOf("payer-2")}
	r.refused("payer is our wallet", ours, x402.ReasonRecipient)
	r.accepted("payer is somebody else", r.promise("payer-1", 2))
}

func (r *rig) walletPromise(nonce byte) promise {
	p := r.promise("wallet-owner", nonce)
	p.m.From = common.HexToAddress(devchain.ERC1271WalletAddress)
	return p
}

// TestA108_ASmartWalletIsAskedAndMayChangeItsMind covers ERC-1271.
func TestA108_ASmartWalletIsAskedAndMayChangeItsMind(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.accepted("its owner's signature", r.walletPromise(1))
	stranger := r.walletPromise(2)
	stranger.signer = "payer-1"
	r.refused("a stranger's signature", stranger, x402.ReasonSignature)
	wrapped := r.walletPromise(3)
	wrapped.after = func(sig []byte) []byte { return wrap6492(common.HexToAddress("0xfac7"), sig) }
	r.accepted("deployed already: the wrapper's inner signature counts, its factory does not", wrapped)
	data, err := contracts.ERC1271Wallet.Pack("setBroken(bool)", true)
	r.must(err)
	r.send("wallet-owner", common.HexToAddress(devchain.ERC1271WalletAddress), data)
	r.refused("broken wallet", r.walletPromise(4), x402.ReasonSignature)
}

// TestA110_CodeDecidesWhoJudgesASignature covers EIP-7702: with a delegate the account answers for itself; there is no way
// back to ecrecover when the delegate cannot.
func TestA110_CodeDecidesWhoJudgesASignature(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.delegate("payer-5", common.HexToAddress(devchain.Delegate7702Address))
	r.accepted("delegate that knows ERC-1271", r.promise("payer-5", 1))
	r.delegate("payer-5", common.HexToAddress(devchain.Multicall3Address))
	r.refused("delegate without ERC-1271", r.promise("payer-5", 2), x402.ReasonSignature)
	r.delegate("payer-5", common.Address{})
	r.accepted("delegation taken back", r.promise("payer-5", 2))
}

func (r *rig) delegate(name string, code common.Address) {
	r.Helper()
	key, account := keyOf(r.T, name), addressOf(name)
	nonce, err := r.client.PendingNonceAt(r.Context(), account)
	r.must(err)
	chain := word.NewInt(devchain.ChainID)
	signed, err := types.SignSetCode(key, types.SetCodeAuthorization{ChainID: *chain, Address: code, Nonce: nonce + 1})
	r.must(err)
	tx := types.MustSignNewTx(key, types.LatestSignerForChainID(r.exact.ChainID), &types.SetCodeTx{ChainID: chain, Nonce: nonce, To: account,
		Gas: 200_000, GasFeeCap: word.NewInt(5e9), GasTipCap: word.NewInt(1e7), AuthList: []types.SetCodeAuthorization{signed}})
	r.must(r.client.SendTransaction(r.Context(), tx))
	r.must(r.chain.Mine(1))
}

// TestA109_AnUndeployedWalletIsRefused: no factory is on the list, so nothing of a wrapper is ever executed.
func TestA109_AnUndeployedWalletIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, tc := range map[string]struct {
		after func([]byte) []byte
		want  x402.Reason
	}{
		"a factory":          {func(sig []byte) []byte { return wrap6492(common.HexToAddress("0xfac7"), sig) }, x402.ReasonFactory},
		"the token as one":   {func(sig []byte) []byte { return wrap6492(common.HexToAddress(devchain.USDCAddress), sig) }, x402.ReasonFactory},
		"suffix alone":       {func([]byte) []byte { return bytes.Clone(suffix6492) }, x402.ReasonSignature},
		"suffix behind junk": {func(sig []byte) []byte { return append(sig, suffix6492...) }, x402.ReasonSignature},
		"lengths that lie":   {func([]byte) []byte { return append(bytes.Repeat([]byte{0xff}, 96), suffix6492...) }, x402.ReasonSignature},
		"zero factory":       {func(sig []byte) []byte { return wrap6492(common.Address{}, sig) }, x402.ReasonSignature},
	} {
		p := r.promise("payer-1", 1)
		p.after = tc.after
		r.refused(name, p, tc.want)
	}
}

// silent is a node that fails from its n-th question on.
type silent struct {
	Node
	left int
}

var errSilent = errors.New("dial tcp: connection refused")

func (s *silent) CodeAt(ctx context.Context, account common.Address, block *big.Int) ([]byte, error) {
	if s.left--; s.left < 0 {
		return nil, errSilent
	}
	return s.Node.CodeAt(ctx, account, block)
}

func (s *silent) CallContract(ctx context.Context, msg ethereum.CallMsg, block *big.Int) ([]byte, error) {
	if s.left--; s.left < 0 {
		return nil, errSilent
	}
	return s.Node.CallContract(ctx, msg, block)
}

// TestA127_ASilentNodeIsNoVerdict: whichever question stays without an answer, the payer is not told that the payment is bad.
func TestA127_ASilentNodeIsNoVerdict(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, p := range map[string]promise{"good": r.promise("payer-1", 1), "wallet": r.walletPromise(1), "poor": r.promise("poor", 1)} {
		for n := 0; ; n++ {
			exact := *r.exact
			node := &silent{Node: r.client, left: n}
			exact.Node = node
			_, err := exact.Check(t.Context(), p.terms, p.payment(t))
			if node.left >= 0 {
				break // every question was answered
			}
			if !errors.Is(err, settlement.ErrChainUnavailable) {
				t.Errorf("%s, silent from question %d: %v", name, n, err)
			}
		}
	}
}

func TestS3_NumbersThatAreNone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	good := r.promise("payer-1", 1)
	for _, text := range []string{"", "-1", "+1", "1e3", "0x10", "1.0", " 1"} {
		payment := good.payment(t)
		payment.Exact.Authorization.Value = text
		_, err := r.exact.Check(t.Context(), good.terms, payment)
		if reasonOf(err) != x402.ReasonInvalidPayload {
			t.Errorf("%q: %v", text, err)
		}
	}
}
