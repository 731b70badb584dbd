package main

import (
	"context"
	"flag"

	"parako/internal/cache"
	"parako/internal/tenant"
)

func tenants(ctx context.Context, p *process, args []string) error {
	return dispatch(ctx, p, "parako tenant", []command{
		{"create", "add a tenant", tenantCreate},
		{"list", "list the tenants", tenantList},
		{"show", "show one tenant", tenantShow},
		{"status", "suspend, archive or reactivate a tenant", tenantStatus},
	}, args)
}

func tenantCreate(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako tenant create", flag.ContinueOnError)
	slug := flags.String("slug", "", "the tenant's label in host names, such as acme (required)")
	name := flags.String("name", "", "the display name (required)")
	domain := flags.String("domain", "", "the tenant's own host name, when it does not live under the base domain")
	asJSON := flags.Bool("json", false, "print the tenant as JSON")
	if err := p.parse(flags, args); err != nil {
		return err
	}
	if err := p.required(flags, "slug", "name"); err != nil {
		return err
	}
	s, err := p.database(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	t, err := tenant.Create(ctx, s, tenant.New{Slug: *slug, DisplayName: *name, Domain: *domain, Operator: operator})
	if err != nil {
		return err
	}
	return p.printTenant(*asJSON, t)
}

func tenantShow(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako tenant show", flag.ContinueOnError)
	slug := flags.String("slug", "", "the tenant (required; may also be the only argument)")
	asJSON := flags.Bool("json", false, "print the tenant as JSON")
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		args = append([]string{"--slug", args[0]}, args[1:]...)
	}
	if err := p.parse(flags, args); err != nil {
		return err
	}
	if err := p.required(flags, "slug"); err != nil {
		return err
	}
	s, err := p.database(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	t, err := tenant.BySlug(ctx, s, *slug)
	if err != nil {
		return err
	}
	return p.printTenant(*asJSON, t)
}

// tenantStatus changes what servers do with the tenant: at once where they share a Redis with us, else within seconds.
func tenantStatus(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako tenant status", flag.ContinueOnError)
	slug := flags.String("slug", "", "the tenant (required)")
	status := flags.String("set", "", "active, suspended or archived (required)")
	asJSON := flags.Bool("json", false, "print the tenant as JSON")
	if err := p.parse(flags, args); err != nil {
		return err
	}
	if err := p.required(flags, "slug", "set"); err != nil {
		return err
	}
	s, err := p.database(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	t, err := tenant.SetStatus(ctx, s, *slug, tenant.Status(*status), operator)
	if err != nil {
		return err
	}
	p.hint(ctx, cache.Hint{Tenant: t.ID, Revision: t.Revision})
	return p.printTenant(*asJSON, t)
}

func tenantList(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako tenant list", flag.ContinueOnError)
	status := flags.String("status", "", "only active, suspended or archived ones")
	asJSON := flags.Bool("json", false, "print the tenants as JSON")
	if err := p.parse(flags, args); err != nil {
		return err
	}
	s, err := p.database(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	all := []tenant.Tenant{}
	for after := ""; ; {
		const page = 500
		list, err := tenant.List(ctx, s, tenant.Status(*status), after, page)
		if err != nil {
			return err
		}
		all = append(all, list...)
		if len(list) < page {
			break
		}
		after = list[len(list)-1].Slug
	}
	if *asJSON {
		return p.printJSON(map[string]any{"tenants": all})
	}
	for _, t := range all {
		p.printf("%-24s %-10s %s\n", t.Slug, t.Status, t.DisplayName)
	}
	return nil
}

func (p *process) printTenant(asJSON bool, t tenant.Tenant) error {
	if asJSON {
		return p.printJSON(t)
	}
	p.printf("slug     %s\nid       %s\nname     %s\nstatus   %s\n", t.Slug, t.ID, t.DisplayName, t.Status)
	if t.Domain != "" {
		p.printf("domain   %s\n", t.Domain)
	}
	return nil
}
