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

// TestQueriesNameTheTenant reads queries/, which runs as parako_app, and asks every table reference for its tenant.
// Row-level security holds without it; this is the second fence, and what lets a planner use the tenant's index and
// Citus a single shard. queries/control/ crosses tenants by design and runs as another role.
func TestQueriesNameTheTenant(t *testing.T) {
	t.Parallel()
	columns := tenantColumns(t)
	for _, file := range repoFiles(t) {
		if path.Dir(file) != "queries" || path.Ext(file) != ".sql" {
			continue
		}
		sql := read(t, file)
		begins := queryName.FindAllStringSubmatchIndex(sql, -1)
		if len(begins) == 0 {
			t.Errorf("%s: holds no query", file)
		}
		for i, at := range begins { // byte offsets of the comment and, from the third on, of the name in it
			end := len(sql)
			if i+1 < len(begins) {
				end = begins[i+1][0]
			}
			for _, fault := range tenantFaults(sql[at[0]:end], columns) {
				t.Errorf("%s:%d: %s: %s", file, 1+strings.Count(sql[:at[0]], "\n"), sql[at[2]:at[3]], fault)
			}
		}
	}
}

// queryName matches the comment by which sqlc knows where a query begins.
var queryName = regexp.MustCompile(`(?m)^-- name: (\w+) :\w+`)

// tenantColumns returns, for every table and view of the migrations, the column that holds its tenant, or "" if the table
// is global.
func tenantColumns(t *testing.T) map[string]string {
	t.Helper()
	columns := map[string]string{}
	for _, file := range migrationFiles(t) {
		for _, table := range tablesOf(read(t, file)) {
			columns[table.name] = table.tenantColumn()
		}
	}
	return columns
}

// tenantFaults says what is wrong with the tenants of a query; columns is what tenantColumns returns.
//
// A table reference is bound to the tenant by a condition of the top level of WHERE or ON that says
// alias.tenant_id = @tenant_id, or alias.tenant_id = other.tenant_id where the other is bound. The condition on an outer
// join binds only the table it joins. Each subquery has to bind its own tables; only EXISTS may refer to those around it.
// The table of an INSERT needs nothing: its tenant_id has a default and a policy.
func tenantFaults(query string, columns map[string]string) []string {
	check := tenantCheck{columns: columns}
	for _, statement := range lexSQL(query) {
		check.query(statement, nil)
	}
	return check.faults
}

// tenantCheck collects the faults of one query.
type tenantCheck struct {
	columns map[string]string
	ctes    []string
	faults  []string
}

// tableRef is one entry of a FROM list, or the target of an UPDATE or DELETE.
type tableRef struct {
	alias  string
	column string // holds the tenant; "" for what has none
	bound  bool
}

// bond says that the reference to is bound if the reference from is; both index the references of one SELECT.
type bond struct{ to, from int }

// subquery is a parenthesised query found on the way. It is checked when all tables around it are known.
type subquery struct {
	tokens []sqlToken
	exists bool
}

func (c *tenantCheck) fault(format string, args ...any) {
	c.faults = append(c.faults, fmt.Sprintf(format, args...))
}

// query checks one statement or subquery with everything inside it. The references around count as bound.
func (c *tenantCheck) query(tokens []sqlToken, around []tableRef) {
	tokens = c.with(tokens)
	for start, i := 0, 0; i <= len(tokens); i++ {
		if i == len(tokens) || tokens[i].is("union", "except", "intersect") {
			c.arm(tokens[start:i], around)
			start = i + 1
			if start < len(tokens) && tokens[start].is("all") {
				start++
			}
		}
	}
}

// with checks the common table expressions a query begins with and returns what follows them.
func (c *tenantCheck) with(tokens []sqlToken) []sqlToken {
	if len(tokens) == 0 || !tokens[0].is("with") {
		return tokens
	}
	for i := 1; i < len(tokens); i++ {
		switch {
		case tokens[i].is("select", "insert", "update", "delete"):
			return tokens[i:]
		case tokens[i].is("recursive"):
		case tokens[i].name():
			c.ctes = append(c.ctes, tokens[i].text)
		case tokens[i].is("(") && beginsQuery(tokens[i].group):
			c.query(tokens[i].group, nil)
		}
	}
	return nil
}

