package txmgr

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/ethclient"
	"github.com/holiman/uint256"

	"p402.io/p402/internal/devchain"
	"p402.io/p402/internal/money"
	"p402.io/p402/settlement"
)

func gwei(n int64) money.Wei { return money.Wei{USDC: money.Atomic(n * 1_000_000_000)} }

// TestFeeCapIsAShareOfThePaymentWithAFloor: the absolute cap is 100 gwei and the gas 100,000, so 1 gwei a gas is 10^14 wei, which is
// 0.1 USD when a coin costs 1,000.
func TestFeeCapIsAShareOfThePaymentWithAFloor(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, coin, floor, payment string
		share                      int64
		wantGwei                   int64
	}{
		{"a fifth of ten dollars is two dollars", "1000", "0.05", "10000000", 20, 20},
		{"half of ten dollars", "1000", "0.05", "10000000", 50, 50},
		{"a cent cannot bear it: the floor", "1000", "0.5", "10000", 20, 5},
		{"nothing paid: the floor", "1000", "0.1", "0", 20, 1},
		{"the absolute cap binds", "1000", "0.05", "1000000000", 20, 100},
		{"a dearer coin buys less gas", "4000", "0.05", "10000000", 20, 5},
		{"a coin worth nothing: the absolute cap alone", "0", "0.05", "10000", 20, 100},
	} {
		amount, err := money.ParseUSDC(tc.payment)
		if err != nil {
			t.Fatal(err)
		}
		l := Limits{MaxFeePerGas: gwei(100), CoinPrice: money.MustUSD(tc.coin), FeeFloor: money.MustUSD(tc.floor), SharePercent: tc.share}
		got, err := l.cap(amount, 100_000)
		if err != nil || got.Cmp(gwei(tc.wantGwei).Big()) != 0 {
			t.Errorf("%s: %s wei (%v), want %d gwei", tc.name, got, err, tc.wantGwei)
		}
	}
	if _, err := (Limits{MaxFeePerGas: gwei(1), CoinPrice: money.MustUSD("1")}).cap(money.Atomic(1), 0); err == nil {
		t.Error("a transaction without a gas limit was bounded")
	}
}

// newSender is a wallet of the test chain whose base fee is exactly known: blocks come by hand.
func newSender(t *testing.T, account string, l Limits) (*Sender, *devchain.Chain) {
	t.Helper()
	chain, err := devchain.Start(t.Context(), devchain.Config{Manual: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = chain.Close() })
	if err := chain.Mine(1); err != nil {
		t.Fatal(err)
	}
	client, err := ethclient.DialContext(t.Context(), chain.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	n, _ := settlement.FindNetwork(devchain.Network)
	s, err := NewLimited(client, devchain.Lookup(account).Key, n, l)
	if err != nil {
		t.Fatal(err)
	}
	return s, chain
}

func slotOf(s *Sender, nonce uint64) settlement.Slot {
	return settlement.Slot{Network: devchain.Network, Account: s.Account(), Nonce: nonce}
}

// TestA134_NothingIsSignedAboveTheCap: the base fee is 0.875 gwei here, so a cap of half a gwei buys no place and one of 1 gwei does,
// though not with the usual room.
func TestA134_NothingIsSignedAboveTheCap(t *testing.T) {
	t.Parallel()
	intent := settlement.TxIntent{To: devchain.USDCAddress, GasLimit: 100_000}
	poor, _ := newSender(t, "settler", Limits{CoinPrice: money.MustUSD("1000"), FeeFloor: money.MustUSD("0.05")})
	if _, err := poor.Sign(t.Context(), slotOf(poor, 0), intent, nil, money.Atomic(10_000)); !errors.Is(err, settlement.ErrFeeTooHigh) {
		t.Errorf("half a gwei: %v", err)
	}
	if _, err := poor.Sign(t.Context(), slotOf(poor, 0), intent, nil, money.Atomic(1_000_000)); err != nil {
		t.Errorf("a dollar bears the same fee: %v", err)
	}
	if _, err := poor.Fill(t.Context(), slotOf(poor, 0), nil); err != nil {
		t.Errorf("a slot must be filled at any fee below the absolute cap: %v", err)
	}
	just, _ := newSender(t, "settler", Limits{MaxFeePerGas: gwei(1)})
	a, err := just.Sign(t.Context(), slotOf(just, 0), intent, nil, money.Atomic(10_000))
	if err != nil || a.FeeCap.Cmp(gwei(1).USDC) != 0 {
		t.Fatalf("at the cap: %s (%v)", a.FeeCap, err)
	}
	if _, err := just.Sign(t.Context(), slotOf(just, 0), intent, &a, money.Atomic(10_000)); !errors.Is(err, settlement.ErrFeeTooHigh) {
		t.Errorf("outbid above the cap: %v", err)
	}
}

// TestA133_AReplacementRaisesBothFees also when the network has become cheaper since.
func TestA133_AReplacementRaisesBothFees(t *testing.T) {
	t.Parallel()
	s, chain := newSender(t, "settler", Limits{})
	intent := settlement.TxIntent{To: devchain.USDCAddress, GasLimit: 100_000}
	a, err := s.Sign(t.Context(), slotOf(s, 0), intent, nil, money.Atomic(10_000))
	if err != nil {
		t.Fatal(err)
	}
	if err := chain.Mine(20); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		b, err := s.Fill(t.Context(), a.Slot, &a)
		if err != nil {
			t.Fatal(err)
		}
		for _, pair := range [][2]*big.Int{{a.FeeCap.Big(), b.FeeCap.Big()}, {a.TipCap.Big(), b.TipCap.Big()}} {
			if new(big.Int).Mul(pair[0], big.NewInt(110)).Cmp(new(big.Int).Mul(pair[1], big.NewInt(100))) > 0 {
				t.Errorf("%s does not outbid %s", pair[1], pair[0])
			}
		}
		a = b
	}
}

