package oidc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/ory/fosite"

	"parako/internal/dbsqlc"
	"parako/internal/keyring"
	"parako/internal/settings"
	"parako/internal/store"
)

// clientResource begins the resource that every client is by itself.
const clientResource = "urn:resource:"

// ownResources begins the resources of the product itself.
const ownResources = "urn:parako:"

// errTarget refuses a resource (RFC 8707 section 2).
var errTarget = &fosite.RFC6749Error{
	ErrorField: "invalid_target", DescriptionField: "The resource is unknown, or the client may not ask for it.", CodeField: 400,
}

// resource is what tokens for a resource are like.
type resource struct {
	format string
	alg    jose.SignatureAlgorithm
	life   time.Duration // 0: the client's or the tenant's
	scopes []string      // empty: whatever the client is registered for
}

// resourceServer finds what tokens for a resource are like: as the tenant says, else as the client says that the resource is,
// else the defaults. What the tenant and its clients say is part of the snapshot: a change replaces the provider. Of
// the Management API a tenant decides the algorithm and the life of the tokens alone.
func (p *Provider) resourceServer(ctx context.Context, identifier string) (resource, error) {
	if known, ok := p.resources.Load(identifier); ok {
		return known.(resource), nil //nolint:forcetypeassert // The map holds nothing else.
	}
	r := resource{format: settings.FormatJWT, alg: keyring.ES256}
	i := slices.IndexFunc(p.Settings.OIDC.ResourceServers, func(s settings.ResourceServer) bool { return s.Identifier == identifier })
	if i >= 0 {
		server := p.Settings.OIDC.ResourceServers[i]
		r.life, r.scopes = settings.Seconds(server.AccessTokenTTL), server.Scopes
		take(&r.format, settings.FormatJWT)
		if server.AccessTokenFormat != "" {
			r.format = server.AccessTokenFormat
		}
		if server.SigningAlg != "" {
			r.alg = jose.SignatureAlgorithm(server.SigningAlg)
		}
	} else if more, err := p.clientBehind(ctx, identifier); err != nil {
		return resource{}, err
	} else if more.AccessTokenFormat != "" {
		r.format = more.AccessTokenFormat
	}
	if identifier == ManagementResource {
		r.format, r.scopes = settings.FormatJWT, GrantableManagementScopes(p.Tenant.Slug)
	}
	p.resources.Store(identifier, r)
	return r, nil
}

// clientBehind is the client that a resource is; the zero value when it is none.
func (p *Provider) clientBehind(ctx context.Context, identifier string) (MoreMetadata, error) {
	var row dbsqlc.Client
	err := p.askTenant(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
		if id, ok := strings.CutPrefix(identifier, clientResource); ok {
			row, err = tx.ClientByID(ctx, dbsqlc.ClientByIDParams{TenantID: tx.Tenant(), ID: id})
		} else {
			row, err = tx.ClientByAudience(ctx, dbsqlc.ClientByAudienceParams{TenantID: tx.Tenant(), Audience: identifier})
		}
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return MoreMetadata{}, nil
	}
	if err != nil {
		return MoreMetadata{}, fmt.Errorf("find client of resource: %w", err)
	}
	return moreOf(row)
}

// aim decides for which of the granted resources the access token of a token request is, and with it the token's scopes and
// life. The client may ask for fewer resources than were granted (RFC 8707 section 2.2), never for others.
func (p *Provider) aim(ctx context.Context, r fosite.AccessRequester, granted []string) error {
	g, err := sessionOf(r)
	if err != nil {
		return err
	}
	g.audience = granted
	if asked := r.GetRequestForm()["resource"]; len(asked) > 0 {
		if !p.Settings.Features.OIDC.ResourceIndicators.Enabled {
			return errTarget
		}
		for _, one := range asked {
			if !slices.Contains(granted, one) {
				return errTarget
			}
		}
		g.audience = asked
	}
	if slices.Contains(g.audience, ManagementResource) && (len(g.audience) > 1 || !grantsItself(r)) {
		return errTarget.WithHint("A token for the Management API is for nothing else, and only client_credentials gives one.")
	}
	for _, identifier := range g.audience {
		server, err := p.resourceServer(ctx, identifier)
		if err != nil {
			return fosite.ErrServerError.WithWrap(err)
		}
		if server.life > 0 {
			// The shortest of several counts; SetExpiresAt never prolongs.
			until := p.deps.Now().UTC().Add(server.life).Round(time.Second)
			if at := g.GetExpiresAt(fosite.AccessToken); at.IsZero() || until.Before(at) {
				g.SetExpiresAt(fosite.AccessToken, until)
			}
		}
	}
	return nil
}

// grantsItself reports whether the request is one of a client on its own behalf.
func grantsItself(r fosite.Requester) bool {
	a, ok := r.(fosite.AccessRequester)
	return ok && a.GetGrantTypes().ExactOne(grantClientCredentials)
}

// tokenScopes are the scopes of an access token: without a resource all that were granted; with one those that exist there, and
// never those about people, which only our own userinfo endpoint understands.
func (p *Provider) tokenScopes(ctx context.Context, g *grantSession, granted []string) ([]string, error) {
	if len(g.audience) == 0 {
		return granted, nil
	}
	own := strings.Fields(g.client.ResourcesScopes)
	var scopes []string
	for _, identifier := range g.audience {
		server, err := p.resourceServer(ctx, identifier)
		if err != nil {
			return nil, err
		}
		for _, scope := range granted {
			there := len(server.scopes) == 0 || slices.Contains(server.scopes, scope)
			if there && slices.Contains(own, scope) && !slices.Contains(scopes, scope) {
				scopes = append(scopes, scope)
			}
		}
	}
	return scopes, nil
}

// tokenFormat is the format and the algorithm of a token for these resources. Of several that differ the first decides.
func (p *Provider) tokenFormat(ctx context.Context, audience []string) (resource, error) {
	if len(audience) == 0 {
		return resource{format: settings.FormatOpaque}, nil
	}
	return p.resourceServer(ctx, audience[0])
}
