package tenant

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"parako/internal/dbsqlc"
	"parako/internal/dbsqlc/control"
	"parako/internal/problem"
	"parako/internal/store"
)

// Quota is what a tenant may have at most, and how much load it may cause; nil: any number.
type Quota struct {
	Users   *int32 `json:"users"`
	Clients *int32 `json:"clients"`
	// Sessions are the browsers that are signed in at once.
	Sessions *int32 `json:"sessions"`
	// RequestsPerSecond is what each instance of the server takes, 1 to MaxRequestsPerSecond.
	RequestsPerSecond *int32 `json:"requests_per_second"`
	// MailsPerHour may be sent in the tenant's name.
	MailsPerHour *int32 `json:"mails_per_hour"`
}

// Bound is one of the bounds of a quota.
type Bound struct {
	// Name is that of the quota in JSON.
	Name string
	// Most is what it is; nil: there is none.
	Most *int32
}

// Bounds lists them in the order they are shown.
func (q Quota) Bounds() []Bound {
	return []Bound{
		{"users", q.Users},
		{"clients", q.Clients},
		{"sessions", q.Sessions},
		{"requests_per_second", q.RequestsPerSecond},
		{"mails_per_hour", q.MailsPerHour},
	}
}

// MaxRequestsPerSecond is the largest quota of requests.
const MaxRequestsPerSecond = 1_000_000

// ErrRequestQuota refuses a quota of requests that is none.
var ErrRequestQuota = problem.New(problem.Invalid, "quota_range", "A quota of requests is 1 to 1000000 in a second. To serve none at all, suspend the tenant.")

// ErrQuotaRequests says that a tenant has as many requests in a second as it may.
var ErrQuotaRequests = problem.New(problem.TooMany, "quota_requests",
	"The tenant has reached its quota of requests. Try again later; if it goes on, ask the platform's administrator to raise it.")

// Unlimited is a bound that SetQuota takes away.
const Unlimited = -1

// Usage is what a tenant has.
type Usage struct {
	Users    int64 `json:"users"`
	Clients  int64 `json:"clients"`
	Sessions int64 `json:"sessions"`
}

// SetQuota bounds what a tenant may have, and records it; what is nil stays. A tenant that has more keeps it, and gets no more.
// revision is what the tenant's must be; nil: any.
func SetQuota(ctx context.Context, s *store.Store, slug string, q Quota, revision *int64, operator string) (Tenant, error) {
	t, err := BySlug(ctx, s, slug)
	switch {
	case err != nil:
		return Tenant{}, err
	case t.Slug == PlatformsSlug:
		return Tenant{}, ErrProtected
	case q.RequestsPerSecond != nil && (*q.RequestsPerSecond == 0 || *q.RequestsPerSecond > MaxRequestsPerSecond):
		return Tenant{}, ErrRequestQuota
	}
	detail := map[string]string{}
	for _, b := range q.Bounds() {
		switch {
		case b.Most == nil:
		case *b.Most < 0:
			detail[b.Name] = "unlimited"
		default:
			detail[b.Name] = strconv.Itoa(int(*b.Most))
		}
	}
	var row control.Tenant
	err = s.InPlatform(ctx, func(ctx context.Context, tx *store.PlatformTx) error {
		row, err = tx.TenantSetQuota(ctx, control.TenantSetQuotaParams{
			ID: t.ID, MaxUsers: q.Users, MaxClients: q.Clients, MaxSessions: q.Sessions, MaxRequestsPerSecond: q.RequestsPerSecond,
			MaxMailsPerHour: q.MailsPerHour, Revision: revision,
		})
		if err != nil {
			return fmt.Errorf("set quota of tenant: %w", err)
		}
		return record(ctx, tx, t.ID, "tenant.quota_changed", operator, detail)
	})
	return changed(row, revision, err)
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

// RoomForSession is RoomForUser for sessions that were used since a moment, with the code quota_sessions. The new session is in tx
// already, and so is the end of those that had to make room for it.
func RoomForSession(ctx context.Context, tx *store.Tx, usedSince time.Time) error {
	quota, err := tx.TenantSessionQuota(ctx, tx.Tenant())
	return room(ctx, quota, err, "sessions", func(ctx context.Context, upTo int64) (int64, error) {
		n, err := tx.TenantSessions(ctx, dbsqlc.TenantSessionsParams{TenantID: tx.Tenant(), UsedSince: usedSince, UpTo: upTo + 1})
		return n - 1, err
	})
}

// OverQuota names the quota of which err says that it is reached; empty: none.
func OverQuota(err error) string {
	p, ok := errors.AsType[*problem.Error](err)
	if !ok || p.Kind != problem.Conflict {
		return ""
	}
	name, _ := strings.CutPrefix(p.Code, quotaPrefix)
	if name == p.Code {
		return ""
	}
	return name
}

// quotaPrefix begins the codes of refusals for a quota.
const quotaPrefix = "quota_"

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
		return problem.New(problem.Conflict, quotaPrefix+what, message)
	}
	return nil
}

// Used counts what a tenant has. Sessions are those that were used since a moment.
func Used(ctx context.Context, tx *store.Tx, usedSince time.Time) (u Usage, err error) {
	if u.Users, err = tx.TenantUsers(ctx, dbsqlc.TenantUsersParams{TenantID: tx.Tenant(), UpTo: math.MaxInt64}); err != nil {
		return Usage{}, fmt.Errorf("count users: %w", err)
	}
	if u.Clients, err = tx.TenantClients(ctx, dbsqlc.TenantClientsParams{TenantID: tx.Tenant(), UpTo: math.MaxInt64}); err != nil {
		return Usage{}, fmt.Errorf("count clients: %w", err)
	}
	u.Sessions, err = tx.TenantSessions(ctx, dbsqlc.TenantSessionsParams{TenantID: tx.Tenant(), UsedSince: usedSince, UpTo: math.MaxInt64})
	if err != nil {
		return Usage{}, fmt.Errorf("count sessions: %w", err)
	}
	return u, nil
}
