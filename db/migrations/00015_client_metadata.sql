-- +goose Up
-- clients: the rest of what a client can register (RFC 7591), and a sealed copy of secrets that must be known to check a MAC.
SET LOCAL lock_timeout = '3s';
ALTER TABLE parako.clients
    ADD COLUMN metadata               jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN secret_sealed          bytea,
    ADD COLUMN previous_secret_sealed bytea,
    ADD COLUMN registration_digest    bytea;
COMMENT ON COLUMN parako.clients.metadata IS 'Registered metadata without a column of its own, under the names of the specifications.';
COMMENT ON COLUMN parako.clients.secret_sealed IS 'Only for clients whose secret is the key of a MAC (client_secret_jwt) or of an encryption; sealed with the tenant''s data key.';
COMMENT ON COLUMN parako.clients.registration_digest IS 'Of the registration access token (RFC 7592).';
-- lint: allow drop: each check comes back at once and allows more
ALTER TABLE parako.clients
    DROP CONSTRAINT clients_auth_method_known,
    DROP CONSTRAINT clients_id_token_alg_known,
    DROP CONSTRAINT clients_default_max_age_positive,
    ADD CONSTRAINT clients_auth_method_known CHECK (token_endpoint_auth_method IN
        ('none', 'client_secret_basic', 'client_secret_post', 'client_secret_jwt', 'private_key_jwt', 'tls_client_auth', 'self_signed_tls_client_auth')) NOT VALID,
    ADD CONSTRAINT clients_id_token_alg_known CHECK (id_token_signed_response_alg IN ('RS256', 'PS256', 'ES256', 'EdDSA')) NOT VALID,
    ADD CONSTRAINT clients_default_max_age_positive CHECK (default_max_age >= 0) NOT VALID;

-- +goose Down
SET LOCAL lock_timeout = '3s';
ALTER TABLE parako.clients
    DROP CONSTRAINT clients_auth_method_known,
    DROP CONSTRAINT clients_id_token_alg_known,
    DROP CONSTRAINT clients_default_max_age_positive,
    ADD CONSTRAINT clients_auth_method_known CHECK (token_endpoint_auth_method IN ('none', 'client_secret_basic', 'client_secret_post', 'private_key_jwt')),
    ADD CONSTRAINT clients_id_token_alg_known CHECK (id_token_signed_response_alg IN ('RS256', 'ES256', 'EdDSA')),
    ADD CONSTRAINT clients_default_max_age_positive CHECK (default_max_age > 0),
    DROP COLUMN metadata, DROP COLUMN secret_sealed, DROP COLUMN previous_secret_sealed, DROP COLUMN registration_digest;
