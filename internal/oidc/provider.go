package oidc

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"github.com/ory/fosite"

	"parako/internal/keyring"
	"parako/internal/ratelimit"
	"parako/internal/session"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/telemetry"
	"parako/internal/tenant"
)

// Mount is the path under which every endpoint of a tenant lives; it ends the issuer.
const Mount = "/oidc/v1"

// Deps are what every provider shares.
type Deps struct {
	Store *store.Store
	Vault tenant.Vault
	Base  *url.URL // DEPLOYMENT_URL
	// MultiTenant: the built-in tenant has no provider then.
	MultiTenant bool
	Limiter     *ratelimit.Limiter
	Metrics     *telemetry.Metrics
	Log         *slog.Logger
	Now         func() time.Time
}

// Provider is one tenant's OpenID provider as it was at the tenant's revision. It is immutable and safe for concurrent
// use; a request keeps the one it began with.
type Provider struct {
	Tenant   tenant.Tenant
	Settings settings.Settings
	// Issuer is the issuer identifier, byte for byte the same in every place it appears.
	Issuer string

	deps      Deps
	keys      *keyring.Ring
	tokens    opaqueTokens
	discovery document
	jwks      document
	oauth2    *fosite.Fosite

	derive  sync.Once
	derived any
}

// NewProvider takes the snapshot. It makes the tenant's keys when this is their first use.
func NewProvider(ctx context.Context, deps Deps, t tenant.Tenant) (*Provider, error) {
	keys, err := keyring.Open(ctx, deps.Store, deps.Vault, t.ID)
	if err != nil {
		return nil, fmt.Errorf("build provider of tenant %s: %w", t.ID, err)
	}
	var set settings.Settings
	err = deps.Store.AskTenant(ctx, t.ID, func(ctx context.Context, tx *store.Tx) (err error) {
		set, err = settings.Load(ctx, tx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("build provider of tenant %s: %w", t.ID, err)
	}
	p := &Provider{
		Tenant: t, Settings: set, Issuer: t.Issuer(deps.Base, Mount), deps: deps, keys: keys,
		tokens: opaqueTokens{key: deps.Vault.Master.Derive(t.ID, "oauth-hmac-v1", 32), now: deps.Now},
		jwks:   newDocument("application/jwk-set+json", keys.JWKS()),
	}
	if p.discovery, err = discoveryDocument(p); err != nil {
		return nil, fmt.Errorf("build provider of tenant %s: %w", t.ID, err)
	}
	p.oauth2 = compose(p)
	return p, nil
}

// Derived is a value that a layer above computes once per snapshot, such as the tenant's style sheet.
func (p *Provider) Derived(compute func() any) any {
	p.derive.Do(func() { p.derived = compute() })
	return p.derived
}

// URL is the address of one of the tenant's endpoints, such as "/authorize".
func (p *Provider) URL(path string) string { return p.Issuer + path }

// CompanyName is what people know the tenant as.
func (p *Provider) CompanyName() string {
	if p.Settings.Branding.CompanyName != "" {
		return p.Settings.Branding.CompanyName
	}
	return p.Tenant.DisplayName
}

// SessionPolicy bounds the tenant's browser sessions.
func (p *Provider) SessionPolicy() session.Policy {
	s := p.Settings.Security.Authentication.Session
	return session.Policy{Idle: s.Idle(), Absolute: s.Absolute()}
}

func (p *Provider) ttl() settings.TokenTTL { return p.Settings.OIDC.TokenTTL }

// inTenant and the two below are the store's transactions, for this provider's tenant and no other.
func (p *Provider) inTenant(ctx context.Context, fn func(context.Context, *store.Tx) error) error {
	return p.deps.Store.InTenant(ctx, p.Tenant.ID, fn)
}

func (p *Provider) askTenant(ctx context.Context, fn func(context.Context, *store.Tx) error) error {
	return p.deps.Store.AskTenant(ctx, p.Tenant.ID, fn)
}
