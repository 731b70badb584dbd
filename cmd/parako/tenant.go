package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"parako/internal/config"
	"parako/internal/platform"
	"parako/internal/problem"
	"parako/internal/secret"
	"parako/internal/store"
	"parako/internal/tenant"
)

func tenants(ctx context.Context, p *process, args []string) error {
	return dispatch(ctx, p, "parako tenant", []command{
		{"create", "add a tenant", tenantCreate},
		{"list", "list the tenants", tenantList},
		{"show", "show one tenant", tenantShow},
		{"update", "change a tenant's display name or issuer", tenantUpdate},
		{"status", "suspend, archive or reactivate a tenant", tenantStatus},
		{"quota", "bound what a tenant may have", tenantQuota},
		{"delete", "remove a tenant with everything it has, after a grace period", tenantDelete},
		{"restore", "let a tenant stay that was to be deleted", tenantRestore},
		{"certificate", "print and verify the certificate of a deletion", tenantCertificate},
		{"release", "let the slug or a host of a deleted tenant be used again", tenantRelease},
		{"export", "write everything a tenant has into a file", tenantExport},
		{"import", "make a tenant of such a file", tenantImport},
		{"auditor", "give a tenant's auditors a login of PostgreSQL, or take it back", tenantAuditor},
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
	n := tenant.New{Slug: *slug, DisplayName: *name, Domain: *domain, Operator: operator}
	if n.Domain != "" {
		var err error
		if n.Base, err = p.base(); err != nil {
			return err
		}
	}
	s, err := p.database(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	t, err := tenant.Create(ctx, s, n)
	if err != nil {
		return err
	}
	return p.printTenant(*asJSON, t)
}

// base is the deployment's URL, against which the names of tenants are checked.
func (p *process) base() (*url.URL, error) {
	c, err := config.Load(p.environ)
	if err != nil {
		return nil, err
	}
	return c.BaseURL()
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
	t, err := listedTenant(ctx, s, *slug)
	if err != nil {
		return err
	}
	used, err := platform.Usage(ctx, s, t.ID)
	if err != nil {
		return err
	}
	if *asJSON {
		return p.printJSON(struct {
			tenant.Tenant
			Usage tenant.Usage `json:"usage"`
		}{t, used})
	}
	if err := p.printTenant(false, t); err != nil {
		return err
	}
	p.printf("used     %d users\nused     %d clients\nused     %d sessions\n", used.Users, used.Clients, used.Sessions)
	return nil
}

// tenantQuota bounds what a tenant may have. Only what is given changes.
func tenantQuota(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako tenant quota", flag.ContinueOnError)
	slug := flags.String("slug", "", "the tenant (required)")
	var q tenant.Quota
	bound := func(to **int32) func(string) error {
		return func(s string) error {
			n, err := strconv.ParseUint(s, 10, 31)
			if err != nil && s != "none" {
				return errors.New("it is a number, or none")
			}
			most := int32(n)
			if s == "none" {
				most = tenant.Unlimited
			}
			*to = &most
			return nil
		}
	}
	flags.Func("users", "how many people it may have; none: any number", bound(&q.Users))
	flags.Func("clients", "how many applications it may have; none: any number", bound(&q.Clients))
	flags.Func("sessions", "how many browsers may be signed in at once; none: any number", bound(&q.Sessions))
	flags.Func("requests-per-second", "how many requests each server takes in a second; none: any number", bound(&q.RequestsPerSecond))
	flags.Func("mails-per-hour", "how many mails may be sent in its name; none: any number", bound(&q.MailsPerHour))
	asJSON := flags.Bool("json", false, "print the tenant as JSON")
	if err := p.parse(flags, args); err != nil {
		return err
	}
	if err := p.required(flags, "slug"); err != nil {
		return err
	}
	if q == (tenant.Quota{}) {
		return p.misuse(flags, "say what to bound: --users, --clients, --sessions, --requests-per-second or --mails-per-hour")
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
	if t, err = tenant.SetQuota(ctx, s, t.Slug, q, nil, operator); err != nil {
		return err
	}
	return p.printTenant(*asJSON, t)
}

// namedTenant finds the tenant that a slug names, the built-in one included.
func namedTenant(ctx context.Context, s *store.Store, slug string) (tenant.Tenant, error) {
	if slug == tenant.DefaultSlug {
		return tenant.Tenant{ID: tenant.DefaultID, Slug: tenant.DefaultSlug}, nil
	}
	return listedTenant(ctx, s, slug)
}

// listedTenant finds a tenant among those that were created. Capitals do not matter, as they do not when it is created.
func listedTenant(ctx context.Context, s *store.Store, slug string) (tenant.Tenant, error) {
	t, err := tenant.BySlug(ctx, s, strings.ToLower(slug))
	switch {
	case !errors.Is(err, tenant.ErrUnknown):
		return t, err
	case slug == tenant.DefaultSlug:
		return t, errors.New("default is the tenant of single-tenant mode: it is built in, always active and not listed")
	}
	return t, fmt.Errorf("there is no tenant %q: see `parako tenant list`; in single-tenant mode it is default", slug)
}

// tenantUpdate changes what a tenant is called. Only what is given changes.
func tenantUpdate(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako tenant update", flag.ContinueOnError)
	slug := flags.String("slug", "", "the tenant (required); it cannot be renamed")
	c := tenant.Changes{Operator: operator}
	flags.Func("name", "the display name", func(s string) error { c.DisplayName = &s; return nil })
	flags.Func("issuer-url", "the issuer, verbatim, when it is not that of the tenant's host; empty: it is that again", func(s string) error { c.IssuerURL = &s; return nil })
	asJSON := flags.Bool("json", false, "print the tenant as JSON")
	if err := p.parse(flags, args); err != nil {
		return err
	}
	if err := p.required(flags, "slug"); err != nil {
		return err
	}
	if c.DisplayName == nil && c.IssuerURL == nil {
		return p.misuse(flags, "say what to change: --name or --issuer-url")
	}
	if c.IssuerURL != nil {
		var err error
		if c.Base, err = p.base(); err != nil {
			return err
		}
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
	if t, err = tenant.Update(ctx, s, t.Slug, c); err != nil {
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
	t, err := listedTenant(ctx, s, *slug)
	if err != nil {
		return err
	}
	t, err = tenant.SetStatus(ctx, s, t.Slug, tenant.Status(*status), operator)
	if err != nil {
		return err
	}
	return p.printTenant(*asJSON, t)
}

// tenantAuditor needs the owner's URL besides: it makes a role of PostgreSQL. The event is recorded in the same breath, or when the
// statements are printed, so that no login is there that the tenant's trail does not know of.
func tenantAuditor(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako tenant auditor", flag.ContinueOnError)
	slug := flags.String("slug", "", "the tenant (required)")
	label := flags.String("label", "", "tells several logins of a tenant apart: at most 16 lower-case letters and digits")
	until := flags.String("valid-until", "", "when the password ends, such as 2027-01-31 or 2027-01-31T12:00:00Z; never when it is left out")
	drop := flags.Bool("drop", false, "remove the login")
	asSQL := flags.Bool("sql", false, "print the statements for an administrator instead of running them")
	asJSON := flags.Bool("json", false, "print the login as JSON")
	if err := p.parse(flags, args); err != nil {
		return err
	}
	if err := p.required(flags, "slug"); err != nil {
		return err
	}
	end, err := moment(*until)
	if err != nil {
		return p.misuse(flags, "--valid-until: %v", err)
	}
	c, err := config.Load(p.environ)
	if err != nil {
		return err
	}
	if c.DatabaseURL.Empty() {
		return errors.New("DATABASE_URL is missing: set postgres://parako_owner:<password>@<host>/<database>")
	}
	s, err := p.database(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	t, err := namedTenant(ctx, s, *slug)
	if err != nil {
		return err
	}
	login := store.TenantLogin{Tenant: t.ID, Label: *label, ValidUntil: end}
	if *drop {
		err := p.dropAuditor(ctx, s, c.DatabaseURL, login, *asSQL)
		if errors.Is(err, store.ErrNotFound) {
			return problem.New(problem.NotFound, "login_unknown", "There is no login "+login.Name()+".")
		}
		return err
	}
	password := secret.NewString(secret.Token())
	var address secret.String
	var statements []string
	err = tenant.Recorded(ctx, s, t.ID, tenant.AuditorCreated, operator, login.Name(), func(ctx context.Context) (err error) {
		if *asSQL {
			statements, err = login.ToCreate(ctx, c.DatabaseURL, password)
			return err
		}
		address, err = login.Create(ctx, c.DatabaseURL, password)
		return err
	})
	switch {
	case err != nil:
		return err
	case *asSQL:
		p.printf("-- The password is %s. Keep it now: it is not shown again.\n%s;\n", password.Reveal(), strings.Join(statements, ";\n"))
	case *asJSON:
		return p.printJSON(map[string]string{"role": login.Name(), "password": password.Reveal(), "url": address.Reveal()})
	default:
		p.printf("role      %s\npassword  %s\n          Keep it now: it is not shown again.\nconnect   psql '%s'\n", login.Name(), password.Reveal(), address.Reveal())
	}
	return nil
}

// dropAuditor removes the login, or prints what an administrator has to run for it. What is only printed is no event: until it is run,
// the login is there.
func (p *process) dropAuditor(ctx context.Context, s *store.Store, owner secret.String, login store.TenantLogin, asSQL bool) error {
	if asSQL {
		statements, err := login.ToDrop(ctx, owner)
		if err == nil {
			p.printf("%s;\n", strings.Join(statements, ";\n"))
		}
		return err
	}
	return tenant.Recorded(ctx, s, login.Tenant, tenant.AuditorDropped, operator, login.Name(), func(ctx context.Context) error {
		return login.Drop(ctx, owner)
	})
}

func tenantList(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako tenant list", flag.ContinueOnError)
	status := flags.String("status", "", "only active, suspended or archived ones")
	asJSON := flags.Bool("json", false, "print the tenants as JSON")
	if err := p.parse(flags, args); err != nil {
		return err
	}
	if !slices.Contains([]tenant.Status{"", tenant.Active, tenant.Suspended, tenant.Archived}, tenant.Status(*status)) {
		return p.misuse(flags, "--status is active, suspended or archived")
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
	switch {
	case t.Importing:
		p.printf("deleted  %s\n         It is being imported, and stays once that is done.\n", t.DeleteAfter.UTC().Format(time.RFC3339))
	case t.DeleteAfter != nil:
		p.printf("deleted  %s\n         Until then `parako tenant restore --slug %s` takes it back.\n", t.DeleteAfter.UTC().Format(time.RFC3339), t.Slug)
	}
	if t.Domain != "" {
		p.printf("domain   %s\n", t.Domain)
	}
	if t.IssuerURL != "" {
		p.printf("issuer   %s\n", t.IssuerURL)
	}
	for _, b := range t.Quota.Bounds() {
		if b.Most != nil {
			p.printf("quota    %d %s\n", *b.Most, strings.ReplaceAll(b.Name, "_", " "))
		}
	}
	return nil
}
