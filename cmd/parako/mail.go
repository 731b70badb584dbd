package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"parako/internal/config"
	"parako/internal/i18n"
	"parako/internal/message"
	"parako/internal/outbound"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/tenant"
)

func mail(ctx context.Context, p *process, args []string) error {
	return dispatch(ctx, p, "parako mail", []command{
		{"test", "send a mail the way a tenant's people would get it", mailTest},
		{"failures", "list the mails that no mail server has taken", mailFailures},
	}, args)
}

// mailTest hands a mail in at once, so that what is wrong with the settings is seen where they are made.
func mailTest(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako mail test", flag.ContinueOnError)
	slug := flags.String("tenant", "", "the tenant's slug; default in single-tenant mode (required)")
	to := flags.String("to", "", "the address that gets the mail (required)")
	locale := flags.String("locale", "", "its language, such as de; the tenant's default when it is left out")
	if err := p.parse(flags, args); err != nil {
		return err
	}
	if err := p.required(flags, "tenant", "to"); err != nil {
		return err
	}
	c, err := config.Load(p.environ)
	if err != nil {
		return err
	}
	vault, err := p.vault()
	if err != nil {
		return err
	}
	catalog, err := i18n.New()
	if err != nil {
		return err
	}
	composer, err := message.NewComposer(catalog)
	if err != nil {
		return err
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
	platform, err := settings.Platform(ctx, s)
	if err != nil {
		return err
	}
	var set settings.Settings
	err = s.ViewTenant(ctx, t.ID, func(ctx context.Context, tx *store.Tx) (err error) {
		set, err = settings.Load(ctx, tx, platform)
		return err
	})
	if err != nil {
		return err
	}
	if !set.Notifications.Channels.Email.Enabled {
		return errors.New("the tenant sends no mail: notifications.channels.email.enabled is false")
	}
	server, err := set.Integrations.Email.Server(ctx, s, vault)
	if err != nil {
		return err
	}
	company := set.Branding.CompanyName
	if company == "" {
		company = t.DisplayName
	}
	letter, err := composer.Compose(message.Queued{
		Letter: message.Letter{ID: uuid.New(), Kind: message.Test}, Email: *to, Name: *to, Locale: *locale, Written: time.Now(),
	}, set.MailBrand(company))
	if err != nil {
		return err
	}
	out := outbound.New(outbound.Options{Allowed: c.OutboundNetworks, Loopback: c.Environment == config.Development})
	defer out.Close()
	err = message.NewSender(out).Send(ctx, server, letter)
	if err != nil && !server.Ready() {
		return err
	}
	if err != nil {
		return fmt.Errorf("%s:%d: %w", server.Host, server.Port, err)
	}
	p.printf("%s:%d has taken the mail from %s to %s\n", server.Host, server.Port, server.From, *to)
	return nil
}

// unsentMail is an entry of the list, with its tenant.
type unsentMail struct {
	message.Unsent

	Tenant string `json:"tenant"`
}

func mailFailures(ctx context.Context, p *process, args []string) error {
	all := []unsentMail{}
	asJSON, err := p.failures(ctx, "parako mail failures", args, func(ctx context.Context, tx *store.Tx, t tenant.Tenant, limit int32) error {
		list, err := message.Failures(ctx, tx, limit)
		for _, u := range list {
			all = append(all, unsentMail{u, t.Slug})
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
	_, _ = fmt.Fprintln(table, "TENANT\tUSER\tKIND\tWRITTEN\tGIVEN UP\tATTEMPTS\tLAST ERROR")
	for _, f := range all {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", f.Tenant, f.UserID, f.Kind, f.CreatedAt.Format(time.RFC3339),
			f.FailedAt.Format(time.RFC3339), f.Attempts, f.LastError)
	}
	return table.Flush()
}
