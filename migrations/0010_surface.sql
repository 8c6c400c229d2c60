-- What /api/v2 remembers of an Idempotency-Key for 24 hours. status and answer stay empty while the first request runs; an
-- answer that held a secret is never kept, its status is.
CREATE TABLE idempotent_requests (
    tenant_id       text NOT NULL REFERENCES tenants (id),
    key_id          text NOT NULL REFERENCES keys (id),
    idempotency_key text NOT NULL CHECK (length(idempotency_key) BETWEEN 1 AND 128),
    digest          bytea NOT NULL CHECK (length(digest) = 32),
    status          integer,
    answer          bytea,
    created_at      timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, key_id, idempotency_key),
    CHECK (status IS NOT NULL OR answer IS NULL)
);
CREATE INDEX idempotent_by_age ON idempotent_requests (created_at);

-- Keys are managed under scopes of their own; who could until now still may.
UPDATE keys SET scopes = scopes || '["keys:read"]' WHERE scopes @> '["control:read"]' AND NOT scopes @> '["keys:read"]';
UPDATE keys SET scopes = scopes || '["keys:write"]' WHERE scopes @> '["control:write"]' AND NOT scopes @> '["keys:write"]';
