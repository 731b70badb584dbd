-- +goose Up
-- clients.registration_policy marks the applications that registered themselves, and holds them to what they were allowed.
SET LOCAL lock_timeout = '3s';
ALTER TABLE parako.clients ADD COLUMN registration_policy jsonb;
COMMENT ON COLUMN parako.clients.registration_policy IS 'The policy of the initial access token with which the client registered itself; NULL: somebody of the tenant registered it.';

-- +goose Down
SET LOCAL lock_timeout = '3s';
ALTER TABLE parako.clients DROP COLUMN registration_policy;
