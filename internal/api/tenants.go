package api

import (
	"context"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"parako/internal/audit"
	"parako/internal/oidc"
	"parako/internal/ratelimit"
	"parako/internal/tenant"
)

// The tenants of the deployment, for clients of the platform's own tenant.

const (
	tenantsRead  = "parako:tenants:read"
	tenantsWrite = "parako:tenants:write"

	tenantsList = "tenants"
)

// Tenant is a tenant as the API shows it.
type Tenant struct {
	ID          string    `json:"id" format:"uuid"`
	Slug        string    `json:"slug" doc:"The label of the tenant in host names." example:"acme"`
	DisplayName string    `json:"display_name" example:"Acme"`
	Domain      string    `json:"domain,omitempty" doc:"The tenant's own host name, when it does not live under the base domain." example:"login.acme.example"`
	Status      string    `json:"status" enum:"active,suspended,archived" doc:"Only an active tenant is served."`
	IssuerURL   string    `json:"issuer_url" doc:"The issuer of the tenant's tokens." example:"https://acme.id.example.com/oidc/v1"`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
	// DeleteAfter is left out while nobody has asked for its end.
	DeleteAfter *time.Time `json:"delete_after,omitempty" doc:"When the tenant is to be erased. Until then it can be restored."`
}

func (h *Handler) mountTenants(a huma.API) {
	missing := newProblem(http.StatusNotFound, "tenant-not-found", tenant.ErrUnknown.Message)
	invalidName := invalid(FieldError{Field: "display_name", Message: tenant.ErrDisplayName.Message})
	taken := newProblem(http.StatusConflict, "conflict", tenant.ErrSlugTaken.Message)
	protected := newProblem(http.StatusConflict, "conflict", tenant.ErrProtected.Message)
	register(h, a, operation{
		id: "listTenants", method: http.MethodGet, path: "/tenants", scope: tenantsRead, limit: ratelimit.APIRead(), status: http.StatusOK, paged: true,
		summary: "List tenants", description: "Lists the tenants of the deployment by their slugs, page by page.",
		refusals: []*Problem{invalid(FieldError{Field: "after", Message: messageCursor})},
	}, h.listTenants)
	register(h, a, operation{
		id: "createTenant", method: http.MethodPost, path: "/tenants", scope: tenantsWrite, limit: ratelimit.APIWrite(), status: http.StatusCreated,
		summary: "Create a tenant", description: "Creates a tenant, which is served from then on. Its signing keys are made when it is first used. " +
			"Whoever names a domain vouches for it.",
		refusals: []*Problem{taken, invalidName},
	}, h.createTenant)
	register(h, a, operation{
		id: "getTenant", method: http.MethodGet, path: "/tenants/{slug}", scope: tenantsRead, limit: ratelimit.APIRead(), status: http.StatusOK,
		summary: "Read a tenant", description: "Answers with the tenant and, as ETag, the state it is in.", refusals: []*Problem{missing},
	}, h.getTenant)
	register(h, a, operation{
		id: "changeTenant", method: http.MethodPatch, path: "/tenants/{slug}", scope: tenantsWrite, limit: ratelimit.APIWrite(), status: http.StatusOK,
		summary: "Change a tenant", description: "Changes what the body names and leaves the rest. The platform's own tenant cannot be changed.",
		refusals: []*Problem{missing, protected, stale(), invalidName, refuse(tenant.ErrIssuerTaken)},
	}, h.changeTenant)
	register(h, a, operation{
		id: "setTenantStatus", method: http.MethodPut, path: "/tenants/{slug}/status", scope: tenantsWrite, limit: ratelimit.APIWrite(), status: http.StatusOK,
		summary: "Suspend, archive or reactivate a tenant", description: "Every server acts on the new status within 5 seconds. " +
			"A tenant that is not active is refused everything, its people, its applications and this API included.",
		refusals: []*Problem{missing, protected, stale(), invalid(FieldError{Field: "status", Message: "expected value to be one of \"active, suspended, archived\""})},
	}, h.setTenantStatus)
}

type listTenantsInput struct {
	Paging
	Status string `query:"status" enum:"active,suspended,archived" doc:"Only tenants of this status."`
}

func (h *Handler) listTenants(ctx context.Context, in *listTenantsInput) (*List[Tenant], error) {
	who := callerOf(ctx)
	after, err := h.readCursor(who, tenantsList, in.After)
	if err != nil {
		return nil, err
	}
	rows, err := tenant.List(ctx, h.deps.Store, tenant.Status(in.Status), after["slug"], int32(in.size()+1))
	if err != nil {
		return nil, err
	}
	out := &List[Tenant]{}
	rows, out.Body.Pagination = cut(rows, in.size(), func(t tenant.Tenant) string {
		return h.cursor(who, tenantsList, map[string]string{"slug": t.Slug, "id": t.ID.String()})
	})
	out.Body.Data = make([]Tenant, len(rows))
	for i, t := range rows {
		out.Body.Data[i] = h.show(t)
	}
	if in.IncludeCount {
		statuses := []tenant.Status{tenant.Active, tenant.Suspended, tenant.Archived}
		if in.Status != "" {
			statuses = []tenant.Status{tenant.Status(in.Status)}
		}
		counts, err := tenant.Count(ctx, h.deps.Store, statuses, math.MaxInt32)
		if err != nil {
			return nil, err
		}
		var total int64
		for _, n := range counts {
			total += n
		}
		out.Body.Pagination.TotalCount = &total
	}
	return out, nil
}

