package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
)

// topLevel is everything that may stand at the root of the repository, besides names that begin with a dot.
var topLevel = []string{
	"README.md", "Taskfile.yml", "cmd", "compose.yaml", "db", "docs", "go.mod", "go.sum", "internal", "queries", "sqlc.yaml",
	"templates", "tools",
}

// vague are names that say nothing about what is inside: everything fits into them, so everything ends up there.
var vague = []string{"common", "helper", "helpers", "misc", "util", "utils"}

// kinds name a layer instead of a noun of the domain. A file may be called so, a package may not.
var kinds = []string{"impl", "manager", "models", "service", "services", "types"}

func TestTopLevelIsFixed(t *testing.T) {
	t.Parallel()
	ignored := strings.Split(read(t, ".gitignore"), "\n")
	entries, err := os.ReadDir(repoRoot(t))
	if err != nil {
		t.Fatalf("list the repository: %v", err)
	}
	for _, entry := range entries {
		name := entry.Name()
		if !strings.HasPrefix(name, ".") && !slices.Contains(topLevel, name) && !slices.Contains(ignored, "/"+name) {
			t.Errorf("%s does not belong at the top level: the root holds only dot files and %s", name, strings.Join(topLevel, " "))
		}
	}
}

func TestNamesSayWhatIsInside(t *testing.T) {
	t.Parallel()
	for _, file := range goFiles(t) {
		for dir := path.Dir(file); dir != "."; dir = path.Dir(dir) {
			if slices.Contains(vague, path.Base(dir)) || slices.Contains(kinds, path.Base(dir)) {
				t.Errorf("%s: the directory %s needs a name that says what it owns", file, dir)
			}
		}
		stem := strings.TrimSuffix(strings.TrimSuffix(path.Base(file), ".go"), "_test")
		if slices.Contains(vague, stem) {
			t.Errorf("%s: name the file after the noun inside", file)
		}
	}
}

func TestEveryPackageHasOneComment(t *testing.T) {
	t.Parallel()
	commented := map[string][]string{} // package directory → the files that hold a package comment
	for _, file := range goFiles(t) {
		pkg := path.Dir(file)
		if strings.HasSuffix(file, "_test.go") && pkg != "internal" {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), onDisk(t, file), nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Errorf("parse %s: %v", file, err)
			continue
		}
		commented[pkg] = append(commented[pkg], withDoc(file, parsed)...)
	}
	for pkg, files := range commented {
		if len(files) != 1 {
			t.Errorf("%s: want a package comment in exactly one file, have it in %d: %s", pkg, len(files), strings.Join(files, " "))
		}
	}
}

// withDoc returns the file if it holds a package comment, and nothing otherwise. A comment that is only a directive, such
// as go:build, says nothing to a reader and does not count.
func withDoc(file string, parsed *ast.File) []string {
	if strings.TrimSpace(parsed.Doc.Text()) == "" {
		return nil
	}
	return []string{file}
}

func TestFilesHoldNothingOfOneMachine(t *testing.T) {
	t.Parallel()
	// Put together here, so that this file does not match itself.
	needles := map[string]string{
		"/" + "work/":            "a path of one machine",
		`"resolved": ` + `"http`: "the address of a registry (npm's omit-lockfile-registry-resolved leaves it out)",
	}
	for _, file := range repoFiles(t) {
		content := read(t, file)
		if strings.ContainsRune(content, 0) { // not a text
			continue
		}
		for needle, what := range needles {
			if before, _, found := strings.Cut(content, needle); found {
				t.Errorf("%s:%d: contains %s: %s", file, 1+strings.Count(before, "\n"), what, needle)
			}
		}
	}
}
