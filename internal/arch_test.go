// Package internal_test holds the rules of the repository as tests: which package may import which (arch_test.go), what a
// file may contain (repo_test.go), what the SQL must say about tenants (migrations_test.go and queries_test.go, on the
// scanner of sql_test.go), and what a migration may do to a database in use (lint_test.go). It tests no behaviour of the
// product. A rule that is in the way is changed here, in a commit that says why; it is not worked around.
package internal_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// module is the import path of the repository.
const module = "parako"

// floors says on which floor a package stands, the ground first. A package imports only from floors below its own.
var floors = [][]string{
	0: {
		"db", "templates", "internal/config", "internal/telemetry", "internal/problem", "internal/secret", "internal/i18n",
		"internal/dbsqlc", "internal/dbsqlc/control", "internal/embedpg", "internal/outbound",
	},
	1: {"internal/store", "internal/cache", "internal/tenant", "internal/audit", "internal/message", "internal/ratelimit"},
	2: {
		"internal/directory", "internal/factor", "internal/session", "internal/federation", "internal/keyring",
		"internal/settings",
	},
	3: {"internal/oidc", "internal/platform", "internal/signin", "internal/transfer"},
	4: {"internal/pages", "internal/api", "internal/jobs"},
	5: {"internal/server"},
	6: {"cmd/parako", "internal"},
}

// sameFloor holds the arrows that are allowed inside one floor, from → to. They form no cycle.
var sameFloor = map[string][]string{
	"internal/config":     {"internal/secret"},
	"internal/factor":     {"internal/directory"},
	"internal/session":    {"internal/directory"},
	"internal/federation": {"internal/directory"},
	"internal/oidc":       {"internal/signin"},
	"internal/tenant":     {"internal/store", "internal/audit"},
	"internal/audit":      {"internal/store"},
	"internal/message":    {"internal/store"},
	"internal/ratelimit":  {"internal/cache"},
}

// testkit may import everything and is imported by tests only.
const testkit = "internal/testkit"

// fence names the only packages that may import a third-party module. .golangci.yaml holds the same fences, for editors.
type fence struct {
	module string
	code   []string // packages that may use it
	tests  []string // packages whose tests may use it besides
}

var fences = []fence{
	{
		module: "github.com/jackc/pgx",
		code:   []string{"internal/dbsqlc", "internal/dbsqlc/control", "internal/store", "internal/jobs"},
		tests:  []string{"db", "internal/embedpg"}, // what they test is a bare server: there is no store yet
	},
	{
		module: "github.com/pressly/goose",
		code:   []string{"internal/store"},
		tests:  []string{"db"},
	},
	{module: "github.com/riverqueue/river", code: []string{"internal/jobs"}},
	{module: "filippo.io/age", code: []string{"internal/transfer"}},
	{module: "github.com/redis/rueidis", code: []string{"internal/cache", "internal/ratelimit"}},
	{module: "github.com/ory/fosite", code: []string{"internal/oidc"}},
	{module: "github.com/danielgtaylor/huma", code: []string{"internal/api"}},
	{
		module: "github.com/labstack/echo",
		code:   []string{"internal/server", "internal/oidc", "internal/pages", "internal/api"},
	},
}

// floorOf returns the floor of a package of this repository, given its directory, and whether it has one.
// Everything under cmd/parako belongs to the command.
func floorOf(pkg string) (int, bool) {
	if strings.HasPrefix(pkg, "cmd/parako/") {
		pkg = "cmd/parako"
	}
	for floor, pkgs := range floors {
		if slices.Contains(pkgs, pkg) {
			return floor, true
		}
	}
	return 0, isTestkit(pkg)
}

// isTestkit reports whether a package is testkit or one of those below it.
func isTestkit(pkg string) bool { return pkg == testkit || strings.HasPrefix(pkg, testkit+"/") }

// forbidden says why a file of package from may not import path; it returns "" when it may. Packages of this repository
// are named by their directory, third-party packages by their import path.
func forbidden(from, path string, inTest bool) string {
	if path == module || strings.HasPrefix(path, module+"/") {
		return forbiddenFloor(from, strings.TrimPrefix(strings.TrimPrefix(path, module), "/"), inTest)
	}
	if isTestkit(from) {
		return ""
	}
	for _, f := range fences {
		if path != f.module && !strings.HasPrefix(path, f.module+"/") {
			continue
		}
		if slices.Contains(f.code, from) || inTest && slices.Contains(f.tests, from) {
			return ""
		}
		return fmt.Sprintf("only %s may import %s", strings.Join(f.code, ", "), f.module)
	}
	return ""
}

// forbiddenFloor is forbidden for an import of this repository.
func forbiddenFloor(from, to string, inTest bool) string {
	here, known := floorOf(from)
	if !known {
		return from + " stands on no floor: add it to the table in internal/arch_test.go"
	}
	there, known := floorOf(to)
	switch {
	case !known:
		return to + " stands on no floor: add it to the table in internal/arch_test.go"
	case isTestkit(from), from == to:
		return ""
	case isTestkit(to):
		if inTest {
			return ""
		}
		return "only tests may import " + testkit
	case there < here, inTest && there == here, slices.Contains(sameFloor[from], to):
		return ""
	}
	return fmt.Sprintf("%s (floor %d) may not import %s (floor %d)", from, here, to, there)
}