// beginsQuery reports whether what stands in parentheses is a query and not an expression or a list.
func beginsQuery(group []sqlToken) bool {
	return len(group) > 0 && group[0].is("select", "with", "values", "insert", "update", "delete")
}

// arm checks a single SELECT, INSERT, UPDATE or DELETE, without WITH and UNION.
func (c *tenantCheck) arm(tokens []sqlToken, around []tableRef) {
	if len(tokens) == 0 {
		return
	}
	switch head := tokens[0]; {
	case head.is("("):
		c.query(head.group, around)
		return
	case !head.is("select", "insert", "update", "delete", "values"):
		c.fault("%s is not a statement this check understands", strings.ToUpper(head.text))
		return
	case head.is("insert") && has(tokens, "select") && !has(tokens, "returning") && !has(tokens, "conflict"):
		c.fault("INSERT … SELECT needs RETURNING or ON CONFLICT: Citus plans it across shards otherwise")
	}
	a := armCheck{tenantCheck: c, tokens: tokens, around: around}
	a.walk()
	a.report()
	for _, sub := range a.subqueries {
		if sub.exists {
			c.query(sub.tokens, append(slices.Clone(around), a.refs...))
		} else {
			c.query(sub.tokens, nil)
		}
	}
}

// has reports whether the word stands among the tokens, outside parentheses.
func has(tokens []sqlToken, word string) bool {
	return slices.ContainsFunc(tokens, func(t sqlToken) bool { return t.is(word) })
}

// armCheck walks over the tokens of an arm once, keeping the clause it is in.
type armCheck struct {
	*tenantCheck
	tokens     []sqlToken
	around     []tableRef
	clause     string // the keyword that began it; "conflict" lasts from ON CONFLICT to RETURNING
	outerJoin  bool   // whether ON belongs to a LEFT JOIN
	refs       []tableRef
	bonds      []bond
	subqueries []subquery
}

// at returns a token, or one without text beyond either end.
func (a *armCheck) at(i int) sqlToken {
	if i < 0 || i >= len(a.tokens) {
		return sqlToken{}
	}
	return a.tokens[i]
}

func (a *armCheck) walk() {
	for i := 0; i < len(a.tokens); i++ {
		token, before, after := a.at(i), a.at(i-1), a.at(i+1)
		if token.is("set", ",") && after.is("tenant_id") && a.at(i+2).is("=") {
			a.fault("sets tenant_id: a row never changes its tenant")
		}
		switch {
		case token.is("(", "case"):
			a.descend(token, before)
		case a.clause == "conflict" && !token.is("returning"):
		case token.is("conflict"):
			a.clause = "conflict"
		case token.is("from") && !before.is("distinct"), token.is("update") && i == 0, token.is("using") && !after.is("("),
			token.is(",") && (a.clause == "from" || a.clause == "on"):
			a.clause = "from"
			i = a.table(i + 1)
		case token.is("join"):
			if before.is("right", "full", "natural") || before.is("outer") && a.at(i-2).is("right", "full") {
				a.fault("RIGHT, FULL and NATURAL JOIN are not understood by this check: write it with JOIN or LEFT JOIN")
			}
			a.clause, a.outerJoin = "from", before.is("left", "outer")
			i = a.table(i + 1)
		case token.is("using"):
			a.fault("JOIN … USING is not understood by this check: write it with ON")
		case token.is("select", "where", "set", "group", "having", "window", "order", "limit", "offset", "fetch", "for", "returning", "values"),
			token.is("on") && !before.is("distinct"):
			a.clause = token.text
		case token.is("or") && (a.clause == "where" || a.clause == "on"):
			a.fault("OR at the top level of %s lets rows of other tenants through: put it in parentheses", strings.ToUpper(a.clause))
		}
		if token.is("where", "on", "and") && (a.clause == "where" || a.clause == "on") {
			a.condition(i + 1)
		}
	}
}

