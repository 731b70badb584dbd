-- +goose Up
-- mails: what is to be told to people by mail.
SET LOCAL lock_timeout = '3s';
CREATE TABLE parako.mails (
    tenant_id  uuid        NOT NULL DEFAULT parako.current_tenant() REFERENCES parako.tenants (id) ON DELETE CASCADE,
    id         uuid        NOT NULL,
    user_id    uuid        NOT NULL,
    kind       text        NOT NULL,
    detail     jsonb       NOT NULL DEFAULT '{}',
    attempts   integer     NOT NULL DEFAULT 0,
    last_error text        NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    tried_at   timestamptz,
    failed_at  timestamptz,
    expires_at timestamptz NOT NULL,
    CONSTRAINT mails_pkey      PRIMARY KEY (tenant_id, id),
    CONSTRAINT mails_user_fkey FOREIGN KEY (tenant_id, user_id) REFERENCES parako.users (tenant_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE parako.mails IS 'A job of schema jobs leads to each row. It is gone when the mail server has taken the mail; failed_at is set when that was given up. The address is the one that the person has when it is sent.';
SELECT parako.shard_table('parako.mails');
CREATE INDEX mails_user_idx ON parako.mails (tenant_id, user_id);
CREATE INDEX mails_failed_idx ON parako.mails (tenant_id, failed_at, id) WHERE failed_at IS NOT NULL;
CREATE INDEX mails_expires_at_idx ON parako.mails (tenant_id, expires_at);
ALTER TABLE parako.mails ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_boundary ON parako.mails AS RESTRICTIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
CREATE POLICY tenant_access ON parako.mails AS PERMISSIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
GRANT SELECT, INSERT, UPDATE, DELETE ON parako.mails TO parako_app;
SELECT parako.show_auditors('parako.mails');

-- +goose Down
SET LOCAL lock_timeout = '3s';
DROP TABLE parako.mails;
