package api

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"parako/internal/audit"
	"parako/internal/keyring"
	"parako/internal/oidc"
	"parako/internal/ratelimit"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/tenant"
)

// The keys of tenants, for clients of the platform's own tenant. Private halves never leave.

func (h *Handler) mountKeys(a huma.API) {
	missing := newProblem(http.StatusNotFound, "tenant-not-found", tenant.ErrUnknown.Message)
	const all = "/tenants/{slug}/jwks"
	register(h, a, operation{
		id: "listTenantKeys", method: http.MethodGet, path: all, scope: crossRead, limit: ratelimit.APIRead(), status: http.StatusOK,
		summary: "List a tenant's keys", description: "Lists the public halves, the newest first, with those that were retired within a year.",
		refusals: []*Problem{missing, invalid(FieldError{Field: "status", Message: "expected value to be one of \"active, expiring, retired\""})},
	}, h.listKeys)
	register(h, a, operation{
		id: "rotateTenantKeys", method: http.MethodPost, path: all + "/rotate", scope: crossWrite, limit: ratelimit.APISensitive(), status: http.StatusOK,
		summary: "Rotate a tenant's keys", description: "Publishes the next key of the algorithm, or of every algorithm that the tenant has a key for, and answers " +
			"with those. They sign from promoteAt on. Where a key waits already, nothing is done.",
		refusals: []*Problem{missing, refuse(keyring.ErrUnknownKey), refuse(keyring.ErrManyKeys), invalid(FieldError{Field: "alg", Message: "expected string"})},
	}, h.rotateKeys)
	register(h, a, operation{
		id: "revokeTenantKey", method: http.MethodDelete, path: all + "/{kid}", scope: crossWrite, limit: ratelimit.APISensitive(), status: http.StatusOK,
		summary: "Revoke a key of a tenant", description: "Ends a key at once, with every token it signed, and answers with what is left of it. When it signed, a new key signs from now on.",
		refusals: []*Problem{missing, refuse(keyring.ErrUnknownKey), refuse(keyring.ErrRetiredKey)},
	}, h.revokeKey)
}

type keyList struct {
	Body struct {
		Data []keyring.Key `json:"data"`
	}
}

type listKeysInput struct {
	OneTenantInput
	Status string `query:"status" enum:"active,expiring,retired" doc:"Only keys of this status."`
}

func (h *Handler) listKeys(ctx context.Context, in *listKeysInput) (*keyList, error) {
	t, err := tenant.BySlug(ctx, h.deps.Store, strings.ToLower(in.Slug))
	if err != nil {
		return nil, err
	}
	out := &keyList{}
	err = h.deps.Store.AskTenant(ctx, t.ID, func(ctx context.Context, tx *store.Tx) (err error) {
		out.Body.Data, err = keyring.List(ctx, tx)
		return err
	})
	if in.Status != "" {
		out.Body.Data = slices.DeleteFunc(out.Body.Data, func(k keyring.Key) bool { return k.Status != in.Status })
	}
	return out, err
}

type rotateKeysInput struct {
	OneTenantInput
	Body struct {
		Alg string `json:"alg,omitempty" doc:"The algorithm; left out: every one that the tenant has a key for." example:"ES256"`
	}
}

func (h *Handler) rotateKeys(ctx context.Context, in *rotateKeysInput) (*keyList, error) {
	who := callerOf(ctx)
	t, err := tenant.BySlug(ctx, h.deps.Store, strings.ToLower(in.Slug))
	if err != nil {
		return nil, err
	}
	platform, err := settings.Platform(ctx, h.deps.Store)
	if err != nil {
		return nil, err
	}
	out := &keyList{}
	err = h.deps.Store.InTenant(ctx, t.ID, func(ctx context.Context, tx *store.Tx) error {
		policy, err := oidc.KeyPolicy(ctx, tx, platform)
		if err != nil {
			return err
		}
		algs := []string{in.Body.Alg}
		if in.Body.Alg == "" {
			if algs, err = keyring.InUse(ctx, tx); err != nil {
				return err
			}
		}
		out.Body.Data = make([]keyring.Key, len(algs))
		for i, alg := range algs {
			if out.Body.Data[i], err = keyring.Rotate(ctx, tx, h.deps.Vault, policy, audit.Operator(who.operator()), alg); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	tell(who, t, map[string]string{"alg": in.Body.Alg})
	return out, nil
}

type revokeKeyInput struct {
	OneTenantInput
	KID string `path:"kid" doc:"The id of the key."`
}

type oneKey struct {
	Body struct {
		Data keyring.Key `json:"data"`
	}
}

func (h *Handler) revokeKey(ctx context.Context, in *revokeKeyInput) (*oneKey, error) {
	who := callerOf(ctx)
	t, err := tenant.BySlug(ctx, h.deps.Store, strings.ToLower(in.Slug))
	if err != nil {
		return nil, err
	}
	out := &oneKey{}
	err = h.deps.Store.InTenant(ctx, t.ID, func(ctx context.Context, tx *store.Tx) error {
		if err := keyring.Revoke(ctx, tx, h.deps.Vault, audit.Operator(who.operator()), in.KID); err != nil {
			return err
		}
		list, err := keyring.List(ctx, tx)
		for _, k := range list {
			if k.KID == in.KID {
				out.Body.Data = k
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	tell(who, t, map[string]string{"kid": in.KID})
	return out, nil
}