// descend looks for subqueries inside parentheses.
func (a *armCheck) descend(token, before sqlToken) {
	if beginsQuery(token.group) {
		a.subqueries = append(a.subqueries, subquery{tokens: token.group, exists: before.is("exists")})
		return
	}
	for i, inner := range token.group {
		if inner.is("(", "case") {
			previous := sqlToken{}
			if i > 0 {
				previous = token.group[i-1]
			}
			a.descend(inner, previous)
		}
	}
}

// table reads a table reference, a subquery or a function call at i, with its alias, and returns its last token.
func (a *armCheck) table(i int) int {
	for a.at(i).is("only", "lateral") {
		i++
	}
	ref := tableRef{}
	switch first := a.at(i); {
	case first.is("("):
		if !beginsQuery(first.group) {
			a.fault("parentheses around a join are not understood by this check: write it without")
		}
		a.descend(first, sqlToken{})
		ref.bound = true // the subquery is checked by itself
	case first.name():
		schema := ""
		for a.at(i + 1).is(".") {
			schema = a.at(i).text
			i += 2
		}
		ref.alias = a.at(i).text
		if a.at(i + 1).is("(") { // a function
			i++
			a.descend(a.at(i), sqlToken{})
			break
		}
		if schema == "" && slices.Contains(a.ctes, ref.alias) {
			ref.bound = true // the common table expression is checked by itself
			break
		}
		column, known := a.columns[ref.alias]
		if !known {
			a.fault("reads %s, which no migration creates", ref.alias)
		}
		ref.column = column
	default:
		a.fault("%q is not a table reference this check understands", first.text)
	}
	if a.at(i + 1).is("as") {
		i++
	}
	if a.at(i + 1).name() {
		i++
		ref.alias = a.at(i).text
	}
	a.refs = append(a.refs, ref)
	return i
}

// condition records what a condition beginning at i binds, if it compares a tenant column for equality and nothing else.
func (a *armCheck) condition(i int) {
	left, i := a.operand(i)
	if !a.at(i).is("=") {
		return
	}
	right, i := a.operand(i + 1)
	if end := a.at(i); end.text != "" && end.text != "," && !slices.Contains(sqlKeywords, end.text) {
		return // part of a larger expression
	}
	a.bind(left, right)
	a.bind(right, left)
}

// What an operand can be besides the index of a reference.
const (
	isOther  = -1 // anything that says nothing about the tenant
	isTenant = -2 // @tenant_id, or a tenant column of a bound reference
)

// bind records that the reference to is bound by an equality with from.
func (a *armCheck) bind(to, from int) {
	if to < 0 || from == isOther {
		return
	}
	if a.clause == "on" && a.outerJoin && to != len(a.refs)-1 {
		return // an outer join keeps the rows for which its condition is false
	}
	if from == isTenant {
		a.refs[to].bound = true
	} else {
		a.bonds = append(a.bonds, bond{to: to, from: from})
	}
}

// operand reads one side of an equality at i and returns what it is and the index behind it.
func (a *armCheck) operand(i int) (what, next int) {
	switch token := a.at(i); {
	case token.is("@tenant_id"):
		next = i + 1
		if a.at(next).is("::") {
			next += 2
		}
		return isTenant, next
	case token.name() && a.at(i+1).is(".") && a.at(i+3).is("."): // schema.table.column
		return a.column(a.at(i+2).text, a.at(i+4).text), i + 5
	case token.name() && a.at(i+1).is("."):
		return a.column(token.text, a.at(i+2).text), i + 3
	case token.name():
		return a.column("", token.text), i + 1
	}
	return isOther, i + 1
}

