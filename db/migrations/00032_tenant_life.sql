-- +goose Up
-- The life of a tenant: what a suspension ends for good, the platform's own addresses for an issuer, and the end with its grace period.
SET LOCAL lock_timeout = '3s';
ALTER TABLE parako.tenants
    ADD COLUMN revoked_before timestamptz NOT NULL DEFAULT '1970-01-01 00:00:00+00';
COMMENT ON COLUMN parako.tenants.revoked_before IS 'Sessions, grants, tokens, codes and requests from before are dead. Every change of the status moves it, so that it costs one row whatever there is to end.';

-- An issuer of a tenant's own is claimed like a slug or a host: no two tenants have the same.
-- lint: allow drop: what it allows stays allowed
ALTER TABLE parako.tenant_locators DROP CONSTRAINT tenant_locators_kind_known;
ALTER TABLE parako.tenant_locators
    ADD CONSTRAINT tenant_locators_kind_known CHECK (kind IN ('slug', 'host', 'issuer')) NOT VALID;

-- +goose Down
SET LOCAL lock_timeout = '3s';
ALTER TABLE parako.tenant_locators
    DROP CONSTRAINT tenant_locators_kind_known,
    ADD CONSTRAINT tenant_locators_kind_known CHECK (kind IN ('slug', 'host'));
ALTER TABLE parako.tenants DROP COLUMN revoked_before;
