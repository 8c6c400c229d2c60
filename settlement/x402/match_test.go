package x402_test

import (
	"encoding/json"
	"testing"

	"p402.io/p402/settlement/x402"
)

func TestA99EchoIsComparedFieldByField(t *testing.T) {
	t.Parallel()
	extra := func(text string) func(*x402.PaymentRequirements) {
		return func(r *x402.PaymentRequirements) { r.Extra = json.RawMessage(text) }
	}
	for _, row := range []struct {
		name   string
		change func(*x402.PaymentRequirements)
		field  string
	}{
		{"unchanged", func(*x402.PaymentRequirements) {}, ""},
		{"scheme", func(r *x402.PaymentRequirements) { r.Scheme = "upto" }, "scheme"},
		{"network", func(r *x402.PaymentRequirements) { r.Network = "eip155:8453" }, "network"},
		{"cheaper", func(r *x402.PaymentRequirements) { r.Amount = "9999" }, "amount"},
		{"dearer", func(r *x402.PaymentRequirements) { r.Amount = "10001" }, "amount"},
		{"same number, other text", func(r *x402.PaymentRequirements) { r.Amount = "010000" }, "amount"},
		{"asset", func(r *x402.PaymentRequirements) { r.Asset = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913" }, "asset"},
		{"asset in other case", func(r *x402.PaymentRequirements) { r.Asset = "0x036cbd53842c5426634e7929541ec2318f3dcf7e" }, "asset"},
		{"payTo", func(r *x402.PaymentRequirements) { r.PayTo = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC" }, "payTo"},
		{"longer", func(r *x402.PaymentRequirements) { r.MaxTimeoutSeconds = "301" }, "maxTimeoutSeconds"},
		{"seconds written otherwise", func(r *x402.PaymentRequirements) { r.MaxTimeoutSeconds = "3.00e+2" }, ""},
		{"seconds negative", func(r *x402.PaymentRequirements) { r.MaxTimeoutSeconds = "-300" }, "maxTimeoutSeconds"},
		{"extra in other order, blanks, escapes", extra(`{ "version":"\u0032", "deep":{"n":1.50,"l":[1,{"b":0e9,"a":null}]},"name":"USDC" }`), ""},
		{"client adds a key", extra(`{"name":"USDC","version":"2","deep":{"l":[1,{"a":null,"b":0}],"n":15e-1},"mine":1}`), ""},
		{"client adds a key below", extra(`{"name":"USDC","version":"2","deep":{"l":[1,{"a":null,"b":0}],"n":1.5,"mine":1}}`), "extra.deep"},
		{"null is not absent", extra(`{"name":"USDC","version":"2","deep":{"l":[1,{"b":0}],"n":1.5}}`), "extra.deep"},
		{"list in other order", extra(`{"name":"USDC","version":"2","deep":{"l":[{"a":null,"b":0},1],"n":1.5}}`), "extra.deep"},
		{"text for number", extra(`{"name":"USDC","version":2,"deep":{"l":[1,{"a":null,"b":0}],"n":1.5}}`), "extra.version"},
		{"key in other case", extra(`{"Name":"USDC","version":"2","deep":{"l":[1,{"a":null,"b":0}],"n":1.5}}`), "extra.name"},
		{"number beyond a float", extra(`{"name":"USDC","version":"2","deep":{"l":[1,{"a":null,"b":0}],"n":1.50000000000000000001}}`), "extra.deep"},
		{"huge exponent", extra(`{"name":"USDC","version":"2","deep":{"l":[1,{"a":null,"b":0}],"n":1.5e999999999999}}`), "extra.deep"},
		{"name", extra(`{"name":"USD Coin","version":"2","deep":{"l":[1,{"a":null,"b":0}],"n":1.5}}`), "extra.name"},
		{"not an object", extra(`[]`), "extra.?"},
	} {
		offered, accepted := requirements(), requirements()
		offered.Extra = json.RawMessage(`{"name":"USDC","version":"2","deep":{"l":[1,{"a":null,"b":0}],"n":1.5}}`)
		accepted.Extra = offered.Extra
		row.change(&accepted)
		if got := x402.Mismatch(offered, accepted); got != row.field {
			t.Errorf("%s: %q, want %q", row.name, got, row.field)
		}
		if x402.Accepts(offered, accepted) != (row.field == "") {
			t.Errorf("%s: Accepts says otherwise", row.name)
		}
	}
}

func TestOfferedNullMustBeEchoed(t *testing.T) {
	t.Parallel()
	offered, accepted := requirements(), requirements()
	offered.Extra = json.RawMessage(`{"name":null}`)
	accepted.Extra = json.RawMessage(`{}`)
	if x402.Accepts(offered, accepted) {
		t.Error("an absent key passed for null")
	}
	offered.Extra, accepted.Extra = nil, nil
	if !x402.Accepts(offered, accepted) {
		t.Error("two offers without extra differ")
	}
}

func TestMatchTakesTheOfferThatFits(t *testing.T) {
	t.Parallel()
	dear, cheap := requirements(), requirements()
	dear.Amount = "20000"
	if i, ok := x402.Match([]x402.PaymentRequirements{dear, cheap}, requirements()); !ok || i != 1 {
		t.Errorf("%d %v", i, ok)
	}
	if _, ok := x402.Match([]x402.PaymentRequirements{dear}, requirements()); ok {
		t.Error("no offer fits, one was taken")
	}
}

func TestExtensionEcho(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, key, ours, theirs string
		ok                      bool
	}{
		{"same", "x", `{"info":{"a":1}}`, `{"info":{"a":1.0}}`, true},
		{"client adds", "x", `{"info":{"a":1}}`, `{"info":{"a":1,"id":"b"}}`, true},
		{"client changes", "x", `{"info":{"a":1}}`, `{"info":{"a":2}}`, false},
		{"client drops", "x", `{"info":{"a":1}}`, `{"info":{}}`, false},
		{"no info", "x", `{"info":{"a":1}}`, `{}`, false},
		{"info in other case", "x", `{"info":{"a":1}}`, `{"Info":{"a":1}}`, false},
		{"not an envelope", "x", `{"info":{"a":1}}`, `"a"`, false},
		{"schema is not compared", "x", `{"info":{},"schema":{"a":1}}`, `{"info":{}}`, true},
		{"offers may change", x402.ExtensionOfferReceipt, `{"info":{"offers":[1]}}`, `{"info":{"offers":[2]}}`, true},
		{"sign-in nonce may change", x402.ExtensionSignInWithX, `{"info":{"nonce":"a","domain":"d"}}`, `{"info":{"domain":"d"}}`, true},
		{"sign-in domain may not", x402.ExtensionSignInWithX, `{"info":{"domain":"d"}}`, `{"info":{"domain":"e"}}`, false},
	} {
		got := x402.MismatchExtensions(map[string]json.RawMessage{row.key: json.RawMessage(row.ours), "only-ours": json.RawMessage(`{}`)},
			map[string]json.RawMessage{row.key: json.RawMessage(row.theirs), "only-theirs": json.RawMessage(`1`)})
		if (got == "") != row.ok || (got != "" && got != row.key) {
			t.Errorf("%s: %q", row.name, got)
		}
	}
}
