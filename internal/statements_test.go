package internal_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// migration is a file of db/migrations, taken apart for the linter.
type migration struct {
	file          string
	noTransaction bool
	sections      []section
	allowances    []*allowance
	faults        []fault // of the comments that should be allowances
}

// section is a list of statements that run one after another: Up, Down, or the body of a function. The statements of a DO
// block and the text of an EXECUTE follow the statement they are in.
type section struct {
	down       bool
	function   bool        // it runs when somebody calls it
	before     []statement // what the file does before it creates the function
	statements []statement
}

// statement is one statement of a migration.
type statement struct {
	line       int
	text       string       // in lower case, one space between words, none around the dots of names
	tokens     []sqlToken   // the same, nested
	inBody     bool         // of a DO block or a function
	unreadable bool         // what it runs is not to be found in the file, or not by the lexer
	table      string       // the table it creates, alters or indexes, or on which it changes a policy
	parts      []part       // the actions of ALTER TABLE, or the entries of CREATE TABLE
	makes      []string     // the names of what is new; a column and a constraint as table.name
	allowed    []*allowance // above the statement, and above those it is in
}

// part is one of the actions of ALTER TABLE or of the entries of CREATE TABLE.
type part struct {
	text       string
	column     []sqlToken // the definition of a new column, its name first
	constraint []sqlToken // the definition of a new constraint of the table
}

// allowance is a comment that excuses the statement below it, with all that is in it, from a rule.
type allowance struct {
	line int
	rule string
	used bool
}

// fault is a breach of a rule.
type fault struct {
	line       int
	rule, what string
}

var (
	allowanceMark = regexp.MustCompile(`--\s*lint\b`)
	allowanceForm = regexp.MustCompile(`^\s*-- lint: allow ([a-z]+): \S`)
)

// readMigration takes the text of a migration apart.
func readMigration(file, sql string) *migration {
	m := &migration{file: file}
	lines := strings.Split(sql, "\n")
	m.noTransaction = slices.Contains(lines, "-- +goose NO TRANSACTION")
	for i, line := range lines {
		if !allowanceMark.MatchString(line) {
			continue
		}
		match := allowanceForm.FindStringSubmatch(line)
		switch {
		case match == nil:
			m.faults = append(m.faults, fault{i + 1, "comment", "write it in a line of its own: -- lint: allow <rule>: <why>"})
		case !slices.ContainsFunc(lintRules, func(r lintRule) bool { return r.name == match[1] }):
			m.faults = append(m.faults, fault{i + 1, match[1], "there is no such rule"})
		default:
			m.allowances = append(m.allowances, &allowance{line: i + 1, rule: match[1]})
		}
	}
	r := reader{m, lines}
	up, down, _ := strings.Cut(sql, "\n-- +goose Down\n")
	r.section(section{}, up, place{line: 1})
	r.section(section{down: true}, down, place{line: strings.Count(up, "\n") + 3})
	return m
}

// reader fills the sections of a migration.
type reader struct {
	*migration
	lines []string
}

// place is where a text with statements stands.
type place struct {
	line    int
	inBody  bool
	allowed []*allowance
}

func (r reader) section(s section, sql string, at place) {
	r.statements(&s, sql, at)
	r.sections = append(r.sections, s)
}

func (r reader) statements(s *section, sql string, at place) {
	for _, whole := range lexSQL(sql) {
		for _, tokens := range withoutControl(whole, at.inBody) {
			st := newStatement(tokens)
			st.line, st.inBody = at.line+tokens[0].line-1, at.inBody
			st.allowed = append(slices.Clone(at.allowed), r.above(st.line)...)
			inside := place{st.line, true, st.allowed}
			text, executes := executed(tokens)
			executes = executes && at.inBody
			st.unreadable = executes && text == "" || at.inBody && hides(tokens)
			s.statements = append(s.statements, st)
			if executes {
				r.statements(s, text, inside)
			}
			if body, ok := bodyOf(tokens); ok {
				inside.line = at.line + body.line - 1
				if tokens[0].is("do") {
					r.statements(s, body.unquote(), inside)
				} else {
					r.section(section{down: s.down, function: true, before: slices.Concat(s.before, s.statements)}, body.unquote(), inside)
				}
			}
		}
	}
}

