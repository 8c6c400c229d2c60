package evm

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"p402.io/p402/settlement/x402"
)

// SignPayment is the payer's side: it signs the n-th way of an offer with a wallet key and returns the PAYMENT-SIGNATURE
// header. The authorization is valid from the beginning of time until the offer's own timeout from now.
func SignPayment(o x402.PaymentRequired, n int, privateKey string, now time.Time) (string, error) {
	key, err := crypto.HexToECDSA(strings.TrimPrefix(privateKey, "0x"))
	if err != nil {
		return "", errors.New("the wallet key is not 64 hex digits")
	}
	r := o.Accepts[n]
	var extra struct{ Name, Version string }
	if err := json.Unmarshal(r.Extra, &extra); err != nil || r.Scheme != x402.SchemeExact {
		return "", errors.New("the offer is not scheme exact with a token domain")
	}
	var chainID int64
	if _, err := fmt.Sscanf(r.Network, "eip155:%d", &chainID); err != nil {
		return "", errors.New("the offer is not on an EVM network")
	}
	timeout, err := r.MaxTimeoutSeconds.Int64()
	value, ok := new(big.Int).SetString(r.Amount, 10)
	if err != nil || !ok {
		return "", errors.New("the offer's amount or timeout is not a number")
	}
	m := Transfer{From: crypto.PubkeyToAddress(key.PublicKey), To: common.HexToAddress(r.PayTo), Value: value, ValidAfter: new(big.Int),
		ValidBefore: big.NewInt(now.Unix() + timeout)}
	if _, err := rand.Read(m.Nonce[:]); err != nil {
		return "", err
	}
	d := Domain{Name: extra.Name, Version: extra.Version, ChainID: big.NewInt(chainID), Contract: common.HexToAddress(r.Asset)}
	signature, err := crypto.Sign(Digest(d, m.StructHash()).Bytes(), key)
	if err != nil {
		return "", err
	}
	signature[64] += 27
	return x402.EncodeHeader(map[string]any{"x402Version": 2, "resource": o.Resource, "accepted": r, "payload": map[string]any{"signature": hexOf(signature),
		"authorization": map[string]string{"from": m.From.Hex(), "to": m.To.Hex(), "value": m.Value.String(), "validAfter": "0",
			"validBefore": m.ValidBefore.String(), "nonce": m.Nonce.Hex()}}})
}
