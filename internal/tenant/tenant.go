// Package tenant owns what a tenant is, how a request finds its tenant, and how the tenant travels in a context. It keeps
// the tenants it has met in memory, and forgets a tenant as soon as its revision changes ([Registry]); it also opens a
// tenant's data key ([Vault]).
//
// It refuses to guess: a request that names no tenant gets none in production, one that names two that differ is an error,
// and a header counts only when a trusted proxy sent it. Start reading at [Resolver.Resolve].
package tenant

import (
	"context"
	"encoding/json"
	"regexp"
	"time"

	"github.com/google/uuid"

	"parako/internal/dbsqlc"
)

// Status says whether a tenant is served.
type Status string

// The statuses of a tenant. Only active ones are served.
const (
	Active    Status = "active"
	Suspended Status = "suspended"
	Archived  Status = "archived"
)

// The special tenants. Default and Ops are built in; Platforms is a row like any other, created at the first start.
const (
	DefaultSlug   = "default"
	OpsSlug       = "_ops"
	PlatformsSlug = "_platforms"
)

// DefaultID anchors the rows of the built-in tenant; migration 00002 inserts it.
var DefaultID = uuid.MustParse("00000000-0000-4000-8000-000000000001")

// Tenant is an organisation. It is a value: whoever holds one holds it as it was at its Revision.
type Tenant struct {
	ID          uuid.UUID `json:"id"`
	Slug        string    `json:"slug"`
	DisplayName string    `json:"display_name"`
	Status      Status    `json:"status"`
	// Domain is the tenant's own host name; empty when it lives under the base domain.
	Domain string `json:"domain,omitempty"`
	// IssuerURL overrides the computed issuer, verbatim. Usually empty.
	IssuerURL string `json:"issuer_url,omitempty"`
	// Revision rises with every change of settings, keys, domain or status.
	Revision int64 `json:"revision"`
	// PlatformRevision rises with every change of what the platform has set for all tenants.
	PlatformRevision int64 `json:"-"`
	// DeleteAfter is when the tenant is removed, if that was asked for.
	DeleteAfter *time.Time `json:"delete_after,omitempty"`
	// Importing says that it is about to be filled, and is removed then unless it has been.
	Importing bool      `json:"-"`
	Quota     Quota     `json:"quota"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// NewerThan reports whether t is a later state than o of the same tenant.
func (t Tenant) NewerThan(o Tenant) bool {
	return t.Revision > o.Revision || t.PlatformRevision > o.PlatformRevision
}

// Ops is the stateless gateway's tenant. It has no row, and no transaction can be opened for it.
func Ops() Tenant { return Tenant{Slug: OpsSlug, DisplayName: "Operations", Status: Active} }

// FromRow makes a Tenant of its row.
func FromRow(r dbsqlc.Tenant) Tenant {
	t := Tenant{
		ID: r.ID, Slug: r.Slug, DisplayName: r.DisplayName, Status: Status(r.Status),
		Revision: r.Revision, DeleteAfter: r.DeleteAfter, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
		Quota: Quota{
			Users: r.MaxUsers, Clients: r.MaxClients, Sessions: r.MaxSessions, RequestsPerSecond: r.MaxRequestsPerSecond, MailsPerHour: r.MaxMailsPerHour,
		},
	}
	if r.Domain != nil {
		t.Domain = *r.Domain
	}
	if r.IssuerURL != nil {
		t.IssuerURL = *r.IssuerURL
	}
	if r.DeleteAfter != nil {
		var deletion struct {
			Provisioning bool `json:"provisioning"`
		}
		_ = json.Unmarshal(r.Deletion, &deletion) // It is jsonb.
		t.Importing = deletion.Provisioning
	}
	return t
}

var (
	slugFormat = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

	// reserved slugs would shadow the product's own hosts or look like them.
	reserved = map[string]bool{
		DefaultSlug: true, "_system": true, "admin": true, "api": true, "auth": true, "login": true, "static": true,
		"www": true, "mail": true, "status": true, "localhost": true,
		"new":      true, // its page among the platform's would be the one for a new tenant
		"canary-a": true, "canary-b": true,
	}
)

// ValidSlug reports whether slug may appear in a host or header: the format of a tenant's slug, or a special tenant.
func ValidSlug(slug string) bool {
	return slugFormat.MatchString(slug) || slug == OpsSlug || slug == PlatformsSlug
}

type ctxKey struct{}

// With returns a context that carries the tenant of the request.
func With(ctx context.Context, t Tenant) context.Context {
	return context.WithValue(ctx, ctxKey{}, t)
}

// From is the tenant of the request. It panics when there is none: a handler behind the resolver that runs without a
// tenant is a bug that must not reach data.
func From(ctx context.Context) Tenant {
	t, ok := Lookup(ctx)
	if !ok {
		panic("tenant: no tenant in context")
	}
	return t
}

// Lookup is From for code that also runs before resolution, such as error pages.
func Lookup(ctx context.Context) (Tenant, bool) {
	t, ok := ctx.Value(ctxKey{}).(Tenant)
	return t, ok
}
