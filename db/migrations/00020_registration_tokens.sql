-- +goose Up
-- registration_tokens: the initial access tokens with which applications register themselves (RFC 7591 section 1.2).
SET LOCAL lock_timeout = '3s';
CREATE TABLE parako.registration_tokens (
    tenant_id    uuid        NOT NULL DEFAULT parako.current_tenant() REFERENCES parako.tenants (id) ON DELETE CASCADE,
    id           uuid        NOT NULL,
    token_digest bytea       NOT NULL,
    policy       jsonb       NOT NULL DEFAULT '{}',
    max_uses     integer     NOT NULL CONSTRAINT registration_tokens_max_uses_range CHECK (max_uses BETWEEN 1 AND 1000),
    uses         integer     NOT NULL DEFAULT 0,
    note         text        NOT NULL DEFAULT '' CONSTRAINT registration_tokens_note_length CHECK (char_length(note) <= 500),
    created_by   text        NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    revoked_at   timestamptz,
    CONSTRAINT registration_tokens_pkey       PRIMARY KEY (tenant_id, id),
    CONSTRAINT registration_tokens_digest_key UNIQUE (tenant_id, token_digest),
    CONSTRAINT registration_tokens_uses_range CHECK (uses BETWEEN 0 AND max_uses)
);
COMMENT ON TABLE parako.registration_tokens IS 'Each use registers one client; token_digest is that of the token. Without expires_at a token lives until it is used up or revoked.';
COMMENT ON COLUMN parako.registration_tokens.policy IS 'What clients may register with it; an empty object leaves it at what holds for everybody.';
SELECT parako.shard_table('parako.registration_tokens');
CREATE INDEX registration_tokens_expires_at_idx ON parako.registration_tokens (tenant_id, expires_at);
ALTER TABLE parako.registration_tokens ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_boundary ON parako.registration_tokens AS RESTRICTIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
CREATE POLICY tenant_access ON parako.registration_tokens AS PERMISSIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
GRANT SELECT, INSERT, UPDATE, DELETE ON parako.registration_tokens TO parako_app;
SELECT parako.show_auditors('parako.registration_tokens');

-- +goose Down
SET LOCAL lock_timeout = '3s';
DROP TABLE parako.registration_tokens;
