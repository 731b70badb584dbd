package tenant

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"

	"parako/internal/dbsqlc"
	"parako/internal/dbsqlc/control"
	"parako/internal/problem"
	"parako/internal/store"
)

// Quota is what a tenant may have at most; nil: any number.
type Quota struct {
	Users   *int32 `json:"users"`
	Clients *int32 `json:"clients"`
}

// Unlimited is a bound that SetQuota takes away.
const Unlimited = -1

// Usage is what a tenant has.
type Usage struct {
	Users   int64 `json:"users"`
	Clients int64 `json:"clients"`
}

// SetQuota bounds what a tenant may have, and records it; what is nil stays. A tenant that has more keeps it, and gets no more.
func SetQuota(ctx context.Context, s *store.Store, slug string, q Quota, operator string) (Tenant, error) {
	t, err := BySlug(ctx, s, slug)
	switch {
	case err != nil:
		return Tenant{}, err
	case t.Slug == PlatformsSlug:
		return Tenant{}, ErrProtected
	}
	detail := map[string]string{}
	for name, n := range map[string]*int32{"users": q.Users, "clients": q.Clients} {
		switch {
		case n == nil:
		case *n < 0:
			detail[name] = "unlimited"
		default:
			detail[name] = strconv.Itoa(int(*n))
		}
	}
	var row control.Tenant
	err = s.InPlatform(ctx, func(ctx context.Context, tx *store.PlatformTx) error {
		row, err = tx.TenantSetQuota(ctx, control.TenantSetQuotaParams{ID: t.ID, MaxUsers: q.Users, MaxClients: q.Clients})
		if err != nil {
			return fmt.Errorf("set quota of tenant: %w", err)
		}
		return record(ctx, tx, t.ID, "tenant.quota_changed", operator, detail)
	})
	if errors.Is(err, store.ErrNotFound) {
		return Tenant{}, ErrChanged
	}
	if err != nil {
		return Tenant{}, err
	}
	return fromControl(row), nil
}

// RoomForUser is nil when tx's tenant may have one more person, and a problem of code quota_users otherwise. Where there is a quota,
// whoever else adds one waits for the end of tx, and it costs a count up to the quota; where there is none, one look at the tenant.
func RoomForUser(ctx context.Context, tx *store.Tx) error {
	quota, err := tx.TenantUserQuota(ctx, tx.Tenant())
	return room(ctx, quota, err, "users", func(ctx context.Context, upTo int64) (int64, error) {
		return tx.TenantUsers(ctx, dbsqlc.TenantUsersParams{TenantID: tx.Tenant(), UpTo: upTo})
	})
}

// RoomForClient is RoomForUser for applications, with the code quota_clients.
func RoomForClient(ctx context.Context, tx *store.Tx) error {
	quota, err := tx.TenantClientQuota(ctx, tx.Tenant())
	return room(ctx, quota, err, "clients", func(ctx context.Context, upTo int64) (int64, error) {
		return tx.TenantClients(ctx, dbsqlc.TenantClientsParams{TenantID: tx.Tenant(), UpTo: upTo})
	})
}

func room(ctx context.Context, quota int32, err error, what string, count func(context.Context, int64) (int64, error)) error {
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read quota: %w", err)
	}
	n, err := count(ctx, int64(quota))
	if err != nil {
		return fmt.Errorf("count %s: %w", what, err)
	}
	if n >= int64(quota) {
		message := fmt.Sprintf("The tenant has reached its quota of %d %s. Ask the platform's administrator to raise it.", quota, what)
		return problem.New(problem.Conflict, "quota_"+what, message)
	}
	return nil
}

// Used counts what a tenant has.
func Used(ctx context.Context, tx *store.Tx) (Usage, error) {
	users, err := tx.TenantUsers(ctx, dbsqlc.TenantUsersParams{TenantID: tx.Tenant(), UpTo: math.MaxInt64})
	if err != nil {
		return Usage{}, fmt.Errorf("count users: %w", err)
	}
	clients, err := tx.TenantClients(ctx, dbsqlc.TenantClientsParams{TenantID: tx.Tenant(), UpTo: math.MaxInt64})
	if err != nil {
		return Usage{}, fmt.Errorf("count clients: %w", err)
	}
	return Usage{Users: users, Clients: clients}, nil
}
