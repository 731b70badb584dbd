package internal_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// offence is a migration that breaks a rule with its last statement, and one that does what is wanted within the rules.
type offence struct {
	rule, what    string
	earlier       string // Up of a migration before
	sql, cure     string // Up, one statement a line
	noTransaction bool   // the cure is a file without a transaction
}

const newWidgets = "CREATE TABLE parako.widgets (tenant_id uuid NOT NULL, id uuid NOT NULL, CONSTRAINT widgets_pkey PRIMARY KEY (tenant_id, id));\n"

// lifted is a data migration of parako.users.
func lifted(sql ...string) string {
	return "SET LOCAL row_security = off;\nALTER TABLE parako.users NO FORCE ROW LEVEL SECURITY;\n" +
		strings.Join(append(sql, "ALTER TABLE parako.users FORCE ROW LEVEL SECURITY;"), "\n")
}

var offences = []offence{
	{rule: "drop", what: "a table", sql: "DROP TABLE parako.users;", cure: newWidgets + "DROP TABLE parako.widgets;"},
	{rule: "drop", what: "one of two tables", sql: newWidgets + "DROP TABLE IF EXISTS parako.widgets, parako.users CASCADE;", cure: newWidgets + "DROP TABLE IF EXISTS parako.widgets CASCADE;"},
	{rule: "drop", what: "a table that may be old", sql: "CREATE TABLE IF NOT EXISTS parako.users (id uuid);\nDROP TABLE parako.users;", cure: "CREATE TABLE IF NOT EXISTS parako.users (id uuid);"},
	{rule: "drop", what: "a view", sql: "DROP VIEW audit.logins;", cure: "CREATE OR REPLACE VIEW audit.logins AS SELECT 1;"},
	{rule: "drop", what: "a view that was replaced", sql: "CREATE OR REPLACE VIEW audit.logins AS SELECT 1;\nDROP VIEW audit.logins;", cure: "CREATE VIEW audit.logouts AS SELECT 1;\nDROP VIEW audit.logouts;"},
	{rule: "drop", what: "a function", sql: "DROP FUNCTION parako.set_tenant(uuid, text), parako.f();", cure: "CREATE FUNCTION parako.f() RETURNS int LANGUAGE sql AS 'SELECT 1';\nDROP FUNCTION parako.f();"},
	{rule: "drop", what: "a schema", sql: "DROP SCHEMA audit CASCADE;", cure: "CREATE SCHEMA report;\nDROP SCHEMA report CASCADE;"},
	{rule: "drop", what: "an index", sql: "DROP INDEX parako.users_idx;", cure: newWidgets + "CREATE INDEX widgets_idx ON parako.widgets (tenant_id);\nDROP INDEX parako.widgets_idx;"},
	{rule: "drop", what: "a column", sql: "ALTER TABLE parako.users ADD COLUMN a text, DROP COLUMN name;", cure: "ALTER TABLE parako.users ADD COLUMN a text;\nALTER TABLE parako.users DROP COLUMN a;"},
	{rule: "drop", what: "a column, without the word", sql: "ALTER TABLE ONLY parako.users DROP IF EXISTS name;", cure: newWidgets + "ALTER TABLE ONLY parako.widgets DROP IF EXISTS id;"},
	{rule: "drop", what: "a constraint", sql: "ALTER TABLE parako.users DROP CONSTRAINT users_email_folded;", cure: "ALTER TABLE parako.users ADD CONSTRAINT users_x CHECK (id IS NULL) NOT VALID;\nALTER TABLE parako.users DROP CONSTRAINT users_x;"},
	{
		rule: "drop", what: "a constraint that still serves", earlier: "ALTER TABLE parako.users ADD CONSTRAINT users_name CHECK (name IS NOT NULL) NOT VALID;",
		sql:  "ALTER TABLE parako.users VALIDATE CONSTRAINT users_name;\nALTER TABLE parako.users DROP CONSTRAINT users_name;",
		cure: "ALTER TABLE parako.users VALIDATE CONSTRAINT users_name;\nALTER TABLE parako.users ALTER COLUMN name SET NOT NULL;\nALTER TABLE parako.users DROP CONSTRAINT users_name;",
	},
	{rule: "drop", what: "a default", sql: "ALTER TABLE parako.users ALTER roles DROP DEFAULT;", cure: "ALTER TABLE parako.users ALTER roles DROP NOT NULL;"},
	{rule: "drop", what: "a partition", sql: "ALTER TABLE parako.audit_events DETACH PARTITION parako.audit_events_rest;", cure: "ALTER TABLE parako.audit_events ATTACH PARTITION parako.audit_events_rest DEFAULT;"},
	{rule: "drop", what: "rows", sql: "TRUNCATE TABLE ONLY parako.codes;", cure: newWidgets + "TRUNCATE parako.widgets;"},
	{rule: "drop", what: "a privilege", sql: "REVOKE SELECT (name), UPDATE ON parako.users FROM PUBLIC, parako_app;", cure: "REVOKE SELECT ON parako.users FROM PUBLIC;"},
	{rule: "drop", what: "a membership", sql: "REVOKE parako_app FROM deployer;", cure: newWidgets + "REVOKE ALL ON TABLE parako.widgets FROM parako_app;"},

	{rule: "rename", what: "a table", sql: "ALTER TABLE parako.users RENAME TO people;", cure: "CREATE VIEW parako.people WITH (security_invoker = true) AS SELECT * FROM parako.users;"},
	{rule: "rename", what: "a column", sql: "ALTER TABLE parako.users RENAME COLUMN name TO full_name;", cure: "ALTER TABLE parako.users ADD COLUMN full_name text;"},
	{rule: "rename", what: "a column, without the word", sql: "ALTER TABLE parako.users RENAME name TO full_name;", cure: "COMMENT ON COLUMN parako.users.name IS 'rename to full_name';"},
	{rule: "rename", what: "a view", sql: "ALTER VIEW audit.logins RENAME COLUMN ip TO address;", cure: "ALTER VIEW audit.logins SET (security_invoker = true);"},
	{rule: "rename", what: "a function", sql: "ALTER FUNCTION parako.set_tenant(uuid) RENAME TO choose;", cure: "ALTER FUNCTION parako.set_tenant(uuid) VOLATILE;"},
	{rule: "rename", what: "a schema of a table", sql: "ALTER TABLE parako.users SET SCHEMA audit;", cure: "ALTER TABLE parako.users SET (fillfactor = 90);"},

	{rule: "rewrite", what: "a type", sql: "ALTER TABLE parako.users ALTER COLUMN name TYPE bytea USING name::bytea;", cure: newWidgets + "ALTER TABLE parako.widgets ALTER id TYPE text;"},
	{rule: "rewrite", what: "a type, in full", sql: "ALTER TABLE parako.audit_events ALTER type SET DATA TYPE text;", cure: "ALTER TABLE parako.audit_events ALTER COLUMN type SET DEFAULT 'x';"},
	{rule: "rewrite", what: "a volatile default", sql: "ALTER TABLE parako.users ADD COLUMN tag uuid NOT NULL DEFAULT gen_random_uuid();", cure: "ALTER TABLE parako.users ADD COLUMN tag uuid;\nALTER TABLE parako.users ALTER COLUMN tag SET DEFAULT gen_random_uuid();"},
	{rule: "rewrite", what: "a volatile default inside", sql: "ALTER TABLE parako.users ADD seen timestamptz DEFAULT (now() - random() * interval '1 day') NOT NULL;", cure: "ALTER TABLE parako.users ADD seen timestamptz DEFAULT (now() - interval '1 day') NOT NULL;"},
	{rule: "rewrite", what: "a generated column", sql: "ALTER TABLE parako.users ADD COLUMN short text GENERATED ALWAYS AS (left(name, 1)) STORED;", cure: newWidgets + "ALTER TABLE parako.widgets ADD COLUMN short text GENERATED ALWAYS AS (left(id::text, 1)) STORED;"},

	{rule: "notnull", what: "a new column", sql: "ALTER TABLE parako.users ADD COLUMN level integer NOT NULL;", cure: "ALTER TABLE parako.users ADD COLUMN level integer NOT NULL DEFAULT 0;"},
	{rule: "notnull", what: "a column that may be new", sql: "ALTER TABLE parako.users ADD IF NOT EXISTS level integer NOT NULL;", cure: "ALTER TABLE parako.users ADD IF NOT EXISTS level integer;"},
	{rule: "notnull", what: "an old column", sql: "ALTER TABLE parako.users ALTER name SET NOT NULL;", cure: newWidgets + "ALTER TABLE parako.widgets ALTER id SET NOT NULL;"},
	{
		rule: "notnull", what: "a check that is not validated", earlier: "ALTER TABLE parako.users ADD CONSTRAINT users_name CHECK (name IS NOT NULL) NOT VALID;",
		sql:  "ALTER TABLE parako.users ALTER COLUMN name SET NOT NULL;",
		cure: "ALTER TABLE parako.users VALIDATE CONSTRAINT users_name;\nALTER TABLE parako.users ALTER COLUMN name SET NOT NULL;",
	},
	{
		rule: "notnull", what: "a check of another column", earlier: "ALTER TABLE parako.users ADD CONSTRAINT users_name CHECK (name IS NOT NULL) NOT VALID;\nALTER TABLE parako.clients ADD CONSTRAINT users_x CHECK (x IS NOT NULL) NOT VALID;",
		sql:  "ALTER TABLE parako.users VALIDATE CONSTRAINT users_name;\nALTER TABLE parako.users ALTER COLUMN x SET NOT NULL;",
		cure: "ALTER TABLE parako.users VALIDATE CONSTRAINT users_name;\nALTER TABLE parako.users ALTER COLUMN name SET NOT NULL;",
	},

	{rule: "validate", what: "a check", sql: "ALTER TABLE parako.users ADD CONSTRAINT users_x CHECK (name <> '');", cure: "ALTER TABLE parako.users ADD CONSTRAINT users_x CHECK (name <> '') NOT VALID;"},
	{rule: "validate", what: "a foreign key", sql: "ALTER TABLE parako.users ADD CONSTRAINT users_x FOREIGN KEY (tenant_id, id) REFERENCES parako.clients (tenant_id, id);", cure: "ALTER TABLE parako.users ADD CONSTRAINT users_x FOREIGN KEY (tenant_id, id) REFERENCES parako.clients (tenant_id, id) NOT VALID;"},
	{rule: "validate", what: "a check of a new column", sql: "ALTER TABLE parako.users ADD COLUMN level integer CONSTRAINT users_level CHECK (level > 0);", cure: "ALTER TABLE parako.users ADD COLUMN level integer, ADD CONSTRAINT users_level CHECK (level > 0) NOT VALID;"},
	{rule: "validate", what: "a reference of a new column", sql: "ALTER TABLE parako.users ADD COLUMN level uuid CONSTRAINT users_level REFERENCES parako.levels (id);", cure: newWidgets + "ALTER TABLE parako.widgets ADD COLUMN level uuid CONSTRAINT users_level REFERENCES parako.levels (id);"},
	{rule: "validate", what: "in the same statement", sql: "ALTER TABLE parako.users ADD CONSTRAINT users_x CHECK (name <> '') NOT VALID, VALIDATE CONSTRAINT users_x;", cure: newWidgets + "ALTER TABLE parako.widgets ADD CONSTRAINT widgets_x CHECK (id IS NOT NULL);"},
	{
		rule: "validate", what: "in the same file", earlier: "ALTER TABLE parako.users ADD CONSTRAINT users_old CHECK (name <> '') NOT VALID;",
		sql:  "ALTER TABLE parako.users ADD CONSTRAINT users_x CHECK (name <> '') NOT VALID;\nALTER TABLE parako.users VALIDATE CONSTRAINT users_x;",
		cure: "ALTER TABLE parako.users ADD CONSTRAINT users_x CHECK (name <> '') NOT VALID;\nALTER TABLE parako.users VALIDATE CONSTRAINT users_old;",
	},

	{rule: "unique", what: "a unique key", sql: "ALTER TABLE parako.users ADD CONSTRAINT users_x UNIQUE (tenant_id, name);", cure: "ALTER TABLE parako.users ADD CONSTRAINT users_x UNIQUE USING INDEX users_x;"},
	{rule: "unique", what: "a primary key", sql: "ALTER TABLE parako.users ADD CONSTRAINT users_x PRIMARY KEY (tenant_id, id);", cure: newWidgets + "ALTER TABLE parako.widgets ADD CONSTRAINT widgets_x UNIQUE (tenant_id, id);"},
	{rule: "unique", what: "an exclusion", sql: "ALTER TABLE parako.users ADD CONSTRAINT users_x EXCLUDE USING gist (id WITH =);", cure: newWidgets + "ALTER TABLE parako.widgets ADD CONSTRAINT widgets_x EXCLUDE USING gist (id WITH =);"},
	{rule: "unique", what: "a new column", sql: "ALTER TABLE parako.users ADD COLUMN tag text CONSTRAINT users_x UNIQUE;", cure: "ALTER TABLE parako.users ADD COLUMN tag text;"},

	{rule: "index", what: "not concurrently", sql: "CREATE INDEX users_x ON parako.users (tenant_id);", cure: newWidgets + "CREATE UNIQUE INDEX widgets_x ON parako.widgets (tenant_id);"},
	{rule: "index", what: "of a parent alone", sql: "CREATE UNIQUE INDEX IF NOT EXISTS events_x ON ONLY parako.audit_events (tenant_id);", cure: newWidgets + "CREATE INDEX IF NOT EXISTS widgets_x ON ONLY parako.widgets (tenant_id);"},
	{rule: "index", what: "over the rest of an attempt", noTransaction: true, sql: "CREATE INDEX CONCURRENTLY users_x ON parako.users (tenant_id);", cure: "DROP INDEX CONCURRENTLY IF EXISTS parako.users_x;\nCREATE INDEX CONCURRENTLY users_x ON parako.users (tenant_id);"},
	{rule: "index", what: "without a name", noTransaction: true, sql: "CREATE INDEX CONCURRENTLY ON parako.users (tenant_id);", cure: "DROP INDEX CONCURRENTLY IF EXISTS parako.users_x;\nCREATE UNIQUE INDEX CONCURRENTLY users_x ON parako.users (tenant_id);"},
	{rule: "index", what: "that may be invalid", noTransaction: true, sql: "CREATE INDEX CONCURRENTLY IF NOT EXISTS users_x ON parako.users (tenant_id);", cure: "DROP INDEX CONCURRENTLY IF EXISTS parako.users_x;\nCREATE INDEX CONCURRENTLY users_x ON ONLY parako.users (tenant_id);"},
	{rule: "drop", what: "an index, concurrently", noTransaction: true, sql: "DROP INDEX CONCURRENTLY IF EXISTS parako.users_x;", cure: "DROP INDEX CONCURRENTLY IF EXISTS parako.users_x;\nCREATE INDEX CONCURRENTLY users_x ON parako.users (tenant_id);"},

	{rule: "transaction", what: "ended", sql: "COMMIT;", cure: "SELECT 'commit';"},
	{rule: "transaction", what: "around CONCURRENTLY", sql: "REINDEX INDEX CONCURRENTLY parako.users_pkey;", cure: "COMMENT ON INDEX parako.users_pkey IS 'built concurrently';"},
	{rule: "transaction", what: "missing", noTransaction: true, sql: "ALTER TABLE parako.users ADD COLUMN a text;", cure: "REINDEX INDEX CONCURRENTLY parako.users_pkey;"},

	{rule: "lock", what: "a table", sql: "LOCK TABLE parako.users IN SHARE MODE;", cure: "SELECT 1 FROM parako.tenants FOR SHARE;"},

	{rule: "name", what: "of a key", sql: "CREATE TABLE parako.widgets (id uuid, PRIMARY KEY (id));", cure: "CREATE TABLE parako.widgets (id uuid, CONSTRAINT widgets_pkey PRIMARY KEY (id));"},
	{rule: "name", what: "of a check on a column", sql: "CREATE TABLE parako.widgets (id uuid CHECK (id IS NOT NULL));", cure: "CREATE TABLE parako.widgets (id uuid CONSTRAINT widgets_id CHECK (id IS NOT NULL));"},
	{rule: "name", what: "of the second check", sql: "CREATE TABLE parako.widgets (id uuid CONSTRAINT a CHECK (true) CHECK (false));", cure: "CREATE TABLE parako.widgets (id uuid CONSTRAINT a CHECK (true) CONSTRAINT b CHECK (false));"},
	{rule: "name", what: "of a reference", sql: "CREATE TABLE parako.widgets (tenant_id uuid NOT NULL REFERENCES parako.users (id));", cure: "CREATE TABLE parako.widgets (tenant_id uuid NOT NULL REFERENCES parako.tenants (id));"},
	{rule: "name", what: "of a new constraint", sql: "ALTER TABLE parako.users ADD CHECK (name <> '') NOT VALID;", cure: "ALTER TABLE parako.users ADD CONSTRAINT users_x CHECK (name <> '') NOT VALID;"},
	{rule: "name", what: "of a reference of a new column", sql: newWidgets + "ALTER TABLE parako.widgets ADD COLUMN a uuid REFERENCES parako.a (id);", cure: newWidgets + "ALTER TABLE parako.widgets ADD COLUMN a uuid CONSTRAINT widgets_a REFERENCES parako.a (id);"},

	{rule: "type", what: "varchar", sql: "CREATE TABLE parako.widgets (name varchar(20) NOT NULL);", cure: "CREATE TABLE parako.widgets (name text NOT NULL CONSTRAINT widgets_name CHECK (char_length(name) < 21));"},
	{rule: "type", what: "character varying", sql: "ALTER TABLE parako.users ADD COLUMN a character varying(20);", cure: "ALTER TABLE parako.users ADD COLUMN a text;"},
	{rule: "type", what: "char", sql: "CREATE TABLE parako.widgets (name char(2)[]);", cure: "CREATE TABLE parako.widgets (name text[]);"},
	{rule: "type", what: "timestamp", sql: "CREATE TABLE parako.widgets (since timestamp NOT NULL DEFAULT now());", cure: "CREATE TABLE parako.widgets (since timestamptz NOT NULL DEFAULT now());"},
	{rule: "type", what: "timestamp, in full", sql: "CREATE TABLE parako.widgets (since timestamp(3) without time zone);", cure: "CREATE TABLE parako.widgets (since timestamp(3) with time zone);"},

	{rule: "enum", what: "a new one", sql: "CREATE TYPE parako.mood AS ENUM ('sad');", cure: "CREATE TYPE parako.mood AS (a text);"},
	{rule: "enum", what: "a new value", sql: "ALTER TYPE parako.mood ADD VALUE 'glad';", cure: "ALTER TYPE parako.mood OWNER TO parako_owner;"},

	{rule: "sequence", what: "serial", sql: "CREATE TABLE parako.widgets (id bigserial NOT NULL);", cure: "CREATE TABLE parako.widgets (id uuid NOT NULL);"},
	{rule: "sequence", what: "identity", sql: "CREATE TABLE parako.widgets (id bigint GENERATED BY DEFAULT AS IDENTITY);", cure: "CREATE TABLE parako.widgets (id bigint GENERATED ALWAYS AS (1) STORED);"},
	{rule: "sequence", what: "identity of an old column", sql: "ALTER TABLE parako.users ALTER COLUMN a ADD GENERATED ALWAYS AS IDENTITY;", cure: "ALTER TABLE parako.users ALTER COLUMN a SET DEFAULT 1;"},
	{rule: "sequence", what: "by itself", sql: "CREATE SEQUENCE parako.counter;", cure: "CREATE VIEW parako.counter AS SELECT 1;"},
	{rule: "sequence", what: "its next value", sql: "ALTER TABLE parako.users ALTER COLUMN a SET DEFAULT nextval('parako.counter');", cure: "ALTER TABLE parako.users ALTER COLUMN a SET DEFAULT 'nextval(1)';"},

	{rule: "trigger", what: "a plain one", sql: "CREATE TRIGGER t BEFORE INSERT ON parako.users EXECUTE FUNCTION parako.f();", cure: "CREATE FUNCTION parako.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END';"},
	{rule: "trigger", what: "a constraint", sql: "CREATE OR REPLACE CONSTRAINT TRIGGER t AFTER INSERT ON parako.users EXECUTE FUNCTION parako.f();", cure: "COMMENT ON TABLE parako.users IS 'no trigger';"},
	{rule: "setnull", what: "on DELETE", sql: "CREATE TABLE parako.widgets (tenant_id uuid REFERENCES parako.tenants (id) ON DELETE SET NULL);", cure: "CREATE TABLE parako.widgets (tenant_id uuid REFERENCES parako.tenants (id) ON DELETE CASCADE);"},
	{rule: "setnull", what: "by default", sql: "ALTER TABLE parako.users ADD CONSTRAINT users_x FOREIGN KEY (tenant_id) REFERENCES parako.tenants (id) ON UPDATE SET DEFAULT NOT VALID;", cure: "ALTER TABLE parako.users ALTER name SET DEFAULT NULL;"},

	{rule: "extension", what: "a new one", sql: "CREATE EXTENSION IF NOT EXISTS pgcrypto;", cure: "SELECT gen_random_uuid();"},

	{rule: "grant", what: "ALL", sql: "GRANT ALL PRIVILEGES ON parako.users TO parako_app;", cure: "GRANT SELECT ON ALL TABLES IN SCHEMA parako TO parako_app;"},
	{rule: "grant", what: "to PUBLIC", sql: "GRANT SELECT ON parako.users TO parako_app, PUBLIC;", cure: "GRANT SELECT ON parako.users TO parako_app, parako_platform;"},
	{rule: "grant", what: "to be passed on", sql: "GRANT SELECT ON parako.users TO parako_app WITH GRANT OPTION;", cure: "GRANT SELECT ON parako.users TO parako_app;"},
	{rule: "grant", what: "by default", sql: "ALTER DEFAULT PRIVILEGES IN SCHEMA parako GRANT SELECT ON TABLES TO parako_app;", cure: "GRANT EXECUTE ON FUNCTION parako.f() TO parako_app;"},

	{rule: "policy", what: "a new one", sql: "CREATE POLICY p ON parako.users TO parako_app USING (true);", cure: newWidgets + "CREATE POLICY p ON parako.widgets TO parako_app USING (true);"},
	{rule: "policy", what: "another one", sql: "ALTER POLICY p ON parako.users USING (true);", cure: newWidgets + "ALTER POLICY p ON parako.widgets USING (true);"},
	{rule: "policy", what: "none", sql: "DROP POLICY IF EXISTS p ON parako.users;", cure: newWidgets + "DROP POLICY IF EXISTS p ON parako.widgets;"},
	{rule: "policy", what: "inside a pair", sql: lifted("CREATE POLICY p ON parako.users USING (true);"), cure: lifted("COMMENT ON TABLE parako.users IS 'x';")},
	{rule: "policy", what: "no security", sql: "ALTER TABLE parako.users DISABLE ROW LEVEL SECURITY;", cure: newWidgets + "ALTER TABLE parako.widgets ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"},
	{rule: "policy", what: "FORCE without NO FORCE", sql: "ALTER TABLE parako.users FORCE ROW LEVEL SECURITY;", cure: "ALTER TABLE parako.users NO FORCE ROW LEVEL SECURITY;\nALTER TABLE parako.users FORCE ROW LEVEL SECURITY;"},

	{rule: "force", what: "never again", sql: "ALTER TABLE parako.users NO FORCE ROW LEVEL SECURITY;", cure: lifted()},
	{rule: "force", what: "before", sql: lifted() + "\nALTER TABLE parako.users NO FORCE ROW LEVEL SECURITY;", cure: newWidgets + "ALTER TABLE parako.widgets NO FORCE ROW LEVEL SECURITY;\nDROP TABLE parako.widgets;"},
	{rule: "force", what: "of another table", sql: newWidgets + "ALTER TABLE parako.widgets NO FORCE ROW LEVEL SECURITY;\nALTER TABLE parako.users NO FORCE ROW LEVEL SECURITY;\nALTER TABLE parako.users FORCE ROW LEVEL SECURITY;", cure: lifted() + "\n" + lifted()},

	{rule: "data", what: "UPDATE", sql: "UPDATE parako.users SET name = '';", cure: lifted("UPDATE parako.users SET name = '';")},
	{rule: "data", what: "UPDATE ONLY, with an alias", sql: "UPDATE ONLY parako.users AS u SET name = '';", cure: lifted("UPDATE ONLY parako.users AS u SET name = '';")},
	{rule: "data", what: "DELETE", sql: "DELETE FROM parako.users WHERE name = '';", cure: lifted("DELETE FROM parako.users WHERE name = '';")},
	{rule: "data", what: "INSERT", sql: "INSERT INTO parako.users (id) SELECT id FROM parako.users;", cure: lifted("INSERT INTO parako.users (id) SELECT id FROM parako.users;")},
	{rule: "data", what: "MERGE", sql: "MERGE INTO parako.users AS u USING (VALUES (1)) AS v ON true WHEN MATCHED THEN DELETE;", cure: "SELECT 1 FROM parako.users FOR UPDATE;"},
	{rule: "data", what: "inside WITH", sql: "WITH d AS (DELETE FROM parako.users RETURNING id) SELECT count(*) FROM d;", cure: lifted("WITH d AS (DELETE FROM parako.users RETURNING id) SELECT count(*) FROM d;")},
	{rule: "data", what: "of a new table", sql: newWidgets + "INSERT INTO parako.widgets (id) SELECT id FROM parako.users;", cure: "CREATE TEMP TABLE widgets (id uuid);\nINSERT INTO widgets (id) SELECT id FROM parako.users;"},
	{rule: "data", what: "without a schema", sql: "UPDATE users SET name = '';", cure: "UPDATE public.goose_db_version SET is_applied = true;"},
	{rule: "data", what: "after FORCE", sql: lifted() + "\nUPDATE parako.users SET name = '';", cure: "GRANT INSERT, UPDATE, DELETE ON parako.users TO parako_app;"},
	{rule: "data", what: "under FORCE", sql: "SET LOCAL row_security = off;\nUPDATE parako.users SET name = '';", cure: "SET LOCAL row_security = off;\nSELECT count(*) FROM parako.users;"},
	{rule: "data", what: "of a table that is still forced", sql: lifted("DELETE FROM parako.clients;"), cure: lifted("DELETE FROM parako.users;")},
	{rule: "data", what: "that may be silent", sql: "ALTER TABLE parako.users NO FORCE ROW LEVEL SECURITY;\nDELETE FROM parako.users;\nALTER TABLE parako.users FORCE ROW LEVEL SECURITY;", cure: lifted("DELETE FROM parako.users;")},
	{rule: "data", what: "that may be silent again", sql: lifted("SET LOCAL row_security = on;\nDELETE FROM parako.users;"), cure: lifted("SET LOCAL work_mem = '64MB';\nDELETE FROM parako.users;")},
	{rule: "data", what: "for the whole session", sql: "SET row_security = off;\nALTER TABLE parako.users NO FORCE ROW LEVEL SECURITY;\nDELETE FROM parako.users;\nALTER TABLE parako.users FORCE ROW LEVEL SECURITY;", cure: lifted("DELETE FROM parako.users;")},

	{rule: "tenant", what: "given away", sql: lifted("UPDATE parako.users SET name = '', tenant_id = id;"), cure: lifted("UPDATE parako.users SET name = '' WHERE name = 'x' AND tenant_id = id;")},
	{rule: "tenant", what: "given away with others", sql: lifted("UPDATE parako.users SET (name, tenant_id) = ('', id);"), cure: lifted("UPDATE parako.users SET (name, locale) = ('', '');")},
	{rule: "tenant", what: "given away on conflict", sql: lifted("INSERT INTO parako.users (id) VALUES ('x') ON CONFLICT DO UPDATE SET tenant_id = excluded.id;"), cure: lifted("INSERT INTO parako.users (id) VALUES ('x') ON CONFLICT (tenant_id, id) DO UPDATE SET name = '';")},
	{rule: "tenant", what: "in UPDATE FROM", sql: lifted("UPDATE parako.users AS u SET name = c.id FROM parako.clients AS c WHERE c.id = u.name;"), cure: lifted("UPDATE parako.users AS u SET name = c.id FROM parako.clients AS c WHERE c.tenant_id = u.tenant_id AND c.id = u.name;")},
	{rule: "tenant", what: "in DELETE USING", sql: lifted("DELETE FROM parako.users AS u USING parako.tenants AS t WHERE t.status = 'archived';"), cure: lifted("DELETE FROM parako.users AS u USING parako.tenants AS t WHERE t.id = u.tenant_id AND t.status = 'archived';")},
	{rule: "tenant", what: "in a subquery", sql: lifted("UPDATE parako.users AS u SET name = (SELECT c.id FROM parako.clients AS c WHERE c.id = u.name);"), cure: lifted("UPDATE parako.users AS u SET name = (SELECT c.id FROM parako.clients AS c WHERE c.tenant_id = u.tenant_id AND c.id = u.name);")},
	{rule: "tenant", what: "in the second of two joins", sql: lifted("INSERT INTO parako.users (id) SELECT a.id FROM parako.a JOIN parako.b USING (tenant_id, x) JOIN parako.c ON c.x = b.x;"), cure: lifted("INSERT INTO parako.users (id) SELECT a.id FROM parako.a JOIN parako.b USING (tenant_id, x) JOIN parako.c ON c.tenant_id = b.tenant_id;")},

	{rule: "unreadable", what: "a variable", sql: "DO $$ BEGIN EXECUTE command; END $$;", cure: "DO $$ BEGIN EXECUTE 'COMMENT ON TABLE ' || name || ' IS NULL'; END $$;"},
	{rule: "unreadable", what: "a variable and more", sql: "DO $$ BEGIN FOR r IN EXECUTE verb || ' TABLE parako.users' LOOP NULL; END LOOP; END $$;", cure: "DO $$ BEGIN FOR r IN EXECUTE format('SELECT 1 FROM %I', name) LOOP NULL; END LOOP; END $$;"},
	{rule: "unreadable", what: "a CASE statement", sql: "DO $$ BEGIN CASE a WHEN 1 THEN DROP TABLE parako.users; END CASE; END $$;", cure: "DO $$ BEGIN a := CASE WHEN b THEN 1 END; END $$;"},
}

