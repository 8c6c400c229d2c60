-- Vendor files, runs, and exceptions with what people decided about them.

CREATE TABLE recon_imports (
    id          text PRIMARY KEY,
    tenant_id   text NOT NULL REFERENCES tenants (id),
    livemode    boolean NOT NULL,
    format      text NOT NULL,
    provider    text NOT NULL,
    name        text NOT NULL,
    sha256      text NOT NULL,
    first_day   date NOT NULL,
    last_day    date NOT NULL,
    lines       bigint NOT NULL,
    rejected    jsonb NOT NULL,
    imported_at timestamptz NOT NULL,
    imported_by text NOT NULL,
    UNIQUE (tenant_id, livemode, sha256, format, provider)
);

CREATE TABLE recon_lines (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    import_id     text NOT NULL REFERENCES recon_imports (id),
    tenant_id     text NOT NULL,
    livemode      boolean NOT NULL,
    provider      text NOT NULL,
    model         text NOT NULL,
    day           date NOT NULL,
    requests      bigint NOT NULL,
    input_tokens  bigint,
    output_tokens bigint,
    cost_usd      numeric(38, 18),
    external_id   text NOT NULL,
    digest        text NOT NULL,
    again         boolean NOT NULL,       -- an equal line stood before it
    replaced_by   text                    -- a newer file of the format speaks for this day
);
CREATE INDEX recon_lines_by_day ON recon_lines (tenant_id, livemode, day) WHERE replaced_by IS NULL;
CREATE INDEX recon_lines_by_digest ON recon_lines (tenant_id, livemode, digest) WHERE replaced_by IS NULL;

CREATE TABLE recon_runs (
    id          text PRIMARY KEY,
    tenant_id   text NOT NULL REFERENCES tenants (id),
    livemode    boolean NOT NULL,
    since       timestamptz NOT NULL,
    until       timestamptz NOT NULL,
    started_at  timestamptz NOT NULL,
    doc         jsonb NOT NULL
);
CREATE INDEX recon_runs_of_tenant ON recon_runs (tenant_id, livemode, id DESC);

CREATE TABLE recon_exceptions (
    id                 text PRIMARY KEY,
    tenant_id          text NOT NULL REFERENCES tenants (id),
    livemode           boolean NOT NULL,
    key                text NOT NULL,     -- the same difference has the same key in every run
    kind               text NOT NULL,
    reason             text NOT NULL,
    side               text NOT NULL,
    owner              text NOT NULL,
    group_name         text NOT NULL,
    subject            jsonb NOT NULL,
    amount_usd         numeric(38, 18) NOT NULL CHECK (amount_usd >= 0),
    expected_usd       numeric(38, 18),
    found_usd          numeric(38, 18),
    tokens             bigint NOT NULL,
    detail             text NOT NULL,
    suggested          jsonb NOT NULL,
    occurred_at        timestamptz NOT NULL,
    first_run          text NOT NULL,
    last_run           text NOT NULL,
    first_seen_at      timestamptz NOT NULL,
    last_seen_at       timestamptz NOT NULL,
    cleared_at         timestamptz,       -- a later run no longer found it
    state              text NOT NULL CHECK (state IN ('open', 'explained', 'adjusted', 'waived')),
    decided_by         text,
    decided_at         timestamptz,
    note               text,
    decided_amount_usd numeric(38, 18),   -- the amount that was decided about
    posting            text,              -- the adjustment in the journal
    UNIQUE (tenant_id, livemode, key),
    CHECK ((state = 'open') = (decided_by IS NULL))
);
CREATE INDEX recon_exceptions_by_time ON recon_exceptions (tenant_id, livemode, occurred_at);

-- Every decision ever made, also those that were taken back.
CREATE TABLE recon_decisions (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    exception_id text NOT NULL REFERENCES recon_exceptions (id),
    state        text NOT NULL,
    decided_by   text NOT NULL,
    note         text NOT NULL,
    amount_usd   numeric(38, 18) NOT NULL,
    posting      text,
    at           timestamptz NOT NULL
);
CREATE TRIGGER recon_decisions_append BEFORE UPDATE OR DELETE ON recon_decisions FOR EACH ROW EXECUTE FUNCTION append_only();

CREATE INDEX receipts_by_payment ON receipts (payment_id);
