package oidc

import (
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"parako/internal/dbsqlc"
)

// userinfo is the UserInfo endpoint (OpenID Connect Core section 5.3), by GET, by POST with a header, and by POST with the
// token in the body.
func (h *Handler) userinfo(c echo.Context) error {
	p, err := h.Provider(c)
	if err != nil {
		return err
	}
	if !p.Settings.Features.OIDC.UserinfoEndpoint.Enabled {
		return errOff
	}
	allowOrigin(c, nil)
	presented, err := presentedToken(c)
	if err != nil {
		return challenge(c, p, http.StatusBadRequest, "invalid_request", err.Error())
	}
	if presented.token == "" {
		return challenge(c, p, http.StatusUnauthorized, "", "")
	}
	ctx := c.Request().Context()
	row, err := p.tokenUser(ctx, presented.token)
	if isNotFound(err) {
		return challenge(c, p, http.StatusUnauthorized, "invalid_token", "The access token is unknown, expired or revoked.")
	}
	if err != nil {
		return h.writeError(c, err)
	}
	if code, description, err := p.checkPossession(c, presented, row.AccessToken.Cnf, p.URL("/userinfo")); err != nil {
		return h.writeError(c, err)
	} else if code != "" {
		return challenge(c, p, http.StatusUnauthorized, code, description)
	}
	if !slices.Contains(row.AccessToken.Scopes, "openid") {
		noStore(c)
		c.Response().Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope", scope="openid"`)
		return c.JSON(http.StatusForbidden, oauthError{Code: "insufficient_scope", Description: "The access token was not granted the scope openid."})
	}
	return p.writeUserinfo(c, row)
}

// writeUserinfo answers with the claims, as JSON or as the JWT that the client registered for (section 5.3.2).
func (p *Provider) writeUserinfo(c echo.Context, row dbsqlc.AccessTokenUserRow) error {
	more, err := moreOf(row.Client)
	if err != nil {
		return err
	}
	who := client{Client: row.Client, more: more}
	asked, err := storedClaims(row.Claims)
	if err != nil {
		return err
	}
	answer := map[string]any{"sub": p.subjectFor(who, row.User.ID)}
	addClaims(answer, row.User, claimNames(row.AccessToken.Scopes))
	for _, name := range asked.userinfo() {
		if p.scopeOf(name) != "" {
			addClaims(answer, row.User, []string{name})
		}
	}
	noStore(c)
	f := p.Settings.Features.OIDC
	if more.UserinfoEncryptionAlg == "" && (more.UserinfoAlg == "" || !f.JWTUserinfo.Enabled) {
		return c.JSON(http.StatusOK, answer)
	}
	answer["iss"], answer["aud"] = p.Issuer, who.ID
	token, err := p.answerJWT(c.Request().Context(), who, more.UserinfoAlg, "JWT", more.UserinfoEncryptionAlg, more.UserinfoEncryptionEnc, answer)
	if err != nil {
		return err
	}
	return c.Blob(http.StatusOK, "application/jwt", []byte(token))
}

type bearerError string

func (e bearerError) Error() string { return string(e) }

// presentation is an access token as a request presents it.
type presentation struct {
	token string
	// dpop: the scheme was DPoP.
	dpop bool
}

// headerToken finds the access token in the header of a request (RFC 6750 section 2.1, RFC 9449 section 7.1). Tokens in the
// query are refused: they end up in logs.
func headerToken(r *http.Request) (presentation, error) {
	var p presentation
	if r.URL.Query().Has("access_token") {
		return p, bearerError("Send the access token in the Authorization header, not in the query.")
	}
	header := r.Header.Values("Authorization")
	if len(header) > 1 {
		return p, bearerError("The Authorization header is sent more than once.")
	}
	if len(header) == 1 {
		scheme, value, _ := strings.Cut(header[0], " ")
		p.dpop = strings.EqualFold(scheme, "DPoP")
		if !p.dpop && !strings.EqualFold(scheme, "Bearer") {
			return p, bearerError("The Authorization header must carry a Bearer or DPoP token.")
		}
		p.token = strings.TrimSpace(value)
	}
	return p, nil
}

// presentedToken finds the access token of a request in one place, in its header or in its body (RFC 6750 section 2).
func presentedToken(c echo.Context) (presentation, error) {
	r := c.Request()
	p, err := headerToken(r)
	if err != nil {
		return p, err
	}
	if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); r.Method == http.MethodPost && media == "application/x-www-form-urlencoded" {
		if err := r.ParseForm(); err != nil {
			return p, bearerError("The body cannot be read.")
		}
		if sent := r.PostForm["access_token"]; len(sent) > 0 {
			if p.token != "" || len(sent) > 1 {
				return p, bearerError("The access token is sent more than once.")
			}
			p.token = sent[0]
		}
	}
	return p, nil
}

// checkPossession checks that whoever presents a bound token has its key or certificate. The error code is empty when they do.
func (p *Provider) checkPossession(c echo.Context, presented presentation, stored []byte, target string) (code, description string, err error) {
	cnf, err := storedConfirmation(stored)
	if err != nil {
		return "", "", err
	}
	r := c.Request()
	if presented.dpop != (cnf.JKT != "") {
		// A bound token sent as a bearer token may have been stolen; an unbound one with a proof pretends to be bound.
		return "invalid_token", "The access token was presented with another scheme than it was issued for.", nil
	}
	if cnf.JKT != "" {
		p.offerNonce(c)
		jkt, err := p.proofKey(r.Context(), r, target, presented.token)
		if rfc, ok := asRFC(err); ok && rfc.CodeField < http.StatusInternalServerError {
			return rfc.ErrorField, describe(rfc), nil
		}
		if err != nil {
			return "", "", err
		}
		if jkt != cnf.JKT {
			return "invalid_token", "The access token is bound to another key than the DPoP proof's.", nil
		}
	}
	if cnf.X5T != "" {
		cert := certificateOf(r)
		if cert == nil || certificateThumbprint(cert) != cnf.X5T {
			return "invalid_token", "The access token is bound to another certificate.", nil
		}
	}
	return "", "", nil
}

// challengeParams say what was wrong with a token, nothing when there was none (RFC 6750 section 3).
func challengeParams(code, description string) string {
	params := ` realm="parako"`
	if code != "" {
		params += `, error="` + code + `", error_description="` + ascii(description) + `"`
	}
	return params
}

// challenge refuses a request to a resource of ours (RFC 6750 section 3, RFC 9449 section 7.1).
func challenge(c echo.Context, p *Provider, status int, code, description string) error {
	params := challengeParams(code, description)
	header := c.Response().Header()
	header.Set("WWW-Authenticate", "Bearer"+params)
	if p.Settings.Features.OIDC.DPoP.Enabled {
		header.Add("WWW-Authenticate", "DPoP"+params+`, algs="`+strings.Join(names(signingAlgorithms), " ")+`"`)
	}
	noStore(c)
	if code == "" {
		return c.JSON(status, oauthError{Code: "invalid_token", Description: "An access token is required."})
	}
	return c.JSON(status, oauthError{Code: code, Description: ascii(description)})
}
