-- +goose Up
-- Schema audit: the isolation of tenants as questions to the catalog, so that it can be proved and not only believed.
SET LOCAL lock_timeout = '3s';

CREATE SCHEMA audit;
GRANT USAGE ON SCHEMA audit TO parako_app, parako_auditor;
COMMENT ON SCHEMA audit IS 'audit.isolation_findings has no rows while tenants are isolated; audit.access tells who could see what; audit.promised_* is what both compare with.';

-- sqlc looks up every name that a view uses and does not know the catalog; it does not look into a DO block.
-- +goose StatementBegin
DO $views$
BEGIN

-- What is promised. Whatever the catalog holds beyond these lists is a finding. A migration that needs an exception
-- replaces the one view that lists its kind, where a reviewer sees it.

CREATE VIEW audit.promised_scopes (table_name, tenant_column) WITH (security_invoker = true) AS
VALUES ('tenants'::text, 'id'::text),
       ('tenant_locators', NULL); -- it is read to find the tenant
COMMENT ON VIEW audit.promised_scopes IS 'The tables whose tenant is not in tenant_id. NULL: the table belongs to no tenant.';

CREATE VIEW audit.promised_append_only (table_name) WITH (security_invoker = true) AS
VALUES ('audit_events'::text);
COMMENT ON VIEW audit.promised_append_only IS 'The tables whose rows nobody may change or remove.';

CREATE VIEW audit.promised_roles (role_name) WITH (security_invoker = true) AS
VALUES ('parako_app'::text),
       ('parako_platform'),
       ('parako_auditor');
COMMENT ON VIEW audit.promised_roles IS 'The roles that row-level security has to bind: without power, without membership, without property.';

CREATE VIEW audit.promised_functions (function, callers, language, volatility, body) WITH (security_invoker = true) AS
VALUES ('parako.current_tenant()'::text, '{parako_app,parako_platform}'::text[], 'sql'::text, 's'::"char",
        'SELECT pg_catalog.current_setting(''app.tenant_id'')::pg_catalog.uuid'::text),
       ('parako.set_tenant(uuid)', '{parako_app,parako_platform}', 'plpgsql', 'v',
        'BEGIN IF tenant IS NULL THEN RAISE EXCEPTION ''set_tenant needs a tenant'' USING ERRCODE = ''null_value_not_allowed''; END IF; '
        'EXECUTE pg_catalog.format(''SET LOCAL app.tenant_id = %L'', tenant); END'),
       ('parako.set_locator(text, text)', '{parako_app}', 'plpgsql', 'v',
        'BEGIN EXECUTE pg_catalog.format(''SET LOCAL app.locator = %L'', kind || '':'' || name); END'),
       ('parako.shard_table(regclass, text)', '{}', 'plpgsql', 'v', NULL), -- only the owner runs these two
       ('parako.reference_table(regclass)', '{}', 'plpgsql', 'v', NULL);
COMMENT ON VIEW audit.promised_functions IS 'Every function of schema parako: who besides its owner may call it, and its text with white space folded. NULL: the text does not matter.';

CREATE VIEW audit.promised_versions (major, required, recommended) WITH (security_invoker = true) AS
VALUES (15, 9, 14), -- required: CVE-2024-10976, recommended: CVE-2025-8713
       (16, 5, 10),
       (17, 1, 6);
COMMENT ON VIEW audit.promised_versions IS 'The first minor versions in which known holes of row-level security are closed. Later major versions began without them.';

-- What there is.

CREATE VIEW audit.server (version) WITH (security_invoker = true) AS
SELECT current_setting('server_version_num')::int;
COMMENT ON VIEW audit.server IS 'The version of the server as a number: 150018 is 15.18.';

CREATE VIEW audit.tables WITH (security_invoker = true) AS
SELECT c.oid                                               AS table_id,
       c.relname::text                                     AS table_name,
       format('%I.%I', n.nspname, c.relname)               AS object,
       c.relrowsecurity                                    AS enabled,
       c.relforcerowsecurity                               AS forced,
       c.relispartition                                    AS partition,
       s.table_name IS NOT NULL AND s.tenant_column IS NULL AS global,
       coalesce(s.tenant_column, 'tenant_id')              AS tenant_column,
       a.attnum                                            AS tenant_attnum,
       a.attnotnull                                        AS tenant_required,
       format_type(a.atttypid, a.atttypmod)                AS tenant_type,
       d.oid                                               AS default_id,
       replace(pg_get_expr(d.adbin, d.adrelid), 'parako.', '') AS tenant_default
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  LEFT JOIN audit.promised_scopes AS s ON s.table_name = c.relname
  LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid
                             AND NOT a.attisdropped
                             AND a.attname = CASE WHEN s.table_name IS NULL THEN 'tenant_id' ELSE s.tenant_column END
  LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE n.nspname = 'parako'
   AND c.relkind IN ('r', 'p');
