package tenant

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/google/uuid"

	"parako/internal/dbsqlc"
	"parako/internal/dbsqlc/control"
	"parako/internal/problem"
	"parako/internal/secret"
	"parako/internal/store"
)

// provisionFor is how long a tenant can be filled. One that is still not served then is removed like any other whose time has come.
const provisionFor = 24 * time.Hour

// ErrImporting refuses to take hold of a tenant before it is complete.
var ErrImporting = problem.New(problem.Conflict, "tenant_importing", "The tenant is being imported. If that was broken off, it is removed within a day.")

// Provision adds a tenant that is about to be filled: archived and due for removal unless Provisioned comes first, so that a process
// that dies on the way leaves nothing for long. It takes the slug, and the issuer if that is to be had here; otherwise the returned
// tenant has none. The domain is not looked at: it has to be proven where the tenant comes to.
func Provision(ctx context.Context, s *store.Store, n New, issuer string, q Quota) (Tenant, error) {
	if err := n.normalise(); err != nil {
		return Tenant{}, err
	}
	if n.Slug == PlatformsSlug {
		return Tenant{}, ErrSlugReserved
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Tenant{}, err
	}
	var row control.Tenant
	err = s.InPlatform(ctx, func(ctx context.Context, tx *store.PlatformTx) error {
		if err := claim(ctx, tx, "slug", n.Slug, id, ErrSlugTaken); err != nil {
			return err
		}
		var issuerURL *string
		if issuer != "" {
			err := claimIssuer(ctx, tx, Tenant{ID: id, Slug: n.Slug}, issuer, n.Base)
			if _, refused := errors.AsType[*problem.Error](err); err != nil && !refused {
				return err
			}
			if err == nil {
				issuerURL = &issuer
			}
		}
		err := tx.TenantProvision(ctx, control.TenantProvisionParams{
			ID: id, Slug: n.Slug, DisplayName: n.DisplayName, IssuerURL: issuerURL,
			MaxUsers: q.Users, MaxClients: q.Clients, MaxSessions: q.Sessions, MaxRequestsPerSecond: q.RequestsPerSecond, MaxMailsPerHour: q.MailsPerHour,
			PatienceSeconds: provisionFor.Seconds(), Operator: n.Operator,
		})
		if err != nil {
			return fmt.Errorf("create tenant: %w", err)
		}
		row, err = tx.TenantBySlug(ctx, n.Slug)
		return err
	})
	if err != nil {
		return Tenant{}, err
	}
	t := fromControl(row)
	err = s.InTenant(ctx, t.ID, func(ctx context.Context, tx *store.Tx) error { return tx.Enqueue(ctx, store.JobPurge, t.ID) })
	if err != nil {
		return Tenant{}, errors.Join(err, Discard(ctx, s, t.ID))
	}
	return t, nil
}

// ErrKeysInUse refuses keys that somebody else may sign with here.
var ErrKeysInUse = problem.New(problem.Conflict, "keys_in_use", "A tenant with the keys of the file is here. Another one beside it gets keys of its own.")

// Succeed claims for a tenant of Provision the keys of those that it is moved from. No two tenants of a deployment sign with the same:
// ErrKeysInUse when one of the former is here still, or another tenant has succeeded one of them.
func Succeed(ctx context.Context, s *store.Store, id uuid.UUID, former []uuid.UUID) error {
	return s.InPlatform(ctx, func(ctx context.Context, tx *store.PlatformTx) error {
		here, err := tx.TenantAmong(ctx, former)
		if err != nil {
			return fmt.Errorf("find former tenant: %w", err)
		}
		if here {
			return ErrKeysInUse
		}
		// In one order, so that of two that want the same none waits for the other in a circle.
		names := make([]string, len(former))
		for i, f := range former {
			names[i] = f.String()
		}
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			if err := claim(ctx, tx, "origin", name, id, ErrKeysInUse); err != nil {
				return err
			}
		}
		return nil
	})
}

// Former are the tenants whose keys a tenant has come with, in this deployment and before.
func Former(ctx context.Context, s *store.Store, id uuid.UUID) ([]uuid.UUID, error) {
	var former []uuid.UUID
	err := s.InPlatform(ctx, func(ctx context.Context, tx *store.PlatformTx) error {
		names, err := tx.TenantOrigins(ctx, id)
		if err != nil {
			return fmt.Errorf("list former tenants: %w", err)
		}
		for _, name := range names {
			f, err := uuid.Parse(name)
			if err != nil {
				return fmt.Errorf("read former tenant: %w", err)
			}
			former = append(former, f)
		}
		return nil
	})
	return former, err
}

// Provisioned has a tenant of Provision served. It records in its trail and in the platform's where it came from.
func Provisioned(ctx context.Context, s *store.Store, id uuid.UUID, operator string, origin map[string]string) (Tenant, error) {
	home, err := EnsurePlatforms(ctx, s)
	if err != nil {
		return Tenant{}, err
	}
	var row control.Tenant
	err = s.InPlatform(ctx, func(ctx context.Context, tx *store.PlatformTx) error {
		if row, err = tx.TenantProvisioned(ctx, id); err != nil {
			return fmt.Errorf("have tenant served: %w", err)
		}
		for _, trail := range []uuid.UUID{id, home.ID} {
			if err := recordAbout(ctx, tx, trail, id, "tenant.imported", operator, origin); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, store.ErrNotFound) {
		return Tenant{}, ErrChanged
	}
	return fromControl(row), err
}

// Discard removes a tenant of Provision that will not be served, with everything it has and with its names. It works although ctx is
// done.
func Discard(ctx context.Context, s *store.Store, id uuid.UUID) error {
	return s.InPlatform(context.WithoutCancel(ctx), func(ctx context.Context, tx *store.PlatformTx) error {
		if err := tx.Patient(ctx, countFor); err != nil {
			return err
		}
		n, err := tx.TenantDiscard(ctx, id)
		if err != nil || n == 0 {
			return err
		}
		if _, err := tx.TenantDelete(ctx, id); err != nil {
			return fmt.Errorf("remove tenant: %w", err)
		}
		return tx.LocatorsForget(ctx, id)
	})
}

// Exported records in a tenant's trail and in the platform's that everything the tenant has was asked for.
func Exported(ctx context.Context, s *store.Store, t Tenant, operator string) error {
	home, err := EnsurePlatforms(ctx, s)
	if err != nil {
		return err
	}
	return s.InPlatform(ctx, func(ctx context.Context, tx *store.PlatformTx) error {
		for _, trail := range []uuid.UUID{t.ID, home.ID} {
			if err := recordAbout(ctx, tx, trail, t.ID, "tenant.exported", operator, map[string]string{"slug": t.Slug}); err != nil {
				return err
			}
		}
		return nil
	})
}

// ClaimMoved claims a domain anew for tx's tenant, which had it where it comes from. Nothing is proven by that. It reports whether there
// is such a claim: a name below the deployment's own host cannot be claimed.
func ClaimMoved(ctx context.Context, tx *store.Tx, base *url.URL, name string) (bool, error) {
	if ownHost(base, name) {
		return false, nil
	}
	claim, err := uuid.NewV7()
	if err != nil {
		return false, err
	}
	n, err := tx.DomainCreate(ctx, dbsqlc.DomainCreateParams{ID: claim, Name: name, Token: secret.Token()})
	if err != nil || n == 0 {
		return false, err
	}
	return true, tx.Enqueue(ctx, store.JobDomain, claim)
}
