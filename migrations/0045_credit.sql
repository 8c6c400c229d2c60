-- A payment on credit is one whose answer may leave before it is collected; what is on its way so, and what was lost so, counts
-- against the seller's limits.
ALTER TABLE payments ADD COLUMN on_credit boolean GENERATED ALWAYS AS (terms ->> 'WaitFor' = 'authorized') STORED;
CREATE INDEX payments_on_credit ON payments (tenant_id) WHERE on_credit AND state IN ('authorized', 'captured', 'submitted', 'lost');
