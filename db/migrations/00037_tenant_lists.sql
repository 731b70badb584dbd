-- +goose NO TRANSACTION
-- +goose Up
-- The platform pages through its tenants by slug, of one status or of all, and looks for those whose slug begins with something.
DROP INDEX CONCURRENTLY IF EXISTS parako.tenants_slug_idx;
CREATE INDEX CONCURRENTLY tenants_slug_idx ON parako.tenants (slug COLLATE "C");
DROP INDEX CONCURRENTLY IF EXISTS parako.tenants_status_idx;
CREATE INDEX CONCURRENTLY tenants_status_idx ON parako.tenants (status, slug COLLATE "C");

-- +goose Down
DROP INDEX CONCURRENTLY IF EXISTS parako.tenants_status_idx;
DROP INDEX CONCURRENTLY IF EXISTS parako.tenants_slug_idx;
