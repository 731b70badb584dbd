-- +goose Up
-- The checks that got wider hold for the rows there are.
SET LOCAL lock_timeout = '3s';
ALTER TABLE parako.clients
    VALIDATE CONSTRAINT clients_auth_method_known,
    VALIDATE CONSTRAINT clients_id_token_alg_known,
    VALIDATE CONSTRAINT clients_default_max_age_positive;
ALTER TABLE parako.signing_keys VALIDATE CONSTRAINT signing_keys_alg_known;

-- +goose Down
SET LOCAL lock_timeout = '3s';
ALTER TABLE parako.clients
    DROP CONSTRAINT clients_auth_method_known,
    DROP CONSTRAINT clients_id_token_alg_known,
    DROP CONSTRAINT clients_default_max_age_positive,
    ADD CONSTRAINT clients_auth_method_known CHECK (token_endpoint_auth_method IN
        ('none', 'client_secret_basic', 'client_secret_post', 'client_secret_jwt', 'private_key_jwt', 'tls_client_auth', 'self_signed_tls_client_auth')) NOT VALID,
    ADD CONSTRAINT clients_id_token_alg_known CHECK (id_token_signed_response_alg IN ('RS256', 'PS256', 'ES256', 'EdDSA')) NOT VALID,
    ADD CONSTRAINT clients_default_max_age_positive CHECK (default_max_age >= 0) NOT VALID;
ALTER TABLE parako.signing_keys
    DROP CONSTRAINT signing_keys_alg_known,
    ADD CONSTRAINT signing_keys_alg_known CHECK (alg IN ('RS256', 'PS256', 'ES256', 'EdDSA', 'RSA-OAEP-256', 'ECDH-ES')) NOT VALID;
