package db_test

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"parako/internal/testkit"
)

// finding is a row of audit.isolation_findings.
type finding struct {
	Check                 int
	Name, Object, Finding string
}

// mutation is one thing that somebody could do to the database, and the finding it has to give.
type mutation struct {
	name  string
	sql   string // $db is the database
	check int
	want  string // the object
}

// Shorthands for what many mutations need: the body of a tenant's table, another schema with look-alikes, a tenant.
const (
	widgets = `CREATE TABLE parako.widgets (tenant_id uuid NOT NULL DEFAULT parako.current_tenant(), id uuid NOT NULL, PRIMARY KEY (tenant_id, id));
		ALTER TABLE parako.widgets OWNER TO parako_owner;`
	locked    = `ALTER TABLE parako.widgets ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;`
	lookalike = `CREATE SCHEMA evil;
		CREATE FUNCTION evil.current_tenant() RETURNS uuid LANGUAGE sql AS 'SELECT NULL::uuid';
		CREATE FUNCTION evil.always(uuid, uuid) RETURNS boolean LANGUAGE sql AS 'SELECT true';
		CREATE OPERATOR evil.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = evil.always);`
	anchor = `'00000000-0000-4000-8000-000000000001'`
	login  = "parako_tenant_00000000000040008000000000000001" // of the anchor
)

