// Package evm is the side of settlement that speaks to EVM chains: scheme exact over EIP-3009, reading evidence, signing.
package evm

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/rpc"

	"p402.io/p402/contracts"
	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/money"
	"p402.io/p402/settlement"
	"p402.io/p402/settlement/x402"
)

// Node is what Check reads of a chain; *ethclient.Client is one.
type Node interface {
	CodeAt(ctx context.Context, account common.Address, block *big.Int) ([]byte, error)
	CallContract(ctx context.Context, msg ethereum.CallMsg, block *big.Int) ([]byte, error)
}

// Signatures of the token's methods and of a smart wallet's (EIP-3009, ERC-1271).
const (
	sigTransferVRS   = "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)"
	sigTransferBytes = "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)"
	sigState         = "authorizationState(address,bytes32)"
	sigBalance       = "balanceOf(address)"
)

const (
	// minLeft is the least time an authorization must still run when it is taken (PROTOCOL §6.2, 7).
	minLeft = 6 * time.Second
	// checkTimeout bounds the chain reads of one check.
	checkTimeout = 10 * time.Second
	// transferGas bounds a collecting transaction; USDC's transferWithAuthorization uses under 100,000, a smart wallet's
	// signature check comes on top.
	transferGas = 250_000
)

var (
	magic1271    = []byte{0x16, 0x26, 0xba, 0x7e} // isValidSignature's answer for yes (ERC-1271)
	selector1271 = []byte{0x16, 0x26, 0xba, 0x7e} // isValidSignature(bytes32,bytes), the same four bytes
	suffix6492   = bytes.Repeat([]byte{0x64, 0x92}, 16)
)

// Exact is scheme exact over EIP-3009 on one network.
type Exact struct {
	Node    Node
	ChainID *big.Int
	Now     func() time.Time
	// WorkTime is how long a sold call and its settlement may take: an authorization must outlive it, or the payer would get an
	// answer that can no longer be collected. It binds offers of ours (Terms.WorkflowID) only: a facilitator's client has done its work
	// already. Zero checks only the protocol's own margin.
	WorkTime time.Duration
	// Wallets are our own sending addresses. As payers they are refused: nobody may make them a source of funds.
	Wallets []common.Address
}

// Name is the scheme's name on the wire.
func (e *Exact) Name() string { return x402.SchemeExact }

// Check verifies a payment against the terms in the protocol's order (PROTOCOL §6.2) and simulates the transfer. It
// reads the chain and writes nothing.
func (e *Exact) Check(ctx context.Context, t settlement.Terms, p x402.Payment) (settlement.Authorization, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if p.Permit2 != nil {
		return settlement.Authorization{}, x402.Refuse(x402.ReasonUnsupportedPayload, "payload.permit2Authorization", "EIP-3009 was offered")
	}
	m, err := message(p.Exact.Authorization)
	if err != nil {
		return settlement.Authorization{}, err
	}
	switch {
	case p.Scheme != x402.SchemeExact || t.Scheme != x402.SchemeExact:
		return settlement.Authorization{}, x402.Refuse(x402.ReasonScheme, "scheme", "")
	case t.AssetName == "" || t.AssetVersion == "":
		return settlement.Authorization{}, x402.Refuse(x402.ReasonMissingDomain, "extra", "")
	case p.Network != t.Network:
		return settlement.Authorization{}, x402.Refuse(x402.ReasonNetworkMismatch, "network", "")
	}
	domain := Domain{Name: t.AssetName, Version: t.AssetVersion, ChainID: e.ChainID, Contract: common.HexToAddress(t.Asset)}
	signature, err := e.checkSignature(ctx, m.From, Digest(domain, m.StructHash()), p.Exact.Signature, x402.ReasonSignature)
	if err != nil {
		return settlement.Authorization{}, err
	}
	if err := e.checkFields(t, p.Version, m); err != nil {
		return settlement.Authorization{}, err
	}
	auth, err := authorization(t, p, m, signature)
	if err != nil {
		return settlement.Authorization{}, err
	}
	return auth, e.simulate(ctx, t, auth, m)
}

