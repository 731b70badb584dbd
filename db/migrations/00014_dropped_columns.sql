-- +goose Up
-- What was granted on a column that is gone is no privilege, and the isolation audit does not find fault with it.
SET LOCAL lock_timeout = '3s';

-- +goose StatementBegin
DO $views$
BEGIN

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

END
$views$;
-- +goose StatementEnd

-- +goose Down
SET LOCAL lock_timeout = '3s';
-- As 00012 made it.
-- +goose StatementBegin
DO $views$
BEGIN

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

END
$views$;
-- +goose StatementEnd
