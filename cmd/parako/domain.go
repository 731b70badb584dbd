package main

import (
	"context"
	"flag"
	"fmt"
	"text/tabwriter"

	"parako/internal/audit"
	"parako/internal/config"
	"parako/internal/outbound"
	"parako/internal/tenant"
)

func domains(ctx context.Context, p *process, args []string) error {
	return dispatch(ctx, p, "parako domain", []command{
		{"add", "claim a host name, and print the TXT record that proves it", domainAdd},
		{"list", "list what a tenant has claimed", domainList},
		{"verify", "look for the record, and serve the tenant at the name", domainVerify},
		{"primary", "move the tenant's issuer to a verified name, or back below the base domain", domainPrimary},
		{"release", "give a name up", domainRelease},
	}, args)
}

// domainCommand is what the commands have in common.
type domainCommand struct {
	*tenant.Registrar

	tenant tenant.Tenant
	domain string
	asJSON bool
}

// onDomain reads the flags, those that the command has added besides, and runs do with the tenant. named: a domain is required.
func (p *process) onDomain(ctx context.Context, flags *flag.FlagSet, args []string, named bool, do func(domainCommand) error) error {
	slug := flags.String("tenant", "", "the tenant's slug (required)")
	domain := ""
	if flags.Name() != "parako domain list" {
		flags.StringVar(&domain, "domain", "", "the host name, such as login.acme.com")
	}
	asJSON := flags.Bool("json", false, "print JSON")
	if err := p.parse(flags, args); err != nil {
		return err
	}
	names := []string{"tenant"}
	if named {
		names = append(names, "domain")
	}
	if err := p.required(flags, names...); err != nil {
		return err
	}
	c, err := config.Load(p.environ)
	if err != nil {
		return err
	}
	base, err := c.BaseURL()
	if err != nil {
		return err
	}
	s, err := p.database(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	t, err := listedTenant(ctx, s, *slug)
	if err != nil {
		return err
	}
	return do(domainCommand{&tenant.Registrar{
		Store: s, DNS: outbound.NewResolver(c.DNSResolver), Base: base, Quarantine: c.DomainQuarantine,
	}, t, domain, *asJSON})
}

func domainAdd(ctx context.Context, p *process, args []string) error {
	return p.onDomain(ctx, flag.NewFlagSet("parako domain add", flag.ContinueOnError), args, true, func(c domainCommand) error {
		d, err := c.AddDomain(ctx, c.tenant.ID, c.domain, audit.Operator(operator))
		if err != nil {
			return err
		}
		return p.printDomain(c.asJSON, d)
	})
}

func domainVerify(ctx context.Context, p *process, args []string) error {
	return p.onDomain(ctx, flag.NewFlagSet("parako domain verify", flag.ContinueOnError), args, true, func(c domainCommand) error {
		d, err := c.VerifyDomain(ctx, c.tenant.ID, c.domain, audit.Operator(operator))
		if err != nil {
			return err
		}
		return p.printDomain(c.asJSON, d)
	})
}

func domainRelease(ctx context.Context, p *process, args []string) error {
	return p.onDomain(ctx, flag.NewFlagSet("parako domain release", flag.ContinueOnError), args, true, func(c domainCommand) error {
		d, err := c.ReleaseDomain(ctx, c.tenant.ID, c.domain, audit.Operator(operator))
		if err != nil {
			return err
		}
		return p.printDomain(c.asJSON, d)
	})
}

func domainPrimary(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako domain primary", flag.ContinueOnError)
	none := flags.Bool("none", false, "instead of --domain: the tenant's host below the base domain")
	return p.onDomain(ctx, flags, args, false, func(c domainCommand) error {
		if (c.domain == "") != *none {
			return p.misuse(flags, "give --domain or --none")
		}
		t, err := c.SetPrimaryDomain(ctx, c.tenant.ID, c.domain, nil, audit.Operator(operator))
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintln(p.stderr, "The issuer has moved. Applications have to be configured with the new one; tokens and sessions of the old host count no more.")
		return p.printTenant(c.asJSON, t)
	})
}

func domainList(ctx context.Context, p *process, args []string) error {
	return p.onDomain(ctx, flag.NewFlagSet("parako domain list", flag.ContinueOnError), args, false, func(c domainCommand) error {
		list, err := c.Domains(ctx, c.tenant.ID)
		if err != nil {
			return err
		}
		if c.asJSON {
			return p.printJSON(map[string]any{"domains": list})
		}
		table := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprintln(table, "DOMAIN\tSTATE\tPRIMARY\tIN UNICODE")
		for _, d := range list {
			_, _ = fmt.Fprintf(table, "%s\t%s\t%t\t%s\n", d.Name, d.State, d.Primary, d.Unicode)
		}
		return table.Flush()
	})
}

func (p *process) printDomain(asJSON bool, d tenant.Domain) error {
	if asJSON {
		return p.printJSON(d)
	}
	p.printf("domain   %s\n", d.Name)
	if d.Unicode != d.Name {
		p.printf("         %s\n", d.Unicode)
	}
	p.printf("state    %s\n", d.State)
	if d.Record != nil && d.State != tenant.DomainReleased {
		p.printf("record   %s. %s \"%s\"\n", d.Record.Name, d.Record.Type, d.Record.Value)
	}
	return nil
}
