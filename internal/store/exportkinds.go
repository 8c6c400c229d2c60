package store

// ColumnKind says how a format writes a column.
type ColumnKind string

// The kinds of columns. Text is the only one that a spreadsheet could take for a formula.
const (
	ColumnText   ColumnKind = "text"
	ColumnNumber ColumnKind = "number" // a count
	ColumnMoney  ColumnKind = "money"  // an exact decimal or whole units; JSON has it as text
	ColumnTime   ColumnKind = "time"
	ColumnBool   ColumnKind = "bool"
)

// Column is one column of an export. The SQL gives its text; null is an absent value.
type Column struct {
	Name string
	Kind ColumnKind
	sql  string
}

// exportKind is one kind of export: columns, and where the rows come from. Every query starts with the tenant and takes the
// named arguments tenant, live, since, until, latefrom, asof, zone. No column ever holds content.
type exportKind struct {
	columns []Column
	from    string
	order   string
}

func textOf(name, sql string) Column  { return Column{name, ColumnText, sql} }
func countOf(name, sql string) Column { return Column{name, ColumnNumber, sql + "::text"} }
func moneyOf(name, sql string) Column {
	return Column{name, ColumnMoney, "trim_scale(" + sql + ")::text"}
}
func wholeOf(name, sql string) Column { return Column{name, ColumnMoney, sql + "::text"} }
func boolOf(name, sql string) Column  { return Column{name, ColumnBool, "(" + sql + ")::text"} }
func timeOf(name, sql string) Column {
	return Column{name, ColumnTime, "to_char(" + sql + ` AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`}
}

// paymentAsOf is where a payment stood at the export's moment: an export of the same moment never changes.
const paymentAsOf = "(SELECT to_state FROM payment_moves pm WHERE pm.payment_id = p.id AND pm.at <= @asof ORDER BY pm.id DESC LIMIT 1)"

// exportKinds is every kind there is. Columns are only ever added at the end.
func exportKinds() map[string]exportKind {
	return map[string]exportKind{"events": eventExport(), "outcomes": outcomeExport(), "payments": paymentExport(), "receipts": receiptExport(), "journal": journalExport(),
		"exceptions": exceptionExport(), "transfers": transferExport(), "summary": summaryExport(), "focus": focusExport()}
}

func eventExport() exportKind {
	return exportKind{columns: []Column{textOf("event_id", "e.id"), timeOf("event_time", "e.event_time"), timeOf("finalized_at", "e.finalized_at"), textOf("state", "e.state"), textOf("source", "e.source"),
		textOf("request_id", "e.request_id"), textOf("completion_id", "e.completion_id"), textOf("upstream_id", "e.upstream_id"), textOf("key_id", "e.key_id"), textOf("workflow_id", "e.workflow_id"),
		textOf("customer_id", "e.customer_id"), textOf("feature_id", "e.feature_id"), textOf("department", "e.department"), textOf("employee", "e.employee"), textOf("project_id", "e.project_id"),
		textOf("agent_id", "e.agent_id"), textOf("task_type", "e.task_type"), textOf("action_type", "e.action_type"), textOf("session_id", "e.session_id"), textOf("trace_id", "e.trace_id"),
		textOf("parent_event_id", "e.parent_event_id"), textOf("tags", "e.tags::text"), textOf("provider", "e.provider"), textOf("model_requested", "e.model_requested"), textOf("model_used", "e.model_used"),
		countOf("input_tokens", "e.input_tokens"), countOf("cached_tokens", "e.cached_tokens"), countOf("output_tokens", "e.output_tokens"), countOf("reasoning_tokens", "e.reasoning_tokens"),
		moneyOf("cost_usd", "e.cost_usd"), textOf("cost_state", "e.cost_state"), moneyOf("revenue_usd", "e.revenue_usd"), countOf("retry_count", "e.retry_count"), textOf("deny_code", "e.deny_code"),
		countOf("status_code", "e.status_code"), countOf("latency_ms", "e.latency_ms"), textOf("payer", "e.payer"), textOf("payment_id", "p.id"), textOf("payment_state", paymentAsOf), textOf("receipt_id", "r.id"),
		textOf("outcome", "(SELECT o.outcome FROM outcomes o WHERE o.event_id = e.id AND o.recorded_at <= @asof ORDER BY o.occurred_at DESC, o.recorded_at DESC, o.revision DESC LIMIT 1)")},
		from: `events e LEFT JOIN LATERAL (SELECT id FROM payments x WHERE x.event_id = e.id AND x.claimed_at <= @asof ORDER BY (x.state = 'voided'), x.id LIMIT 1) p ON true
			LEFT JOIN LATERAL (SELECT id FROM receipts y WHERE y.event_id = e.id AND y.issued_at <= @asof ORDER BY y.id LIMIT 1) r ON true
			WHERE e.tenant_id = @tenant AND e.livemode = @live AND e.finalized_at <= @asof AND (e.event_time >= @since OR e.finalized_at >= @latefrom) AND e.event_time < @until`,
		order: "e.event_time, e.id"}
}

