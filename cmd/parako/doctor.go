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
	live := flags.Bool("live", false, "also try, as the server's own role and in a transaction that is rolled back, to reach one tenant from another")
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
	report := isolationReport{}
	if report.Findings, err = s.Isolation(ctx); err != nil {
		return err
	}
	if *live {
		proof, err := s.Prove(ctx)
		if err != nil {
			return err
		}
		report.Live = &proof
	}
	if err := p.printIsolation(*asJSON, report); err != nil {
		return err
	}
	switch {
	case report.Live != nil && len(report.Live.Leaks) > 0:
		return errors.New("one tenant reaches another")
	case len(report.Findings) > 0:
		return errors.New("the isolation of tenants is not what the migrations make it")
	}
	return nil
}

// isolationReport is what `parako doctor isolation` prints as JSON.
type isolationReport struct {
	Findings []store.Finding `json:"findings"`
	Live     *store.Proof    `json:"live,omitempty"`
}

func (p *process) printIsolation(asJSON bool, report isolationReport) error {
	if asJSON {
		return p.printJSON(report)
	}
	table := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	if len(report.Findings) == 0 {
		_, _ = fmt.Fprintln(table, "tenants are isolated: no findings")
	} else {
		_, _ = fmt.Fprintln(table, "CHECK\tDEMANDS\tOBJECT\tFINDING")
	}
	for _, f := range report.Findings {
		_, _ = fmt.Fprintf(table, "%d\t%s\t%s\t%s\n", f.Check, f.Name, f.Object, f.Finding)
	}
	if live := report.Live; live != nil {
		_ = table.Flush()
		_, _ = fmt.Fprintf(table, "%d attempts to reach another tenant through %d tables, %d views and %d functions: %d got through\n",
			live.Attempts, live.Tables, live.Views, live.Functions, len(live.Leaks))
		for _, l := range live.Leaks {
			_, _ = fmt.Fprintf(table, "%s: %s: %s\n    %s\n", l.Object, l.Attempt, l.Outcome, l.SQL)
		}
		for _, e := range live.Excluded {
			_, _ = fmt.Fprintf(table, "not tried: %s\n", e)
		}
	}
	return table.Flush()
}
