-- +goose Up
-- What is promised of the trail and of those who may read it. The objects themselves come with the next migration.
SET LOCAL lock_timeout = '3s';

-- +goose StatementBegin
DO $views$
BEGIN

CREATE VIEW audit.promised_columns (table_name, columns) WITH (security_invoker = true) AS
VALUES ('tenants'::text, '{slug,display_name,status,issuer_url,domain,revision,created_at,updated_at}'::text[]),
       ('audit_events', '{id,occurred_at,type,status,actor_type,actor_id,target_type,target_id,client_id,request_id,ip,user_agent,detail}'),
       ('audit_seals', '{seal_no,events,first_at,last_at,root,horizon,sealed_at,previous,hash}'),
       ('audit_leaves', '{last_at,seal_no,event_ids,hashes}'),
       ('audit_drops', '{partition,until,dropped_at}'),
       ('data_keys', '{id,master_key_id,created_at}'),
       ('signing_keys', '{id,kid,alg,status,promoted,public_jwk,created_at,rotated_at}'),
       ('tenant_settings', '{id,section,version,updated_at}'),
       ('users', '{id,username,roles,account_enabled,last_login_at,created_at,updated_at}'),
       ('clients', '{id,client_name,application_type,preset,active,token_endpoint_auth_method,previous_secret_expires_at,redirect_uris,post_logout_redirect_uris,grant_types,response_types,scope,allowed_resources,resources_scopes,require_pkce,is_internal_client,created_at,updated_at}'),
       ('sessions', '{id,user_id,auth_time,acr,amr,ip,user_agent,created_at,last_seen_at,expires_at,ended_at}'),
       ('consents', '{id,user_id,client_id,scopes,created_at,updated_at}'),
       ('grants', '{id,client_id,user_id,session_id,scopes,resources,auth_time,acr,amr,created_at,expires_at,revoked_at}'),
       ('access_tokens', '{grant_id,client_id,scopes,resources,created_at,expires_at,revoked_at}'),
       ('refresh_tokens', '{grant_id,created_at,expires_at,used_at}');
COMMENT ON VIEW audit.promised_columns IS 'What auditors may read besides the tenant of a row. No digest, no key, no password, no value of a setting. Of a table that is not here they can count the rows.';

CREATE VIEW audit.promised_tenant_views (view_name) WITH (security_invoker = true) AS
VALUES ('events'::text),
       ('logins'),
       ('admin_changes'),
       ('keys'),
       ('authorizations'),
       ('token_issuance'),
       ('configuration_history'),
       ('seals'),
       ('seal_status'),
       ('drops'),
       ('partitions'),
       ('tenant_sizes');
COMMENT ON VIEW audit.promised_tenant_views IS 'The views that the login of a tenant may read.';

CREATE OR REPLACE VIEW audit.promised_scopes (table_name, tenant_column) WITH (security_invoker = true) AS
VALUES ('tenants'::text, 'id'::text),
       ('tenant_locators', NULL), -- it is read to find the tenant
       ('audit_drops', NULL); -- a partition holds the events of all tenants

CREATE OR REPLACE VIEW audit.promised_append_only (table_name) WITH (security_invoker = true) AS
VALUES ('audit_events'::text),
       ('audit_seals'),
       ('audit_leaves');

CREATE OR REPLACE VIEW audit.promised_roles (role_name) WITH (security_invoker = true) AS
VALUES ('parako_app'::text),
       ('parako_platform'),
       ('parako_auditor'),
       ('parako_tenant_auditor');

