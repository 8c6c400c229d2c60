-- The house's tables. Money is numeric; states move by guarded updates; facts are appended to and never edited.

CREATE TABLE tenants (
    id         text PRIMARY KEY,
    slug       text NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    name       text NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE settings (
    name  text PRIMARY KEY,
    value bytea NOT NULL
);

CREATE TABLE keys (
    id             text PRIMARY KEY,
    tenant_id      text NOT NULL REFERENCES tenants (id),
    name           text NOT NULL,
    hash           bytea NOT NULL UNIQUE CHECK (length(hash) = 32),
    prefix         text NOT NULL,
    livemode       boolean NOT NULL,
    scopes         jsonb NOT NULL,
    override       text NOT NULL,
    defaults       jsonb NOT NULL,
    allowed_models jsonb NOT NULL,
    created_at     timestamptz NOT NULL,
    expires_at     timestamptz,
    revoked_at     timestamptz
);

CREATE TABLE sign_in_links (
    hash       bytea PRIMARY KEY,
    tenant_id  text NOT NULL REFERENCES tenants (id),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);

CREATE TABLE sessions (
    hash       bytea PRIMARY KEY,
    tenant_id  text NOT NULL REFERENCES tenants (id),
    csrf       text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE TABLE workflows (
    tenant_id   text NOT NULL REFERENCES tenants (id),
    workflow_id text NOT NULL,
    name        text NOT NULL,
    description text NOT NULL,
    target      jsonb NOT NULL,
    state       text NOT NULL CHECK (state IN ('draft', 'live', 'paused', 'retired')),
    updated_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, workflow_id)
);

CREATE TABLE workflow_prices (
    tenant_id      text NOT NULL,
    workflow_id    text NOT NULL,
    version        integer NOT NULL,
    price          jsonb NOT NULL,
    effective_from timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, workflow_id, version),
    FOREIGN KEY (tenant_id, workflow_id) REFERENCES workflows (tenant_id, workflow_id)
);

CREATE TABLE budgets (
    id           text PRIMARY KEY,
    tenant_id    text NOT NULL REFERENCES tenants (id),
    name         text NOT NULL,
    scope_type   text NOT NULL,
    scope_id     text NOT NULL,
    period       text NOT NULL CHECK (period IN ('day', 'month', 'total')),
    limit_usd    numeric(38, 18) CHECK (limit_usd >= 0),
    limit_events bigint CHECK (limit_events >= 0),
    limit_tokens bigint CHECK (limit_tokens >= 0),
    created_at   timestamptz NOT NULL,
    retired_at   timestamptz,
    CHECK (limit_usd IS NOT NULL OR limit_events IS NOT NULL OR limit_tokens IS NOT NULL)
);
CREATE INDEX budgets_of_tenant ON budgets (tenant_id) WHERE retired_at IS NULL;

CREATE TABLE budget_windows (
    budget_id       text NOT NULL REFERENCES budgets (id),
    window_start    timestamptz NOT NULL,
    spent_usd       numeric(38, 18) NOT NULL DEFAULT 0,
    spent_events    bigint NOT NULL DEFAULT 0,
    spent_tokens    bigint NOT NULL DEFAULT 0,
    reserved_usd    numeric(38, 18) NOT NULL DEFAULT 0 CHECK (reserved_usd >= 0),
    reserved_events bigint NOT NULL DEFAULT 0 CHECK (reserved_events >= 0),
    reserved_tokens bigint NOT NULL DEFAULT 0 CHECK (reserved_tokens >= 0),
    PRIMARY KEY (budget_id, window_start)
);

CREATE TABLE policies (
    id             text PRIMARY KEY,
    tenant_id      text NOT NULL REFERENCES tenants (id),
    name           text NOT NULL,
    version        integer NOT NULL,
    allowed_models jsonb NOT NULL,
    created_at     timestamptz NOT NULL,
    retired_at     timestamptz
);
CREATE INDEX policies_of_tenant ON policies (tenant_id) WHERE retired_at IS NULL;

