package internal_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// lintRule is a rule for what a migration may do to a database that is in use, by the release before and by this one.
// docs/migrations.md explains each.
type lintRule struct {
	name   string
	inDown bool   // whether it binds Down, too
	demand string // what is wrong with the statement, or what to do instead
	broken func(scene, statement) bool
}

// scene is what stands around a statement.
type scene struct {
	noTransaction bool
	earlier       []statement // of Up in the files before
	before, after []statement // of the same section
}

var lintRules = []lintRule{
	// The release that runs meanwhile goes on, and waits for nothing long.
	{"drop", false, "takes away what an earlier migration made: the running release may use it", drops},
	{"rename", false, "the running release knows the old name: add the new thing, and drop the old one in a later release", renames},
	{"rewrite", false, "rewrites the table while nobody can use it: add a column with a constant default or none, and fill it later", rewrites},
	{"notnull", false, "a column of an existing table is NOT NULL by a DEFAULT when it is added, or by SET NOT NULL after a validated CHECK (… IS NOT NULL)", requiresValues},
	{"validate", false, "reads the table while nobody can write to it: ADD CONSTRAINT … NOT VALID, and VALIDATE CONSTRAINT in a later file", validatesAtOnce},
	{"unique", false, "builds an index while nobody can use the table: build it CONCURRENTLY in a file before, and ADD CONSTRAINT … USING INDEX", buildsKey},
	{"index", false, "an existing table gets an index by DROP INDEX CONCURRENTLY IF EXISTS, for what a failed attempt left, and CREATE INDEX CONCURRENTLY with the same name", blocksWrites},
	{"transaction", true, "CONCURRENTLY, and nothing else, stands in a file with -- +goose NO TRANSACTION; any other file is one transaction, which goose begins and ends", mixesTransactions},
	{"lock", true, "the lock is held until the migration ends: leave it to the statement that needs it", begins(`lock `)},

	// What tables are made of.
	{"name", false, "the constraint has no name: write CONSTRAINT <table>_<what>", leavesUnnamed},
	{"type", false, "write text with a CHECK for varchar(n) and char(n), and timestamptz for timestamp", usesType},
	{"enum", false, "write text with a CHECK for an enum: no value of an enum can be taken back", begins(`create type \S+ as enum|alter type \S+ add value`)},
	{"sequence", false, "an id is a uuid: a counter tells one tenant how much happens in the others", counts},
	{"trigger", false, "Citus refuses triggers on distributed tables, and nobody sees them run", begins(`create (or replace )?(constraint )?trigger `)},
	{"setnull", false, "the action of a foreign key would clear tenant_id, too: CASCADE, or none", clearsTenant},
	{"extension", false, "not every database may have extensions", begins(`(create|alter) extension `)},

	// What keeps tenants apart.
	{"grant", true, "grant each role what it needs by name: not ALL, not to PUBLIC, not to be passed on, not by default", begins(`grant all\b|grant .* to (.* , )?public\b|grant .* with grant option|alter default privileges`)},
	{"policy", false, "changes how the rows of an existing table are protected", changesProtection},
	{"force", true, "NO FORCE is not followed by FORCE of the same table", leavesUnforced},
	{"data", true, "the owner sees no rows: write it after SET LOCAL row_security = off and NO FORCE, and before FORCE", changesNothing},
	{"tenant", true, "a row keeps its tenant, and meets rows of another table only where their tenants are equal", crossesTenants},
	{"unreadable", true, "this check cannot read it: begin the text of EXECUTE with a literal, write IF instead of a CASE statement", func(_ scene, s statement) bool { return s.unreadable }},
}

// lint returns what is wrong with migrations that run in this order.
func lint(migrations ...*migration) []string {
	var all []string
	var earlier []statement
	for _, m := range migrations {
		faults := slices.Clone(m.faults)
		for _, section := range m.sections {
			for i, s := range section.statements {
				around := scene{m.noTransaction, earlier, slices.Concat(section.before, section.statements[:i]), section.statements[i+1:]}
				for _, rule := range lintRules {
					if (rule.inDown || !section.down) && rule.broken(around, s) && !s.excused(rule.name) {
						faults = append(faults, fault{s.line, rule.name, rule.demand})
					}
				}
			}
		}
		for _, a := range m.allowances {
			if !a.used {
				faults = append(faults, fault{a.line, a.rule, "the comment allows nothing"})
			}
		}
		slices.SortStableFunc(faults, func(a, b fault) int { return a.line - b.line })
		for _, f := range faults {
			all = append(all, fmt.Sprintf("%s:%d: %s: %s", m.file, f.line, f.rule, f.what))
		}
		for _, section := range m.sections {
			if !section.down && !section.function {
				earlier = append(earlier, section.statements...)
			}
		}
	}
	return all
}

