package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/config"
	"parako/internal/keyring"
	"parako/internal/store"
	"parako/internal/tenant"
)

func auditTrail(ctx context.Context, p *process, args []string) error {
	return dispatch(ctx, p, "parako audit", []command{
		{"verify", "compare the audit trail with its seals, and with seals that were exported", auditVerify},
		{"seal", "seal what happened since the last seal; the server does so by itself", auditSeal},
		{"export", "print the last seal of every tenant, signed with the platform's key", auditExport},
		{"retain", "make the months to come and drop those that are over, as the owner", auditRetain},
	}, args)
}

// sealsType is the type of an export (RFC 7515 section 4.1.9): no other token of the platform can pass for one.
const sealsType = "parako-seals+jwt"

// sealsExport is the payload of an export.
type sealsExport struct {
	IssuedAt int64          `json:"iat"`
	Seals    []exportedSeal `json:"seals"`
}

type exportedSeal struct {
	TenantID uuid.UUID `json:"tenant_id"`
	Slug     string    `json:"slug"`
	SealNo   int64     `json:"seal_no"`
	Hash     string    `json:"hash"`
}

// eachTenant calls fn for the tenant that the slug names, or for every tenant there is when it is empty.
func eachTenant(ctx context.Context, s *store.Store, slug string, fn func(tenant.Tenant) error) error {
	first := slug
	if slug == "" {
		first = tenant.DefaultSlug
	}
	t, err := namedTenant(ctx, s, first)
	if err != nil {
		return err
	}
	if err := fn(t); err != nil || slug != "" {
		return err
	}
	for after := ""; ; {
		const page = 500
		list, err := tenant.List(ctx, s, "", after, page)
		if err != nil {
			return err
		}
		for _, t := range list {
			if err := fn(t); err != nil {
				return err
			}
		}
		if len(list) < page {
			return nil
		}
		after = list[len(list)-1].Slug
	}
}

// verdict is what a verification has to say about one tenant.
type verdict struct {
	Slug     string          `json:"slug"`
	TenantID uuid.UUID       `json:"tenant_id"`
	SealNo   int64           `json:"seal_no"` // the last; 0: nothing is sealed
	Hash     string          `json:"hash,omitempty"`
	Findings []audit.Finding `json:"findings"`
}

func auditVerify(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako audit verify", flag.ContinueOnError)
	slug := flags.String("tenant", "", "the tenant's slug; every tenant when it is left out")
	since := flags.String("since", "", "only what happened from this moment on, such as 2026-01-31 or 2026-01-31T12:00:00Z")
	until := flags.String("until", "", "only what happened up to this moment, written likewise")
	against := flags.String("against", "", "a file that parako audit export printed: the seals in it must still be there")
	jwks := flags.String("jwks", "", "a file with the platform's public keys, kept outside; otherwise those of the database are believed")
	asJSON := flags.Bool("json", false, "print the findings as JSON")
	if err := p.parse(flags, args); err != nil {
		return err
	}
	from, err := moment(*since)
	if err != nil {
		return p.misuse(flags, "--since: %v", err)
	}
	to, err := moment(*until)
	if err != nil {
		return p.misuse(flags, "--until: %v", err)
	}
	s, err := p.database(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	kept := map[uuid.UUID]exportedSeal{}
	if *against != "" {
		if kept, err = keptSeals(ctx, s, *against, *jwks); err != nil {
			return err
		}
	}
	verdicts, faults := []verdict{}, 0
	err = eachTenant(ctx, s, *slug, func(t tenant.Tenant) error {
		v, err := judge(ctx, s, t, from, to, kept)
		verdicts, faults = append(verdicts, v), faults+len(v.Findings)
		delete(kept, t.ID)
		return err
	})
	if err != nil {
		return err
	}
	for _, k := range kept {
		if *slug == "" {
			verdicts, faults = append(verdicts, verdict{Slug: k.Slug, TenantID: k.TenantID, Findings: []audit.Finding{
				{SealNo: k.SealNo, Finding: "the tenant of this exported seal is gone"},
			}}), faults+1
		}
	}
	if err := p.printVerdicts(*asJSON, verdicts); err != nil {
		return err
	}
	if faults > 0 {
		return errors.New("the audit trail is not what was sealed")
	}
	return nil
}

// moment reads a date or a date with time; empty is the zero time.
func moment(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return t, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, fmt.Errorf("%q is no moment; give one such as 2026-01-31 or 2026-01-31T12:00:00Z", s)
	}
	return t, nil
}