func outcomeExport() exportKind {
	return exportKind{columns: []Column{textOf("event_id", "o.event_id"), textOf("outcome_type", "o.outcome_type"), countOf("revision", "o.revision"), textOf("outcome", "o.outcome"), textOf("source", "o.source"),
		moneyOf("quality_score", "o.quality_score"), textOf("reason_code", "o.reason_code"), timeOf("occurred_at", "o.occurred_at"), timeOf("recorded_at", "o.recorded_at")},
		from:  `outcomes o JOIN events e ON e.id = o.event_id WHERE e.tenant_id = @tenant AND e.livemode = @live AND o.recorded_at <= @asof AND o.recorded_at >= @since AND o.recorded_at < @until`,
		order: "o.recorded_at, o.event_id, o.outcome_type, o.revision"}
}

// isLiveSQL tells test networks apart; settlement/networks.go is the list.
const isLiveSQL = "(p.network NOT IN ('eip155:84532', 'eip155:43113'))"

func paymentExport() exportKind {
	return exportKind{columns: []Column{textOf("payment_id", "p.id"), textOf("event_id", "p.event_id"), timeOf("claimed_at", "p.claimed_at"), textOf("state", paymentAsOf), textOf("network", "p.network"), textOf("asset", "p.asset"),
		textOf("payer", "p.payer"), textOf("pay_to", "p.pay_to"), textOf("nonce", "p.nonce"), wholeOf("amount_atomic", "p.amount_atomic"), moneyOf("amount_usd", "(p.amount_atomic / 1000000)"),
		textOf("fx", "'usdc-usd-1'"), textOf("workflow_id", "p.terms ->> 'WorkflowID'"), countOf("price_version", "(p.terms ->> 'PriceVersion')"), textOf("scheme", "p.terms ->> 'Scheme'"),
		textOf("tx_hash", "v.tx_hash"), countOf("log_index", "v.log_index"), countOf("block_number", "v.block_number"), textOf("block_hash", "v.block_hash"), textOf("receipt_id", "r.id"),
		textOf("refund_state", "f.state")},
		from: `payments p
			LEFT JOIN LATERAL (SELECT evidence ->> 'TxHash' AS tx_hash, evidence ->> 'LogIndex' AS log_index, evidence ->> 'BlockNumber' AS block_number, evidence ->> 'BlockHash' AS block_hash
				FROM payment_moves pm WHERE pm.payment_id = p.id AND pm.to_state = 'included' AND pm.at <= @asof ORDER BY pm.id DESC LIMIT 1) v ON true
			LEFT JOIN LATERAL (SELECT id FROM receipts y WHERE y.payment_id = p.id AND y.issued_at <= @asof ORDER BY y.id LIMIT 1) r ON true
			LEFT JOIN refunds f ON f.payment_id = p.id AND f.due_at <= @asof
			WHERE p.tenant_id = @tenant AND ` + isLiveSQL + ` = @live AND p.claimed_at <= @asof AND p.claimed_at >= @since AND p.claimed_at < @until`,
		order: "p.claimed_at, p.id"}
}

func receiptExport() exportKind {
	columns := []Column{textOf("receipt_id", "r.id"), timeOf("issued_at", "r.issued_at"), textOf("event_id", "r.event_id"), textOf("payment_id", "r.payment_id")}
	for _, name := range []string{"workflow_id", "payer", "payTo", "network", "asset", "scheme", "nonce", "transaction", "block_hash", "issuer", "key_id", "signature"} {
		columns = append(columns, textOf(name, "r.doc::jsonb ->> '"+name+"'"))
	}
	for _, name := range []string{"price_version", "block_number", "log_index"} {
		columns = append(columns, countOf(name, "(r.doc::jsonb ->> '"+name+"')"))
	}
	for _, name := range []string{"amount_atomic", "amount_usd"} {
		columns = append(columns, wholeOf(name, "(r.doc::jsonb ->> '"+name+"')"))
	}
	columns = append(columns, textOf("receipt_digest", "encode(sha256(convert_to(r.doc, 'UTF8')), 'hex')"))
	return exportKind{columns: columns, order: "r.issued_at, r.id", from: `receipts r JOIN payments p ON p.id = r.payment_id
		WHERE r.tenant_id = @tenant AND ` + isLiveSQL + ` = @live AND r.issued_at <= @asof AND r.issued_at >= @since AND r.issued_at < @until`}
}

