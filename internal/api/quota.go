package api

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"math"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"parako/internal/platform"
	"parako/internal/ratelimit"
	"parako/internal/tenant"
)

// What tenants may have, for clients of the platform's own tenant. The members are those of [tenant.Quota] and [tenant.Usage];
// nothing here names them.

// TenantQuota is what a tenant may have at most, and what it has.
type TenantQuota struct {
	Quota tenant.Quota `json:"quota" doc:"What it may have at most; null: any number."`
	Usage tenant.Usage `json:"usage" doc:"What it has."`
}

func (h *Handler) mountQuota(a huma.API) {
	missing := newProblem(http.StatusNotFound, "tenant-not-found", tenant.ErrUnknown.Message)
	const path = "/tenants/{slug}/quota"
	register(h, a, operation{
		id: "getTenantQuota", method: http.MethodGet, path: path, scope: tenantsRead, limit: ratelimit.APIRead(), status: http.StatusOK,
		summary: "Read a tenant's quota", description: "Answers with what the tenant may have and what it has.", refusals: []*Problem{missing},
	}, h.getQuota)
	write := operation{
		path: path, scope: tenantsWrite, limit: ratelimit.APIWrite(), status: http.StatusOK, refusals: []*Problem{
			missing, refuse(tenant.ErrProtected), stale(), invalid(FieldError{Field: "users", Message: "expected number >= 0"}),
		},
	}
	put, patch := write, write
	put.id, put.method, put.summary = "putTenantQuota", http.MethodPut, "Replace a tenant's quota"
	put.description = "What the body leaves out, or says null of, is unlimited. A tenant that has more keeps it, and gets no more."
	register(h, a, put, h.putQuota)
	patch.id, patch.method, patch.summary = "patchTenantQuota", http.MethodPatch, "Change a tenant's quota"
	patch.description = "What the body leaves out stays, and null is unlimited. A tenant that has more keeps it, and gets no more."
	register(h, a, patch, h.patchQuota)
}

// QuotaChange is a quota of which any member may be left out.
type QuotaChange map[string]*int32

// Schema implements huma.SchemaProvider.
func (QuotaChange) Schema(r huma.Registry) *huma.Schema {
	s := *huma.SchemaFromType(r, reflect.TypeFor[tenant.Quota]())
	s.Properties = maps.Clone(s.Properties)
	s.Required = nil
	least, most := 0.0, float64(math.MaxInt32)
	for name, member := range s.Properties {
		bounded := *member
		bounded.Minimum, bounded.Maximum, bounded.Nullable = &least, &most, true
		bounded.PrecomputeMessages()
		s.Properties[name] = &bounded
	}
	s.PrecomputeMessages()
	return &s
}

// quota is what SetQuota makes the change of, where a member that is left out stays.
func (c QuotaChange) quota() (q tenant.Quota, err error) {
	bounds := map[string]int32{}
	for name, most := range c {
		if bounds[name] = tenant.Unlimited; most != nil {
			bounds[name] = *most
		}
	}
	return q, recast(bounds, &q)
}

// whole adds what the change leaves out, as unlimited.
func (c QuotaChange) whole() (QuotaChange, error) {
	all := QuotaChange{}
	if err := recast(tenant.Quota{}, &all); err != nil {
		return nil, err
	}
	maps.Copy(all, c)
	return all, nil
}

// recast reads as to what from is as JSON.
func recast(from, to any) error {
	text, err := json.Marshal(from)
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	return d.Decode(to)
}

type quotaInput struct {
	OneTenantInput
	Conditional
	Body QuotaChange
}

func (h *Handler) getQuota(ctx context.Context, in *OneTenantInput) (*Single[TenantQuota], error) {
	t, err := tenant.BySlug(ctx, h.deps.Store, strings.ToLower(in.Slug))
	if err != nil {
		return nil, err
	}
	return h.showQuota(ctx, t)
}

func (h *Handler) showQuota(ctx context.Context, t tenant.Tenant) (*Single[TenantQuota], error) {
	out := &Single[TenantQuota]{ETag: etag(t.ID, t.Revision)}
	out.Body.Data.Quota = t.Quota
	var err error
	out.Body.Data.Usage, err = platform.Usage(ctx, h.deps.Store, t.ID)
	return out, err
}

func (h *Handler) putQuota(ctx context.Context, in *quotaInput) (*Single[TenantQuota], error) {
	whole, err := in.Body.whole()
	if err != nil {
		return nil, err
	}
	return h.setQuota(ctx, in, whole)
}

func (h *Handler) patchQuota(ctx context.Context, in *quotaInput) (*Single[TenantQuota], error) {
	return h.setQuota(ctx, in, in.Body)
}

func (h *Handler) setQuota(ctx context.Context, in *quotaInput, change QuotaChange) (*Single[TenantQuota], error) {
	who := callerOf(ctx)
	before, err := h.expect(ctx, in.Slug, in.Conditional)
	if err != nil {
		return nil, err
	}
	quota, err := change.quota()
	if err != nil {
		return nil, err
	}
	t, err := tenant.SetQuota(ctx, h.deps.Store, before.Slug, quota, in.at(before.Revision), who.operator())
	if err != nil {
		return nil, err
	}
	tell(who, t, nil)
	return h.showQuota(ctx, t)
}