// judge verifies one tenant's trail and compares it with the seal that was kept, if there is one.
func judge(ctx context.Context, s *store.Store, t tenant.Tenant, from, to time.Time, kept map[uuid.UUID]exportedSeal) (verdict, error) {
	v := verdict{Slug: t.Slug, TenantID: t.ID, Findings: []audit.Finding{}}
	err := s.ViewTenant(ctx, t.ID, func(ctx context.Context, tx *store.Tx) error {
		last, err := audit.LastMark(ctx, tx)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		v.SealNo, v.Hash = last.SealNo, hex.EncodeToString(last.Hash)
		if v.Findings, err = audit.Verify(ctx, tx, from, to); err != nil {
			return err
		}
		k, ok := kept[t.ID]
		if !ok {
			return nil
		}
		switch hash, err := audit.HashOf(ctx, tx, k.SealNo); {
		case errors.Is(err, store.ErrNotFound):
			v.Findings = append(v.Findings, audit.Finding{SealNo: k.SealNo, Finding: "the exported seal is not there: the trail was written anew"})
		case err != nil:
			return err
		case hex.EncodeToString(hash) != k.Hash:
			v.Findings = append(v.Findings, audit.Finding{SealNo: k.SealNo, Finding: "the seal is not the exported one: the trail was written anew"})
		}
		return nil
	})
	if err != nil {
		return v, fmt.Errorf("verify %s: %w", t.Slug, err)
	}
	return v, nil
}

func (p *process) printVerdicts(asJSON bool, verdicts []verdict) error {
	if asJSON {
		return p.printJSON(map[string]any{"tenants": verdicts})
	}
	table := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "TENANT\tSEAL\tEVENT\tFINDING")
	for _, v := range verdicts {
		for _, f := range v.Findings {
			_, _ = fmt.Fprintf(table, "%s\t%d\t%s\t%s\n", v.Slug, f.SealNo, f.EventID, f.Finding)
		}
		if len(v.Findings) == 0 {
			_, _ = fmt.Fprintf(table, "%s\t%d\t\tintact %s\n", v.Slug, v.SealNo, v.Hash)
		}
	}
	return table.Flush()
}

