-- People who sign in, and what was changed by whom. A person's password and second factor are kept as a hash and sealed.
CREATE TABLE members (
    id            text PRIMARY KEY,
    tenant_id     text NOT NULL REFERENCES tenants (id),
    email         text NOT NULL CHECK (email = lower(email) AND length(email) BETWEEN 3 AND 254),
    name          text NOT NULL,
    role          text NOT NULL CHECK (role IN ('owner', 'admin', 'developer', 'seller', 'finance', 'auditor')),
    password_hash text,
    totp_secret   bytea,
    totp_since    timestamptz,
    totp_step     bigint NOT NULL DEFAULT 0,
    failed_logins integer NOT NULL DEFAULT 0,
    locked_until  timestamptz,
    created_at    timestamptz NOT NULL,
    removed_at    timestamptz
);
-- One person signs in with one address; an address that was given up may be taken again.
CREATE UNIQUE INDEX members_email ON members (email) WHERE removed_at IS NULL;
CREATE INDEX members_of_tenant ON members (tenant_id, id);

-- A link without a member is the set-up link: it signs in as owner until somebody has made themselves a member.
ALTER TABLE sign_in_links ADD COLUMN member_id text REFERENCES members (id);
ALTER TABLE sessions ADD COLUMN member_id text REFERENCES members (id);

-- Who changed what, when, and what it was before. Written by the trigger below in the transaction of the change itself, so
-- that no way to change a thing forgets it; signing in and out is written by hand. Secrets are never copied here.
CREATE TABLE audit_log (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id   text NOT NULL REFERENCES tenants (id),
    at          timestamptz NOT NULL,
    actor       text NOT NULL,
    request_id  text NOT NULL,
    action      text NOT NULL,
    object_type text NOT NULL,
    object_id   text NOT NULL,
    before      jsonb,
    after       jsonb
);
CREATE INDEX audit_by_tenant ON audit_log (tenant_id, id DESC);
CREATE TRIGGER audit_append BEFORE UPDATE OR DELETE ON audit_log FOR EACH ROW EXECUTE FUNCTION append_only();

-- The first argument is the column that names the object, the second the kind of thing it is. Who acts and for which request
-- is told by the transaction (p402.actor, p402.request); nobody told is the system itself.
CREATE FUNCTION audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    hidden  constant text[] := ARRAY['hash', 'password_hash', 'totp_secret', 'totp_step', 'failed_logins', 'locked_until', 'last_used_at', 'updated_at', 'secret', 'sealed'];
    secrets constant text[] := ARRAY['hash', 'password_hash', 'totp_secret', 'totp_step', 'secret', 'sealed'];
    was     jsonb := CASE WHEN TG_OP = 'INSERT' THEN NULL ELSE to_jsonb(OLD) END;
    now_is  jsonb := CASE WHEN TG_OP = 'DELETE' THEN NULL ELSE to_jsonb(NEW) END;
    done    text := CASE TG_OP WHEN 'INSERT' THEN 'created' WHEN 'DELETE' THEN 'deleted' ELSE 'changed' END;
BEGIN
    IF TG_OP = 'UPDATE' AND was - hidden = now_is - hidden THEN
        IF was -> 'password_hash' IS DISTINCT FROM now_is -> 'password_hash' THEN
            done := 'password changed';
        ELSIF was -> 'totp_secret' IS DISTINCT FROM now_is -> 'totp_secret' THEN
            done := 'second factor changed';
        ELSE
            RETURN NULL;
        END IF;
    ELSIF TG_OP = 'UPDATE' AND was -> 'revoked_at' IS DISTINCT FROM now_is -> 'revoked_at' THEN
        done := 'revoked';
    ELSIF TG_OP = 'UPDATE' AND was -> 'retired_at' IS DISTINCT FROM now_is -> 'retired_at' THEN
        done := 'retired';
    ELSIF TG_OP = 'UPDATE' AND was -> 'removed_at' IS DISTINCT FROM now_is -> 'removed_at' THEN
        done := 'removed';
    END IF;
    INSERT INTO audit_log (tenant_id, at, actor, request_id, action, object_type, object_id, before, after)
    VALUES (coalesce(now_is, was) ->> 'tenant_id', clock_timestamp(), coalesce(nullif(current_setting('p402.actor', true), ''), 'system'),
        coalesce(current_setting('p402.request', true), ''), done, TG_ARGV[1], coalesce(now_is, was) ->> TG_ARGV[0], was - secrets, now_is - secrets);
    RETURN NULL;
END $$;

CREATE TRIGGER members_audit AFTER INSERT OR UPDATE OR DELETE ON members FOR EACH ROW EXECUTE FUNCTION audit_change('id', 'member');
CREATE TRIGGER keys_audit AFTER INSERT OR UPDATE OR DELETE ON keys FOR EACH ROW EXECUTE FUNCTION audit_change('id', 'key');
CREATE TRIGGER budgets_audit AFTER INSERT OR UPDATE OR DELETE ON budgets FOR EACH ROW EXECUTE FUNCTION audit_change('id', 'budget');
CREATE TRIGGER policies_audit AFTER INSERT OR UPDATE OR DELETE ON policies FOR EACH ROW EXECUTE FUNCTION audit_change('id', 'policy');
CREATE TRIGGER workflows_audit AFTER INSERT OR UPDATE OR DELETE ON workflows FOR EACH ROW EXECUTE FUNCTION audit_change('workflow_id', 'workflow');
CREATE TRIGGER workflow_prices_audit AFTER INSERT OR UPDATE OR DELETE ON workflow_prices FOR EACH ROW EXECUTE FUNCTION audit_change('workflow_id', 'price');
