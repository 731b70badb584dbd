package internal_test

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// globalTables have a tenant_id and belong to no tenant, each for a reason. Their policies are written by hand.
var globalTables = map[string]string{
	"tenant_locators": "it is read to find the tenant",
}

// tenantsTable is where the tenants themselves are: its key is the tenant.
const tenantsTable = "tenants"

// migrationName is the form of a migration's file name.
var migrationName = regexp.MustCompile(`^[0-9]{5}_[a-z0-9_]+\.sql$`)

func TestMigrationsKeepTheirRules(t *testing.T) {
	t.Parallel()
	numbers := map[string]string{}
	var all []*migration
	for _, file := range migrationFiles(t) {
		base := path.Base(file)
		if !migrationName.MatchString(base) {
			t.Errorf("%s: a migration is named 00042_what_it_does.sql", file)
			continue
		}
		number := base[:5]
		if other, taken := numbers[number]; taken {
			t.Errorf("%s: %s has the same number", file, other)
		}
		numbers[number] = file
		for _, fault := range migrationFaults(read(t, file)) {
			t.Errorf("%s: %s", file, fault)
		}
		all = append(all, readMigration(file, read(t, file)))
	}
	for _, fault := range lint(all...) {
		t.Error(fault)
	}
	if len(numbers) == 0 {
		t.Error("db/migrations holds no migration")
	}
}

// migrationFiles returns the files of db/migrations in the order of their numbers.
func migrationFiles(t *testing.T) []string {
	t.Helper()
	var files []string
	for _, file := range repoFiles(t) {
		if path.Dir(file) == "db/migrations" {
			files = append(files, file)
		}
	}
	return files
}

// migrationFaults says what every migration must have and this one lacks. lint has the rules for what it does.
func migrationFaults(sql string) []string {
	var faults []string
	up, down, both := strings.Cut(sql, "\n-- +goose Down\n")
	if !strings.HasPrefix(up, "-- +goose Up\n") && !strings.Contains(up, "\n-- +goose Up\n") || !both {
		faults = append(faults, "needs the lines -- +goose Up and -- +goose Down")
	}
	statements := statementsOf(up)
	unlimited := func(part []string) bool { return len(part) == 0 || !lockTimeout.MatchString(part[0]) }
	if !strings.Contains(up, "-- +goose NO TRANSACTION\n") && (unlimited(statements) || unlimited(statementsOf(down))) {
		faults = append(faults, "Up and Down begin with SET LOCAL lock_timeout, so that a waiting migration does not stop the product")
	}
	for _, table := range tablesOf(up) {
		if table.tenantColumn() != "" {
			faults = append(faults, protectionFaults(table.name, statements)...)
		}
	}
	return faults
}

// lockTimeout leaves no more than ten seconds.
var lockTimeout = regexp.MustCompile(`^set local lock_timeout = '([1-9]|10)s'$`)

// protectionFaults says what a tenant's table lacks in the file that creates it: it is distributed, then locked, then
// opened by a pair of policies, so that no moment and no partly applied file leaves it open.
func protectionFaults(table string, statements []string) []string {
	name := regexp.QuoteMeta("parako . " + table)
	steps := []struct{ what, pattern string }{
		{"CREATE TABLE", `^create table (if not exists )?` + name + ` \(`},
		{"SELECT parako.shard_table(…)", `^select parako \. shard_table \('parako\.` + regexp.QuoteMeta(table) + `'`},
		{"ENABLE ROW LEVEL SECURITY", `^alter table ` + name + ` .*\benable row level security`},
		{"FORCE ROW LEVEL SECURITY", `^alter table ` + name + ` (.*, )?force row level security`},
		{"a RESTRICTIVE policy", `^create policy \w+ on ` + name + ` as restrictive to parako_app using \(.*\) with check \(.*\)$`},
		{"a PERMISSIVE policy", `^create policy \w+ on ` + name + ` as permissive to parako_app using \(.*\) with check \(.*\)$`},
		{"GRANT", `^grant .* on ` + name + ` to .*parako_app`},
	}
	var faults []string
	from := 0
	for _, step := range steps {
		pattern := regexp.MustCompile(step.pattern)
		at := slices.IndexFunc(statements[from:], pattern.MatchString)
		switch {
		case at >= 0:
			from += at
		case slices.ContainsFunc(statements, pattern.MatchString):
			faults = append(faults, fmt.Sprintf("%s: %s comes too early", table, step.what))
		default:
			faults = append(faults, fmt.Sprintf("%s: %s is missing", table, step.what))
		}
	}
	return faults
}

// sqlTable is a table or view as its CREATE statement declares it.
type sqlTable struct {
	name    string
	columns []string // the first word of every entry; a view has none
	view    bool
}

// tenantColumn returns the column that holds the tenant of a row, or "" if the table is global.
func (t sqlTable) tenantColumn() string {
	switch {
	case t.name == tenantsTable:
		return "id"
	case globalTables[t.name] != "":
		return ""
	case t.view, slices.Contains(t.columns, "tenant_id"):
		return "tenant_id"
	}
	return ""
}

// createName finds the name in the statement that creates a table or a view.
var createName = regexp.MustCompile(`^create (?:or replace )?(table|view) (?:if not exists )?parako \. (\w+)`)

