-- +goose NO TRANSACTION
-- +goose Up
-- At most one key per algorithm waits to sign, however many rotations begin at once.
DROP INDEX CONCURRENTLY IF EXISTS parako.signing_keys_next_key;
CREATE UNIQUE INDEX CONCURRENTLY signing_keys_next_key ON parako.signing_keys (tenant_id, alg) WHERE status = 'active' AND NOT promoted;

-- +goose Down
DROP INDEX CONCURRENTLY IF EXISTS parako.signing_keys_next_key;
