package oidc

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/ory/fosite"

	"parako/internal/dbsqlc"
	"parako/internal/settings"
	"parako/internal/store"
)

// client is a registered client as fosite sees it.
type client struct {
	dbsqlc.Client
	more MoreMetadata
}

// fapi reports whether the FAPI 2.0 Security Profile holds for the client.
func (c client) fapi() bool { return c.more.FAPIProfile == FAPI2 }

var (
	_ fosite.Client                         = client{}
	_ fosite.ClientWithCustomTokenLifespans = client{}
)

// GetID implements fosite.Client.
func (c client) GetID() string { return c.ID }

// GetHashedSecret implements fosite.Client. Secrets are compared in clientauth.go.
func (client) GetHashedSecret() []byte { return nil }

// GetRedirectURIs implements fosite.Client.
func (c client) GetRedirectURIs() []string { return c.RedirectUris }

// GetGrantTypes implements fosite.Client.
func (c client) GetGrantTypes() fosite.Arguments { return c.GrantTypes }

// GetResponseTypes implements fosite.Client.
func (c client) GetResponseTypes() fosite.Arguments { return c.ResponseTypes }

// GetScopes implements fosite.Client. Whoever may refresh may ask for offline_access.
func (c client) GetScopes() fosite.Arguments {
	scopes := fosite.Arguments(strings.Fields(c.Scope))
	if slices.Contains(c.GrantTypes, "refresh_token") && !scopes.Has("offline_access") {
		scopes = append(scopes, "offline_access")
	}
	return scopes
}

// GetEffectiveLifespan implements fosite.ClientWithCustomTokenLifespans.
func (c client) GetEffectiveLifespan(_ fosite.GrantType, kind fosite.TokenType, tenants time.Duration) time.Duration {
	own := 0
	switch kind {
	case fosite.AccessToken:
		own = c.more.TTL.AccessToken
	case fosite.IDToken:
		own = c.more.TTL.IDToken
	case fosite.RefreshToken:
		own = c.more.TTL.RefreshToken
	case fosite.DeviceCode:
		own = c.more.TTL.DeviceCode
	default: // The rest is the tenant's alone.
	}
	if own == 0 {
		return tenants
	}
	return settings.Seconds(own)
}

// withoutRefresh is the client as it may act on a grant of the scopes: without the refresh_token grant, unless the person
// agreed to offline_access (OpenID Connect Core section 11) or the client is a browser application without a secret.
func (c client) withoutRefresh(scopes []string) client {
	if slices.Contains(scopes, "offline_access") || (c.IsPublic() && c.ApplicationType == "web") {
		return c
	}
	c.GrantTypes = slices.DeleteFunc(slices.Clone(c.GrantTypes), func(g string) bool { return g == "refresh_token" })
	return c
}

// IsPublic implements fosite.Client.
func (c client) IsPublic() bool { return c.TokenEndpointAuthMethod == "none" }

// GetAudience implements fosite.Client.
func (c client) GetAudience() fosite.Arguments { return c.AllowedResources }

// clientIDFormat is what a client_id can look like; nothing else is looked up.
var clientIDFormat = regexp.MustCompile(`^[A-Za-z0-9._~-]{1,255}$`)

// client loads an active client of the tenant. fosite.ErrNotFound: there is none, or it was switched off, which callers
// must not be able to tell apart.
func (p *Provider) client(ctx context.Context, id string) (client, error) {
	if !clientIDFormat.MatchString(id) {
		return client{}, fosite.ErrNotFound
	}
	var c client
	err := p.askTenant(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
		c, err = p.clientIn(ctx, tx, id)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return client{}, fosite.ErrNotFound
	}
	return c, err
}

// clientIn is client within a transaction. store.ErrNotFound: there is none, or it was switched off.
func (p *Provider) clientIn(ctx context.Context, tx *store.Tx, id string) (client, error) {
	row, err := tx.ClientByID(ctx, dbsqlc.ClientByIDParams{TenantID: tx.Tenant(), ID: id})
	if err == nil && !row.Active {
		err = store.ErrNotFound
	}
	if err != nil {
		return client{}, fmt.Errorf("load client: %w", err)
	}
	more, err := moreOf(row)
	more.TTL = more.TTL.within(p.longest)
	return client{Client: row, more: more}, err
}