func TestA136_AWalletTellsForHowManyPaymentsItLasts(t *testing.T) {
	t.Parallel()
	s, chain := newSender(t, "settler", Limits{})
	rich, err := s.Gas(t.Context())
	if err != nil || rich.Low || rich.Payments < 1_000_000 || rich.Account != s.Account() {
		t.Fatalf("1000 coins: %+v (%v)", rich, err)
	}
	picky, err := NewLimited(s.client, devchain.Lookup("settler").Key, s.network, Limits{LowGas: rich.Payments + 1})
	if err != nil {
		t.Fatal(err)
	}
	if low, err := picky.Gas(t.Context()); err != nil || !low.Low {
		t.Errorf("below the mark: %+v (%v)", low, err)
	}
	empty, err := NewLimited(s.client, strings.Repeat("77", 32), s.network, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if none, err := empty.Gas(t.Context()); err != nil || !none.Low || none.Payments != 0 {
		t.Errorf("an empty wallet: %+v (%v)", none, err)
	}
	if err := chain.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Gas(t.Context()); !errors.Is(err, settlement.ErrChainUnavailable) {
		t.Errorf("no node: %v", err)
	}
}

// TestA111_AWalletWithCodeIsRefused: EIP-7702 code on our own key.
func TestA111_AWalletWithCodeIsRefused(t *testing.T) {
	t.Parallel()
	s, chain := newSender(t, "settler", Limits{})
	if err := s.Ready(t.Context()); err != nil {
		t.Fatalf("a plain account: %v", err)
	}
	key, err := crypto.HexToECDSA(strings.TrimPrefix(devchain.Lookup("settler").Key, "0x"))
	if err != nil {
		t.Fatal(err)
	}
	id := uint256.NewInt(devchain.ChainID)
	signed, err := types.SignSetCode(key, types.SetCodeAuthorization{ChainID: *id, Address: common.HexToAddress(devchain.Delegate7702Address), Nonce: 1})
	if err != nil {
		t.Fatal(err)
	}
	tx := types.MustSignNewTx(key, types.LatestSignerForChainID(s.chainID), &types.SetCodeTx{ChainID: id, To: s.account, Gas: 200_000,
		GasFeeCap: uint256.NewInt(5e9), GasTipCap: uint256.NewInt(1e7), AuthList: []types.SetCodeAuthorization{signed}})
	if err := s.client.SendTransaction(t.Context(), tx); err != nil {
		t.Fatal(err)
	}
	if err := chain.Mine(1); err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(t.Context()); err == nil {
		t.Error("a wallet with code is ready")
	}
	foreign, _ := settlement.FindNetwork("eip155:8453")
	other, err := New(s.client, devchain.Lookup("settler").Key, foreign)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Ready(t.Context()); err == nil {
		t.Error("ready on another network's node")
	}
}

// TestA135_NoAnswerToABroadcastIsAFailure: whatever a node says, a transaction that was signed may be on its way: either nothing is left to
// do, or it is sent again.
func TestA135_NoAnswerToABroadcastIsAFailure(t *testing.T) {
	t.Parallel()
	signer, _ := newSender(t, "settler", Limits{})
	a, err := signer.Fill(t.Context(), slotOf(signer, 0), nil)
	if err != nil {
		t.Fatal(err)
	}
	for text, done := range map[string]bool{
		"already known": true, "nonce too low: next nonce 5, tx nonce 4": true, "replacement transaction underpriced": true,
		"transaction underpriced: gas tip cap 1, minimum needed 1000000": true, "ALREADY_EXISTS: already known": true,
		"txpool is full": false, "address already reserved": false, "insufficient funds for gas * price + value": false,
		"nonce too high": false, "internal error": false, "": false,
	} {
		node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var ask struct{ ID json.RawMessage }
			if json.NewDecoder(r.Body).Decode(&ask) != nil || text == "" {
				http.Error(w, "bad gateway", http.StatusBadGateway)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32000,"message":%q}}`, ask.ID, text)
		}))
		client, err := ethclient.DialContext(t.Context(), node.URL)
		if err != nil {
			t.Fatal(err)
		}
		s, err := New(client, devchain.Lookup("settler").Key, signer.network)
		if err != nil {
			t.Fatal(err)
		}
		err = s.Broadcast(t.Context(), a.Raw)
		if done && err != nil || !done && !errors.Is(err, settlement.ErrChainUnavailable) {
			t.Errorf("%q: %v", text, err)
		}
		client.Close()
		node.Close()
	}
}

func TestA5_TheKeyIsInNoError(t *testing.T) {
	t.Parallel()
	canary := strings.Repeat("5e", 31) + "zz"
	if _, err := New(nil, canary, settlement.Network{}); err == nil || strings.Contains(err.Error(), "5e5e") {
		t.Errorf("bad key: %v", err)
	}
}