func mutations() []mutation {
	return []mutation{
		// Row-level security itself.
		{"row-level security off", `ALTER TABLE parako.users DISABLE ROW LEVEL SECURITY`, 1, "parako.users"},
		{"the owner set free", `ALTER TABLE parako.users NO FORCE ROW LEVEL SECURITY`, 1, "parako.users"},
		{"the tenants themselves open", `ALTER TABLE parako.tenants DISABLE ROW LEVEL SECURITY`, 1, "parako.tenants"},
		{"the locators open", `ALTER TABLE parako.tenant_locators DISABLE ROW LEVEL SECURITY`, 1, "parako.tenant_locators"},
		{"a new table that nobody locked", widgets, 1, "parako.widgets"},
		{"a new table without policies", widgets + locked, 7, "parako.widgets"},
		{"a new table without a tenant", `CREATE TABLE parako.widgets (id uuid PRIMARY KEY)`, 2, "parako.widgets"},
		{"the tenant's column renamed", `ALTER TABLE parako.consents RENAME COLUMN tenant_id TO owner_id`, 2, "parako.consents"},
		{"a tenant that may be NULL", `CREATE TABLE parako.widgets (tenant_id uuid DEFAULT parako.current_tenant(), id uuid PRIMARY KEY)`, 3, "parako.widgets"},
		{"a tenant that is text", `CREATE TABLE parako.widgets (tenant_id text NOT NULL DEFAULT parako.current_tenant(), id uuid PRIMARY KEY)`, 3, "parako.widgets"},
		{"no default tenant", `ALTER TABLE parako.users ALTER tenant_id DROP DEFAULT`, 3, "parako.users"},
		{"a fixed default tenant", `ALTER TABLE parako.users ALTER tenant_id SET DEFAULT ` + anchor, 3, "parako.users"},
		{"a default that only reads right", lookalike + `SET LOCAL search_path = evil, parako; ALTER TABLE parako.users ALTER tenant_id SET DEFAULT evil.current_tenant()`, 3, "parako.users"},

		// Policies.
		{"no boundary", `DROP POLICY tenant_boundary ON parako.users`, 7, "parako.users"},
		{"no access", `DROP POLICY tenant_access ON parako.users`, 4, "parako.users"},
		{"no boundary around the tenants", `DROP POLICY tenant_boundary ON parako.tenants`, 7, "parako.tenants"},
		{"no boundary around the locators", `DROP POLICY locator_boundary ON parako.tenant_locators`, 7, "parako.tenant_locators"},
		{"no policy for what the platform appends", `DROP POLICY platform_append ON parako.audit_events`, 4, "parako.audit_events"},
		{"a boundary for reading only", `DROP POLICY tenant_boundary ON parako.users; CREATE POLICY tenant_boundary ON parako.users AS RESTRICTIVE FOR SELECT TO parako_app USING (tenant_id = parako.current_tenant())`, 7, "parako.users"},
		{"a boundary that is permissive", `DROP POLICY tenant_boundary ON parako.users; CREATE POLICY tenant_boundary ON parako.users AS PERMISSIVE TO parako_app USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant())`, 7, "parako.users"},
		{"a boundary without WITH CHECK", `DROP POLICY tenant_boundary ON parako.users; CREATE POLICY tenant_boundary ON parako.users AS RESTRICTIVE TO parako_app USING (tenant_id = parako.current_tenant())`, 7, "parako.users"},
		{"a boundary for another role", `ALTER POLICY tenant_boundary ON parako.users TO parako_auditor`, 7, "parako.users"},
		{"WITH CHECK (true)", `ALTER POLICY tenant_access ON parako.users WITH CHECK (true)`, 5, "tenant_access ON parako.users"},
		{"USING (true) as the boundary", `ALTER POLICY tenant_boundary ON parako.users USING (true)`, 5, "tenant_boundary ON parako.users"},
		{"USING (true) beside the pair", `CREATE POLICY careless ON parako.users TO parako_app USING (true)`, 5, "careless ON parako.users"},
		{"a way around the comparison", `ALTER POLICY tenant_access ON parako.users USING (tenant_id = parako.current_tenant() OR name IS NULL)`, 5, "tenant_access ON parako.users"},
		{"a comparison as text", `ALTER POLICY tenant_access ON parako.users USING (tenant_id::text = parako.current_tenant()::text)`, 5, "tenant_access ON parako.users"},
		{"a comparison of another column", `ALTER POLICY tenant_access ON parako.users USING (id = parako.current_tenant())`, 5, "tenant_access ON parako.users"},
		{"a subquery", `ALTER POLICY tenant_access ON parako.users USING (tenant_id = (SELECT parako.current_tenant()))`, 5, "tenant_access ON parako.users"},
		{"a subquery on a table", `ALTER POLICY tenant_access ON parako.users USING (tenant_id IN (SELECT id FROM parako.tenants))`, 5, "tenant_access ON parako.users"},
		{"a function that only reads right", lookalike + `SET LOCAL search_path = evil, parako; ALTER POLICY tenant_access ON parako.users USING (tenant_id = evil.current_tenant())`, 5, "tenant_access ON parako.users"},
		{"an operator that only reads right", lookalike + `SET LOCAL search_path = evil, pg_catalog; ALTER POLICY tenant_access ON parako.users USING (tenant_id OPERATOR(evil.=) parako.current_tenant())`, 5, "tenant_access ON parako.users"},
		{"every locator readable", `ALTER POLICY locator_lookup ON parako.tenant_locators USING (true)`, 5, "locator_lookup ON parako.tenant_locators"},
		{"every tenant readable", `ALTER POLICY tenant_access ON parako.tenants USING (true)`, 5, "tenant_access ON parako.tenants"},
		{"a policy for everybody", `CREATE POLICY everybody ON parako.users USING (tenant_id = parako.current_tenant())`, 6, "everybody ON parako.users"},
		{"a policy given to everybody", `ALTER POLICY tenant_access ON parako.users TO PUBLIC`, 6, "tenant_access ON parako.users"},
		{"a policy of the platform on people", `CREATE POLICY platform_access ON parako.users TO parako_platform USING (true)`, 30, "platform_access ON parako.users"},
		{"the auditor may change things", `CREATE POLICY audit ON parako.users TO parako_auditor USING (true)`, 30, "audit ON parako.users"},
		{"the login of a tenant sees every tenant", `CREATE POLICY careless ON parako.audit_events FOR SELECT TO parako_tenant_auditor USING (true)`, 30, "careless ON parako.audit_events"},
		{"the login of a tenant sees the tenant it asks for", `ALTER POLICY tenant_auditor_read ON parako.audit_events USING (tenant_id = parako.current_tenant())`, 30, "tenant_auditor_read ON parako.audit_events"},
		{"the login of a tenant without its boundary", `DROP POLICY tenant_auditor_boundary ON parako.audit_events`, 7, "parako.audit_events"},
		{"a table that auditors cannot count", `DROP POLICY auditor_read ON parako.users`, 4, "parako.users"},
		{"the platform reads what happens inside", `CREATE POLICY platform_read ON parako.audit_events FOR SELECT TO parako_platform USING (true)`, 30, "platform_read ON parako.audit_events"},
		{"a policy of the owner", `CREATE POLICY repair ON parako.users TO parako_owner USING (true)`, 30, "repair ON parako.users"},

		// Keys.
		{"a unique key of all tenants", `ALTER TABLE parako.users ADD CONSTRAINT one_name UNIQUE (username_norm)`, 8, "one_name ON parako.users"},
		{"a unique index of all tenants", `CREATE UNIQUE INDEX one_kid ON parako.signing_keys (kid) WHERE promoted`, 8, "one_kid ON parako.signing_keys"},
		{"a unique key that ends with the tenant", `CREATE UNIQUE INDEX backwards ON parako.users (id, tenant_id)`, 8, "backwards ON parako.users"},
		{"a unique index on an expression", `CREATE UNIQUE INDEX folded ON parako.users (lower(email))`, 8, "folded ON parako.users"},
		{"an exclusion constraint", `ALTER TABLE parako.users ADD CONSTRAINT apart EXCLUDE USING btree (username_norm WITH =)`, 8, "apart ON parako.users"},
		{"a primary key without the tenant", `ALTER TABLE parako.client_assertions DROP CONSTRAINT client_assertions_pkey, ADD CONSTRAINT narrow PRIMARY KEY (id)`, 8, "narrow ON parako.client_assertions"},
		{"no primary key", `ALTER TABLE parako.client_assertions DROP CONSTRAINT client_assertions_pkey`, 8, "parako.client_assertions"},
		{"a unique slug", `CREATE UNIQUE INDEX slugs ON parako.tenants (slug)`, 8, "slugs ON parako.tenants"},
		{"a foreign key of one column", `CREATE UNIQUE INDEX u ON parako.users (id); ALTER TABLE parako.sessions ADD CONSTRAINT narrow FOREIGN KEY (user_id) REFERENCES parako.users (id)`, 9, "narrow ON parako.sessions"},
		{"a foreign key that crosses", `ALTER TABLE parako.sessions ADD CONSTRAINT crossed FOREIGN KEY (user_id, id) REFERENCES parako.users (tenant_id, id)`, 9, "crossed ON parako.sessions"},
		{"a foreign key to any tenant", `ALTER TABLE parako.users ADD CONSTRAINT other FOREIGN KEY (id) REFERENCES parako.tenants (id)`, 9, "other ON parako.users"},
		{"a foreign key of a global table", `ALTER TABLE parako.tenant_locators ADD CONSTRAINT bound FOREIGN KEY (tenant_id) REFERENCES parako.tenants (id)`, 9, "bound ON parako.tenant_locators"},
		{"a foreign key from outside", `CREATE TABLE public.outside (t uuid, u uuid, CONSTRAINT probe FOREIGN KEY (t, u) REFERENCES parako.users (tenant_id, id))`, 9, "probe ON outside"},
		{"ON DELETE SET NULL", `ALTER TABLE parako.sessions DROP CONSTRAINT sessions_user_fkey, ADD CONSTRAINT cleared FOREIGN KEY (tenant_id, user_id) REFERENCES parako.users (tenant_id, id) ON DELETE SET NULL`, 10, "cleared ON parako.sessions"},
		{"ON DELETE SET NULL of one column", `ALTER TABLE parako.interactions ADD CONSTRAINT cleared FOREIGN KEY (tenant_id, session_id) REFERENCES parako.sessions (tenant_id, id) ON DELETE SET NULL (session_id)`, 10, "cleared ON parako.interactions"},
		{"ON DELETE SET DEFAULT", `ALTER TABLE parako.sessions ADD CONSTRAINT reset FOREIGN KEY (tenant_id, user_id) REFERENCES parako.users (tenant_id, id) ON DELETE SET DEFAULT`, 10, "reset ON parako.sessions"},
		{"ON UPDATE CASCADE", `ALTER TABLE parako.sessions ADD CONSTRAINT moved FOREIGN KEY (tenant_id, user_id) REFERENCES parako.users (tenant_id, id) ON UPDATE CASCADE`, 10, "moved ON parako.sessions"},
		{"an index on an expression", `CREATE INDEX folded ON parako.users (tenant_id, lower(email))`, 25, "folded ON parako.users"},

		// Privileges.
		{"SELECT for everybody", `GRANT SELECT ON parako.users TO PUBLIC`, 18, "parako.users"},
		{"a column for everybody", `GRANT SELECT (email) ON parako.users TO PUBLIC`, 18, "parako.users"},
		{"the schema for everybody", `GRANT USAGE ON SCHEMA parako TO PUBLIC`, 18, "schema parako"},
		{"the audit for everybody", `GRANT SELECT ON audit.access TO PUBLIC`, 18, "audit.access"},
		{"a function for everybody", `GRANT EXECUTE ON FUNCTION parako.set_tenant TO PUBLIC`, 18, "parako.set_tenant(uuid)"},
		{"a sequence for everybody", `CREATE SEQUENCE parako.counter; GRANT USAGE ON SEQUENCE parako.counter TO PUBLIC`, 18, "parako.counter"},
		{"every future table for everybody", `ALTER DEFAULT PRIVILEGES FOR ROLE parako_owner GRANT SELECT ON TABLES TO PUBLIC`, 18, "default privileges of parako_owner"},
		{"every future table for the auditor", `ALTER DEFAULT PRIVILEGES FOR ROLE parako_owner IN SCHEMA parako GRANT SELECT ON TABLES TO parako_auditor`, 28, "default privileges of parako_owner in schema parako"},
		{"TRUNCATE", `GRANT TRUNCATE ON parako.users TO parako_app`, 19, "parako.users"},
		{"REFERENCES", `GRANT REFERENCES ON parako.users TO parako_app`, 19, "parako.users"},
		{"REFERENCES of a column", `GRANT REFERENCES (id) ON parako.users TO parako_platform`, 19, "parako.users"},
		{"TRIGGER", `GRANT TRIGGER ON parako.users TO parako_app`, 19, "parako.users"},
		{"ALL", `GRANT ALL ON ALL TABLES IN SCHEMA parako TO parako_app`, 19, "parako.clients"},
		{"events may be changed", `GRANT UPDATE ON parako.audit_events TO parako_app`, 20, "parako.audit_events"},
		{"one column of events may be changed", `GRANT UPDATE (detail) ON parako.audit_events TO parako_app`, 20, "parako.audit_events"},
		{"events may be removed", `GRANT DELETE ON parako.audit_events TO parako_platform`, 20, "parako.audit_events"},
		{"events may be changed by a stranger", `CREATE ROLE stranger; GRANT UPDATE ON parako.audit_events TO stranger`, 20, "parako.audit_events"},
		{"the platform reads people", `GRANT SELECT ON parako.users TO parako_platform`, 28, "parako.users"},
		{"the platform reads one column of people", `GRANT SELECT (email) ON parako.users TO parako_platform`, 28, "parako.users"},
		{"the platform reads events", `GRANT SELECT ON parako.audit_events TO parako_platform`, 28, "parako.audit_events"},
		{"the auditor reads secrets", `GRANT SELECT ON parako.user_passwords TO parako_auditor`, 28, "parako.user_passwords"},
		{"a stranger reads people", `CREATE ROLE stranger; GRANT SELECT ON parako.users TO stranger`, 28, "parako.users"},
		{"a tenant renames itself", `GRANT UPDATE (slug) ON parako.tenants TO parako_app`, 28, "parako.tenants"},
		{"a tenant removes itself", `GRANT DELETE ON parako.tenants TO parako_app`, 28, "parako.tenants"},
		{"a tenant claims a host", `GRANT INSERT ON parako.tenant_locators TO parako_app`, 28, "parako.tenant_locators"},
		{"rights to hand on", `GRANT SELECT ON parako.users TO parako_app WITH GRANT OPTION`, 28, "parako.users"},
		{"a sequence", `CREATE SEQUENCE parako.counter; GRANT USAGE ON SEQUENCE parako.counter TO parako_app`, 28, "parako.counter"},
		{"a function of the owner", `GRANT EXECUTE ON FUNCTION parako.shard_table TO parako_app`, 28, "parako.shard_table(regclass, text)"},
		{"a locator for the platform", `GRANT EXECUTE ON FUNCTION parako.set_locator TO parako_platform`, 28, "parako.set_locator(text, text)"},
		{"the schema for a stranger", `CREATE ROLE stranger; GRANT USAGE ON SCHEMA parako TO stranger`, 28, "schema parako"},
		{"the application creates in its schema", `GRANT CREATE ON SCHEMA parako TO parako_app`, 31, "schema parako"},
		{"everybody creates in public", `GRANT CREATE ON SCHEMA public TO PUBLIC`, 31, "schema public"},
		{"the application creates schemas", `GRANT CREATE ON DATABASE $db TO parako_app`, 31, "database $db"},

		// Auditors.
		{"the auditor reads password hashes", `GRANT SELECT (hash) ON parako.user_passwords TO parako_auditor`, 28, "parako.user_passwords"},
		{"the auditor reads private keys", `GRANT SELECT (private_key) ON parako.signing_keys TO parako_auditor`, 28, "parako.signing_keys"},
		{"the auditor reads whole clients", `GRANT SELECT ON parako.clients TO parako_auditor`, 28, "parako.clients"},
		{"the logins of tenants read tokens", `GRANT SELECT (id) ON parako.access_tokens TO parako_tenant_auditor`, 28, "parako.access_tokens"},
		{"the logins of tenants read who else there is", `GRANT SELECT ON audit.access TO parako_tenant_auditor`, 28, "audit.access"},
		{"the auditor seals", `GRANT EXECUTE ON FUNCTION audit.seal TO parako_auditor`, 28, "audit.seal(uuid)"},
		{"the logins of tenants write", `GRANT INSERT ON parako.audit_events TO parako_tenant_auditor`, 28, "parako.audit_events"},
		{"a login whose name tells no tenant", `CREATE ROLE acme_audit LOGIN IN ROLE parako_tenant_auditor`, 32, "role acme_audit"},
		{"the application as a login of a tenant", `GRANT parako_tenant_auditor TO parako_app`, 32, "role parako_app"},
		{"a login of a tenant with power", `CREATE ROLE ` + login + ` LOGIN BYPASSRLS IN ROLE parako_tenant_auditor`, 32, "role " + login},
		{"a login of a tenant that is more", `CREATE ROLE ` + login + ` LOGIN IN ROLE parako_tenant_auditor, parako_auditor`, 32, "role " + login},
		{"a login of a tenant that makes others", `CREATE ROLE ` + login + ` LOGIN; GRANT parako_tenant_auditor TO ` + login + ` WITH ADMIN OPTION`, 32, "role " + login},
		{"somebody behind the login of a tenant", `CREATE ROLE ` + login + ` LOGIN IN ROLE parako_tenant_auditor; CREATE ROLE stranger IN ROLE ` + login, 32, "role " + login},
		{"the login's tenant from a setting", `CREATE OR REPLACE FUNCTION parako.login_tenant() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE AS 'SELECT pg_catalog.current_setting(''app.tenant_id'')::pg_catalog.uuid'`, 29, "parako.login_tenant()"},

		// The trail.
		{"seals may be rewritten", `GRANT UPDATE ON parako.audit_seals TO parako_app`, 20, "parako.audit_seals"},
		{"a column of the leaves may be rewritten", `GRANT UPDATE (hashes) ON parako.audit_leaves TO parako_app`, 20, "parako.audit_leaves"},
		{"a month that is reached directly", `GRANT SELECT ON parako.audit_events_begin TO parako_app`, 22, "parako.audit_events_begin"},
		{"a month that is open", `ALTER TABLE parako.audit_events_rest DISABLE ROW LEVEL SECURITY`, 1, "parako.audit_events_rest"},
		{"a month that is not forced", `ALTER TABLE parako.audit_leaves_begin NO FORCE ROW LEVEL SECURITY`, 1, "parako.audit_leaves_begin"},
		{"a drop that the application records", `GRANT INSERT ON parako.audit_drops TO parako_app`, 28, "parako.audit_drops"},
		{"a verification that finds nothing", `CREATE OR REPLACE FUNCTION audit.verify(tenant uuid, since timestamptz DEFAULT '-infinity', until timestamptz DEFAULT 'infinity')
			RETURNS TABLE (seal_no bigint, event_id uuid, occurred_at timestamptz, finding text) LANGUAGE plpgsql STABLE AS 'BEGIN END'`, 29, "audit.verify(uuid, timestamp with time zone, timestamp with time zone)"},
		{"every leaf the same", `CREATE OR REPLACE FUNCTION audit.leaf(e parako.audit_events) RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE AS 'SELECT ''\x''::bytea'`, 29, "audit.leaf(audit_events)"},
		{"seals as the owner", `ALTER FUNCTION audit.seal SECURITY DEFINER`, 13, "audit.seal(uuid)"},

		// Partitions and heirs.
		{"a partition that is reached directly", `CREATE TABLE parako.parts (tenant_id uuid NOT NULL, id uuid NOT NULL) PARTITION BY HASH (tenant_id);
			CREATE TABLE parako.part PARTITION OF parako.parts FOR VALUES WITH (MODULUS 1, REMAINDER 0); GRANT SELECT ON parako.part TO parako_app`, 22, "parako.part"},
		{"a partition that is open", `CREATE TABLE parako.parts (tenant_id uuid NOT NULL, id uuid NOT NULL) PARTITION BY HASH (tenant_id);
			CREATE TABLE parako.part PARTITION OF parako.parts FOR VALUES WITH (MODULUS 1, REMAINDER 0)`, 1, "parako.part"},
		{"a partition elsewhere", `CREATE TABLE parako.parts (tenant_id uuid NOT NULL, id uuid NOT NULL) PARTITION BY HASH (tenant_id);
			CREATE TABLE public.part PARTITION OF parako.parts FOR VALUES WITH (MODULUS 1, REMAINDER 0)`, 22, "public.part"},
		{"an heir", `CREATE TABLE parako.heir () INHERITS (parako.users)`, 22, "parako.heir"},
		{"an heir elsewhere", `CREATE TABLE public.heir () INHERITS (parako.users)`, 22, "public.heir"},

		// Roles. They belong to the cluster; the transaction keeps this from everybody else.
		{"a superuser", `ALTER ROLE parako_platform SUPERUSER`, 15, "role parako_platform"},
		{"BYPASSRLS", `ALTER ROLE parako_app BYPASSRLS`, 15, "role parako_app"},
		{"CREATEROLE", `ALTER ROLE parako_app CREATEROLE`, 15, "role parako_app"},
		{"CREATEDB", `ALTER ROLE parako_app CREATEDB`, 15, "role parako_app"},
		{"REPLICATION", `ALTER ROLE parako_auditor REPLICATION`, 15, "role parako_auditor"},
		{"INHERIT", `ALTER ROLE parako_app INHERIT`, 15, "role parako_app"},
		{"a role gone", `ALTER ROLE parako_auditor RENAME TO inspector`, 15, "role parako_auditor"},
		{"an owner that is a superuser", `ALTER ROLE parako_owner SUPERUSER`, 15, "role parako_owner"},
		{"an owner with BYPASSRLS", `ALTER ROLE parako_owner BYPASSRLS`, 15, "role parako_owner"},
		{"an owner that can become one", `CREATE ROLE mighty BYPASSRLS; GRANT mighty TO parako_owner`, 15, "role parako_owner"},
		{"migrated by a superuser", `ALTER SCHEMA parako OWNER TO postgres`, 15, "role postgres"},
		{"the application can become the owner", `GRANT parako_owner TO parako_app`, 16, "role parako_app"},
		{"the platform can become the application", `GRANT parako_app TO parako_platform`, 16, "role parako_platform"},
		{"the auditor reads everything", `GRANT pg_read_all_data TO parako_auditor`, 16, "role parako_auditor"},
		{"the application owns a table", `ALTER TABLE parako.users OWNER TO parako_app`, 17, "role parako_app"},
		{"the application owns something elsewhere", `CREATE TABLE public.mine (); ALTER TABLE public.mine OWNER TO parako_app`, 17, "role parako_app"},
		{"the platform owns the schema", `ALTER SCHEMA parako OWNER TO parako_platform`, 17, "role parako_platform"},
		{"the auditor owns the database", `ALTER DATABASE $db OWNER TO parako_auditor`, 17, "role parako_auditor"},
		{"a superuser owns a table", `ALTER TABLE parako.users OWNER TO postgres`, 17, "parako.users"},
		{"a superuser owns a function", `ALTER FUNCTION parako.set_tenant OWNER TO postgres`, 17, "parako.set_tenant(uuid)"},
		{"a superuser owns a view of the audit", `ALTER VIEW audit.tables OWNER TO postgres`, 17, "audit.tables"},
		{"a tenant preset for the role", `ALTER ROLE parako_app SET app.tenant_id = ` + anchor, 21, "role parako_app"},
		{"a tenant preset for the role in this database", `ALTER ROLE parako_app IN DATABASE $db SET app.tenant_id = ` + anchor, 21, "role parako_app"},
		{"a tenant preset for the database", `ALTER DATABASE $db SET app.tenant_id = ` + anchor, 21, "database $db"},
		{"a tenant preset for everybody", `ALTER ROLE ALL SET app.tenant_id = ` + anchor, 21, "every role"},
		{"a locator preset", `ALTER ROLE parako_app SET app.locator = 'slug:acme'`, 21, "role parako_app"},
		{"row_security preset", `ALTER ROLE parako_app SET row_security = off`, 21, "role parako_app"},
		{"a tenant preset by the connection", `SET LOCAL app.tenant_id = ` + anchor, 21, "this session"},

		// Code that runs with the rights of another, or unseen.
		{"a view of the owner", `CREATE VIEW parako.people AS SELECT * FROM parako.users`, 11, "parako.people"},
		{"a view of the owner elsewhere", `CREATE VIEW public.people AS SELECT * FROM parako.users`, 11, "public.people"},
		{"a view that says no", `CREATE VIEW parako.people WITH (security_invoker = false) AS SELECT * FROM parako.users`, 11, "parako.people"},
		{"a view of the audit", `ALTER VIEW audit.tables RESET (security_invoker)`, 11, "audit.tables"},
		{"a materialized view", `CREATE MATERIALIZED VIEW parako.people AS SELECT 1`, 12, "parako.people"},
		{"a materialized view elsewhere", `CREATE MATERIALIZED VIEW public.people AS SELECT * FROM parako.users WITH NO DATA`, 12, "public.people"},
		{"a foreign table", `CREATE FOREIGN DATA WRAPPER far; CREATE SERVER far FOREIGN DATA WRAPPER far; CREATE FOREIGN TABLE parako.far (tenant_id uuid) SERVER far`, 12, "parako.far"},
		{"a function of the owner for all", `CREATE FUNCTION parako.all_users() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM parako.users'`, 13, "parako.all_users()"},
		{"the same with a search_path", `CREATE FUNCTION parako.all_users() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS 'SELECT count(*) FROM parako.users'`, 13, "parako.all_users()"},
		{"the same elsewhere", `CREATE FUNCTION public.all_users() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM parako.users'`, 13, "public.all_users()"},
		{"a function that claims to keep secrets", `CREATE FUNCTION public.peek(text) RETURNS boolean LANGUAGE sql LEAKPROOF AS 'SELECT true'`, 14, "public.peek(text)"},
		{"a rule", `CREATE RULE copied AS ON INSERT TO parako.users DO ALSO NOTHING`, 23, "copied ON parako.users"},
		{"a trigger", `CREATE TRIGGER copied BEFORE UPDATE ON parako.users FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()`, 27, "copied ON parako.users"},
		{"another function", `CREATE FUNCTION parako.helper() RETURNS int LANGUAGE sql AS 'SELECT 1'`, 29, "parako.helper()"},
		{"a function with a promised name", `CREATE FUNCTION parako.set_tenant(text) RETURNS void LANGUAGE sql AS ''`, 29, "parako.set_tenant(text)"},
		{"a function in the audit", `CREATE FUNCTION audit.helper() RETURNS int LANGUAGE sql AS 'SELECT 1'`, 29, "audit.helper()"},
		{"a function gone", `DROP FUNCTION parako.set_locator`, 29, "parako.set_locator(text, text)"},
		{"a missing tenant is NULL", `CREATE OR REPLACE FUNCTION parako.current_tenant() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE AS 'SELECT pg_catalog.current_setting(''app.tenant_id'', true)::pg_catalog.uuid'`, 29, "parako.current_tenant()"},
		{"a missing tenant is some tenant", `CREATE OR REPLACE FUNCTION parako.current_tenant() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE AS 'SELECT coalesce(pg_catalog.current_setting(''app.tenant_id'', true)::pg_catalog.uuid, ` + strings.ReplaceAll(anchor, "'", "''") + `)'`, 29, "parako.current_tenant()"},
		{"the tenant in plpgsql", `CREATE OR REPLACE FUNCTION parako.current_tenant() RETURNS uuid LANGUAGE plpgsql STABLE AS 'BEGIN RETURN current_setting(''app.tenant_id'')::uuid; END'`, 29, "parako.current_tenant()"},
		{"the tenant read as the owner", `ALTER FUNCTION parako.current_tenant() SECURITY DEFINER`, 13, "parako.current_tenant()"},
		{"the tenant no longer inlined", `ALTER FUNCTION parako.current_tenant() SET search_path = pg_catalog`, 29, "parako.current_tenant()"},
		{"the tenant a constant to the planner", `ALTER FUNCTION parako.current_tenant() IMMUTABLE`, 29, "parako.current_tenant()"},
		{"a tenant for the whole session", `CREATE OR REPLACE FUNCTION parako.set_tenant(tenant uuid) RETURNS void LANGUAGE plpgsql AS 'BEGIN EXECUTE pg_catalog.format(''SET app.tenant_id = %L'', tenant); END'`, 29, "parako.set_tenant(uuid)"},
		{"no tenant as a tenant", `CREATE OR REPLACE FUNCTION parako.set_tenant(tenant uuid) RETURNS void LANGUAGE plpgsql AS 'BEGIN EXECUTE pg_catalog.format(''SET LOCAL app.tenant_id = %L'', tenant); END'`, 29, "parako.set_tenant(uuid)"},
		{"NULL leaves the tenant as it was", `ALTER FUNCTION parako.set_tenant STRICT`, 29, "parako.set_tenant(uuid)"},
		{"a locator for the whole session", `CREATE OR REPLACE FUNCTION parako.set_locator(kind text, name text) RETURNS void LANGUAGE plpgsql AS 'BEGIN EXECUTE pg_catalog.format(''SET app.locator = %L'', kind || '':'' || name); END'`, 29, "parako.set_locator(text, text)"},

		// The queue of background jobs, which has no tenant of its own.
		{"jobs open", `ALTER TABLE jobs.river_job DISABLE ROW LEVEL SECURITY`, 1, "jobs.river_job"},
		{"the owner set free among the jobs", `ALTER TABLE jobs.river_job NO FORCE ROW LEVEL SECURITY`, 1, "jobs.river_job"},
		{"another table among the jobs", `CREATE TABLE jobs.payloads (id bigint PRIMARY KEY)`, 2, "jobs.payloads"},
		{"a table of the jobs gone", `DROP TABLE jobs.river_notification`, 2, "jobs.river_notification"},
		{"nobody can add a job", `DROP POLICY tenant_access ON jobs.river_job`, 4, "jobs.river_job"},
		{"jobs without a boundary", `DROP POLICY tenant_boundary ON jobs.river_job`, 7, "jobs.river_job"},
		{"a job for any tenant", `ALTER POLICY tenant_boundary ON jobs.river_job WITH CHECK (true)`, 5, "tenant_boundary ON jobs.river_job"},
		{"a job that carries more than ids", `ALTER POLICY tenant_access ON jobs.river_job WITH CHECK ((args ->> 'tenant_id')::uuid = parako.current_tenant())`, 5, "tenant_access ON jobs.river_job"},
		{"a tenant sees jobs", `CREATE POLICY careless ON jobs.river_job FOR SELECT TO parako_app USING (true)`, 5, "careless ON jobs.river_job"},
		{"a job whose tenant only reads right", lookalike + `SET LOCAL search_path = evil, parako; ALTER POLICY tenant_boundary ON jobs.river_job WITH CHECK (args = jsonb_build_object('tenant_id', evil.current_tenant(), 'id', (args ->> 'id')::uuid))`, 5, "tenant_boundary ON jobs.river_job"},
		{"jobs for everybody", `CREATE POLICY everybody ON jobs.river_job USING (true)`, 6, "everybody ON jobs.river_job"},
		{"the auditor sees jobs", `CREATE POLICY audit ON jobs.river_job TO parako_auditor USING (true)`, 30, "audit ON jobs.river_job"},
		{"a unique key among the jobs", `CREATE UNIQUE INDEX one_job ON jobs.river_job (args)`, 8, "one_job ON jobs.river_job"},
		{"a reference to jobs", `ALTER TABLE parako.sessions ADD COLUMN job bigint CONSTRAINT queued REFERENCES jobs.river_job (id)`, 9, "queued ON parako.sessions"},
		{"a view of the jobs", `CREATE VIEW public.queue WITH (security_invoker = true) AS SELECT * FROM jobs.river_job`, 11, "public.queue"},
		{"a materialized view of the jobs", `CREATE MATERIALIZED VIEW jobs.queue AS SELECT 1`, 12, "jobs.queue"},
		{"jobs of a superuser", `ALTER SCHEMA jobs OWNER TO postgres`, 15, "role postgres"},
		{"a superuser owns the jobs", `ALTER TABLE jobs.river_job OWNER TO postgres`, 17, "jobs.river_job"},
		{"jobs readable by everybody", `GRANT SELECT ON jobs.river_job TO PUBLIC`, 18, "jobs.river_job"},
		{"a function of the jobs for everybody", `GRANT EXECUTE ON FUNCTION jobs.river_job_state_in_bitmask TO PUBLIC`, 18, "jobs.river_job_state_in_bitmask"},
		{"jobs may be emptied", `GRANT TRUNCATE ON jobs.river_job TO parako_platform`, 19, "jobs.river_job"},
		{"the application reads jobs", `GRANT SELECT ON jobs.river_job TO parako_app`, 28, "jobs.river_job"},
		{"the application reads the ids of jobs", `GRANT SELECT (args) ON jobs.river_job TO parako_app`, 28, "jobs.river_job"},
		{"the application schedules jobs", `GRANT INSERT (scheduled_at) ON jobs.river_job TO parako_app`, 28, "jobs.river_job"},
		{"the platform changes whose a job is", `GRANT UPDATE (args) ON jobs.river_job TO parako_platform`, 28, "jobs.river_job"},
		{"the platform adds jobs", `GRANT INSERT ON jobs.river_job TO parako_platform`, 28, "jobs.river_job"},
		{"the application leads", `GRANT INSERT ON jobs.river_leader TO parako_app`, 28, "jobs.river_leader"},
		{"the application asks for the next number", `GRANT USAGE ON SEQUENCE jobs.river_job_id_seq TO parako_app`, 28, "jobs.river_job_id_seq"},
		{"the jobs for the auditor", `GRANT USAGE ON SCHEMA jobs TO parako_auditor`, 28, "schema jobs"},
		{"every future table of the jobs", `ALTER DEFAULT PRIVILEGES FOR ROLE parako_owner IN SCHEMA jobs GRANT SELECT ON TABLES TO parako_app`, 28, "default privileges of parako_owner in schema jobs"},
		{"the application creates among the jobs", `GRANT CREATE ON SCHEMA jobs TO parako_app`, 31, "schema jobs"},
		{"an heir of the jobs", `CREATE TABLE public.heir () INHERITS (jobs.river_job)`, 22, "heir"},
		{"a rule on the jobs", `CREATE RULE copied AS ON INSERT TO jobs.river_job DO ALSO NOTHING`, 23, "copied ON jobs.river_job"},
		{"a publication of the jobs", `CREATE PUBLICATION copy FOR TABLE jobs.river_job`, 24, "publication copy"},
		{"a trigger on the jobs", `CREATE TRIGGER copied BEFORE UPDATE ON jobs.river_job FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()`, 27, "copied ON jobs.river_job"},
		{"another function among the jobs", `CREATE FUNCTION jobs.peek() RETURNS int LANGUAGE sql AS 'SELECT 1'`, 29, "jobs.peek"},
		{"another function in place of River's", `CREATE OR REPLACE FUNCTION jobs.river_job_state_in_bitmask(bitmask bit(8), state jobs.river_job_state) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true'`, 29, "jobs.river_job_state_in_bitmask"},
		{"a function of the owner among the jobs", `CREATE FUNCTION jobs.all_jobs() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM jobs.river_job'`, 13, "jobs.all_jobs()"},

		// The server.
		{"a publication of all tables", `CREATE PUBLICATION copy FOR ALL TABLES`, 24, "publication copy"},
		{"a publication of one table", `CREATE PUBLICATION copy FOR TABLE parako.users`, 24, "publication copy"},
		{"a publication of the schema", `CREATE PUBLICATION copy FOR TABLES IN SCHEMA parako`, 24, "publication copy"},
		{"a server that is too old", `CREATE OR REPLACE VIEW audit.server WITH (security_invoker = true) AS SELECT 150008 AS version`, 26, "server"},
		{"a server older than all that are known", `CREATE OR REPLACE VIEW audit.server WITH (security_invoker = true) AS SELECT 140023 AS version`, 26, "server"},
		{"a server that should be newer", `CREATE OR REPLACE VIEW audit.server WITH (security_invoker = true) AS SELECT 170005 AS version`, 26, "server"},
	}
}

