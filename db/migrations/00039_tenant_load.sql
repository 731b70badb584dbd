-- +goose Up
-- How much load a tenant may cause. Like the quotas of 00033 it is in the row of the tenant, which every instance holds.
SET LOCAL lock_timeout = '3s';
ALTER TABLE parako.tenants
    ADD COLUMN max_sessions            integer,
    ADD COLUMN max_requests_per_second integer,
    ADD COLUMN max_mails_per_hour      integer,
    ADD CONSTRAINT tenants_load_range CHECK (max_sessions >= 0 AND max_requests_per_second BETWEEN 1 AND 1000000 AND max_mails_per_hour >= 0) NOT VALID;
COMMENT ON COLUMN parako.tenants.max_sessions IS 'How many browsers may be signed in at once; NULL: any number.';
COMMENT ON COLUMN parako.tenants.max_requests_per_second IS 'How many requests each server instance takes in a second; NULL: any number.';
COMMENT ON COLUMN parako.tenants.max_mails_per_hour IS 'How many mails may be sent in the name of the tenant; NULL: any number.';

-- +goose Down
SET LOCAL lock_timeout = '3s';
ALTER TABLE parako.tenants
    DROP CONSTRAINT tenants_load_range,
    DROP COLUMN max_mails_per_hour,
    DROP COLUMN max_requests_per_second,
    DROP COLUMN max_sessions;
