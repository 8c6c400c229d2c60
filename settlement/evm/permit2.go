package evm

import (
	"context"
	"errors"
	"math/big"
	"time"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"p402.io/p402/contracts"
	"p402.io/p402/internal/fault"
	"p402.io/p402/internal/money"
	"p402.io/p402/settlement"
	"p402.io/p402/settlement/x402"
)

// The canonical addresses, the same on every network where they are deployed (PROTOCOL §13).
const (
	Permit2Address    = "0x000000000022D473030F116dDEE9F6B43aC78BA3"
	ExactProxyAddress = "0x402085c248EeA27D92E8b30b2C58ed07f9E20001"
	UptoProxyAddress  = "0x4020A4f3b7b90ccA423B9fabCc0CE57C6C240002"
)

// Signatures of the proxies', Permit2's and the token's methods.
const (
	sigSettleExact     = "settle(((address,uint256),uint256,uint256),address,(address,uint256),bytes)"
	sigSettleUpto      = "settle(((address,uint256),uint256,uint256),uint256,address,(address,address,uint256),bytes)"
	sigSettleExact2612 = "settleWithPermit((uint256,uint256,bytes32,bytes32,uint8),((address,uint256),uint256,uint256),address,(address,uint256),bytes)"
	sigSettleUpto2612  = "settleWithPermit((uint256,uint256,bytes32,bytes32,uint8),((address,uint256),uint256,uint256),uint256,address,(address,address,uint256),bytes)"
	sigBitmap          = "nonceBitmap(address,uint256)"
	sigAllowance       = "allowance(address,address)"
)

// permit2Gas bounds a collecting transaction through a proxy: the token's transfer, the bitmap's new word, a smart wallet's check.
const permit2Gas = 300_000

// Permit2 is scheme exact over Permit2, or with Upto scheme upto, each through its canonical proxy.
type Permit2 struct {
	// Base reads the chain and judges signatures and windows as for EIP-3009.
	Base *Exact
	Upto bool
	// Facilitators are our own wallets: an upto permit must name the one that will send its settlement. The first is advertised.
	Facilitators []common.Address
}

var _ settlement.Scheme = (*Permit2)(nil)

// Name is the scheme's name on the wire.
func (s *Permit2) Name() string {
	if s.Upto {
		return x402.SchemeUpto
	}
	return x402.SchemeExact
}

func (s *Permit2) proxy() common.Address {
	if s.Upto {
		return common.HexToAddress(UptoProxyAddress)
	}
	return common.HexToAddress(ExactProxyAddress)
}

// Check verifies a payment against the terms in the protocol's order (PROTOCOL §6.5, §7) and simulates the settlement of the full
// amount. It reads the chain and writes nothing.
func (s *Permit2) Check(ctx context.Context, t settlement.Terms, p x402.Payment) (settlement.Authorization, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if p.Permit2 == nil {
		return settlement.Authorization{}, x402.Refuse(x402.ReasonUnsupportedPayload, "payload", "Permit2 was offered")
	}
	m, err := permitOf(*p.Permit2, s.Upto)
	if err != nil {
		return settlement.Authorization{}, err
	}
	if err := s.checkPermit(t, p, m); err != nil {
		return settlement.Authorization{}, err
	}
	code, err := s.Base.Node.CodeAt(ctx, m.token, nil)
	if err != nil {
		return settlement.Authorization{}, unavailable(err)
	}
	if len(code) == 0 {
		return settlement.Authorization{}, x402.Refuse(x402.ReasonAssetNotDeployed, "asset", "")
	}
	signature, err := s.Base.checkSignature(ctx, m.owner, m.digest(s.Base.ChainID), p.Permit2.Signature, x402.ReasonPermit2Signature)
	if err != nil {
		return settlement.Authorization{}, err
	}
	a, err := s.authorization(t, p, m, signature)
	if err != nil {
		return a, err
	}
	if a.Sponsored, err = sponsored(t, p, m, s.Base.Now()); err != nil {
		return a, err
	}
	return a, s.simulate(ctx, a, m)
}

// permit is PermitWitnessTransferFrom's message.
type permit struct {
	owner, token, spender, to, facilitator common.Address
	amount, nonce, deadline, validAfter    *big.Int
	upto                                   bool
}

func permitOf(w x402.Permit2Payload, upto bool) (permit, error) {
	m := permit{owner: common.HexToAddress(w.From), token: common.HexToAddress(w.Token), spender: common.HexToAddress(w.Spender),
		to: common.HexToAddress(w.To), facilitator: common.HexToAddress(w.Facilitator), upto: upto}
	for _, n := range []struct {
		name, text string
		into       **big.Int
	}{{"permitted.amount", w.Amount, &m.amount}, {"nonce", w.Nonce, &m.nonce}, {"deadline", w.Deadline, &m.deadline}, {"witness.validAfter", w.ValidAfter, &m.validAfter}} {
		parsed, err := money.ParseUSDC(n.text)
		if err != nil {
			return permit{}, x402.Refuse(x402.ReasonInvalidPayload, "payload.permit2Authorization."+n.name, "is not a whole number")
		}
		*n.into = parsed.Big()
	}
	return m, nil
}