CREATE OR REPLACE VIEW audit.promised_functions (function, callers, language, volatility, body) WITH (security_invoker = true) AS
VALUES ('parako.current_tenant()'::text, '{parako_app,parako_platform}'::text[], 'sql'::text, 's'::"char",
        'SELECT pg_catalog.current_setting(''app.tenant_id'')::pg_catalog.uuid'::text),
       ('parako.set_tenant(uuid)', '{parako_app,parako_platform}', 'plpgsql', 'v',
        'BEGIN IF tenant IS NULL THEN RAISE EXCEPTION ''set_tenant needs a tenant'' USING ERRCODE = ''null_value_not_allowed''; END IF; '
        'EXECUTE pg_catalog.format(''SET LOCAL app.tenant_id = %L'', tenant); END'),
       ('parako.set_locator(text, text)', '{parako_app}', 'plpgsql', 'v',
        'BEGIN EXECUTE pg_catalog.format(''SET LOCAL app.locator = %L'', kind || '':'' || name); END'),
       ('parako.login_tenant()', '{parako_tenant_auditor}', 'sql', 's',
        'SELECT pg_catalog.substring(current_user::pg_catalog.text, ''^parako_tenant_([0-9a-f]{32})(?:_[a-z0-9]+)?$'')::pg_catalog.uuid'),
       ('audit.leaf(audit_events)', '{parako_app,parako_auditor,parako_tenant_auditor}', 'sql', 's', 'sha256:7a9e96a5d18ffdfc00cccff4099fb75dfd0b380ea667de0684fa6294b750ec4f'),
       ('audit.merkle_root(bytea[])', '{parako_app,parako_auditor,parako_tenant_auditor}', 'plpgsql', 'i', 'sha256:0c0366255acb87cb6e10cbd37b20f563b2bf6d3ee7bfff01e0779c5afc9a26bd'),
       ('audit.seal_hash(audit_seals)', '{parako_app,parako_auditor,parako_tenant_auditor}', 'sql', 's', 'sha256:96840015ed531a886f4ccdc49aaf70c589a060a7d9b83de5d33b49a32f42bdd7'),
       ('audit.seal(uuid)', '{parako_app}', 'plpgsql', 'v', 'sha256:4210603739074268a8814d1900a672a3384ed15e5dee0484b6d79341eaefae0e'),
       ('audit.verify(uuid, timestamp with time zone, timestamp with time zone)', '{parako_app,parako_auditor,parako_tenant_auditor}', 'plpgsql', 's', 'sha256:571b71c46f802d9747752b3418782146796cbba4787874547f9e451126667bbc'),
       ('audit.count_rows()', '{parako_app,parako_auditor,parako_tenant_auditor}', 'plpgsql', 's', 'sha256:1e7e9a850b0aa2c2d77c0a254e6169b75300afffee7a4bb6f754aafccf0623b1'),
       ('audit.extend(integer)', '{}', 'plpgsql', 'v', NULL), -- only the owner runs these
       ('audit.expire(timestamp with time zone)', '{}', 'plpgsql', 'v', NULL),
       ('parako.show_auditors(regclass)', '{}', 'plpgsql', 'v', NULL),
       ('parako.shard_table(regclass, text)', '{}', 'plpgsql', 'v', NULL),
       ('parako.reference_table(regclass)', '{}', 'plpgsql', 'v', NULL);

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

CREATE OR REPLACE VIEW audit.grants (object, table_name, column_name, role_name, privilege, grantable) WITH (security_invoker = true) AS
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
       AND NOT a.attisdropped -- PostgreSQL keeps the privileges, and nobody can use them
     UNION ALL -- without a list of its own a function may be called by everybody
    SELECT format('%I.%I(%s)', s.nspname, p.proname, replace(oidvectortypes(p.proargtypes), 'parako.', '')), NULL, NULL, p.proowner,
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

CREATE OR REPLACE VIEW audit.policy_findings (check_no, object, finding) WITH (security_invoker = true) AS
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
   AND NOT (d.refclassid = 'pg_proc'::regclass AND d.refobjid IN (to_regprocedure('parako.current_tenant()'), to_regprocedure('parako.login_tenant()')));

CREATE OR REPLACE VIEW audit.role_findings (check_no, object, finding) WITH (security_invoker = true) AS
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
 UNION ALL -- The logins of tenants: what one may see stands in its name.
SELECT 32, 'role ' || r.rolname, f.fault
  FROM pg_auth_members AS m
  JOIN pg_roles AS r ON r.oid = m.member
 CROSS JOIN LATERAL (VALUES
       (r.rolname !~ '^parako_tenant_[0-9a-f]{32}(_[a-z0-9]+)?$', 'it is a member of parako_tenant_auditor and its name tells no tenant'),
       (m.admin_option, 'it may make others members of parako_tenant_auditor'),
       (r.rolsuper OR r.rolbypassrls OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication, 'it is for one tenant and has SUPERUSER, BYPASSRLS, CREATEROLE, CREATEDB or REPLICATION'),
       (EXISTS (SELECT FROM pg_auth_members AS o WHERE o.member = r.oid AND o.roleid <> m.roleid), 'it is for one tenant and a member of another role'),
       (EXISTS (SELECT FROM pg_auth_members AS o WHERE o.roleid = r.oid), 'it is for one tenant and has members')) AS f (applies, fault)
 WHERE pg_get_userbyid(m.roleid) = 'parako_tenant_auditor'
   AND NOT (r.oid IN (SELECT nspowner FROM pg_namespace WHERE nspname = 'parako')) -- who created the role is made its administrator
   AND f.applies
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

