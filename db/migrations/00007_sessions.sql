-- +goose Up
-- sessions: who is signed in in which browser; interactions: authorization requests that wait for a person; consents: what they agreed to.
SET LOCAL lock_timeout = '3s';
CREATE TABLE parako.sessions (
    tenant_id     uuid        NOT NULL DEFAULT parako.current_tenant() REFERENCES parako.tenants (id) ON DELETE CASCADE,
    id            uuid        NOT NULL,
    token_digest  bytea       NOT NULL,
    user_id       uuid        NOT NULL,
    auth_time     timestamptz NOT NULL,
    acr           text        NOT NULL,
    amr           text[]      NOT NULL,
    ip            text        NOT NULL DEFAULT '',
    user_agent    text        NOT NULL DEFAULT '',
    created_at    timestamptz NOT NULL DEFAULT now(),
    last_seen_at  timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz NOT NULL,
    ended_at      timestamptz,
    CONSTRAINT sessions_pkey             PRIMARY KEY (tenant_id, id),
    CONSTRAINT sessions_token_digest_key UNIQUE (tenant_id, token_digest),
    CONSTRAINT sessions_user_fkey        FOREIGN KEY (tenant_id, user_id) REFERENCES parako.users (tenant_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE parako.sessions IS 'id is the sid claim; the cookie carries another secret, kept here as a digest.';
SELECT parako.shard_table('parako.sessions');
ALTER TABLE parako.sessions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_boundary ON parako.sessions AS RESTRICTIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
CREATE POLICY tenant_access ON parako.sessions AS PERMISSIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
GRANT SELECT, INSERT, UPDATE, DELETE ON parako.sessions TO parako_app;
CREATE INDEX sessions_user_idx ON parako.sessions (tenant_id, user_id, created_at, id);
CREATE INDEX sessions_expires_at_idx ON parako.sessions (tenant_id, expires_at);

CREATE TABLE parako.interactions (
    tenant_id      uuid        NOT NULL DEFAULT parako.current_tenant() REFERENCES parako.tenants (id) ON DELETE CASCADE,
    id             uuid        NOT NULL,
    browser_digest bytea       NOT NULL,
    client_id      text        NOT NULL,
    request        text        NOT NULL,
    login_required boolean     NOT NULL DEFAULT false,
    consent_prompt boolean     NOT NULL DEFAULT false,
    session_id     uuid,
    consented      boolean     NOT NULL DEFAULT false,
    created_at     timestamptz NOT NULL DEFAULT now(),
    expires_at     timestamptz NOT NULL,
    finished_at    timestamptz,
    CONSTRAINT interactions_pkey         PRIMARY KEY (tenant_id, id),
    CONSTRAINT interactions_client_fkey  FOREIGN KEY (tenant_id, client_id) REFERENCES parako.clients (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT interactions_session_fkey FOREIGN KEY (tenant_id, session_id) REFERENCES parako.sessions (tenant_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE parako.interactions IS 'request is the validated authorization request as a form; it is run again when the person has finished.';
SELECT parako.shard_table('parako.interactions');
ALTER TABLE parako.interactions ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_boundary ON parako.interactions AS RESTRICTIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
CREATE POLICY tenant_access ON parako.interactions AS PERMISSIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
GRANT SELECT, INSERT, UPDATE, DELETE ON parako.interactions TO parako_app;
CREATE INDEX interactions_expires_at_idx ON parako.interactions (tenant_id, expires_at);

CREATE TABLE parako.consents (
    tenant_id  uuid        NOT NULL DEFAULT parako.current_tenant() REFERENCES parako.tenants (id) ON DELETE CASCADE,
    id         uuid        NOT NULL,
    user_id    uuid        NOT NULL,
    client_id  text        NOT NULL,
    scopes     text[]      NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT consents_pkey            PRIMARY KEY (tenant_id, id),
    CONSTRAINT consents_user_client_key UNIQUE (tenant_id, user_id, client_id),
    CONSTRAINT consents_user_fkey       FOREIGN KEY (tenant_id, user_id) REFERENCES parako.users (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT consents_client_fkey     FOREIGN KEY (tenant_id, client_id) REFERENCES parako.clients (tenant_id, id) ON DELETE CASCADE
);
SELECT parako.shard_table('parako.consents');
ALTER TABLE parako.consents ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_boundary ON parako.consents AS RESTRICTIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
CREATE POLICY tenant_access ON parako.consents AS PERMISSIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
GRANT SELECT, INSERT, UPDATE, DELETE ON parako.consents TO parako_app;

-- +goose Down
SET LOCAL lock_timeout = '3s';
DROP TABLE parako.consents;
DROP TABLE parako.interactions;
DROP TABLE parako.sessions;
