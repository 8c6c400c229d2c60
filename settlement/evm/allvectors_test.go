package evm

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/accounts"
	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/common/math"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/signer/core/apitypes"

	"p402.io/p402/settlement/x402"
)

// published is one entry of the published vectors, whatever its kind.
type published struct {
	ID, Kind, PrimaryType, EncodeType, DomainTypeString                                string
	Positive                                                                           bool
	Domain, Message, ChannelConfig                                                     map[string]any
	DomainSeparator, TypeHash, StructHash, Digest, ChannelID, WitnessHash, DepositSalt string
	Signature, ExpectedSigner, PrivateKey, Recovered, Expect                           string
	Wrapped, Factory, InnerSignature                                                   string
	Types, Values                                                                      []string
	Encoded                                                                            string
	Nonce, WordPos                                                                     string
	BitPos                                                                             int64
	Kid, Seed, Canonical, CanonicalPayload, Compact                                    string
	Payload                                                                            json.RawMessage
	Input                                                                              json.RawMessage
	HeaderValue                                                                        string
}

// TestVectors holds us against every published vector, one subtest each; a vector of a kind that nothing here knows fails.
// P402_X402_VECTORS names another file of the same form.
func TestVectors(t *testing.T) {
	t.Parallel()
	var file struct {
		Count   int
		Vectors []json.RawMessage
	}
	vectors(t, &file)
	if len(file.Vectors) == 0 || (file.Count != 0 && file.Count != len(file.Vectors)) {
		t.Fatalf("%d vectors, the file says %d", len(file.Vectors), file.Count)
	}
	jwsKey := jwsKeyOf(t, file.Vectors)
	for _, raw := range file.Vectors {
		v := decodeVector(t, raw)
		t.Run(v.ID, func(t *testing.T) {
			t.Parallel()
			switch v.Kind {
			case "typed-data", "typed-data-negative":
				typedData(t, v)
			case "channel-id":
				if id := hashOf(t, v, v.ChannelConfig); id.Hex() != v.ChannelID {
					t.Errorf("channel %s, want %s", id, v.ChannelID)
				}
			case "abi":
				abiVector(t, v)
			case "derivation":
				word, bit := nonceBit(bigOf(t, v.Nonce))
				if word.String() != v.WordPos || int64(bit) != v.BitPos {
					t.Errorf("word %s bit %d", word, bit)
				}
			case "erc6492":
				wrapped6492(t, v)
			case "jws":
				jwsVector(t, v, jwsKey)
			case "jcs":
				if got, err := x402.Canonical(v.Input); err != nil || string(got) != v.Canonical {
					t.Errorf("%s, %v", got, err)
				}
			case "siwx":
				siwx(t, v, raw)
			default:
				t.Errorf("kind %q is not known", v.Kind)
			}
		})
	}
}

