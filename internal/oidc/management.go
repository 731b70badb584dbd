package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"parako/internal/dbsqlc"
	"parako/internal/problem"
	"parako/internal/store"
	"parako/internal/tenant"
)

// ManagementResource is the resource (RFC 8707) of the Management API. Only the client_credentials grant gives tokens for it,
// and such a token is for nothing else: whoever runs another resource must not be able to administer the tenant with what it
// was sent.
const ManagementResource = ownResources + "api:v1"

// ManagementScope is a scope of the Management API.
type ManagementScope struct {
	// Name is what a token says; it begins with "parako:".
	Name string
	// Allows says in a sentence what it allows.
	Allows string
	// Platform: only clients of the platform's own tenant are granted it.
	Platform bool
}

// ManagementScopes are the scopes of the Management API, in the order they are shown. No token says any other there.
func ManagementScopes() []ManagementScope {
	return []ManagementScope{
		{Name: "parako:clients:read", Allows: "Read the applications of the tenant."},
		{Name: "parako:clients:write", Allows: "Register and change applications."},
		{Name: "parako:clients:delete", Allows: "Remove applications."},
		{Name: "parako:users:read", Allows: "Read the people of the tenant."},
		{Name: "parako:users:write", Allows: "Add and change people."},
		{Name: "parako:users:delete", Allows: "Remove people."},
		{Name: "parako:sessions:read", Allows: "Read sessions."},
		{Name: "parako:sessions:revoke", Allows: "End sessions."},
		{Name: "parako:grants:read", Allows: "Read what people have allowed applications."},
		{Name: "parako:grants:revoke", Allows: "Take back what people have allowed applications."},
		{Name: "parako:jwks:read", Allows: "Read the public signing keys and their states."},
		{Name: "parako:jwks:rotate", Allows: "Rotate and retire signing keys."},
		{Name: "parako:audit:read", Allows: "Read the audit trail."},
		{Name: "parako:audit:write", Allows: "Administer the audit trail."},
		{Name: "parako:stats:read", Allows: "Read statistics."},
		{Name: "parako:registration-tokens:read", Allows: "Read the tokens with which applications register themselves."},
		{Name: "parako:registration-tokens:write", Allows: "Make tokens with which applications register themselves."},
		{Name: "parako:registration-tokens:delete", Allows: "Revoke tokens with which applications register themselves."},
		{Name: "parako:config:read", Allows: "Read the configuration of the tenant."},
		{Name: "parako:config:write", Allows: "Change the configuration of the tenant."},
		{Name: "parako:social:read", Allows: "Read the sign-in providers."},
		{Name: "parako:social:write", Allows: "Change the sign-in providers."},
		{Name: "parako:webhooks:manage", Allows: "Administer webhooks."},
		{Name: "parako:tenants:read", Allows: "Read the tenants of the deployment.", Platform: true},
		{Name: "parako:tenants:write", Allows: "Create and change tenants.", Platform: true},
		{Name: "parako:tenants:delete", Allows: "Delete tenants.", Platform: true},
		{Name: "parako:cross-tenant:read", Allows: "Read the configuration and the public keys of any tenant.", Platform: true},
		{Name: "parako:cross-tenant:write", Allows: "Change the configuration of any tenant, and rotate and revoke its keys.", Platform: true},
		{Name: "parako:settings:read", Allows: "Read the settings of the platform.", Platform: true},
		{Name: "parako:settings:write", Allows: "Change the settings of the platform.", Platform: true},
	}
}

// GrantableManagementScopes are the names of those that a client of the tenant with the slug can be granted.
func GrantableManagementScopes(slug string) []string {
	var grantable []string
	for _, scope := range ManagementScopes() {
		if !scope.Platform || slug == tenant.PlatformsSlug {
			grantable = append(grantable, scope.Name)
		}
	}
	return grantable
}

// APIClient is a client that an access token lets call the Management API.
type APIClient struct {
	ID string
	// Scopes are those of the token that the client still may have.
	Scopes []string
}

// What [Provider.APIClient] refuses with.
var (
	ErrAPITokenMissing   = problem.New(problem.Unauthorized, "unauthorized", "The Authorization header is missing. It carries an access token for "+ManagementResource+".")
	ErrAPITokenMalformed = problem.New(problem.Unauthorized, "unauthorized", "The Authorization header must be sent once, as Bearer or DPoP with an access token behind it.")
	ErrAPITokenInvalid   = problem.New(problem.Unauthorized, "token_invalid", "The access token is not a valid one for "+ManagementResource+" of this tenant.")
	ErrAPITokenExpired   = problem.New(problem.Unauthorized, "token_expired", "The access token has expired. Ask the token endpoint for a new one.")
	ErrPlatformScope     = problem.New(problem.Forbidden, "forbidden", "The access token carries a scope that only the platform's own tenant may use.")
)

