-- +goose Up
-- The life of a tenant: what a suspension ends for good, the issuers that are claimed, and the end, with its grace period.
SET LOCAL lock_timeout = '3s';
ALTER TABLE parako.tenants
    ADD COLUMN revoked_before timestamptz NOT NULL DEFAULT '1970-01-01 00:00:00+00',
    ADD COLUMN delete_after   timestamptz,
    ADD COLUMN deletion       jsonb;
COMMENT ON COLUMN parako.tenants.revoked_before IS 'Sessions, grants, tokens, codes and requests from before are dead. Every change of the status moves it, so that it costs one row whatever there is to end.';
COMMENT ON COLUMN parako.tenants.delete_after IS 'When the tenant is removed with everything it has. Until then it can be restored.';
COMMENT ON COLUMN parako.tenants.deletion IS 'Who asked for the removal and when, and once it has begun what there was: it goes into the certificate.';

-- An issuer of a tenant's own is claimed like a slug or a host: no two tenants have the same.
-- lint: allow drop: what it allows stays allowed
ALTER TABLE parako.tenant_locators DROP CONSTRAINT tenant_locators_kind_known;
ALTER TABLE parako.tenant_locators
    ADD COLUMN held_until timestamptz,
    ADD CONSTRAINT tenant_locators_kind_known CHECK (kind IN ('slug', 'host', 'issuer')) NOT VALID;
COMMENT ON COLUMN parako.tenant_locators.held_until IS 'The slug of a tenant that was removed: until then nobody gets it, because somebody may still trust its issuer. It leads nowhere and belongs to the platform''s tenant.';

-- Who is archived and due can be removed, and nobody else, by the platform alone. What is left of the tenant goes with the row, by
-- its foreign keys: the trail, too, from which no role can take an event.
GRANT DELETE ON parako.tenants TO parako_platform;
-- lint: allow policy: it takes away from what the grant gives
CREATE POLICY platform_deletion ON parako.tenants AS RESTRICTIVE FOR DELETE TO parako_platform
    USING (status = 'archived' AND delete_after <= now());

-- +goose StatementBegin
DO $views$
BEGIN

CREATE OR REPLACE VIEW audit.promised_policies (table_name, role_name, permissive, command, using_expression, check_expression) WITH (security_invoker = true) AS
SELECT t.table_name, 'parako_app'::text, pair.permissive, 'ALL'::text,
       format('(%I = current_tenant())', t.tenant_column), format('(%I = current_tenant())', t.tenant_column)
  FROM audit.tables AS t
 CROSS JOIN (VALUES (true), (false)) AS pair (permissive)
 WHERE NOT t.global
   AND NOT t.partition -- it is reached through its parent and has no grants
 UNION ALL
SELECT t.table_name, 'parako_auditor', true, 'SELECT', 'true', NULL
  FROM audit.tables AS t
 WHERE NOT t.global
   AND NOT t.partition
 UNION ALL
SELECT t.table_name, 'parako_tenant_auditor', pair.permissive, 'SELECT', format('(%I = login_tenant())', t.tenant_column), NULL
  FROM audit.tables AS t
 CROSS JOIN (VALUES (true), (false)) AS pair (permissive)
 WHERE NOT t.global
   AND NOT t.partition
 UNION ALL
VALUES ('tenants', 'parako_platform', true, 'ALL', 'true', 'true'),
       ('tenants', 'parako_platform', false, 'DELETE', '((status = ''archived''::text) AND (delete_after <= now()))', NULL),
       ('tenant_locators', 'parako_platform', true, 'ALL', 'true', 'true'),
       ('tenant_locators', 'parako_app', true, 'SELECT', '(((kind || '':''::text) || name) = current_setting(''app.locator''::text, true))', NULL),
       ('tenant_locators', 'parako_app', false, 'SELECT', '(((kind || '':''::text) || name) = current_setting(''app.locator''::text, true))', NULL),
       ('audit_events', 'parako_platform', true, 'INSERT', NULL, 'true'),
       ('audit_drops', 'parako_app', true, 'SELECT', 'true', NULL),
       ('audit_drops', 'parako_auditor', true, 'SELECT', 'true', NULL),
       ('audit_drops', 'parako_tenant_auditor', true, 'SELECT', 'true', NULL);

CREATE OR REPLACE VIEW audit.promised_grants (object, column_name, role_name, privilege) WITH (security_invoker = true) AS
SELECT t.object, NULL::text, 'parako_app'::text, p.privilege
  FROM audit.tables AS t
  LEFT JOIN audit.promised_append_only AS o USING (table_name)
 CROSS JOIN (VALUES ('SELECT', true), ('INSERT', true), ('UPDATE', false), ('DELETE', false)) AS p (privilege, keeps)
 WHERE t.table_name NOT IN (SELECT s.table_name FROM audit.promised_scopes AS s) -- theirs are listed below
   AND NOT t.partition
   AND (o.table_name IS NULL OR p.keeps)
 UNION ALL