func auditSeal(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako audit seal", flag.ContinueOnError)
	slug := flags.String("tenant", "", "the tenant's slug; every tenant when it is left out")
	if err := p.parse(flags, args); err != nil {
		return err
	}
	s, err := p.database(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	return eachTenant(ctx, s, *slug, func(t tenant.Tenant) error {
		events, mark, err := audit.Seal(ctx, s, t.ID)
		if events > 0 {
			p.printf("%-24s %6d events, seal %d %x\n", t.Slug, events, mark.SealNo, mark.Hash)
		}
		return err
	})
}

func auditExport(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako audit export", flag.ContinueOnError)
	slug := flags.String("tenant", "", "the tenant's slug; every tenant when it is left out")
	keys := flags.Bool("jwks", false, "print the platform's public keys instead, to be kept where the export is verified")
	if err := p.parse(flags, args); err != nil {
		return err
	}
	s, err := p.database(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	ring, err := p.platformKeys(ctx, s)
	if err != nil {
		return err
	}
	if *keys {
		p.printf("%s\n", ring.JWKS())
		return nil
	}
	export := sealsExport{IssuedAt: time.Now().Unix(), Seals: []exportedSeal{}}
	err = eachTenant(ctx, s, *slug, func(t tenant.Tenant) error {
		if _, _, err := audit.Seal(ctx, s, t.ID); err != nil {
			return err
		}
		return s.ViewTenant(ctx, t.ID, func(ctx context.Context, tx *store.Tx) error {
			last, err := audit.LastMark(ctx, tx)
			if errors.Is(err, store.ErrNotFound) {
				return nil // nothing ever happened there
			}
			export.Seals = append(export.Seals, exportedSeal{TenantID: t.ID, Slug: t.Slug, SealNo: last.SealNo, Hash: hex.EncodeToString(last.Hash)})
			return err
		})
	})
	if err != nil {
		return err
	}
	payload, err := json.Marshal(export)
	if err != nil {
		return err
	}
	jws, err := ring.Sign(keyring.ES256, sealsType, payload)
	if err != nil {
		return err
	}
	p.printf("%s\n", jws)
	return nil
}

// platformKeys opens the keys of the platform.
func (p *process) platformKeys(ctx context.Context, s *store.Store) (*keyring.Ring, error) {
	c, err := config.Load(p.environ)
	if err != nil {
		return nil, err
	}
	vault, err := tenant.NewVault(c.EncryptionKey, c.EncryptionKeyPrevious)
	if err != nil {
		return nil, err
	}
	id, err := platformID(ctx, s)
	if err != nil {
		return nil, err
	}
	return keyring.Open(ctx, s, vault, keyring.DefaultPolicy, id)
}

// platformID is the platform's tenant, or the built-in one where there is no platform.
func platformID(ctx context.Context, s *store.Store) (uuid.UUID, error) {
	t, err := tenant.BySlug(ctx, s, tenant.PlatformsSlug)
	if errors.Is(err, tenant.ErrUnknown) {
		return tenant.DefaultID, nil
	}
	return t.ID, err
}

// pastKeys are those with which an export of the last year may have been signed.
func pastKeys(ctx context.Context, s *store.Store) (*keyring.Ring, error) {
	id, err := platformID(ctx, s)
	if err != nil {
		return nil, err
	}
	var ring *keyring.Ring
	err = s.ViewTenant(ctx, id, func(ctx context.Context, tx *store.Tx) (err error) {
		ring, err = keyring.Past(ctx, tx)
		return err
	})
	return ring, err
}

// keptSeals reads an export whose signature holds.
func keptSeals(ctx context.Context, s *store.Store, file, jwks string) (map[uuid.UUID]exportedSeal, error) {
	jws, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read --against: %w", err)
	}
	var ring *keyring.Ring
	if jwks == "" {
		ring, err = pastKeys(ctx, s)
	} else if keys, rerr := os.ReadFile(jwks); rerr != nil {
		err = fmt.Errorf("read --jwks: %w", rerr)
	} else {
		ring, err = keyring.Public(keys)
	}
	if err != nil {
		return nil, err
	}
	payload, err := ring.Verify(string(bytes.TrimSpace(jws)), sealsType)
	if err != nil {
		return nil, fmt.Errorf("%s was not signed by the platform, or was changed since", file)
	}
	var export sealsExport
	if err := json.Unmarshal(payload, &export); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	kept := make(map[uuid.UUID]exportedSeal, len(export.Seals))
	for _, seal := range export.Seals {
		kept[seal.TenantID] = seal
	}
	return kept, nil
}

func auditRetain(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako audit retain", flag.ContinueOnError)
	keep := flags.Int("months", 0, "drop the months of the trail that ended so many months ago; 0 keeps all")
	ahead := flags.Int("ahead", 12, "how many months to make in advance")
	if err := p.parse(flags, args); err != nil {
		return err
	}
	if *keep < 0 || *ahead < 0 {
		return p.misuse(flags, "--months and --ahead are not negative")
	}
	c, err := config.Load(p.environ)
	if err != nil {
		return err
	}
	if c.DatabaseURL.Empty() {
		return errors.New("DATABASE_URL is missing: set postgres://parako_owner:<password>@<host>/<database>")
	}
	made, dropped, err := store.RetainTrail(ctx, c.DatabaseURL, *keep, *ahead)
	if err != nil {
		return err
	}
	p.printf("made %d, dropped %d partitions\n", made, dropped)
	return nil
}
