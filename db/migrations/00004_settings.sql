-- +goose Up
-- tenant_settings: what a tenant overrides, one row per section.
SET LOCAL lock_timeout = '3s';
CREATE TABLE parako.tenant_settings (
    tenant_id   uuid        NOT NULL DEFAULT parako.current_tenant() REFERENCES parako.tenants (id) ON DELETE CASCADE,
    id          uuid        NOT NULL,
    section     text        NOT NULL CONSTRAINT tenant_settings_section_known
        CHECK (section IN ('application', 'branding', 'security', 'features', 'oidc', 'integrations', 'notifications')),
    version     bigint      NOT NULL DEFAULT 1,
    value       jsonb       NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tenant_settings_pkey        PRIMARY KEY (tenant_id, id),
    CONSTRAINT tenant_settings_section_key UNIQUE (tenant_id, section)
);
SELECT parako.shard_table('parako.tenant_settings');
ALTER TABLE parako.tenant_settings ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_boundary ON parako.tenant_settings AS RESTRICTIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
CREATE POLICY tenant_access ON parako.tenant_settings AS PERMISSIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
GRANT SELECT, INSERT, UPDATE, DELETE ON parako.tenant_settings TO parako_app;

-- +goose Down
SET LOCAL lock_timeout = '3s';
DROP TABLE parako.tenant_settings;
