-- +goose Up
-- The audit looks at schema jobs, too: what it holds is of several tenants, so who may do what there is promised and compared.
SET LOCAL lock_timeout = '3s';

-- +goose StatementBegin
DO $views$
BEGIN

CREATE VIEW audit.promised_job_policies (table_name, role_name, permissive, command, using_expression, check_expression) WITH (security_invoker = true) AS
SELECT 'river_job', 'parako_app', pair.permissive, 'INSERT', NULL::text,
       '(args = jsonb_build_object(''tenant_id'', current_tenant(), ''id'', ((args ->> ''id''::text))::uuid))'
  FROM (VALUES (true), (false)) AS pair (permissive)
 UNION ALL
SELECT t.table_name, 'parako_platform', true, 'ALL', 'true', 'true'
  FROM (VALUES ('river_job'), ('river_leader'), ('river_queue')) AS t (table_name);
COMMENT ON VIEW audit.promised_job_policies IS 'Every policy of schema jobs: a tenant adds jobs of its own that hold two ids and sees none; the platform works all.';

CREATE VIEW audit.promised_job_grants (object, column_name, role_name, privilege) WITH (security_invoker = true) AS
SELECT 'schema jobs', NULL::text, r.role_name, 'USAGE'
  FROM (VALUES ('parako_app'), ('parako_platform')) AS r (role_name)
 UNION ALL
SELECT 'jobs.river_job_state_in_bitmask', NULL, r.role_name, 'EXECUTE'
  FROM (VALUES ('parako_app'), ('parako_platform')) AS r (role_name)
 UNION ALL
SELECT 'jobs.river_job', c.column_name, 'parako_app', 'INSERT'
  FROM unnest('{args,kind}'::text[]) AS c (column_name)
 UNION ALL
SELECT 'jobs.river_job', c.column_name, 'parako_platform', 'UPDATE'
  FROM unnest('{state,attempt,attempted_at,attempted_by,errors,finalized_at,metadata,scheduled_at}'::text[]) AS c (column_name)
 UNION ALL
SELECT 'jobs.river_job', NULL, 'parako_platform', p.privilege
  FROM (VALUES ('SELECT'), ('DELETE')) AS p (privilege)
 UNION ALL