COMMENT ON VIEW audit.tables IS 'Every table of schema parako, whether its rows are protected, and by which column.';

CREATE VIEW audit.policies WITH (security_invoker = true) AS
SELECT t.table_id,
       t.table_name,
       p.oid                                               AS policy_id,
       p.polname::text                                     AS policy_name,
       format('%I ON %s', p.polname, t.object)             AS object,
       m.role_id,
       CASE m.role_id WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(m.role_id)::text END AS role_name,
       p.polpermissive                                     AS permissive,
       CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END AS command,
       replace(pg_get_expr(p.polqual, p.polrelid), 'parako.', '')      AS using_expression,
       replace(pg_get_expr(p.polwithcheck, p.polrelid), 'parako.', '') AS check_expression
  FROM audit.tables AS t
  JOIN pg_policy AS p ON p.polrelid = t.table_id
 CROSS JOIN LATERAL unnest(p.polroles) AS m (role_id);
COMMENT ON VIEW audit.policies IS 'Every policy on a table of schema parako, once for each role it is for. The prefix parako. is left out of the expressions: whether PostgreSQL prints it depends on search_path.';

CREATE VIEW audit.promised_policies (table_name, role_name, permissive, command, using_expression, check_expression) WITH (security_invoker = true) AS
SELECT t.table_name, 'parako_app'::text, pair.permissive, 'ALL'::text,
       format('(%I = current_tenant())', t.tenant_column), format('(%I = current_tenant())', t.tenant_column)
  FROM audit.tables AS t
 CROSS JOIN (VALUES (true), (false)) AS pair (permissive)
 WHERE NOT t.global
   AND NOT t.partition -- it is reached through its parent and has no grants
 UNION ALL
VALUES ('tenants', 'parako_platform', true, 'ALL', 'true', 'true'),
       ('tenant_locators', 'parako_platform', true, 'ALL', 'true', 'true'),
       ('tenant_locators', 'parako_app', true, 'SELECT', '(((kind || '':''::text) || name) = current_setting(''app.locator''::text, true))', NULL),
       ('tenant_locators', 'parako_app', false, 'SELECT', '(((kind || '':''::text) || name) = current_setting(''app.locator''::text, true))', NULL),
       ('audit_events', 'parako_platform', true, 'INSERT', NULL, 'true');
COMMENT ON VIEW audit.promised_policies IS 'Every policy there shall be: for each table of a tenant a pair, and the few of the platform. The restrictive one of a pair still holds when a careless permissive one appears beside it.';

CREATE VIEW audit.promised_grants (object, column_name, role_name, privilege) WITH (security_invoker = true) AS
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
VALUES ('schema parako', NULL, 'parako_app', 'USAGE'),
       ('schema parako', NULL, 'parako_platform', 'USAGE'),
       ('schema parako', NULL, 'parako_auditor', 'USAGE'),
       ('schema audit', NULL, 'parako_app', 'USAGE'),
       ('schema audit', NULL, 'parako_auditor', 'USAGE'),
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
       ('parako.audit_events', NULL, 'parako_platform', 'INSERT');
COMMENT ON VIEW audit.promised_grants IS 'Every privilege there may be besides those of the owner.';