// Type strings of Permit2 and of the proxies' witnesses.
const (
	permit2DomainType    = "EIP712Domain(string name,uint256 chainId,address verifyingContract)"
	tokenPermissionsType = "TokenPermissions(address token,uint256 amount)"
	exactWitnessType     = "Witness(address to,uint256 validAfter)"
	uptoWitnessType      = "Witness(address to,address facilitator,uint256 validAfter)"
	permitTypeStub       = "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,Witness witness)"
)

func typeHash(text string) []byte { return crypto.Keccak256([]byte(text)) }

func (m permit) structHash() common.Hash {
	witnessType, witness := exactWitnessType, hashWords(typeHash(exactWitnessType), address(m.to), uint256(m.validAfter))
	if m.upto {
		witnessType, witness = uptoWitnessType, hashWords(typeHash(uptoWitnessType), address(m.to), address(m.facilitator), uint256(m.validAfter))
	}
	permitted := hashWords(typeHash(tokenPermissionsType), address(m.token), uint256(m.amount))
	return hashWords(typeHash(permitTypeStub+tokenPermissionsType+witnessType), permitted.Bytes(), address(m.spender), uint256(m.nonce),
		uint256(m.deadline), witness.Bytes())
}

// digest is what the payer signs: Permit2's domain has no version.
func (m permit) digest(chainID *big.Int) common.Hash {
	domain := hashWords(typeHash(permit2DomainType), typeHash("Permit2"), uint256(chainID), address(common.HexToAddress(Permit2Address)))
	return crypto.Keccak256Hash([]byte{0x19, 0x01}, domain.Bytes(), m.structHash().Bytes())
}

// checkPermit is everything that needs no chain.
func (s *Permit2) checkPermit(t settlement.Terms, p x402.Payment, m permit) error {
	const at = "payload.permit2Authorization."
	now, scheme, network := s.Base.Now(), x402.ReasonUnsupportedPayload, x402.ReasonNetworkMismatch
	if s.Upto {
		scheme, network = x402.ReasonUptoScheme, x402.ReasonUptoNetwork
	}
	switch {
	case p.Scheme != s.Name() || t.Scheme != s.Name():
		return x402.Refuse(scheme, "scheme", "")
	case p.Network != t.Network:
		return x402.Refuse(network, "network", "")
	case m.spender != s.proxy():
		return x402.Refuse(x402.ReasonPermit2Spender, at+"spender", "")
	case m.to != common.HexToAddress(t.PayTo):
		return x402.Refuse(x402.ReasonPermit2Recipient, at+"witness.to", "")
	case m.owner == m.to || s.Base.ours(m.owner):
		return x402.Refuse(x402.ReasonPermit2Recipient, at+"from", "is the payee or a wallet of the house: no money would move from a payer")
	case s.Upto && !s.sends(m.facilitator, t.Facilitator):
		return x402.Refuse(x402.ReasonUptoFacilitator, at+"witness.facilitator", "")
	case m.deadline.Cmp(big.NewInt(now.Add(s.Base.least(t)).Unix())) < 0:
		return x402.Refuse(x402.ReasonPermit2Expired, at+"deadline", "")
	case m.validAfter.Cmp(big.NewInt(now.Unix())) > 0:
		return x402.Refuse(x402.ReasonPermit2NotYet, at+"witness.validAfter", "")
	case m.amount.Cmp(t.Amount.Big()) != 0:
		return x402.Refuse(x402.ReasonPermit2Amount, at+"permitted.amount", "")
	case m.token != common.HexToAddress(t.Asset):
		return x402.Refuse(x402.ReasonPermit2Token, at+"permitted.token", "")
	}
	return nil
}

// sends reports whether a facilitator is one of our wallets, and the one that was offered if one was.
func (s *Permit2) sends(facilitator common.Address, offered string) bool {
	if offered != "" && common.HexToAddress(offered) != facilitator {
		return false
	}
	for _, f := range s.Facilitators {
		if f == facilitator {
			return true
		}
	}
	return false
}

func (s *Permit2) authorization(t settlement.Terms, p x402.Payment, m permit, signature []byte) (settlement.Authorization, error) {
	value, err := money.USDCFromBig(m.amount)
	if err != nil {
		return settlement.Authorization{}, x402.Refuse(x402.ReasonInvalidPayload, "payload.permit2Authorization.permitted.amount", "")
	}
	a := settlement.Authorization{Method: settlement.MethodPermit2, Network: t.Network, Asset: m.token.Hex(), Payer: m.owner.Hex(), PayTo: m.to.Hex(),
		Value: value, ValidAfter: seconds(m.validAfter), ValidBefore: seconds(m.deadline), Nonce: common.BigToHash(m.nonce).Hex(),
		Signature: signature, X402Version: p.Version}
	if a.ValidBefore == maxSeconds {
		a.NeverEnds = m.deadline.String()
	}
	if s.Upto {
		a.Facilitator = m.facilitator.Hex()
	}
	return a, nil
}

