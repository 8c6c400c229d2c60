-- A refund that was paid names the token's own log of it; one log pays one refund.
ALTER TABLE refunds ADD COLUMN moved_at timestamptz;
ALTER TABLE refunds ADD COLUMN network text;
ALTER TABLE refunds ADD COLUMN tx_hash text;
ALTER TABLE refunds ADD COLUMN log_index bigint;
ALTER TABLE refunds ADD COLUMN note text NOT NULL DEFAULT '' CHECK (length(note) <= 500);
ALTER TABLE refunds ADD CONSTRAINT refunds_paid CHECK ((state = 'paid') = (tx_hash IS NOT NULL) AND (tx_hash IS NULL) = (log_index IS NULL) AND (tx_hash IS NULL) = (network IS NULL));
CREATE UNIQUE INDEX refunds_log ON refunds (network, tx_hash, log_index);
CREATE INDEX refunds_by_tenant ON refunds (tenant_id, id DESC);
