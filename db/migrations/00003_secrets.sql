-- +goose Up
-- data_keys: the key that seals one tenant's secrets, wrapped by the master key; signing_keys: its JSON Web Keys.
SET LOCAL lock_timeout = '3s';
CREATE TABLE parako.data_keys (
    tenant_id     uuid        NOT NULL DEFAULT parako.current_tenant() REFERENCES parako.tenants (id) ON DELETE CASCADE,
    id            uuid        NOT NULL,
    master_key_id text        NOT NULL,
    wrapped       bytea       NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT data_keys_pkey       PRIMARY KEY (tenant_id, id),
    CONSTRAINT data_keys_tenant_key UNIQUE (tenant_id)
);
COMMENT ON TABLE parako.data_keys IS 'One per tenant. Destroying the row destroys every secret of the tenant.';
SELECT parako.shard_table('parako.data_keys');
ALTER TABLE parako.data_keys ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_boundary ON parako.data_keys AS RESTRICTIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
CREATE POLICY tenant_access ON parako.data_keys AS PERMISSIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
GRANT SELECT, INSERT, UPDATE, DELETE ON parako.data_keys TO parako_app;

CREATE TABLE parako.signing_keys (
    tenant_id   uuid        NOT NULL DEFAULT parako.current_tenant() REFERENCES parako.tenants (id) ON DELETE CASCADE,
    id          uuid        NOT NULL,
    kid         text        NOT NULL,
    alg         text        NOT NULL CONSTRAINT signing_keys_alg_known CHECK (alg IN ('RS256', 'ES256', 'EdDSA')),
    status      text        NOT NULL CONSTRAINT signing_keys_status_known CHECK (status IN ('active', 'expiring', 'retired')),
    promoted    boolean     NOT NULL,
    public_jwk  jsonb       NOT NULL,
    private_key bytea       NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    rotated_at  timestamptz,
    CONSTRAINT signing_keys_pkey    PRIMARY KEY (tenant_id, id),
    CONSTRAINT signing_keys_kid_key UNIQUE (tenant_id, kid)
);
COMMENT ON TABLE parako.signing_keys IS 'private_key is PKCS 8, sealed with the tenant''s data key.';
SELECT parako.shard_table('parako.signing_keys');
ALTER TABLE parako.signing_keys ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_boundary ON parako.signing_keys AS RESTRICTIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
CREATE POLICY tenant_access ON parako.signing_keys AS PERMISSIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
GRANT SELECT, INSERT, UPDATE, DELETE ON parako.signing_keys TO parako_app;
-- At most one key per algorithm signs.
CREATE UNIQUE INDEX signing_keys_signer_key ON parako.signing_keys (tenant_id, alg) WHERE status = 'active' AND promoted;

-- +goose Down
SET LOCAL lock_timeout = '3s';
DROP TABLE parako.signing_keys;
DROP TABLE parako.data_keys;