func journalExport() exportKind {
	return exportKind{columns: []Column{textOf("line_id", "'jrn_' || j.id"), textOf("posting", "j.posting"), timeOf("effective_at", "j.effective_at"), timeOf("posted_at", "j.posted_at"), textOf("account", "j.account"),
		moneyOf("amount_usd", "j.amount_usd"), textOf("ref", "j.ref"), textOf("fx", "j.fx"), moneyOf("fx_rate", "x.rate"), textOf("fx_source", "x.source"), textOf("event_id", "j.event_id"), textOf("payment_id", "j.payment_id"),
		textOf("provider", "j.provider"), textOf("workflow_id", "j.workflow_id"), textOf("customer_id", "j.customer_id"), textOf("payer", "j.payer"), textOf("network", "j.network"), textOf("tx_hash", "j.tx_hash"),
		textOf("day", "to_char(j.effective_at AT TIME ZONE @zone, 'YYYY-MM-DD')")},
		from: `journal_entries j JOIN fx_policies x ON x.id = j.fx
			WHERE j.tenant_id = @tenant AND j.livemode IS NOT DISTINCT FROM @live AND j.posted_at <= @asof AND (j.effective_at >= @since OR j.posted_at >= @latefrom) AND j.effective_at < @until`,
		order: "j.effective_at, j.posting, j.id"}
}

func exceptionExport() exportKind {
	return exportKind{columns: []Column{textOf("exception_id", "x.id"), textOf("kind", "x.kind"), textOf("reason", "x.reason"), textOf("side", "x.side"), textOf("owner", "x.owner"), textOf("group", "x.group_name"),
		timeOf("occurred_at", "x.occurred_at"), moneyOf("amount_usd", "x.amount_usd"), moneyOf("expected_usd", "x.expected_usd"), moneyOf("found_usd", "x.found_usd"), countOf("tokens", "x.tokens"),
		textOf("event_id", "x.subject ->> 'event_id'"), textOf("payment_id", "x.subject ->> 'payment_id'"), textOf("network", "x.subject ->> 'network'"), textOf("tx_hash", "x.subject ->> 'tx_hash'"),
		textOf("provider", "x.subject ->> 'provider'"), textOf("model", "x.subject ->> 'model'"), textOf("day", "x.subject ->> 'day'"), textOf("detail", "x.detail"), timeOf("first_seen_at", "x.first_seen_at"),
		timeOf("last_seen_at", "x.last_seen_at"), timeOf("cleared_at", "x.cleared_at"), textOf("state", "x.state"), textOf("decided_by", "x.decided_by"), timeOf("decided_at", "x.decided_at"), textOf("note", "x.note"),
		textOf("posting", "x.posting")},
		from:  `recon_exceptions x WHERE x.tenant_id = @tenant AND x.livemode = @live AND x.first_seen_at <= @asof AND x.occurred_at >= @since AND x.occurred_at < @until`,
		order: "x.occurred_at, x.id"}
}

func transferExport() exportKind {
	return exportKind{columns: []Column{timeOf("block_time", "c.block_time"), textOf("network", "c.network"), textOf("asset", "c.asset"), textOf("from", "c.sender"), textOf("to", "c.recipient"),
		wholeOf("amount_atomic", "c.amount_atomic"), moneyOf("amount_usd", "(c.amount_atomic / 1000000)"), textOf("nonce", "c.nonce"), textOf("tx_hash", "c.tx_hash"), countOf("log_index", "c.log_index"),
		countOf("block_number", "c.block_number"), textOf("block_hash", "c.block_hash"), boolOf("incoming", "w.incoming")},
		from: `chain_transfers c JOIN LATERAL (SELECT bool_or(p.pay_to = c.recipient) AS incoming FROM payments p WHERE p.tenant_id = @tenant AND p.network = c.network
				AND p.asset = c.asset AND p.pay_to IN (c.recipient, c.sender)) w ON w.incoming IS NOT NULL
			WHERE c.gone_at IS NULL AND (c.network NOT IN ('eip155:84532', 'eip155:43113')) = @live AND c.block_time >= @since AND c.block_time < @until AND c.block_time <= @asof`,
		order: "c.block_time, c.network, c.block_number, c.log_index"}
}