-- One ledger line. The columns carry what is filtered and summed; doc carries the rest of the same facts (attempts, lines of
-- the arithmetic, rules that spoke). Neither ever holds content.
CREATE TABLE events (
    id              text PRIMARY KEY,
    tenant_id       text NOT NULL REFERENCES tenants (id),
    key_id          text,
    livemode        boolean NOT NULL,
    request_id      text NOT NULL,
    completion_id   text,
    upstream_id     text,
    idempotency_key text,
    state           text NOT NULL CHECK (state IN ('intent', 'final', 'failed', 'expired')),
    source          text NOT NULL,
    payer           text,
    workflow_id     text,
    customer_id     text,
    feature_id      text,
    department      text,
    employee        text,
    project_id      text,
    agent_id        text,
    task_type       text,
    action_type     text,
    session_id      text,
    trace_id        text,
    parent_event_id text,
    tags            jsonb NOT NULL,
    provider        text,
    model_requested text NOT NULL,
    model_used      text,
    input_tokens    bigint NOT NULL CHECK (input_tokens >= 0),
    cached_tokens   bigint NOT NULL CHECK (cached_tokens >= 0),
    output_tokens   bigint NOT NULL CHECK (output_tokens >= 0),
    reasoning_tokens bigint NOT NULL CHECK (reasoning_tokens >= 0),
    cost_usd        numeric(38, 18) CHECK (cost_usd >= 0),
    cost_state      text NOT NULL,
    revenue_usd     numeric(38, 18),
    retry_count     integer NOT NULL,
    decision        text NOT NULL,
    deny_code       text,
    receipt_status  text NOT NULL,
    status_code     integer NOT NULL,
    latency_ms      bigint NOT NULL,
    event_time      timestamptz NOT NULL,
    deadline        timestamptz NOT NULL,
    finalized_at    timestamptz,
    delivered_at    timestamptz,
    delivered       text,
    delivered_bytes bigint,
    outcome         text,
    doc             jsonb NOT NULL,
    UNIQUE (tenant_id, livemode, request_id),
    CHECK ((state = 'intent') = (finalized_at IS NULL))
);
CREATE INDEX events_by_time ON events (tenant_id, livemode, event_time DESC, id DESC);
CREATE INDEX events_by_workflow ON events (tenant_id, workflow_id, event_time DESC);
CREATE INDEX events_by_customer ON events (tenant_id, customer_id, event_time DESC);
CREATE INDEX events_by_completion ON events (tenant_id, completion_id);
CREATE INDEX events_by_upstream ON events (tenant_id, upstream_id);
CREATE UNIQUE INDEX events_by_idempotency ON events (tenant_id, key_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX events_open ON events (deadline) WHERE state = 'intent';

-- A closed event is never edited: only its delivery and its current outcome are noted beside it.
CREATE FUNCTION events_are_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'the ledger is append-only';
    END IF;
    IF OLD.state <> 'intent' AND (to_jsonb(NEW) - ARRAY['delivered_at', 'delivered', 'delivered_bytes', 'outcome', 'receipt_status', 'decision'])
        IS DISTINCT FROM (to_jsonb(OLD) - ARRAY['delivered_at', 'delivered', 'delivered_bytes', 'outcome', 'receipt_status', 'decision']) THEN
        RAISE EXCEPTION 'event % is closed', OLD.id;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER events_final BEFORE UPDATE OR DELETE ON events FOR EACH ROW EXECUTE FUNCTION events_are_final();

CREATE TABLE reservations (
    event_id     text NOT NULL REFERENCES events (id),
    budget_id    text NOT NULL REFERENCES budgets (id),
    window_start timestamptz NOT NULL,
    usd          numeric(38, 18) NOT NULL,
    events       bigint NOT NULL,
    tokens       bigint NOT NULL,
    PRIMARY KEY (event_id, budget_id)
);

CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
END $$;

CREATE TABLE outcomes (
    event_id      text NOT NULL REFERENCES events (id),
    outcome_type  text NOT NULL,
    revision      integer NOT NULL,
    tenant_id     text NOT NULL,
    outcome       text NOT NULL,
    source        text NOT NULL,
    quality_score numeric(7, 6) CHECK (quality_score BETWEEN 0 AND 1),
    reason_code   text NOT NULL,
    legacy_status text NOT NULL,
    metadata      jsonb NOT NULL,
    occurred_at   timestamptz NOT NULL,
    recorded_at   timestamptz NOT NULL,
    PRIMARY KEY (event_id, outcome_type, revision)
);
CREATE TRIGGER outcomes_append BEFORE UPDATE OR DELETE ON outcomes FOR EACH ROW EXECUTE FUNCTION append_only();

CREATE TABLE journal_entries (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id  text NOT NULL,
    posting    text NOT NULL,
    account    text NOT NULL,
    amount_usd numeric(38, 18) NOT NULL,
    ref        text NOT NULL,
    posted_at  timestamptz NOT NULL
);
CREATE INDEX journal_by_posting ON journal_entries (posting);
CREATE TRIGGER journal_append BEFORE UPDATE OR DELETE ON journal_entries FOR EACH ROW EXECUTE FUNCTION append_only();

CREATE FUNCTION postings_balance() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT sum(amount_usd) FROM journal_entries WHERE posting = NEW.posting) <> 0 THEN
        RAISE EXCEPTION 'posting % does not balance', NEW.posting;
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER journal_balance AFTER INSERT ON journal_entries
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION postings_balance();