SELECT t.object, NULL, 'parako_platform', p.privilege
  FROM (VALUES ('jobs.river_leader'), ('jobs.river_queue')) AS t (object)
 CROSS JOIN (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE')) AS p (privilege);
COMMENT ON VIEW audit.promised_job_grants IS 'Every privilege on schema jobs besides those of the owner.';

CREATE VIEW audit.promised_job_tables (table_name, unique_keys) WITH (security_invoker = true) AS
VALUES ('river_job', '{river_job_pkey,river_job_unique_idx}'::text[]),
       ('river_leader', '{river_leader_pkey}'),
       ('river_queue', '{river_queue_pkey}'),
       ('river_notification', '{river_notification_pkey}'),
       ('river_migration', '{river_migration_pkey}');
COMMENT ON VIEW audit.promised_job_tables IS 'The tables of schema jobs and their unique keys. No tenant chooses a value of these keys, so that none learns from them.';

CREATE VIEW audit.job_policies (table_id, policy_id, object, table_name, role_name, permissive, command, using_expression, check_expression) WITH (security_invoker = true) AS
SELECT c.oid, p.oid, format('%I ON jobs.%I', p.polname, c.relname), c.relname::text,
       CASE m.role_id WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(m.role_id)::text END, p.polpermissive,
       CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
       replace(pg_get_expr(p.polqual, p.polrelid), 'parako.', ''), replace(pg_get_expr(p.polwithcheck, p.polrelid), 'parako.', '')
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_policy AS p ON p.polrelid = c.oid
 CROSS JOIN LATERAL unnest(p.polroles) AS m (role_id)
 WHERE n.nspname = 'jobs';
COMMENT ON VIEW audit.job_policies IS 'Every policy on a table of schema jobs, once for each role it is for.';

CREATE VIEW audit.job_grants (object, column_name, role_name, privilege, grantable) WITH (security_invoker = true) AS
WITH lists (object, column_name, owner, acl) AS (
    SELECT 'schema jobs', NULL::text, n.nspowner, n.nspacl
      FROM pg_namespace AS n
     WHERE n.nspname = 'jobs'
     UNION ALL
    SELECT format('jobs.%I', c.relname), NULL, c.relowner, c.relacl
      FROM pg_class AS c
      JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE n.nspname = 'jobs'
     UNION ALL
    SELECT format('jobs.%I', c.relname), a.attname::text, c.relowner, a.attacl
      FROM pg_class AS c
      JOIN pg_namespace AS n ON n.oid = c.relnamespace
      JOIN pg_attribute AS a ON a.attrelid = c.oid
     WHERE n.nspname = 'jobs'
       AND a.attacl IS NOT NULL
       AND NOT a.attisdropped
     UNION ALL
    SELECT format('jobs.%I', p.proname), NULL, p.proowner, coalesce(p.proacl, acldefault('f', p.proowner))
      FROM pg_proc AS p
      JOIN pg_namespace AS n ON n.oid = p.pronamespace
     WHERE n.nspname = 'jobs'
     UNION ALL
    SELECT format('default privileges of %I in schema jobs', pg_get_userbyid(d.defaclrole)), NULL, d.defaclrole, d.defaclacl
      FROM pg_default_acl AS d
      JOIN pg_namespace AS n ON n.oid = d.defaclnamespace
     WHERE n.nspname = 'jobs'
)
SELECT l.object, l.column_name, CASE e.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(e.grantee)::text END, e.privilege_type, e.is_grantable
  FROM lists AS l
 CROSS JOIN LATERAL aclexplode(l.acl) AS e
 WHERE e.grantee <> l.owner;
COMMENT ON VIEW audit.job_grants IS 'Every privilege that somebody other than the owner holds on schema jobs, on what is inside, or by default on what will be.';

CREATE VIEW audit.job_findings (check_no, object, finding) WITH (security_invoker = true) AS
WITH space AS (
    SELECT * FROM pg_namespace WHERE nspname = 'jobs'
), relations AS (
    SELECT c.*, format('jobs.%I', c.relname) AS object
      FROM space AS s
      JOIN pg_class AS c ON c.relnamespace = s.oid
)
SELECT 2, coalesce(r.object, 'jobs.' || w.table_name), CASE WHEN w.table_name IS NULL THEN 'River has no such table' ELSE 'it is missing' END
  FROM (SELECT * FROM relations WHERE relkind IN ('r', 'p')) AS r
  FULL JOIN audit.promised_job_tables AS w ON w.table_name = r.relname
 WHERE r.oid IS NULL
    OR w.table_name IS NULL
 UNION ALL
SELECT 1, r.object, 'row-level security is ' || CASE WHEN r.relrowsecurity THEN 'not forced upon the owner' ELSE 'disabled' END
  FROM relations AS r
 WHERE r.relkind IN ('r', 'p')
   AND NOT (r.relrowsecurity AND r.relforcerowsecurity)
 UNION ALL
SELECT CASE WHEN w.permissive THEN 4 ELSE 7 END, 'jobs.' || w.table_name,
       format('%s has no %s policy FOR %s USING %s WITH CHECK %s', w.role_name, CASE WHEN w.permissive THEN 'permissive' ELSE 'restrictive' END,
              w.command, w.using_expression, w.check_expression)
  FROM (SELECT * FROM audit.promised_job_policies
        EXCEPT
        SELECT table_name, role_name, permissive, command, using_expression, check_expression FROM audit.job_policies) AS w
 UNION ALL
SELECT CASE p.role_name WHEN 'PUBLIC' THEN 6 WHEN 'parako_app' THEN 5 ELSE 30 END, p.object,
       format('it is not promised: %s FOR %s TO %s USING %s WITH CHECK %s', CASE WHEN p.permissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
              p.command, p.role_name, p.using_expression, p.check_expression)
  FROM audit.job_policies AS p
 WHERE NOT EXISTS (SELECT
                     FROM audit.promised_job_policies AS w
                    WHERE (p.table_name, p.role_name, p.permissive, p.command) = (w.table_name, w.role_name, w.permissive, w.command)
                      AND (p.using_expression, p.check_expression) IS NOT DISTINCT FROM (w.using_expression, w.check_expression))
 UNION ALL
SELECT DISTINCT 5, p.object, 'it uses ' || pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid)
  FROM audit.job_policies AS p
  JOIN pg_depend AS d ON d.classid = 'pg_policy'::regclass AND d.objid = p.policy_id
 WHERE NOT (d.refclassid = 'pg_class'::regclass AND d.refobjid = p.table_id)
   AND NOT (d.refclassid = 'pg_proc'::regclass AND d.refobjid IS NOT DISTINCT FROM to_regprocedure('parako.current_tenant()'))
 UNION ALL
