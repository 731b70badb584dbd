package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"parako/internal/keyring"
	"parako/internal/ratelimit"
	"parako/internal/store"
	"parako/internal/tenant"
)

// The end of tenants, for clients of the platform's own tenant.

const tenantsDelete = "parako:tenants:delete"

func (h *Handler) mountLife(a huma.API) {
	missing := newProblem(http.StatusNotFound, "tenant-not-found", tenant.ErrUnknown.Message)
	register(h, a, operation{
		id: "deleteTenant", method: http.MethodDelete, path: "/tenants/{slug}", scope: tenantsDelete, limit: ratelimit.APIDelete(), status: http.StatusAccepted,
		summary: "Delete a tenant", description: "Has an archived tenant erased with everything it has, after delete_after, within seconds to minutes. " +
			"Until then it can be restored. What remains is a certificate.",
		refusals: []*Problem{
			missing, refuse(tenant.ErrNotArchived), stale(),
			errConfirm,
		},
	}, h.deleteTenant)
	register(h, a, operation{
		id: "restoreTenant", method: http.MethodPost, path: "/tenants/{slug}/restore", scope: tenantsWrite, limit: ratelimit.APIWrite(), status: http.StatusOK,
		summary: "Restore a tenant that is to be deleted", description: "The tenant stays archived.",
		refusals: []*Problem{missing, refuse(tenant.ErrNotDeleting), stale()},
	}, h.restoreTenant)
	register(h, a, operation{
		id: "getDeletionCertificate", method: http.MethodGet, path: "/tenants/{slug}/certificate", scope: tenantsRead, limit: ratelimit.APIRead(), status: http.StatusOK,
		summary: "Read the certificate of a deletion", description: "Of several tenants that had the slug it is the last one's.",
		refusals: []*Problem{errNoCertificate},
	}, h.getCertificate)
}

// errConfirm refuses what nothing can be restored after, unless the tenant is named twice.
var errConfirm = invalid(FieldError{Field: "confirm", Message: "must be the slug again, because nothing can be restored after this"})

var errNoCertificate = newProblem(http.StatusNotFound, "not-found", "There is no certificate of such a deletion.")

type deleteTenantInput struct {
	OneTenantInput
	Conditional
	GraceDays int    `query:"grace_days" minimum:"0" maximum:"3660" default:"30" doc:"For how many days it can be restored; 0 needs confirm."`
	Confirm   string `query:"confirm" maxLength:"63" doc:"The slug again, when there is no grace."`
	Archive   bool   `query:"archive" doc:"Archive it, when it is not archived yet."`
	Reason    string `query:"reason" maxLength:"500" doc:"Why, for the audit trail."`
}

func (h *Handler) deleteTenant(ctx context.Context, in *deleteTenantInput) (*Single[Tenant], error) {
	who := callerOf(ctx)
	before, err := h.expect(ctx, in.Slug, in.Conditional)
	if err != nil {
		return nil, err
	}
	if in.GraceDays == 0 && in.Confirm != before.Slug {
		return nil, errConfirm
	}
	t, err := tenant.RequestDeletion(ctx, h.deps.Store, before.Slug, tenant.Deletion{
		Grace: time.Duration(in.GraceDays) * 24 * time.Hour, Archive: in.Archive, Revision: in.at(before.Revision), Operator: who.operator(),
	})
	if err != nil {
		return nil, err
	}
	detail := map[string]string{"delete_after": t.DeleteAfter.UTC().Format(time.RFC3339)}
	if in.Reason != "" {
		detail["reason"] = in.Reason
	}
	tell(who, t, detail)
	return h.answerTenant(t), nil
}

type restoreInput struct {
	OneTenantInput
	Conditional
}

func (h *Handler) restoreTenant(ctx context.Context, in *restoreInput) (*Single[Tenant], error) {
	who := callerOf(ctx)
	t, err := h.expect(ctx, in.Slug, in.Conditional)
	if err != nil {
		return nil, err
	}
	t, err = tenant.Restore(ctx, h.deps.Store, t.Slug, in.at(t.Revision), who.operator())
	if err != nil {
		return nil, err
	}
	tell(who, t, nil)
	return h.answerTenant(t), nil
}

// DeletionCertificate says that a tenant was erased.
type DeletionCertificate struct {
	JWS         string              `json:"jws" doc:"The certificate as the platform's own tenant has signed it (RFC 7515), with the type parako-deletion+jwt."`
	Verified    bool                `json:"verified" doc:"A key that the platform has had within the last year, and did not revoke, signed it."`
	Certificate *tenant.Certificate `json:"certificate,omitempty" doc:"What it says, when it is verified."`
}

type certificateInput struct {
	Slug string `path:"slug" doc:"The slug of the tenant, or its id."`
}

type deletionCertificate struct {
	Body struct {
		Data DeletionCertificate `json:"data"`
	}
}

func (h *Handler) getCertificate(ctx context.Context, in *certificateInput) (*deletionCertificate, error) {
	signed, err := tenant.Certificates(ctx, h.deps.Store, strings.ToLower(in.Slug))
	if err != nil {
		return nil, err
	}
	if len(signed) == 0 {
		return nil, errNoCertificate
	}
	var past *keyring.Ring
	err = h.deps.Store.ViewTenant(ctx, callerOf(ctx).tenant.ID, func(ctx context.Context, tx *store.Tx) (err error) {
		past, err = keyring.Past(ctx, tx)
		return err
	})
	if err != nil {
		return nil, err
	}
	out := &deletionCertificate{}
	out.Body.Data.JWS = signed[0]
	if text, failed := past.Verify(signed[0], tenant.CertificateType); failed == nil {
		out.Body.Data.Verified, out.Body.Data.Certificate = true, &tenant.Certificate{}
		err = json.Unmarshal(text, out.Body.Data.Certificate)
	}
	return out, err
}
