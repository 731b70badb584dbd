package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"text/tabwriter"

	"parako/internal/config"
	"parako/internal/store"
)

// doctor examines a deployment and changes nothing.
func doctor(ctx context.Context, p *process, args []string) error {
	return dispatch(ctx, p, "parako doctor", []command{
		{"isolation", "tell what in the database would let one tenant reach another", doctorIsolation},
	}, args)
}

func doctorIsolation(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako doctor isolation", flag.ContinueOnError)
	asJSON := flags.Bool("json", false, "print the findings as JSON")
	if err := p.parse(flags, args); err != nil {
		return err
	}
	c, err := config.Load(p.environ)
	if err != nil {
		return err
	}
	url := c.PostgresURL
	if url.Empty() {
		url = c.DatabaseURL
	}
	if url.Empty() {
		return errors.New("set STORAGE_POSTGRESQL_URL (role parako_app, or parako_auditor) or DATABASE_URL (the owner)")
	}
	s, err := store.Open(ctx, store.Options{AppURL: url, Pooled: c.Pooler == config.TransactionPooler})
	if err != nil {
		return err
	}
	defer s.Close()
	findings, err := s.Isolation(ctx)
	if err != nil {
		return err
	}
	if err := p.printFindings(*asJSON, findings); err != nil {
		return err
	}
	if len(findings) > 0 {
		return errors.New("the isolation of tenants is not what the migrations make it")
	}
	return nil
}

func (p *process) printFindings(asJSON bool, findings []store.Finding) error {
	if asJSON {
		return p.printJSON(map[string]any{"findings": findings})
	}
	if len(findings) == 0 {
		p.printf("tenants are isolated: no findings\n")
		return nil
	}
	table := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "CHECK\tDEMANDS\tOBJECT\tFINDING")
	for _, f := range findings {
		_, _ = fmt.Fprintf(table, "%d\t%s\t%s\t%s\n", f.Check, f.Name, f.Object, f.Finding)
	}
	return table.Flush()
}
