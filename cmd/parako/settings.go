package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"parako/internal/audit"
	"parako/internal/secret"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/tenant"
)

func tenantSettings(ctx context.Context, p *process, args []string) error {
	return dispatch(ctx, p, "parako settings", []command{
		{"show", "print what holds for a tenant", settingsShow},
		{"put", "replace what is set in one section", func(ctx context.Context, p *process, args []string) error {
			return settingsWrite(ctx, p, "put", args)
		}},
		{"patch", "change what is set in one section and leave the rest", func(ctx context.Context, p *process, args []string) error {
			return settingsWrite(ctx, p, "patch", args)
		}},
		{"explain", "say where a value comes from", settingsExplain},
		{"history", "list the versions of a section", settingsHistory},
		{"diff", "show what two versions of a section set differently", settingsDiff},
		{"rollback", "set a section to what it was", settingsRollback},
		{"export", "print everything that is set", settingsExport},
		{"import", "replace everything that is set", settingsImport},
		{"schema", "print the JSON Schema of a section", settingsSchema},
	}, args)
}

// settingsFlags are those of all commands here.
type settingsFlags struct {
	*flag.FlagSet

	slug     *string
	platform *bool
}

func newSettingsFlags(name string) settingsFlags {
	flags := flag.NewFlagSet("parako settings "+name, flag.ContinueOnError)
	return settingsFlags{
		flags, flags.String("tenant", "", "the tenant's slug; default in single-tenant mode"),
		flags.Bool("platform", false, "instead of a tenant: what holds for all of them"),
	}
}

// parseFor reads the flags and finds out whose settings are meant.
func (p *process) parseFor(f settingsFlags, args []string) error {
	if err := p.parse(f.FlagSet, args); err != nil {
		return err
	}
	switch {
	case *f.platform && *f.slug != "":
		return p.misuse(f.FlagSet, "--tenant and --platform exclude each other")
	case *f.platform:
		*f.slug = tenant.DefaultSlug
	case *f.slug == "":
		return p.misuse(f.FlagSet, "--tenant is required, or --platform")
	}
	return nil
}

// isSection complains when the flag --section names none.
func (p *process) isSection(f settingsFlags, section string) error {
	if new(settings.Settings).Section(section) == nil {
		return p.misuse(f.FlagSet, "there is no section %q: --section is %s", section, sectionList())
	}
	return nil
}

func sectionList() string {
	last := len(settings.Sections) - 1
	return strings.Join(settings.Sections[:last], ", ") + " or " + settings.Sections[last]
}

func settingsShow(ctx context.Context, p *process, args []string) error {
	flags := newSettingsFlags("show")
	section := flags.String("section", "", sectionList()+"; all when it is left out")
	overrides := flags.Bool("overrides", false, "print what is set instead of what holds")
	if err := p.parseFor(flags, args); err != nil {
		return err
	}
	if *section != "" {
		if err := p.isSection(flags, *section); err != nil {
			return err
		}
	}
	var set settings.Settings
	var own settings.Layer
	err := p.underPlatform(ctx, *flags.slug, func(ctx context.Context, tx *store.Tx, platform settings.Layer) (err error) {
		if own, err = settings.Read(ctx, tx); err != nil {
			return err
		}
		set, _, err = settings.Effective(platform, own)
		return err
	})
	switch {
	case err != nil:
		return err
	case *overrides && *section != "":
		return p.printJSON(own.Override(*section))
	case *overrides:
		return p.printJSON(own.Export().Sections)
	case *section != "":
		return p.printJSON(set.Section(*section))
	}
	return p.printJSON(set)
}

// settingsWrite is put and patch.
func settingsWrite(ctx context.Context, p *process, how string, args []string) error {
	flags := newSettingsFlags(how)
	section := flags.String("section", "", sectionList()+" (required)")
	file := flags.String("file", "", "a file with the settings of the section as JSON; standard input when it is left out")
	change := newChangeFlags(flags)
	if err := p.parseFor(flags, args); err != nil {
		return err
	}
	if err := p.required(flags.FlagSet, "section"); err != nil {
		return err
	}
	if err := p.isSection(flags, *section); err != nil {
		return err
	}
	document, err := p.document(*file)
	if err != nil {
		return err
	}
	c := change.of(*section)
	c.Document, c.Patch = document, how == "patch"
	return p.writeSettings(ctx, flags, change, *section, func(ctx context.Context, tx *store.Tx, platform settings.Layer) (settings.Written, error) {
		return p.sealing(ctx, tx, func(sealer *secret.Sealer) (settings.Written, error) {
			c.Sealer = sealer
			return settings.Write(ctx, tx, platform, c)
		})
	})
}

// changeFlags are those of commands that change a section.
type changeFlags struct {
	reason    *string
	ifVersion *int64
	asJSON    *bool
}