CREATE VIEW audit.grants (object, table_name, column_name, role_name, privilege, grantable) WITH (security_invoker = true) AS
WITH spaces AS (
    SELECT * FROM pg_namespace WHERE nspname IN ('parako', 'audit')
), lists (object, table_name, column_name, owner, acl) AS (
    SELECT format('schema %I', s.nspname), NULL::text, NULL::text, s.nspowner, s.nspacl
      FROM spaces AS s
     UNION ALL
    SELECT format('%I.%I', s.nspname, c.relname), c.relname::text, NULL, c.relowner, c.relacl
      FROM spaces AS s
      JOIN pg_class AS c ON c.relnamespace = s.oid
     UNION ALL
    SELECT format('%I.%I', s.nspname, c.relname), c.relname::text, a.attname::text, c.relowner, a.attacl
      FROM spaces AS s
      JOIN pg_class AS c ON c.relnamespace = s.oid
      JOIN pg_attribute AS a ON a.attrelid = c.oid
     WHERE a.attacl IS NOT NULL
     UNION ALL -- without a list of its own a function may be called by everybody
    SELECT format('%I.%I(%s)', s.nspname, p.proname, oidvectortypes(p.proargtypes)), NULL, NULL, p.proowner,
           coalesce(p.proacl, acldefault('f', p.proowner))
      FROM spaces AS s
      JOIN pg_proc AS p ON p.pronamespace = s.oid
     UNION ALL -- what a future object would get
    SELECT format('default privileges of %I%s', pg_get_userbyid(d.defaclrole), ' in schema ' || s.nspname), NULL, NULL, d.defaclrole, d.defaclacl
      FROM pg_default_acl AS d
      LEFT JOIN spaces AS s ON s.oid = d.defaclnamespace
     WHERE s.oid IS NOT NULL
        OR d.defaclnamespace = 0 AND d.defaclrole IN (SELECT nspowner FROM spaces)
)
SELECT l.object, l.table_name, l.column_name,
       CASE e.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(e.grantee)::text END,
       e.privilege_type, e.is_grantable
  FROM lists AS l
 CROSS JOIN LATERAL aclexplode(l.acl) AS e
 WHERE e.grantee <> l.owner;
COMMENT ON VIEW audit.grants IS 'Every privilege that somebody other than the owner holds on schema parako or audit, on what is inside, or by default on what will be.';

-- What is wrong, one view a subject. Each has the columns check_no, object and finding.

CREATE VIEW audit.table_findings (check_no, object, finding) WITH (security_invoker = true) AS
SELECT 1, t.object, 'row-level security is ' || CASE WHEN t.enabled THEN 'not forced upon the owner' ELSE 'disabled' END
  FROM audit.tables AS t
 WHERE NOT (t.enabled AND t.forced)
 UNION ALL
SELECT 2, t.object, format('it has no column %I and is not listed as global', t.tenant_column)
  FROM audit.tables AS t
 WHERE NOT t.global
   AND t.tenant_attnum IS NULL
 UNION ALL
SELECT 3, t.object, format('%I %s', t.tenant_column, f.fault)
  FROM audit.tables AS t
 CROSS JOIN LATERAL (VALUES
       (NOT t.tenant_required, 'may be NULL'),
       (t.tenant_type <> 'uuid', 'is of type ' || t.tenant_type || ', not uuid'),
       (t.tenant_column = 'tenant_id'
        AND (t.tenant_default IS DISTINCT FROM 'current_tenant()'
             OR NOT EXISTS (SELECT
                              FROM pg_depend AS d
                             WHERE d.classid = 'pg_attrdef'::regclass
                               AND d.objid = t.default_id
                               AND d.refclassid = 'pg_proc'::regclass
                               AND d.refobjid = to_regprocedure('parako.current_tenant()'))),
        'does not default to parako.current_tenant()')) AS f (applies, fault)
 WHERE NOT t.global
   AND t.tenant_attnum IS NOT NULL
   AND f.applies
 UNION ALL
SELECT 22, format('%I.%I', n.nspname, c.relname), format('it %s %s%s', CASE WHEN c.relispartition THEN 'is a partition of' ELSE 'inherits from' END,
       t.object, CASE WHEN n.nspname = 'parako' THEN '' ELSE ' in another schema' END)
  FROM audit.tables AS t
  JOIN pg_inherits AS i ON i.inhparent = t.table_id
  JOIN pg_class AS c ON c.oid = i.inhrelid
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE NOT c.relispartition
    OR n.nspname <> 'parako';
COMMENT ON VIEW audit.table_findings IS 'Tables whose rows are not protected or do not know their tenant.';

