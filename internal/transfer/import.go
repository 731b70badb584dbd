package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"time"

	"parako/internal/keyring"
	"parako/internal/problem"
	"parako/internal/secret"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/tenant"
)

// ImportOptions say what becomes of a file.
type ImportOptions struct {
	Passphrase secret.String
	// Slug and DisplayName are of the new tenant; empty: as they were.
	Slug        string
	DisplayName string
	// KeepKeys keeps the tenant's keys although its issuer will be another: for one whose domain comes along and has to be proven first.
	// Where the issuer stays they are kept anyway, so that nobody notices; otherwise, and where they are in use, the new tenant makes its
	// own.
	KeepKeys bool
	// Base and Mount are of this deployment.
	Base     *url.URL
	Mount    string
	Operator string
}

// Imported is what became of a file.
type Imported struct {
	Tenant tenant.Tenant
	From   Origin
	Issuer string
	// KeptKeys says that its tokens and those from before are signed with the same keys.
	KeptKeys bool
	// Domains have to be proven before they lead to the tenant.
	Domains []string
	Parts   []Part
}

// Import makes a tenant of a file, active and with its people, clients and settings. It reads the file twice: nothing is begun before it has
// proven to be whole. The rows come in one transaction, in a tenant that nobody is served by before it is complete; when anything
// fails, nothing of it stays. What was issued before the move is dead. tenant.ErrSlugTaken and what else creating a tenant can answer,
// ErrPassphrase, ErrNoExport, ErrDamaged, tenant.ErrKeysInUse.
func Import(ctx context.Context, s *store.Store, vault tenant.Vault, in io.ReadSeeker, o ImportOptions) (Imported, error) {
	f, err := open(in, o.Passphrase)
	if err != nil {
		return Imported{}, err
	}
	var h Header
	parts, err := f.read(
		func(found Header) error {
			h = found
			return compatible(ctx, s, h)
		},
		func(string, []json.RawMessage) error { return nil },
	)
	if err != nil {
		return Imported{}, err
	}
	n := tenant.New{Slug: o.Slug, DisplayName: o.DisplayName, Operator: o.Operator, Base: o.Base}
	if n.Slug == "" {
		n.Slug = h.Tenant.Slug
	}
	if n.DisplayName == "" {
		n.DisplayName = h.Tenant.DisplayName
	}
	t, err := tenant.Provision(ctx, s, n, h.Tenant.IssuerURL, h.Tenant.Quota)
	if err != nil {
		return Imported{}, err
	}
	done := Imported{Tenant: t, From: h.Tenant, Issuer: t.Issuer(o.Base, o.Mount), Parts: parts}
	done.KeptKeys, err = keeps(ctx, s, h, done, o)
	if err == nil {
		err = fill(ctx, s, vault, f, h, &done, o.Base)
	}
	if err == nil {
		done.Tenant, err = tenant.Provisioned(ctx, s, t.ID, o.Operator, map[string]string{
			"slug": t.Slug, "from_id": h.Tenant.ID.String(), "from_slug": h.Tenant.Slug, "from_issuer": h.Tenant.Issuer,
			"exported_at": h.ExportedAt.Format(time.RFC3339),
		})
	}
	if err != nil {
		if discarded := tenant.Discard(ctx, s, t.ID); discarded != nil {
			return Imported{}, errors.Join(fmt.Errorf("import tenant: %w", err), fmt.Errorf("take it back: %w", discarded))
		}
		if _, ok := errors.AsType[*problem.Error](err); ok {
			return Imported{}, err
		}
		return Imported{}, fmt.Errorf("import tenant: %w", err)
	}
	return done, nil
}

// keeps decides whether the keys come along.
func keeps(ctx context.Context, s *store.Store, h Header, done Imported, o ImportOptions) (bool, error) {
	if !o.KeepKeys && done.Issuer != h.Tenant.Issuer {
		return false, nil
	}
	err := tenant.Succeed(ctx, s, done.Tenant.ID, append(slices.Clone(h.Former), h.Tenant.ID))
	if errors.Is(err, tenant.ErrKeysInUse) && !o.KeepKeys {
		return false, nil
	}
	return err == nil, err
}

