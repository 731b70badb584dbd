-- +goose Up
-- Who may read the trail: parako_auditor, of every tenant, and the logins of single tenants. Neither can read a secret: their
-- grants are columns, and the views of schema audit read with the rights of whoever asks.
SET LOCAL lock_timeout = '3s';

-- +goose StatementBegin
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'parako_tenant_auditor') THEN
        RETURN;
    END IF;
    IF NOT (SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        RAISE EXCEPTION 'role parako_tenant_auditor does not exist and % may not create roles', current_user
            USING HINT = 'Create it first: CREATE ROLE parako_tenant_auditor NOLOGIN NOINHERIT NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE;';
    END IF;
    CREATE ROLE parako_tenant_auditor NOLOGIN NOINHERIT NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION;
END
$$;
-- +goose StatementEnd

-- The tenant of the login itself: parako_tenant_<id without hyphens>[_<label>], a member of parako_tenant_auditor. Nothing
-- that the session can set has a say. Any other name has no tenant.
-- +goose StatementBegin
CREATE FUNCTION parako.login_tenant() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT pg_catalog.substring(current_user::pg_catalog.text, '^parako_tenant_([0-9a-f]{32})(?:_[a-z0-9]+)?$')::pg_catalog.uuid $$;
-- +goose StatementEnd

-- Opens a table of tenants to auditors, for the columns of audit.promised_columns. Each migration that creates such a table
-- calls it after the grants to parako_app.
-- lint: allow policy: it is given the new table
-- +goose StatementBegin
CREATE FUNCTION parako.show_auditors(rel regclass) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    tenant  text := CASE WHEN rel = 'parako.tenants'::regclass THEN 'id' ELSE 'tenant_id' END;
    columns text;
BEGIN
    SELECT string_agg(quote_ident(c.name), ', ') INTO columns
      FROM (SELECT tenant AS name
             UNION ALL
            SELECT unnest(p.columns)
              FROM audit.promised_columns AS p
              JOIN pg_class AS r ON r.oid = rel AND r.relname = p.table_name) AS c;
    EXECUTE format('CREATE POLICY auditor_read ON %s AS PERMISSIVE FOR SELECT TO parako_auditor USING (true)', rel);
    EXECUTE format('CREATE POLICY tenant_auditor_boundary ON %s AS RESTRICTIVE FOR SELECT TO parako_tenant_auditor USING (%I = parako.login_tenant())', rel, tenant);
    EXECUTE format('CREATE POLICY tenant_auditor_read ON %s AS PERMISSIVE FOR SELECT TO parako_tenant_auditor USING (%I = parako.login_tenant())', rel, tenant);
    EXECUTE format('GRANT SELECT (%s) ON %s TO parako_auditor, parako_tenant_auditor', columns, rel);
END
$$;
-- +goose StatementEnd

-- How many rows each tenant has in each table, of those that the caller may count.
-- +goose StatementBegin
CREATE FUNCTION audit.count_rows() RETURNS TABLE (table_name text, tenant_id uuid, rows bigint, row_bytes bigint)
    LANGUAGE plpgsql STABLE
    AS $$
DECLARE
    counted record;
BEGIN
    FOR counted IN
        SELECT c.oid, c.relname::text AS name, a.attname AS tenant,
               (SELECT sum(pg_total_relation_size(p.relid)) / nullif(sum(greatest(l.reltuples, 0)), 0)
                  FROM pg_partition_tree(c.oid) AS p
                  JOIN pg_class AS l ON l.oid = p.relid
                 WHERE p.isleaf) AS bytes
          FROM pg_class AS c
          JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = CASE c.relname WHEN 'tenants' THEN 'id' ELSE 'tenant_id' END
         WHERE c.relnamespace = 'parako'::regnamespace
           AND c.relkind IN ('r', 'p')
           AND NOT c.relispartition
           AND c.relname <> 'tenant_locators'
           AND has_column_privilege(c.oid, a.attnum, 'SELECT')
         ORDER BY c.relname
    LOOP
        RETURN QUERY EXECUTE format('SELECT %L::text, t.%I, count(*), %L::bigint FROM parako.%I AS t GROUP BY 2', counted.name, counted.tenant, round(counted.bytes), counted.name);
    END LOOP;
END
$$;
-- +goose StatementEnd
REVOKE EXECUTE ON FUNCTION parako.login_tenant(), parako.show_auditors(regclass), audit.count_rows() FROM PUBLIC;

-- lint: allow policy: there was no release yet; two new roles get to read audit_drops
-- +goose StatementBegin
DO $views$
DECLARE
    opened record;
    role   text;
BEGIN

-- What happened.

CREATE VIEW audit.events WITH (security_invoker = true) AS
SELECT e.tenant_id, t.slug AS tenant, e.id, e.occurred_at, e.type, e.status, e.actor_type, e.actor_id, e.target_type, e.target_id, e.client_id,
       e.request_id, e.ip, e.user_agent, e.detail
  FROM parako.audit_events AS e
  LEFT JOIN parako.tenants AS t ON t.id = e.tenant_id;
COMMENT ON VIEW audit.events IS 'What happened, in every tenant that the reader may see. docs/audit.md explains the types.';

CREATE VIEW audit.logins WITH (security_invoker = true) AS
SELECT e.tenant_id, e.tenant, e.occurred_at, e.type, e.status, p.user_id, u.username,
       CASE WHEN e.target_type = 'session' THEN e.target_id END AS session_id,
       e.client_id, e.detail ->> 'method' AS method, e.detail ->> 'reason' AS reason, e.ip, e.user_agent, e.request_id, e.id AS event_id
  FROM audit.events AS e
 CROSS JOIN LATERAL (SELECT CASE 'user' WHEN e.actor_type THEN e.actor_id WHEN e.target_type THEN e.target_id END) AS p (user_id)
  LEFT JOIN parako.users AS u ON u.tenant_id = e.tenant_id AND u.id::text = p.user_id
 WHERE e.type IN ('login.succeeded', 'login.failed', 'logout');
COMMENT ON VIEW audit.logins IS 'Who signed in and out, who failed to, and from where. A failed login with an unknown name has no user.';

CREATE VIEW audit.admin_changes WITH (security_invoker = true) AS
SELECT e.tenant_id, e.tenant, e.occurred_at, e.type, e.status, e.actor_type, e.actor_id, e.target_type, e.target_id, e.detail, e.ip, e.request_id, e.id AS event_id
  FROM audit.events AS e
 WHERE e.actor_type IN ('operator', 'system')
    OR e.type ~ '^(tenant|client|user|key|settings)\.';
COMMENT ON VIEW audit.admin_changes IS 'What operators and the server itself changed: tenants, clients, people, keys, settings.';

CREATE VIEW audit.keys WITH (security_invoker = true) AS
SELECT k.tenant_id, t.slug AS tenant, 'signing'::text AS purpose, k.kid, k.alg, k.status, k.promoted AS signs, k.created_at, k.rotated_at, NULL::text AS master_key_id
  FROM parako.signing_keys AS k
  LEFT JOIN parako.tenants AS t ON t.id = k.tenant_id
 UNION ALL
SELECT k.tenant_id, t.slug, 'sealing', k.id::text, 'A256GCM', 'active', false, k.created_at, NULL, k.master_key_id
  FROM parako.data_keys AS k
  LEFT JOIN parako.tenants AS t ON t.id = k.tenant_id;
COMMENT ON VIEW audit.keys IS 'The life of each key: made, signing, rotated, retired. The private halves cannot be read here.';

CREATE VIEW audit.authorizations WITH (security_invoker = true) AS
SELECT g.tenant_id, t.slug AS tenant, g.id AS grant_id, g.client_id, g.user_id, u.username, g.session_id, g.scopes, g.resources, g.auth_time, g.acr, g.amr,
       g.created_at, g.expires_at, g.revoked_at,
       (SELECT count(*) FROM parako.access_tokens AS a
         WHERE a.tenant_id = g.tenant_id AND a.grant_id = g.id AND a.revoked_at IS NULL AND a.expires_at > now()) AS live_access_tokens,
       (SELECT count(*) FROM parako.refresh_tokens AS r
         WHERE r.tenant_id = g.tenant_id AND r.grant_id = g.id AND r.used_at IS NULL AND r.expires_at > now()) AS live_refresh_tokens
  FROM parako.grants AS g
  LEFT JOIN parako.tenants AS t ON t.id = g.tenant_id
  LEFT JOIN parako.users AS u ON u.tenant_id = g.tenant_id AND u.id = g.user_id;
COMMENT ON VIEW audit.authorizations IS 'Which application holds which rights of which person, since when and until when.';

CREATE VIEW audit.token_issuance WITH (security_invoker = true) AS
SELECT e.tenant_id, e.tenant, (e.occurred_at AT TIME ZONE 'UTC')::date AS day, e.client_id, e.detail ->> 'grant_type' AS grant_type,
       count(*) FILTER (WHERE e.type = 'token.issued') AS issued,
       count(*) FILTER (WHERE e.type = 'token.refused') AS refused,
       count(*) FILTER (WHERE e.type = 'token.revoked') AS revoked,
       count(*) FILTER (WHERE e.type = 'token.reuse_detected') AS reused
  FROM audit.events AS e
 WHERE e.type LIKE 'token.%'
 GROUP BY 1, 2, 3, 4, 5;
COMMENT ON VIEW audit.token_issuance IS 'Tokens issued, refused and revoked, by day in UTC, client and grant type.';

CREATE VIEW audit.configuration_history WITH (security_invoker = true) AS
SELECT e.tenant_id, e.tenant, e.occurred_at, e.type, e.target_type, e.target_id, e.actor_type, e.actor_id, e.detail, s.version AS present_version, e.id AS event_id
  FROM audit.events AS e
  LEFT JOIN parako.tenant_settings AS s ON s.tenant_id = e.tenant_id AND e.target_type = 'settings' AND s.section = e.target_id
 WHERE e.type ~ '^(tenant|settings|key|client)\.';
COMMENT ON VIEW audit.configuration_history IS 'Who changed which section of the settings, which client and which key, and when.';

CREATE VIEW audit.seals WITH (security_invoker = true) AS
SELECT s.tenant_id, t.slug AS tenant, s.seal_no, s.events, s.first_at, s.last_at, encode(s.root, 'hex') AS root, s.horizon, s.sealed_at,
       encode(s.previous, 'hex') AS previous, encode(s.hash, 'hex') AS hash
  FROM parako.audit_seals AS s
  LEFT JOIN parako.tenants AS t ON t.id = s.tenant_id;
COMMENT ON VIEW audit.seals IS 'The seals of the trail. Whoever kept a hash can tell later whether anything before it was changed.';

CREATE VIEW audit.seal_status WITH (security_invoker = true) AS
SELECT t.id AS tenant_id, t.slug AS tenant, h.seal_no, encode(h.hash, 'hex') AS hash, h.horizon, h.sealed_at,
       (SELECT max(e.occurred_at) FROM parako.audit_events AS e WHERE e.tenant_id = t.id) AS last_event_at
  FROM parako.tenants AS t
  LEFT JOIN LATERAL (SELECT s.* FROM parako.audit_seals AS s WHERE s.tenant_id = t.id ORDER BY s.seal_no DESC LIMIT 1) AS h ON true;
COMMENT ON VIEW audit.seal_status IS 'The last seal of each tenant, and when something last happened there.';

CREATE VIEW audit.drops WITH (security_invoker = true) AS
SELECT d.partition, d.until, d.dropped_at
  FROM parako.audit_drops AS d;
COMMENT ON VIEW audit.drops IS 'The months of the trail that are gone because their time was over.';

CREATE VIEW audit.tenant_sizes WITH (security_invoker = true) AS
SELECT c.tenant_id, t.slug AS tenant, c.table_name, c.rows, c.rows * c.row_bytes AS bytes
  FROM audit.count_rows() AS c
  LEFT JOIN parako.tenants AS t ON t.id = c.tenant_id;
COMMENT ON VIEW audit.tenant_sizes IS 'Rows of each tenant in each table. bytes is an estimate: rows times the average of the table with its indexes, as of its last ANALYZE.';

FOR opened IN SELECT t.object::regclass AS rel FROM audit.tables AS t WHERE NOT t.global AND NOT t.partition ORDER BY t.table_name LOOP
    PERFORM parako.show_auditors(opened.rel);
END LOOP;
FOREACH role IN ARRAY ARRAY['parako_auditor', 'parako_tenant_auditor'] LOOP
    EXECUTE format('CREATE POLICY %I ON parako.audit_drops AS PERMISSIVE FOR SELECT TO %I USING (true)', role || '_drops', role);
    EXECUTE format('GRANT SELECT (partition, until, dropped_at) ON parako.audit_drops TO %I', role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION audit.leaf(parako.audit_events), audit.merkle_root(bytea[]), audit.seal_hash(parako.audit_seals),
                    audit.verify(uuid, timestamptz, timestamptz), audit.count_rows() TO %I', role);
END LOOP;
GRANT USAGE ON SCHEMA parako, audit TO parako_tenant_auditor;
GRANT EXECUTE ON FUNCTION parako.login_tenant() TO parako_tenant_auditor;
GRANT EXECUTE ON FUNCTION audit.count_rows() TO parako_app;
GRANT SELECT ON ALL TABLES IN SCHEMA audit TO parako_app, parako_auditor;
FOR opened IN SELECT v.view_name FROM audit.promised_tenant_views AS v LOOP
    EXECUTE format('GRANT SELECT ON audit.%I TO parako_tenant_auditor', opened.view_name);
END LOOP;

END
$views$;
-- +goose StatementEnd

-- +goose Down
SET LOCAL lock_timeout = '3s';
-- +goose StatementBegin
DO $views$
DECLARE
    opened record;
BEGIN


DROP VIEW audit.tenant_sizes, audit.drops, audit.seal_status, audit.seals, audit.configuration_history, audit.token_issuance, audit.authorizations,
    audit.keys, audit.admin_changes, audit.logins, audit.events;
DROP FUNCTION audit.count_rows(), parako.show_auditors(regclass);
FOR opened IN SELECT t.object::regclass AS rel FROM audit.tables AS t WHERE t.table_name <> 'tenant_locators' AND NOT t.partition LOOP
    EXECUTE format('DROP POLICY IF EXISTS auditor_read ON %s', opened.rel);
    EXECUTE format('DROP POLICY IF EXISTS tenant_auditor_boundary ON %s', opened.rel);
    EXECUTE format('DROP POLICY IF EXISTS tenant_auditor_read ON %s', opened.rel);
    EXECUTE format('REVOKE ALL ON %s FROM parako_auditor, parako_tenant_auditor', opened.rel);
END LOOP;
DROP POLICY parako_auditor_drops ON parako.audit_drops;
DROP POLICY parako_tenant_auditor_drops ON parako.audit_drops;
DROP FUNCTION parako.login_tenant();
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA audit FROM parako_auditor, parako_tenant_auditor;
REVOKE SELECT ON audit.partitions, audit.promised_columns, audit.promised_tenant_views FROM parako_app, parako_auditor, parako_tenant_auditor;
REVOKE USAGE ON SCHEMA parako, audit FROM parako_tenant_auditor;

END
$views$;
-- +goose StatementEnd
