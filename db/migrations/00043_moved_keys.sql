-- +goose Up
-- tenant_locators keeps whose keys a tenant that was moved has: no two tenants of a deployment sign with the same.
SET LOCAL lock_timeout = '3s';
-- lint: allow drop: what it allows stays allowed
ALTER TABLE parako.tenant_locators DROP CONSTRAINT tenant_locators_kind_known;
ALTER TABLE parako.tenant_locators
    ADD CONSTRAINT tenant_locators_kind_known CHECK (kind IN ('slug', 'host', 'issuer', 'origin')) NOT VALID;

-- +goose Down
SET LOCAL lock_timeout = '3s';
ALTER TABLE parako.tenant_locators
    DROP CONSTRAINT tenant_locators_kind_known,
    ADD CONSTRAINT tenant_locators_kind_known CHECK (kind IN ('slug', 'host', 'issuer')) NOT VALID;
