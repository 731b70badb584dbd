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

	"parako/internal/audit"
	"parako/internal/settings"
	"parako/internal/store"
)

func tenantSettings(ctx context.Context, p *process, args []string) error {
	return dispatch(ctx, p, "parako settings", []command{
		{"show", "print what holds for a tenant", settingsShow},
		{"put", "replace what a tenant overrides in one section", settingsPut},
	}, args)
}

// sections are those that [settings.Settings.Section] knows.
const sections = "application, branding, security, features, oidc or integrations"

// isSection complains when the flag --section names none.
func (p *process) isSection(flags *flag.FlagSet, section string) error {
	if new(settings.Settings).Section(section) == nil {
		return p.misuse(flags, "there is no section %q: --section is %s", section, sections)
	}
	return nil
}

func settingsShow(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako settings show", flag.ContinueOnError)
	slug := flags.String("tenant", "", "the tenant's slug; default in single-tenant mode (required)")
	section := flags.String("section", "", sections+"; all when it is left out")
	if err := p.parse(flags, args); err != nil {
		return err
	}
	if err := p.required(flags, "tenant"); err != nil {
		return err
	}
	if *section != "" {
		if err := p.isSection(flags, *section); err != nil {
			return err
		}
	}
	var set settings.Settings
	err := p.inTenant(ctx, *slug, func(ctx context.Context, tx *store.Tx) (err error) {
		set, err = settings.Load(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	if *section == "" {
		return p.printJSON(set)
	}
	return p.printJSON(set.Section(*section))
}

func settingsPut(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako settings put", flag.ContinueOnError)
	slug := flags.String("tenant", "", "the tenant's slug; default in single-tenant mode (required)")
	section := flags.String("section", "", sections+" (required)")
	file := flags.String("file", "", "a file with the overrides of the section as JSON; standard input when it is left out")
	asJSON := flags.Bool("json", false, "print the new revision as JSON")
	if err := p.parse(flags, args); err != nil {
		return err
	}
	if err := p.required(flags, "tenant", "section"); err != nil {
		return err
	}
	if err := p.isSection(flags, *section); err != nil {
		return err
	}
	override, err := p.document(*file)
	if err != nil {
		return err
	}
	var revision int64
	err = p.inTenant(ctx, *slug, func(ctx context.Context, tx *store.Tx) (err error) {
		revision, err = settings.Put(ctx, tx, *section, override, audit.Operator(operator))
		return err
	})
	if err != nil {
		return err
	}
	if *asJSON {
		return p.printJSON(map[string]any{"tenant": *slug, "section": *section, "revision": revision})
	}
	p.printf("section %s of tenant %s: revision %d\n", *section, *slug, revision)
	return nil
}

// maxDocument is far more than any section of settings or metadata of a client needs.
const maxDocument = 1 << 20

// document reads a JSON document from a file or, without one, from standard input.
func (p *process) document(file string) (json.RawMessage, error) {
	in := p.stdin
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxDocument))
	if err != nil {
		return nil, fmt.Errorf("read document: %w", err)
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, errors.New("the document is empty: give a JSON object, such as {}")
	}
	return text, nil
}
