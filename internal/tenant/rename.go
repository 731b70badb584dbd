package tenant

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"parako/internal/dbsqlc/control"
	"parako/internal/problem"
	"parako/internal/store"
)

// ErrRevision refuses a change of a tenant that somebody else has changed in the meantime.
var ErrRevision = problem.New(problem.Stale, "precondition_failed", "The tenant has changed since it was read. Read it again and repeat the change.")

// Rename changes the display name of a tenant and records it. With a revision it does so only while the tenant is at it:
// ErrRevision otherwise. ErrUnknown: there is no such tenant; ErrProtected: it is the platform's own; ErrDisplayName: the name
// is empty or too long.
func Rename(ctx context.Context, s *store.Store, slug, displayName string, revision *int64, operator string) (Tenant, error) {
	displayName = strings.TrimSpace(displayName)
	if displayName == "" || utf8.RuneCountInString(displayName) > maxDisplayName {
		return Tenant{}, ErrDisplayName
	}
	before, err := BySlug(ctx, s, slug)
	if err != nil {
		return Tenant{}, err
	}
	if before.Slug == PlatformsSlug {
		return Tenant{}, ErrProtected
	}
	var row control.Tenant
	err = s.InPlatform(ctx, func(ctx context.Context, tx *store.PlatformTx) (err error) {
		row, err = tx.TenantRename(ctx, control.TenantRenameParams{ID: before.ID, DisplayName: displayName, Revision: revision})
		if err != nil {
			return fmt.Errorf("rename tenant: %w", err)
		}
		return record(ctx, tx, before.ID, "tenant.changed", operator, map[string]string{"changed": "display_name"})
	})
	switch {
	case errors.Is(err, store.ErrNotFound) && revision == nil:
		return Tenant{}, ErrUnknown
	case errors.Is(err, store.ErrNotFound):
		return Tenant{}, ErrRevision
	case err != nil:
		return Tenant{}, err
	}
	return fromControl(row), nil
}

// Count is how many tenants [List] lists. An empty status counts all.
func Count(ctx context.Context, s *store.Store, status Status) (int64, error) {
	var filter *string
	if status != "" {
		filter = (*string)(&status)
	}
	var n int64
	err := s.InPlatform(ctx, func(ctx context.Context, tx *store.PlatformTx) (err error) {
		n, err = tx.TenantCount(ctx, filter)
		return err
	})
	return n, err
}
