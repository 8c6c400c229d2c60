package app

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"p402.io/p402/settlement"
	"p402.io/p402/settlement/x402"
)

// payNamed pays an offer under a name of the payer's own.
func (u user) payNamed(path, body, name string) reply {
	u.t.Helper()
	text := signed(u.t, u.offer(path, body), time.Now(), func(p map[string]any) {
		p["extensions"] = map[string]any{x402.ExtensionPaymentIdentifier: map[string]any{"info": map[string]any{"required": false, "id": name}}}
	})
	return user{t: u.t, h: u.h}.do("POST", path, body, x402.HeaderPaymentSignature+": "+text)
}

// TestA95_APayerWhoSignsAnewUnderOneNameIsChargedOnce, however many at a time.
func TestA95_APayerWhoSignsAnewUnderOneNameIsChargedOnce(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	path := u.sell("named.demo")
	const name = "order-0123456789abcdef"
	var passed, refused atomic.Int64
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			r := u.payNamed(path, soldBody, name)
			switch code, _, _ := codeIfAny(r); {
			case r.status == 200:
				passed.Add(1)
			case r.status == 409 && (code == "PAYMENT_ID_CONFLICT" || code == "REPLAY_DETECTED"):
				refused.Add(1)
			default:
				t.Errorf("%d %.300s", r.status, r.body)
			}
		})
	}
	group.Wait()
	if passed.Load() != 1 || refused.Load() != 7 {
		t.Errorf("%d passed, %d refused", passed.Load(), refused.Load())
	}
	again := u.payNamed(path, soldBody, name)
	if code, _, _ := again.fault(t); again.status != 409 || code != "REPLAY_DETECTED" {
		t.Errorf("later: %d %s", again.status, code)
	}
	other := u.payNamed(path, streamBody, name)
	if code, _, _ := other.fault(t); other.status != 409 || code != "PAYMENT_ID_CONFLICT" {
		t.Errorf("for another request: %d %s", other.status, code)
	}
	if short := u.payNamed(path, soldBody, "short"); short.status != 402 {
		t.Errorf("a name that is none: %d", short.status)
	}
	u.only("/api/v2/payments")
	u.only("/api/v2/meter/events")
}

func codeIfAny(r reply) (code, param, message string) {
	var out struct{ Error struct{ Code string } }
	if json.Unmarshal(r.body, &out) != nil {
		return "", "", ""
	}
	return out.Error.Code, "", ""
}

// TestS2_OffersAndReceiptsAreSignedInTheStandardForm by the key that the house publishes.
func TestS2_OffersAndReceiptsAreSignedInTheStandardForm(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	path := u.sell("signed.demo")
	var keys settlement.KeySet
	if err := json.Unmarshal(u.do("GET", "/.well-known/p402-keys.json", nil).body, &keys); err != nil {
		t.Fatal(err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(keys.Keys[0].X)
	if err != nil {
		t.Fatal(err)
	}
	key := ed25519.PublicKey(raw)
	read := func(token x402.Signed, into any) {
		t.Helper()
		payload, err := x402.VerifyEdDSA(token.Signature, x402.DIDJWK(key), key)
		if err == nil {
			err = json.Unmarshal(payload, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	o := u.offer(path, soldBody)
	var offers struct{ Info x402.OffersInfo }
	if err := json.Unmarshal(o.Extensions[x402.ExtensionOfferReceipt], &offers); err != nil || len(offers.Info.Offers) != len(o.Accepts) {
		t.Fatalf("%d signed offers, %d ways: %v", len(offers.Info.Offers), len(o.Accepts), err)
	}
	for i, token := range offers.Info.Offers {
		var said x402.OfferPayload
		read(token, &said)
		way := o.Accepts[i]
		if *token.AcceptIndex != i || said.Amount != way.Amount || said.PayTo != way.PayTo || said.Asset != way.Asset || said.ResourceURL != o.Resource.URL || said.ValidUntil < time.Now().Unix() {
			t.Errorf("offer %d says %+v", i, said)
		}
	}
	r := user{t: t, h: u.h}.do("POST", path, soldBody, x402.HeaderPaymentSignature+": "+signed(t, o, time.Now(), nil))
	answer := settlementOf(t, r)
	var receipt struct{ Info x402.ReceiptInfo }
	if err := json.Unmarshal(answer.Extensions[x402.ExtensionOfferReceipt], &receipt); err != nil {
		t.Fatal(err)
	}
	var said x402.ReceiptPayload
	read(receipt.Info.Receipt, &said)
	if said.Payer != answer.Payer || said.ResourceURL != o.Resource.URL || said.Network != answer.Network || said.Transaction != "" {
		t.Errorf("the receipt says %+v", said)
	}
}

// TestA99_AnEchoOfOtherExtensionsIsRefused: what the server said may be added to, not changed.
func TestA99_AnEchoOfOtherExtensionsIsRefused(t *testing.T) {
	t.Parallel()
	u := theHouse(t).user(t)
	path := u.sell("echo.demo")
	text := signed(t, u.offer(path, soldBody), time.Now(), func(p map[string]any) {
		p["extensions"] = map[string]any{x402.ExtensionPaymentIdentifier: map[string]any{"info": map[string]any{"required": true, "id": "order-0123456789abcdef"}}}
	})
	r := user{t: t, h: u.h}.do("POST", path, soldBody, x402.HeaderPaymentSignature+": "+text)
	var fresh x402.PaymentRequired
	if err := x402.DecodeHeader(r.header.Get(x402.HeaderPaymentRequired), &fresh); err != nil || r.status != 402 || fresh.Error != "extension_echo_mismatch" {
		t.Errorf("%d %q %v", r.status, fresh.Error, err)
	}
}
