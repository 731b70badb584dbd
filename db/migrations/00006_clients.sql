-- +goose Up
-- clients: the applications registered with a tenant (RFC 7591 metadata).
SET LOCAL lock_timeout = '3s';
CREATE TABLE parako.clients (
    tenant_id                       uuid        NOT NULL DEFAULT parako.current_tenant() REFERENCES parako.tenants (id) ON DELETE CASCADE,
    id                              text        NOT NULL CONSTRAINT clients_id_format CHECK (id ~ '^[A-Za-z0-9._~-]{1,255}$'),
    client_name                     text        NOT NULL CONSTRAINT clients_client_name_length CHECK (char_length(client_name) BETWEEN 1 AND 255),
    application_type                text        NOT NULL CONSTRAINT clients_application_type_known CHECK (application_type IN ('web', 'native')),
    preset                          text        CONSTRAINT clients_preset_known CHECK (preset IN ('web', 'spa', 'native', 'm2m', 'device', 'api_management')),
    active                          boolean     NOT NULL DEFAULT true,
    token_endpoint_auth_method      text        NOT NULL CONSTRAINT clients_auth_method_known
        CHECK (token_endpoint_auth_method IN ('none', 'client_secret_basic', 'client_secret_post', 'private_key_jwt')),
    secret_digest                   bytea,
    previous_secret_digest          bytea,
    previous_secret_expires_at      timestamptz,
    jwks                            jsonb,
    redirect_uris                   text[]      NOT NULL DEFAULT '{}',
    post_logout_redirect_uris       text[]      NOT NULL DEFAULT '{}',
    grant_types                     text[]      NOT NULL DEFAULT '{}',
    response_types                  text[]      NOT NULL DEFAULT '{}',
    scope                           text        NOT NULL DEFAULT '',
    allowed_resources               text[]      NOT NULL DEFAULT '{}',
    resources_scopes                text        NOT NULL DEFAULT '',
    require_pkce                    boolean     NOT NULL DEFAULT true,
    id_token_signed_response_alg    text        NOT NULL DEFAULT 'RS256' CONSTRAINT clients_id_token_alg_known
        CHECK (id_token_signed_response_alg IN ('RS256', 'ES256', 'EdDSA')),
    default_max_age                 integer     CONSTRAINT clients_default_max_age_positive CHECK (default_max_age > 0),
    is_internal_client              boolean     NOT NULL DEFAULT false,
    client_uri                      text,
    logo_uri                        text,
    policy_uri                      text,
    tos_uri                         text,
    description                     text        NOT NULL DEFAULT '',
    contacts                        text[]      NOT NULL DEFAULT '{}',
    tags                            text[]      NOT NULL DEFAULT '{}',
    created_at                      timestamptz NOT NULL DEFAULT now(),
    updated_at                      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT clients_pkey PRIMARY KEY (tenant_id, id)
);
COMMENT ON TABLE parako.clients IS 'id is the client_id. Secrets are 256-bit random, shown once and kept as SHA-256 digests; two overlap during a rotation.';
SELECT parako.shard_table('parako.clients');
ALTER TABLE parako.clients ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_boundary ON parako.clients AS RESTRICTIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
CREATE POLICY tenant_access ON parako.clients AS PERMISSIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
GRANT SELECT, INSERT, UPDATE, DELETE ON parako.clients TO parako_app;

CREATE TABLE parako.client_assertions (
    tenant_id  uuid        NOT NULL DEFAULT parako.current_tenant() REFERENCES parako.tenants (id) ON DELETE CASCADE,
    id         bytea       NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT client_assertions_pkey PRIMARY KEY (tenant_id, id)
);
COMMENT ON TABLE parako.client_assertions IS 'id is the digest of client_id and jti of a client assertion (RFC 7523): the insert that succeeds has used it up.';
SELECT parako.shard_table('parako.client_assertions');
ALTER TABLE parako.client_assertions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_boundary ON parako.client_assertions AS RESTRICTIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
CREATE POLICY tenant_access ON parako.client_assertions AS PERMISSIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
GRANT SELECT, INSERT, UPDATE, DELETE ON parako.client_assertions TO parako_app;
CREATE INDEX client_assertions_expires_at_idx ON parako.client_assertions (tenant_id, expires_at);

-- +goose Down
SET LOCAL lock_timeout = '3s';
DROP TABLE parako.client_assertions;
DROP TABLE parako.clients;
