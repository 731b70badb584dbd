package main

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var helpLine = regexp.MustCompile(`(?m)^  (\S+) +(.+)$`)

// TestHelpNamesEverySubcommand compares the summary of each group of commands with the group's own help.
func TestHelpNamesEverySubcommand(t *testing.T) {
	t.Parallel()
	groups := 0
	var look func(path ...string)
	look = func(path ...string) {
		for _, line := range helpLine.FindAllStringSubmatch(help(t, path...), -1) {
			inner := append(slices.Clip(path), line[1])
			text := help(t, inner...)
			if !strings.HasPrefix(text, "Usage: parako "+strings.Join(inner, " ")+" <command> ") {
				continue
			}
			groups++
			var names []string
			for _, sub := range helpLine.FindAllStringSubmatch(text, -1) {
				names = append(names, sub[1])
			}
			if want := ": " + strings.Join(names, ", "); !strings.HasSuffix(line[2], want) {
				t.Errorf("parako %s: the summary %q does not end with %q", strings.Join(inner, " "), line[2], want)
			}
			look(inner...)
		}
	}
	look()
	if groups < 9 {
		t.Errorf("found %d groups of commands, want 9 or more", groups)
	}
}

// help is what a command prints when it is asked for help.
func help(t *testing.T, path ...string) string {
	t.Helper()
	var out, complaint bytes.Buffer
	args := append(slices.Clip(path), "--help")
	if status := run(t.Context(), nil, args, nil, strings.NewReader(""), &out, &complaint); status != 0 || complaint.Len() > 0 {
		t.Fatalf("parako %s: exit status %d, %s", strings.Join(args, " "), status, &complaint)
	}
	return out.String()
}