func newChangeFlags(flags settingsFlags) changeFlags {
	f := newChangesFlags(flags)
	f.ifVersion = flags.Int64("if-version", -1, "only if the section is at this version still; 0: nothing was ever set")
	return f
}

// newChangesFlags are for changes of several sections at once, each of which has a version of its own.
func newChangesFlags(flags settingsFlags) changeFlags {
	return changeFlags{
		reason: flags.String("reason", "", "why, for the history"),
		asJSON: flags.Bool("json", false, "print the new version and revision as JSON"),
	}
}

func (f changeFlags) of(section string) settings.Change {
	c := settings.Change{Section: section, By: audit.Operator(operator), Reason: *f.reason}
	if *f.ifVersion >= 0 {
		c.Match = f.ifVersion
	}
	return c
}

// sealing does what may need to seal a secret: first without the tenant's key, which most changes do not need and which this
// command may not have been given.
func (p *process) sealing(ctx context.Context, tx *store.Tx, do func(*secret.Sealer) (settings.Written, error)) (settings.Written, error) {
	written, err := do(nil)
	if !errors.Is(err, settings.ErrNoSealer) {
		return written, err
	}
	vault, err := p.vault()
	if err != nil {
		return settings.Written{}, err
	}
	sealer, err := vault.Sealer(ctx, tx)
	if err != nil {
		return settings.Written{}, err
	}
	return do(sealer)
}

// writeSettings runs a change and tells the servers of it.
func (p *process) writeSettings(
	ctx context.Context, flags settingsFlags, change changeFlags, section string,
	write func(context.Context, *store.Tx, settings.Layer) (settings.Written, error),
) error {
	var written settings.Written
	err := p.underPlatform(ctx, *flags.slug, func(ctx context.Context, tx *store.Tx, platform settings.Layer) (err error) {
		written, err = write(ctx, tx, platform)
		return err
	})
	if err != nil {
		return err
	}
	if *change.asJSON {
		return p.printJSON(map[string]any{"tenant": *flags.slug, "section": section, "version": written.Version, "revision": written.Revision})
	}
	p.printf("section %s of tenant %s: version %d, revision %d\n", section, *flags.slug, written.Version, written.Revision)
	return nil
}

func settingsExplain(ctx context.Context, p *process, args []string) error {
	flags := newSettingsFlags("explain")
	key := flags.String("key", "", "the setting, such as oidc.token_ttl.access_token (required; may also be the only argument)")
	asJSON := flags.Bool("json", false, "print the explanation as JSON")
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		args = append([]string{"--key", args[0]}, args[1:]...)
	}
	if err := p.parseFor(flags, args); err != nil {
		return err
	}
	if err := p.required(flags.FlagSet, "key"); err != nil {
		return err
	}
	s, err := p.database(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	t, err := namedTenant(ctx, s, *flags.slug)
	if err != nil {
		return err
	}
	e, err := settings.ExplainFor(ctx, s, t.ID, *key)
	if err != nil {
		return err
	}
	if *asJSON {
		return p.printJSON(e)
	}
	p.printf("%s = %s\n%s\n\nfrom      %s\n", e.Key, show(e.Value), e.Doc, e.Layer)
	if e.Set != nil {
		p.printf("set by    %s at %s, version %d %s\n", e.Set.By, e.Set.At.UTC().Format(time.RFC3339), e.Set.Version, e.Set.Reason)
	}
	if e.Clamped {
		p.printf("clamped   the tenant has set %s\n", show(e.Tenant))
	}
	if e.Adjusted != "" {
		p.printf("adjusted  %s\n", e.Adjusted)
	}
	p.printf("default   %s\nplatform  %s\ntenant    %s\n", show(e.Default), show(e.Platform), show(e.Tenant))
	switch {
	case e.PlatformOnly:
		p.printf("limit     tenants cannot set it\n")
	case e.Bound != nil:
		p.printf("limit     %s %s\n", e.Limit, show(e.Bound))
	}
	return nil
}

// show is a value as JSON, and a dash for nothing.
func show(value any) string {
	if value == nil {
		return "-"
	}
	document, err := json.Marshal(value)
	if err != nil {
		return "?"
	}
	return string(document)
}

func settingsHistory(ctx context.Context, p *process, args []string) error {
	flags := newSettingsFlags("history")
	section := flags.String("section", "", sectionList()+" (required)")
	asJSON := flags.Bool("json", false, "print the versions as JSON, with what they set")
	if err := p.parseFor(flags, args); err != nil {
		return err
	}
	if err := p.isSection(flags, *section); err != nil {
		return err
	}
	var list []settings.Version
	err := p.inTenant(ctx, *flags.slug, func(ctx context.Context, tx *store.Tx) (err error) {
		list, err = settings.History(ctx, tx, *section, 0, 1000)
		return err
	})
	if err != nil {
		return err
	}
	if *asJSON {
		return p.printJSON(map[string]any{"versions": list})
	}
	for _, v := range list {
		p.printf("%-6d %s  %-24s %s\n", v.Version, v.At.UTC().Format(time.RFC3339), v.Actor, v.Reason)
	}
	return nil
}

