-- +goose Up
-- data_keys.inherited keeps what was derived from a tenant's data key elsewhere, so that subjects and tokens survive a move.
SET LOCAL lock_timeout = '3s';
ALTER TABLE parako.data_keys ADD COLUMN inherited bytea;
COMMENT ON COLUMN parako.data_keys.inherited IS 'Of a tenant that was imported: the derived keys it had before, by their purpose, sealed with the data key. NULL: each is derived from the data key.';

-- +goose Down
SET LOCAL lock_timeout = '3s';
ALTER TABLE parako.data_keys DROP COLUMN inherited;