// excused reports whether the statement may break the rule.
func (s statement) excused(rule string) bool {
	excused := false
	for _, a := range s.allowed {
		if a.rule == rule {
			a.used, excused = true, true
		}
	}
	return excused
}

// begins is broken by statements that begin like this.
func begins(pattern string) func(scene, statement) bool {
	form := regexp.MustCompile(`^(` + pattern + `)`)
	return func(_ scene, s statement) bool { return form.MatchString(s.text) }
}

// exists reports whether the thing was there before this file.
func (c scene) exists(name string) bool {
	return !slices.ContainsFunc(c.before, func(s statement) bool { return slices.Contains(s.makes, name) })
}

// alters reports whether the statement is ALTER TABLE of a table that was there before this file.
func (c scene) alters(s statement) bool {
	return strings.HasPrefix(s.text, "alter table ") && c.exists(s.table)
}

// actions returns what the form finds in the actions on a table, in their order.
func actions(statements []statement, table string, form *regexp.Regexp) [][]string {
	var found [][]string
	for _, s := range statements {
		if s.table != table || !strings.HasPrefix(s.text, "alter table ") {
			continue
		}
		for _, p := range s.parts {
			if match := form.FindStringSubmatch(p.text); match != nil {
				found = append(found, match)
			}
		}
	}
	return found
}

// does reports whether the statement does this to its table.
func (s statement) does(action *regexp.Regexp) bool {
	return len(actions([]statement{s}, s.table, action)) > 0
}

// anyPart reports whether a part of the statement is so.
func (s statement) anyPart(so func(part) bool) bool { return slices.ContainsFunc(s.parts, so) }

var (
	takeGrant  = regexp.MustCompile(`^revoke .* on (?:table |view |schema |function |all \w+ in schema )?(\S+).* from (.+)$`)
	takeMember = regexp.MustCompile(`^(?:drop|detach partition) (?:constraint )?(?:if exists )?(\S+)`)
	takeValue  = regexp.MustCompile(`^alter \S+ drop (?:default|expression|identity)`)
)

func drops(c scene, s statement) bool {
	switch {
	case strings.HasPrefix(s.text, "revoke "):
		match := takeGrant.FindStringSubmatch(s.text)
		return match == nil || match[2] != "public" && c.exists(match[1])
	case c.alters(s):
		return s.does(takeValue) || slices.ContainsFunc(actions([]statement{s}, s.table, takeMember), func(match []string) bool {
			return c.exists(s.table+"."+match[1]) && !c.hasServed(s.table, match[1])
		})
	}
	return slices.ContainsFunc(s.dropped(), func(name string) bool { return c.exists(name) && !c.buildsAgain(name) })
}

var (
	dropObject   = regexp.MustCompile(`^(?:drop (?:materialized )?\w+|truncate(?: table)?(?: only)?) (?:concurrently )?(?:if exists )?(.*)`)
	argumentList = regexp.MustCompile(`\([^()]*\)`)
)

// dropped returns the names of what the statement drops or empties. Policies are the business of another rule.
func (s statement) dropped() []string {
	match := dropObject.FindStringSubmatch(argumentList.ReplaceAllString(s.text, ""))
	if match == nil || strings.HasPrefix(s.text, "drop policy ") {
		return nil
	}
	var names []string
	for name := range strings.SplitSeq(match[1], ",") {
		names = append(names, strings.Fields(name)[0])
	}
	return names
}

// buildsAgain reports whether the index is dropped only to be built.
func (c scene) buildsAgain(index string) bool {
	return slices.ContainsFunc(c.after, func(s statement) bool {
		return slices.Contains(s.makes, index) && strings.Contains(s.text, " index concurrently ")
	})
}

var (
	checkNotNull = regexp.MustCompile(`^add constraint (\S+) check \((\S+) is not null\)`)
	validate     = regexp.MustCompile(`^validate constraint (\S+)`)
	setNotNull   = regexp.MustCompile(`^alter (\S+) set not null`)
)

// checks returns the names of the constraints that keep NULL out of the column.
func (c scene) checks(table, column string) []string {
	var names []string
	for _, match := range actions(slices.Concat(c.earlier, c.before), table, checkNotNull) {
		if match[2] == column {
			names = append(names, match[1])
		}
	}
	return names
}

// hasServed reports whether the constraint was there only for a SET NOT NULL that is done.
func (c scene) hasServed(table, constraint string) bool {
	return slices.ContainsFunc(actions(c.before, table, setNotNull), func(set []string) bool {
		return slices.Contains(c.checks(table, set[1]), constraint)
	})
}

