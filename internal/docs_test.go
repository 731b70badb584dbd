package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"parako/internal/config"
)

// The pages for users repeat what the code says, so that they can be read without it. These tests keep the two equal.

func TestEveryVariableIsDocumented(t *testing.T) {
	t.Parallel()
	variables := variablesOf(reflect.TypeFor[config.Config](), "")
	for _, page := range []string{"README.md", "docs/operators.md"} {
		rows := tableRows(read(t, page))
		for name, preset := range variables {
			row, found := rows[name]
			if !found {
				t.Errorf("%s: no table has a row for the variable %s", page, name)
			} else if preset != "" && !strings.Contains(row, "`"+preset+"`") {
				t.Errorf("%s: the row of %s does not name its default `%s`", page, name, preset)
			}
		}
		for name := range rows {
			if _, known := variables[name]; !known && variableName.MatchString(name) {
				t.Errorf("%s: nothing reads the variable %s", page, name)
			}
		}
	}
}

// variableName is the form of an environment variable.
var variableName = regexp.MustCompile(`^[A-Z]+(_[A-Z]+)+$`)

// variablesOf returns the environment variables behind the fields of t and their defaults, empty for those without one.
func variablesOf(t reflect.Type, prefix string) map[string]string {
	variables := map[string]string{}
	for field := range t.Fields() {
		if name, ok := field.Tag.Lookup("env"); ok {
			variables[prefix+name] = field.Tag.Get("envDefault")
		}
		if inner, ok := field.Tag.Lookup("envPrefix"); ok {
			maps.Copy(variables, variablesOf(field.Type, prefix+inner))
		}
	}
	return variables
}

func TestEveryAuditEventIsDocumented(t *testing.T) {
	t.Parallel()
	const source, page = "internal/audit/audit.go", "docs/audit.md"
	parsed, err := parser.ParseFile(token.NewFileSet(), onDisk(t, source), nil, 0)
	if err != nil {
		t.Fatalf("parse %s: %v", source, err)
	}
	rows := tableRows(read(t, page))
	events := eventTypes(t, parsed)
	for _, event := range events {
		if rows[event] == "" {
			t.Errorf("%s: no table has a row for the event %s", page, event)
		}
	}
	if len(events) == 0 {
		t.Errorf("%s declares no constants of type Type: this test looks for them in vain", source)
	}
}

// eventTypes returns the values of the constants of type Type that the file declares.
func eventTypes(t *testing.T, file *ast.File) []string {
	t.Helper()
	var events []string
	for _, declaration := range file.Decls {
		block, _ := declaration.(*ast.GenDecl)
		if block == nil || block.Tok != token.CONST {
			continue
		}
		for _, spec := range block.Specs {
			constant, _ := spec.(*ast.ValueSpec)
			if kind, _ := constant.Type.(*ast.Ident); kind == nil || kind.Name != "Type" {
				continue
			}
			for _, value := range constant.Values {
				literal, ok := value.(*ast.BasicLit)
				if !ok {
					t.Fatalf("an event is not a literal but %T", value)
				}
				event, err := strconv.Unquote(literal.Value)
				if err != nil {
					t.Fatalf("read the event %s: %v", literal.Value, err)
				}
				events = append(events, event)
			}
		}
	}
	return events
}

func TestEveryTableIsDocumented(t *testing.T) {
	t.Parallel()
	const page = "docs/dba.md"
	rows := tableRows(read(t, page))
	for _, file := range migrationFiles(t) {
		up, _, _ := strings.Cut(read(t, file), "\n-- +goose Down\n")
		for _, table := range tablesOf(up) {
			if rows[table.name] == "" {
				t.Errorf("%s: no table has a row for %s of %s", page, table.name, file)
			}
		}
	}
}

// TestTheMigrationsPage holds the examples of the page to the rules that it explains. TestDocumentedMigrations runs them.
func TestTheMigrationsPage(t *testing.T) {
	t.Parallel()
	const page = "docs/migrations.md"
	text := read(t, page)
	var all []*migration
	for _, file := range migrationFiles(t) {
		all = append(all, readMigration(file, read(t, file)))
	}
	examples := 0
	for _, block := range sqlBlock.FindAllStringSubmatch(text, -1) {
		file, sql := block[1], block[2]
		switch {
		case file != "":
			examples++
			for _, fault := range migrationFaults(sql) {
				t.Errorf("%s: %s: %s", page, file, fault)
			}
			all = append(all, readMigration(page+": "+file, sql))
		case queryName.MatchString(sql):
			examples++
			for _, fault := range tenantFaults(sql, tenantColumns(t)) {
				t.Errorf("%s: %s: %s", page, queryName.FindStringSubmatch(sql)[1], fault)
			}
		}
	}
	if examples < 2 {
		t.Errorf("%s: there are %d examples: this test looks for them in vain", page, examples)
	}
	for _, fault := range lint(all...) {
		t.Error(fault)
	}
	rows := tableRows(text)
	for _, rule := range lintRules {
		if rows[rule.name] == "" {
			t.Errorf("%s: no table has a row for the rule %s", page, rule.name)
		}
		delete(rows, rule.name)
	}
	for name := range rows {
		t.Errorf("%s: there is no rule %s", page, name)
	}
}

// sqlBlock matches a block of SQL and the name of the migration in the line above it, if it is one.
var sqlBlock = regexp.MustCompile("(?s)(?:`(\\d{5}_\\w+\\.sql)`\n\n)?```sql\n(.*?)```")

// TestSecurityPageNamesTests fails when a statement of the security page has lost the test that checks it.
func TestSecurityPageNamesTests(t *testing.T) {
	t.Parallel()
	const page = "docs/security.md"
	var tests []string
	for _, file := range goFiles(t) {
		if strings.HasSuffix(file, "_test.go") {
			for _, declared := range testFunction.FindAllStringSubmatch(read(t, file), -1) {
				tests = append(tests, declared[1])
			}
		}
	}
	for row, statement := range strings.Split(read(t, page), "\n") {
		for _, named := range testName.FindAllStringSubmatch(statement, -1) {
			if !slices.Contains(tests, named[1]) && named[1] != "TestName" {
				t.Errorf("%s:%d: there is no test %s", page, row+1, named[1])
			}
		}
	}
}

var (
	testFunction = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	testName     = regexp.MustCompile(`\b((?:Test|Fuzz)[A-Z]\w+)`)
)

// tableRows returns the rows of the page's tables whose first cell is a name in backquotes, by that name.
func tableRows(page string) map[string]string {
	rows := map[string]string{}
	for _, match := range tableRow.FindAllStringSubmatch(page, -1) {
		rows[match[1]] = match[2]
	}
	return rows
}

var tableRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\|(.*)$")