func message(a x402.Authorization) (Transfer, error) {
	m := Transfer{From: common.HexToAddress(a.From), To: common.HexToAddress(a.To), Nonce: common.HexToHash(a.Nonce)}
	for _, n := range []struct {
		name, text string
		into       **big.Int
	}{{"value", a.Value, &m.Value}, {"validAfter", a.ValidAfter, &m.ValidAfter}, {"validBefore", a.ValidBefore, &m.ValidBefore}} {
		parsed, err := money.ParseUSDC(n.text)
		if err != nil {
			return Transfer{}, x402.Refuse(x402.ReasonInvalidPayload, "payload.authorization."+n.name, "is not a whole number")
		}
		*n.into = parsed.Big()
	}
	return m, nil
}

// checkSignature routes by code at the payer (PROTOCOL §6.3): none, then ECDSA; any, then ERC-1271, without falling back.
// Otherwise is the reason for every signature that is not the payer's.
func (e *Exact) checkSignature(ctx context.Context, payer common.Address, digest common.Hash, signature []byte, otherwise x402.Reason) ([]byte, error) {
	code, err := e.Node.CodeAt(ctx, payer, nil)
	if err != nil {
		return nil, unavailable(err)
	}
	bad := x402.Refuse(otherwise, "payload.signature", "")
	if bytes.HasSuffix(signature, suffix6492) {
		inner, factory, ok := unwrap6492(signature)
		if !ok {
			return nil, bad
		}
		switch {
		case factory == (common.Address{}): // no wrapper (PROTOCOL §6.4): the bytes stand for themselves, and no EOA signs so many
		case len(code) == 0:
			return nil, x402.Refuse(x402.ReasonFactory, "payload.signature", "the wallet is not deployed and its factory is not allowed")
		default:
			signature = inner
		}
	}
	if len(code) == 0 {
		signer, normal, ok := recoverSigner(digest, signature)
		if !ok || signer != payer {
			return nil, bad
		}
		return normal, nil
	}
	valid, err := e.isValidSignature(ctx, payer, digest, signature)
	if err != nil {
		return nil, err
	}
	if !valid {
		return nil, bad
	}
	return signature, nil
}

// isValidSignature asks a smart wallet (ERC-1271). A reverting wallet says no; a silent node is not a verdict.
func (e *Exact) isValidSignature(ctx context.Context, wallet common.Address, digest common.Hash, signature []byte) (bool, error) {
	data := append([]byte(nil), selector1271...)
	data = append(data, digest.Bytes()...)
	data = append(data, uint256(big.NewInt(64))...)
	data = append(data, uint256(big.NewInt(int64(len(signature))))...)
	data = append(data, signature...)
	if pad := len(signature) % 32; pad != 0 {
		data = append(data, make([]byte, 32-pad)...)
	}
	answer, err := e.Node.CallContract(ctx, ethereum.CallMsg{To: &wallet, Data: data, Gas: transferGas}, nil)
	if err != nil {
		if reverted(err) {
			return false, nil
		}
		return false, unavailable(err)
	}
	return len(answer) >= 32 && bytes.Equal(answer[:4], magic1271) && allZero(answer[4:32]), nil
}

func (e *Exact) checkFields(t settlement.Terms, version int, m Transfer) error {
	now := e.Now()
	least := e.least(t)
	value := x402.ReasonValue
	if version == 1 {
		value = x402.ReasonValueV1
	}
	switch {
	case m.To != common.HexToAddress(t.PayTo):
		return x402.Refuse(x402.ReasonRecipient, "payload.authorization.to", "")
	case m.From == m.To || e.ours(m.From):
		return x402.Refuse(x402.ReasonRecipient, "payload.authorization.from", "is the payee or a wallet of the house: no money would move from a payer")
	case m.ValidBefore.Cmp(big.NewInt(now.Add(least).Unix())) < 0:
		return x402.Refuse(x402.ReasonValidBefore, "payload.authorization.validBefore", "")
	case m.ValidAfter.Cmp(big.NewInt(now.Unix())) > 0:
		return x402.Refuse(x402.ReasonValidAfter, "payload.authorization.validAfter", "")
	case m.Value.Cmp(t.Amount.Big()) != 0:
		return x402.Refuse(value, "payload.authorization.value", "")
	}
	return nil
}