// tablesOf returns the tables and views of schema parako that a migration creates.
func tablesOf(sql string) []sqlTable {
	var tables []sqlTable
	for _, statement := range lexSQL(sql) {
		match := createName.FindStringSubmatch(plain(statement))
		if match == nil {
			continue
		}
		table := sqlTable{name: match[2], view: match[1] == "view"}
		for _, token := range statement {
			if !table.view && token.is("(") {
				table.columns = firstWords(token.group)
				break
			}
		}
		tables = append(tables, table)
	}
	return tables
}

// firstWords returns the first word of every entry of a comma-separated list.
func firstWords(list []sqlToken) []string {
	var words []string
	for i, token := range list {
		if i == 0 || list[i-1].is(",") {
			words = append(words, token.text)
		}
	}
	return words
}

// statementsOf returns each statement as plain writes it.
func statementsOf(sql string) []string {
	var statements []string
	for _, statement := range lexSQL(sql) {
		statements = append(statements, plain(statement))
	}
	return statements
}

func TestMigrationFaults(t *testing.T) {
	t.Parallel()
	const good = `-- +goose Up
-- widgets: what a tenant sells.
SET LOCAL lock_timeout = '3s';
CREATE TABLE parako.widgets (
    tenant_id uuid NOT NULL DEFAULT parako.current_tenant() REFERENCES parako.tenants (id) ON DELETE CASCADE,
    id        uuid NOT NULL,
    CONSTRAINT widgets_pkey PRIMARY KEY (tenant_id, id)
);
SELECT parako.shard_table('parako.widgets');
ALTER TABLE parako.widgets ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_boundary ON parako.widgets AS RESTRICTIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
CREATE POLICY tenant_access ON parako.widgets AS PERMISSIVE TO parako_app
    USING (tenant_id = parako.current_tenant()) WITH CHECK (tenant_id = parako.current_tenant());
GRANT SELECT, INSERT ON parako.widgets TO parako_app;

-- +goose Down
SET LOCAL lock_timeout = '3s';
DROP TABLE parako.widgets;
`
	const waits = "Up and Down begin with SET LOCAL lock_timeout, so that a waiting migration does not stop the product"
	tests := map[string]struct {
		replace, with string
		want          []string
	}{
		"the model is accepted":      {},
		"no Down":                    {"-- +goose Down", "", []string{"needs the lines -- +goose Up and -- +goose Down", waits}},
		"no lock_timeout":            {"SET LOCAL lock_timeout = '3s';", "", []string{waits}},
		"no lock_timeout in Down":    {"-- +goose Down\nSET LOCAL lock_timeout = '3s';", "-- +goose Down", []string{waits}},
		"a lock_timeout of nothing":  {"'3s'", "'0s'", []string{waits}},
		"a long lock_timeout":        {"'3s'", "'11s'", []string{waits}},
		"session-wide lock_timeout":  {"SET LOCAL", "SET", []string{waits}},
		"no transaction, no timeout": {"-- +goose Up\n-- widgets: what a tenant sells.\nSET LOCAL lock_timeout = '3s';", "-- +goose NO TRANSACTION\n-- +goose Up\n", nil},
		"no tenant, no rules":        {"tenant_id uuid", "owner_id uuid", nil},
		"not distributed":            {"SELECT parako.shard_table('parako.widgets');", "", []string{"widgets: SELECT parako.shard_table(…) is missing"}},
		"not enabled":                {"ENABLE ROW LEVEL SECURITY, ", "", []string{"widgets: ENABLE ROW LEVEL SECURITY is missing"}},
		"not forced":                 {", FORCE ROW LEVEL SECURITY", "", []string{"widgets: FORCE ROW LEVEL SECURITY is missing"}},
		"NO FORCE is not FORCE":      {", FORCE", ", NO FORCE", []string{"widgets: FORCE ROW LEVEL SECURITY is missing"}},
		"no restrictive policy":      {"RESTRICTIVE", "PERMISSIVE", []string{"widgets: a RESTRICTIVE policy is missing"}},
		"no permissive policy":       {"PERMISSIVE", "RESTRICTIVE", []string{"widgets: a PERMISSIVE policy is missing"}},
		"a policy for reading only":  {"AS RESTRICTIVE", "AS RESTRICTIVE FOR SELECT", []string{"widgets: a RESTRICTIVE policy is missing"}},
		"a policy of another table":  {"tenant_access ON parako.widgets", "tenant_access ON parako.gadgets", []string{"widgets: a PERMISSIVE policy is missing"}},
		"policies only in a comment": {"CREATE POLICY tenant_access", "-- CREATE POLICY tenant_access\nSELECT", []string{"widgets: a PERMISSIVE policy is missing"}},
		"distributed too late":       {"SELECT parako.shard_table('parako.widgets');\nALTER TABLE parako.widgets ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;", "ALTER TABLE parako.widgets ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;\nSELECT parako.shard_table('parako.widgets');", []string{"widgets: ENABLE ROW LEVEL SECURITY comes too early", "widgets: FORCE ROW LEVEL SECURITY comes too early"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := migrationFaults(strings.Replace(good, tt.replace, tt.with, 1))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("migrationFaults mismatch (-want +got):\n%s", diff)
			}
		})
	}
}
