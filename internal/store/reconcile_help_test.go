package store_test

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"p402.io/p402/internal/store"
	"p402.io/p402/settlement/reconcile"
)

func storeFilter(h house, open bool) store.ExceptionFilter {
	return store.ExceptionFilter{TenantID: h.tenant, Open: open}
}

// bring imports a file; fresh says that it was new.
func bring(t *testing.T, h house, f reconcile.Format, text string) (fresh bool) {
	t.Helper()
	provider := string(f)
	if f == reconcile.FormatGeneric {
		provider = "openai"
	}
	parsed, err := reconcile.ParseFile(f, provider, []byte(text))
	must(t, err)
	sum := sha256.Sum256([]byte(text))
	_, fresh, err = h.SaveImport(t.Context(), store.ImportFile{TenantID: h.tenant, Format: f, Provider: provider, Name: "file", SHA256: hex.EncodeToString(sum[:]), ImportedBy: "Ada", Parsed: parsed})
	must(t, err)
	return fresh
}
