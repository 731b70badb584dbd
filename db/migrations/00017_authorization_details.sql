-- +goose Up
-- What an authorization request can ask for besides scopes, and the keys that tokens are bound to; pushed_requests: requests
-- that arrive before the browser does (RFC 9126).
SET LOCAL lock_timeout = '3s';
ALTER TABLE parako.grants ADD COLUMN claims jsonb;
COMMENT ON COLUMN parako.grants.claims IS 'The claims parameter (OpenID Connect Core section 5.5), as far as it was granted.';
ALTER TABLE parako.codes ADD COLUMN dpop_jkt text;
COMMENT ON COLUMN parako.codes.dpop_jkt IS 'The key that must redeem the code (RFC 9449 section 10).';
ALTER TABLE parako.access_tokens ADD COLUMN cnf jsonb, ADD COLUMN act jsonb;
COMMENT ON COLUMN parako.access_tokens.cnf IS 'The key or certificate the token is bound to (RFC 7800), as in the token.';
COMMENT ON COLUMN parako.access_tokens.act IS 'Who acts for the subject (RFC 8693 section 4.1).';
ALTER TABLE parako.refresh_tokens ADD COLUMN cnf jsonb;
ALTER TABLE parako.interactions ADD COLUMN select_account boolean NOT NULL DEFAULT false, ADD COLUMN pushed_id bytea;
COMMENT ON COLUMN parako.interactions.pushed_id IS 'The pushed request that the answer uses up.';
ALTER TABLE parako.clients ADD COLUMN audience text;
COMMENT ON COLUMN parako.clients.audience IS 'The resource (RFC 8707) that the client itself is.';

CREATE TABLE parako.pushed_requests (
    tenant_id  uuid        NOT NULL DEFAULT parako.current_tenant() REFERENCES parako.tenants (id) ON DELETE CASCADE,
    id         bytea       NOT NULL,
    client_id  text        NOT NULL,
    request    text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    spent_at   timestamptz,
    CONSTRAINT pushed_requests_pkey        PRIMARY KEY (tenant_id, id),
    CONSTRAINT pushed_requests_client_fkey FOREIGN KEY (tenant_id, client_id) REFERENCES parako.clients (tenant_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE parako.pushed_requests IS 'id is the digest of the request_uri; request is the validated request as a form. spent_at is set when a code is issued.';
SELECT parako.shard_table('parako.pushed_requests');
CREATE INDEX pushed_requests_expires_at_idx ON parako.pushed_requests (tenant_id, expires_at);
ALTER TABLE parako.pushed_requests ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_boundary ON parako.pushed_requests AS RESTRICTIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
CREATE POLICY tenant_access ON parako.pushed_requests AS PERMISSIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
GRANT SELECT, INSERT, UPDATE, DELETE ON parako.pushed_requests TO parako_app;
SELECT parako.show_auditors('parako.pushed_requests');

-- +goose Down
SET LOCAL lock_timeout = '3s';
DROP TABLE parako.pushed_requests;
ALTER TABLE parako.clients DROP COLUMN audience;
ALTER TABLE parako.interactions DROP COLUMN select_account, DROP COLUMN pushed_id;
ALTER TABLE parako.refresh_tokens DROP COLUMN cnf;
ALTER TABLE parako.access_tokens DROP COLUMN cnf, DROP COLUMN act;
ALTER TABLE parako.codes DROP COLUMN dpop_jkt;
ALTER TABLE parako.grants DROP COLUMN claims;