// Arguments of the proxies in the shape that their ABI has.
type (
	tokenPermissions struct {
		Token  common.Address
		Amount *big.Int
	}
	permitTransferFrom struct {
		Permitted       tokenPermissions
		Nonce, Deadline *big.Int
	}
	exactWitness struct {
		To         common.Address
		ValidAfter *big.Int
	}
	uptoWitness struct {
		To, Facilitator common.Address
		ValidAfter      *big.Int
	}
	permit2612 struct {
		Value, Deadline *big.Int
		R, S            [32]byte
		V               uint8
	}
)

// Collect is the proxy's calldata: exact moves all of what was permitted, upto the amount.
func (s *Permit2) Collect(a settlement.Authorization, amount money.USDC) (settlement.TxIntent, error) {
	intent := settlement.TxIntent{To: s.proxy().Hex(), GasLimit: permit2Gas}
	if c := amount.Cmp(a.Value); c > 0 || c < 0 && !s.Upto {
		return intent, fault.New(fault.KindInternal, "AMOUNT_MISMATCH", "exact collects exactly what was authorized, upto at most that")
	}
	deadline := big.NewInt(int64(a.ValidBefore))
	if a.NeverEnds != "" {
		if _, ok := deadline.SetString(a.NeverEnds, 10); !ok {
			return intent, errors.New("the stored deadline of an authorization is no number")
		}
	}
	permitted := permitTransferFrom{tokenPermissions{common.HexToAddress(a.Asset), a.Value.Big()}, common.HexToHash(a.Nonce).Big(), deadline}
	to, owner, after := common.HexToAddress(a.PayTo), common.HexToAddress(a.Payer), big.NewInt(int64(a.ValidAfter))
	contract, plain, with2612, args := contracts.ExactPermit2Proxy, sigSettleExact, sigSettleExact2612,
		[]any{permitted, owner, exactWitness{to, after}, []byte(a.Signature)}
	if s.Upto {
		intent.From = a.Facilitator
		contract, plain, with2612, args = contracts.UptoPermit2Proxy, sigSettleUpto, sigSettleUpto2612,
			[]any{permitted, amount.Big(), owner, uptoWitness{to, common.HexToAddress(a.Facilitator), after}, []byte(a.Signature)}
	}
	var err error
	if a.Sponsored == nil {
		intent.Data, err = contract.Pack(plain, args...)
		return intent, err
	}
	v := a.Sponsored
	first := permit2612{Value: v.Value.Big(), Deadline: big.NewInt(int64(v.Deadline)), R: [32]byte(v.Signature[:32]), S: [32]byte(v.Signature[32:64]), V: v.Signature[64]}
	intent.Data, err = contract.Pack(with2612, append([]any{first}, args...)...)
	return intent, err
}

// simulate runs the very settlement; when it would fail, the chain is asked why.
func (s *Permit2) simulate(ctx context.Context, a settlement.Authorization, m permit) error {
	intent, err := s.Collect(a, a.Value)
	if err != nil {
		return err
	}
	proxy := s.proxy()
	code, err := s.Base.Node.CodeAt(ctx, proxy, nil)
	if err != nil {
		return unavailable(err)
	}
	if len(code) == 0 { // a call to no code succeeds in silence
		return x402.Refuse(x402.ReasonPermit2Proxy, "network", "")
	}
	msg := ethereum.CallMsg{From: common.HexToAddress(intent.From), To: &proxy, Data: intent.Data, Gas: permit2Gas}
	if _, err = s.Base.Node.CallContract(ctx, msg, nil); err == nil {
		return nil
	}
	if !reverted(err) {
		return unavailable(err)
	}
	return s.diagnose(ctx, a, m)
}

func (s *Permit2) diagnose(ctx context.Context, a settlement.Authorization, m permit) error {
	const at = "payload.permit2Authorization."
	used, err := permit2Used(ctx, s.Base, a)
	if err != nil {
		return err
	}
	if used {
		return x402.Refuse(x402.ReasonPermit2Nonce, at+"nonce", "")
	}
	for _, want := range []struct {
		method string
		args   []any
		reason x402.Reason
	}{{sigBalance, []any{m.owner}, x402.ReasonPermit2Balance}, {sigAllowance, []any{m.owner, common.HexToAddress(Permit2Address)}, x402.ReasonPermit2Allowance}} {
		word, err := s.Base.read(ctx, m.token, want.method, want.args...)
		if err != nil {
			return unavailable(err)
		}
		if new(big.Int).SetBytes(word).Cmp(m.amount) < 0 {
			return x402.Refuse(want.reason, at+"permitted.amount", "")
		}
	}
	return x402.Refuse(x402.ReasonPermit2Simulation, "payload", "")
}

// minLeftSponsored is the least time a sponsored permit must still run (PROTOCOL §6.6).
const minLeftSponsored = 6 * time.Second
