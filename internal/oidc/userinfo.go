package oidc

import (
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"parako/internal/directory"
)

// personScopes are the scopes that mean something about a person (OpenID Connect Core section 5.4).
var personScopes = []string{"openid", "profile", "email", "address", "phone", "offline_access"}

var claimsSupported = []string{
	"sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "at_hash", "sid",
	"name", "family_name", "given_name", "middle_name", "nickname", "preferred_username", "profile", "picture", "website",
	"gender", "birthdate", "zoneinfo", "locale", "updated_at", "email", "email_verified", "address", "phone_number", "phone_number_verified",
}

// claims are what userinfo says about u to a client that was granted the scopes. What is not known is left out.
func claims(u directory.User, scopes []string) map[string]any {
	c := map[string]any{"sub": u.ID.String()}
	add := func(name string, value *string) {
		if value != nil && *value != "" {
			c[name] = *value
		}
	}
	if slices.Contains(scopes, "profile") {
		add("name", u.Name)
		add("given_name", u.GivenName)
		add("family_name", u.FamilyName)
		add("middle_name", u.MiddleName)
		add("nickname", u.Nickname)
		add("preferred_username", &u.Username)
		add("profile", u.Profile)
		add("picture", u.Picture)
		add("website", u.Website)
		add("gender", u.Gender)
		add("birthdate", u.Birthdate)
		add("zoneinfo", u.Zoneinfo)
		add("locale", u.Locale)
		c["updated_at"] = u.UpdatedAt.Unix()
	}
	if slices.Contains(scopes, "email") && u.Email != nil {
		c["email"], c["email_verified"] = *u.Email, u.EmailVerified
	}
	if slices.Contains(scopes, "phone") && u.PhoneNumber != nil {
		c["phone_number"], c["phone_number_verified"] = *u.PhoneNumber, u.PhoneNumberVerified
	}
	if slices.Contains(scopes, "address") && len(u.Address) > 0 {
		c["address"] = u.Address
	}
	return c
}

// userinfo is the UserInfo endpoint (OpenID Connect Core section 5.3), by GET, by POST with a header, and by POST with the
// token in the body.
func (h *Handler) userinfo(c echo.Context) error {
	p, err := h.Provider(c)
	if err != nil {
		return err
	}
	allowOrigin(c, nil)
	token, err := bearer(c)
	if err != nil {
		return challenge(c, http.StatusBadRequest, "invalid_request", err.Error())
	}
	if token == "" {
		return challenge(c, http.StatusUnauthorized, "", "")
	}
	row, err := p.tokenUser(c.Request().Context(), token)
	if isNotFound(err) {
		return challenge(c, http.StatusUnauthorized, "invalid_token", "The access token is unknown, expired or revoked.")
	}
	if err != nil {
		return h.writeError(c, err)
	}
	if !slices.Contains(row.AccessToken.Scopes, "openid") {
		noStore(c)
		c.Response().Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope", scope="openid"`)
		return c.JSON(http.StatusForbidden, oauthError{Code: "insufficient_scope", Description: "The access token was not granted the scope openid."})
	}
	noStore(c)
	return c.JSON(http.StatusOK, claims(row.User, row.AccessToken.Scopes))
}

type bearerError string

func (e bearerError) Error() string { return string(e) }

// bearer finds the access token of a request in one place (RFC 6750 section 2). Tokens in the query are refused: they end up
// in logs.
func bearer(c echo.Context) (string, error) {
	r := c.Request()
	if r.URL.Query().Has("access_token") {
		return "", bearerError("Send the access token in the Authorization header, not in the query.")
	}
	header := r.Header.Values("Authorization")
	if len(header) > 1 {
		return "", bearerError("The Authorization header is sent more than once.")
	}
	var token string
	if len(header) == 1 {
		scheme, value, _ := strings.Cut(header[0], " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return "", bearerError("The Authorization header must carry a Bearer token.")
		}
		token = strings.TrimSpace(value)
	}
	if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); r.Method == http.MethodPost && media == "application/x-www-form-urlencoded" {
		if err := r.ParseForm(); err != nil {
			return "", bearerError("The body cannot be read.")
		}
		if sent := r.PostForm["access_token"]; len(sent) > 0 {
			if token != "" || len(sent) > 1 {
				return "", bearerError("The access token is sent more than once.")
			}
			token = sent[0]
		}
	}
	return token, nil
}

// challenge refuses a request to a resource of ours (RFC 6750 section 3).
func challenge(c echo.Context, status int, code, description string) error {
	value := `Bearer realm="parako"`
	if code != "" {
		value += `, error="` + code + `", error_description="` + ascii(description) + `"`
	}
	c.Response().Header().Set("WWW-Authenticate", value)
	noStore(c)
	if code == "" {
		return c.JSON(status, oauthError{Code: "invalid_token", Description: "An access token is required."})
	}
	return c.JSON(status, oauthError{Code: code, Description: ascii(description)})
}
