-- A nonce slot may be spent on no payment: a gap, or a slot whose payment was collected otherwise, is filled by a transfer to
-- ourselves, or it would block every later slot of the wallet.
ALTER TABLE tx_attempts ALTER COLUMN payment_id DROP NOT NULL;
ALTER TABLE tx_attempts ADD COLUMN purpose text NOT NULL DEFAULT 'collect' CHECK (purpose IN ('collect', 'fill'));
ALTER TABLE tx_attempts ADD CONSTRAINT tx_attempts_payment CHECK (purpose = 'fill' OR payment_id IS NOT NULL);