SELECT 8, format('%I ON %s', i.relname, r.object), 'it is not one of the promised keys: a job of one tenant could tell another what is there'
  FROM relations AS r
  JOIN pg_index AS x ON x.indrelid = r.oid AND (x.indisunique OR x.indisexclusion)
  JOIN pg_class AS i ON i.oid = x.indexrelid
  LEFT JOIN audit.promised_job_tables AS w ON w.table_name = r.relname
 WHERE i.relname <> ALL (coalesce(w.unique_keys, '{}'))
 UNION ALL
SELECT 9, format('%I ON %s', k.conname, k.conrelid::regclass), format('jobs refer to nothing, and nothing refers to them (%s)', pg_get_constraintdef(k.oid))
  FROM pg_constraint AS k
 WHERE k.contype = 'f'
   AND (k.conrelid IN (SELECT oid FROM relations) OR k.confrelid IN (SELECT oid FROM relations))
 UNION ALL
SELECT CASE v.relkind WHEN 'v' THEN 11 ELSE 12 END, format('%I.%I', n.nspname, v.relname), 'it shows jobs of several tenants'
  FROM pg_class AS v
  JOIN pg_namespace AS n ON n.oid = v.relnamespace
 WHERE v.relkind IN ('v', 'm', 'f')
   AND (n.nspname = 'jobs'
        OR EXISTS (SELECT
                     FROM pg_rewrite AS r
                     JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
                     JOIN relations AS t ON t.oid = d.refobjid
                    WHERE r.ev_class = v.oid))
 UNION ALL
SELECT 15, 'role ' || r.rolname, format('it owns schema jobs and %s has SUPERUSER or BYPASSRLS', m.rolname)
  FROM space AS s
  JOIN pg_roles AS r ON r.oid = s.nspowner
  JOIN pg_roles AS m ON m.rolsuper OR m.rolbypassrls
 WHERE m.oid = r.oid
    OR NOT r.rolsuper AND pg_has_role(r.oid, m.oid, 'MEMBER')
 UNION ALL
SELECT 17, o.object, format('it belongs to %s, its schema to %s', pg_get_userbyid(o.owner), pg_get_userbyid(s.nspowner))
  FROM space AS s
 CROSS JOIN LATERAL (SELECT r.object, r.relowner FROM relations AS r WHERE r.relkind NOT IN ('i', 'I', 'c')
                      UNION ALL
                     SELECT format('jobs.%I', p.proname), p.proowner FROM pg_proc AS p WHERE p.pronamespace = s.oid) AS o (object, owner)
 WHERE o.owner <> s.nspowner
 UNION ALL
