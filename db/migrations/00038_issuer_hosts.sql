-- +goose NO TRANSACTION
-- +goose Up
-- Whoever wants a host is refused when an issuer of another tenant is on it, which is looked for by the beginning of the issuer.
DROP INDEX CONCURRENTLY IF EXISTS parako.tenant_locators_issuer_idx;
CREATE INDEX CONCURRENTLY tenant_locators_issuer_idx ON parako.tenant_locators (name COLLATE "C") WHERE kind = 'issuer';

-- +goose Down
DROP INDEX CONCURRENTLY IF EXISTS parako.tenant_locators_issuer_idx;
