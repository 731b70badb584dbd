-- +goose Up
-- tenant_domains: the host names that a tenant claims, and how it proves them. Which tenant a host leads to stays with
-- tenant_locators, where a name that was given up is now kept for a while.
SET LOCAL lock_timeout = '3s';
SET LOCAL row_security = off;
ALTER TABLE parako.tenant_locators ADD COLUMN reserved_until timestamptz;
COMMENT ON COLUMN parako.tenant_locators.reserved_until IS 'Set while verified_at is not: the host was given up, and until then nobody but the same tenant gets it.';

CREATE TABLE parako.tenant_domains (
    tenant_id      uuid        NOT NULL DEFAULT parako.current_tenant() REFERENCES parako.tenants (id) ON DELETE CASCADE,
    id             uuid        NOT NULL,
    name           text        NOT NULL CONSTRAINT tenant_domains_name_length CHECK (char_length(name) BETWEEN 1 AND 253),
    token          text        NOT NULL CONSTRAINT tenant_domains_token_length CHECK (char_length(token) <= 255),
    created_at     timestamptz NOT NULL DEFAULT now(),
    verified_at    timestamptz,
    checked_at     timestamptz,
    missing_checks integer     NOT NULL DEFAULT 0,
    missing_since  timestamptz,
    failing_since  timestamptz,
    released_at    timestamptz,
    CONSTRAINT tenant_domains_pkey PRIMARY KEY (tenant_id, id),
    CONSTRAINT tenant_domains_order CHECK (verified_at IS NOT NULL OR (missing_since IS NULL AND failing_since IS NULL AND released_at IS NULL))
);
COMMENT ON TABLE parako.tenant_domains IS 'token is what the TXT record has to say, and no secret; empty: an operator vouched for the name. A claim is pending until verified_at, then verified, failing since failing_since, and released since released_at. A job of schema jobs leads to each row that has to be looked at.';
SELECT parako.shard_table('parako.tenant_domains');
CREATE UNIQUE INDEX tenant_domains_name_key ON parako.tenant_domains (tenant_id, name) WHERE released_at IS NULL;
ALTER TABLE parako.tenant_domains ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_boundary ON parako.tenant_domains AS RESTRICTIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
CREATE POLICY tenant_access ON parako.tenant_domains AS PERMISSIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
GRANT SELECT, INSERT, UPDATE, DELETE ON parako.tenant_domains TO parako_app;
SELECT parako.show_auditors('parako.tenant_domains');

-- Who made a tenant with a domain until now vouched for it.
ALTER TABLE parako.tenants NO FORCE ROW LEVEL SECURITY;
ALTER TABLE parako.tenant_domains NO FORCE ROW LEVEL SECURITY;
INSERT INTO parako.tenant_domains (tenant_id, id, name, token, created_at, verified_at)
SELECT t.id, gen_random_uuid(), t.domain, '', t.created_at, t.created_at
  FROM parako.tenants AS t
 WHERE t.domain IS NOT NULL
RETURNING id;
ALTER TABLE parako.tenant_domains FORCE ROW LEVEL SECURITY;
ALTER TABLE parako.tenants FORCE ROW LEVEL SECURITY;

-- +goose Down
SET LOCAL lock_timeout = '3s';
DROP TABLE parako.tenant_domains;
ALTER TABLE parako.tenant_locators DROP COLUMN reserved_until;
