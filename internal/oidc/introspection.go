package oidc

import (
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"
	"github.com/ory/fosite"
)

// introspection is the introspection endpoint (RFC 7662) for clients with a secret or a key. A caller sees the tokens that
// concern it: its own, and those for a resource it stands for. Every other token looks like no token at all.
func (h *Handler) introspection(c echo.Context) error {
	p, err := h.Provider(c)
	if err != nil {
		return err
	}
	form, caller, err := authenticated(c, p)
	if err != nil {
		return h.writeError(c, err)
	}
	if caller.IsPublic() {
		return h.writeError(c, errClient(nil))
	}
	token := form.Get("token")
	if token == "" {
		return h.writeError(c, fosite.ErrInvalidRequest.WithHint("The token is missing."))
	}
	noStore(c)
	info, err := p.inspect(c.Request().Context(), token)
	if err != nil && !isNotFound(err) {
		return h.writeError(c, err)
	}
	if err != nil || !info.Active || !concerns(info, caller) {
		return c.JSON(http.StatusOK, tokenInfo{Active: false})
	}
	return c.JSON(http.StatusOK, info)
}

// concerns reports whether the caller may know of the token. A client stands for the resources that name it: its client_id,
// or urn:resource:{client_id}.
func concerns(info tokenInfo, caller client) bool {
	return info.ClientID == caller.ID || slices.Contains(info.Audience, caller.ID) || slices.Contains(info.Audience, "urn:resource:"+caller.ID)
}