func TestImportsStayBelowTheirFloor(t *testing.T) {
	t.Parallel()
	for _, file := range goFiles(t) {
		pkg := path.Dir(file)
		if _, known := floorOf(pkg); !known {
			t.Errorf("%s: package %s stands on no floor: add it to the table in internal/arch_test.go", file, pkg)
			continue
		}
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, onDisk(t, file), nil, parser.ImportsOnly)
		if err != nil {
			t.Errorf("parse %s: %v", file, err)
			continue
		}
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Errorf("%s: import %s: %v", file, spec.Path.Value, err)
				continue
			}
			if why := forbidden(pkg, imported, strings.HasSuffix(file, "_test.go")); why != "" {
				t.Errorf("%s:%d: import %q: %s", file, set.Position(spec.Pos()).Line, imported, why)
			}
		}
	}
}

func TestForbidden(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		from, path string
		inTest     bool
		want       string
	}{
		"a lower floor is allowed": {from: "internal/server", path: "parako/internal/store"},
		"a higher floor is refused": {
			from: "internal/store", path: "parako/internal/oidc",
			want: "internal/store (floor 1) may not import internal/oidc (floor 3)",
		},
		"a test gets no higher floor either": {
			from: "internal/store", path: "parako/internal/oidc", inTest: true,
			want: "internal/store (floor 1) may not import internal/oidc (floor 3)",
		},
		"the same floor is refused": {
			from: "internal/pages", path: "parako/internal/api",
			want: "internal/pages (floor 4) may not import internal/api (floor 4)",
		},
		"the same floor is allowed to a test": {from: "internal/pages", path: "parako/internal/api", inTest: true},
		"a named arrow is allowed":            {from: "internal/oidc", path: "parako/internal/signin"},
		"a named arrow has one direction": {
			from: "internal/signin", path: "parako/internal/oidc",
			want: "internal/signin (floor 3) may not import internal/oidc (floor 3)",
		},
		"an external test imports its own package": {from: "internal/secret", path: "parako/internal/secret", inTest: true},
		"an unknown package is refused": {
			from: "internal/store", path: "parako/internal/shelf",
			want: "internal/shelf stands on no floor: add it to the table in internal/arch_test.go",
		},
		"testkit serves tests":    {from: "internal/store", path: "parako/internal/testkit", inTest: true},
		"testkit imports it all":  {from: "internal/testkit", path: "parako/internal/server"},
		"testkit passes fences":   {from: "internal/testkit", path: "github.com/jackc/pgx/v5/pgxpool"},
		"a fence lets its own in": {from: "internal/oidc", path: "github.com/ory/fosite/compose"},
		"testkit is not for the product": {
			from: "internal/server", path: "parako/internal/testkit",
			want: "only tests may import internal/testkit",
		},
		"a fence keeps others out": {
			from: "internal/oidc", path: "github.com/jackc/pgx/v5",
			want: "only internal/dbsqlc, internal/dbsqlc/control, internal/store, internal/jobs may import github.com/jackc/pgx",
		},
		"a fence keeps tests out": {
			from: "internal/pages", path: "github.com/redis/rueidis", inTest: true,
			want: "only internal/cache, internal/ratelimit may import github.com/redis/rueidis",
		},
		"a name that only begins like a fence is free": {from: "internal/pages", path: "github.com/ory/fositeplus"},
		"the standard library is free":                 {from: "internal/problem", path: "net/http"},
		"what lies below the command belongs to it":    {from: "cmd/parako/demo", path: "parako/internal/server"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := forbidden(tt.from, tt.path, tt.inTest)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("forbidden(%q, %q, %t) mismatch (-want +got):\n%s", tt.from, tt.path, tt.inTest, diff)
			}
		})
	}
}

// goFiles returns every Go file of the module. Other modules inside the repository, such as tools, are left out.
func goFiles(t *testing.T) []string {
	t.Helper()
	var files []string
	for _, file := range repoFiles(t) {
		if path.Ext(file) == ".go" && !strings.HasPrefix(file, "tools/") && !strings.Contains(file, "/testdata/") {
			files = append(files, file)
		}
	}
	return files
}

// repoFiles returns every file of the repository as a slash-separated path from its root, in lexical order. It walks the
// disk and asks no version control, so that it means the same in a tarball; what a build or a package manager puts into
// the tree is left out.
func repoFiles(t *testing.T) []string {
	t.Helper()
	root := repoRoot(t)
	var files []string
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains([]string{".git", ".parako", "node_modules"}, entry.Name()):
			return filepath.SkipDir
		case !entry.Type().IsRegular() || entry.Name() == ".git": // That of a worktree is a file.
			return nil
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return fmt.Errorf("name %s from the root: %w", name, err)
		}
		files = append(files, filepath.ToSlash(relative))
		return nil
	})
	if err != nil {
		t.Fatalf("walk the repository: %v", err)
	}
	return files
}

// repoRoot returns the directory of the main go.mod: tests run in the directory of their package, one below it.
func repoRoot(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatalf("find the repository: %v", err)
	}
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatalf("find the repository: %v", err)
	}
	return root
}

// onDisk turns a path as repoFiles returns it into one that can be opened.
func onDisk(t *testing.T, file string) string {
	t.Helper()
	return filepath.Join(repoRoot(t), filepath.FromSlash(file))
}

// read returns the content of a file of the repository.
func read(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(onDisk(t, file))
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return string(content)
}