-- A payment is its authorization. A voided claim gives the authorization free for the identical request.
CREATE TABLE payments (
    id             text PRIMARY KEY,
    tenant_id      text NOT NULL REFERENCES tenants (id),
    event_id       text,
    source         text NOT NULL,
    network        text NOT NULL,
    asset          text NOT NULL,
    payer          text NOT NULL,
    nonce          text NOT NULL,
    pay_to         text NOT NULL,
    amount_atomic  numeric(78, 0) NOT NULL CHECK (amount_atomic >= 0),
    request_digest bytea NOT NULL,
    terms          jsonb NOT NULL,
    authorization_doc jsonb NOT NULL,
    signature      bytea NOT NULL,
    state          text NOT NULL CHECK (state IN ('authorized', 'captured', 'submitted', 'included', 'final', 'voided', 'lost')),
    reason         text NOT NULL,
    evidence       jsonb NOT NULL,
    receipt_id     text,
    claimed_at     timestamptz NOT NULL,
    moved_at       timestamptz NOT NULL,
    hold_until     timestamptz NOT NULL,
    delivered_at   timestamptz
);
CREATE UNIQUE INDEX payments_authorization ON payments (network, lower(asset), lower(payer), nonce) WHERE state <> 'voided';
CREATE INDEX payments_work ON payments (network, claimed_at) WHERE state IN ('captured', 'submitted', 'included');
CREATE INDEX payments_undelivered ON payments (hold_until) WHERE delivered_at IS NULL AND state IN ('authorized', 'captured', 'included', 'final');
CREATE INDEX payments_by_event ON payments (event_id);

CREATE TABLE payment_moves (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payment_id text NOT NULL REFERENCES payments (id),
    from_state text NOT NULL,
    to_state   text NOT NULL,
    actor      text NOT NULL,
    reason     text NOT NULL,
    evidence   jsonb NOT NULL,
    at         timestamptz NOT NULL
);
CREATE INDEX moves_by_payment ON payment_moves (payment_id, id);
CREATE TRIGGER moves_append BEFORE UPDATE OR DELETE ON payment_moves FOR EACH ROW EXECUTE FUNCTION append_only();

CREATE TABLE leases (
    network text PRIMARY KEY,
    owner   text NOT NULL,
    fence   bigint NOT NULL,
    until   timestamptz NOT NULL
);

CREATE TABLE tx_attempts (
    tx_hash      text PRIMARY KEY,
    payment_id   text NOT NULL REFERENCES payments (id),
    network      text NOT NULL,
    account      text NOT NULL,
    nonce        bigint NOT NULL,
    number       integer NOT NULL,
    raw          bytea NOT NULL,
    fee_cap      numeric(78, 0) NOT NULL,
    tip_cap      numeric(78, 0) NOT NULL,
    state        text NOT NULL CHECK (state IN ('signed', 'sent', 'mined', 'replaced')),
    signed_at    timestamptz NOT NULL,
    last_sent_at timestamptz,
    UNIQUE (network, account, nonce, number)
);
CREATE INDEX attempts_by_payment ON tx_attempts (payment_id, number);

CREATE TABLE receipts (
    id         text PRIMARY KEY,
    tenant_id  text NOT NULL,
    event_id   text NOT NULL,
    payment_id text NOT NULL REFERENCES payments (id),
    doc        text NOT NULL,
    issued_at  timestamptz NOT NULL
);
CREATE INDEX receipts_by_event ON receipts (event_id);
CREATE INDEX receipts_by_tenant ON receipts (tenant_id, id);
CREATE TRIGGER receipts_append BEFORE UPDATE OR DELETE ON receipts FOR EACH ROW EXECUTE FUNCTION append_only();

CREATE TABLE refunds (
    id            text PRIMARY KEY,
    tenant_id     text NOT NULL,
    payment_id    text NOT NULL UNIQUE REFERENCES payments (id),
    amount_atomic numeric(78, 0) NOT NULL,
    state         text NOT NULL CHECK (state IN ('due', 'paid', 'used', 'waived')),
    reason        text NOT NULL,
    due_at        timestamptz NOT NULL
);
