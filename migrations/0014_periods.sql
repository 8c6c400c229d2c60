-- Periods and their frozen statements. A statement is never edited; a reopened period gets a further one.

CREATE TABLE finance_settings (
    tenant_id  text PRIMARY KEY REFERENCES tenants (id),
    zone       text NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE periods (
    id          text PRIMARY KEY,
    tenant_id   text NOT NULL REFERENCES tenants (id),
    livemode    boolean NOT NULL,
    name        text NOT NULL,
    zone        text NOT NULL,
    starts_at   timestamptz NOT NULL,
    ends_at     timestamptz NOT NULL CHECK (ends_at > starts_at),
    state       text NOT NULL CHECK (state IN ('open', 'closed')),
    recorded_to timestamptz,               -- what was recorded before this moment counts in it; null while open
    created_at  timestamptz NOT NULL,
    UNIQUE (tenant_id, livemode, name)
);
CREATE INDEX periods_by_time ON periods (tenant_id, livemode, ends_at);

CREATE TABLE period_statements (
    period_id text NOT NULL REFERENCES periods (id),
    revision  integer NOT NULL CHECK (revision > 0),
    doc       text NOT NULL,               -- canonical JSON as it was signed
    sha256    text NOT NULL,
    closed_by text NOT NULL,
    closed_at timestamptz NOT NULL,
    PRIMARY KEY (period_id, revision)
);
CREATE TRIGGER period_statements_append BEFORE UPDATE OR DELETE ON period_statements FOR EACH ROW EXECUTE FUNCTION append_only();

CREATE TABLE period_moves (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    period_id  text NOT NULL REFERENCES periods (id),
    from_state text NOT NULL,
    to_state   text NOT NULL,
    moved_by   text NOT NULL,
    reason     text NOT NULL,
    at         timestamptz NOT NULL
);
CREATE TRIGGER period_moves_append BEFORE UPDATE OR DELETE ON period_moves FOR EACH ROW EXECUTE FUNCTION append_only();

-- Late facts are found by when they were recorded; that grows with the table, so the smallest kind of index will do.
CREATE INDEX events_recorded ON events USING brin (finalized_at);
CREATE INDEX journal_recorded ON journal_entries USING brin (posted_at);