CREATE VIEW audit.key_findings (check_no, object, finding) WITH (security_invoker = true) AS
SELECT 8, format('%I ON %s', c.relname, t.object), 'its first column is not ' || t.tenant_column
  FROM audit.tables AS t
  JOIN pg_index AS i ON i.indrelid = t.table_id
  JOIN pg_class AS c ON c.oid = i.indexrelid
 WHERE NOT t.global
   AND (i.indisunique OR i.indisexclusion)
   AND i.indkey[0] IS DISTINCT FROM t.tenant_attnum
 UNION ALL
SELECT 8, t.object, 'it has no primary key'
  FROM audit.tables AS t
 WHERE NOT EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = t.table_id AND i.indisprimary)
 UNION ALL
SELECT 9, format('%I ON %s', k.conname, coalesce(child.object, k.conrelid::regclass::text)), format('it does not pair the tenants of the two tables first (%s)', pg_get_constraintdef(k.oid))
  FROM pg_constraint AS k
  LEFT JOIN audit.tables AS child ON child.table_id = k.conrelid
  LEFT JOIN audit.tables AS parent ON parent.table_id = k.confrelid
 WHERE k.contype = 'f'
   AND (child.table_id IS NOT NULL OR parent.table_id IS NOT NULL)
   AND (k.conkey[1] IS DISTINCT FROM child.tenant_attnum OR k.confkey[1] IS DISTINCT FROM parent.tenant_attnum)
 UNION ALL
SELECT 10, format('%I ON %s', k.conname, t.object), format('its action may change a tenant (%s)', pg_get_constraintdef(k.oid))
  FROM pg_constraint AS k
  JOIN audit.tables AS t ON t.table_id = k.conrelid
 WHERE k.contype = 'f'
   AND (k.confdeltype IN ('n', 'd') OR k.confupdtype NOT IN ('a', 'r'))
 UNION ALL
SELECT 25, format('%I ON %s', c.relname, t.object), 'row-level security keeps an index on an expression from being used'
  FROM audit.tables AS t
  JOIN pg_index AS i ON i.indrelid = t.table_id
  JOIN pg_class AS c ON c.oid = i.indexrelid
 WHERE i.indexprs IS NOT NULL;
COMMENT ON VIEW audit.key_findings IS 'Keys that reach across tenants: a unique key or a foreign key tells one tenant what another has, and neither is subject to policies.';

CREATE VIEW audit.policy_findings (check_no, object, finding) WITH (security_invoker = true) AS
SELECT CASE WHEN w.permissive THEN 4 ELSE 7 END, 'parako.' || w.table_name,
       format('%s has no %s policy FOR %s USING %s WITH CHECK %s', w.role_name,
              CASE WHEN w.permissive THEN 'permissive' ELSE 'restrictive' END, w.command, w.using_expression, w.check_expression)
  FROM (SELECT * FROM audit.promised_policies
        EXCEPT
        SELECT table_name, role_name, permissive, command, using_expression, check_expression FROM audit.policies) AS w
 UNION ALL
SELECT CASE p.role_name WHEN 'PUBLIC' THEN 6 WHEN 'parako_app' THEN 5 ELSE 30 END, p.object,
       format('it is not promised: %s FOR %s TO %s USING %s WITH CHECK %s', CASE WHEN p.permissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
              p.command, p.role_name, p.using_expression, p.check_expression)
  FROM audit.policies AS p
 WHERE NOT EXISTS (SELECT
                     FROM audit.promised_policies AS w
                    WHERE (p.table_name, p.role_name, p.permissive, p.command) = (w.table_name, w.role_name, w.permissive, w.command)
                      AND (p.using_expression, p.check_expression) IS NOT DISTINCT FROM (w.using_expression, w.check_expression))
 UNION ALL -- An expression may read right and mean another function or operator of that name.
SELECT DISTINCT 5, p.object, 'it uses ' || pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid)
  FROM audit.policies AS p
  JOIN pg_depend AS d ON d.classid = 'pg_policy'::regclass AND d.objid = p.policy_id
 WHERE NOT (d.refclassid = 'pg_class'::regclass AND d.refobjid = p.table_id)
   AND NOT (d.refclassid = 'pg_proc'::regclass AND d.refobjid IS NOT DISTINCT FROM to_regprocedure('parako.current_tenant()'));
COMMENT ON VIEW audit.policy_findings IS 'Policies that are missing, and policies beyond the promised ones. Nothing is parsed: an expression is the promised one or a finding, so that a subquery is one too.';

