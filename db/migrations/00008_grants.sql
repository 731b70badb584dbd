-- +goose Up
-- grants: what one authorization gave to one client; codes, access_tokens and refresh_tokens: its bearers, kept as digests.
SET LOCAL lock_timeout = '3s';
CREATE TABLE parako.grants (
    tenant_id      uuid        NOT NULL DEFAULT parako.current_tenant() REFERENCES parako.tenants (id) ON DELETE CASCADE,
    id             uuid        NOT NULL,
    client_id      text        NOT NULL,
    user_id        uuid        NOT NULL,
    session_id     uuid,
    scopes         text[]      NOT NULL,
    resources      text[]      NOT NULL DEFAULT '{}',
    auth_time      timestamptz NOT NULL,
    acr            text        NOT NULL,
    amr            text[]      NOT NULL,
    nonce          text        NOT NULL DEFAULT '',
    created_at     timestamptz NOT NULL DEFAULT now(),
    expires_at     timestamptz NOT NULL,
    revoked_at     timestamptz,
    CONSTRAINT grants_pkey         PRIMARY KEY (tenant_id, id),
    CONSTRAINT grants_client_fkey  FOREIGN KEY (tenant_id, client_id) REFERENCES parako.clients (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT grants_user_fkey    FOREIGN KEY (tenant_id, user_id) REFERENCES parako.users (tenant_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE parako.grants IS 'Revoking a grant ends its whole family of tokens. expires_at is the absolute end, whatever is refreshed.';
SELECT parako.shard_table('parako.grants');
ALTER TABLE parako.grants ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_boundary ON parako.grants AS RESTRICTIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
CREATE POLICY tenant_access ON parako.grants AS PERMISSIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
GRANT SELECT, INSERT, UPDATE, DELETE ON parako.grants TO parako_app;
CREATE INDEX grants_user_idx ON parako.grants (tenant_id, user_id, client_id);
CREATE INDEX grants_client_idx ON parako.grants (tenant_id, client_id);
CREATE INDEX grants_session_idx ON parako.grants (tenant_id, session_id);
CREATE INDEX grants_expires_at_idx ON parako.grants (tenant_id, expires_at);

CREATE TABLE parako.codes (
    tenant_id             uuid        NOT NULL DEFAULT parako.current_tenant() REFERENCES parako.tenants (id) ON DELETE CASCADE,
    id                    bytea       NOT NULL,
    grant_id              uuid        NOT NULL,
    redirect_uri          text        NOT NULL,
    redirect_uri_sent     boolean     NOT NULL,
    code_challenge        text        NOT NULL,
    code_challenge_method text        NOT NULL,
    created_at            timestamptz NOT NULL DEFAULT now(),
    expires_at            timestamptz NOT NULL,
    spent_at              timestamptz,
    CONSTRAINT codes_pkey       PRIMARY KEY (tenant_id, id),
    CONSTRAINT codes_grant_fkey FOREIGN KEY (tenant_id, grant_id) REFERENCES parako.grants (tenant_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE parako.codes IS 'Authorization codes (RFC 6749 section 4.1.2). spent_at is set by one conditional UPDATE.';
SELECT parako.shard_table('parako.codes');
ALTER TABLE parako.codes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_boundary ON parako.codes AS RESTRICTIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
CREATE POLICY tenant_access ON parako.codes AS PERMISSIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
GRANT SELECT, INSERT, UPDATE, DELETE ON parako.codes TO parako_app;
CREATE INDEX codes_grant_idx ON parako.codes (tenant_id, grant_id);
CREATE INDEX codes_expires_at_idx ON parako.codes (tenant_id, expires_at);

CREATE TABLE parako.access_tokens (
    tenant_id  uuid        NOT NULL DEFAULT parako.current_tenant() REFERENCES parako.tenants (id) ON DELETE CASCADE,
    id         bytea       NOT NULL,
    grant_id   uuid,
    client_id  text        NOT NULL,
    scopes     text[]      NOT NULL,
    resources  text[]      NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    CONSTRAINT access_tokens_pkey        PRIMARY KEY (tenant_id, id),
    CONSTRAINT access_tokens_grant_fkey  FOREIGN KEY (tenant_id, grant_id) REFERENCES parako.grants (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT access_tokens_client_fkey FOREIGN KEY (tenant_id, client_id) REFERENCES parako.clients (tenant_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE parako.access_tokens IS 'Opaque tokens, and the JSON Web Tokens that belong to a grant. grant_id is NULL for client_credentials.';
SELECT parako.shard_table('parako.access_tokens');
ALTER TABLE parako.access_tokens ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_boundary ON parako.access_tokens AS RESTRICTIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
CREATE POLICY tenant_access ON parako.access_tokens AS PERMISSIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
GRANT SELECT, INSERT, UPDATE, DELETE ON parako.access_tokens TO parako_app;
CREATE INDEX access_tokens_grant_idx ON parako.access_tokens (tenant_id, grant_id);
CREATE INDEX access_tokens_expires_at_idx ON parako.access_tokens (tenant_id, expires_at);

CREATE TABLE parako.refresh_tokens (
    tenant_id  uuid        NOT NULL DEFAULT parako.current_tenant() REFERENCES parako.tenants (id) ON DELETE CASCADE,
    id         bytea       NOT NULL,
    grant_id   uuid        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at    timestamptz,
    CONSTRAINT refresh_tokens_pkey       PRIMARY KEY (tenant_id, id),
    CONSTRAINT refresh_tokens_grant_fkey FOREIGN KEY (tenant_id, grant_id) REFERENCES parako.grants (tenant_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE parako.refresh_tokens IS 'used_at is the moment of the rotation; a later use outside the grace period revokes the grant.';
SELECT parako.shard_table('parako.refresh_tokens');
ALTER TABLE parako.refresh_tokens ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_boundary ON parako.refresh_tokens AS RESTRICTIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
CREATE POLICY tenant_access ON parako.refresh_tokens AS PERMISSIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
GRANT SELECT, INSERT, UPDATE, DELETE ON parako.refresh_tokens TO parako_app;
CREATE INDEX refresh_tokens_grant_idx ON parako.refresh_tokens (tenant_id, grant_id);
CREATE INDEX refresh_tokens_expires_at_idx ON parako.refresh_tokens (tenant_id, expires_at);

CREATE TABLE parako.revoked_tokens (
    tenant_id  uuid        NOT NULL DEFAULT parako.current_tenant() REFERENCES parako.tenants (id) ON DELETE CASCADE,
    id         text        NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT revoked_tokens_pkey PRIMARY KEY (tenant_id, id)
);
COMMENT ON TABLE parako.revoked_tokens IS 'jti of JSON Web Tokens that are not stored but were revoked; kept until they would have expired.';
SELECT parako.shard_table('parako.revoked_tokens');
ALTER TABLE parako.revoked_tokens ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_boundary ON parako.revoked_tokens AS RESTRICTIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
CREATE POLICY tenant_access ON parako.revoked_tokens AS PERMISSIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
GRANT SELECT, INSERT, UPDATE, DELETE ON parako.revoked_tokens TO parako_app;
CREATE INDEX revoked_tokens_expires_at_idx ON parako.revoked_tokens (tenant_id, expires_at);

-- +goose Down
SET LOCAL lock_timeout = '3s';
DROP TABLE parako.revoked_tokens;
DROP TABLE parako.refresh_tokens;
DROP TABLE parako.access_tokens;
DROP TABLE parako.codes;
DROP TABLE parako.grants;
