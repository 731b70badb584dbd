// Package federation brings people in from upstream identity providers. So far it owns the relay: a provider knows one redirect URI
// of the whole deployment, at the stateless gateway _ops, and the relay takes its answer from there to the tenant, the provider and
// the browser that the sign-in began with, and to no other.
//
// It refuses to trust anything on the way. The state that travels through the provider is signed; the code waits in Redis, sealed,
// for two minutes and is taken once; what belongs to the browser is sealed in a cookie of the tenant's host. So whoever sees an
// address, steals what is in Redis, or sends a person a link, gets nobody signed in. The gateway needs no database: every key is
// derived from the master key.
//
// The package knows nothing of HTTP. Start reading at [Relay.Begin], then [Relay.Receive] and [Relay.Complete], which is the order of
// a sign-in.
package federation

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"

	"parako/internal/cache"
	"parako/internal/problem"
	"parako/internal/ratelimit"
	"parako/internal/secret"
	"parako/internal/store"
	"parako/internal/telemetry"
	"parako/internal/tenant"
)

const (
	// stateLife is how long a person may take at the provider.
	stateLife = 10 * time.Minute
	// codeLife is how long a code waits for the browser, which is on its way already.
	codeLife = 2 * time.Minute
	// CookieLife is how long the browser must remember a sign-in: until the last moment at which its code may be fetched.
	CookieLife = stateLife + codeLife

	// maxCode bounds what is kept of a provider: the longest codes, of Microsoft, have about two thousand characters.
	maxCode = 4096
)

// What the relay refuses. The messages repeat nothing of the request and do not tell one cause from another where that would help
// whoever tries.
var (
	ErrHost        = problem.New(problem.Invalid, "social_host", "Sign-in with another account is not possible at this address.")
	ErrCallback    = problem.New(problem.Invalid, "social_callback_invalid", "Invalid code or state parameter")
	ErrState       = problem.New(problem.Invalid, "social_state_invalid", "Invalid state")
	ErrStateAge    = problem.New(problem.Invalid, "social_state_expired", "State expired")
	ErrOver        = problem.New(problem.Invalid, "social_over", "This sign-in is over. Begin again.")
	ErrUnavailable = problem.New(problem.Unavailable, "social_unavailable", "Service unavailable")
	ErrPlain       = problem.New(problem.Unavailable, "social_misconfigured", "Service misconfigured")
	ErrTooMany     = problem.New(problem.TooMany, "social_too_many", "Too many attempts")
)

// Throttled is ErrTooMany with the time to wait.
type Throttled struct{ RetryAfter time.Duration }

// Error implements error.
func (*Throttled) Error() string { return ErrTooMany.Code }

// Unwrap makes it an ErrTooMany.
func (*Throttled) Unwrap() error { return ErrTooMany }

// Relay carries answers of upstream providers from the gateway to the tenants. All instances make the same of the same keys. Safe for
// concurrent use; fill the fields before the first use.
type Relay struct {
	// Keys are the master keys: the first signs and seals, all verify and open, so that a change of the key breaks no sign-in.
	Keys []secret.MasterKey
	// Redis holds the codes. Without it no sign-in begins, and none that has begun comes back.
	Redis   *cache.Cache
	Limiter *ratelimit.Limiter
	Metrics *telemetry.Metrics
	// Base is the deployment's URL.
	Base *url.URL
	// LeadsTo finds the tenant that a verified host leads to, as requests are taken to it; store.ErrNotFound: none. Without it a
	// sign-in begins below Base and at the primary domain only.
	LeadsTo func(ctx context.Context, host string) (tenant.Tenant, error)
	// Plain lets Base be http. For development.
	Plain bool
	Now   func() time.Time
}

// Start is what a sign-in at a provider begins with.
type Start struct {
	// State, Nonce and Challenge (PKCE, S256: RFC 7636 section 4.2) go into the request to the provider, with RedirectURI.
	State, Nonce, Challenge, RedirectURI string
	// Cookie is the id of the cookie in which the browser keeps Sealed, for [CookieLife].
	Cookie, Sealed string
}