CREATE VIEW audit.grant_findings (check_no, object, finding) WITH (security_invoker = true) AS
SELECT CASE WHEN g.role_name = 'PUBLIC' THEN 18
            WHEN g.privilege IN ('TRUNCATE', 'REFERENCES', 'TRIGGER', 'MAINTAIN') THEN 19
            WHEN g.privilege IN ('UPDATE', 'DELETE') AND g.object IN (SELECT 'parako.' || table_name FROM audit.promised_append_only) THEN 20
            WHEN g.object IN (SELECT object FROM audit.tables WHERE partition) THEN 22
            ELSE 28
       END,
       g.object, format('%s holds %s%s%s', g.role_name, g.privilege, ' (' || g.column_name || ')', CASE WHEN g.grantable THEN ' WITH GRANT OPTION' END)
  FROM (SELECT object, column_name, role_name, privilege, grantable FROM audit.grants
        EXCEPT
        SELECT object, column_name, role_name, privilege, false FROM audit.promised_grants) AS g
 UNION ALL
SELECT 31, 'schema ' || n.nspname, format('%s may create in it', r.rolname)
  FROM audit.promised_roles AS w
  JOIN pg_roles AS r ON r.rolname = w.role_name
 CROSS JOIN pg_namespace AS n
 WHERE n.nspname !~ '^pg_'
   AND has_schema_privilege(r.oid, n.oid, 'CREATE')
 UNION ALL
SELECT 31, 'database ' || current_database(), format('%s may create schemas in it', r.rolname)
  FROM audit.promised_roles AS w
  JOIN pg_roles AS r ON r.rolname = w.role_name
 WHERE has_database_privilege(r.oid, current_database(), 'CREATE');
COMMENT ON VIEW audit.grant_findings IS 'Privileges beyond the promised ones. TRUNCATE and REFERENCES are above row-level security; who may create a function or an operator may have others call it.';

CREATE VIEW audit.role_findings (check_no, object, finding) WITH (security_invoker = true) AS
SELECT 15, 'role ' || w.role_name, 'it does not exist'
  FROM audit.promised_roles AS w
 WHERE NOT EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = w.role_name)
 UNION ALL
SELECT 15, 'role ' || r.rolname, 'it has ' || f.attribute
  FROM audit.promised_roles AS w
  JOIN pg_roles AS r ON r.rolname = w.role_name
 CROSS JOIN LATERAL (VALUES
       (r.rolsuper, 'SUPERUSER'), (r.rolbypassrls, 'BYPASSRLS'), (r.rolcreaterole, 'CREATEROLE'),
       (r.rolcreatedb, 'CREATEDB'), (r.rolreplication, 'REPLICATION'), (r.rolinherit, 'INHERIT')) AS f (applies, attribute)
 WHERE f.applies
 UNION ALL -- The schema's owner, and whoever it can become: FORCE ROW LEVEL SECURITY binds no such role.
SELECT 15, 'role ' || r.rolname, format('it owns schema %s and %s has SUPERUSER or BYPASSRLS', n.nspname, m.rolname)
  FROM pg_namespace AS n
  JOIN pg_roles AS r ON r.oid = n.nspowner
  JOIN pg_roles AS m ON m.rolsuper OR m.rolbypassrls
 WHERE n.nspname IN ('parako', 'audit')
   AND (m.oid = r.oid OR NOT r.rolsuper AND pg_has_role(r.oid, m.oid, 'MEMBER'))
 UNION ALL
SELECT 16, 'role ' || r.rolname, 'it is a member of ' || pg_get_userbyid(m.roleid)
  FROM audit.promised_roles AS w
  JOIN pg_roles AS r ON r.rolname = w.role_name
  JOIN pg_auth_members AS m ON m.member = r.oid
 UNION ALL
SELECT 17, 'role ' || r.rolname, 'it owns ' || pg_describe_object(d.classid, d.objid, d.objsubid)
  FROM audit.promised_roles AS w
  JOIN pg_roles AS r ON r.rolname = w.role_name
  JOIN pg_shdepend AS d ON d.refclassid = 'pg_authid'::regclass AND d.refobjid = r.oid AND d.deptype = 'o'
 WHERE d.dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
 UNION ALL
