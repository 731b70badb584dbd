package oidc

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/ory/fosite"

	"parako/internal/keyring"
	"parako/internal/outbound"
	"parako/internal/ratelimit"
	"parako/internal/secret"
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
	// ClientCAs issue the certificates of tls_client_auth; nil: nobody does.
	ClientCAs *x509.CertPool
	// Outbound calls the addresses that clients registered; Keys are what it found behind their jwks_uri.
	Outbound *outbound.Client
	Keys     *KeyCache
	Metrics  *telemetry.Metrics
	Log      *slog.Logger
	Now      func() time.Time
}

// Provider is one tenant's OpenID provider as it was at the tenant's revision. It is immutable and safe for concurrent
// use; a request keeps the one it began with.
type Provider struct {
	Tenant   tenant.Tenant
	Settings settings.Settings
	// Issuer is the issuer identifier, byte for byte the same in every place it appears.
	Issuer string

	deps      Deps
	platform  settings.Layer // what the platform has set for all tenants
	longest   settings.TokenTTL
	keys      *keyring.Ring
	sealer    *secret.Sealer // opens the secrets of clients
	tokens    opaqueTokens
	nonces    []byte   // the key of DPoP nonces
	pairwise  []byte   // the key of pairwise subjects
	states    []byte   // the key of what browsers keep of a session for scripts
	resources sync.Map // resource by identifier, as far as they were asked for
	discovery document
	jwks      document
	oauth2    *fosite.Fosite

	derive  sync.Once
	derived any
}

// NewProvider takes the snapshot. It makes the tenant's keys when this is their first use.
func NewProvider(ctx context.Context, deps Deps, t tenant.Tenant) (*Provider, error) {
	var set settings.Settings
	platform, err := settings.Platform(ctx, deps.Store)
	if err != nil {
		return nil, fmt.Errorf("build provider of tenant %s: %w", t.ID, err)
	}
	err = deps.Store.AskTenant(ctx, t.ID, func(ctx context.Context, tx *store.Tx) (err error) {
		set, err = settings.Load(ctx, tx, platform)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("build provider of tenant %s: %w", t.ID, err)
	}
	longest, err := settings.LongestTTL(platform, t.ID)
	if err != nil {
		return nil, fmt.Errorf("build provider of tenant %s: %w", t.ID, err)
	}
	keys, err := keyring.Open(ctx, deps.Store, deps.Vault, keyPolicy(set, longest), t.ID, extraKeys(set)...)
	if err != nil {
		return nil, fmt.Errorf("build provider of tenant %s: %w", t.ID, err)
	}
	var sealer *secret.Sealer
	err = deps.Store.InTenant(ctx, t.ID, func(ctx context.Context, tx *store.Tx) (err error) {
		sealer, err = deps.Vault.Sealer(ctx, tx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("build provider of tenant %s: %w", t.ID, err)
	}
	p := &Provider{
		Tenant: t, Settings: set, Issuer: t.Issuer(deps.Base, Mount), deps: deps, platform: platform, longest: longest, keys: keys, sealer: sealer,
		tokens: tokensOf(sealer, deps.Now),
		nonces: sealer.Derive("dpop-nonce-v1", 32), pairwise: sealer.Derive("pairwise-v1", 32),
		states: sealer.Derive("browser-state-v1", 32),
		jwks:   newDocument("application/jwk-set+json", keys.JWKS()),
	}
	if p.discovery, err = discoveryDocument(p); err != nil {
		return nil, fmt.Errorf("build provider of tenant %s: %w", t.ID, err)
	}
	p.oauth2 = compose(p)
	return p, nil
}

// KeyPolicy says when the keys of tx's tenant are replaced. platform is what the platform has set for all tenants.
func KeyPolicy(ctx context.Context, tx *store.Tx, platform settings.Layer) (keyring.Policy, error) {
	set, err := settings.Load(ctx, tx, platform)
	if err != nil {
		return keyring.Policy{}, err
	}
	longest, err := settings.LongestTTL(platform, tx.Tenant())
	return keyPolicy(set, longest), err
}

// keyPolicy is KeyPolicy of a tenant with these settings. A key is needed for as long as the longest token that it may have signed lives,
// or comes back as the hint of a session (OpenID Connect RP-Initiated Logout section 2). A client's own lifetimes may be above the
// tenant's, and not above longest.
func keyPolicy(set settings.Settings, longest settings.TokenTTL) keyring.Policy {
	store := set.Security.KeyStore
	p := keyring.Policy{
		Interval:       time.Duration(store.RotationIntervalDays) * 24 * time.Hour,
		PromotionDelay: time.Duration(store.PromotionDelayMS) * time.Millisecond,
		Overlap:        settings.Seconds(store.OverlapWindowSeconds),
	}
	needed := 0
	for _, ttl := range []settings.TokenTTL{set.OIDC.TokenTTL, longest} {
		needed = max(needed, ttl.AccessToken, ttl.ClientCredentials, ttl.IDToken)
	}
	for _, r := range set.OIDC.ResourceServers {
		needed = max(needed, r.AccessTokenTTL)
	}
	p.Overlap = max(p.Overlap, settings.Seconds(needed), set.Security.Authentication.Session.Absolute())
	return p
}

// extraKeys are the algorithms a tenant needs a key for and others do not.
func extraKeys(set settings.Settings) []string {
	var algs []string
	if set.Features.OIDC.Encryption.Enabled {
		algs = names(keyring.Encryptions)
	}
	if slices.ContainsFunc(set.OIDC.ResourceServers, func(r settings.ResourceServer) bool { return r.SigningAlg == string(keyring.PS256) }) {
		algs = append(algs, string(keyring.PS256))
	}
	return algs
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
	f := p.Settings.Features.OIDC
	return session.Policy{
		Idle: s.Idle(), Absolute: s.Absolute(), Backchannel: f.BackchannelLogout.Enabled, KeepGrants: !f.ExpiresWithSession.Enabled,
		BindIP: s.BindIP, BindUserAgent: s.BindUserAgent, Most: s.MaxConcurrentSessions,
		Quota: p.Tenant.Quota.Sessions != nil,
	}
}

func (p *Provider) ttl() settings.TokenTTL { return p.Settings.OIDC.TokenTTL }

// inTenant and the two below are the store's transactions, for this provider's tenant and no other.
func (p *Provider) inTenant(ctx context.Context, fn func(context.Context, *store.Tx) error) error {
	return p.deps.Store.InTenant(ctx, p.Tenant.ID, fn)
}

func (p *Provider) askTenant(ctx context.Context, fn func(context.Context, *store.Tx) error) error {
	return p.deps.Store.AskTenant(ctx, p.Tenant.ID, fn)
}