// Arrival is what came back from a provider: a code or a refusal.
type Arrival struct {
	// Code is redeemed with Verifier and RedirectURI. It is empty when the provider refused.
	Code, Verifier secret.String
	RedirectURI    string
	// Nonce must be in the ID token, where the provider gives one.
	Nonce string
	// Refusal is the provider's error (RFC 6749 section 4.1.2.1), in the provider's words: access_denied when the person said no.
	Refusal string
	// Issuer is what the provider calls itself (RFC 9207); empty when it did not say. Compare it with what is expected.
	Issuer string
	// Cookie is the id of the browser's cookie, which has served.
	Cookie string
}

// memory is what the browser keeps of a sign-in, sealed for its tenant, provider and state.
type memory struct {
	Proof    string `json:"p"` // a random secret; its digest is in the state
	Verifier string `json:"v"`
	Nonce    string `json:"n"`
	Expires  int64  `json:"x"` // seconds since 1970
}

// parcel is what waits in Redis, sealed for its tenant, provider and state.
type parcel struct {
	Code    string `json:"code,omitempty"`
	Refusal string `json:"error,omitempty"`
	Issuer  string `json:"iss,omitempty"`
}

// Callback is a provider's answer as it reached the gateway. Either Code or Error is set.
type Callback struct{ State, Code, Error, Issuer string }

var (
	providerFormat = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)
	refFormat      = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)
	// errorFormat are the characters of an error (RFC 6749 section 4.1.2.1).
	errorFormat  = regexp.MustCompile(`^[\x20-\x21\x23-\x5b\x5d-\x7e]{1,128}$`)
	issuerFormat = regexp.MustCompile(`^https://[\x21-\x7e]{1,500}$`)
)

// RedirectURI is where the provider sends its answers: at the gateway, for all tenants. It is what the platform registers there.
func (r *Relay) RedirectURI(provider string) string {
	return r.Base.Scheme + "://" + tenant.OpsSlug + "." + r.Base.Host + "/social/" + provider + "/callback"
}

// Begin begins a sign-in at the provider from the tenant's host, as the browser named it, with its port, and counts it for the
// subject ([ratelimit.IP]). It fails with ErrHost when the tenant is not served there, ErrUnavailable without Redis, ErrPlain without
// https, and with a Throttled.
func (r *Relay) Begin(ctx context.Context, t tenant.Tenant, host, provider, subject string) (Start, error) {
	if err := r.ready(); err != nil {
		return Start{}, err
	}
	host, err := r.hostOf(ctx, t, host)
	if err != nil {
		return Start{}, err
	}
	if !providerFormat.MatchString(provider) {
		return Start{}, fmt.Errorf("begin a sign-in: %.40q is no name of a provider", provider)
	}
	if err := r.allow(ctx, t.ID, ratelimit.SocialLogin(), subject); err != nil {
		return Start{}, err
	}
	expires := r.Now().Add(stateLife)
	m := memory{Proof: secret.Token(), Verifier: secret.Token(), Nonce: secret.Token(), Expires: expires.Add(codeLife).Unix()}
	s := state{tenant: t.ID, provider: provider, expires: expires, browser: [32]byte(secret.Digest(m.Proof)), host: host}
	plain, err := json.Marshal(m)
	if err != nil {
		return Start{}, fmt.Errorf("encode what the browser keeps: %w", err)
	}
	sealed, err := r.seal("cookie", s.tenant, provider, s.browser, plain)
	if err != nil {
		return Start{}, err
	}
	return Start{
		State: r.sign(s), Nonce: m.Nonce, Challenge: base64.RawURLEncoding.EncodeToString(secret.Digest(m.Verifier)), RedirectURI: r.RedirectURI(provider),
		Cookie: s.cookie(), Sealed: base64.RawURLEncoding.EncodeToString(sealed),
	}, nil
}

