-- +goose Up
-- logout_deliveries: clients that have to be told that a session has ended (OpenID Connect Back-Channel Logout).
SET LOCAL lock_timeout = '3s';
CREATE TABLE parako.logout_deliveries (
    tenant_id  uuid        NOT NULL DEFAULT parako.current_tenant() REFERENCES parako.tenants (id) ON DELETE CASCADE,
    id         uuid        NOT NULL,
    client_id  text        NOT NULL,
    user_id    uuid        NOT NULL,
    session_id uuid        NOT NULL,
    attempts   integer     NOT NULL DEFAULT 0,
    last_error text        NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    tried_at   timestamptz,
    failed_at  timestamptz,
    expires_at timestamptz NOT NULL,
    CONSTRAINT logout_deliveries_pkey        PRIMARY KEY (tenant_id, id),
    CONSTRAINT logout_deliveries_client_fkey FOREIGN KEY (tenant_id, client_id) REFERENCES parako.clients (tenant_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE parako.logout_deliveries IS 'A job of schema jobs leads to each row. It is gone when the client has been told; failed_at is set when that was given up. The person and the session may be gone by then.';
SELECT parako.shard_table('parako.logout_deliveries');
CREATE INDEX logout_deliveries_client_idx ON parako.logout_deliveries (tenant_id, client_id);
CREATE INDEX logout_deliveries_failed_idx ON parako.logout_deliveries (tenant_id, failed_at, id) WHERE failed_at IS NOT NULL;
CREATE INDEX logout_deliveries_expires_at_idx ON parako.logout_deliveries (tenant_id, expires_at);
ALTER TABLE parako.logout_deliveries ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_boundary ON parako.logout_deliveries AS RESTRICTIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
CREATE POLICY tenant_access ON parako.logout_deliveries AS PERMISSIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
GRANT SELECT, INSERT, UPDATE, DELETE ON parako.logout_deliveries TO parako_app;
SELECT parako.show_auditors('parako.logout_deliveries');

-- +goose Down
SET LOCAL lock_timeout = '3s';
DROP TABLE parako.logout_deliveries;