// above returns the allowances in the comment that ends directly above the line.
func (r reader) above(line int) []*allowance {
	begin := line
	for begin > 1 && strings.HasPrefix(strings.TrimSpace(r.lines[begin-2]), "--") {
		begin--
	}
	var found []*allowance
	for _, a := range r.allowances {
		if begin <= a.line && a.line < line {
			found = append(found, a)
		}
	}
	return found
}

// withoutControl cuts a statement of PL/pgSQL behind the words that may precede one of SQL. Outside a body there are none.
func withoutControl(tokens []sqlToken, inBody bool) [][]sqlToken {
	var pieces [][]sqlToken
	for begin, i := 0, 0; i < len(tokens); i++ {
		control := inBody && tokens[i].is("declare", "begin", "then", "else", "loop")
		if control && i > begin {
			pieces = append(pieces, tokens[begin:i])
		}
		if control {
			begin = i + 1
		} else if i == len(tokens)-1 {
			pieces = append(pieces, tokens[begin:])
		}
	}
	return pieces
}

// hides reports whether there are statements inside the statement. The lexer takes CASE … END CASE of PL/pgSQL for an
// expression.
func hides(tokens []sqlToken) bool {
	return slices.ContainsFunc(tokens, func(t sqlToken) bool { return t.is(";") || hides(t.group) })
}

// bodyOf returns the text that a DO block runs, or a new function will.
func bodyOf(tokens []sqlToken) (body sqlToken, ok bool) {
	begin := 0
	switch {
	case tokens[0].is("do"):
	case createRoutine.MatchString(plain(tokens)):
		begin = slices.IndexFunc(tokens, func(t sqlToken) bool { return t.is("as") }) + 1
	default:
		return sqlToken{}, false
	}
	at := slices.IndexFunc(tokens[begin:], sqlToken.literal)
	if at < 0 {
		return sqlToken{}, false
	}
	return tokens[begin+at], true
}

var createRoutine = regexp.MustCompile(`^create (or replace )?(function|procedure) .* as '`)

// executed returns the text that an EXECUTE of PL/pgSQL runs, and whether the statement is one. A value that is put into the
// text becomes a word that is the same wherever the same expression is put in. The text is empty when it begins with a value.
func executed(tokens []sqlToken) (text string, ok bool) {
	at := slices.IndexFunc(tokens, func(t sqlToken) bool { return t.is("execute") })
	if at < 0 || tokens[0].is("grant", "revoke", "create") {
		return "", false
	}
	expression := tokens[at+1:]
	if end := slices.IndexFunc(expression, func(t sqlToken) bool { return t.is("into", "using") }); end >= 0 {
		expression = expression[:end]
	}
	text, _ = evaluate(expression)
	return text, true
}

// evaluate returns what it can tell of the value of a text expression, and whether its beginning is known.
func evaluate(expression []sqlToken) (text string, known bool) {
	for i, operand := range split(expression, "||") {
		value, ok := wordFor(operand), false
		switch last := operand[len(operand)-1]; {
		case !slices.ContainsFunc(operand, func(t sqlToken) bool { return !t.literal() }):
			value, ok = "", true
			for _, t := range operand {
				value += t.unquote()
			}
		case len(operand) == 1 && last.is("("):
			value, ok = evaluate(last.group)
		case last.is("(") && operand[len(operand)-2].is("format"):
			value, ok = formatted(split(last.group, ","))
		}
		if i == 0 && !ok {
			return "", false
		}
		text += value
	}
	return text, true
}

var formatVerb = regexp.MustCompile(`%(?:(\d+)\$)?-?\d*([sIL%])`)