// ours reports whether an account is a wallet of the house.
func (e *Exact) ours(account common.Address) bool { return slices.Contains(e.Wallets, account) }

// least is how long an authorization for these terms must still run.
func (e *Exact) least(t settlement.Terms) time.Duration {
	if t.WorkflowID == "" {
		return minLeft
	}
	return max(minLeft, e.WorkTime)
}

func authorization(t settlement.Terms, p x402.Payment, m Transfer, signature []byte) (settlement.Authorization, error) {
	value, err := money.USDCFromBig(m.Value)
	if err != nil {
		return settlement.Authorization{}, x402.Refuse(x402.ReasonInvalidPayload, "payload.authorization.value", "")
	}
	a := settlement.Authorization{
		Network: t.Network, Asset: common.HexToAddress(t.Asset).Hex(), Payer: m.From.Hex(), PayTo: m.To.Hex(), Value: value,
		ValidAfter: seconds(m.ValidAfter), ValidBefore: seconds(m.ValidBefore), Nonce: strings.ToLower(m.Nonce.Hex()),
		Signature: signature, X402Version: p.Version,
	}
	if a.ValidBefore == maxSeconds {
		a.NeverEnds = m.ValidBefore.String()
	}
	return a, nil
}

// seconds keeps a chain time inside int64: payers write 2^256-1 for "never".
func seconds(n *big.Int) settlement.UnixSeconds {
	if !n.IsInt64() || n.Int64() > maxSeconds {
		return maxSeconds
	}
	return settlement.UnixSeconds(n.Int64())
}

// maxSeconds is the year 9999, the last that a timestamp column and RFC 3339 can hold.
const maxSeconds = 253402300799

// Collect is the transfer's calldata: v, r, s for 65 bytes, the bytes form for every other length (PROTOCOL §6.3).
func (e *Exact) Collect(a settlement.Authorization, amount money.USDC) (settlement.TxIntent, error) {
	if amount.Cmp(a.Value) != 0 {
		return settlement.TxIntent{}, fault.New(fault.KindInternal, "AMOUNT_MISMATCH", "exact collects exactly what was authorized")
	}
	validBefore := big.NewInt(int64(a.ValidBefore))
	if a.NeverEnds != "" {
		if _, ok := validBefore.SetString(a.NeverEnds, 10); !ok {
			return settlement.TxIntent{}, errors.New("the stored validBefore is no number")
		}
	}
	head := []any{common.HexToAddress(a.Payer), common.HexToAddress(a.PayTo), a.Value.Big(), big.NewInt(int64(a.ValidAfter)),
		validBefore, [32]byte(common.HexToHash(a.Nonce))}
	var data []byte
	var err error
	if len(a.Signature) == 65 {
		r, s := [32]byte(a.Signature[:32]), [32]byte(a.Signature[32:64])
		data, err = contracts.USDC.Pack(sigTransferVRS, append(head, a.Signature[64], r, s)...)
	} else {
		data, err = contracts.USDC.Pack(sigTransferBytes, append(head, []byte(a.Signature))...)
	}
	return settlement.TxIntent{To: a.Asset, Data: data, GasLimit: transferGas}, err
}

// simulate runs the very transfer; when it would fail, the chain is asked why, in the protocol's order.
func (e *Exact) simulate(ctx context.Context, t settlement.Terms, a settlement.Authorization, m Transfer) error {
	asset := common.HexToAddress(t.Asset)
	code, err := e.Node.CodeAt(ctx, asset, nil)
	if err != nil {
		return unavailable(err)
	}
	if len(code) == 0 {
		return x402.Refuse(x402.ReasonAssetNotDeployed, "asset", "")
	}
	intent, err := e.Collect(a, a.Value)
	if err != nil {
		return err
	}
	if _, err = e.Node.CallContract(ctx, ethereum.CallMsg{To: &asset, Data: intent.Data, Gas: transferGas}, nil); err == nil {
		return nil
	}
	if !reverted(err) {
		return unavailable(err)
	}
	return e.diagnose(ctx, asset, t, m)
}