const isolationFindings = "SELECT check_no, check_name, object, finding FROM audit.isolation_findings"

// querier is a connection or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

func findings(t *testing.T, q querier) []finding {
	t.Helper()
	rows, err := q.Query(t.Context(), isolationFindings)
	if err != nil {
		t.Fatal(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[finding])
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestMutationsAreFound does to a clean database, one at a time, what must not be done to it. A mutation is killed when the
// audit names its object under the check it belongs to.
func TestMutationsAreFound(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	conn, err := pgx.Connect(t.Context(), db.SuperDSN())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))

	all, killed, proved := mutations(), 0, map[int]bool{}
	for _, m := range all {
		sql, want := strings.ReplaceAll(m.sql, "$db", db.Name), strings.ReplaceAll(m.want, "$db", db.Name)
		found := mutate(t, conn, m.name, sql)
		if slices.ContainsFunc(found, func(f finding) bool { return f.Check == m.check && f.Object == want && f.Name != "" }) {
			killed++
			proved[m.check] = true
			continue
		}
		t.Errorf("%s: want a finding of check %d about %s, got %v", m.name, m.check, want, found)
	}
	t.Logf("killed %d/%d", killed, len(all))
	if left := findings(t, conn); len(left) > 0 {
		t.Errorf("a mutation was not taken back: %v", left)
	}
	for _, check := range column(t, db, "SELECT check_no::text FROM audit.checks ORDER BY check_no") {
		if !slices.ContainsFunc(all, func(m mutation) bool { return fmt.Sprint(m.check) == check && proved[m.check] }) {
			t.Errorf("no mutation proves check %s", check)
		}
	}
}

