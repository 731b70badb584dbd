-- +goose Up
-- tenant_settings_history: every version of a tenant's settings, who set it and why, so that it can be explained and taken back.
SET LOCAL lock_timeout = '3s';
CREATE TABLE parako.tenant_settings_history (
    tenant_id  uuid        NOT NULL DEFAULT parako.current_tenant() REFERENCES parako.tenants (id) ON DELETE CASCADE,
    id         uuid        NOT NULL,
    section    text        NOT NULL CONSTRAINT tenant_settings_history_section_known
        CHECK (section IN ('application', 'branding', 'security', 'features', 'oidc', 'integrations', 'notifications')),
    version    bigint      NOT NULL,
    value      jsonb       NOT NULL,
    actor_type text        NOT NULL,
    actor_id   text        NOT NULL,
    reason     text        NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tenant_settings_history_pkey        PRIMARY KEY (tenant_id, id),
    CONSTRAINT tenant_settings_history_version_key UNIQUE (tenant_id, section, version)
);
COMMENT ON TABLE parako.tenant_settings_history IS 'The newest version of a section is what tenant_settings holds. Secrets in value are sealed with the tenant''s data key.';
SELECT parako.shard_table('parako.tenant_settings_history');
ALTER TABLE parako.tenant_settings_history ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_boundary ON parako.tenant_settings_history AS RESTRICTIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
CREATE POLICY tenant_access ON parako.tenant_settings_history AS PERMISSIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
GRANT SELECT, INSERT, UPDATE, DELETE ON parako.tenant_settings_history TO parako_app;
SELECT parako.show_auditors('parako.tenant_settings_history');

-- +goose Down
SET LOCAL lock_timeout = '3s';
DROP TABLE parako.tenant_settings_history;