// formatted is the format function of PostgreSQL.
func formatted(args [][]sqlToken) (text string, ok bool) {
	text, ok = evaluate(args[0])
	if !ok {
		return "", false
	}
	next := 1
	return formatVerb.ReplaceAllStringFunc(text, func(verb string) string {
		match := formatVerb.FindStringSubmatch(verb)
		if match[2] == "%" {
			return "%"
		}
		at := next
		if match[1] != "" {
			_, _ = fmt.Sscan(match[1], &at)
		}
		next = at + 1
		if at >= len(args) {
			return verb
		}
		value, known := evaluate(args[at])
		if !known {
			value = wordFor(args[at])
		}
		if match[2] == "L" {
			return "'" + strings.ReplaceAll(value, "'", "''") + "'"
		}
		return value
	}), true
}

var noWord = regexp.MustCompile(`\W+`)

// wordFor makes a name of an expression.
func wordFor(expression []sqlToken) string {
	return noWord.ReplaceAllString(plain(expression), "_")
}

// split cuts tokens at a sign that stands outside parentheses. It leaves out what is empty.
func split(tokens []sqlToken, sign string) [][]sqlToken {
	var list [][]sqlToken
	begin := 0
	for i := 0; i <= len(tokens); i++ {
		if i == len(tokens) || tokens[i].is(sign) {
			if i > begin {
				list = append(list, tokens[begin:i])
			}
			begin = i + 1
		}
	}
	return list
}

// textOf is plain without spaces around the dots of names.
func textOf(tokens []sqlToken) string { return strings.ReplaceAll(plain(tokens), " . ", ".") }

var (
	createObject = regexp.MustCompile(`^create (?:(?:unique|temporary|temp|unlogged|materialized) )*(table|view|index|function|procedure|schema|type|domain|sequence|role) (?:concurrently )?([^( ]+)`)
	createTable  = regexp.MustCompile(`^create (?:(?:temporary|temp|unlogged) )*table (?:if not exists )?([^( ]+)`)
	createIndex  = regexp.MustCompile(`^create (?:unique )?index (?:concurrently )?(?:if not exists )?(?:([^( ]+) )?on (?:only )?([^( ]+)`)
	onPolicy     = regexp.MustCompile(`^(?:create|alter|drop) policy (?:if exists )?\S+ on (\S+)`)
	alterTable   = regexp.MustCompile(`^alter table (?:if exists )?(?:only )?(\S+)`)
	newMember    = regexp.MustCompile(`^add (?:constraint )?(\S+)`)

	optionalColumn = regexp.MustCompile(`^(add|alter|drop) column `)
)

// newStatement says what it can about a statement.
func newStatement(tokens []sqlToken) statement {
	st := statement{tokens: tokens, text: textOf(tokens)}
	if match := createObject.FindStringSubmatch(st.text); match != nil && match[1] != "index" && match[2] != "if" {
		st.makes = []string{match[2]}
	}
	switch {
	case createTable.MatchString(st.text):
		st.table = createTable.FindStringSubmatch(st.text)[1]
		at := behindName(tokens, st.table)
		if at < len(tokens) && tokens[at].is("(") {
			for _, entry := range split(tokens[at].group, ",") {
				st.parts = append(st.parts, newPart(entry, entry))
			}
		}
	case createIndex.MatchString(st.text):
		match := createIndex.FindStringSubmatch(st.text)
		st.table = match[2]
		if match[1] != "" && !strings.Contains(st.text, " if not exists ") {
			st.makes = []string{inSchemaOf(st.table, match[1])}
		}
	case onPolicy.MatchString(st.text):
		st.table = onPolicy.FindStringSubmatch(st.text)[1]
	case alterTable.MatchString(st.text):
		st.table = alterTable.FindStringSubmatch(st.text)[1]
		for _, action := range split(tokens[behindName(tokens, st.table):], ",") {
			var added []sqlToken
			if action[0].is("add") {
				added = action[1:]
			}
			p := newPart(action, added)
			st.parts = append(st.parts, p)
			if match := newMember.FindStringSubmatch(p.text); match != nil {
				st.makes = append(st.makes, st.table+"."+match[1])
			}
		}
	}
	return st
}

