package contracts

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/ethereum/go-ethereum/common"
)

func all() []Contract {
	return []Contract{USDC, Multicall3, ERC1271Wallet, Delegate7702, Permit2, ExactPermit2Proxy, UptoPermit2Proxy}
}

// The committed artifacts are what the committed sources compile to. The compiler is only there after npm ci.
func TestArtifactsMatchSources(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(filepath.Join("node_modules", "solc")); err != nil {
		t.Skip("no compiler installed: run npm ci in contracts")
	}
	out := t.TempDir()
	if log, err := exec.CommandContext(t.Context(), "node", "compile.mjs", out).CombinedOutput(); err != nil {
		t.Fatalf("compile: %v\n%s", err, log)
	}
	for _, c := range all() {
		fresh, err := os.ReadFile(filepath.Join(out, c.Name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		committed, err := build.ReadFile("build/" + c.Name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(fresh, committed) {
			t.Errorf("build/%s.json is stale: run go generate", c.Name)
		}
	}
}

func TestEveryContractHasCodeAndInterface(t *testing.T) {
	t.Parallel()
	for _, c := range all() {
		if len(c.Runtime()) == 0 || len(c.Creation()) <= len(c.Runtime()) {
			t.Errorf("%s: creation %d bytes, runtime %d bytes", c.Name, len(c.Creation()), len(c.Runtime()))
		}
		if len(c.ABI().Methods) == 0 {
			t.Errorf("%s has no methods", c.Name)
		}
	}
}

// The selectors and topics that wallets and facilitators know: EIP-3009, EIP-2612, ERC-1271 and the canonical
// Multicall3. Sources: the EIPs, and reference vectors made with the official x402 client.
func TestSelectorsAreThePublicOnes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		contract  Contract
		signature string
		selector  string
	}{
		{USDC, "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)", "0xe3ee160e"},
		{USDC, "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)", "0xcf092995"},
		{USDC, "receiveWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)", "0xef55bec6"},
		{USDC, "receiveWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)", "0x88b7ab63"},
		{USDC, "cancelAuthorization(address,bytes32,uint8,bytes32,bytes32)", "0x5a049a70"},
		{USDC, "cancelAuthorization(address,bytes32,bytes)", "0xb7b72899"},
		{USDC, "authorizationState(address,bytes32)", "0xe94a0102"},
		{USDC, "balanceOf(address)", "0x70a08231"},
		{USDC, "nonces(address)", "0x7ecebe00"},
		{USDC, "DOMAIN_SEPARATOR()", "0x3644e515"},
		{USDC, "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)", "0xd505accf"},
		{ERC1271Wallet, "isValidSignature(bytes32,bytes)", "0x1626ba7e"},
		{Delegate7702, "isValidSignature(bytes32,bytes)", "0x1626ba7e"},
		{Multicall3, "aggregate((address,bytes)[])", "0x252dba42"},
		{Multicall3, "tryAggregate(bool,(address,bytes)[])", "0xbce38bd7"},
		{Multicall3, "aggregate3((address,bool,bytes)[])", "0x82ad56cb"},
		{Multicall3, "aggregate3Value((address,bool,uint256,bytes)[])", "0x174dea71"},
		{Multicall3, "getEthBalance(address)", "0x4d2301cc"},
		{Permit2, "nonceBitmap(address,uint256)", "0x4fe02b44"},
		{Permit2, "permitWitnessTransferFrom(((address,uint256),uint256,uint256),(address,uint256),address,bytes32,string,bytes)", "0x137c29fe"},
		{ExactPermit2Proxy, "PERMIT2()", "0x6afdd850"},
		{ExactPermit2Proxy, "settle(((address,uint256),uint256,uint256),address,(address,uint256),bytes)", "0x13cd3b53"},
		{ExactPermit2Proxy, "settleWithPermit((uint256,uint256,bytes32,bytes32,uint8),((address,uint256),uint256,uint256),address,(address,uint256),bytes)", "0xfa340378"},
		{UptoPermit2Proxy, "settle(((address,uint256),uint256,uint256),uint256,address,(address,address,uint256),bytes)", "0xff11e7b4"},
	} {
		if got := common.Bytes2Hex(tc.contract.Method(tc.signature).ID); "0x"+got != tc.selector {
			t.Errorf("%s %s: 0x%s, want %s", tc.contract.Name, tc.signature, got, tc.selector)
		}
	}
	for name, topic := range map[string]string{
		"Transfer":              "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef",
		"Approval":              "0x8c5be1e5ebec7d5bd14f71427d1e84f3dd0314c0f7b2291e5b200ac8c7c3b925",
		"AuthorizationUsed":     "0x98de503528ee59b575ef0c0a2576a82497bfc029a5685b209e9ec333479b10a5",
		"AuthorizationCanceled": "0x1cdd46ff242716cdaa72d159d339a485b3438398348d68f09d7c8c0a59353d81",
	} {
		if got := USDC.Event(name).Hex(); got != topic {
			t.Errorf("event %s: %s, want %s", name, got, topic)
		}
	}
}
