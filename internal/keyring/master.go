package keyring

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/dbsqlc/control"
	"parako/internal/store"
	"parako/internal/tenant"
)

// Rewrapping is how far a rotation of the master key has come.
type Rewrapping struct {
	// Tenants is how many there are, the built-in one and the canaries included; Seen how many of them this pass has looked at.
	Tenants int64 `json:"tenants"`
	Seen    int64 `json:"seen"`
	// Rewrapped data keys were wrapped by the previous key, and are by the new one now.
	Rewrapped int64 `json:"rewrapped"`
	// Left are those that could not be wrapped anew. The homes, which wait for them, are not counted.
	Left int64 `json:"left"`
}

// rewrapPage is how many tenants are listed at a time.
const rewrapPage = 500

// Rewrap wraps the data key of every tenant with the vault's Master where its Previous wraps it, each in a transaction of its own, and
// records it with the tenant as by's doing. What was done stays done when it is interrupted anywhere, and is passed over the
// next time. It looks through all tenants until a pass finds nothing to do, because new ones come meanwhile. A tenant that
// fails stops no other: it counts as left, and the errors are returned joined. progress is called after each page.
//
// The homes come last, when a pass has found nothing else and none is left: their data key is what a server opens when it starts, so
// that one which does not know the previous key any more refuses to start before all is done.
func Rewrap(ctx context.Context, s *store.Store, vault tenant.Vault, by audit.Party, progress func(Rewrapping)) (Rewrapping, error) {
	homes := []uuid.UUID{tenant.DefaultID}
	switch platforms, err := tenant.BySlug(ctx, s, tenant.PlatformsSlug); {
	case err == nil:
		homes = append(homes, platforms.ID)
	case !errors.Is(err, tenant.ErrUnknown):
		return Rewrapping{}, err
	}
	var all Rewrapping
	for {
		pass, err := rewrapPass(ctx, s, vault, by, homes, all.Rewrapped, progress)
		changed := pass.Rewrapped > all.Rewrapped
		all = pass
		if err != nil || !changed {
			return all, err
		}
	}
}

func rewrapPass(ctx context.Context, s *store.Store, vault tenant.Vault, by audit.Party, homes []uuid.UUID, before int64, progress func(Rewrapping)) (Rewrapping, error) {
	r := Rewrapping{Rewrapped: before}
	var failed []error
	for after := uuid.Nil; ; {
		var ids []uuid.UUID
		err := s.InPlatform(ctx, func(ctx context.Context, tx *store.PlatformTx) (err error) {
			if after == uuid.Nil {
				if r.Tenants, err = tx.TenantCount(ctx); err != nil {
					return err
				}
			}
			ids, err = tx.TenantIDs(ctx, control.TenantIDsParams{After: after, PageSize: rewrapPage})
			return err
		})
		if err != nil {
			return r, errors.Join(append(failed, fmt.Errorf("list tenants: %w", err))...)
		}
		listed, last := len(ids), len(ids) < rewrapPage
		if listed > 0 {
			after = ids[listed-1]
		}
		ids = slices.DeleteFunc(ids, func(id uuid.UUID) bool { return slices.Contains(homes, id) })
		r.Seen += int64(listed - len(ids))
		for _, id := range ids {
			done, err := rewrap(ctx, s, vault, id, by)
			if ctx.Err() != nil {
				return r, errors.Join(append(failed, ctx.Err())...)
			}
			r.Seen++
			if done {
				r.Rewrapped++
			}
			if err != nil {
				r.Left++
				failed = append(failed, fmt.Errorf("tenant %s: %w", id, err))
			}
		}
		if last && len(failed) == 0 && r.Rewrapped == before {
			for _, id := range homes {
				done, err := rewrap(ctx, s, vault, id, by)
				if done {
					r.Rewrapped++
				}
				if err != nil {
					r.Left++
					failed = append(failed, fmt.Errorf("tenant %s: %w", id, err))
				}
			}
		}
		progress(r)
		if last {
			return r, errors.Join(failed...)
		}
	}
}

// rewrap reports whether the tenant's data key was wrapped anew.
func rewrap(ctx context.Context, s *store.Store, vault tenant.Vault, id uuid.UUID, by audit.Party) (bool, error) {
	done := false
	err := s.InTenant(ctx, id, func(ctx context.Context, tx *store.Tx) error {
		from, err := vault.Rewrap(ctx, tx)
		if err != nil || from == "" {
			return err
		}
		done = true
		return audit.Record(ctx, tx, audit.Event{
			Type: audit.DataKeyRewrapped, Status: audit.Success, Actor: by, Target: audit.Thing("data_key", id.String()),
			Detail: map[string]string{"from": from, "to": vault.Master.ID()},
		})
	})
	return done && err == nil, err
}
