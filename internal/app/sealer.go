package app

import (
	"context"
	"encoding/base64"

	"p402.io/p402/meter"
	"p402.io/p402/settlement"
)

// publishedKeys is every public key that checks what this installation signs: receipts and ledger heads.
func (a *App) publishedKeys(ctx context.Context, issuer *settlement.Issuer) (settlement.KeySet, error) {
	ledger, err := a.Store.LedgerKey(ctx)
	if err != nil {
		return settlement.KeySet{}, err
	}
	set := issuer.KeySet()
	set.Keys = append(set.Keys, settlement.PublicKey{KeyType: "OKP", Curve: "Ed25519", KeyID: meter.KeyName(ledger), X: base64.RawURLEncoding.EncodeToString(ledger)})
	return set, nil
}
