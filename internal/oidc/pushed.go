package oidc

import (
	"context"
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"
	"github.com/ory/fosite"

	"parako/internal/dbsqlc"
	"parako/internal/secret"
	"parako/internal/settings"
	"parako/internal/store"
)

// pushedResponse is the answer to a pushed authorization request (RFC 9126 section 2.2).
type pushedResponse struct {
	RequestURI string `json:"request_uri"`
	ExpiresIn  int    `json:"expires_in"`
}

// push is the pushed authorization request endpoint (RFC 9126): the client sends its request here, authenticated, and the
// browser carries nothing but a reference to it.
func (h *Handler) push(c echo.Context) error {
	p, err := h.Provider(c)
	if err != nil {
		return err
	}
	if !p.Settings.Features.OIDC.PushedAuthorizationRequests.Enabled {
		return errOff
	}
	form, caller, err := authenticated(c, p)
	if err != nil {
		return h.writeError(c, err)
	}
	ctx := c.Request().Context()
	p.offerNonce(c)
	jkt, err := p.proofKey(ctx, c.Request(), p.URL("/request"), "")
	if err != nil {
		return h.writeError(c, err)
	}
	if form.Get("request_uri") != "" {
		return h.writeError(c, fosite.ErrInvalidRequest.WithHint("A pushed request cannot hold a request_uri."))
	}
	for _, name := range []string{"client_secret", "client_assertion", "client_assertion_type"} {
		form.Del(name)
	}
	form.Set("client_id", caller.ID)
	if form, err = p.openRequest(ctx, caller, form); err != nil {
		return h.writeError(c, err)
	}
	if jkt != "" {
		// The proof binds the code like dpop_jkt does; both must name one key (RFC 9449 section 10.1).
		if named := form.Get("dpop_jkt"); named != "" && named != jkt {
			return h.writeError(c, fosite.ErrInvalidRequest.WithHint("The dpop_jkt is not the key of the DPoP proof."))
		}
		form.Set("dpop_jkt", jkt)
	}
	_, err = p.checkAuthorize(ctx, form, caller)
	if errors.Is(err, errRedirectURI) { // whose words are for people
		err = fosite.ErrInvalidRequest.WithHint("The redirect_uri is missing, or it is not registered for the client.")
	}
	if err != nil {
		return h.writeError(c, err)
	}
	uri, life := pushedPrefix+secret.Token(), p.ttl().PushedRequest
	err = p.inTenant(ctx, func(ctx context.Context, tx *store.Tx) error {
		return tx.Later().PushedRequestCreate(ctx, dbsqlc.PushedRequestCreateParams{
			ID: secret.Digest(uri), ClientID: caller.ID, Request: form.Encode(), ExpiresAt: tx.Now().Add(settings.Seconds(life)),
		})
	})
	if err != nil {
		return h.writeError(c, err)
	}
	noStore(c)
	return c.JSON(http.StatusCreated, pushedResponse{RequestURI: uri, ExpiresIn: life})
}
