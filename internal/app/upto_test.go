package app

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/ethclient"

	"p402.io/p402/internal/devchain"
	"p402.io/p402/internal/money"
	"p402.io/p402/meter"
	"p402.io/p402/settlement/evm"
	"p402.io/p402/settlement/x402"
)

// byUse makes a price by tokens: with 1,000 read and 500 written it comes to 0.0105.
func byUse(p *meter.Price) {
	p.Model, p.Scheme, p.AmountUSD = meter.PricePerToken, x402.SchemeUpto, money.MustUSD("0.05")
	p.PerToken = &meter.TokenPrice{InputUSD: money.MustUSD("3"), OutputUSD: money.MustUSD("15")}
}

// permit pays the n-th way of an offer over Permit2, approving it by signature where that is still needed.
func (u user) permit(o x402.PaymentRequired, n int, payer string) string {
	u.t.Helper()
	client, err := ethclient.DialContext(u.t.Context(), u.h.app.cfg.Settlement.RPC)
	if err != nil {
		u.t.Fatal(err)
	}
	defer client.Close()
	wallet := devchain.Lookup(payer)
	amount, err := money.ParseUSDC(o.Accepts[n].Amount)
	if err != nil {
		u.t.Fatal(err)
	}
	approve, err := evm.Approval(u.t.Context(), client, o.Accepts[n].Asset, wallet.Address, amount)
	if err != nil {
		u.t.Fatal(err)
	}
	text, err := evm.SignPermit2(o, n, wallet.Key, time.Now(), approve)
	if err != nil {
		u.t.Fatal(err)
	}
	return text
}

// settlement is what a paid answer says of its payment.
func settlementOf(t *testing.T, r reply) x402.SettlementResponse {
	t.Helper()
	var out x402.SettlementResponse
	if err := x402.DecodeHeader(r.header.Get(x402.HeaderPaymentResponse), &out); err != nil {
		t.Fatalf("status %d, no settlement: %v: %.300s", r.status, err, r.body)
	}
	return out
}

// TestS8_UptoCollectsTheMeteredPrice, never the most that was signed for, and says it everywhere alike.
func TestS8_UptoCollectsTheMeteredPrice(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	stranger := user{t: t, h: u.h}
	path := u.onSale("upto.demo", counting, byUse)
	o := u.offer(path, soldBody)
	var extra struct{ FacilitatorAddress, AssetTransferMethod string }
	if err := json.Unmarshal(o.Accepts[0].Extra, &extra); err != nil || len(o.Accepts) != 1 || o.Accepts[0].Amount != "50000" || extra.FacilitatorAddress == "" || extra.AssetTransferMethod != "permit2" {
		t.Fatalf("offer %+v, %v", o.Accepts, err)
	}
	payment := u.permit(o, 0, "payer-5")
	r := stranger.do("POST", path, soldBody, x402.HeaderPaymentSignature+": "+payment)
	if s := settlementOf(t, r); r.status != 200 || !s.Success || s.Amount != "10500" || s.Transaction == "" {
		t.Fatalf("status %d, %+v: %.300s", r.status, s, r.body)
	}
	receipt := u.must(200, "GET", "/api/v2/receipts/"+r.header.Get("X-P402-Receipt-ID"), nil)
	e, p := u.only("/api/v2/meter/events"), u.only("/api/v2/payments")
	if receipt["amount_atomic"] != "10500" || receipt["scheme"] != "upto" || p["amount_atomic"] != "10500" || e["revenue_usd"] != "0.010500000000" {
		t.Errorf("receipt %v %v, payment %v, revenue %v", receipt["amount_atomic"], receipt["scheme"], p["amount_atomic"], e["revenue_usd"])
	}
	if again := stranger.do("POST", path, soldBody, x402.HeaderPaymentSignature+": "+payment); again.status != 409 {
		t.Errorf("the same permit again: %d", again.status)
	}

	// A stream that waits for its payment comes when it is paid, and a cap is a cap.
	dear := u.onSale("upto.dear", counting, func(p *meter.Price) { byUse(p); p.AmountUSD = money.MustUSD("0.01") })
	r = stranger.do("POST", dear, streamBody, x402.HeaderPaymentSignature+": "+u.permit(u.offer(dear, streamBody), 0, "payer-5"))
	if s := settlementOf(t, r); r.status != 200 || !s.Success || s.Amount != "10000" {
		t.Errorf("status %d, %+v: %.300s", r.status, s, r.body)
	}
}

