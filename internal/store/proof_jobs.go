package store

import (
	"context"
	"fmt"

	"github.com/google/uuid"
)

// plantJob adds a job of the tenant, which the transaction is in. Nobody sees it before it is taken back.
func (p *prover) plantJob(ctx context.Context, tenant uuid.UUID) error {
	if _, err := p.tx.Exec(ctx, "INSERT INTO jobs.river_job (kind, args) VALUES ('canary', jsonb_build_object('tenant_id', $1::uuid, 'id', $1::uuid))", tenant); err != nil {
		return fmt.Errorf("put a canary into jobs.river_job: %w", err)
	}
	return nil
}

// tryJobs tries to see, change and forge the jobs of another tenant. The queue belongs to no tenant, so that a tenant does not
// even see its own.
func (p *prover) tryJobs(ctx context.Context) error {
	tables, err := p.names(ctx, `
		SELECT format('%I.%I', n.nspname, c.relname)
		  FROM pg_class AS c
		  JOIN pg_namespace AS n ON n.oid = c.relnamespace
		 WHERE n.nspname = 'jobs'
		   AND c.relkind IN ('r', 'p')
		 ORDER BY 1`)
	if err != nil {
		return err
	}
	p.proof.Tables += len(tables)
	var list []attempt
	for _, table := range tables {
		for what, sql := range map[string]string{
			"read it": "SELECT r::text FROM " + table + " AS r", "lock it": "SELECT r::text FROM " + table + " AS r FOR UPDATE",
			"count it": "SELECT count(*) FROM " + table, "sample it": "SELECT r::text FROM " + table + " AS r TABLESAMPLE SYSTEM (100)",
			"remove it": "DELETE FROM " + table, "empty it": "TRUNCATE " + table, "add a default row": "INSERT INTO " + table + " DEFAULT VALUES",
			"open it": "ALTER TABLE " + table + " DISABLE ROW LEVEL SECURITY", "add a policy": "CREATE POLICY mine ON " + table + " USING (true)",
			"read its statistics": "SELECT s::text FROM pg_stats AS s WHERE format('%I.%I', schemaname, tablename) = '" + table + "'",
		} {
			list = append(list, attempt{object: table, what: what, want: touchesNone, sql: []string{sql}})
		}
		list = append(list, attempt{object: table, what: "copy it", want: touchesNone, copied: true, sql: []string{"COPY " + table + " TO STDOUT"}})
	}
	add := func(args string) string {
		return "INSERT INTO jobs.river_job (kind, args) VALUES ('canary', " + args + ")"
	}
	mine, theirs := "'"+p.attacker.String()+"'::uuid", "'"+p.victim.String()+"'::uuid"
	for what, sql := range map[string]string{
		"add a job for the other tenant":  add("jsonb_build_object('tenant_id', " + theirs + ", 'id', " + theirs + ")"),
		"add a job for no tenant":         add("jsonb_build_object('id', " + theirs + ")"),
		"add a job with a payload":        add("jsonb_build_object('tenant_id', " + mine + ", 'id', " + mine + ", 'more', 1)"),
		"add a job whose id is no id":     add(`'{"tenant_id": "` + p.attacker.String() + `", "id": "canary"}'`),
		"add a job and read it":           add("jsonb_build_object('tenant_id', "+mine+", 'id', "+mine+")") + " RETURNING id",
		"change what a job is":            "UPDATE jobs.river_job SET args = args",
		"run a job at once":               "UPDATE jobs.river_job SET scheduled_at = now()",
		"learn from a conflict about it":  "INSERT INTO jobs.river_job (id, kind, args) SELECT n, 'canary', '{}' FROM generate_series(1, 9) AS n ON CONFLICT DO NOTHING",
		"learn how many jobs there were":  "SELECT nextval('jobs.river_job_id_seq')",
		"learn how many jobs there are":   "SELECT last_value FROM jobs.river_job_id_seq",
		"take the lead of the queue":      "INSERT INTO jobs.river_leader (elected_at, expires_at, leader_id) VALUES (now(), now(), 'canary')",
		"keep everybody from their turn":  "UPDATE jobs.river_queue SET paused_at = now()",
		"make the queue of another shape": "ALTER TABLE jobs.river_job ADD COLUMN canary text",
	} {
		list = append(list, attempt{object: "jobs.river_job", what: what, codes: []string{insufficientPrivilege, invalidText}, sql: []string{sql}})
	}
	return p.tryAll(ctx, list)
}

// tryJobsAsNobody tries the same without a tenant, as between transactions.
func (p *prover) tryJobsAsNobody(ctx context.Context) error {
	var list []attempt
	for _, sql := range []string{
		"SELECT r::text FROM jobs.river_job AS r", "DELETE FROM jobs.river_job", "UPDATE jobs.river_job SET scheduled_at = now()",
		"INSERT INTO jobs.river_job (kind, args) VALUES ('canary', jsonb_build_object('tenant_id', '" + p.victim.String() + "', 'id', '" + p.victim.String() + "'))",
	} {
		list = append(list, attempt{object: "jobs.river_job", what: "do it as no tenant", codes: []string{invalidText, insufficientPrivilege}, sql: []string{sql}})
	}
	return p.tryAll(ctx, list)
}
