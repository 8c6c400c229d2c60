package store_test

import (
	"testing"
	"time"

	"p402.io/p402/internal/store"
	"p402.io/p402/settlement/reconcile"
)

func TestEveryKindOfExportRuns(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	at := clock().Add(-48 * time.Hour)
	h.metered(t, at, "m", "0.5", nil)
	_, x := h.sale(t, 3, at)
	gift := reconcile.Transfer{Network: net, Asset: token, From: "0x9999999999999999999999999999999999999999", To: purse, TxHash: "0xfeed", BlockNumber: 300, BlockHash: "0x01", BlockTime: at}
	h.follow(t, []reconcile.Transfer{x, gift})
	h.reconcile(t)
	want := map[string]int{"events": 2, "outcomes": 0, "payments": 1, "receipts": 1, "journal": 4, "exceptions": 1, "transfers": 2, "summary": 2, "focus": 1}
	for _, kind := range store.ExportKinds() {
		rows := 0
		columns := store.ExportColumns(kind)
		err := h.Export(t.Context(), store.ExportQuery{TenantID: h.tenant, Kind: kind, AsOf: clock().Add(time.Hour), Zone: "Europe/Berlin"}, func(cells []*string) error {
			rows++
			for i, c := range cells {
				if c == nil && (columns[i].Name == "event_time" || columns[i].Name == "payment_state" && kind == "payments") {
					t.Errorf("%s has no %s", kind, columns[i].Name)
				}
			}
			return nil
		})
		if err != nil || rows != want[kind] {
			t.Errorf("%s: %d rows, want %d: %v", kind, rows, want[kind], err)
		}
		other := 0
		if err := h.Export(t.Context(), store.ExportQuery{TenantID: "ten_other", Kind: kind, AsOf: clock().Add(time.Hour), Zone: "UTC"}, func([]*string) error { other++; return nil }); err != nil || other != 0 {
			t.Errorf("%s: another tenant reads %d rows: %v", kind, other, err)
		}
	}
}
