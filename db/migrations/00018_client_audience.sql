-- +goose NO TRANSACTION
-- +goose Up
-- Two clients cannot be one resource. An earlier try may have left the index behind, unfinished.
DROP INDEX CONCURRENTLY IF EXISTS parako.clients_audience_key;
CREATE UNIQUE INDEX CONCURRENTLY clients_audience_key ON parako.clients (tenant_id, audience);

-- +goose Down
DROP INDEX CONCURRENTLY IF EXISTS parako.clients_audience_key;