func decodeVector(t *testing.T, raw json.RawMessage) published {
	t.Helper()
	var kind struct{ Kind string }
	if err := json.Unmarshal(raw, &kind); err != nil {
		t.Fatal(err)
	}
	var v published
	if kind.Kind == "siwx" { // its message is a text
		if err := json.Unmarshal(bytes.Replace(raw, []byte(`"message"`), []byte(`"text"`), 1), &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	var seed struct{ Ed25519SeedHex string }
	if err := json.Unmarshal(raw, &seed); err != nil {
		t.Fatal(err)
	}
	v.Seed = seed.Ed25519SeedHex
	return v
}

func bigOf(t *testing.T, text string) *big.Int { t.Helper(); return number(t, text) }

// typesOf reads EIP-712's own notation: Primary(type name,...)Other(...).
func typesOf(t *testing.T, encoded string) apitypes.Types {
	t.Helper()
	types := apitypes.Types{}
	for rest := encoded; rest != ""; {
		name, after, ok := strings.Cut(rest, "(")
		fields, next, closed := strings.Cut(after, ")")
		if !ok || !closed {
			t.Fatalf("type %q", encoded)
		}
		types[name] = []apitypes.Type{}
		for field := range strings.SplitSeq(fields, ",") {
			kind, label, _ := strings.Cut(field, " ")
			types[name] = append(types[name], apitypes.Type{Name: label, Type: kind})
		}
		rest = next
	}
	return types
}

// hashOf is the EIP-712 digest of a message, with every step compared with what the vector says of it.
func hashOf(t *testing.T, v published, message map[string]any) common.Hash {
	t.Helper()
	data := apitypes.TypedData{Types: typesOf(t, v.EncodeType), PrimaryType: v.PrimaryType, Message: message}
	for _, field := range [][2]string{{"name", "string"}, {"version", "string"}, {"chainId", "uint256"}, {"verifyingContract", "address"}} {
		if _, has := v.Domain[field[0]]; has {
			data.Types["EIP712Domain"] = append(data.Types["EIP712Domain"], apitypes.Type{Name: field[0], Type: field[1]})
		}
	}
	data.Domain.Name, _ = v.Domain["name"].(string)
	data.Domain.Version, _ = v.Domain["version"].(string)
	data.Domain.VerifyingContract, _ = v.Domain["verifyingContract"].(string)
	if id, ok := v.Domain["chainId"].(float64); ok {
		data.Domain.ChainId = math.NewHexOrDecimal256(int64(id))
	}
	domain, err := data.HashStruct("EIP712Domain", data.Domain.Map())
	if err != nil {
		t.Fatal(err)
	}
	inner, err := data.HashStruct(v.PrimaryType, message)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ name, got, want string }{{"domain separator", domain.String(), v.DomainSeparator}, {"struct hash", inner.String(), v.StructHash},
		{"type hash", data.TypeHash(v.PrimaryType).String(), v.TypeHash}} {
		if step.want != "" && step.got != step.want {
			t.Errorf("%s %s, want %s", step.name, step.got, step.want)
		}
	}
	if v.DomainTypeString != "" && v.DomainTypeString != string(data.EncodeType("EIP712Domain")) {
		t.Errorf("domain type %s", data.EncodeType("EIP712Domain"))
	}
	return crypto.Keccak256Hash([]byte{0x19, 0x01}, domain, inner)
}

func typedData(t *testing.T, v published) {
	digest := common.HexToHash(v.Digest)
	if v.EncodeType != "" {
		if got := hashOf(t, v, v.Message); got != digest {
			t.Errorf("digest %s, want %s", got, digest)
		}
	}
	signature := common.FromHex(v.Signature)
	signer, normal, ok := recoverSigner(digest, signature)
	good := ok && signer == common.HexToAddress(v.ExpectedSigner)
	if want := v.Positive || v.Expect == "accept-after-normalising-or-reject"; good != want {
		t.Fatalf("accepted %v, want %v", good, want)
	}
	if !v.Positive {
		return
	}
	if !bytes.Equal(normal, signature) {
		t.Errorf("normal form %x", normal)
	}
	key, err := crypto.HexToECDSA(strings.TrimPrefix(v.PrivateKey, "0x"))
	if err != nil {
		t.Fatal(err)
	}
	made, err := crypto.Sign(digest.Bytes(), key)
	if err != nil {
		t.Fatal(err)
	}
	if made[64] += 27; !bytes.Equal(made, signature) {
		t.Errorf("signed %x", made)
	}
	if v.DepositSalt != "" { // the nonce of a deposit is bound to its channel
		if got := crypto.Keccak256Hash(common.FromHex(v.ChannelID), common.FromHex(v.DepositSalt)); got.Hex() != v.Message["nonce"] {
			t.Errorf("deposit nonce %s", got)
		}
	}
}

func abiVector(t *testing.T, v published) {
	var args abi.Arguments
	var values []any
	for i, field := range v.Types {
		name, _, _ := strings.Cut(field, " ")
		kind, err := abi.NewType(name, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, abi.Argument{Type: kind})
		switch name {
		case "bytes":
			values = append(values, common.FromHex(v.Values[i]))
		case "uint256":
			values = append(values, bigOf(t, v.Values[i]))
		default:
			t.Fatalf("type %s", name)
		}
	}
	got, err := args.Pack(values...)
	if err != nil || hexutil.Encode(got) != v.Encoded {
		t.Errorf("%x, %v", got, err)
	}
}

func wrapped6492(t *testing.T, v published) {
	wrapped := common.FromHex(v.Wrapped)
	if len(wrapped) < 32 || !bytes.HasSuffix(wrapped, suffix6492) {
		t.Fatal("no wrapper")
	}
	inner, factory, ok := unwrap6492(wrapped)
	taken := ok && factory != (common.Address{})
	if taken != v.Positive {
		t.Fatalf("taken for a wrapper: %v", taken)
	}
	if v.Positive && (hexutil.Encode(inner) != v.InnerSignature || factory != common.HexToAddress(v.Factory)) {
		t.Errorf("inner %x of %s", inner, factory)
	}
}

func jwsKeyOf(t *testing.T, list []json.RawMessage) ed25519.PrivateKey {
	t.Helper()
	for _, raw := range list {
		if v := decodeVector(t, raw); v.Seed != "" {
			return ed25519.NewKeyFromSeed(common.FromHex(v.Seed))
		}
	}
	return nil
}

func jwsVector(t *testing.T, v published, key ed25519.PrivateKey) {
	kid := v.Kid
	if kid == "" {
		kid = x402.DIDJWK(key.Public().(ed25519.PublicKey))
	}
	payload, err := x402.VerifyEdDSA(v.Compact, kid, key.Public().(ed25519.PublicKey))
	if !v.Positive {
		if !errors.Is(err, x402.ErrJWS) {
			t.Errorf("accepted: %v", err)
		}
		return
	}
	if err != nil || string(payload) != v.CanonicalPayload {
		t.Errorf("payload %s, %v", payload, err)
	}
	if made, err := x402.SignJWS(key, v.Kid, v.Payload); err != nil || made != v.Compact {
		t.Errorf("signed %s, %v", made, err)
	}
}

// siwx writes the text of EIP-4361 from the header's fields and recovers who signed it (EIP-191).
func siwx(t *testing.T, v published, raw json.RawMessage) {
	var want struct{ Message string }
	var p struct {
		Domain, Address, Statement, URI, Version, ChainID, Nonce, IssuedAt, Signature string
		Resources                                                                     []string
	}
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	if err := x402.DecodeHeader(v.HeaderValue, &p); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%s wants you to sign in with your Ethereum account:\n%s\n\n%s\n\nURI: %s\nVersion: %s\nChain ID: %s\nNonce: %s\nIssued At: %s\nResources:",
		p.Domain, p.Address, p.Statement, p.URI, p.Version, strings.TrimPrefix(p.ChainID, "eip155:"), p.Nonce, p.IssuedAt)
	for _, resource := range p.Resources {
		text += "\n- " + resource
	}
	if text != want.Message {
		t.Errorf("text %q, want %q", text, want.Message)
	}
	signer, _, ok := recoverSigner(common.BytesToHash(accounts.TextHash([]byte(text))), common.FromHex(p.Signature))
	if !ok || signer.Hex() != v.Recovered {
		t.Errorf("signer %s %v", signer, ok)
	}
}

// TestVectorNamesHashToTheirValues covers the file's tables of selectors, topics and errors.
func TestVectorNamesHashToTheirValues(t *testing.T) {
	t.Parallel()
	var file struct{ Selectors, EventTopics, ErrorSelectors map[string]string }
	vectors(t, &file)
	for _, table := range []struct {
		names map[string]string
		size  int
	}{{file.Selectors, 4}, {file.ErrorSelectors, 4}, {file.EventTopics, 32}} {
		if len(table.names) == 0 {
			t.Error("an empty table")
		}
		for name, want := range table.names {
			if got := hexutil.Encode(crypto.Keccak256([]byte(name))[:table.size]); got != want {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}
	}
}