SELECT 17, o.object, format('it belongs to %s, its schema to %s', pg_get_userbyid(o.owner), pg_get_userbyid(n.nspowner))
  FROM pg_namespace AS n
 CROSS JOIN LATERAL (SELECT format('%I.%I', n.nspname, c.relname), c.relowner
                       FROM pg_class AS c
                      WHERE c.relnamespace = n.oid
                        AND c.relkind NOT IN ('i', 'I', 'c')
                      UNION ALL
                     SELECT format('%I.%I(%s)', n.nspname, p.proname, oidvectortypes(p.proargtypes)), p.proowner
                       FROM pg_proc AS p
                      WHERE p.pronamespace = n.oid) AS o (object, owner)
 WHERE n.nspname IN ('parako', 'audit')
   AND o.owner <> n.nspowner
 UNION ALL
SELECT 21, CASE WHEN s.setrole <> 0 THEN 'role ' || r.rolname WHEN s.setdatabase <> 0 THEN 'database ' || current_database() ELSE 'every role' END,
       'it presets ' || c.setting
  FROM pg_db_role_setting AS s
  LEFT JOIN pg_roles AS r ON r.oid = s.setrole
 CROSS JOIN LATERAL unnest(s.setconfig) AS c (setting)
 WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
   AND c.setting ~ '^(app\.|row_security=|role=|session_replication_role=)'
 UNION ALL
SELECT 21, 'this session', 'app.tenant_id is set outside a transaction of a tenant: by the configuration of the server or the URL of the connection'
 WHERE nullif(current_setting('app.tenant_id', true), '') IS NOT NULL;
COMMENT ON VIEW audit.role_findings IS 'Roles that row-level security would not bind, and tenants that are chosen before anybody chose one.';

CREATE VIEW audit.code_findings (check_no, object, finding) WITH (security_invoker = true) AS
WITH readers AS ( -- what lies in our schemas, or reads from them
    SELECT c.oid, c.relkind, c.reloptions, c.relnamespace, c.relname, format('%I.%I', n.nspname, c.relname) AS object
      FROM pg_class AS c
      JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('v', 'm', 'f')
       AND (n.nspname IN ('parako', 'audit')
            OR EXISTS (SELECT
                         FROM pg_rewrite AS r
                         JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
                         JOIN audit.tables AS t ON t.table_id = d.refobjid
                        WHERE r.ev_class = c.oid))
), functions AS (
    SELECT p.*, n.nspname, l.lanname, format('%I.%I(%s)', n.nspname, p.proname, oidvectortypes(p.proargtypes)) AS object
      FROM pg_proc AS p
      JOIN pg_namespace AS n ON n.oid = p.pronamespace
      JOIN pg_language AS l ON l.oid = p.prolang
     WHERE n.nspname <> 'information_schema'
       AND n.nspname !~ '^pg_'
)
SELECT 11, v.object, 'the view reads as its owner: it lacks security_invoker'
  FROM readers AS v
 WHERE v.relkind = 'v'
   AND NOT EXISTS (SELECT
                     FROM pg_options_to_table(v.reloptions) AS o
                    WHERE o.option_name = 'security_invoker'
                      AND o.option_value::boolean)
 UNION ALL
SELECT 12, v.object, CASE v.relkind WHEN 'm' THEN 'a materialized view' ELSE 'a foreign table' END || ' has no row-level security'
  FROM readers AS v
 WHERE v.relkind IN ('m', 'f')
 UNION ALL
SELECT 13, f.object, 'SECURITY DEFINER: it runs as ' || pg_get_userbyid(f.proowner)
           || CASE WHEN coalesce(array_to_string(f.proconfig, ','), '') ~ 'search_path=' THEN '' ELSE ', in the search_path of its caller' END
  FROM functions AS f
 WHERE f.prosecdef
   AND (f.nspname IN ('parako', 'audit')
        OR EXISTS (SELECT
                     FROM audit.promised_roles AS w
                     JOIN pg_roles AS r ON r.rolname = w.role_name
                    WHERE has_schema_privilege(r.oid, f.pronamespace, 'USAGE')
                      AND has_function_privilege(r.oid, f.oid, 'EXECUTE')))
 UNION ALL
SELECT 14, f.object, 'LEAKPROOF: it sees rows before the policies do'
  FROM functions AS f
 WHERE f.proleakproof
 UNION ALL
