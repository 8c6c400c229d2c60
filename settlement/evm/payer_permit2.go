package evm

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"p402.io/p402/internal/money"
	"p402.io/p402/settlement/x402"
)

// eip2612Type is the message by which an owner approves a spender with a signature.
const eip2612Type = "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"

// SignPermit2 is the payer's side of exact over Permit2 and of upto: it signs the n-th way of an offer with a wallet key and
// returns the PAYMENT-SIGNATURE header. With approve, the payer's next EIP-2612 nonce at the token, it also signs Permit2's approval for this
// payment, to be brought to the chain along with it; nil if Permit2 is approved already.
func SignPermit2(o x402.PaymentRequired, n int, privateKey string, now time.Time, approve *big.Int) (string, error) {
	key, err := crypto.HexToECDSA(strings.TrimPrefix(privateKey, "0x"))
	if err != nil {
		return "", errors.New("the wallet key is not 64 hex digits")
	}
	r := o.Accepts[n]
	var extra struct{ Name, Version, AssetTransferMethod, FacilitatorAddress string }
	var chainID int64
	if err := json.Unmarshal(r.Extra, &extra); err != nil || extra.AssetTransferMethod != "permit2" {
		return "", errors.New("the offer is not over Permit2")
	}
	if _, err := fmt.Sscanf(r.Network, "eip155:%d", &chainID); err != nil {
		return "", errors.New("the offer is not on an EVM network")
	}
	timeout, err := r.MaxTimeoutSeconds.Int64()
	value, ok := new(big.Int).SetString(r.Amount, 10)
	if err != nil || !ok {
		return "", errors.New("the offer's amount or timeout is not a number")
	}
	var nonce [32]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return "", err
	}
	m := permit{owner: crypto.PubkeyToAddress(key.PublicKey), token: common.HexToAddress(r.Asset), spender: common.HexToAddress(ExactProxyAddress),
		to: common.HexToAddress(r.PayTo), facilitator: common.HexToAddress(extra.FacilitatorAddress), amount: value, nonce: new(big.Int).SetBytes(nonce[:]),
		deadline: big.NewInt(now.Unix() + timeout), validAfter: new(big.Int), upto: r.Scheme == x402.SchemeUpto}
	witness := map[string]string{"to": m.to.Hex(), "validAfter": "0"}
	if m.upto {
		m.spender, witness["facilitator"] = common.HexToAddress(UptoProxyAddress), m.facilitator.Hex()
	}
	sign := func(digest common.Hash) (string, error) {
		signature, err := crypto.Sign(digest.Bytes(), key)
		if err != nil {
			return "", err
		}
		signature[64] += 27
		return hexOf(signature), nil
	}
	signature, err := sign(m.digest(big.NewInt(chainID)))
	if err != nil {
		return "", err
	}
	payment := map[string]any{"x402Version": 2, "resource": o.Resource, "accepted": r, "payload": map[string]any{"signature": signature,
		"permit2Authorization": map[string]any{"from": m.owner.Hex(), "permitted": map[string]string{"token": m.token.Hex(), "amount": value.String()},
			"spender": m.spender.Hex(), "nonce": m.nonce.String(), "deadline": m.deadline.String(), "witness": witness}}}
	if approve != nil {
		permit2 := common.HexToAddress(Permit2Address)
		d := Domain{Name: extra.Name, Version: extra.Version, ChainID: big.NewInt(chainID), Contract: m.token}
		approval, err := sign(Digest(d, hashWords(typeHash(eip2612Type), address(m.owner), address(permit2), uint256(value), uint256(approve), uint256(m.deadline))))
		if err != nil {
			return "", err
		}
		info := map[string]string{"from": m.owner.Hex(), "asset": m.token.Hex(), "spender": permit2.Hex(), "amount": value.String(), "nonce": approve.String(),
			"deadline": m.deadline.String(), "signature": approval, "version": "1", "description": description2612(o)}
		payment["extensions"] = map[string]any{extension2612: map[string]any{"info": info}}
	}
	return x402.EncodeHeader(payment)
}

// description2612 is the text that the server advertised: a client echoes what it was told.
func description2612(o x402.PaymentRequired) string {
	var e struct{ Info struct{ Description string } }
	if json.Unmarshal(o.Extensions[extension2612], &e) != nil {
		return ""
	}
	return e.Info.Description
}

// Approval is the nonce of the EIP-2612 permit with which a payer has to approve Permit2 for an amount, nil if what is approved
// suffices.
func Approval(ctx context.Context, node Node, token, payer string, amount money.USDC) (*big.Int, error) {
	reader, to, owner := Exact{Node: node}, common.HexToAddress(token), common.HexToAddress(payer)
	approved, err := reader.read(ctx, to, sigAllowance, owner, common.HexToAddress(Permit2Address))
	if err != nil {
		return nil, unavailable(err)
	}
	if new(big.Int).SetBytes(approved).Cmp(amount.Big()) >= 0 {
		return nil, nil // none is needed
	}
	nonce, err := reader.read(ctx, to, "nonces(address)", owner)
	if err != nil {
		return nil, unavailable(err)
	}
	return new(big.Int).SetBytes(nonce), nil
}

// WalletAddress is the checksummed address of a wallet key.
func WalletAddress(privateKey string) (string, error) {
	key, err := crypto.HexToECDSA(strings.TrimPrefix(privateKey, "0x"))
	if err != nil {
		return "", errors.New("the wallet key is not 64 hex digits")
	}
	return crypto.PubkeyToAddress(key.PublicKey).Hex(), nil
}
