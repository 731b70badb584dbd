package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"parako/internal/problem"
	"parako/internal/tenant"
)

// tenantDelete asks for a tenant's removal, which the servers carry out. At once only for whoever names the tenant twice.
func tenantDelete(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako tenant delete", flag.ContinueOnError)
	slug := flags.String("slug", "", "the tenant (required)")
	d := tenant.Deletion{Grace: tenant.DefaultGrace, Operator: operator}
	flags.Func("grace", "how long it can be restored, such as 30d or 12h (default 30d)", func(s string) (err error) {
		d.Grace, err = span(s)
		return err
	})
	flags.BoolVar(&d.Archive, "archive", false, "archive it, when it is not archived yet")
	now := flags.Bool("now", false, "without a grace period; needs --confirm")
	confirm := flags.String("confirm", "", "the slug again, with --now")
	asJSON := flags.Bool("json", false, "print the tenant as JSON")
	if err := p.parse(flags, args); err != nil {
		return err
	}
	if err := p.required(flags, "slug"); err != nil {
		return err
	}
	if *now {
		d.Grace = 0
	}
	if d.Grace == 0 && (!*now || *confirm != *slug) {
		return p.misuse(flags, "nothing can be restored after this: say --now --confirm %s", *slug)
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
	if t, err = tenant.RequestDeletion(ctx, s, t.Slug, d); err != nil {
		return err
	}
	return p.printTenant(*asJSON, t)
}

// span reads a duration that may be in days.
func span(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, fmt.Errorf("%q is no time; give one such as 30d or 12h", s)
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q is no time; give one such as 30d or 12h", s)
	}
	return d, nil
}

func tenantRestore(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako tenant restore", flag.ContinueOnError)
	slug := flags.String("slug", "", "the tenant (required)")
	asJSON := flags.Bool("json", false, "print the tenant as JSON")
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
	if t, err = tenant.Restore(ctx, s, t.Slug, nil, operator); err != nil {
		return err
	}
	return p.printTenant(*asJSON, t)
}

func tenantRelease(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako tenant release", flag.ContinueOnError)
	slug := flags.String("slug", "", "the slug; whoever trusts the former tenant's issuer will trust that of the next")
	host := flags.String("host", "", "a host of its own, instead")
	asJSON := flags.Bool("json", false, "print what was released as JSON")
	if err := p.parse(flags, args); err != nil {
		return err
	}
	if (*slug == "") == (*host == "") {
		return p.misuse(flags, "say which: --slug or --host")
	}
	s, err := p.database(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	name := strings.ToLower(*slug + *host)
	if err := tenant.Release(ctx, s, name, operator); err != nil {
		return err
	}
	if *asJSON {
		return p.printJSON(map[string]string{"released": name})
	}
	p.printf("released  %s\n", name)
	return nil
}

// tenantCertificate prints the last certificate of a tenant that is gone. It verifies it with the keys in the database; whoever has
// kept the platform's key set can do so elsewhere.
func tenantCertificate(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako tenant certificate", flag.ContinueOnError)
	slug := flags.String("slug", "", "the slug of the deleted tenant")
	id := flags.String("id", "", "the id of the deleted tenant")
	raw := flags.Bool("raw", false, "print it as it was signed (RFC 7515)")
	asJSON := flags.Bool("json", false, "print it as JSON")
	if err := p.parse(flags, args); err != nil {
		return err
	}
	if (*slug == "") == (*id == "") {
		return p.misuse(flags, "say which: --slug or --id")
	}
	s, err := p.database(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	signed, err := tenant.Certificates(ctx, s, strings.ToLower(*slug+*id))
	if err != nil && !errors.Is(err, tenant.ErrUnknown) {
		return err
	}
	if len(signed) == 0 {
		return problem.New(problem.NotFound, "certificate_unknown", "There is no certificate of such a deletion.")
	}
	ring, err := pastKeys(ctx, s)
	if err != nil {
		return err
	}
	payload, err := ring.Verify(signed[0], tenant.CertificateType)
	const unverified = "no key of the platform of the last year signed this certificate as it is, or the key was revoked"
	if *raw {
		if err != nil {
			_, _ = fmt.Fprintf(p.stderr, "parako: not verified: %s\n", unverified)
		}
		p.printf("%s\n", signed[0])
		return nil
	}
	if err != nil {
		return errors.New(unverified)
	}
	var c tenant.Certificate
	if err := json.Unmarshal(payload, &c); err != nil {
		return err
	}
	if *asJSON {
		return p.printJSON(c)
	}
	p.printf("slug       %s\nid         %s\nrequested  %s by %s\ncompleted  %s\n", c.Slug, c.TenantID, c.RequestedAt.UTC().Format(time.RFC3339), c.RequestedBy, c.CompletedAt.Format(time.RFC3339))
	if c.DataKeySHA256 != "" {
		p.printf("data key   sha256:%s, destroyed\n", c.DataKeySHA256)
	}
	if c.LastSealHash != "" {
		p.printf("last seal  %d %s\n", c.LastSeal, c.LastSealHash)
	}
	for _, table := range slices.Sorted(maps.Keys(c.Rows)) {
		if c.Rows[table] > 0 {
			p.printf("rows       %8d %s\n", c.Rows[table], table)
		}
	}
	p.printf("signature  valid\n")
	return nil
}