// TestA117_UptoOfNothingSpendsThePermit: no transaction, no receipt, and no second run.
func TestA117_UptoOfNothingSpendsThePermit(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	stranger := user{t: t, h: u.h}
	path := u.onSale("upto.free", counting, func(p *meter.Price) {
		byUse(p)
		p.PerToken = &meter.TokenPrice{InputUSD: money.Zero, OutputUSD: money.Zero}
	})
	payment := u.permit(u.offer(path, soldBody), 0, "payer-6")
	r := stranger.do("POST", path, soldBody, x402.HeaderPaymentSignature+": "+payment)
	if s := settlementOf(t, r); r.status != 200 || !s.Success || s.Amount != "0" || s.Transaction != "" {
		t.Fatalf("status %d, %+v", r.status, s)
	}
	again := stranger.do("POST", path, soldBody, x402.HeaderPaymentSignature+": "+payment)
	if code, _, _ := again.fault(t); code != "REPLAY_DETECTED" {
		t.Errorf("again: %d %s", again.status, code)
	}
	if p := u.only("/api/v2/payments"); p["state"] != "final" || p["amount_atomic"] != "0" {
		t.Errorf("%v %v", p["state"], p["amount_atomic"])
	}
}

// TestS7_AnOpenOfferKeepsItsMeteredPrice when the seller changes the rates before it is taken up.
func TestS7_AnOpenOfferKeepsItsMeteredPrice(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	path := u.onSale("upto.old", counting, byUse)
	payment := u.permit(u.offer(path, soldBody), 0, "payer-4")
	u.onSale("upto.old", counting, func(p *meter.Price) { byUse(p); p.PerToken.InputUSD = money.MustUSD("30") })
	r := user{t: t, h: u.h}.do("POST", path, soldBody, x402.HeaderPaymentSignature+": "+payment)
	if s := settlementOf(t, r); r.status != 200 || s.Amount != "10500" {
		t.Fatalf("status %d, %+v", r.status, s)
	}
	if got := u.must(200, "GET", "/api/v2/receipts/"+r.header.Get("X-P402-Receipt-ID"), nil)["price_version"].(json.Number); got != "1" {
		t.Errorf("price version %s", got)
	}
}

// TestS2_ExactIsPaidOverPermit2AsWell with an approval by signature; without one the payer is told so.
func TestS2_ExactIsPaidOverPermit2AsWell(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	stranger := user{t: t, h: u.h}
	path := u.onSale("over.permit2", "mock-small", nil)
	o := u.offer(path, soldBody)
	if len(o.Accepts) != 2 || o.Extensions[x402.ExtensionEIP2612Gas] == nil {
		t.Fatalf("offer %+v", o)
	}
	bare, err := evm.SignPermit2(o, 1, devchain.Lookup("payer-3").Key, time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	refused := stranger.do("POST", path, soldBody, x402.HeaderPaymentSignature+": "+bare)
	var fresh x402.PaymentRequired
	if err := x402.DecodeHeader(refused.header.Get(x402.HeaderPaymentRequired), &fresh); err != nil || refused.status != 412 || fresh.Error != "permit2_allowance_required" {
		t.Errorf("without an approval: %d %q %v", refused.status, fresh.Error, err)
	}
	r := stranger.do("POST", path, soldBody, x402.HeaderPaymentSignature+": "+u.permit(o, 1, "payer-3"))
	if s := settlementOf(t, r); r.status != 200 || !s.Success || s.Amount != "10000" {
		t.Errorf("status %d, %+v: %.300s", r.status, s, r.body)
	}
}

// TestA114_AStreamOnCreditIsChargedForWhatWasSent, whoever ends it.
func TestA114_AStreamOnCreditIsChargedForWhatWasSent(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	for _, row := range []struct{ name, model string }{{"the vendor", cuttingOff}, {"the payer", endless}} {
		path := u.onSale("upto.cut", row.model, func(p *meter.Price) {
			byUse(p)
			p.WaitFor, p.Credit = "authorized", &meter.Credit{PerPayerUSD: money.MustUSD("1"), TotalUSD: money.MustUSD("1")}
			p.PerToken.OutputUSD = money.MustUSD("100")
		})
		s := u.stream(path, u.permit(u.offer(path, streamBody), 0, "payer-2"))
		if row.model == endless {
			for range 10 {
				s.next()
			}
			s.cancel()
		} else {
			s.rest()
		}
		var amount string
		eventually(t, row.name+" cut, and what was sent is collected", func() bool {
			rows := u.must(200, "GET", "/api/v2/payments", nil)["data"].([]any)
			if len(rows) == 0 {
				return false
			}
			p := rows[0].(map[string]any)
			amount = p["amount_atomic"].(string)
			return p["state"] == "included" || p["state"] == "final"
		})
		if n, err := money.ParseUSDC(amount); err != nil || n.IsZero() || n.Cmp(money.Atomic(50000)) >= 0 {
			t.Errorf("%s: %s collected", row.name, amount)
		}
	}
}
