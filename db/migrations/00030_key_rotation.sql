-- +goose Up
-- signing_keys: when a key may sign, since when it does, how long it verifies, and when it was retired.
SET LOCAL lock_timeout = '3s';
ALTER TABLE parako.signing_keys
    ADD COLUMN promote_at      timestamptz,
    ADD COLUMN promoted_at     timestamptz,
    ADD COLUMN overlap_seconds integer     NOT NULL DEFAULT 0,
    ADD COLUMN verify_until    timestamptz,
    ADD COLUMN retired_at      timestamptz,
    ADD COLUMN revoked         boolean     NOT NULL DEFAULT false,
    ADD CONSTRAINT signing_keys_retired_erased CHECK (status <> 'retired' OR private_key = '') NOT VALID;
COMMENT ON TABLE parako.signing_keys IS 'private_key is PKCS 8, sealed with the tenant''s data key, and empty once nothing needs it. The algorithm tells signing keys from those for encryption (RSA-OAEP-256, ECDH-ES).';
COMMENT ON COLUMN parako.signing_keys.overlap_seconds IS 'The longest time for which something made with the key can be needed, as far as the tenant was configured while the key signed.';

-- +goose Down
SET LOCAL lock_timeout = '3s';
ALTER TABLE parako.signing_keys
    DROP CONSTRAINT signing_keys_retired_erased,
    DROP COLUMN promote_at,
    DROP COLUMN promoted_at,
    DROP COLUMN overlap_seconds,
    DROP COLUMN verify_until,
    DROP COLUMN retired_at,
    DROP COLUMN revoked;
COMMENT ON TABLE parako.signing_keys IS 'private_key is PKCS 8, sealed with the tenant''s data key. The algorithm tells signing keys from those for encryption (RSA-OAEP-256, ECDH-ES).';