SELECT f.function, NULL, c.role_name, 'EXECUTE'
  FROM audit.promised_functions AS f
 CROSS JOIN LATERAL unnest(f.callers) AS c (role_name)
 UNION ALL
SELECT format('audit.%I', c.relname), NULL, r.role_name, 'SELECT'
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 CROSS JOIN (VALUES ('parako_app'), ('parako_auditor')) AS r (role_name)
 WHERE n.nspname = 'audit'
   AND c.relkind = 'v'
 UNION ALL
SELECT 'audit.' || v.view_name, NULL, 'parako_tenant_auditor', 'SELECT'
  FROM audit.promised_tenant_views AS v
 UNION ALL
SELECT t.object, c.column_name, r.role_name, 'SELECT'
  FROM audit.tables AS t
  LEFT JOIN audit.promised_columns AS p USING (table_name)
 CROSS JOIN LATERAL unnest(coalesce(p.columns, '{}') || CASE WHEN t.global THEN NULL ELSE t.tenant_column END) AS c (column_name)
 CROSS JOIN (VALUES ('parako_auditor'), ('parako_tenant_auditor')) AS r (role_name)
 WHERE NOT t.partition
   AND c.column_name IS NOT NULL
 UNION ALL
VALUES ('schema parako', NULL, 'parako_app', 'USAGE'),
       ('schema parako', NULL, 'parako_platform', 'USAGE'),
       ('schema parako', NULL, 'parako_auditor', 'USAGE'),
       ('schema parako', NULL, 'parako_tenant_auditor', 'USAGE'),
       ('schema audit', NULL, 'parako_app', 'USAGE'),
       ('schema audit', NULL, 'parako_auditor', 'USAGE'),
       ('schema audit', NULL, 'parako_tenant_auditor', 'USAGE'),
       ('parako.tenants', NULL, 'parako_app', 'SELECT'),
       ('parako.tenants', 'revision', 'parako_app', 'UPDATE'),
       ('parako.tenants', 'updated_at', 'parako_app', 'UPDATE'),
       ('parako.tenants', NULL, 'parako_platform', 'SELECT'),
       ('parako.tenants', NULL, 'parako_platform', 'INSERT'),
       ('parako.tenants', NULL, 'parako_platform', 'UPDATE'),
       ('parako.tenants', NULL, 'parako_platform', 'DELETE'),
       ('parako.tenant_locators', NULL, 'parako_app', 'SELECT'),
       ('parako.tenant_locators', NULL, 'parako_platform', 'SELECT'),
       ('parako.tenant_locators', NULL, 'parako_platform', 'INSERT'),
       ('parako.tenant_locators', NULL, 'parako_platform', 'UPDATE'),
       ('parako.tenant_locators', NULL, 'parako_platform', 'DELETE'),
       ('parako.audit_events', NULL, 'parako_platform', 'INSERT'),
       ('parako.audit_drops', 'partition', 'parako_app', 'SELECT'),
       ('parako.audit_drops', 'until', 'parako_app', 'SELECT'),
       ('parako.audit_drops', 'dropped_at', 'parako_app', 'SELECT');

END
$views$;
-- +goose StatementEnd

-- +goose Down
SET LOCAL lock_timeout = '3s';
-- As 00012 made them.
-- +goose StatementBegin
DO $views$
BEGIN

CREATE OR REPLACE VIEW audit.promised_policies (table_name, role_name, permissive, command, using_expression, check_expression) WITH (security_invoker = true) AS
SELECT t.table_name, 'parako_app'::text, pair.permissive, 'ALL'::text,
       format('(%I = current_tenant())', t.tenant_column), format('(%I = current_tenant())', t.tenant_column)
  FROM audit.tables AS t
 CROSS JOIN (VALUES (true), (false)) AS pair (permissive)
 WHERE NOT t.global
   AND NOT t.partition -- it is reached through its parent and has no grants
 UNION ALL
SELECT t.table_name, 'parako_auditor', true, 'SELECT', 'true', NULL
  FROM audit.tables AS t
 WHERE NOT t.global
   AND NOT t.partition
 UNION ALL
SELECT t.table_name, 'parako_tenant_auditor', pair.permissive, 'SELECT', format('(%I = login_tenant())', t.tenant_column), NULL
  FROM audit.tables AS t
 CROSS JOIN (VALUES (true), (false)) AS pair (permissive)
 WHERE NOT t.global
   AND NOT t.partition
 UNION ALL
