package settings_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"parako/internal/settings"
)

var update = flag.Bool("update", false, "write docs/settings.md instead of comparing it")

const referenceFile = "../../docs/settings.md"

// TestReference holds the page to the declaration: go test ./internal/settings -run Reference -update writes it.
func TestReference(t *testing.T) {
	t.Parallel()
	page := reference()
	if *update {
		if err := os.WriteFile(referenceFile, []byte(page), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	stands, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(stands), page); diff != "" {
		t.Errorf("docs/settings.md is not what the declaration says; go test ./internal/settings -run Reference -update (-page +declaration)\n%s", diff)
	}
}

func reference() string {
	var b strings.Builder
	b.WriteString(`# Settings

Every setting there is. How to change them, and what becomes of a change, is in [operators.md](operators.md#settings). This page is made
from the declaration in the source.

The value that holds is what the tenant has set, else what the platform has set, else the default. The limit says how far a tenant may
move what holds for the platform:

| Limit | A tenant |
|---|---|
| floor | cannot turn it off, go below it or choose a weaker one (choices are listed from weak to strong) |
| ceiling | cannot turn it on or go above it |
| ceiling0 | cannot go above it, and cannot choose 0, which is no bound, unless the platform has 0 |
| ..., if set | the same, but only against what the platform has set, not against the default |
| platform | cannot set it |

What has no effect yet, because a part of the product is not there, cannot be set to anything but its default; the reason stands behind it.
Its secrets can be set ahead.
Lists are replaced as a whole. Secrets are stored sealed, and shown as ` + "`" + settings.Masked + "`" + `, which written back keeps them.
`)
	for _, section := range settings.Sections {
		fmt.Fprintf(&b, "\n## %s\n\n| Setting | Default | May be | Limit | What it does |\n|---|---|---|---|---|\n", section)
		for _, f := range settings.Fields() {
			if f.Section != section || strings.HasPrefix(f.Path, "branding.colors.") && !strings.HasSuffix(f.Path, ".primary") {
				continue
			}
			path, doc := strings.TrimPrefix(f.Path, section+"."), f.Doc
			if strings.HasPrefix(f.Path, "branding.colors.") {
				path = strings.TrimSuffix(path, "primary") + "*"
				doc += " Their names are listed below."
			}
			if f.Awaits != "" {
				doc += " *Not yet: " + f.Awaits + ".*"
			}
			limit := string(f.Limit)
			if f.OnlySet {
				limit += ", if set"
			}
			if f.PlatformOnly {
				limit = "platform"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", path, shown(f.Default), f.Range(), limit, doc)
		}
		if section == "branding" {
			var used, kept []string
			for _, f := range settings.Fields() {
				if name, ok := strings.CutPrefix(f.Path, "branding.colors.light."); ok {
					if f.Kept() {
						kept = append(kept, "`"+name+"`")
					} else {
						used = append(used, "`"+name+"`")
					}
				}
			}
			fmt.Fprintf(&b, "\nThe colours are %s. Brands may have these as well, which no page uses yet: %s.\n", strings.Join(used, ", "), strings.Join(kept, ", "))
		}
	}
	return b.String()
}

func shown(value any) string {
	if value == "" {
		return ""
	}
	if list, ok := value.([]any); ok {
		if len(list) == 0 {
			return "none"
		}
		texts := make([]string, len(list))
		for i, entry := range list {
			texts[i] = fmt.Sprint(entry)
		}
		return strings.Join(texts, ", ")
	}
	return fmt.Sprintf("`%v`", value)
}

// A declaration that says less than it must is found here, and not by whoever reads the page or the schema.
func TestEveryFieldIsDeclaredWhole(t *testing.T) {
	t.Parallel()
	fields := settings.Fields()
	if len(fields) < 200 {
		t.Fatalf("%d settings, want all of them", len(fields))
	}
	var paths []string
	for _, f := range fields {
		paths = append(paths, f.Path)
		if f.Doc == "" || !strings.HasSuffix(f.Doc, ".") {
			t.Errorf("%s: doc %q is no sentence", f.Path, f.Doc)
		}
		if number := f.Kind == settings.Integer || f.Kind == settings.Number; number && (f.Minimum == nil || f.Maximum == nil) {
			t.Errorf("%s: a number without bounds", f.Path)
		}
		switch f.Limit {
		case settings.Free, settings.Floor, settings.Ceiling:
		case settings.Ceiling0:
			if f.Kind != settings.Integer {
				t.Errorf("%s: %s of a %s", f.Path, f.Limit, f.Kind)
			}
		default:
			t.Errorf("%s: there is no limit %q", f.Path, f.Limit)
		}
		if f.Kind == settings.String && f.Limit != settings.Free && (f.Limit != settings.Floor || f.Enum == nil) {
			t.Errorf("%s: a text can only have a floor, and only with an enum", f.Path)
		}
		if f.Needs != "" {
			if other, ok := settings.Lookup(f.Needs); !ok || other.Kind != settings.Boolean {
				t.Errorf("%s needs %q, which is no switch", f.Path, f.Needs)
			}
		}
	}
	slices.Sort(paths)
	if len(slices.Compact(paths)) != len(fields) {
		t.Error("two settings have one path")
	}
}

// What a schema describes is what is written: each has the other's names, and the settings of a default tenant match it.
func TestSchema(t *testing.T) {
	t.Parallel()
	set := settings.Default()
	document, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	var tree map[string]any
	if err := json.Unmarshal(document, &tree); err != nil {
		t.Fatal(err)
	}
	for _, section := range settings.Sections {
		schema, err := settings.Schema(section)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(schema)
		if err != nil {
			t.Fatal(err)
		}
		var decoded map[string]any
		if err := json.Unmarshal(text, &decoded); err != nil {
			t.Fatal(err)
		}
		sameNames(t, section, decoded, tree[section])
	}
	if _, err := settings.Schema("database"); err == nil {
		t.Error("there is a schema of a section that is not there")
	}
}

func sameNames(t *testing.T, path string, schema map[string]any, value any) {
	t.Helper()
	object, isObject := value.(map[string]any)
	properties, described := schema["properties"].(map[string]any)
	if !described {
		return // a setting, or a map of colours
	}
	if !isObject {
		t.Errorf("%s is described as an object", path)
		return
	}
	for name, inner := range properties {
		member, ok := object[name]
		if !ok && !strings.HasPrefix(path, "branding.colors") {
			t.Errorf("%s.%s is described and not there", path, name)
		}
		if ok {
			below, _ := inner.(map[string]any)
			sameNames(t, path+"."+name, below, member)
		}
	}
	for name := range object {
		if properties[name] == nil {
			t.Errorf("%s.%s is not described", path, name)
		}
	}
}
