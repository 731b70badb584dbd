package tenant

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"golang.org/x/net/idna"

	"parako/internal/problem"
	"parako/internal/store"
)

// What resolution can answer besides a tenant. The messages repeat nothing of the request and do not tell a tenant that
// does not exist from one that was never heard of.
var (
	ErrMalformed = problem.New(problem.Invalid, "tenant_malformed", "Invalid tenant identifier format.")
	ErrRequired  = problem.New(problem.Invalid, "tenant_required", "Tenant identification required. No tenant could be resolved from the host name or the headers.")
	ErrAmbiguous = problem.New(problem.Invalid, "tenant_ambiguous", "The host name and the tenant header name different tenants.")
	ErrUnknown   = problem.New(problem.NotFound, "tenant_not_found", "Tenant not found.")
	ErrInactive  = problem.New(problem.Forbidden, "tenant_inactive", "Tenant is not active.")
)

// Inactive is ErrInactive with the name of the tenant, for the log alone.
type Inactive struct{ Slug string }

// Error implements error.
func (*Inactive) Error() string { return ErrInactive.Code }

// Unwrap makes it an ErrInactive.
func (*Inactive) Unwrap() error { return ErrInactive }

// Options configure a Resolver.
type Options struct {
	// Enabled is multi-tenancy; false makes every request the built-in tenant's.
	Enabled bool
	// FromHeader and FromHost say which sources count (MULTI_TENANCY_EXTRACTION_PRIORITY). Their order does not matter:
	// sources that disagree are refused.
	FromHeader, FromHost bool
	// Header is the tenant header's name.
	Header string
	// Base is the deployment's URL; tenants are single labels under its host.
	Base *url.URL
	// Trusted are the peers whose forwarded and tenant headers count.
	Trusted []netip.Prefix
	// Lenient lets a request that names no tenant be the built-in tenant's, with a warning. For development.
	Lenient bool
	Log     *slog.Logger
}

// Resolver finds the tenant of a request. It is safe for concurrent use.
type Resolver struct {
	o        Options
	registry *Registry
	baseHost string
}

// NewResolver makes a Resolver that looks names up in the registry.
func NewResolver(registry *Registry, o Options) *Resolver {
	return &Resolver{o: o, registry: registry, baseHost: hostName(o.Base.Hostname())}
}

// Resolve answers whose request r is. The order is: the header, if a trusted proxy sent it; the host, by verified custom
// domain or as one label under the base domain. Nothing named is the built-in tenant when lenient and ErrRequired
// otherwise. Errors are problems of this package, or the database's.
func (v *Resolver) Resolve(r *http.Request) (Tenant, error) {
	ctx := r.Context()
	if !v.o.Enabled {
		return v.registry.ByID(ctx, DefaultID)
	}
	trusted := v.trusts(r)
	named, err := v.fromHeader(ctx, r, trusted)
	if err != nil {
		return Tenant{}, err
	}
	host, domain, err := v.fromHost(r, trusted)
	if err != nil {
		return Tenant{}, err
	}
	if domain != "" {
		// A custom domain names its tenant by id; the header, by slug. They are compared as tenants.
		return v.byDomain(ctx, domain, named)
	}
	switch {
	case named != "" && host != "" && named != host:
		return Tenant{}, ErrAmbiguous
	case named == "":
		named = host
	}
	if named == "" {
		if !v.o.Lenient {
			return Tenant{}, ErrRequired
		}
		v.o.Log.WarnContext(ctx, "tenant_fallback_to_default", "path", r.URL.Path)
		return v.registry.ByID(ctx, DefaultID)
	}
	return v.bySlug(ctx, named)
}

// Gateway reports whether r is for the stateless gateway, by the same rules as Resolve and without looking anything up.
func (v *Resolver) Gateway(r *http.Request) bool {
	if !v.o.Enabled {
		return false
	}
	trusted := v.trusts(r)
	named, err := v.fromHeader(r.Context(), r, trusted)
	if err != nil {
		return false
	}
	host, domain, err := v.fromHost(r, trusted)
	if err != nil || domain != "" || named != "" && host != "" && named != host {
		return false
	}
	return named == OpsSlug || host == OpsSlug
}

// fromHeader is the slug the header names, or nothing. The built-in tenant cannot be asked for.
func (v *Resolver) fromHeader(ctx context.Context, r *http.Request, trusted bool) (string, error) {
	if !v.o.FromHeader {
		return "", nil
	}
	values := r.Header.Values(v.o.Header)
	if len(values) == 0 {
		return "", nil
	}
	if !trusted {
		// Anyone can send a header. Acting on it would let a visitor of one tenant's host become another's.
		v.o.Log.WarnContext(ctx, "tenant_header_from_untrusted_peer", "path", r.URL.Path)
		return "", nil
	}
	if len(values) > 1 {
		return "", ErrAmbiguous
	}
	slug := strings.TrimSpace(values[0])
	if slug == "" || slug == DefaultSlug {
		return "", nil
	}
	if !ValidSlug(slug) {
		return "", ErrMalformed
	}
	return slug, nil
}

// fromHost splits the host into a slug under the base domain or a foreign domain. Both are empty for the base domain
// itself, for an address, and when the host does not count.
func (v *Resolver) fromHost(r *http.Request, trusted bool) (slug, domain string, err error) {
	if !v.o.FromHost {
		return "", "", nil
	}
	return v.split(Host(r, trusted))
}