VALUES ('tenants', 'parako_platform', true, 'ALL', 'true', 'true'),
       ('tenant_locators', 'parako_platform', true, 'ALL', 'true', 'true'),
       ('tenant_locators', 'parako_app', true, 'SELECT', '(((kind || '':''::text) || name) = current_setting(''app.locator''::text, true))', NULL),
       ('tenant_locators', 'parako_app', false, 'SELECT', '(((kind || '':''::text) || name) = current_setting(''app.locator''::text, true))', NULL),
       ('audit_events', 'parako_platform', true, 'INSERT', NULL, 'true'),
       ('audit_drops', 'parako_app', true, 'SELECT', 'true', NULL),
       ('audit_drops', 'parako_auditor', true, 'SELECT', 'true', NULL),
       ('audit_drops', 'parako_tenant_auditor', true, 'SELECT', 'true', NULL);

CREATE OR REPLACE VIEW audit.promised_grants (object, column_name, role_name, privilege) WITH (security_invoker = true) AS
SELECT t.object, NULL::text, 'parako_app'::text, p.privilege
  FROM audit.tables AS t
  LEFT JOIN audit.promised_append_only AS o USING (table_name)
 CROSS JOIN (VALUES ('SELECT', true), ('INSERT', true), ('UPDATE', false), ('DELETE', false)) AS p (privilege, keeps)
 WHERE t.table_name NOT IN (SELECT s.table_name FROM audit.promised_scopes AS s) -- theirs are listed below
   AND NOT t.partition
   AND (o.table_name IS NULL OR p.keeps)
 UNION ALL
SELECT f.function, NULL, c.role_name, 'EXECUTE'
  FROM audit.promised_functions AS f
 CROSS JOIN LATERAL unnest(f.callers) AS c (role_name)
 UNION ALL
SELECT format('audit.%I', c.relname), NULL, r.role_name, 'SELECT'
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 CROSS JOIN (VALUES ('parako_app'), ('parako_auditor')) AS r (role_name)
 WHERE n.nspname = 'audit'
   AND c.relkind = 'v'
 UNION ALL
SELECT 'audit.' || v.view_name, NULL, 'parako_tenant_auditor', 'SELECT'
  FROM audit.promised_tenant_views AS v
 UNION ALL
SELECT t.object, c.column_name, r.role_name, 'SELECT'
  FROM audit.tables AS t
  LEFT JOIN audit.promised_columns AS p USING (table_name)
 CROSS JOIN LATERAL unnest(coalesce(p.columns, '{}') || CASE WHEN t.global THEN NULL ELSE t.tenant_column END) AS c (column_name)
 CROSS JOIN (VALUES ('parako_auditor'), ('parako_tenant_auditor')) AS r (role_name)
 WHERE NOT t.partition
   AND c.column_name IS NOT NULL
 UNION ALL
VALUES ('schema parako', NULL, 'parako_app', 'USAGE'),
       ('schema parako', NULL, 'parako_platform', 'USAGE'),
       ('schema parako', NULL, 'parako_auditor', 'USAGE'),
       ('schema parako', NULL, 'parako_tenant_auditor', 'USAGE'),
       ('schema audit', NULL, 'parako_app', 'USAGE'),
       ('schema audit', NULL, 'parako_auditor', 'USAGE'),
       ('schema audit', NULL, 'parako_tenant_auditor', 'USAGE'),
       ('parako.tenants', NULL, 'parako_app', 'SELECT'),
       ('parako.tenants', 'revision', 'parako_app', 'UPDATE'),
       ('parako.tenants', 'updated_at', 'parako_app', 'UPDATE'),
       ('parako.tenants', NULL, 'parako_platform', 'SELECT'),
       ('parako.tenants', NULL, 'parako_platform', 'INSERT'),
       ('parako.tenants', NULL, 'parako_platform', 'UPDATE'),
       ('parako.tenant_locators', NULL, 'parako_app', 'SELECT'),
       ('parako.tenant_locators', NULL, 'parako_platform', 'SELECT'),
       ('parako.tenant_locators', NULL, 'parako_platform', 'INSERT'),
       ('parako.tenant_locators', NULL, 'parako_platform', 'UPDATE'),
       ('parako.tenant_locators', NULL, 'parako_platform', 'DELETE'),
       ('parako.audit_events', NULL, 'parako_platform', 'INSERT'),
       ('parako.audit_drops', 'partition', 'parako_app', 'SELECT'),
       ('parako.audit_drops', 'until', 'parako_app', 'SELECT'),
       ('parako.audit_drops', 'dropped_at', 'parako_app', 'SELECT');

END
$views$;
-- +goose StatementEnd
REVOKE DELETE ON parako.tenants FROM parako_platform;
DROP POLICY platform_deletion ON parako.tenants;
ALTER TABLE parako.tenant_locators
    DROP COLUMN held_until,
    DROP CONSTRAINT tenant_locators_kind_known,
    ADD CONSTRAINT tenant_locators_kind_known CHECK (kind IN ('slug', 'host'));
ALTER TABLE parako.tenants
    DROP COLUMN deletion,
    DROP COLUMN delete_after,
    DROP COLUMN revoked_before;
