package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"parako/internal/audit"
	"parako/internal/ratelimit"
	"parako/internal/tenant"
)

// The host names of tenants, for clients of the platform's own tenant.

func (h *Handler) mountDomains(a huma.API) {
	missing := newProblem(http.StatusNotFound, "tenant-not-found", tenant.ErrUnknown.Message)
	malformed := refuse(tenant.ErrDomainFormat)
	const all, one = "/tenants/{slug}/domains", "/tenants/{slug}/domains/{domain}"
	write := func(o operation) operation {
		if o.scope, o.limit = tenantsWrite, ratelimit.APIWrite(); o.method == http.MethodDelete {
			o.limit = ratelimit.APIDelete()
		}
		if o.status == 0 {
			o.status = http.StatusOK
		}
		o.refusals = append(o.refusals, missing, malformed)
		return o
	}
	register(h, a, operation{
		id: "listTenantDomains", method: http.MethodGet, path: all, scope: tenantsRead, limit: ratelimit.APIRead(), status: http.StatusOK,
		summary: "List a tenant's domains", description: "Lists what the tenant claims, and what it has released lately.", refusals: []*Problem{missing},
	}, h.listDomains)
	register(h, a, write(operation{
		id: "addTenantDomain", method: http.MethodPost, path: all, status: http.StatusCreated, summary: "Claim a domain for a tenant",
		description: "Answers with the TXT record that proves the claim. A claim that is there already, and pending, is answered as it is.",
		refusals:    []*Problem{refuse(tenant.ErrDomainClaimed)},
	}), h.addDomain)
	register(h, a, write(operation{
		id: "checkTenantDomain", method: http.MethodPost, path: one + "/check", summary: "Look for the record of a domain now",
		description: "When the record is there, the domain leads to the tenant from now on.", refusals: []*Problem{refuse(tenant.ErrDomainUnproven)},
	}), h.checkDomain)
	register(h, a, write(operation{
		id: "releaseTenantDomain", method: http.MethodDelete, path: one, summary: "Release a domain",
		description: "The domain stops leading to the tenant. For a while only the same tenant can claim it again.", refusals: []*Problem{refuse(tenant.ErrDomainPrimary)},
	}), h.releaseDomain)
	register(h, a, write(operation{
		id: "setTenantPrimaryDomain", method: http.MethodPut, path: "/tenants/{slug}/primary-domain", summary: "Move a tenant's issuer to a domain",
		description: "The domain is one of the tenant's that is verified; null: the tenant's host below the base domain. Applications have to be " +
			"configured with the new issuer; tokens and sessions of the old host count no more.",
		refusals: []*Problem{refuse(tenant.ErrDomainPending), stale()},
	}), h.setPrimaryDomain)
}

type domainList struct {
	Body struct {
		Data []tenant.Domain `json:"data"`
	}
}

type oneDomain struct {
	Body struct {
		Data tenant.Domain `json:"data"`
	}
}

// OneDomainInput names a domain of a tenant in the path.
type OneDomainInput struct {
	OneTenantInput
	Domain string `path:"domain" doc:"The host name." example:"login.acme.example"`
}

func (h *Handler) listDomains(ctx context.Context, in *OneTenantInput) (*domainList, error) {
	t, err := tenant.BySlug(ctx, h.deps.Store, strings.ToLower(in.Slug))
	if err != nil {
		return nil, err
	}
	out := &domainList{}
	out.Body.Data, err = h.deps.Domains.Domains(ctx, t.ID)
	return out, err
}

type addDomainInput struct {
	OneTenantInput
	Body struct {
		Domain string `json:"domain" doc:"A host name, without scheme, port or path." example:"login.acme.example"`
	}
}

func (h *Handler) addDomain(ctx context.Context, in *addDomainInput) (*oneDomain, error) {
	return h.onDomain(ctx, OneDomainInput{in.OneTenantInput, in.Body.Domain}, func(t tenant.Tenant, by audit.Party) (tenant.Domain, error) {
		return h.deps.Domains.AddDomain(ctx, t.ID, in.Body.Domain, by)
	})
}

func (h *Handler) checkDomain(ctx context.Context, in *OneDomainInput) (*oneDomain, error) {
	return h.onDomain(ctx, *in, func(t tenant.Tenant, by audit.Party) (tenant.Domain, error) {
		return h.deps.Domains.VerifyDomain(ctx, t.ID, in.Domain, by)
	})
}

func (h *Handler) releaseDomain(ctx context.Context, in *OneDomainInput) (*oneDomain, error) {
	return h.onDomain(ctx, *in, func(t tenant.Tenant, by audit.Party) (tenant.Domain, error) {
		return h.deps.Domains.ReleaseDomain(ctx, t.ID, in.Domain, by)
	})
}

// onDomain does something to a domain and answers with what has become of it.
func (h *Handler) onDomain(ctx context.Context, in OneDomainInput, do func(tenant.Tenant, audit.Party) (tenant.Domain, error)) (*oneDomain, error) {
	who := callerOf(ctx)
	t, err := tenant.BySlug(ctx, h.deps.Store, strings.ToLower(in.Slug))
	if err != nil {
		return nil, err
	}
	out := &oneDomain{}
	if out.Body.Data, err = do(t, audit.Operator(who.operator())); err != nil {
		return nil, err
	}
	tell(who, t, map[string]string{"domain": out.Body.Data.Name, "state": string(out.Body.Data.State)})
	return out, nil
}

type primaryDomainInput struct {
	OneTenantInput
	Conditional
	Body struct {
		Domain *string `json:"domain" doc:"The host name; null: none." example:"login.acme.example"`
	}
}

func (h *Handler) setPrimaryDomain(ctx context.Context, in *primaryDomainInput) (*Single[Tenant], error) {
	who := callerOf(ctx)
	t, err := h.expect(ctx, in.Slug, in.Conditional)
	if err != nil {
		return nil, err
	}
	name := ""
	if in.Body.Domain != nil {
		if name = *in.Body.Domain; name == "" {
			return nil, tenant.ErrDomainFormat // Only null says that there is to be none.
		}
	}
	if t, err = h.deps.Domains.SetPrimaryDomain(ctx, t.ID, name, in.at(t.Revision), audit.Operator(who.operator())); err != nil {
		return nil, err
	}
	tell(who, t, map[string]string{"domain": t.Domain})
	return h.answerTenant(t), nil
}