// mutate returns the findings of a database to which sql was done, and takes it back.
func mutate(t *testing.T, conn *pgx.Conn, name, sql string) []finding {
	t.Helper()
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := tx.Rollback(context.WithoutCancel(t.Context())); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}()
	if _, err := tx.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return findings(t, tx)
}

// PostgreSQL keeps what was granted on a column when the column is dropped.
func TestDroppedColumnsAreNoFinding(t *testing.T) {
	t.Parallel()
	conn := connect(t, testkit.NewDB(t).SuperDSN())
	if found := mutate(t, conn, "a dropped column", "ALTER TABLE parako.clients DROP COLUMN active"); len(found) > 0 {
		t.Errorf("findings: %v", found)
	}
}

// The prefix of a name that PostgreSQL prints depends on search_path, and what it shows on who asks.
func TestCleanDatabaseHasNoFindings(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	direct := db.Direct().AppDSN() // a pooler takes no search_path from a client
	for name, dsn := range map[string]string{
		"the application":        db.AppDSN(),
		"the owner":              db.OwnerDSN(),
		"a superuser":            db.SuperDSN(),
		"the auditor":            as(t, db.SuperDSN(), "parako_auditor"),
		"with a path to parako":  direct + "&search_path=parako,audit",
		"with no path to public": direct + "&search_path=pg_catalog",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := pgx.Connect(t.Context(), dsn)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(context.WithoutCancel(t.Context()))
			if found := findings(t, conn); len(found) > 0 {
				t.Errorf("findings: %v", found)
			}
		})
	}
}

