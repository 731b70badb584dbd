package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// tryTables goes through every table.
func (p *prover) tryTables(ctx context.Context) error {
	p.proof.Tables = len(p.tables)
	for _, t := range p.tables {
		if t.tenant == "" {
			if err := p.tryAll(ctx, t.globalAttempts()); err != nil {
				return err
			}
			continue
		}
		row, err := p.rowOf(ctx, t)
		if err != nil {
			return err
		}
		if err := p.tryAll(ctx, t.attempts(row, p.victim)); err != nil {
			return err
		}
	}
	return nil
}

func (p *prover) tryAll(ctx context.Context, attempts []attempt) error {
	for _, a := range attempts {
		if err := p.try(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// victimRow is what the attacker is assumed to know of a row of the victim: all of it, and where it lies.
type victimRow struct {
	json, place string
	keys        map[string]string // values of foreign keys, as SQL
}

// rowOf looks at a row of the victim as the victim, and returns to the attacker.
func (p *prover) rowOf(ctx context.Context, t canaryTable) (victimRow, error) {
	row := victimRow{keys: map[string]string{}}
	if err := p.become(ctx, p.victim); err != nil {
		return row, err
	}
	err := p.tx.QueryRow(ctx, fmt.Sprintf("SELECT row_to_json(r)::text, r.ctid::text FROM %s AS r WHERE %s = $1 LIMIT 1", t.name, t.tenant), p.victim).Scan(&row.json, &row.place)
	if err != nil {
		return row, fmt.Errorf("read the canary of %s: %w", t.name, err)
	}
	for _, c := range t.columns {
		if c.parent == "" {
			continue
		}
		var value string
		if err := p.tx.QueryRow(ctx, fmt.Sprintf("SELECT quote_literal(%s) FROM %s WHERE tenant_id = $1 LIMIT 1", c.key, c.parent), p.victim).Scan(&value); err != nil {
			return row, fmt.Errorf("read the canary of %s: %w", c.parent, err)
		}
		row.keys[c.name] = value
	}
	return row, p.become(ctx, p.attacker)
}

// attempts is everything that is tried on a tenant's table.
func (t canaryTable) attempts(row victimRow, other uuid.UUID) []attempt {
	tenant, victim := pgx.Identifier{t.tenant}.Sanitize(), "'"+other.String()+"'"
	literal := strings.ReplaceAll(row.json, "'", "''")
	theirs := "SELECT * FROM json_populate_record(NULL::" + t.name + ", '" + literal + "')"
	change, overwrite := tenant+" = "+tenant, tenant+" = excluded."+tenant
	for _, c := range t.columns {
		change = pgx.Identifier{c.name}.Sanitize() + " = " + pgx.Identifier{c.name}.Sanitize()
		overwrite = pgx.Identifier{c.name}.Sanitize() + " = excluded." + pgx.Identifier{c.name}.Sanitize()
		break
	}
	key := strings.Join(append([]string{tenant}, t.keys...), ", ")
	list := []attempt{
		{what: "read it by its tenant", want: touchesNone, sql: []string{"SELECT r::text FROM " + t.name + " AS r WHERE " + tenant + " = " + victim}},
		{what: "read everything", want: touchesNone, sql: []string{"SELECT r::text FROM " + t.name + " AS r"}},
		{what: "read what is not its own", want: touchesNone, sql: []string{"SELECT r::text FROM " + t.name + " AS r WHERE " + tenant + " <> parako.current_tenant() OR " + tenant + " IS NULL"}},
		{what: "read it where it lies", want: touchesNone, sql: []string{"SELECT r::text FROM " + t.name + " AS r WHERE ctid = '" + row.place + "'"}},
		{what: "lock it", want: touchesNone, sql: []string{"SELECT r::text FROM " + t.name + " AS r WHERE " + tenant + " = " + victim + " FOR UPDATE"}},
		{what: "sample it", want: touchesNone, sql: []string{"SELECT r::text FROM " + t.name + " AS r TABLESAMPLE SYSTEM (100)"}},
		{what: "copy it", want: touchesNone, copied: true, sql: []string{"COPY (SELECT * FROM " + t.name + ") TO STDOUT"}},
		{what: "copy the table", want: touchesNone, copied: true, sql: []string{"COPY " + t.name + " TO STDOUT"}},
		{what: "feel for it with a division by zero", want: touchesNone, sql: []string{"SELECT 1 FROM " + t.name + " WHERE 1 / (CASE WHEN " + tenant + " = " + victim + " THEN 0 ELSE 1 END) = 0"}},
		{what: "spy on it from a cheap function", want: touchesNone, sql: []string{
			"CREATE FUNCTION pg_temp.spy(uuid) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$BEGIN IF $1 = " + victim + " THEN RAISE EXCEPTION 'seen' USING ERRCODE = 'P0666'; END IF; RETURN true; END$$",
			"SELECT 1 FROM " + t.name + " WHERE pg_temp.spy(" + tenant + ")",
		}},
		{what: "read its statistics", want: touchesNone, sql: []string{"SELECT s::text FROM pg_stats AS s WHERE schemaname = 'parako' AND tablename = '" + t.bare + "'"}},
		{what: "read with row-level security off", sql: []string{"SET LOCAL row_security = off", "SELECT r::text FROM " + t.name + " AS r"}},
		{what: "change it", want: touchesNone, sql: []string{"UPDATE " + t.name + " SET " + change + " WHERE " + tenant + " = " + victim}},
		{what: "change everything", want: showsNothing, sql: []string{"UPDATE " + t.name + " AS r SET " + change + " RETURNING r::text"}},
		{what: "give its own away", sql: []string{"UPDATE " + t.name + " SET " + tenant + " = " + victim}},
		{what: "remove it", want: touchesNone, sql: []string{"DELETE FROM " + t.name + " WHERE " + tenant + " = " + victim}},
		{what: "remove everything", want: showsNothing, codes: []string{insufficientPrivilege, foreignKeyViolation}, sql: []string{"DELETE FROM " + t.name + " AS r RETURNING r::text"}},
		{what: "merge into it", want: touchesNone, sql: []string{"MERGE INTO " + t.name + " AS r USING (VALUES (1)) AS v (n) ON r." + tenant + " = " + victim + " WHEN MATCHED THEN DELETE"}},
		{what: "add to it", sql: []string{"INSERT INTO " + t.name + " " + theirs}},
		{what: "learn from a conflict whether it is there", sql: []string{"INSERT INTO " + t.name + " " + theirs + " ON CONFLICT DO NOTHING"}},
		{what: "overwrite it by a conflict", sql: []string{"INSERT INTO " + t.name + " " + theirs + " ON CONFLICT (" + key + ") DO UPDATE SET " + overwrite}},
		{what: "empty it", sql: []string{"TRUNCATE " + t.name + " CASCADE"}},
		{what: "open it", sql: []string{"ALTER TABLE " + t.name + " DISABLE ROW LEVEL SECURITY"}},
		{what: "take a policy away", sql: []string{"DROP POLICY tenant_boundary ON " + t.name}},
		{what: "add a policy", sql: []string{"CREATE POLICY mine ON " + t.name + " USING (true)"}},
		{what: "add a trigger", sql: []string{"CREATE TRIGGER mine BEFORE UPDATE ON " + t.name + " EXECUTE FUNCTION suppress_redundant_updates_trigger()"}},
		{what: "add a rule", sql: []string{"CREATE RULE mine AS ON INSERT TO " + t.name + " DO ALSO NOTHING"}},
		{what: "add an index", sql: []string{"CREATE INDEX mine ON " + t.name + " (" + tenant + ")"}},
	}
	list = append(list, t.ownUnderTheirKey(literal)...)
	for name, value := range row.keys {
		list = append(list, attempt{
			what: "refer to it", codes: []string{insufficientPrivilege, foreignKeyViolation},
			sql: []string{"UPDATE " + t.name + " SET " + pgx.Identifier{name}.Sanitize() + " = " + value},
		})
	}
	for i := range list {
		list[i].object = t.name
	}
	return list
}

// ownUnderTheirKey adds a row of the attacker's own with the values of the victim's: what exists elsewhere is free here. A
// conflict would tell that it exists. A foreign key may refuse it, as it does any value that is not there.
func (t canaryTable) ownUnderTheirKey(literal string) []attempt {
	if t.bare == "tenants" || t.alone {
		return nil // Its key is the tenant.
	}
	mine := "SELECT (json_populate_record(NULL::" + t.name + ", (jsonb '" + literal + "' || jsonb_build_object('" + t.tenant + "', parako.current_tenant()))::json)).*"
	return []attempt{{
		what: "take the same key for a row of its own", want: showsNothing, codes: []string{insufficientPrivilege, foreignKeyViolation},
		sql: []string{"INSERT INTO " + t.name + " " + mine},
	}}
}

// globalAttempts is what is tried on a table that belongs to no tenant: nothing leads into it but what the promises name.
func (t canaryTable) globalAttempts() []attempt {
	column := pgx.Identifier{t.columns[0].name}.Sanitize()
	list := []attempt{
		{what: "list it", want: touchesNone, sql: []string{"SELECT r::text FROM " + t.name + " AS r"}},
		{what: "change it", want: touchesNone, sql: []string{"UPDATE " + t.name + " SET " + column + " = " + column}},
		{what: "remove it", want: touchesNone, sql: []string{"DELETE FROM " + t.name}},
		{what: "add to it", sql: []string{"INSERT INTO " + t.name + " SELECT * FROM json_populate_record(NULL::" + t.name + ", '{}')"}},
		{what: "empty it", sql: []string{"TRUNCATE " + t.name + " CASCADE"}},
		{what: "open it", sql: []string{"ALTER TABLE " + t.name + " DISABLE ROW LEVEL SECURITY"}},
	}
	for i := range list {
		list[i].object = t.name
	}
	return list
}

// tryViews reads every view of the product's schemas.
func (p *prover) tryViews(ctx context.Context) error {
	views, err := p.names(ctx, `
		SELECT format('%I.%I', n.nspname, c.relname)
		  FROM pg_class AS c
		  JOIN pg_namespace AS n ON n.oid = c.relnamespace
		 WHERE n.nspname IN ('parako', 'audit', 'jobs')
		   AND c.relkind IN ('v', 'm', 'f')
		 ORDER BY 1`)
	if err != nil {
		return err
	}
	p.proof.Views = len(views)
	for _, view := range views {
		if err := p.try(ctx, attempt{object: view, what: "read it", want: touchesNone, sql: []string{"SELECT r::text FROM " + view + " AS r"}}); err != nil {
			return err
		}
	}
	return nil
}

// tryFunctions calls every function of the product's schemas.
func (p *prover) tryFunctions(ctx context.Context) error {
	functions, err := p.names(ctx, `
		SELECT array_to_string(format('%I.%I', n.nspname, f.proname) || ARRAY(SELECT format_type(a.type, NULL) FROM unnest(f.proargtypes) WITH ORDINALITY AS a (type, n) ORDER BY a.n), E'\t')
		  FROM pg_proc AS f
		  JOIN pg_namespace AS n ON n.oid = f.pronamespace
		 WHERE n.nspname IN ('parako', 'audit', 'jobs')
		 ORDER BY 1`)
	if err != nil {
		return err
	}
	p.proof.Functions = len(functions)
	// What a function is called with, by type: wherever it fits, the victim.
	known := map[string]string{
		"uuid": "'" + p.victim.String() + "'::uuid", "text": "'slug'::text", "integer": "1", "bytea[]": "'{}'::bytea[]",
		"timestamp with time zone": "'-infinity'::timestamptz",
	}
	for _, signature := range functions {
		parts := strings.Split(signature, "\t")
		if parts[0] == "parako.set_tenant" {
			p.proof.Excluded = append(p.proof.Excluded, "parako.set_tenant: it is how a transaction chooses its tenant. Whoever can run statements of their own as parako_app can choose any.")
			continue
		}
		arguments := make([]string, len(parts)-1)
		for i, kind := range parts[1:] {
			if arguments[i] = known[kind]; arguments[i] == "" {
				arguments[i] = "NULL::" + kind
			}
		}
		a := attempt{
			object: parts[0], what: "call it for the other tenant", want: showsNothing, hidden: true,
			codes: []string{insufficientPrivilege, noDataFound}, sql: []string{"SELECT r::text FROM " + parts[0] + "(" + strings.Join(arguments, ", ") + ") AS r"},
		}
		if err := p.try(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// noDataFound is how audit.verify answers about a tenant that the caller cannot see.
const noDataFound = "P0002"

// trySchema tries to become somebody else and to bring code of one's own into the schemas.
func (p *prover) trySchema(ctx context.Context) error {
	var list []attempt
	for _, sql := range []string{
		"SET LOCAL ROLE parako_owner", "SET LOCAL ROLE parako_platform", "SET LOCAL ROLE parako_auditor", "SET LOCAL ROLE parako_tenant_auditor",
		"ALTER ROLE parako_app BYPASSRLS", "CREATE ROLE canary BYPASSRLS", "SET LOCAL session_replication_role = replica",
		"CREATE TABLE parako.canary ()", "CREATE TABLE audit.canary ()", "CREATE TABLE jobs.canary ()", "CREATE TABLE public.canary ()", "CREATE SCHEMA canary",
		"CREATE FUNCTION parako.canary() RETURNS int LANGUAGE sql AS 'SELECT 1'",
		"ALTER FUNCTION parako.current_tenant() SECURITY DEFINER", "DROP FUNCTION parako.current_tenant() CASCADE",
		"CREATE OR REPLACE FUNCTION parako.current_tenant() RETURNS uuid LANGUAGE sql AS 'SELECT NULL::uuid'",
		"CREATE PUBLICATION canary FOR ALL TABLES", "SELECT pg_read_file('PG_VERSION')", "COPY parako.tenants TO PROGRAM 'true'",
		"ALTER SCHEMA parako OWNER TO parako_app",
		"SELECT rolpassword FROM pg_authid",
	} {
		list = append(list, attempt{object: "schema", what: "take more rights", sql: []string{sql}})
	}
	return p.tryAll(ctx, list)
}

// tryNobody tries every table without a tenant, as on a connection that another transaction has used.
func (p *prover) tryNobody(ctx context.Context) error {
	if _, err := p.tx.Exec(ctx, "SET LOCAL app.tenant_id = ''"); err != nil {
		return err
	}
	for _, t := range p.tables {
		if t.tenant == "" {
			continue
		}
		column := pgx.Identifier{t.columns[0].name}.Sanitize()
		for _, sql := range []string{
			"SELECT r::text FROM " + t.name + " AS r", "UPDATE " + t.name + " SET " + column + " = " + column, "DELETE FROM " + t.name,
			"INSERT INTO " + t.name + " DEFAULT VALUES",
		} {
			a := attempt{object: t.name, what: "do it as no tenant", codes: []string{invalidText, insufficientPrivilege}, sql: []string{sql}}
			if err := p.try(ctx, a); err != nil {
				return err
			}
		}
	}
	return p.tryJobsAsNobody(ctx)
}

func (p *prover) names(ctx context.Context, sql string) ([]string, error) {
	rows, err := p.tx.Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