SELECT 23, format('%I ON %s', w.rulename, t.object), 'a rule rewrites statements'
  FROM audit.tables AS t
  JOIN pg_rewrite AS w ON w.ev_class = t.table_id
 UNION ALL
SELECT 27, format('%I ON %s', g.tgname, t.object), 'a trigger runs code of ' || g.tgfoid::regproc || ' and stops Citus'
  FROM audit.tables AS t
  JOIN pg_trigger AS g ON g.tgrelid = t.table_id
 WHERE NOT g.tgisinternal
 UNION ALL
SELECT 29, coalesce(f.object, w.function),
       CASE WHEN f.oid IS NULL THEN 'it does not exist'
            WHEN w.function IS NULL THEN 'it is not promised'
            ELSE 'it is not the promised function'
       END
  FROM (SELECT * FROM functions WHERE nspname IN ('parako', 'audit')) AS f
  FULL JOIN audit.promised_functions AS w ON w.function = f.object
 WHERE f.oid IS NULL
    OR w.function IS NULL
    OR (f.lanname, f.provolatile, f.prokind, f.proisstrict, f.prosecdef, f.proconfig) IS DISTINCT FROM
       (w.language, w.volatility, 'f', false, false, NULL)
    OR regexp_replace(btrim(f.prosrc, E' \t\r\n'), '\s+', ' ', 'g') <> w.body;
COMMENT ON VIEW audit.code_findings IS 'Code that would run with other rights than those of the caller, and changes to the functions the policies stand on.';

CREATE VIEW audit.server_findings (check_no, object, finding) WITH (security_invoker = true) AS
SELECT 24, format('publication %I', p.pubname), 'it copies ' || CASE WHEN p.puballtables THEN 'all tables' ELSE string_agg(t.table_name, ', ' ORDER BY t.table_name) END
                                                  || ' for every tenant'
  FROM pg_publication AS p
  JOIN audit.tables AS t ON p.puballtables
    OR EXISTS (SELECT FROM pg_publication_rel AS r WHERE r.prpubid = p.oid AND r.prrelid = t.table_id)
    OR EXISTS (SELECT
                 FROM pg_publication_namespace AS s
                 JOIN pg_namespace AS n ON n.oid = s.pnnspid
                WHERE s.pnpubid = p.oid
                  AND n.nspname = 'parako')
 GROUP BY p.oid, p.pubname, p.puballtables
 UNION ALL
SELECT 26, 'server', format('PostgreSQL %s.%s has holes in its row-level security%s', s.version / 10000, s.version % 10000,
       format(': %s.%s is required, %s.%s recommended', w.major, w.required, w.major, w.recommended))
  FROM audit.server AS s
  LEFT JOIN audit.promised_versions AS w ON w.major = s.version / 10000
 WHERE s.version % 10000 < w.recommended
    OR s.version / 10000 < (SELECT min(major) FROM audit.promised_versions);
COMMENT ON VIEW audit.server_findings IS 'What lies outside the schema: the version of the server, and copies that leave it.';

CREATE VIEW audit.checks (check_no, check_name) WITH (security_invoker = true) AS
VALUES (1, 'row-level security enabled and forced'::text),
       (2, 'every table knows its tenant'),
       (3, 'tenant column is uuid, required and filled in'),
       (4, 'promised policy exists'),
       (5, 'policy is the promised one'),
       (6, 'no policy for PUBLIC'),
       (7, 'restrictive policy exists'),
       (8, 'unique keys begin with the tenant'),
       (9, 'foreign keys stay inside the tenant'),
       (10, 'no action changes a tenant'),
       (11, 'views read as their caller'),
       (12, 'no relation without row-level security'),
       (13, 'no function with the rights of another'),
       (14, 'no function before the policies'),
       (15, 'roles have no power'),
       (16, 'roles are members of nothing'),
       (17, 'roles own nothing'),
       (18, 'nothing granted to PUBLIC'),
       (19, 'no privilege above row-level security'),
       (20, 'append-only tables stay so'),
       (21, 'no tenant is preset'),
       (22, 'no partition or heir is reached directly'),
       (23, 'no rules'),
       (24, 'no publication of tenants'),
       (25, 'no index on an expression'),
       (26, 'server is recent'),
       (27, 'no triggers'),
       (28, 'nothing granted beyond the promise'),
       (29, 'functions are the promised ones'),
       (30, 'no policy for another role'),
       (31, 'roles create nothing');
