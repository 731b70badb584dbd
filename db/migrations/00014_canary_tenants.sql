-- +goose Up
-- The two tenants of `parako doctor isolation --live`, which tries from inside the one to reach the other. Nothing leads to
-- them, they hold no row outside a transaction that is rolled back, and the platform's queries leave them out.
SET LOCAL lock_timeout = '3s';
-- FORCE is lifted for these rows: the owner has no policy of its own.
SET LOCAL row_security = off;
ALTER TABLE parako.tenants NO FORCE ROW LEVEL SECURITY;
INSERT INTO parako.tenants (id, slug, display_name, status)
VALUES ('00000000-0000-4000-8000-00000000000a', 'canary-a', 'Canary A', 'archived'),
       ('00000000-0000-4000-8000-00000000000b', 'canary-b', 'Canary B', 'archived')
RETURNING id;
ALTER TABLE parako.tenants FORCE ROW LEVEL SECURITY;

-- +goose Down
SET LOCAL lock_timeout = '3s';
SET LOCAL row_security = off;
ALTER TABLE parako.tenants NO FORCE ROW LEVEL SECURITY;
DELETE FROM parako.tenants WHERE id IN ('00000000-0000-4000-8000-00000000000a', '00000000-0000-4000-8000-00000000000b');
ALTER TABLE parako.tenants FORCE ROW LEVEL SECURITY;