// APIClient finds the client that calls the Management API, by the access token of the request: a JSON Web Token that this
// tenant signed, whatever its algorithm, with the API as its only audience, issued to the client itself, live, not revoked, and
// presented by whoever holds the key or the certificate that it is bound to. The client must still be active and allowed the
// resource; it has no more scopes than it is registered for today. A refusal of the token is an error of the list above,
// with the challenge in the header of the answer (RFC 6750 section 3, RFC 9449 section 7.1).
func (p *Provider) APIClient(c echo.Context) (APIClient, error) {
	presented, err := headerToken(c.Request())
	if err != nil || presented.token == "" {
		p.challengeAPI(c, "invalid_request", "")
		if len(c.Request().Header.Values("Authorization")) == 0 {
			return APIClient{}, ErrAPITokenMissing
		}
		return APIClient{}, ErrAPITokenMalformed
	}
	ctx := c.Request().Context()
	claims, err := p.managementToken(presented.token)
	if err != nil {
		p.challengeAPI(c, "invalid_token", "invalid_token")
		return APIClient{}, err
	}
	row, err := p.clientOfToken(ctx, claims)
	if errors.Is(err, store.ErrNotFound) || err == nil && !slices.Contains(row.AllowedResources, ManagementResource) {
		p.challengeAPI(c, "invalid_token", "invalid_token")
		return APIClient{}, ErrAPITokenInvalid
	}
	if err != nil {
		return APIClient{}, err
	}
	code, _, err := p.checkPossession(c, presented, claims.Confirmation, p.origin()+c.Request().URL.EscapedPath())
	if err != nil {
		return APIClient{}, err
	}
	if code != "" {
		p.challengeAPI(c, "invalid_token", code)
		return APIClient{}, ErrAPITokenInvalid
	}
	found := APIClient{ID: claims.ClientID}
	grantable, registered := GrantableManagementScopes(p.Tenant.Slug), strings.Fields(row.ResourcesScopes)
	for scope := range strings.FieldsSeq(claims.Scope) {
		if isPlatformScope(scope) && !slices.Contains(grantable, scope) {
			return APIClient{}, ErrPlatformScope
		}
		if slices.Contains(grantable, scope) && slices.Contains(registered, scope) {
			found.Scopes = append(found.Scopes, scope)
		}
	}
	return found, nil
}

// managementToken reads a token that this tenant signed for the Management API.
func (p *Provider) managementToken(token string) (accessToken, error) {
	payload, err := p.keys.Verify(token, "at+jwt")
	if err != nil {
		return accessToken{}, ErrAPITokenInvalid
	}
	var t accessToken
	if err := json.Unmarshal(payload, &t); err != nil || t.Issuer != p.Issuer || !slices.Equal(t.Audience, audience{ManagementResource}) {
		return accessToken{}, ErrAPITokenInvalid
	}
	if t.ClientID == "" || t.Subject != t.ClientID || t.ID == "" || t.Expiry == 0 || t.IssuedAt == 0 || t.Actor != nil {
		return accessToken{}, ErrAPITokenInvalid
	}
	if !p.deps.Now().Before(time.Unix(t.Expiry, 0)) {
		return accessToken{}, ErrAPITokenExpired
	}
	return t, nil
}

// clientOfToken asks, in one statement, whether the client of a token that is stored nowhere may still act, and whether the token was
// revoked, or its tenant suspended since, in whole seconds. store.ErrNotFound: it is worth nothing any more.
func (p *Provider) clientOfToken(ctx context.Context, t accessToken) (row dbsqlc.ClientOfTokenRow, err error) {
	err = p.askTenant(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
		row, err = tx.ClientOfToken(ctx, dbsqlc.ClientOfTokenParams{TenantID: tx.Tenant(), ID: t.ClientID, Token: t.ID, IssuedAt: time.Unix(t.IssuedAt, 0)})
		return err
	})
	return row, err
}

func isPlatformScope(name string) bool {
	return slices.ContainsFunc(ManagementScopes(), func(s ManagementScope) bool { return s.Platform && s.Name == name })
}

// origin is the tenant's own, without a path: where its API is, whatever host the request named.
func (p *Provider) origin() string {
	u, err := url.Parse(p.Issuer)
	if err != nil {
		return p.Issuer
	}
	return u.Scheme + "://" + u.Host
}

// challengeAPI says what to send instead: a bearer token, or, where the tenant takes them, one with a proof. An empty dpop says
// nothing of proofs.
func (p *Provider) challengeAPI(c echo.Context, bearer, dpop string) {
	const realm = ` realm="parako-management-api"`
	header := c.Response().Header()
	header.Set("WWW-Authenticate", "Bearer"+realm+`, error="`+bearer+`"`)
	if dpop != "" && p.Settings.Features.OIDC.DPoP.Enabled {
		header.Add("WWW-Authenticate", "DPoP"+realm+`, error="`+dpop+`", algs="`+strings.Join(names(signingAlgorithms), " ")+`"`)
	}
}
