-- +goose Up
-- signing_keys: PS256 for clients that ask for it, and keys to which clients encrypt request objects.
SET LOCAL lock_timeout = '3s';
-- lint: allow drop: the check comes back at once and allows more
ALTER TABLE parako.signing_keys
    DROP CONSTRAINT signing_keys_alg_known,
    ADD CONSTRAINT signing_keys_alg_known CHECK (alg IN ('RS256', 'PS256', 'ES256', 'EdDSA', 'RSA-OAEP-256', 'ECDH-ES')) NOT VALID;
COMMENT ON TABLE parako.signing_keys IS 'private_key is PKCS 8, sealed with the tenant''s data key. The algorithm tells signing keys from those for encryption (RSA-OAEP-256, ECDH-ES).';

-- +goose Down
SET LOCAL lock_timeout = '3s';
ALTER TABLE parako.signing_keys
    DROP CONSTRAINT signing_keys_alg_known,
    ADD CONSTRAINT signing_keys_alg_known CHECK (alg IN ('RS256', 'ES256', 'EdDSA'));
COMMENT ON TABLE parako.signing_keys IS 'private_key is PKCS 8, sealed with the tenant''s data key.';
