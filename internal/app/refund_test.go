package app

import (
	"math/big"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/ethclient"
	"github.com/jackc/pgx/v5"

	"p402.io/p402/contracts"
	"p402.io/p402/internal/devchain"
	"p402.io/p402/settlement/x402"
)

// owe undoes a delivery, as if the answer had never left, and returns the refund that the sweeper then finds due.
func (u user) owe(paymentID string) string {
	u.t.Helper()
	db, err := pgx.Connect(u.t.Context(), u.h.database)
	if err != nil {
		u.t.Fatal(err)
	}
	defer func() { _ = db.Close(u.t.Context()) }() // it was written
	if _, err := db.Exec(u.t.Context(), "UPDATE payments SET delivered_at = NULL, hold_until = now() - interval '1 second' WHERE id = $1", paymentID); err != nil {
		u.t.Fatal(err)
	}
	var refund string
	eventually(u.t, "a refund is due", func() bool {
		for _, row := range u.must(200, "GET", "/api/v2/refunds?state=due", nil)["data"].([]any) {
			if r := row.(map[string]any); r["payment_id"] == paymentID {
				refund = r["refund_id"].(string)
			}
		}
		return refund != ""
	})
	return refund
}

// transfer moves units of the token from one of the chain's accounts, outside the house, and returns its transaction.
func (u user) transfer(from, to string, units int64) string {
	u.t.Helper()
	ctx := u.t.Context()
	client, err := ethclient.DialContext(ctx, u.h.app.cfg.Settlement.RPC)
	if err != nil {
		u.t.Fatal(err)
	}
	defer client.Close()
	key, err := crypto.HexToECDSA(strings.TrimPrefix(devchain.Lookup(from).Key, "0x"))
	if err != nil {
		u.t.Fatal(err)
	}
	nonce, err := client.PendingNonceAt(ctx, crypto.PubkeyToAddress(key.PublicKey))
	if err != nil {
		u.t.Fatal(err)
	}
	data, err := contracts.USDC.Pack("transfer(address,uint256)", common.HexToAddress(to), big.NewInt(units))
	if err != nil {
		u.t.Fatal(err)
	}
	token, chain := common.HexToAddress(devchain.USDCAddress), big.NewInt(devchain.ChainID)
	tx, err := types.SignNewTx(key, types.LatestSignerForChainID(chain), &types.DynamicFeeTx{ChainID: chain, Nonce: nonce, To: &token, Data: data, Gas: 120_000,
		GasFeeCap: big.NewInt(10_000_000_000), GasTipCap: big.NewInt(1_000_000_000)})
	if err != nil {
		u.t.Fatal(err)
	}
	if err := client.SendTransaction(ctx, tx); err != nil {
		u.t.Fatal(err)
	}
	eventually(u.t, "the transfer is mined", func() bool {
		_, err := client.TransactionReceipt(ctx, tx.Hash())
		return err == nil
	})
	return tx.Hash().Hex()
}

// sale buys one run as payer-1 and gives its payment.
func (u user) sale(path string) map[string]any {
	u.t.Helper()
	receipt := u.buy(path).header.Get("X-P402-Receipt-ID")
	return u.must(200, "GET", "/api/v2/payments/"+u.must(200, "GET", "/api/v2/receipts/"+receipt, nil)["payment_id"].(string), nil)
}

// TestA146_APaidAnswerThatNeverLeftIsARunOrMoneyBack: the payer's own payment gets the run, and uses the refund up.
func TestA146_APaidAnswerThatNeverLeftIsARunOrMoneyBack(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	stranger := user{t: t, h: u.h}
	path := u.sell("owed.run")
	payment := u.pay(path, soldBody, "payer-2")
	first := stranger.do("POST", path, soldBody, x402.HeaderPaymentSignature+": "+payment)
	if first.status != 200 {
		t.Fatalf("%d %.300s", first.status, first.body)
	}
	p := u.only("/api/v2/payments")
	refund := u.owe(p["payment_id"].(string))
	status := stranger.must(200, "GET", "/x402/payments?network="+p["network"].(string)+"&payer="+p["payer"].(string)+"&nonce="+p["nonce"].(string), nil)
	if status["payment_id"] != p["payment_id"] || status["settled"] != true || status["transaction"] != p["transaction"] || status["refund"].(map[string]any)["state"] != "due" {
		t.Errorf("status %v", status)
	}
	// Payer and nonce stand on chain: who knows only them, and not the signature, gets nothing.
	var parts map[string]any
	if err := x402.DecodeHeader(payment, &parts); err != nil {
		t.Fatal(err)
	}
	flip(parts)
	forged, err := x402.EncodeHeader(parts)
	if err != nil {
		t.Fatal(err)
	}
	if r := stranger.do("POST", path, soldBody, x402.HeaderPaymentSignature+": "+forged); r.status != 409 {
		t.Errorf("another signature: %d", r.status)
	}
	second := stranger.do("POST", path, soldBody, x402.HeaderPaymentSignature+": "+payment)
	if s := settlementOf(t, second); second.status != 200 || s.Transaction != settlementOf(t, first).Transaction {
		t.Errorf("the run that was paid for: %d %+v", second.status, s)
	}
	if got := u.must(200, "GET", "/api/v2/refunds/"+refund, nil); got["state"] != "used" {
		t.Errorf("the refund is %v", got["state"])
	}
	if third := stranger.do("POST", path, soldBody, x402.HeaderPaymentSignature+": "+payment); third.status != 409 {
		t.Errorf("a third time: %d", third.status)
	}
	u.balanced()
}

