package evm

import (
	"encoding/hex"
	"encoding/json"
	"math/big"
	"os"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"p402.io/p402/internal/money"
	"p402.io/p402/settlement"
)

type vector struct {
	ID          string `json:"id"`
	PrimaryType string `json:"primaryType"`
	Positive    bool   `json:"positive"`
	Domain      struct {
		Name     string `json:"name"`
		Version  string `json:"version"`
		ChainID  int64  `json:"chainId"`
		Contract string `json:"verifyingContract"`
	} `json:"domain"`
	DomainSeparator string `json:"domainSeparator"`
	StructHash      string `json:"structHash"`
	Digest          string `json:"digest"`
	Message         struct {
		From, To, Value, ValidAfter, ValidBefore, Nonce string
	} `json:"message"`
	Signature      string `json:"signature"`
	ExpectedSigner string `json:"expectedSigner"`
	InnerSignature string `json:"innerSignature"`
	Wrapped        string `json:"wrapped"`
	Factory        string `json:"factory"`
	Expect         string `json:"expect"`
}

func vectors(t *testing.T, into any) {
	t.Helper()
	path := "../x402/testdata/vectors.json"
	if given := os.Getenv("P402_X402_VECTORS"); given != "" {
		path = given
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatal(err)
	}
}

func number(t *testing.T, text string) *big.Int {
	t.Helper()
	n, ok := new(big.Int).SetString(text, 10)
	if !ok {
		t.Fatalf("%q is no number", text)
	}
	return n
}

// TestEIP3009Vectors holds our typed data and signature rules against the published vectors: every signature of a
// transfer, good or bad, must come out as its vector says.
func TestEIP3009Vectors(t *testing.T) {
	t.Parallel()
	var file struct {
		Vectors []json.RawMessage `json:"vectors"`
	}
	vectors(t, &file)
	seen := 0
	for _, raw := range file.Vectors {
		var head struct{ ID, PrimaryType string }
		if err := json.Unmarshal(raw, &head); err != nil {
			t.Fatal(err)
		}
		if head.PrimaryType != "TransferWithAuthorization" {
			continue
		}
		var v vector
		if err := json.Unmarshal(raw, &v); err != nil {
			t.Fatalf("%s: %v", head.ID, err)
		}
		seen++
		m := Transfer{From: common.HexToAddress(v.Message.From), To: common.HexToAddress(v.Message.To), Value: number(t, v.Message.Value),
			ValidAfter: number(t, v.Message.ValidAfter), ValidBefore: number(t, v.Message.ValidBefore), Nonce: common.HexToHash(v.Message.Nonce)}
		d := Domain{v.Domain.Name, v.Domain.Version, big.NewInt(v.Domain.ChainID), common.HexToAddress(v.Domain.Contract)}
		if v.Positive && (d.Separator().Hex() != v.DomainSeparator || m.StructHash().Hex() != v.StructHash || Digest(d, m.StructHash()).Hex() != v.Digest) {
			t.Errorf("%s: hashes differ", v.ID)
		}
		signature, err := hex.DecodeString(strings.TrimPrefix(v.Signature, "0x"))
		if err != nil {
			t.Fatal(err)
		}
		signer, _, ok := recoverSigner(Digest(d, m.StructHash()), signature)
		want := v.Positive || v.Expect == "accept-after-normalising-or-reject" // v as 0 or 1: we normalise
		if good := ok && signer == m.From; good != want {
			t.Errorf("%s: signature good %v, want %v", v.ID, good, want)
		}
	}
	if seen < 15 {
		t.Fatalf("only %d vectors of a transfer", seen)
	}
}

func TestERC6492Vectors(t *testing.T) {
	t.Parallel()
	var file struct {
		Vectors []json.RawMessage `json:"vectors"`
	}
	vectors(t, &file)
	seen := 0
	for _, raw := range file.Vectors {
		var v struct {
			ID, Kind, Factory, InnerSignature, Wrapped string
			Positive                                   bool
		}
		if err := json.Unmarshal(raw, &v); err != nil || v.Kind != "erc6492" {
			continue
		}
		seen++
		wrapped := common.FromHex(v.Wrapped)
		if len(wrapped) < 32 {
			continue
		}
		inner, factory, ok := unwrap6492(wrapped)
		if v.Positive && (!ok || hexOf(inner) != v.InnerSignature || factory != common.HexToAddress(v.Factory)) {
			t.Errorf("%s: %v %s %x", v.ID, ok, factory, inner)
		}
	}
	if seen != 3 {
		t.Fatalf("%d vectors", seen)
	}
}

// TestCalldataVectors checks both forms of the collecting call byte for byte.
func TestCalldataVectors(t *testing.T) {
	t.Parallel()
	var file struct {
		Calldata []struct{ ID, To, Data string } `json:"calldata"`
	}
	vectors(t, &file)
	a := settlement.Authorization{Asset: "0x036CbD53842c5426634e7929541eC2318f3dCF7e", Payer: "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
		PayTo: "0x70997970C51812dc3A010C7d01b50e0d17dc79C8", Value: money.Atomic(10000), ValidBefore: 1800000300,
		Nonce: "0x7be3a1ef45433886c0fbc6c9121210c54c35464500c7fe7cb3db5c0966e61231"}
	for _, v := range file.Calldata {
		data := common.FromHex(v.Data)
		switch v.ID {
		case "calldata-transferWithAuthorization-vrs":
			v0 := 4 + 6*32
			a.Signature = append(append(append([]byte{}, data[v0+32:v0+64]...), data[v0+64:v0+96]...), data[v0+31])
		case "calldata-transferWithAuthorization-bytes":
			size := new(big.Int).SetBytes(data[4+7*32 : 4+8*32]).Int64()
			a.Signature = data[4+8*32 : 4+8*32+size]
			if size == 65 {
				continue // we send 65 bytes as v, r, s
			}
		default:
			continue
		}
		got, err := (&Exact{}).Collect(a, a.Value)
		if err != nil || hexOf(got.Data) != v.Data || got.To != v.To {
			t.Errorf("%s: %v\n%s\nwant %s", v.ID, err, hexOf(got.Data), v.Data)
		}
	}
}