func settingsDiff(ctx context.Context, p *process, args []string) error {
	flags := newSettingsFlags("diff")
	section := flags.String("section", "", sectionList()+" (required)")
	from := flags.Int64("from", 0, "the earlier version (required)")
	to := flags.Int64("to", 0, "the later version (required)")
	asJSON := flags.Bool("json", false, "print the differences as JSON")
	if err := p.parseFor(flags, args); err != nil {
		return err
	}
	if err := p.isSection(flags, *section); err != nil {
		return err
	}
	var list []settings.Difference
	err := p.inTenant(ctx, *flags.slug, func(ctx context.Context, tx *store.Tx) error {
		before, err := settings.At(ctx, tx, *section, *from)
		if err != nil {
			return err
		}
		after, err := settings.At(ctx, tx, *section, *to)
		list = settings.Diff(*section, before, after)
		return err
	})
	if err != nil {
		return err
	}
	if *asJSON {
		return p.printJSON(map[string]any{"differences": list})
	}
	for _, d := range list {
		p.printf("%s: %s -> %s\n", d.Path, show(d.Before), show(d.After))
	}
	return nil
}

func settingsRollback(ctx context.Context, p *process, args []string) error {
	flags := newSettingsFlags("rollback")
	section := flags.String("section", "", sectionList()+" (required)")
	to := flags.Int64("to", 0, "the version to go back to (required)")
	change := newChangeFlags(flags)
	if err := p.parseFor(flags, args); err != nil {
		return err
	}
	if err := p.isSection(flags, *section); err != nil {
		return err
	}
	return p.writeSettings(ctx, flags, change, *section, func(ctx context.Context, tx *store.Tx, platform settings.Layer) (settings.Written, error) {
		return settings.Rollback(ctx, tx, platform, *to, change.of(*section))
	})
}

func settingsExport(ctx context.Context, p *process, args []string) error {
	flags := newSettingsFlags("export")
	if err := p.parseFor(flags, args); err != nil {
		return err
	}
	var own settings.Layer
	err := p.inTenant(ctx, *flags.slug, func(ctx context.Context, tx *store.Tx) (err error) {
		own, err = settings.Read(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	return p.printJSON(own.Export())
}

func settingsImport(ctx context.Context, p *process, args []string) error {
	flags := newSettingsFlags("import")
	file := flags.String("file", "", "what `parako settings export` printed; standard input when it is left out")
	change := newChangesFlags(flags)
	if err := p.parseFor(flags, args); err != nil {
		return err
	}
	document, err := p.document(*file)
	if err != nil {
		return err
	}
	var d settings.Document
	if err := json.Unmarshal(document, &d); err != nil {
		return fmt.Errorf("the document is no export of settings: %w", err)
	}
	return p.writeSettings(ctx, flags, change, "all", func(ctx context.Context, tx *store.Tx, platform settings.Layer) (settings.Written, error) {
		return p.sealing(ctx, tx, func(sealer *secret.Sealer) (settings.Written, error) {
			return settings.Import(ctx, tx, platform, d, audit.Operator(operator), *change.reason, sealer)
		})
	})
}

func settingsSchema(_ context.Context, p *process, args []string) error {
	flags := settingsFlags{FlagSet: flag.NewFlagSet("parako settings schema", flag.ContinueOnError)}
	section := flags.String("section", "", sectionList()+" (required)")
	if err := p.parse(flags.FlagSet, args); err != nil {
		return err
	}
	if err := p.isSection(flags, *section); err != nil {
		return err
	}
	schema, err := settings.Schema(*section)
	if err != nil {
		return err
	}
	return p.printJSON(schema)
}

// maxDocument is far more than any section of settings or metadata of a client needs.
const maxDocument = 1 << 20

// document reads a JSON document from a file or, without one or when it is "-", from standard input.
func (p *process) document(file string) (json.RawMessage, error) {
	in := p.stdin
	if file != "" && file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxDocument+1))
	if err != nil {
		return nil, fmt.Errorf("read document: %w", err)
	}
	switch {
	case len(text) > maxDocument:
		return nil, errors.New("the document is larger than 1 MiB")
	case len(bytes.TrimSpace(text)) == 0:
		return nil, errors.New("the document is empty: give a JSON object, such as {}")
	}
	return text, nil
}