SELECT CASE WHEN g.role_name = 'PUBLIC' THEN 18 WHEN g.privilege IN ('TRUNCATE', 'REFERENCES', 'TRIGGER', 'MAINTAIN') THEN 19 ELSE 28 END,
       g.object, format('%s holds %s%s%s', g.role_name, g.privilege, ' (' || g.column_name || ')', CASE WHEN g.grantable THEN ' WITH GRANT OPTION' END)
  FROM (SELECT object, column_name, role_name, privilege, grantable FROM audit.job_grants
        EXCEPT
        SELECT object, column_name, role_name, privilege, false FROM audit.promised_job_grants) AS g
 UNION ALL
SELECT 22, h.inhrelid::regclass::text, 'it inherits from ' || r.object
  FROM relations AS r
  JOIN pg_inherits AS h ON h.inhparent = r.oid
 WHERE r.relkind IN ('r', 'p')
 UNION ALL
SELECT 23, format('%I ON %s', w.rulename, r.object), 'a rule rewrites statements'
  FROM relations AS r
  JOIN pg_rewrite AS w ON w.ev_class = r.oid
 WHERE r.relkind IN ('r', 'p')
 UNION ALL
SELECT 24, format('publication %I', p.pubname), 'it copies jobs of every tenant'
  FROM pg_publication AS p
 WHERE EXISTS (SELECT FROM pg_publication_rel AS x JOIN relations AS r ON r.oid = x.prrelid WHERE x.prpubid = p.oid)
    OR EXISTS (SELECT FROM pg_publication_namespace AS x JOIN space AS s ON s.oid = x.pnnspid WHERE x.pnpubid = p.oid)
 UNION ALL
SELECT 27, format('%I ON %s', g.tgname, r.object), 'a trigger runs code of ' || g.tgfoid::regproc
  FROM relations AS r
  JOIN pg_trigger AS g ON g.tgrelid = r.oid
 WHERE NOT g.tgisinternal
 UNION ALL
SELECT 29, format('jobs.%I', p.proname), 'it is not the promised function'
  FROM space AS s
  JOIN pg_proc AS p ON p.pronamespace = s.oid
  JOIN pg_language AS l ON l.oid = p.prolang
 WHERE (p.proname, p.pronargs, l.lanname, p.provolatile, p.prosecdef, p.proconfig) IS DISTINCT FROM
       ('river_job_state_in_bitmask', 2, 'sql', 'i', false, NULL)
    OR encode(sha256(convert_to(regexp_replace(btrim(p.prosrc, E' \t\r\n'), '\s+', ' ', 'g'), 'UTF8')), 'hex')
       <> '812a9e8387d812acfed38c8d5c0d3f6a5c6d249db09cdf45f623911086549bde';
COMMENT ON VIEW audit.job_findings IS 'Whatever would let one tenant see or change the jobs of another. No rows: schema jobs is as the migrations made it.';

CREATE OR REPLACE VIEW audit.isolation_findings (check_no, check_name, object, finding) WITH (security_invoker = true) AS
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
        SELECT * FROM audit.server_findings
         UNION ALL
        SELECT * FROM audit.job_findings) AS f
  LEFT JOIN audit.checks AS c USING (check_no)
 ORDER BY f.check_no, f.object, f.finding;

GRANT SELECT ON audit.promised_job_policies, audit.promised_job_grants, audit.promised_job_tables, audit.job_policies, audit.job_grants,
    audit.job_findings TO parako_app, parako_auditor;

END
$views$;
-- +goose StatementEnd

-- +goose Down
SET LOCAL lock_timeout = '3s';
-- As 00010 made it.
-- +goose StatementBegin
DO $views$
BEGIN

CREATE OR REPLACE VIEW audit.isolation_findings (check_no, check_name, object, finding) WITH (security_invoker = true) AS
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
DROP VIEW audit.job_findings, audit.job_grants, audit.job_policies, audit.promised_job_tables, audit.promised_job_grants, audit.promised_job_policies;

END
$views$;
-- +goose StatementEnd