// behindName returns the index of the token behind the first name in the statement that is written like this.
func behindName(tokens []sqlToken, name string) int {
	length := 2*strings.Count(name, ".") + 1
	for i := 0; i+length <= len(tokens); i++ {
		if textOf(tokens[i:i+length]) == name {
			return i + length
		}
	}
	return len(tokens)
}

// inSchemaOf gives an index the schema of its table.
func inSchemaOf(table, index string) string {
	if schema, _, ok := strings.Cut(table, "."); ok {
		return schema + "." + index
	}
	return index
}

// newPart reads an action or an entry. added is the definition in it, if it makes something.
func newPart(tokens, added []sqlToken) part {
	p := part{text: optionalColumn.ReplaceAllString(textOf(tokens), "$1 ")}
	for len(added) > 0 && added[0].is("column", "if", "not", "exists") {
		added = added[1:]
	}
	switch {
	case len(added) == 0, added[0].is("like", "generated"):
	case added[0].is("constraint", "primary", "unique", "check", "foreign", "exclude"):
		p.constraint = added
	default:
		p.column = added
	}
	return p
}

func TestReadMigration(t *testing.T) {
	t.Parallel()
	const body = `
DECLARE
    n int := 1;
BEGIN
    IF n = 1 THEN
        -- a; comment
        EXECUTE format($f$DROP TABLE %I$f$, $t$a$t$)
            INTO n;
    END IF;
END
`
	m := readMigration("1.sql", `-- +goose Up
SET LOCAL lock_timeout = '3s';
-- +goose StatementBegin
DO $$`+body+`$$;
-- +goose StatementEnd
CREATE FUNCTION f(a text DEFAULT 'x') RETURNS int
    LANGUAGE sql
    AS '
SELECT ''a;b''
';
SELECT 2;

-- +goose Down
SELECT 3;
`)
	var got []string
	for _, s := range m.sections {
		for _, st := range s.statements {
			where := "up"
			switch {
			case s.function:
				where = fmt.Sprintf("in a function, behind %d statements", len(s.before))
			case s.down:
				where = "down"
			}
			got = append(got, fmt.Sprintf("%d %s: %s", st.line, where, strings.Split(st.text, " (")[0]))
		}
	}
	want := []string{
		"19 in a function, behind 9 statements: select 'a;b'",
		"2 up: set local lock_timeout = '3s'",
		"4 up: do '" + body + "'",
		"6 up: n int : = 1",
		"8 up: if n = 1",
		"10 up: execute format",
		"10 up: drop table a",
		"12 up: end if",
		"13 up: end",
		"16 up: create function f",
		"21 up: select 2",
		"24 down: select 3",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("statements mismatch (-want +got)\n%s", diff)
	}
}