// file writes the migration with this Up and Down.
func (o offence) file(up, down string) string {
	head := "-- +goose Up\n"
	if o.noTransaction {
		head = "-- +goose NO TRANSACTION\n" + head
	}
	return head + up + "\n\n-- +goose Down\n" + down + "\n"
}

// broken returns the rules that the file breaks, and the lines where it does.
func (o offence) broken(t *testing.T, file string) (rules []string, lines []int) {
	t.Helper()
	for _, f := range lint(readMigration("1.sql", "-- +goose Up\n"+o.earlier), readMigration("2.sql", file)) {
		var line int
		var rule string
		if _, err := fmt.Sscanf(f, "2.sql:%d: %s", &line, &rule); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		rules, lines = append(rules, strings.TrimSuffix(rule, ":")), append(lines, line)
	}
	return rules, lines
}

// Wherever a statement stands, it breaks the same rules.
var wrappings = map[string]func(sql string) string{
	"alone":         func(sql string) string { return sql },
	"in a DO block": func(sql string) string { return "DO $wrap$\nBEGIN\n" + sql + "\nEND\n$wrap$;" },
	"in branches": func(sql string) string {
		return "DO LANGUAGE plpgsql $wrap$\nBEGIN\nIF a THEN\n" + strings.ReplaceAll(sql, ";\n", ";\nELSE\n") + "\nEND IF;\nEND\n$wrap$;"
	},
	"in a function": func(sql string) string {
		return "CREATE OR REPLACE FUNCTION parako.f(a text DEFAULT 'x') RETURNS void LANGUAGE plpgsql AS $wrap$\nBEGIN\n" + sql + "\nEND\n$wrap$;"
	},
	"in EXECUTE": func(sql string) string {
		var all strings.Builder
		for line := range strings.SplitSeq(sql, "\n") {
			all.WriteString("EXECUTE '" + strings.ReplaceAll(line, "'", "''") + "';\n")
		}
		return "DO $wrap$\nBEGIN\n" + all.String() + "END\n$wrap$;"
	},
}