func (e *Exact) diagnose(ctx context.Context, asset common.Address, t settlement.Terms, m Transfer) error {
	used, err := e.read(ctx, asset, sigState, m.From, [32]byte(m.Nonce))
	if err != nil {
		if reverted(err) || errors.Is(err, errShape) {
			return x402.Refuse(x402.ReasonNotSupported, "asset", "")
		}
		return unavailable(err)
	}
	if new(big.Int).SetBytes(used).Sign() != 0 {
		return x402.Refuse(x402.ReasonNonceUsed, "payload.authorization.nonce", "")
	}
	for _, want := range []struct {
		method, text string
		reason       x402.Reason
	}{{"name()", t.AssetName, x402.ReasonTokenName}, {"version()", t.AssetVersion, x402.ReasonTokenVersion}} {
		got, err := e.readString(ctx, asset, want.method)
		if err == nil && got != want.text {
			return x402.Refuse(want.reason, "extra", "")
		}
	}
	balance, err := e.read(ctx, asset, sigBalance, m.From)
	if err != nil {
		return unavailable(err)
	}
	if new(big.Int).SetBytes(balance).Cmp(m.Value) < 0 {
		return x402.Refuse(x402.ReasonBalance, "payload.authorization.value", "")
	}
	return x402.Refuse(x402.ReasonSimulation, "payload", "")
}

var errShape = errors.New("the contract's answer has not the expected shape")

// read calls a view that answers one word.
func (e *Exact) read(ctx context.Context, to common.Address, method string, args ...any) ([]byte, error) {
	data, err := contracts.USDC.Pack(method, args...)
	if err != nil {
		return nil, err
	}
	answer, err := e.Node.CallContract(ctx, ethereum.CallMsg{To: &to, Data: data}, nil)
	if err == nil && len(answer) < 32 {
		return nil, errShape
	}
	if err != nil {
		return nil, err
	}
	return answer[:32], nil
}

func (e *Exact) readString(ctx context.Context, to common.Address, method string) (string, error) {
	m := contracts.USDC.Method(method)
	answer, err := e.Node.CallContract(ctx, ethereum.CallMsg{To: &to, Data: m.ID}, nil)
	if err != nil {
		return "", err
	}
	values, err := m.Outputs.Unpack(answer)
	if err != nil || len(values) != 1 {
		return "", errShape
	}
	text, ok := values[0].(string)
	if !ok {
		return "", errShape
	}
	return text, nil
}

// unwrap6492 splits abi.encode(address factory, bytes call, bytes inner) and its 32-byte suffix (ERC-6492).
func unwrap6492(signature []byte) (inner []byte, factory common.Address, ok bool) {
	body := signature[:len(signature)-32]
	if len(body) < 96 {
		return nil, factory, false
	}
	factory = common.BytesToAddress(body[:32])
	offset := new(big.Int).SetBytes(body[64:96])
	if !offset.IsInt64() || offset.Int64() < 96 || offset.Int64() > int64(len(body))-32 {
		return nil, factory, false
	}
	at := offset.Int64()
	size := new(big.Int).SetBytes(body[at : at+32])
	if !size.IsInt64() || size.Int64() > int64(len(body))-at-32 {
		return nil, factory, false
	}
	return body[at+32 : at+32+size.Int64()], factory, true
}

// reverted reports whether a call failed on chain, as against a node that did not answer.
func reverted(err error) bool {
	var data rpc.DataError
	if errors.As(err, &data) && data.ErrorData() != nil {
		return true
	}
	text := err.Error()
	for _, failure := range []string{"revert", "out of gas", "invalid opcode", "invalid jump", "stack underflow", "stack limit reached"} {
		if strings.Contains(text, failure) {
			return true
		}
	}
	return false
}

func unavailable(err error) error { return settlement.ErrChainUnavailable.Because(err) }

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// hexOf is 0x and lower-case hex.
func hexOf(b []byte) string { return "0x" + hex.EncodeToString(b) }

// TokenDomain is what a token says its EIP-712 name and version are.
func TokenDomain(ctx context.Context, node Node, token string) (name, version string, err error) {
	reader, to := Exact{Node: node}, common.HexToAddress(token)
	if name, err = reader.readString(ctx, to, "name()"); err != nil {
		return "", "", unavailable(err)
	}
	if version, err = reader.readString(ctx, to, "version()"); err != nil {
		return "", "", unavailable(err)
	}
	return name, version, nil
}
