-- What a tenant has taken. An installation of one's own has its gates off.
ALTER TABLE tenants ADD COLUMN plan text NOT NULL DEFAULT 'self_hosted'
    CHECK (plan IN ('sandbox', 'build', 'growth', 'scale', 'enterprise', 'self_hosted'));

-- Who asked to hear from a person. Written by anybody, so it is bounded by the hour; read by the operator.
CREATE TABLE access_requests (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email      text NOT NULL CHECK (length(email) BETWEEN 3 AND 254),
    company    text NOT NULL CHECK (length(company) <= 200),
    intent     text NOT NULL CHECK (length(intent) <= 40),
    note       text NOT NULL CHECK (length(note) <= 2000),
    created_at timestamptz NOT NULL
);
CREATE INDEX access_requests_by_time ON access_requests (created_at);