type createTenantInput struct {
	Body struct {
		Slug        string `json:"slug" doc:"1 to 63 lower-case letters, digits, hyphens and underscores; begins with a letter or digit. Some are reserved." example:"acme"`
		DisplayName string `json:"display_name" doc:"1 to 255 characters on one line." example:"Acme"`
		Domain      string `json:"domain,omitempty" doc:"The tenant's own host name, without scheme, port or path." example:"login.acme.example"`
	}
}

type createdTenant struct {
	ETag     string `header:"ETag" doc:"The state of the tenant, for If-Match."`
	Location string `header:"Location" doc:"Where the tenant can be read."`
	Body     struct {
		Data Tenant `json:"data"`
	}
}

func (h *Handler) createTenant(ctx context.Context, in *createTenantInput) (*createdTenant, error) {
	who := callerOf(ctx)
	t, err := tenant.Create(ctx, h.deps.Store, tenant.New{
		Slug: in.Body.Slug, DisplayName: in.Body.DisplayName, Domain: in.Body.Domain, Base: h.deps.Base, Operator: who.operator(),
	})
	if err != nil {
		return nil, err
	}
	tell(who, t, nil)
	out := &createdTenant{ETag: etag(t.ID, t.Revision), Location: Mount + "/tenants/" + t.Slug}
	out.Body.Data = h.show(t)
	return out, nil
}

// OneTenantInput names a tenant in the path.
type OneTenantInput struct {
	Slug string `path:"slug" doc:"The tenant's slug."`
}

func (h *Handler) getTenant(ctx context.Context, in *OneTenantInput) (*Single[Tenant], error) {
	t, err := tenant.BySlug(ctx, h.deps.Store, strings.ToLower(in.Slug))
	if err != nil {
		return nil, err
	}
	return h.answerTenant(t), nil
}

type changeTenantInput struct {
	OneTenantInput
	Conditional
	Body struct {
		DisplayName *string `json:"display_name,omitempty" doc:"1 to 255 characters on one line."`
		IssuerURL   *string `json:"issuer_url,omitempty" doc:"The issuer, verbatim; empty: that of the tenant's host again. Applications have to be configured with it, and tokens of the former one count no more."`
	}
}

var errNothing = invalid(FieldError{Field: "(root)", Message: "must name what to change: display_name or issuer_url"})

func (h *Handler) changeTenant(ctx context.Context, in *changeTenantInput) (*Single[Tenant], error) {
	who := callerOf(ctx)
	before, err := h.expect(ctx, in.Slug, in.Conditional)
	if err != nil {
		return nil, err
	}
	if in.Body.DisplayName == nil && in.Body.IssuerURL == nil {
		return nil, errNothing
	}
	t, err := tenant.Update(ctx, h.deps.Store, before.Slug, tenant.Changes{
		DisplayName: in.Body.DisplayName, IssuerURL: in.Body.IssuerURL, Base: h.deps.Base, Revision: in.at(before.Revision), Operator: who.operator(),
	})
	if err != nil {
		return nil, err
	}
	tell(who, t, nil)
	return h.answerTenant(t), nil
}

type setTenantStatusInput struct {
	OneTenantInput
	Conditional
	Body struct {
		Status string `json:"status" enum:"active,suspended,archived"`
		Reason string `json:"reason,omitempty" maxLength:"500" doc:"Why, for the audit trail."`
	}
}

func (h *Handler) setTenantStatus(ctx context.Context, in *setTenantStatusInput) (*Single[Tenant], error) {
	who := callerOf(ctx)
	before, err := h.expect(ctx, in.Slug, in.Conditional)
	if err != nil {
		return nil, err
	}
	t, err := tenant.SetStatusAt(ctx, h.deps.Store, before.Slug, tenant.Status(in.Body.Status), in.at(before.Revision), who.operator())
	if err != nil {
		return nil, err
	}
	detail := map[string]string{"from": string(before.Status), "to": string(t.Status)}
	if in.Body.Reason != "" {
		detail["reason"] = in.Body.Reason
	}
	tell(who, t, detail)
	return h.answerTenant(t), nil
}

// stale is what a change is answered with whose If-Match is out of date.
func stale() *Problem {
	return newProblem(http.StatusPreconditionFailed, "precondition-failed", tenant.ErrRevision.Message)
}

// expect finds the tenant that is to be changed, in the state that the caller expects.
func (h *Handler) expect(ctx context.Context, slug string, c Conditional) (tenant.Tenant, error) {
	t, err := tenant.BySlug(ctx, h.deps.Store, strings.ToLower(slug))
	if err == nil && !c.matches(etag(t.ID, t.Revision)) {
		err = tenant.ErrRevision
	}
	return t, err
}

// tell has the record of the call name the tenant.
func tell(who *caller, t tenant.Tenant, detail map[string]string) {
	who.changed(audit.Thing("tenant", t.ID.String()), detail)
}

func (h *Handler) answerTenant(t tenant.Tenant) *Single[Tenant] {
	out := &Single[Tenant]{ETag: etag(t.ID, t.Revision)}
	out.Body.Data = h.show(t)
	return out
}

func (h *Handler) show(t tenant.Tenant) Tenant {
	shown := Tenant{
		ID: t.ID.String(), Slug: t.Slug, DisplayName: t.DisplayName, Domain: t.Domain, Status: string(t.Status),
		IssuerURL: t.Issuer(h.deps.Base, oidc.Mount), CreatedAt: t.CreatedAt.UTC(), UpdatedAt: t.UpdatedAt.UTC(),
	}
	if t.DeleteAfter != nil {
		after := t.DeleteAfter.UTC()
		shown.DeleteAfter = &after
	}
	return shown
}