func TestAllowances(t *testing.T) {
	t.Parallel()
	const drop = "\nDROP TABLE parako.users;"
	tests := map[string]struct {
		sql  string
		want []string
	}{
		"above the statement":              {"-- lint: allow drop: why" + drop, nil},
		"among other comments":             {"-- What it does.\n-- lint: allow drop: why\n-- And more." + drop, nil},
		"two of them":                      {"-- lint: allow drop: why\n-- lint: allow rename: why" + drop + "ALTER TABLE a RENAME TO b;", nil},
		"above the block":                  {"-- lint: allow drop: why\nDO $$ BEGIN" + drop + " END $$;", nil},
		"inside the block":                 {"DO $$ BEGIN\n-- lint: allow drop: why" + drop + " END $$;", nil},
		"above the function":               {"-- lint: allow drop: why\nCREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$" + drop + " $$;", nil},
		"above another statement":          {"-- lint: allow drop: why\nSELECT 1;" + drop, []string{"2: drop: the comment allows nothing", "4: drop: " + lintRules[0].demand}},
		"not directly above":               {"-- lint: allow drop: why\n" + drop, []string{"2: drop: the comment allows nothing", "4: drop: " + lintRules[0].demand}},
		"behind the statement":             {drop + " -- lint: allow drop: why", []string{"3: comment: write it in a line of its own: -- lint: allow <rule>: <why>", "3: drop: " + lintRules[0].demand}},
		"without a reason":                 {"-- lint: allow drop:" + drop, []string{"2: comment: write it in a line of its own: -- lint: allow <rule>: <why>", "3: drop: " + lintRules[0].demand}},
		"of another rule":                  {"-- lint: allow rename: why" + drop, []string{"2: rename: the comment allows nothing", "3: drop: " + lintRules[0].demand}},
		"of no rule":                       {"-- lint: allow everything: why" + drop, []string{"2: everything: there is no such rule", "3: drop: " + lintRules[0].demand}},
		"a comment that is something":      {"-- linting is fine\n-- lint:allow drop: why", []string{"3: comment: write it in a line of its own: -- lint: allow <rule>: <why>"}},
		"in a string it is a comment, too": {"SELECT '\n-- lint: allow drop: why';", []string{"3: drop: the comment allows nothing"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := lint(readMigration("1.sql", "-- +goose Up\n"+tt.sql))
			for i := range got {
				got[i] = strings.TrimPrefix(got[i], "1.sql:")
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("lint mismatch (-want +got)\n%s", diff)
			}
		})
	}
}

func TestExecuted(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		statement, want string
		not             bool
	}{
		"a literal":               {statement: "EXECUTE 'DROP TABLE a'", want: "DROP TABLE a"},
		"with quotes inside":      {statement: "EXECUTE 'SELECT ''a'''", want: "SELECT 'a'"},
		"in dollars":              {statement: "EXECUTE $q$SELECT 'a'$q$", want: "SELECT 'a'"},
		"in two lines":            {statement: "EXECUTE 'SELECT '\n 'a'", want: "SELECT a"},
		"in parentheses":          {statement: "EXECUTE ('SELECT 1')", want: "SELECT 1"},
		"put together":            {statement: "EXECUTE 'DROP TABLE ' || quote_ident(t.name) || ', b'", want: "DROP TABLE quote_ident_t_name_, b"},
		"formatted":               {statement: "EXECUTE format('DROP %s %I.%I', 'TABLE', s, t || '_rest')", want: "DROP TABLE s.t__rest_"},
		"formatted by position":   {statement: "EXECUTE pg_catalog.format('%2$I %1$I %I 100%%', a, b)", want: "b a b 100%"},
		"a value":                 {statement: "EXECUTE format('SET x = %L', it)", want: "SET x = 'it'"},
		"more verbs than values":  {statement: "EXECUTE format('SELECT %I')", want: "SELECT %I"},
		"with INTO":               {statement: "EXECUTE 'SELECT $1' INTO a USING b", want: "SELECT $1"},
		"in a loop":               {statement: "FOR r IN EXECUTE 'SELECT 1'", want: "SELECT 1"},
		"what a query returns":    {statement: "RETURN QUERY EXECUTE 'SELECT 1'", want: "SELECT 1"},
		"a variable":              {statement: "EXECUTE command"},
		"a variable, formatted":   {statement: "EXECUTE format(command, a)"},
		"a variable and more":     {statement: "EXECUTE verb || ' TABLE a'"},
		"a privilege":             {statement: "GRANT EXECUTE ON FUNCTION f() TO a", not: true},
		"a privilege taken":       {statement: "REVOKE EXECUTE ON FUNCTION f() FROM a", not: true},
		"what a trigger executes": {statement: "CREATE TRIGGER t BEFORE INSERT ON a EXECUTE FUNCTION f()", not: true},
		"something else":          {statement: "SELECT 'EXECUTE'", not: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ok := executed(lexSQL(tt.statement)[0])
			if got != tt.want || ok == tt.not {
				t.Errorf("executed(%s) = %q, %t, want %q, %t", tt.statement, got, ok, tt.want, !tt.not)
			}
		})
	}
}