CREATE OR REPLACE VIEW audit.code_findings (check_no, object, finding) WITH (security_invoker = true) AS
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
    SELECT p.*, n.nspname, l.lanname, format('%I.%I(%s)', n.nspname, p.proname, replace(oidvectortypes(p.proargtypes), 'parako.', '')) AS object
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
    OR CASE WHEN w.body LIKE 'sha256:%' THEN 'sha256:' || encode(sha256(convert_to(regexp_replace(btrim(f.prosrc, E' \t\r\n'), '\s+', ' ', 'g'), 'UTF8')), 'hex')
            ELSE regexp_replace(btrim(f.prosrc, E' \t\r\n'), '\s+', ' ', 'g')
       END <> w.body;

CREATE OR REPLACE VIEW audit.checks (check_no, check_name) WITH (security_invoker = true) AS
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
       (31, 'roles create nothing'),
       (32, 'logins of tenants are bound to one');

COMMENT ON VIEW audit.promised_functions IS 'Every function of schemas parako and audit: who besides its owner may call it, and its text with white space folded, or the SHA-256 of that. NULL: the text does not matter.';

END
$views$;
-- +goose StatementEnd

-- +goose Down
SET LOCAL lock_timeout = '3s';
-- As 00010 made them.
-- +goose StatementBegin
DO $views$
BEGIN

CREATE OR REPLACE VIEW audit.promised_scopes (table_name, tenant_column) WITH (security_invoker = true) AS
VALUES ('tenants'::text, 'id'::text),
       ('tenant_locators', NULL); -- it is read to find the tenant

CREATE OR REPLACE VIEW audit.promised_append_only (table_name) WITH (security_invoker = true) AS
VALUES ('audit_events'::text);

CREATE OR REPLACE VIEW audit.promised_roles (role_name) WITH (security_invoker = true) AS
VALUES ('parako_app'::text),
       ('parako_platform'),
       ('parako_auditor');

CREATE OR REPLACE VIEW audit.promised_functions (function, callers, language, volatility, body) WITH (security_invoker = true) AS
VALUES ('parako.current_tenant()'::text, '{parako_app,parako_platform}'::text[], 'sql'::text, 's'::"char",
        'SELECT pg_catalog.current_setting(''app.tenant_id'')::pg_catalog.uuid'::text),
       ('parako.set_tenant(uuid)', '{parako_app,parako_platform}', 'plpgsql', 'v',
        'BEGIN IF tenant IS NULL THEN RAISE EXCEPTION ''set_tenant needs a tenant'' USING ERRCODE = ''null_value_not_allowed''; END IF; '
        'EXECUTE pg_catalog.format(''SET LOCAL app.tenant_id = %L'', tenant); END'),
       ('parako.set_locator(text, text)', '{parako_app}', 'plpgsql', 'v',
        'BEGIN EXECUTE pg_catalog.format(''SET LOCAL app.locator = %L'', kind || '':'' || name); END'),
       ('parako.shard_table(regclass, text)', '{}', 'plpgsql', 'v', NULL), -- only the owner runs these two
       ('parako.reference_table(regclass)', '{}', 'plpgsql', 'v', NULL);

CREATE OR REPLACE VIEW audit.promised_policies (table_name, role_name, permissive, command, using_expression, check_expression) WITH (security_invoker = true) AS
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

CREATE OR REPLACE VIEW audit.grants (object, table_name, column_name, role_name, privilege, grantable) WITH (security_invoker = true) AS
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

CREATE OR REPLACE VIEW audit.policy_findings (check_no, object, finding) WITH (security_invoker = true) AS
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

CREATE OR REPLACE VIEW audit.role_findings (check_no, object, finding) WITH (security_invoker = true) AS
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

CREATE OR REPLACE VIEW audit.code_findings (check_no, object, finding) WITH (security_invoker = true) AS
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

CREATE OR REPLACE VIEW audit.checks (check_no, check_name) WITH (security_invoker = true) AS
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
COMMENT ON VIEW audit.promised_functions IS 'Every function of schema parako: who besides its owner may call it, and its text with white space folded. NULL: the text does not matter.';

DROP VIEW audit.promised_tenant_views, audit.promised_columns;

END
$views$;
-- +goose StatementEnd