func requiresValues(c scene, s statement) bool {
	if !c.alters(s) {
		return false
	}
	validated := actions(slices.Concat(c.earlier, c.before), s.table, validate)
	for _, set := range actions([]statement{s}, s.table, setNotNull) {
		checks := c.checks(s.table, set[1])
		if !slices.ContainsFunc(validated, func(match []string) bool { return slices.Contains(checks, match[1]) }) {
			return true
		}
	}
	return s.anyPart(func(p part) bool { return strings.Contains(textOf(p.column), " not null") && !has(p.column, "default") })
}

var (
	rename      = regexp.MustCompile(`^(?:rename|set schema) `)
	renameOther = regexp.MustCompile(`^alter (?:materialized )?\w+ .*(?: rename | set schema )`)
	changeType  = regexp.MustCompile(`^alter \S+ (?:set data )?type `)
)

func renames(_ scene, s statement) bool {
	return s.does(rename) || s.table == "" && renameOther.MatchString(s.text)
}

func rewrites(c scene, s statement) bool {
	return c.alters(s) && (s.does(changeType) || s.anyPart(func(p part) bool {
		return has(p.column, "generated") || calls(clause(p.column, "default"))
	}))
}

// clause returns what a definition of a column says behind a word, up to the next clause.
func clause(column []sqlToken, word string) []sqlToken {
	at := slices.IndexFunc(column, func(t sqlToken) bool { return t.is(word) })
	if at < 0 {
		return nil
	}
	rest := column[at+1:]
	if end := slices.IndexFunc(rest, func(t sqlToken) bool { return t.is(columnClauses...) }); end >= 0 {
		rest = rest[:end]
	}
	return rest
}

// columnClauses are the words that begin something new behind the type of a column.
var columnClauses = strings.Fields("check collate constraint default generated not null primary references unique")

// calls reports whether the expression calls a function that may give each row something else.
func calls(expression []sqlToken) bool {
	for i, t := range expression {
		if t.is("(") && (i > 0 && expression[i-1].name() && !expression[i-1].is("now") || calls(t.group)) {
			return true
		}
	}
	return false
}

// kind is the word that says what a constraint does.
func (p part) kind() sqlToken {
	switch {
	case len(p.constraint) == 0:
		return sqlToken{}
	case p.named() && len(p.constraint) > 2:
		return p.constraint[2]
	}
	return p.constraint[0]
}

func (p part) named() bool { return p.constraint[0].is("constraint") }

func validatesAtOnce(c scene, s statement) bool {
	return c.alters(s) && s.anyPart(func(p part) bool {
		match := validate.FindStringSubmatch(p.text)
		return match != nil && (!c.exists(s.table+"."+match[1]) || slices.Contains(s.makes, s.table+"."+match[1])) ||
			p.kind().is("check", "foreign") && !strings.HasSuffix(p.text, " not valid") ||
			has(p.column, "check") || has(p.column, "references")
	})
}

func buildsKey(c scene, s statement) bool {
	return c.alters(s) && s.anyPart(func(p part) bool {
		return p.kind().is("unique", "primary", "exclude") && !strings.Contains(p.text, " using index ") ||
			has(p.column, "unique") || has(p.column, "primary")
	})
}

func blocksWrites(c scene, s statement) bool {
	if !createIndex.MatchString(s.text) || !c.exists(s.table) {
		return false
	}
	return !strings.Contains(s.text, " concurrently ") || len(s.makes) == 0 || !slices.ContainsFunc(c.before, func(d statement) bool {
		return d.text == "drop index concurrently if exists "+s.makes[0]
	})
}

var transactionControl = regexp.MustCompile(`^(?:begin|start transaction|savepoint|commit|rollback|abort)\b`)

func mixesTransactions(c scene, s statement) bool {
	if transactionControl.MatchString(s.text) {
		return true
	}
	return has(s.tokens, "concurrently") != (c.noTransaction && !s.inBody)
}

// leavesUnnamed lets pass what refers to the tenant itself: there is one in every table, and PostgreSQL names them all alike.
func leavesUnnamed(_ scene, s statement) bool {
	return s.anyPart(func(p part) bool {
		if len(p.constraint) > 0 {
			return !p.named()
		}
		if strings.HasPrefix(p.text, "tenant_id ") && strings.Contains(p.text, " references parako.tenants ") {
			return false
		}
		for i, t := range p.column {
			if t.is("primary", "unique", "check", "references") && !p.column[max(i-2, 0)].is("constraint") {
				return true
			}
		}
		return false
	})
}

var (
	narrowType  = regexp.MustCompile(`^(?:(?:var|n|bp)?char|character)\b|^timestamp(?: \(\d\))?(?: without|$| \[)`)
	counterType = regexp.MustCompile(`^(?:small|big)?serial[248]?$`)
	counter     = regexp.MustCompile(`^create (?:temp |temporary |unlogged )?sequence |\bnextval \(`)
)

