-- +goose Up
-- What a tenant may use at most. It is in the row of the tenant, which every instance holds; without a number there is no bound.
SET LOCAL lock_timeout = '3s';
ALTER TABLE parako.tenants
    ADD COLUMN max_users   integer,
    ADD COLUMN max_clients integer,
    ADD CONSTRAINT tenants_quotas_range CHECK (max_users >= 0 AND max_clients >= 0) NOT VALID;
COMMENT ON COLUMN parako.tenants.max_users IS 'Written by the platform alone, like every quota. How many people the tenant may have; NULL: any number.';
COMMENT ON COLUMN parako.tenants.max_clients IS 'How many applications the tenant may have; NULL: any number.';

-- +goose Down
SET LOCAL lock_timeout = '3s';
ALTER TABLE parako.tenants
    DROP CONSTRAINT tenants_quotas_range,
    DROP COLUMN max_clients,
    DROP COLUMN max_users;