func (v *Resolver) split(host string) (slug, domain string, err error) {
	if host == "" {
		return "", "", ErrMalformed
	}
	if host == v.baseHost {
		return "", "", nil
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return "", "", nil
	}
	label, ok := strings.CutSuffix(host, "."+v.baseHost)
	if !ok {
		return "", host, nil
	}
	if strings.Contains(label, ".") {
		return "", "", ErrUnknown
	}
	if !ValidSlug(label) {
		return "", "", ErrMalformed
	}
	if label == DefaultSlug {
		return "", "", ErrUnknown
	}
	return label, "", nil
}

func (v *Resolver) bySlug(ctx context.Context, slug string) (Tenant, error) {
	if slug == OpsSlug {
		return Ops(), nil
	}
	t, err := v.registry.ByName(ctx, "slug", slug)
	return served(t, err)
}

func (v *Resolver) byDomain(ctx context.Context, domain, named string) (Tenant, error) {
	t, err := v.registry.ByName(ctx, "host", domain)
	if err == nil && named != "" && named != t.Slug {
		return Tenant{}, ErrAmbiguous
	}
	return served(t, err)
}

func served(t Tenant, err error) (Tenant, error) {
	if errors.Is(err, store.ErrNotFound) {
		return Tenant{}, ErrUnknown
	}
	if err != nil {
		return Tenant{}, err
	}
	if t.Status != Active {
		return Tenant{}, &Inactive{Slug: t.Slug}
	}
	return t, nil
}

// Elsewhere is where a tenant that was found by its host wants its pages and documents to be asked for, when that is another host
// than that of the request: scheme and host of its issuer. A tenant whose issuer was written by hand moves nobody, nor does one that
// was chosen by the header alone.
func (v *Resolver) Elsewhere(r *http.Request, t Tenant) (origin string, elsewhere bool) {
	if !v.o.Enabled || t.IssuerURL != "" || t.Slug == OpsSlug {
		return "", false
	}
	slug, domain, err := v.fromHost(r, v.trusts(r))
	switch {
	case err != nil, slug == "" && domain == "":
		return "", false
	case t.Domain != "":
		elsewhere = domain != t.Domain
	default:
		elsewhere = slug != t.Slug
	}
	return t.Issuer(v.o.Base, ""), elsewhere
}

// Serves reports whether somebody is served at a host: a tenant that is active, the gateway, or the deployment itself at its base
// domain. Without multi-tenancy, and where hosts do not count, that is the base domain alone. An error is the database's.
func (v *Resolver) Serves(ctx context.Context, host string) (bool, error) {
	host = hostName(host)
	if host == v.baseHost {
		return true, nil
	}
	if !v.o.Enabled || !v.o.FromHost {
		return false, nil
	}
	slug, domain, err := v.split(host)
	switch {
	case err != nil:
		return false, nil //nolint:nilerr // What is no host of ours is no host of a tenant.
	case domain != "":
		_, err = v.byDomain(ctx, domain, "")
	case slug != "":
		_, err = v.bySlug(ctx, slug)
	default:
		return false, nil
	}
	if errors.Is(err, ErrUnknown) || errors.Is(err, ErrInactive) {
		return false, nil
	}
	return err == nil, err
}

// trusts reports whether the peer itself, not whoever it speaks for, is a configured proxy.
func (v *Resolver) trusts(r *http.Request) bool {
	return Trusted(r.RemoteAddr, v.o.Trusted)
}

// Trusted reports whether the address ("ip:port" or "ip") lies in one of the prefixes.
func Trusted(remote string, prefixes []netip.Prefix) bool {
	if host, _, err := net.SplitHostPort(remote); err == nil {
		remote = host
	}
	addr, err := netip.ParseAddr(remote)
	if err != nil {
		return false
	}
	addr = addr.Unmap()
	for _, p := range prefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// Host is the host name the request was sent to: lower case, ASCII, without port and final dot. X-Forwarded-Host counts
// only from a trusted peer, and only when there is exactly one. Empty: it is not a host name.
func Host(r *http.Request, trusted bool) string {
	host := r.Host
	if forwarded := r.Header.Values("X-Forwarded-Host"); trusted && len(forwarded) == 1 && !strings.Contains(forwarded[0], ",") {
		host = strings.TrimSpace(forwarded[0])
	}
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return hostName(host)
}

// hostName brings a host name without port into the one form in which names are compared, empty if it is none.
func hostName(host string) string {
	host = strings.TrimSuffix(host, ".")
	if host == "" || len(host) > 253 || strings.ContainsAny(host, "@/\\ \t%") {
		return ""
	}
	if ascii, err := idna.Lookup.ToASCII(host); err == nil {
		return ascii
	}
	// idna refuses underscores, which the special tenants use; such a host must be ASCII already.
	for _, c := range host {
		if c > 0x7e || c < 0x21 {
			return ""
		}
	}
	return strings.ToLower(host)
}

// Issuer is the tenant's issuer identifier: its own URL verbatim, else its domain, else its slug under the base domain,
// with the mount of the protocol endpoints behind it. The built-in tenant's is the base itself.
func (t Tenant) Issuer(base *url.URL, mount string) string {
	switch {
	case t.IssuerURL != "":
		return t.IssuerURL
	case t.Domain != "":
		return base.Scheme + "://" + t.Domain + mount
	case t.Slug == DefaultSlug:
		return base.Scheme + "://" + base.Host + mount
	}
	return base.Scheme + "://" + t.Slug + "." + base.Host + mount
}
