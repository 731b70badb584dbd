-- +goose Up
-- device_codes: requests of devices that have no browser (RFC 8628); an interaction can wait for one.
SET LOCAL lock_timeout = '3s';
CREATE TABLE parako.device_codes (
    tenant_id        uuid        NOT NULL DEFAULT parako.current_tenant() REFERENCES parako.tenants (id) ON DELETE CASCADE,
    id               bytea       NOT NULL,
    user_code_digest bytea       NOT NULL,
    client_id        text        NOT NULL,
    request          text        NOT NULL,
    ip               text        NOT NULL DEFAULT '',
    interval_seconds integer     NOT NULL DEFAULT 5 CONSTRAINT device_codes_interval_positive CHECK (interval_seconds > 0),
    created_at       timestamptz NOT NULL DEFAULT now(),
    expires_at       timestamptz NOT NULL,
    polled_at        timestamptz,
    answered_at      timestamptz,
    grant_id         uuid,
    spent_at         timestamptz,
    CONSTRAINT device_codes_pkey        PRIMARY KEY (tenant_id, id),
    CONSTRAINT device_codes_user_key    UNIQUE (tenant_id, user_code_digest),
    CONSTRAINT device_codes_client_fkey FOREIGN KEY (tenant_id, client_id) REFERENCES parako.clients (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT device_codes_grant_fkey  FOREIGN KEY (tenant_id, grant_id) REFERENCES parako.grants (tenant_id, id) ON DELETE CASCADE
);
COMMENT ON TABLE parako.device_codes IS 'id and user_code_digest are digests of the two codes; request is the validated request as a form. answered_at without grant_id is a refusal. Each of answered_at and spent_at is set by one conditional UPDATE.';
COMMENT ON COLUMN parako.device_codes.interval_seconds IS 'How long the client has to wait between two requests; it grows each time the client does not.';
SELECT parako.shard_table('parako.device_codes');
CREATE INDEX device_codes_expires_at_idx ON parako.device_codes (tenant_id, expires_at);
CREATE INDEX device_codes_grant_idx ON parako.device_codes (tenant_id, grant_id);
ALTER TABLE parako.device_codes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_boundary ON parako.device_codes AS RESTRICTIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
CREATE POLICY tenant_access ON parako.device_codes AS PERMISSIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
GRANT SELECT, INSERT, UPDATE, DELETE ON parako.device_codes TO parako_app;
SELECT parako.show_auditors('parako.device_codes');

ALTER TABLE parako.interactions ADD COLUMN device_id bytea;
COMMENT ON COLUMN parako.interactions.device_id IS 'The device code that the answer is for, instead of an authorization request.';

-- +goose Down
SET LOCAL lock_timeout = '3s';
ALTER TABLE parako.interactions DROP COLUMN device_id;
DROP TABLE parako.device_codes;
