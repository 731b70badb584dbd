package platform

import (
	"context"

	"github.com/google/uuid"

	"parako/internal/session"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/tenant"
)

// Usage is what a tenant has of what a quota bounds. Its settings say for how long a session that is not used counts.
func Usage(ctx context.Context, s *store.Store, id uuid.UUID) (used tenant.Usage, err error) {
	all, err := settings.Platform(ctx, s)
	if err != nil {
		return used, err
	}
	err = s.ViewTenant(ctx, id, func(ctx context.Context, tx *store.Tx) error {
		set, err := settings.Load(ctx, tx, all)
		if err != nil {
			return err
		}
		idle := session.Policy{Idle: set.Security.Authentication.Session.Idle()}
		used, err = tenant.Used(ctx, tx, idle.IdleSince(tx.Now()))
		return err
	})
	return used, err
}