// balanced asserts that what the tenant's journal says of refunds is what is still owed.
func (u user) balanced() {
	u.t.Helper()
	var booked, owed string
	u.h.query(u.t, &booked, "SELECT coalesce(sum(-amount_usd), 0)::numeric(38,6)::text FROM journal_entries WHERE tenant_id = $1 AND account = 'liability:refund'", u.tenant)
	u.h.query(u.t, &owed, "SELECT (coalesce(sum(amount_atomic), 0) / 1000000)::numeric(38,6)::text FROM refunds WHERE tenant_id = $1 AND state = 'due'", u.tenant)
	if booked != owed {
		u.t.Errorf("the journal owes %s, refunds due come to %s", booked, owed)
	}
}

// TestA147_ARefundIsPaidOnceByATransferOfThePayee: not by another amount, another sender, an earlier transfer, or one that pays already.
func TestA147_ARefundIsPaidOnceByATransferOfThePayee(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	path := u.sell("owed.money")
	payer := devchain.Lookup("payer-1").Address
	early := u.transfer("seller", payer, 10000)
	p, q := u.sale(path), u.sale(path)
	one, two := u.owe(p["payment_id"].(string)), u.owe(q["payment_id"].(string))
	claim := func(refund, tx string) (int, string) {
		r := u.do("POST", "/api/v2/refunds/"+refund+"/pay", map[string]string{"transaction": tx})
		code, _, _ := codeIfAny(r)
		return r.status, code
	}
	for name, tx := range map[string]string{"the payment itself": p["transaction"].(string), "an earlier one": early, "no transaction": "0x" + strings.Repeat("0", 64),
		"one unit short": u.transfer("seller", payer, 9999), "from somebody else": u.transfer("payer-6", payer, 10000)} {
		if status, code := claim(one, tx); status != 422 || code != "TRANSFER_NOT_FOUND" {
			t.Errorf("%s: %d %s", name, status, code)
		}
	}
	good := u.transfer("seller", payer, 10000)
	var paid atomic.Int64
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if status, _ := claim(one, good); status == 200 {
				paid.Add(1)
			}
		})
	}
	group.Wait()
	if paid.Load() == 0 {
		t.Error("the transfer paid nothing")
	}
	if status, code := claim(two, good); status != 409 || code != "TRANSFER_USED" {
		t.Errorf("one transfer for two refunds: %d %s", status, code)
	}
	if got := u.must(200, "GET", "/api/v2/refunds/"+one, nil); got["state"] != "paid" || got["transaction"] != good {
		t.Errorf("%v", got)
	}
	if got := u.must(200, "POST", "/api/v2/refunds/"+two+"/waive", `{"reason":"settled by agreement"}`); got["state"] != "waived" || got["note"] == nil {
		t.Errorf("%v", got)
	}
	u.refuses([]badInput{
		{name: "waived twice", path: "/api/v2/refunds/" + two + "/waive", body: `{"reason":"again"}`, status: 409, code: "REFUND_NOT_DUE"},
		{name: "waived for no reason", path: "/api/v2/refunds/" + one + "/waive", body: `{"reason":" "}`, status: 400, code: "INVALID_INPUT", param: "reason"},
		{name: "paid by no hash", path: "/api/v2/refunds/" + two + "/pay", body: `{"transaction":"x"}`, status: 400, code: "INVALID_INPUT", param: "transaction"},
		{name: "a state nobody knows", method: "GET", path: "/api/v2/refunds?state=owed", status: 400, code: "INVALID_INPUT", param: "state"},
		{name: "a payer that is none", method: "GET", path: "/api/v2/payments?payer=me", status: 400, code: "INVALID_INPUT", param: "payer"},
		{name: "status on no network", method: "GET", path: "/x402/payments?network=eip155:1&payer=" + payer + "&nonce=0x" + strings.Repeat("0", 64), status: 400, code: "INVALID_INPUT", param: "network"},
		{name: "status of nothing", method: "GET", path: "/x402/payments?network=eip155:84532&payer=" + payer + "&nonce=0x" + strings.Repeat("0", 64), status: 404, code: "NOT_FOUND"},
	})
	found := u.only("/api/v2/payments?payer=" + strings.ToLower(payer) + "&nonce=" + p["nonce"].(string))
	if found["payment_id"] != p["payment_id"] {
		t.Errorf("by authorization: %v", found)
	}
	u.balanced()
}
