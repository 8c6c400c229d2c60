-- What was exported: the question, fixed with the moment up to which facts count, so that the same export gives the same bytes.

CREATE TABLE exports (
    id          text PRIMARY KEY,
    tenant_id   text NOT NULL REFERENCES tenants (id),
    livemode    boolean NOT NULL,
    kind        text NOT NULL,
    format      text NOT NULL,
    since       timestamptz,
    until       timestamptz,
    as_of       timestamptz NOT NULL,
    zone        text NOT NULL,
    period_id   text REFERENCES periods (id),
    late_from   timestamptz,
    created_at  timestamptz NOT NULL,
    created_by  text NOT NULL,
    finished_at timestamptz,
    row_count   bigint,
    byte_count  bigint,
    sha256      text
);
CREATE INDEX exports_of_tenant ON exports (tenant_id, livemode, id DESC);