// column returns the reference whose tenant the column is. An alias of the arm hides the same alias around it; a column
// without alias belongs to the only reference that has a column of that name for its tenant.
func (a *armCheck) column(alias, name string) int {
	found := isOther
	for i, ref := range a.refs {
		switch {
		case alias == ref.alias && ref.column == "" && ref.bound && name == "tenant_id":
			return isTenant // what a subquery returns is of the tenant
		case alias == ref.alias && name == ref.column:
			return i
		case alias == "" && name == ref.column && found == isOther:
			found = i
		case alias == "" && name == ref.column:
			return isOther // ambiguous
		}
	}
	if alias != "" && slices.ContainsFunc(a.around, func(r tableRef) bool { return r.alias == alias && r.column == name }) {
		return isTenant // the query around has to bind it
	}
	return found
}

// report follows the bonds and names each reference that is bound to no tenant.
func (a *armCheck) report() {
	for range a.bonds { // each round binds at least one more reference, or none is left to bind
		for _, b := range a.bonds {
			a.refs[b.to].bound = a.refs[b.to].bound || a.refs[b.from].bound
		}
	}
	for _, ref := range a.refs {
		if ref.column != "" && !ref.bound {
			a.fault("%s.%s = @tenant_id is missing", ref.alias, ref.column)
		}
	}
}