// Receive takes a provider's answer at the gateway and returns where the browser goes on: at the tenant's host, with a reference that
// is good once. An error of the provider is taken there like a code. Nothing is kept and nobody is sent anywhere before the state is
// known to be ours, young and for this provider; it fails with ErrCallback, ErrState, ErrStateAge, ErrUnavailable, ErrPlain and a
// Throttled.
//
// The state is not spent: whoever reloads gets another reference, for the same browser alone, and the code is good once at the
// provider.
func (r *Relay) Receive(ctx context.Context, provider string, c Callback, subject string) (string, error) {
	if !r.secure() {
		return "", ErrPlain
	}
	if !providerFormat.MatchString(provider) || !c.valid() {
		return "", ErrCallback
	}
	s, err := r.verify(c.State)
	if err != nil {
		return "", err
	}
	if s.provider != provider {
		return "", ErrState.Because(errors.New("for another provider"))
	}
	if err := r.ready(); err != nil {
		return "", err
	}
	if err := r.allow(ctx, s.tenant, ratelimit.SocialCallback(), subject); err != nil {
		return "", err
	}
	plain, err := json.Marshal(parcel{Code: c.Code, Refusal: c.Error, Issuer: c.Issuer})
	if err != nil {
		return "", fmt.Errorf("encode what waits for the browser: %w", err)
	}
	sealed, err := r.seal("code", s.tenant, provider, s.browser, plain)
	if err != nil {
		return "", err
	}
	ref := secret.Token()
	kept, err := r.Redis.Put(ctx, refKey(s.tenant, ref), append(s.browser[:], sealed...), codeLife)
	if err != nil {
		return "", ErrUnavailable.Because(err)
	}
	if !kept {
		return "", ErrUnavailable.Because(errors.New("the reference is taken"))
	}
	return r.Base.Scheme + "://" + s.host + "/auth/social/" + provider + "/complete?ref=" + ref, nil
}

// valid reports whether the answer has the form of one.
func (c Callback) valid() bool {
	switch {
	case c.State == "", (c.Code == "") == (c.Error == ""), len(c.Code) > maxCode:
		return false
	case c.Error != "" && !errorFormat.MatchString(c.Error), c.Issuer != "" && !issuerFormat.MatchString(c.Issuer):
		return false
	}
	return true
}

// Complete takes what waits for the reference, at the tenant's host. cookie returns what the browser keeps under the id of a
// [Start]. Whatever is wrong, the reference is spent: an unknown or used one, another tenant's, another provider's, and the browser
// of somebody else all get ErrOver. It fails with ErrUnavailable without Redis.
func (r *Relay) Complete(ctx context.Context, tenantID uuid.UUID, provider, ref string, cookie func(id string) string) (Arrival, error) {
	if !providerFormat.MatchString(provider) || !refFormat.MatchString(ref) {
		return Arrival{}, ErrOver
	}
	kept, found, err := r.Redis.Take(ctx, refKey(tenantID, ref))
	if err != nil {
		return Arrival{}, ErrUnavailable.Because(err)
	}
	var browser [32]byte
	if !found || copy(browser[:], kept) != len(browser) {
		return Arrival{}, ErrOver
	}
	var p parcel
	if err := r.open("code", tenantID, provider, browser, kept[len(browser):], &p); err != nil {
		return Arrival{}, ErrOver.Because(err)
	}
	id := state{browser: browser}.cookie()
	sealed, err := base64.RawURLEncoding.DecodeString(cookie(id))
	if err != nil {
		return Arrival{}, ErrOver.Because(errors.New("the cookie is not ours"))
	}
	var m memory
	if err := r.open("cookie", tenantID, provider, browser, sealed, &m); err != nil {
		return Arrival{}, ErrOver.Because(err)
	}
	// Login CSRF: somebody sends a person the reference to their own account.
	if !secret.Equal(secret.Digest(m.Proof), browser[:]) {
		return Arrival{}, ErrOver.Because(errors.New("another browser"))
	}
	if r.Now().Unix() >= m.Expires {
		return Arrival{}, ErrOver.Because(errors.New("the cookie is too old"))
	}
	return Arrival{
		Code: secret.NewString(p.Code), Verifier: secret.NewString(m.Verifier), RedirectURI: r.RedirectURI(provider), Nonce: m.Nonce,
		Refusal: p.Refusal, Issuer: p.Issuer, Cookie: id,
	}, nil
}