// columnType returns the type of a column, as text.
func (p part) columnType() string {
	if len(p.column) == 0 {
		return ""
	}
	return textOf(clause(p.column, p.column[0].text))
}

func usesType(_ scene, s statement) bool {
	return s.anyPart(func(p part) bool { return narrowType.MatchString(p.columnType()) })
}

func counts(_ scene, s statement) bool {
	return counter.MatchString(s.text) || s.anyPart(func(p part) bool {
		return counterType.MatchString(p.columnType()) || strings.Contains(p.text, " as identity")
	})
}

var clearing = regexp.MustCompile(` on (?:delete|update) set (?:null|default)\b`)

func clearsTenant(_ scene, s statement) bool { return clearing.MatchString(s.text) }

var (
	protect = regexp.MustCompile(`^(?:enable|disable) row level security`)
	force   = regexp.MustCompile(`^force row level security`)
	noForce = regexp.MustCompile(`^no force row level security`)
	toggle  = regexp.MustCompile(`^(no )?force row level security`)
)

// unforced reports whether FORCE of the table has been lifted.
func (c scene) unforced(table string) bool {
	toggles := actions(c.before, table, toggle)
	return len(toggles) > 0 && toggles[len(toggles)-1][1] != ""
}

func changesProtection(c scene, s statement) bool {
	if onPolicy.MatchString(s.text) {
		return c.exists(s.table)
	}
	return c.alters(s) && (s.does(protect) || s.does(force) && !c.unforced(s.table))
}

func leavesUnforced(c scene, s statement) bool {
	return s.does(noForce) && !slices.ContainsFunc(c.after, func(a statement) bool {
		return a.table == s.table && a.does(force) || slices.Contains(a.dropped(), s.table)
	})
}

var rowSecurity = regexp.MustCompile(`^(?:set (?:local )?row_security (?:=|to)|reset (?:row_security|all)) ?(.*)`)

// loud reports whether it is an error, and not a silence, to reach for rows that are hidden.
func (c scene) loud() bool {
	off := false
	for _, s := range c.before {
		if rowSecurity.MatchString(s.text) {
			off = s.text == "set local row_security = off"
		}
	}
	return off
}

func changesNothing(c scene, s statement) bool {
	return slices.ContainsFunc(changed(s.tokens), func(table string) bool {
		schema, _, qualified := strings.Cut(table, ".")
		if qualified && schema != "parako" || !qualified && !c.exists(table) { // a table of the migration's own
			return false
		}
		return c.noTransaction || !c.loud() || !c.unforced(table)
	})
}

var changedTable = regexp.MustCompile(`^(?:insert into|delete from(?: only)?|update(?: only)?|merge into(?: only)?) ([^( ]+)`)

// changed returns the tables whose rows a statement changes, also inside WITH.
func changed(tokens []sqlToken) []string {
	var tables []string
	for i, t := range tokens {
		tables = append(tables, changed(t.group)...)
		if !t.is("insert", "delete", "update", "merge") || i > 0 && tokens[i-1].is("for", "on", "key", "do") {
			continue
		}
		match := changedTable.FindStringSubmatch(textOf(tokens[i:]))
		if match != nil && (!t.is("update") || has(tokens[i:], "set")) {
			tables = append(tables, match[1])
		}
	}
	return tables
}

var (
	insertInto  = regexp.MustCompile(`\binsert into \S+`)
	tableOrCall = regexp.MustCompile(`\bparako\.\w+( \(|\.)?`)
	sameTenant  = regexp.MustCompile(`\btenant_id = (?:\w+\.)*(?:tenant_)?id\b|\bid = (?:\w+\.)*tenant_id\b|\busing \(tenant_id\b`)
)

// crossesTenants counts: each table besides the first needs an equality of tenants.
func crossesTenants(_ scene, s statement) bool {
	if len(changed(s.tokens)) == 0 {
		return false
	}
	text := insertInto.ReplaceAllString(s.text, "")
	tables := 0
	for _, match := range tableOrCall.FindAllStringSubmatch(text, -1) {
		if match[1] == "" {
			tables++
		}
	}
	return setsTenant(s.tokens) || tables > 1 && len(sameTenant.FindAllString(text, -1)) < tables-1
}

// setsTenant reports whether SET gives tenant_id a value, also inside WITH.
func setsTenant(tokens []sqlToken) bool {
	for i, t := range tokens {
		if setsTenant(t.group) || t.is("set", ",") && i+2 < len(tokens) &&
			(tokens[i+1].is("tenant_id") && tokens[i+2].is("=") || tokens[i+1].is("(") && has(tokens[i+1].group, "tenant_id") && tokens[i+2].is("=")) {
			return true
		}
	}
	return false
}
