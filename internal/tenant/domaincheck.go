package tenant

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/dbsqlc"
	"parako/internal/dbsqlc/control"
	"parako/internal/outbound"
	"parako/internal/store"
)

// Check is what looking at a domain came to.
type Check struct {
	// Next is when to look again; 0: never.
	Next time.Duration
	// Revision is what the tenant's revision became; 0: it did not change.
	Revision int64
}

// CheckDomain does what is due for a claim: it drops one that was not proven in time, looks whether the record of a verified one is
// still there, and forgets one that was released when its quarantine is over. A job calls it, one for each claim. It bears being
// called twice.
//
// Only a definite answer of the DNS counts against a domain, over two weeks: an outage takes no tenant off its name.
func (r *Registrar) CheckDomain(ctx context.Context, id, claim uuid.UUID) (Check, error) {
	var row dbsqlc.TenantDomain
	var now time.Time
	err := r.Store.AskTenant(ctx, id, func(ctx context.Context, tx *store.Tx) (err error) {
		row, err = tx.DomainByID(ctx, dbsqlc.DomainByIDParams{TenantID: id, ID: claim})
		now = tx.Now()
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return Check{}, nil
	}
	if err != nil {
		return Check{}, fmt.Errorf("load domain: %w", err)
	}
	switch domainOf(row, "").State {
	case DomainReleased:
		if wait := row.ReleasedAt.Add(r.Quarantine).Sub(now); wait > 0 {
			return Check{Next: wait}, nil
		}
		return Check{}, r.forget(ctx, id, row)
	case DomainPending:
		if wait := row.CreatedAt.Add(claimLife).Sub(now); wait > 0 {
			return Check{Next: min(wait, aDay())}, nil
		}
		return r.drop(ctx, id, row)
	case DomainVerified, DomainFailing:
	}
	if row.Token == "" {
		return Check{}, nil
	}
	found, err := r.recorded(ctx, row)
	switch {
	case err != nil:
		return Check{Next: retryAfter}, nil //nolint:nilerr // No answer says nothing about the domain: it is asked again.
	case !found:
		return r.missed(ctx, id, row)
	}
	leads, err := r.Store.Locate(ctx, "host", row.Name)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return Check{}, fmt.Errorf("locate domain: %w", err)
	}
	proven, err := r.prove(ctx, id, row, leads == id, audit.System())
	switch {
	case errors.Is(err, ErrDomainUnknown), errors.Is(err, ErrDomainUnproven):
		return Check{}, nil // It was released meanwhile.
	case err != nil:
		return Check{}, err
	}
	return Check{Next: aDay(), Revision: proven.Revision}, nil
}

// missed notes that the record was not there, and draws the consequences.
func (r *Registrar) missed(ctx context.Context, id uuid.UUID, row dbsqlc.TenantDomain) (Check, error) {
	next := Check{Next: aDay()}
	err := r.Store.InTenant(ctx, id, func(ctx context.Context, tx *store.Tx) error {
		row, err := tx.DomainMiss(ctx, dbsqlc.DomainMissParams{TenantID: id, ID: row.ID})
		if errors.Is(err, store.ErrNotFound) {
			return nil // It was released meanwhile; the next look tells.
		}
		if err != nil {
			return err
		}
		switch {
		case row.FailingSince == nil && row.MissingChecks >= minMisses && !tx.Now().Before(row.MissingSince.Add(missingFor)):
			if err := tx.Later().DomainFail(ctx, dbsqlc.DomainFailParams{TenantID: id, ID: row.ID}); err != nil {
				return err
			}
			return recordDomain(ctx, tx, audit.DomainFailing, audit.Warning, audit.System(), row.Name, map[string]string{
				"released_after": tx.Now().Add(failingFor).UTC().Format(time.RFC3339),
			})
		case row.FailingSince != nil && !tx.Now().Before(row.FailingSince.Add(failingFor)):
			released, err := r.release(ctx, tx, row, audit.System(), "unproven")
			next = Check{Next: max(r.Quarantine, time.Minute), Revision: released.Revision}
			return err
		}
		return nil
	})
	if err != nil {
		return Check{}, about("check", row.Name, err)
	}
	return next, nil
}

// drop removes a claim that was not proven in time.
func (r *Registrar) drop(ctx context.Context, id uuid.UUID, row dbsqlc.TenantDomain) (Check, error) {
	var check Check
	err := r.Store.InTenant(ctx, id, func(ctx context.Context, tx *store.Tx) error {
		held, err := hold(ctx, tx, row.Name)
		if errors.Is(err, ErrDomainUnknown) {
			return nil
		}
		if err != nil {
			return err
		}
		if held.ID != row.ID {
			return nil
		}
		if held.VerifiedAt != nil {
			check.Next = aDay() // Somebody was quicker.
			return nil
		}
		released, err := r.release(ctx, tx, held, audit.System(), "expired")
		check.Revision = released.Revision
		return err
	})
	if err != nil {
		return Check{}, about("drop", row.Name, err)
	}
	return check, nil
}

// forget removes what is left of a domain whose quarantine is over.
func (r *Registrar) forget(ctx context.Context, id uuid.UUID, row dbsqlc.TenantDomain) error {
	err := r.Store.InTenant(ctx, id, func(ctx context.Context, tx *store.Tx) error {
		if err := tx.Later().DomainDelete(ctx, dbsqlc.DomainDeleteParams{TenantID: id, ID: row.ID}); err != nil {
			return err
		}
		return r.Store.InPlatform(ctx, func(ctx context.Context, tx *store.PlatformTx) error {
			return tx.LocatorForget(ctx, control.LocatorForgetParams{Name: row.Name, TenantID: id})
		})
	})
	if err != nil {
		return about("forget", row.Name, err)
	}
	return nil
}

// recorded reports whether the record of the claim is in the DNS. An error means that the DNS gave no definite answer.
func (r *Registrar) recorded(ctx context.Context, row dbsqlc.TenantDomain) (bool, error) {
	want := domainOf(row, "").Record
	texts, err := r.DNS.TXT(ctx, want.Name)
	if errors.Is(err, outbound.ErrNoRecord) {
		return false, nil
	}
	return slices.Contains(texts, want.Value), err
}

// aDay is when a domain is looked at again. Domains that were claimed together are not looked at together for ever.
func aDay() time.Duration {
	const spread = checkEvery / 12
	var chance [4]byte
	_, _ = rand.Read(chance[:]) // documented never to return an error
	return checkEvery - spread + time.Duration(binary.BigEndian.Uint32(chance[:]))*time.Second%(2*spread)
}
