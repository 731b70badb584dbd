-- +goose Up
-- tenants: one row per organisation, and tenant_locators: which slug or host leads to which tenant.
SET LOCAL lock_timeout = '3s';
CREATE TABLE parako.tenants (
    id           uuid        NOT NULL,
    slug         text        NOT NULL CONSTRAINT tenants_slug_format CHECK (slug ~ '^[a-z0-9][a-z0-9_-]{0,62}$' OR slug = '_platforms'),
    display_name text        NOT NULL CONSTRAINT tenants_display_name_length CHECK (char_length(display_name) BETWEEN 1 AND 255),
    status       text        NOT NULL DEFAULT 'active' CONSTRAINT tenants_status_known CHECK (status IN ('active', 'suspended', 'archived')),
    issuer_url   text        CONSTRAINT tenants_issuer_url_length CHECK (char_length(issuer_url) BETWEEN 8 AND 2048),
    domain       text        CONSTRAINT tenants_domain_length CHECK (char_length(domain) BETWEEN 1 AND 253),
    revision     bigint      NOT NULL DEFAULT 1,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tenants_pkey PRIMARY KEY (id)
);
COMMENT ON COLUMN parako.tenants.revision IS 'Raised by every change of settings, keys, domain or status; server instances compare it with what they hold.';
SELECT parako.shard_table('parako.tenants', 'id');
-- What changed lately, for every server instance's poll.
CREATE INDEX tenants_updated_at_idx ON parako.tenants (updated_at, id);
ALTER TABLE parako.tenants ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_boundary ON parako.tenants AS RESTRICTIVE TO parako_app
    USING (id = parako.current_tenant()) WITH CHECK (id = parako.current_tenant());
CREATE POLICY tenant_access ON parako.tenants AS PERMISSIVE TO parako_app
    USING (id = parako.current_tenant()) WITH CHECK (id = parako.current_tenant());
CREATE POLICY platform_access ON parako.tenants AS PERMISSIVE TO parako_platform USING (true) WITH CHECK (true);
GRANT SELECT, UPDATE (revision, updated_at) ON parako.tenants TO parako_app;
GRANT SELECT, INSERT, UPDATE ON parako.tenants TO parako_platform;

CREATE TABLE parako.tenant_locators (
    kind        text        NOT NULL CONSTRAINT tenant_locators_kind_known CHECK (kind IN ('slug', 'host')),
    name        text        NOT NULL CONSTRAINT tenant_locators_name_length CHECK (char_length(name) BETWEEN 1 AND 253),
    tenant_id   uuid        NOT NULL,
    verified_at timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tenant_locators_pkey PRIMARY KEY (kind, name)
);
COMMENT ON TABLE parako.tenant_locators IS 'Global and without foreign key: it is read before the tenant is known. The application can look one name up; it cannot list them.';
SELECT parako.reference_table('parako.tenant_locators');
CREATE INDEX tenant_locators_tenant_id_idx ON parako.tenant_locators (tenant_id);
ALTER TABLE parako.tenant_locators ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY locator_boundary ON parako.tenant_locators AS RESTRICTIVE FOR SELECT TO parako_app
    USING (kind || ':' || name = current_setting('app.locator', true));
CREATE POLICY locator_lookup ON parako.tenant_locators AS PERMISSIVE FOR SELECT TO parako_app
    USING (kind || ':' || name = current_setting('app.locator', true));
CREATE POLICY platform_access ON parako.tenant_locators AS PERMISSIVE TO parako_platform USING (true) WITH CHECK (true);
GRANT SELECT ON parako.tenant_locators TO parako_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON parako.tenant_locators TO parako_platform;

-- The anchor of the built-in tenant that serves single-tenant mode. It has no locator, so no host or header leads to it,
-- and the platform's queries leave it out. FORCE is lifted for this one row: the owner has no policy of its own.
ALTER TABLE parako.tenants NO FORCE ROW LEVEL SECURITY;
-- lint: allow data: a row of VALUES that no policy lets in is an error and not a silence
INSERT INTO parako.tenants (id, slug, display_name)
VALUES ('00000000-0000-4000-8000-000000000001', 'default', 'Default')
RETURNING id;
ALTER TABLE parako.tenants FORCE ROW LEVEL SECURITY;

-- +goose Down
SET LOCAL lock_timeout = '3s';
DROP TABLE parako.tenant_locators;
DROP TABLE parako.tenants;
