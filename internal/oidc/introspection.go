package oidc

import (
	"net/http"
	"slices"
	"strings"

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
	if !p.Settings.Features.OIDC.TokenIntrospection.Enabled {
		return errOff
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
		info = tokenInfo{Active: false}
	}
	if !p.wantsSignedIntrospection(c.Request(), caller) {
		return c.JSON(http.StatusOK, info)
	}
	// RFC 9701 section 5: the answer is a JWT for the caller, and the token's properties are one member of it.
	claims := map[string]any{"iss": p.Issuer, "aud": caller.ID, "iat": p.deps.Now().Unix(), "token_introspection": info}
	signed, err := p.answerJWT(c.Request().Context(), caller, caller.more.IntrospectionAlg, "token-introspection+jwt",
		caller.more.IntrospectionEncryptionAlg, caller.more.IntrospectionEncryptionEnc, claims)
	if err != nil {
		return h.writeError(c, err)
	}
	return c.Blob(http.StatusOK, introspectionJWT, []byte(signed))
}

// IntrospectionPath is where tokens are introspected.
const IntrospectionPath = Mount + "/token/introspection"

// IntrospectInactive answers for a tenant that is not served: no token of it is active, whoever asks and whatever the token
// (RFC 7662 section 2.2). Nothing is looked up, so that the answer tells nothing but the status that every other answer tells.
func IntrospectInactive(c echo.Context) error {
	noStore(c)
	return c.JSON(http.StatusOK, tokenInfo{Active: false})
}

// introspectionJWT is the media type of signed answers (RFC 9701 section 4).
const introspectionJWT = "application/token-introspection+jwt"

// wantsSignedIntrospection reports whether the caller asks for a signed answer. One that registered for encryption gets no other.
func (p *Provider) wantsSignedIntrospection(r *http.Request, caller client) bool {
	return caller.more.IntrospectionEncryptionAlg != "" ||
		p.Settings.Features.OIDC.JWTIntrospection.Enabled && strings.Contains(r.Header.Get("Accept"), introspectionJWT)
}

// concerns reports whether the caller may know of the token. A client stands for the resources that name it: its client_id,
// urn:resource:{client_id}, and the audience it registered.
func concerns(info tokenInfo, caller client) bool {
	return info.ClientID == caller.ID || slices.ContainsFunc(info.Audience, func(aud string) bool {
		return aud == caller.ID || aud == clientResource+caller.ID || caller.Audience != nil && aud == *caller.Audience
	})
}