// ready fails when a sign-in that begins now could not end.
func (r *Relay) ready() error {
	switch {
	case !r.secure():
		return ErrPlain
	case !r.Redis.Available():
		return ErrUnavailable
	}
	return nil
}

// secure reports whether codes travel under TLS, or need not.
func (r *Relay) secure() bool { return r.Base.Scheme == "https" || r.Plain }

func (r *Relay) allow(ctx context.Context, tenantID uuid.UUID, limit ratelimit.Limit, subject string) error {
	if d := r.Limiter.Allow(ctx, tenantID, limit, subject); !d.Allowed {
		r.Metrics.RateLimited(limit.Name)
		return &Throttled{RetryAfter: d.RetryAfter}
	}
	return nil
}

// refKey is where a parcel waits. Redis has the reference's digest only: who reads it cannot use it.
func refKey(tenantID uuid.UUID, ref string) cache.Key {
	return cache.TenantKey(tenantID, "social", base64.RawURLEncoding.EncodeToString(secret.Digest(ref)))
}

const purposeSeal = "social-relay-seal-v1"

// seal encrypts for one sign-in, known by the digest of its browser's secret. kind is what it is.
func (r *Relay) seal(kind string, tenantID uuid.UUID, provider string, browser [32]byte, plain []byte) ([]byte, error) {
	sealer, err := secret.NewSealer(tenantID, r.Keys[0].Derive(tenantID, purposeSeal, 32))
	if err != nil {
		return nil, fmt.Errorf("seal a sign-in: %w", err)
	}
	return sealer.Seal("social "+kind, provider, hex.EncodeToString(browser[:]), plain)
}

// open decrypts into v what seal made with one of the keys.
func (r *Relay) open(kind string, tenantID uuid.UUID, provider string, browser [32]byte, sealed []byte, v any) error {
	for _, key := range r.Keys {
		sealer, err := secret.NewSealer(tenantID, key.Derive(tenantID, purposeSeal, 32))
		if err != nil {
			return fmt.Errorf("open a sign-in: %w", err)
		}
		plain, err := sealer.Open("social "+kind, provider, hex.EncodeToString(browser[:]), sealed)
		if err == nil {
			return json.Unmarshal(plain, v)
		}
	}
	return fmt.Errorf("open the %s: %w", kind, secret.ErrOpen)
}

// hostOf is the host, in its one form, if the tenant is served there: under the base domain, or at one of its verified domains with the
// port of the deployment or none. Nothing else is believed, because the code is sent there.
func (r *Relay) hostOf(ctx context.Context, t tenant.Tenant, host string) (string, error) {
	host = strings.ToLower(host)
	own := t.Slug + "." + r.Base.Host
	if t.ID == tenant.DefaultID {
		own = r.Base.Host
	}
	if host == own || t.Domain != "" && (host == t.Domain || r.Base.Port() != "" && host == t.Domain+":"+r.Base.Port()) {
		return host, nil
	}
	name := host
	if port := r.Base.Port(); port != "" {
		name = strings.TrimSuffix(host, ":"+port)
	}
	if r.LeadsTo == nil || name == "" || strings.ContainsAny(name, ":/@") {
		return "", ErrHost
	}
	found, err := r.LeadsTo(ctx, name)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && found.ID != t.ID:
		return "", ErrHost
	case err != nil:
		return "", fmt.Errorf("find the tenant of the host: %w", err)
	}
	return host, nil
}