// TestAccess reads the table of who could see what: an auditor's first question.
func TestAccess(t *testing.T) {
	t.Parallel()
	const (
		own  = "(tenant_id = current_tenant())"
		none = "nothing: no privilege"
	)
	db := testkit.NewDB(t)
	got := column(t, db, `
		SELECT concat_ws(' ', role_name, command, table_name, columns || ':', reach)
		  FROM audit.access
		 WHERE table_name IN ('users', 'tenants', 'audit_events')
		   AND (role_name IN ('parako_platform', 'postgres', 'parako_owner') AND command = 'SELECT'
		        OR role_name = 'parako_auditor' AND command = 'DELETE'
		        OR role_name = 'parako_app' AND command IN ('INSERT', 'UPDATE'))`)
	want := []string{
		"parako_app INSERT audit_events all: " + own, "parako_app INSERT tenants none: " + none, "parako_app INSERT users all: " + own,
		"parako_app UPDATE audit_events none: " + none, "parako_app UPDATE tenants revision, updated_at: (id = current_tenant())",
		"parako_app UPDATE users all: " + own,
		"parako_auditor DELETE audit_events none: " + none, "parako_auditor DELETE tenants none: " + none, "parako_auditor DELETE users none: " + none,
		"parako_owner SELECT audit_events all: nothing: no policy", "parako_owner SELECT tenants all: nothing: no policy",
		"parako_owner SELECT users all: nothing: no policy",
		"parako_platform SELECT audit_events none: " + none, "parako_platform SELECT tenants all: every tenant: by policy", "parako_platform SELECT users none: " + none,
		"postgres SELECT audit_events all: every tenant: SUPERUSER", "postgres SELECT tenants all: every tenant: SUPERUSER",
		"postgres SELECT users all: every tenant: SUPERUSER",
	}
	slices.SortFunc(got, cmp.Compare[string])
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("audit.access mismatch (-want +got)\n%s", diff)
	}
}
