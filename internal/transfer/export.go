package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"

	"github.com/google/uuid"

	"parako/internal/problem"
	"parako/internal/secret"
	"parako/internal/store"
	"parako/internal/tenant"
)

// ExportOptions say how a tenant is written.
type ExportOptions struct {
	// Passphrase opens the file. At least 12 characters.
	Passphrase secret.String
	// Base and Mount are of this deployment: the issuer in the file comes from them.
	Base  *url.URL
	Mount string
	// Operator names who asked, for the audit trail.
	Operator string
	// WorkFactor is the cost of a guess of the passphrase, as a power of two; 0 means 18, which is about a second, and the most.
	WorkFactor int
}

// Exported is what a file holds.
type Exported struct {
	Tenant tenant.Tenant
	Parts  []Part
}

// Export writes everything that moves of a tenant, as it is at one moment, while it is used or not. That it was asked for is recorded
// before the first byte. When it fails, what was written is worthless: Import refuses it. tenant.ErrUnknown, tenant.ErrProtected,
// ErrBuiltIn, ErrEnding, ErrPassphraseShort.
func Export(ctx context.Context, s *store.Store, vault tenant.Vault, slug string, w io.Writer, o ExportOptions) (Exported, error) {
	switch slug {
	case tenant.DefaultSlug:
		return Exported{}, ErrBuiltIn
	case tenant.PlatformsSlug:
		return Exported{}, tenant.ErrProtected
	}
	t, err := tenant.BySlug(ctx, s, slug)
	if err != nil {
		return Exported{}, err
	}
	if o.WorkFactor == 0 {
		o.WorkFactor = workFactor
	}
	out, err := newWriter(w, o.Passphrase, o.WorkFactor)
	if err != nil {
		return Exported{}, err
	}
	if err := tenant.Exported(ctx, s, t, o.Operator); err != nil {
		return Exported{}, err
	}
	former, err := tenant.Former(ctx, s, t.ID)
	if err != nil {
		return Exported{}, err
	}
	err = s.SnapshotTenant(ctx, t.ID, func(ctx context.Context, tx *store.Tx) error {
		tx.Patient(statementLimit)
		t, err = write(ctx, tx, vault, out, former, o)
		return err
	})
	if err == nil {
		err = out.close()
	}
	if err != nil {
		if _, ok := errors.AsType[*problem.Error](err); ok {
			return Exported{}, err
		}
		return Exported{}, fmt.Errorf("export tenant %s: %w", slug, err)
	}
	return Exported{Tenant: t, Parts: out.parts}, nil
}

// write writes what the snapshot shows.
func write(ctx context.Context, tx *store.Tx, vault tenant.Vault, out *writer, former []uuid.UUID, o ExportOptions) (tenant.Tenant, error) {
	own, err := tx.TenantByID(ctx, tx.Tenant())
	if err != nil {
		return tenant.Tenant{}, err
	}
	t := tenant.FromRow(own)
	if t.DeleteAfter != nil && !tx.Now().Before(*t.DeleteAfter) {
		return t, ErrEnding
	}
	tables, err := tx.Tables(ctx)
	if err != nil {
		return t, err
	}
	if err := planned(tables); err != nil {
		return t, err
	}
	h := Header{
		Format: format, ExportedAt: tx.Now().UTC(), ExportedBy: o.Operator, Former: former,
		Tenant: Origin{ID: t.ID, Slug: t.Slug, DisplayName: t.DisplayName, Issuer: t.Issuer(o.Base, o.Mount), IssuerURL: t.IssuerURL, Quota: t.Quota},
	}
	if h.Schema, err = tx.Schema(ctx); err != nil {
		return t, err
	}
	turned := hand{opens: true}
	turned.sealer, err = vault.Present(ctx, tx)
	switch {
	case errors.Is(err, store.ErrNotFound): // It was never used.
	case err != nil:
		return t, err
	default:
		h.Derived = tenant.Lasting(turned.sealer)
	}
	if err := out.line(line{Header: &h}); err != nil {
		return t, err
	}
	for _, p := range moved {
		table, err := described(tables, p.table)
		if err != nil {
			return t, err
		}
		if err := out.begin(p.table); err != nil {
			return t, err
		}
		err = tx.Rows(ctx, table, func(text json.RawMessage) error {
			if p.turn != nil {
				if text, err = turn(p, text, turned); err != nil {
					return err
				}
			}
			return out.line(line{Row: text})
		})
		if err != nil {
			return t, fmt.Errorf("write %s: %w", p.table, err)
		}
		out.end()
	}
	return t, nil
}

// turn opens or seals the secrets of a row.
func turn(p part, text json.RawMessage, h hand) (json.RawMessage, error) {
	var r row
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("read row: %w", err)
	}
	if err := p.turn(r, h); err != nil {
		return nil, err
	}
	return json.Marshal(r)
}
