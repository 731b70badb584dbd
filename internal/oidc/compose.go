package oidc

import (
	"context"
	"strings"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/oauth2"
	"github.com/ory/fosite/handler/openid"
	"github.com/ory/fosite/handler/pkce"

	"parako/internal/settings"
)

// configuration is fosite's Configurator for one tenant. It embeds a Config of which every field that fosite would fill in
// late, and without a lock, is set; and it answers from the snapshot what differs between tenants.
type configuration struct {
	*fosite.Config
	p *Provider
}

// GetAccessTokenLifespan implements fosite.AccessTokenLifespanProvider.
func (c configuration) GetAccessTokenLifespan(context.Context) time.Duration {
	return settings.Seconds(c.p.ttl().AccessToken)
}

// GetRefreshTokenLifespan implements fosite.RefreshTokenLifespanProvider.
func (c configuration) GetRefreshTokenLifespan(context.Context) time.Duration {
	return settings.Seconds(c.p.ttl().RefreshToken)
}

// GetIDTokenLifespan implements fosite.IDTokenLifespanProvider.
func (c configuration) GetIDTokenLifespan(context.Context) time.Duration {
	return settings.Seconds(c.p.ttl().IDToken)
}

// GetAuthorizeCodeLifespan implements fosite.AuthorizeCodeLifespanProvider.
func (c configuration) GetAuthorizeCodeLifespan(context.Context) time.Duration {
	return settings.Seconds(c.p.ttl().AuthorizationCode)
}

// noHasher refuses: secrets are compared in clientauth.go, and a path that got here would be a mistake.
type noHasher struct{}

func (noHasher) Compare(context.Context, []byte, []byte) error { return fosite.ErrInvalidClient }

func (noHasher) Hash(context.Context, []byte) ([]byte, error) { return nil, fosite.ErrServerError }

// noFetcher refuses: fosite must fetch nothing on a client's behalf.
type noFetcher struct{ fosite.JWKSFetcherStrategy }

// compose puts fosite together for one tenant. Only what the tenant turned on is composed: never a password grant, and nothing
// that fetches URLs.
func compose(p *Provider) *fosite.Fosite {
	store := storage{p}
	config := configuration{p: p, Config: &fosite.Config{
		IDTokenIssuer:            p.Issuer,
		AccessTokenIssuer:        p.Issuer,
		TokenURL:                 p.URL("/token"),
		ScopeStrategy:            fosite.ExactScopeStrategy,
		AudienceMatchingStrategy: fosite.ExactAudienceMatchingStrategy,
		EnforcePKCE:              false, // authrequest.go decides of whom a challenge is demanded
		OmitRedirectScopeParam:   true,
		AllowedPromptValues:      p.promptValues(),
		MinParameterEntropy:      1, // authorize.go fills in for clients that send no state
		RedirectSecureChecker:    fosite.IsRedirectURISecure,
		RefreshTokenScopes:       []string{}, // codeGrant decides
		ClientSecretsHasher:      noHasher{},
		JWKSFetcherStrategy:      noFetcher{},
		GlobalSecret:             p.tokens.key,
	}}
	config.ClientAuthenticationStrategy = p.authenticateClient
	refresh := &refreshGrant{p: p, RefreshTokenGrantHandler: &oauth2.RefreshTokenGrantHandler{
		AccessTokenStrategy: accessTokens{p}, RefreshTokenStrategy: refreshStrategy{p.tokens}, TokenRevocationStorage: store, Config: config,
	}}
	codes := &codeGrant{p: p, AuthorizeExplicitGrantHandler: &oauth2.AuthorizeExplicitGrantHandler{
		AccessTokenStrategy: accessTokens{p}, RefreshTokenStrategy: refreshStrategy{p.tokens}, AuthorizeCodeStrategy: codeStrategy{p.tokens},
		CoreStorage: store, TokenRevocationStorage: store, Config: config,
	}}
	helper := &openid.IDTokenHandleHelper{IDTokenStrategy: idTokens{p}}
	openidCode := &openid.OpenIDConnectExplicitHandler{
		OpenIDConnectRequestStorage: store, IDTokenHandleHelper: helper, Config: config,
		OpenIDConnectRequestValidator: openid.NewOpenIDConnectRequestValidator(nil, config),
	}
	proof := &pkce.Handler{AuthorizeCodeStrategy: codeStrategy{p.tokens}, Storage: store, Config: config}

	implicit := &oauth2.AuthorizeImplicitGrantTypeHandler{AccessTokenStrategy: accessTokens{p}, AccessTokenStorage: store, Config: config}

	config.AuthorizeEndpointHandlers.Append(codes)
	config.AuthorizeEndpointHandlers.Append(openidCode)
	if p.Settings.Features.OIDC.ImplicitFlow.Enabled {
		config.AuthorizeEndpointHandlers.Append(&openid.OpenIDConnectImplicitHandler{
			AuthorizeImplicitGrantTypeHandler: implicit, IDTokenHandleHelper: helper,
			OpenIDConnectRequestValidator: openidCode.OpenIDConnectRequestValidator, Config: config,
		})
	}
	if p.Settings.Features.OIDC.HybridFlow.Enabled {
		config.AuthorizeEndpointHandlers.Append(&openid.OpenIDConnectHybridHandler{
			AuthorizeImplicitGrantTypeHandler: implicit, AuthorizeExplicitGrantHandler: codes.AuthorizeExplicitGrantHandler,
			IDTokenHandleHelper: helper, OpenIDConnectRequestValidator: openidCode.OpenIDConnectRequestValidator,
			OpenIDConnectRequestStorage: store, Config: config,
		})
	}
	config.AuthorizeEndpointHandlers.Append(proof) // It needs the code of one of those before.
	// PKCE comes before the code is spent; OpenID Connect after the access token, whose hash it needs.
	config.TokenEndpointHandlers.Append(codes)
	config.TokenEndpointHandlers.Append(proof)
	config.TokenEndpointHandlers.Append(openidCode)
	config.TokenEndpointHandlers.Append(refresh)
	config.TokenEndpointHandlers.Append(&openid.OpenIDConnectRefreshHandler{IDTokenHandleHelper: helper, Config: config})
	if p.Settings.Features.OIDC.ClientCredentials.Enabled {
		config.TokenEndpointHandlers.Append(&clientCredentials{p: p})
	}
	if p.Settings.Features.OIDC.TokenExchange.Enabled {
		config.TokenEndpointHandlers.Append(&tokenExchange{p: p})
	}
	if p.Settings.Features.OIDC.JWTBearer.Enabled {
		config.TokenEndpointHandlers.Append(&jwtBearer{p: p})
	}
	if p.Settings.Features.OIDC.DeviceFlow.Enabled {
		config.TokenEndpointHandlers.Append(&deviceGrant{p: p, idTokens: helper})
	}
	return fosite.NewOAuth2Provider(store, config)
}

func joinScopes(scopes []string) string { return strings.Join(scopes, " ") }
