package store

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"gorm.io/gorm"

	"p402.io/p402/internal/id"
	"p402.io/p402/meter"
)

// The kinds of rows that the ledger's chain covers.
const (
	leafEvent   = "event"
	leafJournal = "journal"
	leafOutcome = "outcome"
	leafReceipt = "receipt"
)

// factsVersion is of the columns below. Columns that later migrations add are covered from the version that names them; what was
// sealed under an older version is checked under it.
const factsVersion = 1

// eventFacts is what of an event never changes once it is closed. Persons stand aside, as they may be unlinked; delivered*, outcome,
// receipt_status and decision are notes, and have rows of their own.
const eventFacts = `ROW(id, tenant_id, key_id, livemode, request_id, completion_id, upstream_id, idempotency_key, state, source, payer, workflow_id, feature_id,
	department, project_id, agent_id, task_type, action_type, session_id, trace_id, parent_event_id, tags, provider, model_requested, model_used, input_tokens,
	cached_tokens, output_tokens, reasoning_tokens, cost_usd, cost_state, revenue_usd, retry_count, deny_code, status_code, latency_ms, event_time, deadline,
	finalized_at)::text || E'\n' || CASE WHEN customer_id IS NULL AND employee IS NULL THEN doc::text
		ELSE (doc #- '{Attribution,Dimensions,customer_id}' #- '{Attribution,Dimensions,employee}')::text END`

// leafName names one row of the ledger.
type leafName struct{ Kind, Ref string }

// factsRow is a row as it is hashed.
type factsRow struct {
	Ref, Facts string
	Customer   *string
	Employee   *string
}

// readFacts reads the rows behind leaves as they are hashed. A leaf without a row is missing from the result.
func readFacts(tx *gorm.DB, tenant id.Tenant, leaves []leafName) (map[leafName]factsRow, error) {
	refs := map[string][]string{}
	for _, l := range leaves {
		refs[l.Kind] = append(refs[l.Kind], l.Ref)
	}
	out := make(map[leafName]factsRow, len(leaves))
	for kind, names := range refs {
		read, known := factsReaders()[kind]
		if !known {
			return nil, fmt.Errorf("the ledger has no rows of kind %q", kind)
		}
		rows, err := read(tx, tenant, names)
		if err != nil {
			return nil, fmt.Errorf("facts of kind %s: %w", kind, err)
		}
		for _, r := range rows {
			out[leafName{kind, r.Ref}] = r
		}
	}
	return out, nil
}

// factsReaders reads each kind's rows by their refs.
func factsReaders() map[string]func(tx *gorm.DB, tenant id.Tenant, refs []string) ([]factsRow, error) {
	return map[string]func(tx *gorm.DB, tenant id.Tenant, refs []string) ([]factsRow, error){
		leafEvent: eventRows, leafJournal: journalRows, leafOutcome: outcomeRows, leafReceipt: receiptRows}
}

func eventRows(tx *gorm.DB, tenant id.Tenant, refs []string) (rows []factsRow, err error) {
	err = tx.Raw("SELECT id AS ref, "+eventFacts+" AS facts, customer_id AS customer, employee FROM events WHERE tenant_id = ? AND id IN ? AND state <> 'intent'",
		tenant, refs).Scan(&rows).Error
	return rows, err
}

func receiptRows(tx *gorm.DB, tenant id.Tenant, refs []string) (rows []factsRow, err error) {
	err = tx.Raw("SELECT id AS ref, ROW(id, tenant_id, event_id, payment_id, doc, issued_at)::text AS facts FROM receipts WHERE tenant_id = ? AND id IN ?",
		tenant, refs).Scan(&rows).Error
	return rows, err
}

// outcomeRows reads outcomes by "event type revision".
func outcomeRows(tx *gorm.DB, tenant id.Tenant, refs []string) (rows []factsRow, err error) {
	keys := make([]record, 0, len(refs))
	for _, ref := range refs {
		part := strings.Split(ref, " ")
		revision, err := strconv.Atoi(part[len(part)-1])
		if err != nil || len(part) != 3 {
			continue // no row has such a name
		}
		keys = append(keys, record{"ref": ref, "event_id": part[0], "outcome_type": part[1], "revision": revision})
	}
	err = scanRows(tx, &rows, `SELECT k.ref, ROW(o.event_id, o.outcome_type, o.revision, o.tenant_id, o.outcome, o.source, o.quality_score, o.reason_code,
		o.legacy_status, o.metadata, o.occurred_at, o.recorded_at)::text AS facts
		FROM jsonb_to_recordset(?::jsonb) AS k (ref text, event_id text, outcome_type text, revision integer)
		JOIN outcomes o ON o.event_id = k.event_id AND o.outcome_type = k.outcome_type AND o.revision = k.revision WHERE o.tenant_id = ?`, keys, tenant)
	return rows, err
}

