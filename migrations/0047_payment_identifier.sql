-- A payer may name a payment, so that whoever signs anew because an answer did not come is not charged twice.
ALTER TABLE payments ADD COLUMN identifier text CHECK (length(identifier) BETWEEN 16 AND 128);
CREATE UNIQUE INDEX payments_identifier ON payments (tenant_id, (terms ->> 'WorkflowID'), lower(payer), identifier) WHERE identifier IS NOT NULL AND state <> 'voided';