COMMENT ON VIEW audit.checks IS 'The checks behind audit.isolation_findings. The numbers do not change.';

CREATE VIEW audit.isolation_findings (check_no, check_name, object, finding) WITH (security_invoker = true) AS
SELECT f.check_no, c.check_name, f.object, f.finding
  FROM (SELECT * FROM audit.table_findings
         UNION ALL
        SELECT * FROM audit.key_findings
         UNION ALL
        SELECT * FROM audit.policy_findings
         UNION ALL
        SELECT * FROM audit.grant_findings
         UNION ALL
        SELECT * FROM audit.role_findings
         UNION ALL
        SELECT * FROM audit.code_findings
         UNION ALL
        SELECT * FROM audit.server_findings) AS f
  LEFT JOIN audit.checks AS c USING (check_no)
 ORDER BY f.check_no, f.object, f.finding;
COMMENT ON VIEW audit.isolation_findings IS 'Whatever weakens the isolation of tenants. No rows: it holds as the migrations made it.';

CREATE VIEW audit.access (role_name, table_name, command, columns, reach) WITH (security_invoker = true) AS
SELECT r.rolname::text, t.table_name, c.command,
       CASE WHEN g.on_table THEN 'all'
            WHEN g.somewhere THEN (SELECT string_agg(a.attname, ', ' ORDER BY a.attnum)
                                     FROM pg_attribute AS a
                                    WHERE a.attrelid = t.table_id
                                      AND a.attnum > 0
                                      AND NOT a.attisdropped
                                      AND has_column_privilege(r.oid, t.table_id, a.attnum, c.command))
            ELSE 'none'
       END,
       CASE WHEN NOT g.somewhere THEN 'nothing: no privilege'
            WHEN r.rolsuper THEN 'every tenant: SUPERUSER'
            WHEN r.rolbypassrls THEN 'every tenant: BYPASSRLS'
            WHEN NOT t.enabled THEN 'every tenant: no row-level security'
            WHEN k.owner AND NOT t.forced THEN 'every tenant: owner, not forced'
            WHEN p.opens IS NULL THEN 'nothing: no policy'
            WHEN p.bounds IS NULL THEN CASE p.opens WHEN 'true' THEN 'every tenant: by policy' ELSE p.opens END
            WHEN p.bounds = p.opens THEN p.opens
            ELSE p.opens || ' AND ' || p.bounds
       END
  FROM pg_roles AS r
 CROSS JOIN audit.tables AS t
 CROSS JOIN (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE')) AS c (command)
 CROSS JOIN LATERAL (SELECT pg_has_role(r.oid, o.relowner, 'USAGE') FROM pg_class AS o WHERE o.oid = t.table_id) AS k (owner)
 CROSS JOIN LATERAL (SELECT has_table_privilege(r.oid, t.table_id, c.command),
                            has_table_privilege(r.oid, t.table_id, c.command)
                            OR c.command <> 'DELETE'
                               AND has_any_column_privilege(r.oid, t.table_id, CASE c.command WHEN 'DELETE' THEN 'SELECT' ELSE c.command END)) AS g (on_table, somewhere)
 CROSS JOIN LATERAL (SELECT string_agg(DISTINCT e.condition, ' OR ') FILTER (WHERE p.permissive),
                            string_agg(DISTINCT e.condition, ' AND ') FILTER (WHERE NOT p.permissive)
                       FROM audit.policies AS p
                      CROSS JOIN LATERAL (SELECT CASE c.command WHEN 'INSERT' THEN coalesce(p.check_expression, p.using_expression)
                                                                ELSE p.using_expression END) AS e (condition)
                      WHERE p.table_id = t.table_id
                        AND p.command IN ('ALL', c.command)
                        AND (p.role_id = 0 OR pg_has_role(r.oid, p.role_id, 'USAGE'))) AS p (opens, bounds)
 WHERE r.rolname !~ '^pg_';
COMMENT ON VIEW audit.access IS 'Who could see and do what: each role of the cluster, each table, each command. reach is the condition on the rows.';

GRANT SELECT ON ALL TABLES IN SCHEMA audit TO parako_app, parako_auditor;

END
$views$;
-- +goose StatementEnd

-- +goose Down
SET LOCAL lock_timeout = '3s';
DROP SCHEMA audit CASCADE;
