package pages

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"parako/internal/audit"
	"parako/internal/keyring"
	"parako/internal/oidc"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/tenant"
)

// keysPage bounds the keys on a page. Those that are over are the last.
const keysPage = 40

func keysURL(slug string) string { return tenantURL(slug) + "/keys" }

func (h *Handler) keysOf(ctx context.Context, t tenant.Tenant) (list []keyring.Key, err error) {
	err = h.platform.Store.ViewTenant(ctx, t.ID, func(ctx context.Context, tx *store.Tx) (err error) {
		list, err = keyring.List(ctx, tx)
		return err
	})
	return list, err
}

// platformKeys lists the keys of a tenant.
func (h *Handler) platformKeys(c echo.Context) error {
	v, t, done, err := h.about(c, h.reader)
	if err != nil || done {
		return err
	}
	return h.showKeys(c, http.StatusOK, v, t, "")
}

func (h *Handler) showKeys(c echo.Context, status int, v visit, t tenant.Tenant, alert string) error {
	list, err := h.keysOf(c.Request().Context(), t)
	if err != nil {
		return err
	}
	slices.SortStableFunc(list, func(a, b keyring.Key) int { return over(a) - over(b) })
	view := KeysView{
		PlatformShell: h.platformShell(c, v), Name: t.DisplayName, Action: keysURL(t.Slug), BackURL: tenantURL(t.Slug), Alert: alert, More: len(list) > keysPage,
	}
	for _, k := range list[:min(len(list), keysPage)] {
		item := keyItem(k)
		if view.MayChange && k.Status != keyring.Retired {
			item.RevokeURL = keysURL(t.Slug) + "/revoke?" + url.Values{"kid": {k.KID}}.Encode()
		}
		item.MayRotate = view.MayChange && item.State == "signs" && !slices.ContainsFunc(list, func(other keyring.Key) bool {
			return other.Alg == k.Alg && other.Status == keyring.Active && !other.Promoted
		})
		view.Keys = append(view.Keys, item)
	}
	return respondPacked(c, status, func(b *bytes.Buffer, v KeysView) error { return h.renderer.Keys(b, v) }, view)
}

func over(k keyring.Key) int {
	if k.Status == keyring.Retired {
		return 1
	}
	return 0
}

func keyItem(k keyring.Key) KeyItem {
	const minutes = "2006-01-02 15:04 MST"
	item := KeyItem{KID: k.KID, Alg: k.Alg, State: "signs", Created: k.CreatedAt.UTC().Format(minutes)}
	var until *time.Time
	switch {
	case k.Revoked:
		item.State, until = "revoked", k.RetiredAt
	case k.Status == keyring.Active && !k.Promoted:
		item.State, until = "waits", k.PromoteAt
	case k.Status == keyring.Expiring:
		item.State, until = "expiring", k.VerifyUntil
	case k.Status == keyring.Retired:
		item.State, until = "retired", k.RetiredAt
	}
	if until != nil {
		item.Until = until.UTC().Format(minutes)
	}
	return item
}

// platformRotate publishes the next key of an algorithm.
func (h *Handler) platformRotate(c echo.Context) error {
	if err := c.Request().ParseForm(); err != nil {
		return formError(err)
	}
	v, t, done, err := h.about(c, h.writer)
	if err != nil || done {
		return err
	}
	ctx, alg := c.Request().Context(), c.Request().PostForm.Get("alg")
	platform, err := settings.Platform(ctx, h.platform.Store)
	if err != nil {
		return err
	}
	err = h.platform.Store.InTenant(ctx, t.ID, func(ctx context.Context, tx *store.Tx) error {
		policy, err := oidc.KeyPolicy(ctx, tx, platform)
		if err != nil {
			return err
		}
		_, err = keyring.Rotate(ctx, tx, h.platform.Vault, policy, audit.Operator(v.operator()), alg)
		return err
	})
	return h.keysAfter(c, v, t, err)
}

// keysAfter leads back to the list, with what was refused on it.
func (h *Handler) keysAfter(c echo.Context, v visit, t tenant.Tenant, err error) error {
	if err == nil {
		return redirect(c, keysURL(t.Slug))
	}
	alert, status, err := refusal(err)
	if err != nil {
		return err
	}
	return h.showKeys(c, status, v, t, alert)
}

// keyQuestion finds who wants to revoke which key of a tenant, and has them prove who they are.
func (h *Handler) keyQuestion(c echo.Context, kid string) (v visit, t tenant.Tenant, key keyring.Key, done bool, err error) {
	if v, t, done, err = h.about(c, h.writer); err != nil || done {
		return v, t, key, done, err
	}
	if kid == "" { // A sign-in led here that came between the question and the answer.
		return v, t, key, true, redirect(c, keysURL(t.Slug))
	}
	list, err := h.keysOf(c.Request().Context(), t)
	if err != nil {
		return v, t, key, false, err
	}
	i := slices.IndexFunc(list, func(k keyring.Key) bool { return k.KID == kid })
	if i < 0 {
		return v, t, key, false, keyring.ErrUnknownKey
	}
	done, err = h.fresh(c, v, keysURL(t.Slug)+"/revoke?"+url.Values{"kid": {kid}}.Encode())
	return v, t, list[i], done, err
}

// platformAskRevoke asks whether to end a key.
func (h *Handler) platformAskRevoke(c echo.Context) error {
	v, t, key, done, err := h.keyQuestion(c, c.QueryParam("kid"))
	if err != nil || done {
		return err
	}
	view := AskView{
		PlatformShell: h.platformShell(c, v), What: "revoke", Name: t.DisplayName, About: key.Alg + " " + key.KID, Action: keysURL(t.Slug) + "/revoke",
		CancelURL: keysURL(t.Slug), Hidden: []Field{{Name: "kid", Value: key.KID}},
	}
	return respond(c, http.StatusOK, func(b *bytes.Buffer, v AskView) error { return h.renderer.Ask(b, v) }, view)
}

// platformRevoke ends a key.
func (h *Handler) platformRevoke(c echo.Context) error {
	if err := c.Request().ParseForm(); err != nil {
		return formError(err)
	}
	v, t, key, done, err := h.keyQuestion(c, c.Request().PostForm.Get("kid"))
	if err != nil || done {
		return err
	}
	err = h.platform.Store.InTenant(c.Request().Context(), t.ID, func(ctx context.Context, tx *store.Tx) error {
		return keyring.Revoke(ctx, tx, h.platform.Vault, audit.Operator(v.operator()), key.KID)
	})
	return h.keysAfter(c, v, t, err)
}
