-- The journal learns what each line is about: the time of the fact, the owner, and the rate at which it became dollars.
-- A trigger fills it from the ledger, so that no writer can forget.

CREATE TABLE fx_policies (
    id             text PRIMARY KEY,
    base           text NOT NULL,
    quote          text NOT NULL,
    rate           numeric(38, 18) NOT NULL CHECK (rate > 0),
    source         text NOT NULL,
    effective_from timestamptz NOT NULL
);
INSERT INTO fx_policies VALUES ('usdc-usd-1', 'USDC', 'USD', 1, 'policy: one USDC is booked as one US dollar', '2020-01-01T00:00:00Z'),
                               ('usd', 'USD', 'USD', 1, 'identity: the fact is in US dollars', '2020-01-01T00:00:00Z');
CREATE TRIGGER fx_policies_append BEFORE UPDATE OR DELETE ON fx_policies FOR EACH ROW EXECUTE FUNCTION append_only();

ALTER TABLE journal_entries
    ADD COLUMN livemode     boolean,
    ADD COLUMN effective_at timestamptz,   -- when the fact happened; posted_at is when it was written
    ADD COLUMN event_id     text,
    ADD COLUMN payment_id   text,
    ADD COLUMN provider     text,
    ADD COLUMN workflow_id  text,
    ADD COLUMN customer_id  text,
    ADD COLUMN payer        text,
    ADD COLUMN network      text,
    ADD COLUMN tx_hash      text,
    ADD COLUMN fx           text REFERENCES fx_policies (id);

-- The postings' names carry what they are about: an event's id, sale:pay_…, refund:pay_…
CREATE FUNCTION journal_context() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    about_event   text := substring(NEW.posting FROM 'evt_[0-9A-Z]{26}');
    about_payment text := substring(NEW.posting FROM 'pay_[0-9A-Z]{26}');
    p             record;
    e             record;
BEGIN
    IF about_payment IS NOT NULL THEN
        SELECT event_id, payer, network, evidence ->> 'TxHash' AS tx_hash INTO p FROM payments WHERE id = about_payment;
        IF FOUND THEN
            NEW.payment_id := about_payment;
            NEW.payer := p.payer;
            NEW.network := p.network;
            NEW.tx_hash := nullif(p.tx_hash, '');
            about_event := coalesce(about_event, p.event_id);
            NEW.livemode := coalesce(NEW.livemode, p.network NOT IN ('eip155:84532', 'eip155:43113'));
        END IF;
    END IF;
    IF about_event IS NOT NULL THEN
        SELECT event_time, livemode, provider, workflow_id, customer_id INTO e FROM events WHERE id = about_event;
        IF FOUND THEN
            NEW.event_id := about_event;
            NEW.livemode := coalesce(NEW.livemode, e.livemode);
            NEW.provider := e.provider;
            NEW.workflow_id := e.workflow_id;
            NEW.customer_id := e.customer_id;
            IF about_payment IS NULL THEN
                NEW.effective_at := coalesce(NEW.effective_at, e.event_time);
            END IF;
        END IF;
    END IF;
    NEW.effective_at := coalesce(NEW.effective_at, NEW.posted_at);
    NEW.fx := coalesce(NEW.fx, CASE WHEN about_payment IS NULL THEN 'usd' ELSE 'usdc-usd-1' END);
    RETURN NEW;
END $$;
CREATE TRIGGER journal_context BEFORE INSERT ON journal_entries FOR EACH ROW EXECUTE FUNCTION journal_context();

-- What was posted before this migration gets the same words, once.
ALTER TABLE journal_entries DISABLE TRIGGER journal_append;
UPDATE journal_entries j SET event_id = x.event_id, payment_id = x.payment_id, livemode = x.livemode, provider = x.provider, workflow_id = x.workflow_id,
        customer_id = x.customer_id, payer = x.payer, network = x.network, tx_hash = x.tx_hash,
        effective_at = CASE WHEN x.payment_id IS NULL THEN coalesce(x.event_time, j.posted_at) ELSE j.posted_at END,
        fx = CASE WHEN x.payment_id IS NULL THEN 'usd' ELSE 'usdc-usd-1' END
    FROM (SELECT j2.id, e.id AS event_id, p.id AS payment_id, coalesce(p.network NOT IN ('eip155:84532', 'eip155:43113'), e.livemode) AS livemode, e.provider,
            e.workflow_id, e.customer_id, p.payer, p.network, nullif(p.evidence ->> 'TxHash', '') AS tx_hash, e.event_time
        FROM journal_entries j2
        LEFT JOIN payments p ON p.id = substring(j2.posting FROM 'pay_[0-9A-Z]{26}')
        LEFT JOIN events e ON e.id = coalesce(substring(j2.posting FROM 'evt_[0-9A-Z]{26}'), p.event_id)) x
    WHERE x.id = j.id;
ALTER TABLE journal_entries ENABLE TRIGGER journal_append;
ALTER TABLE journal_entries ALTER COLUMN effective_at SET NOT NULL, ALTER COLUMN fx SET NOT NULL;
CREATE INDEX journal_by_time ON journal_entries (tenant_id, effective_at, id);
