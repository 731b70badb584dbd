-- +goose Up
-- audit_events: what happened, append-only, written in the transaction it describes.
SET LOCAL lock_timeout = '3s';
CREATE TABLE parako.audit_events (
    tenant_id   uuid        NOT NULL DEFAULT parako.current_tenant() REFERENCES parako.tenants (id) ON DELETE CASCADE,
    id          uuid        NOT NULL,
    occurred_at timestamptz NOT NULL DEFAULT now(),
    type        text        NOT NULL CONSTRAINT audit_events_type_format CHECK (type ~ '^[a-z_]+(\.[a-z_]+)*$'),
    status      text        NOT NULL CONSTRAINT audit_events_status_known CHECK (status IN ('success', 'failed', 'info', 'warning')),
    actor_type  text        NOT NULL CONSTRAINT audit_events_actor_type_known CHECK (actor_type IN ('user', 'client', 'operator', 'system', 'anonymous')),
    actor_id    text        NOT NULL DEFAULT '',
    target_type text        NOT NULL DEFAULT '',
    target_id   text        NOT NULL DEFAULT '',
    client_id   text        NOT NULL DEFAULT '',
    request_id  text        NOT NULL DEFAULT '',
    ip          text        NOT NULL DEFAULT '',
    user_agent  text        NOT NULL DEFAULT '',
    detail      jsonb       NOT NULL DEFAULT '{}',
    CONSTRAINT audit_events_pkey PRIMARY KEY (tenant_id, id)
);
COMMENT ON TABLE parako.audit_events IS 'No UPDATE and no DELETE is granted to anyone.';
SELECT parako.shard_table('parako.audit_events');
ALTER TABLE parako.audit_events ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_boundary ON parako.audit_events AS RESTRICTIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
CREATE POLICY tenant_access ON parako.audit_events AS PERMISSIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
GRANT SELECT, INSERT ON parako.audit_events TO parako_app;
CREATE INDEX audit_events_occurred_at_idx ON parako.audit_events (tenant_id, occurred_at, id);
-- The platform writes about the tenants it creates; it cannot read what happens inside them.
CREATE POLICY platform_append ON parako.audit_events AS PERMISSIVE FOR INSERT TO parako_platform WITH CHECK (true);
GRANT INSERT ON parako.audit_events TO parako_platform;

-- +goose Down
SET LOCAL lock_timeout = '3s';
DROP TABLE parako.audit_events;