// compatible refuses a file whose rows would not fit, before they are read.
func compatible(ctx context.Context, s *store.Store, h Header) error {
	return s.ViewTenant(ctx, tenant.DefaultID, func(ctx context.Context, tx *store.Tx) error {
		here, err := tx.Schema(ctx)
		if err != nil || here == h.Schema {
			return err
		}
		where := "here"
		if here > h.Schema {
			where = "where the file was exported, and export it again"
		}
		return problem.New(problem.Conflict, "schema_differs", fmt.Sprintf(
			"The file is of schema version %d and this database is at %d: bring the older one up to date (`parako migrate up`) %s.", h.Schema, here, where))
	})
}

// formatProblem refuses a file of another release.
func formatProblem(version int) error {
	return problem.New(problem.Invalid, "format_unknown", fmt.Sprintf(
		"The file has format %d and this release reads format %d. Export it with a release of the same version.", version, format))
}

// filling is a tenant that is being filled.
type filling struct {
	tx     *store.Tx
	vault  tenant.Vault
	tables []store.Table
	hand   hand
	done   *Imported
	base   *url.URL
}

// fill puts the rows of the file into the new tenant, all or none.
func fill(ctx context.Context, s *store.Store, vault tenant.Vault, f *file, h Header, done *Imported, base *url.URL) error {
	return s.InTenant(ctx, done.Tenant.ID, func(ctx context.Context, tx *store.Tx) error {
		tx.Patient(statementLimit)
		sealer, err := vault.Inherit(ctx, tx, h.Derived)
		if err != nil {
			return err
		}
		tables, err := tx.Tables(ctx)
		if err != nil {
			return err
		}
		into := &filling{tx: tx, vault: vault, tables: tables, hand: hand{sealer: sealer}, done: done, base: base}
		_, err = f.read(
			func(again Header) error {
				if again.Tenant.ID != h.Tenant.ID || !again.ExportedAt.Equal(h.ExportedAt) {
					return ErrDamaged // Somebody has put another file in its place.
				}
				return nil
			},
			func(table string, batch []json.RawMessage) error { return into.add(ctx, table, batch) },
		)
		if err == nil {
			err = settings.Verify(ctx, tx)
		}
		if err != nil || !done.KeptKeys {
			return err
		}
		return keyring.Settle(ctx, tx)
	})
}

func (f *filling) add(ctx context.Context, table string, batch []json.RawMessage) error {
	p := moved[slices.IndexFunc(moved, func(p part) bool { return p.table == table })]
	if p.take != nil {
		return p.take(ctx, f, p, batch)
	}
	return f.insert(ctx, p, batch)
}

// insert adds rows as they are, but for what is sealed in them.
func (f *filling) insert(ctx context.Context, p part, batch []json.RawMessage) error {
	if p.turn != nil {
		for i, text := range batch {
			turned, err := turn(p, text, f.hand)
			if err != nil {
				return fmt.Errorf("seal row of %s: %w", p.table, err)
			}
			batch[i] = turned
		}
	}
	table, err := described(f.tables, p.table)
	if err != nil {
		return err
	}
	return f.tx.AddRows(ctx, table, batch)
}

// takeKeys keeps the keys, or makes those that a tenant with other keys needs beside the ones that every tenant has: the others are
// made at its first use.
func takeKeys(ctx context.Context, f *filling, p part, batch []json.RawMessage) error {
	if f.done.KeptKeys {
		return f.insert(ctx, p, batch)
	}
	for _, text := range batch {
		var key struct {
			Alg string `json:"alg"`
		}
		if err := json.Unmarshal(text, &key); err != nil {
			return fmt.Errorf("read key: %w", err)
		}
		if key.Alg == string(keyring.PS256) {
			return keyring.Ensure(ctx, f.tx, f.vault, keyring.PS256)
		}
	}
	return nil
}

// takeDomains claims the domains anew. They lead to whoever had them until somebody proves that they belong here.
func takeDomains(ctx context.Context, f *filling, _ part, batch []json.RawMessage) error {
	for _, text := range batch {
		var domain struct {
			Name       string     `json:"name"`
			ReleasedAt *time.Time `json:"released_at"`
		}
		if err := json.Unmarshal(text, &domain); err != nil {
			return fmt.Errorf("read domain: %w", err)
		}
		if domain.ReleasedAt != nil {
			continue
		}
		claimed, err := tenant.ClaimMoved(ctx, f.tx, f.base, domain.Name)
		if err != nil {
			return fmt.Errorf("claim domain %s: %w", domain.Name, err)
		}
		if claimed {
			f.done.Domains = append(f.done.Domains, domain.Name)
		}
	}
	return nil
}