// journalRows reads what one statement posted, by "first-last posting".
func journalRows(tx *gorm.DB, tenant id.Tenant, refs []string) (rows []factsRow, err error) {
	keys := make([]record, 0, len(refs))
	for _, ref := range refs {
		span, posting, _ := strings.Cut(ref, " ")
		first, last, _ := strings.Cut(span, "-")
		lo, err := strconv.ParseInt(first, 10, 64)
		hi, err2 := strconv.ParseInt(last, 10, 64)
		if err != nil || err2 != nil {
			continue // no row has such a name
		}
		keys = append(keys, record{"ref": ref, "posting": posting, "lo": lo, "hi": hi})
	}
	err = scanRows(tx, &rows, `SELECT k.ref, string_agg(ROW(j.id, j.tenant_id, j.posting, j.account, j.amount_usd, j.ref, j.posted_at)::text, E'\n' ORDER BY j.id) AS facts
		FROM jsonb_to_recordset(?::jsonb) AS k (ref text, posting text, lo bigint, hi bigint)
		JOIN journal_entries j ON j.posting = k.posting AND j.id BETWEEN k.lo AND k.hi WHERE j.tenant_id = ? GROUP BY k.ref`, keys, tenant)
	return rows, err
}

// pseudonymPrefix marks a person who has been unlinked: what stands behind it is the keyed hash that the leaf always had.
const pseudonymPrefix = "erased_"

type person struct{ Dimension, Value string }

// personKeys finds the key of each person named in rows; with fresh it makes those that are new.
func personKeys(tx *gorm.DB, tenant id.Tenant, rows map[leafName]factsRow, fresh bool) (map[person][]byte, error) {
	wanted := map[person]bool{}
	for _, r := range rows {
		for dimension, value := range map[string]*string{meter.DimCustomer: r.Customer, meter.DimEmployee: r.Employee} {
			if value != nil && !strings.HasPrefix(*value, pseudonymPrefix) {
				wanted[person{dimension, *value}] = true
			}
		}
	}
	keys := make([]record, 0, len(wanted))
	for p := range wanted {
		key := make([]byte, sha256.Size)
		if _, err := rand.Read(key); err != nil {
			return nil, err
		}
		keys = append(keys, record{"tenant_id": tenant, "dimension": p.Dimension, "value": p.Value, "key": "\\x" + hex.EncodeToString(key)})
	}
	if len(keys) == 0 {
		return nil, nil
	}
	if fresh {
		if err := execRows(tx, `INSERT INTO ledger_persons (tenant_id, dimension, value, key)
			SELECT tenant_id, dimension, value, key FROM jsonb_populate_recordset(NULL::ledger_persons, ?::jsonb) ORDER BY 1, 2, 3 ON CONFLICT DO NOTHING`, keys); err != nil {
			return nil, err
		}
	}
	var known []struct {
		Dimension, Value string
		Key              []byte
	}
	if err := scanRows(tx, &known, `SELECT p.dimension, p.value, p.key FROM jsonb_populate_recordset(NULL::ledger_persons, ?::jsonb) k
		JOIN ledger_persons p ON p.tenant_id = k.tenant_id AND p.dimension = k.dimension AND p.value = k.value`, keys); err != nil {
		return nil, err
	}
	out := make(map[person][]byte, len(known))
	for _, k := range known {
		out[person{k.Dimension, k.Value}] = k.Key
	}
	return out, nil
}

// pseudonym is what stands for a person in a leaf, and in the event once the person is unlinked.
func pseudonym(dimension string, value *string, keys map[person][]byte) string {
	if value == nil || strings.HasPrefix(*value, pseudonymPrefix) {
		return orNothing(value)
	}
	mac := hmac.New(sha256.New, keys[person{dimension, *value}])
	mac.Write([]byte(dimension + "\n" + *value))
	return pseudonymPrefix + hex.EncodeToString(mac.Sum(nil)[:16])
}

func orNothing(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}

// leaf hashes a row. Persons count by their pseudonyms, so that a leaf stays what it is when one is unlinked.
func (r factsRow) leaf(kind string, keys map[person][]byte) meter.Digest {
	facts := r.Facts
	if kind == leafEvent {
		facts += "\n" + pseudonym(meter.DimCustomer, r.Customer, keys) + "\n" + pseudonym(meter.DimEmployee, r.Employee, keys)
	}
	return meter.LeafHash(kind, r.Ref, facts)
}
