-- The hash chain of each tenant's ledger (docs/decisions/0040). What becomes a fact is queued in the transaction that makes it one;
-- a sealer takes the queue in blocks, hashes the rows, and appends a block to the tenant's chain. Nothing here waits for a call.
CREATE TABLE ledger_queue (
    id        bigint GENERATED ALWAYS AS IDENTITY,
    tenant_id text NOT NULL,
    kind      text NOT NULL,
    ref       text NOT NULL,
    PRIMARY KEY (tenant_id, id)
);

CREATE TABLE ledger_blocks (
    tenant_id text NOT NULL REFERENCES tenants (id),
    number    bigint NOT NULL CHECK (number > 0),
    version   integer NOT NULL,
    first     bigint NOT NULL CHECK (first > 0),
    leaves    integer NOT NULL CHECK (leaves > 0),
    kinds     text[] NOT NULL,
    refs      text[] NOT NULL,
    hashes    bytea NOT NULL,
    root      bytea NOT NULL CHECK (length(root) = 32),
    previous  bytea NOT NULL CHECK (length(previous) = 32),
    head      bytea NOT NULL CHECK (length(head) = 32),
    key_id    text NOT NULL,
    signature bytea NOT NULL,
    sealed_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, number),
    CHECK (length(hashes) = 32 * leaves AND cardinality(refs) = leaves AND cardinality(kinds) = leaves)
);
CREATE INDEX ledger_blocks_by_time ON ledger_blocks (tenant_id, sealed_at);
CREATE TRIGGER ledger_blocks_append BEFORE UPDATE OR DELETE ON ledger_blocks FOR EACH ROW EXECUTE FUNCTION append_only();

-- A person in the ledger is hashed under a key of their own: who destroys the key and puts the pseudonym in the name's place has
-- unlinked the person, and the chain still verifies.
CREATE TABLE ledger_persons (
    tenant_id text NOT NULL REFERENCES tenants (id),
    dimension text NOT NULL CHECK (dimension IN ('customer_id', 'employee')),
    value     text NOT NULL,
    key       bytea NOT NULL CHECK (length(key) = 32),
    PRIMARY KEY (tenant_id, dimension, value)
);

CREATE FUNCTION queue_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ledger_queue (tenant_id, kind, ref) VALUES (NEW.tenant_id, 'event', NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER events_queue_closed AFTER UPDATE OF state ON events FOR EACH ROW
    WHEN (OLD.state = 'intent' AND NEW.state <> 'intent') EXECUTE FUNCTION queue_event();
CREATE TRIGGER events_queue_fresh AFTER INSERT ON events FOR EACH ROW WHEN (NEW.state <> 'intent') EXECUTE FUNCTION queue_event();

-- Entries of one posting in one statement are one leaf, named by the range of their ids.
CREATE FUNCTION queue_entries() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ledger_queue (tenant_id, kind, ref)
        SELECT tenant_id, 'journal', min(id) || '-' || max(id) || ' ' || posting FROM fresh GROUP BY tenant_id, posting ORDER BY min(id);
    RETURN NULL;
END $$;
CREATE TRIGGER journal_queue AFTER INSERT ON journal_entries REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION queue_entries();

-- Tables that grow slowly: the arguments are the kind and the columns that name a row.
CREATE FUNCTION queue_row() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    line jsonb := to_jsonb(NEW);
    name text := line ->> TG_ARGV[1];
BEGIN
    FOR i IN 2 .. TG_NARGS - 1 LOOP
        name := name || ' ' || (line ->> TG_ARGV[i]);
    END LOOP;
    INSERT INTO ledger_queue (tenant_id, kind, ref) VALUES (NEW.tenant_id, TG_ARGV[0], name);
    RETURN NULL;
END $$;
CREATE TRIGGER outcomes_queue AFTER INSERT ON outcomes FOR EACH ROW EXECUTE FUNCTION queue_row('outcome', 'event_id', 'outcome_type', 'revision');
CREATE TRIGGER receipts_queue AFTER INSERT ON receipts FOR EACH ROW EXECUTE FUNCTION queue_row('receipt', 'id');

-- What is there already is sealed first.
INSERT INTO ledger_queue (tenant_id, kind, ref) SELECT tenant_id, 'event', id FROM events WHERE state <> 'intent' ORDER BY finalized_at, id;
INSERT INTO ledger_queue (tenant_id, kind, ref)
    SELECT tenant_id, 'journal', id || '-' || id || ' ' || posting FROM journal_entries ORDER BY id;
INSERT INTO ledger_queue (tenant_id, kind, ref)
    SELECT tenant_id, 'outcome', event_id || ' ' || outcome_type || ' ' || revision FROM outcomes ORDER BY recorded_at, event_id, revision;
INSERT INTO ledger_queue (tenant_id, kind, ref) SELECT tenant_id, 'receipt', id FROM receipts ORDER BY id;

-- Proofs have a scope of their own; who could read receipts until now may read them too.
UPDATE keys SET scopes = scopes || '["evidence:read"]' WHERE scopes @> '["receipts:read"]' AND NOT scopes @> '["evidence:read"]';
