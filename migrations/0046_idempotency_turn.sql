-- An Idempotency-Key names one call for 24 hours. An index cannot forget by age, so the calls of one key are counted: a later call
-- takes the next turn, and of two that take the same turn one is refused.
ALTER TABLE events ADD COLUMN idempotency_turn integer NOT NULL DEFAULT 0;
DROP INDEX events_by_idempotency;
CREATE UNIQUE INDEX events_by_idempotency ON events (tenant_id, key_id, idempotency_key, idempotency_turn) WHERE idempotency_key IS NOT NULL;
