package x402_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"

	"p402.io/p402/settlement/x402"
)

// declaredReasons reads the constants from the source, so that a new one cannot be forgotten in the tables.
func declaredReasons(t *testing.T) map[string]x402.Reason {
	t.Helper()
	found := map[string]x402.Reason{}
	for _, name := range []string{"reason.go", "reason_permit2.go", "reason_batch.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			kind, isReason := spec.Type.(*ast.Ident)
			value, isText := spec.Values[0].(*ast.BasicLit)
			if isReason && isText && kind.Name == "Reason" {
				text, err := strconv.Unquote(value.Value)
				if err != nil {
					t.Fatal(err)
				}
				found[spec.Names[0].Name] = x402.Reason(text)
			}
			return true
		})
	}
	return found
}

func TestEveryReasonHasAClassAndOneText(t *testing.T) {
	t.Parallel()
	names := map[x402.Reason]string{}
	reasons := declaredReasons(t)
	if len(reasons) < 120 {
		t.Fatalf("%d reasons found", len(reasons))
	}
	for name, reason := range reasons {
		if reason.Class() == x402.ClassUnknown {
			t.Errorf("%s has no class", name)
		}
		if other, ok := names[reason]; ok {
			t.Errorf("%s and %s are one text", name, other)
		}
		names[reason] = name
	}
	if c := x402.UnsupportedVersion("3").Class(); c != x402.ClassPayer {
		t.Errorf("unsupported version: %s", c)
	}
	if c := x402.Reason("some facilitator's own").Class(); c != x402.ClassUnknown {
		t.Errorf("foreign reason: %s", c)
	}
}

// The closed list of the legacy parser, from its published error strings.
func TestV1ReasonsStayInTheLegacyList(t *testing.T) {
	t.Parallel()
	legacy := map[x402.Reason]bool{}
	for _, r := range []x402.Reason{"insufficient_funds", "invalid_exact_evm_payload_authorization_valid_after",
		"invalid_exact_evm_payload_authorization_valid_before", "invalid_exact_evm_payload_authorization_value",
		"invalid_exact_evm_payload_signature", "invalid_exact_evm_payload_recipient_mismatch",
		"invalid_exact_evm_payload_undeployed_smart_wallet", "invalid_network", "invalid_payload", "invalid_payment_requirements",
		"invalid_scheme", "invalid_payment", "payment_expired", "unsupported_scheme", "invalid_x402_version", "invalid_transaction_state",
		"unexpected_settle_error", "unexpected_verify_error", "duplicate_settlement"} {
		legacy[r] = true
		if r.V1() != r {
			t.Errorf("%s becomes %s", r, r.V1())
		}
	}
	for name, reason := range declaredReasons(t) {
		if !legacy[reason.V1()] {
			t.Errorf("%s becomes %s, which legacy code does not know", name, reason.V1())
		}
	}
}

func TestA101NetworkNamesAreOneToOne(t *testing.T) {
	t.Parallel()
	for name, id := range map[string]string{"ethereum": "eip155:1", "sepolia": "eip155:11155111", "base": "eip155:8453", "base-sepolia": "eip155:84532",
		"avalanche": "eip155:43114", "avalanche-fuji": "eip155:43113", "polygon": "eip155:137", "polygon-amoy": "eip155:80002",
		"abstract": "eip155:2741", "abstract-testnet": "eip155:11124", "iotex": "eip155:4689", "sei": "eip155:1329", "sei-testnet": "eip155:1328",
		"peaq": "eip155:3338", "story": "eip155:1514", "educhain": "eip155:41923", "skale-base-sepolia": "eip155:324705682",
		"megaeth": "eip155:4326", "monad": "eip155:143", "stable": "eip155:988", "stable-testnet": "eip155:2201", "celo": "eip155:42220",
		"flare": "eip155:14"} {
		got, ok := x402.FromV1Name(name)
		back, okBack := x402.V1Name(id)
		if !ok || !okBack || got != id || back != name {
			t.Errorf("%s: %s, %s", name, got, back)
		}
	}
	for _, id := range []string{"eip155:1", "eip155:11155111", "eip155:4326", "eip155:143", "eip155:988", "eip155:2201", "eip155:42220", "eip155:14", "eip155:31337"} {
		if name, ok := x402.V1LegacyName(id); ok {
			t.Errorf("%s offered to legacy clients as %s", id, name)
		}
	}
	if name, ok := x402.V1LegacyName("eip155:8453"); !ok || name != "base" {
		t.Errorf("base: %s", name)
	}
	if _, ok := x402.V1Name("eip155:31337"); ok {
		t.Error("a private chain has a v1 name")
	}
}