func summaryExport() exportKind {
	return exportKind{columns: []Column{textOf("day", "day"), textOf("provider", "provider"), textOf("model", "model"), textOf("department", "department"), textOf("customer_id", "customer_id"), textOf("workflow_id", "workflow_id"),
		countOf("events", "events"), countOf("input_tokens", "input_tokens"), countOf("output_tokens", "output_tokens"), moneyOf("cost_usd", "cost_usd"), countOf("unpriced_events", "unpriced"), moneyOf("revenue_usd", "revenue_usd")},
		from: `(SELECT to_char(event_time AT TIME ZONE @zone, 'YYYY-MM-DD') AS day, provider, model_used AS model, department, customer_id, workflow_id, count(*) AS events,
				sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens, sum(cost_usd) AS cost_usd, count(*) FILTER (WHERE cost_usd IS NULL) AS unpriced,
				sum(e.revenue_usd) FILTER (WHERE EXISTS (SELECT 1 FROM receipts r WHERE r.event_id = e.id AND r.issued_at <= @asof)) AS revenue_usd
			FROM events e WHERE tenant_id = @tenant AND livemode = @live AND finalized_at <= @asof AND (event_time >= @since OR finalized_at >= @latefrom) AND event_time < @until GROUP BY 1, 2, 3, 4, 5, 6) s`,
		order: "day, provider, model, department, customer_id, workflow_id"}
}

// focusExport names its columns as FinOps FOCUS 1.0 does, one row a day, model and owner. An event without a price has no
// cost; its row's costs are empty rather than zero.
func focusExport() exportKind {
	return exportKind{columns: []Column{textOf("BillingAccountId", "@tenant"), textOf("BillingCurrency", "'USD'"), timeOf("BillingPeriodStart", "month_start"), timeOf("BillingPeriodEnd", "month_end"),
		timeOf("ChargePeriodStart", "day_start"), timeOf("ChargePeriodEnd", "day_end"), textOf("ChargeCategory", "'Usage'"), textOf("ChargeClass", "NULL"), textOf("ChargeFrequency", "'Usage-Based'"),
		textOf("ChargeDescription", "coalesce(model, 'unknown model')"), moneyOf("BilledCost", "cost"), moneyOf("EffectiveCost", "cost"), moneyOf("ListCost", "cost"), moneyOf("ContractedCost", "cost"),
		countOf("ConsumedQuantity", "tokens"), textOf("ConsumedUnit", "'Tokens'"), countOf("PricingQuantity", "tokens"), textOf("PricingUnit", "'Tokens'"), textOf("ProviderName", "provider"), textOf("PublisherName", "provider"),
		textOf("InvoiceIssuerName", "provider"), textOf("ServiceCategory", "'AI and Machine Learning'"), textOf("ServiceName", "'Inference'"), textOf("ResourceId", "model"), textOf("ResourceName", "model"),
		textOf("ResourceType", "'Model'"), textOf("SkuId", "model"), textOf("SubAccountId", "department"), textOf("SubAccountName", "department"),
		textOf("Tags", "jsonb_strip_nulls(jsonb_build_object('workflow_id', workflow_id, 'customer_id', customer_id, 'project_id', project_id))::text"), countOf("x_Events", "events"), countOf("x_UnpricedEvents", "unpriced")},
		from: `(SELECT (date_trunc('month', event_time AT TIME ZONE @zone) AT TIME ZONE @zone) AS month_start,
				((date_trunc('month', event_time AT TIME ZONE @zone) + interval '1 month') AT TIME ZONE @zone) AS month_end,
				(date_trunc('day', event_time AT TIME ZONE @zone) AT TIME ZONE @zone) AS day_start, ((date_trunc('day', event_time AT TIME ZONE @zone) + interval '1 day') AT TIME ZONE @zone) AS day_end,
				provider, model_used AS model, department, workflow_id, customer_id, project_id, sum(cost_usd) AS cost, sum(input_tokens + output_tokens) AS tokens, count(*) AS events,
				count(*) FILTER (WHERE cost_usd IS NULL) AS unpriced
			FROM events WHERE tenant_id = @tenant AND livemode = @live AND finalized_at <= @asof AND (event_time >= @since OR finalized_at >= @latefrom) AND event_time < @until AND provider IS NOT NULL
			GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10) s`,
		order: "day_start, provider, model, department, workflow_id, customer_id, project_id"}
}
