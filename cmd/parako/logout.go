package main

import (
	"context"
	"flag"
	"fmt"
	"math"
	"text/tabwriter"
	"time"

	"parako/internal/oidc"
	"parako/internal/store"
	"parako/internal/tenant"
)

func logouts(ctx context.Context, p *process, args []string) error {
	return dispatch(ctx, p, "parako logout", []command{
		{"failures", "list the ended sessions that an application could not be told of", logoutFailures},
	}, args)
}

// failedLogout is an entry of the list, with its tenant.
type failedLogout struct {
	oidc.Undelivered

	Tenant string `json:"tenant"`
}

func logoutFailures(ctx context.Context, p *process, args []string) error {
	all := []failedLogout{}
	asJSON, err := p.failures(ctx, "parako logout failures", args, func(ctx context.Context, tx *store.Tx, t tenant.Tenant, limit int32) error {
		list, err := oidc.UndeliveredLogouts(ctx, tx, limit)
		for _, u := range list {
			all = append(all, failedLogout{u, t.Slug})
		}
		return err
	})
	if err != nil {
		return err
	}
	if asJSON {
		return p.printJSON(map[string]any{"failures": all})
	}
	table := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "TENANT\tCLIENT\tSESSION\tENDED\tGIVEN UP\tATTEMPTS\tLAST ERROR")
	for _, f := range all {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", f.Tenant, f.ClientID, f.SessionID, f.EndedAt.Format(time.RFC3339),
			f.FailedAt.Format(time.RFC3339), f.Attempts, f.LastError)
	}
	return table.Flush()
}

// failures has read collect what has failed in a tenant, or in each, up to a limit, and reports whether it is printed as JSON.
func (p *process) failures(
	ctx context.Context, name string, args []string, read func(context.Context, *store.Tx, tenant.Tenant, int32) error,
) (asJSON bool, err error) {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	slug := flags.String("tenant", "", "the tenant's slug; every tenant when it is left out")
	limit := flags.Int("limit", 100, "the most to list of each tenant, the latest first")
	flags.BoolVar(&asJSON, "json", false, "print the failures as JSON")
	if err := p.parse(flags, args); err != nil {
		return false, err
	}
	if *limit < 1 || *limit > math.MaxInt32 {
		return false, p.misuse(flags, "--limit is a number from 1")
	}
	s, err := p.database(ctx)
	if err != nil {
		return false, err
	}
	defer s.Close()
	return asJSON, eachTenant(ctx, s, *slug, func(t tenant.Tenant) error {
		return s.ViewTenant(ctx, t.ID, func(ctx context.Context, tx *store.Tx) error { return read(ctx, tx, t, int32(*limit)) })
	})
}