func TestTenantFaults(t *testing.T) {
	t.Parallel()
	columns := map[string]string{"users": "tenant_id", "clients": "tenant_id", "tenants": "id", "locators": ""}
	const (
		orUsers   = "OR at the top level of WHERE lets rows of other tenants through: put it in parentheses"
		noUsers   = "users.tenant_id = @tenant_id is missing"
		noU       = "u.tenant_id = @tenant_id is missing"
		noC       = "c.tenant_id = @tenant_id is missing"
		noClients = "clients.tenant_id = @tenant_id is missing"
	)
	tests := map[string]struct {
		query string
		want  []string
	}{
		"one table":                   {"SELECT * FROM parako.users WHERE tenant_id = @tenant_id AND id = @id;", nil},
		"one table without":           {"SELECT * FROM parako.users WHERE id = @id", []string{noUsers}},
		"no WHERE at all":             {"SELECT * FROM users ORDER BY id", []string{noUsers}},
		"the other way round":         {"SELECT * FROM users WHERE @tenant_id = tenant_id", nil},
		"a cast":                      {"SELECT * FROM users WHERE tenant_id = @tenant_id::uuid", nil},
		"sqlc.arg":                    {"SELECT * FROM users WHERE tenant_id = sqlc.arg(tenant_id)", nil},
		"the tenant itself":           {"SELECT * FROM parako.tenants WHERE id = @tenant_id", nil},
		"another tenant":              {"SELECT * FROM tenants WHERE slug = @slug", []string{"tenants.id = @tenant_id is missing"}},
		"a global table":              {"SELECT tenant_id FROM locators WHERE name = @name", nil},
		"an unknown table":            {"SELECT * FROM pg_roles", []string{"reads pg_roles, which no migration creates"}},
		"a comment does not count":    {"SELECT * FROM users -- WHERE tenant_id = @tenant_id", []string{noUsers}},
		"another parameter":           {"SELECT * FROM users WHERE tenant_id = @other", []string{noUsers}},
		"an inequality":               {"SELECT * FROM users WHERE tenant_id <> @tenant_id", []string{noUsers}},
		"a negation":                  {"SELECT * FROM users WHERE NOT tenant_id = @tenant_id", []string{noUsers}},
		"part of an expression":       {"SELECT * FROM users WHERE tenant_id = @tenant_id || ''", []string{noUsers}},
		"only in the select list":     {"SELECT tenant_id = @tenant_id FROM users", []string{noUsers}},
		"only in HAVING":              {"SELECT tenant_id FROM users GROUP BY 1 HAVING tenant_id = @tenant_id", []string{noUsers}},
		"only inside CASE":            {"SELECT 1 FROM users WHERE CASE WHEN a AND tenant_id = @tenant_id THEN b END", []string{noUsers}},
		"OR beside it":                {"SELECT * FROM users WHERE tenant_id = @tenant_id OR id = @id", []string{orUsers}},
		"OR in parentheses":           {"SELECT * FROM users WHERE tenant_id = @tenant_id AND (a OR b)", nil},
		"it in parentheses with OR":   {"SELECT * FROM users WHERE (tenant_id = @tenant_id OR a)", []string{noUsers}},
		"FROM inside a function":      {"SELECT extract(epoch FROM a) FROM users WHERE tenant_id = @tenant_id", nil},
		"IS DISTINCT FROM":            {"SELECT 1 FROM users WHERE tenant_id = @tenant_id AND a IS NOT DISTINCT FROM b", nil},
		"DISTINCT ON and FOR UPDATE":  {"SELECT DISTINCT ON (a) a FROM users u WHERE u.tenant_id = @tenant_id FOR UPDATE OF u", nil},
		"VALUES and no table":         {"SELECT * FROM (VALUES (@a, @b)) AS v (a, b)", nil},
		"a function and no table":     {"SELECT * FROM unnest(@ids::uuid[]) AS i(id)", nil},
		"a join, both named":          {"SELECT 1 FROM users AS u JOIN clients AS c ON c.tenant_id = @tenant_id AND c.id = u.id WHERE u.tenant_id = @tenant_id", nil},
		"a join by equality":          {"SELECT 1 FROM users u JOIN clients c ON c.tenant_id = u.tenant_id WHERE c.tenant_id = @tenant_id", nil},
		"equality and no tenant":      {"SELECT 1 FROM users u JOIN clients c ON c.tenant_id = u.tenant_id", []string{noU, noC}},
		"a join without":              {"SELECT 1 FROM users u JOIN clients c ON c.id = u.id WHERE u.tenant_id = @tenant_id", []string{noC}},
		"a join to the tenant":        {"SELECT 1 FROM users u JOIN tenants t ON t.id = u.tenant_id WHERE t.id = @tenant_id", nil},
		"an ambiguous column":         {"SELECT 1 FROM users u, clients c WHERE tenant_id = @tenant_id", []string{noU, noC}},
		"a comma is a join":           {"SELECT 1 FROM users u, clients c WHERE u.tenant_id = @tenant_id", []string{noC}},
		"a comma after ON":            {"SELECT 1 FROM users u JOIN users v ON v.tenant_id = @tenant_id, clients c WHERE u.tenant_id = @tenant_id", []string{noC}},
		"a left join":                 {"SELECT 1 FROM users u LEFT JOIN clients c ON c.tenant_id = u.tenant_id WHERE u.tenant_id = @tenant_id", nil},
		"a left join filters nothing": {"SELECT 1 FROM users u LEFT JOIN clients c ON u.tenant_id = @tenant_id AND c.tenant_id = u.tenant_id", []string{noU, noC}},
		"a left outer join":           {"SELECT 1 FROM users u LEFT OUTER JOIN clients c ON u.tenant_id = @tenant_id WHERE c.tenant_id = @tenant_id", []string{noU}},
		"a function beside a table":   {"SELECT 1 FROM unnest(@ids::uuid[]) AS i(id) JOIN users u ON u.id = i.id", []string{noU}},
		"EXISTS by equality":          {"SELECT 1 FROM users u WHERE u.tenant_id = @tenant_id AND EXISTS (SELECT FROM clients c WHERE c.tenant_id = u.tenant_id)", nil},
		"EXISTS in the select list":   {"SELECT EXISTS (SELECT FROM clients c WHERE c.tenant_id = u.tenant_id) FROM users u WHERE u.tenant_id = @tenant_id", nil},
		"EXISTS without":              {"SELECT 1 FROM users WHERE tenant_id = @tenant_id AND NOT EXISTS (SELECT FROM clients)", []string{noClients}},
		"a correlated subquery":       {"SELECT (SELECT 1 FROM clients c WHERE c.tenant_id = u.tenant_id) FROM users u WHERE u.tenant_id = @tenant_id", []string{noC}},
		"a deep subquery":             {"SELECT 1 FROM users WHERE tenant_id = @tenant_id AND (a OR b IN (SELECT id FROM clients))", []string{noClients}},
		"LATERAL by equality":         {"SELECT 1 FROM users u, LATERAL (SELECT 1 FROM clients c WHERE c.tenant_id = u.tenant_id) x WHERE u.tenant_id = @tenant_id", []string{noC}},
		"a subquery in FROM":          {"SELECT 1 FROM (SELECT * FROM users WHERE tenant_id = @tenant_id) AS u JOIN clients c ON c.tenant_id = u.tenant_id", nil},
		"a subquery in FROM without":  {"SELECT 1 FROM (SELECT * FROM users) AS u", []string{noUsers}},
		"WITH":                        {"WITH old AS (SELECT * FROM users WHERE tenant_id = @tenant_id) SELECT * FROM old", nil},
		"WITH without":                {"WITH RECURSIVE old (id) AS MATERIALIZED (DELETE FROM users RETURNING id), b AS (SELECT 1) SELECT * FROM old, b", []string{noUsers}},
		"UNION":                       {"SELECT 1 FROM users WHERE tenant_id = @tenant_id UNION ALL SELECT 1 FROM clients", []string{noClients}},
		"UPDATE":                      {"UPDATE parako.users SET a = b WHERE tenant_id = @tenant_id RETURNING a", nil},
		"UPDATE without":              {"UPDATE users SET a = b WHERE id = @id", []string{noUsers}},
		"UPDATE FROM":                 {"UPDATE users AS u SET a = c.a FROM clients AS c WHERE u.tenant_id = @tenant_id AND c.id = u.id", []string{noC}},
		"UPDATE of the tenant":        {"UPDATE users SET a = b, tenant_id = @b WHERE tenant_id = @tenant_id", []string{"sets tenant_id: a row never changes its tenant"}},
		"DELETE":                      {"DELETE FROM users WHERE tenant_id = @tenant_id", nil},
		"DELETE USING":                {"DELETE FROM users u USING clients c WHERE u.tenant_id = @tenant_id AND c.id = u.id", []string{noC}},
		"INSERT":                      {"INSERT INTO users (id) VALUES (@id)", nil},
		"INSERT ON CONFLICT":          {"INSERT INTO users (id) VALUES (@id) ON CONFLICT (tenant_id, id) WHERE a OR b DO UPDATE SET a = excluded.a WHERE users.a = b", nil},
		"INSERT SELECT":               {"INSERT INTO users (id) SELECT id FROM clients WHERE tenant_id = @tenant_id ON CONFLICT DO NOTHING", nil},
		"INSERT SELECT, bare":         {"INSERT INTO users (id) SELECT id FROM clients WHERE tenant_id = @tenant_id", []string{"INSERT … SELECT needs RETURNING or ON CONFLICT: Citus plans it across shards otherwise"}},
		"INSERT SELECT without":       {"INSERT INTO users (id) SELECT id FROM clients ON CONFLICT DO UPDATE SET a = b WHERE clients.tenant_id = @tenant_id", []string{noClients}},
		"MERGE":                       {"MERGE INTO users USING clients ON true WHEN MATCHED THEN DELETE", []string{"MERGE is not a statement this check understands"}},
		"a right join":                {"SELECT 1 FROM users u RIGHT JOIN locators l ON true WHERE u.tenant_id = @tenant_id", []string{"RIGHT, FULL and NATURAL JOIN are not understood by this check: write it with JOIN or LEFT JOIN"}},
		"a join in parentheses":       {"SELECT 1 FROM (users CROSS JOIN clients)", []string{"parentheses around a join are not understood by this check: write it without"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := tenantFaults(tt.query, columns)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("tenantFaults(%q) mismatch (-want +got):\n%s", tt.query, diff)
			}
		})
	}
}