func TestOffencesAreFound(t *testing.T) {
	t.Parallel()
	for _, o := range offences {
		for where, wrap := range wrappings {
			if o.noTransaction && where != "alone" {
				continue
			}
			t.Run(o.rule+" "+o.what+" "+where, func(t *testing.T) {
				t.Parallel()
				o.prove(t, wrap(o.sql), wrap(o.cure))
			})
		}
	}
	for _, rule := range lintRules {
		if !slices.ContainsFunc(offences, func(o offence) bool { return o.rule == rule.name }) {
			t.Errorf("no offence proves the rule %s", rule.name)
		}
	}
}

// prove finds the offence once, and not where it is allowed or avoided.
func (o offence) prove(t *testing.T, sql, cure string) {
	t.Helper()
	one := []string{o.rule}
	expect := func(what, file string, want []string) (lines []int) {
		got, lines := o.broken(t, file)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("rules broken by %s mismatch (-want +got)\n%s\n%s", what, diff, file)
		}
		return lines
	}
	const allowance = "-- lint: allow %s: because\n"
	lines := expect("the offence", o.file(sql, ""), one)
	expect("the cure", o.file(cure, ""), nil)
	if len(lines) == 1 {
		above := strings.SplitAfterN(o.file(sql, ""), "\n", lines[0])
		above[lines[0]-1] = fmt.Sprintf(allowance, o.rule) + above[lines[0]-1]
		expect("the offence with an allowance", strings.Join(above, ""), nil)
	}
	expect("the cure with an allowance", o.file(fmt.Sprintf(allowance, o.rule)+cure, ""), one)

	inDown := slices.ContainsFunc(lintRules, func(r lintRule) bool { return r.name == o.rule && r.inDown })
	if inDown {
		expect("the offence in Down", o.file("", sql), one)
	} else {
		expect("the offence in Down", o.file("", sql), nil)
	}
	expect("the cure in Down", o.file("", cure), nil)
}
