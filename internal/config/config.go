// Package config reads the process's environment once, checks it, and hands out a [Config]. It is the only package that
// looks at the environment. A wrong or missing value stops the start with one line per fault that says what to do; nothing
// secret is ever repeated.
package config

import (
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/caarlos0/env/v11"

	"parako/internal/secret"
)

// Environment is where the process runs. It decides how forgiving tenant resolution is.
type Environment string

// The known environments.
const (
	Development Environment = "development"
	Staging     Environment = "staging"
	Production  Environment = "production"
)

// Pooler is a program between the server and PostgreSQL that the server has to know about. Empty: there is none, or one that
// gives every client a session of its own.
type Pooler string

// TransactionPooler is pgbouncer with pool_mode = transaction, and what behaves like it: every transaction may get another
// session, so nothing is kept in one.
const TransactionPooler Pooler = "transaction"

// Config is everything the process takes from its environment. docs/operators.md is the reference of the names.
type Config struct {
	Environment Environment `env:"DEPLOYMENT_ENVIRONMENT"`
	// Host is the address to listen on; empty is every interface.
	Host string `env:"DEPLOYMENT_SERVER_HOST"`
	// Port is the TCP port of the public listener. Default 9007.
	Port int `env:"DEPLOYMENT_SERVER_PORT" envDefault:"9007"`
	// URL is the public base URL: its host is the base domain under which tenants are subdomains.
	URL string `env:"DEPLOYMENT_URL"`
	// ShutdownGrace is how long requests in flight may take after a signal. Default 10 s.
	ShutdownGrace time.Duration `env:"DEPLOYMENT_SHUTDOWN_GRACE" envDefault:"10s"`

	// DatabaseURL connects as the schema's owner; only migrations use it.
	DatabaseURL secret.String `env:"DATABASE_URL"`
	// PostgresURL connects as parako_app.
	PostgresURL secret.String `env:"STORAGE_POSTGRESQL_URL"`
	// PlatformURL connects as parako_platform.
	PlatformURL secret.String `env:"STORAGE_POSTGRESQL_PLATFORM_URL"`
	// Pooler is what these two URLs lead to when it is not PostgreSQL itself.
	Pooler Pooler `env:"STORAGE_POSTGRESQL_POOLER"`

	// RedisURL is redis:// or rediss://; empty means that every instance works alone.
	RedisURL secret.String `env:"REDIS_URL"`
	// RedisHost, RedisPort, RedisPassword and RedisDatabase are the parts of RedisURL for those who keep them apart.
	RedisHost     string        `env:"REDIS_HOST"`
	RedisPort     int           `env:"REDIS_PORT"     envDefault:"6379"`
	RedisPassword secret.String `env:"REDIS_PASSWORD"`
	RedisDatabase int           `env:"REDIS_DATABASE" envDefault:"0"`

	// EncryptionKey is the master key: 32 bytes as 64 hex or 44 base64 characters.
	EncryptionKey secret.String `env:"ENCRYPTION_KEY"`
	// EncryptionKeyPrevious opens what is wrapped by another master key while one replaces the other. Empty: there is none.
	EncryptionKeyPrevious secret.String `env:"ENCRYPTION_KEY_PREVIOUS"`

	// TrustedProxies are the peers whose X-Forwarded-* and tenant headers count. Empty: nobody's.
	TrustedProxies []netip.Prefix `env:"TRUSTED_PROXIES"`

	// ClientCertificateHeader is the header in which the trusted proxies pass on the certificate of a client (RFC 9440, or a
	// URL-encoded PEM as nginx makes it). Empty: they pass on none.
	ClientCertificateHeader string `env:"TLS_CLIENT_CERTIFICATE_HEADER"`
	// ClientCAFile is a PEM file with the authorities whose certificates clients may authenticate with (tls_client_auth). Empty:
	// there are none.
	ClientCAFile string `env:"TLS_CLIENT_CA_FILE"`

	// OutboundNetworks are private networks that addresses registered by clients may lie in. Empty: public addresses only.
	OutboundNetworks []netip.Prefix `env:"OUTBOUND_ALLOWED_NETWORKS"`

	// DNSResolver is the server that is asked for the records of custom domains. The zero value means those of the machine.
	DNSResolver netip.AddrPort `env:"DNS_RESOLVER_ADDR"`
	// DomainQuarantine is how long a custom domain that a tenant gave up is kept from others. Default 30 days.
	DomainQuarantine time.Duration `env:"CUSTOM_DOMAIN_QUARANTINE" envDefault:"720h"`

	MultiTenancy MultiTenancy `envPrefix:"MULTI_TENANCY_"`

	// BootstrapEmail and BootstrapPassword are of the account that makes the platform's first administrator. Empty: none is made.
	BootstrapEmail    string        `env:"PARAKO_BOOTSTRAP_ADMIN_EMAIL"`
	BootstrapPassword secret.String `env:"PARAKO_BOOTSTRAP_ADMIN_PASSWORD"`

	// ExportPassphrase encrypts and opens the files of tenants that move. Only the command line uses it.
	ExportPassphrase secret.String `env:"PARAKO_EXPORT_PASSPHRASE"`

	// MetricsAddr is the listener of /metrics, never the public one; "off" turns it off.
	MetricsAddr string `env:"METRICS_ADDR" envDefault:"127.0.0.1:9464"`

	LogLevel  string `env:"SECURITY_LOGGING_LEVEL"        envDefault:"info"`
	LogPretty bool   `env:"SECURITY_LOGGING_PRETTY_PRINT" envDefault:"false"`
}

// MultiTenancy is how a request finds its tenant and how many providers are kept.
type MultiTenancy struct {
	// Enabled: false serves the built-in tenant on every host.
	Enabled bool `env:"ENABLED" envDefault:"false"`
	// ExtractionPriority is a list of header and subdomain.
	ExtractionPriority []string `env:"EXTRACTION_PRIORITY" envDefault:"header,subdomain"`
	// TenantHeader is compared without regard to case.
	TenantHeader string `env:"TENANT_HEADER" envDefault:"x-tenant-id"`
	// Pool bounds the providers in memory: how many, how long unused, how often swept.
	PoolMaxSize         int   `env:"PROVIDER_POOL_MAX_SIZE"            envDefault:"50"`
	PoolIdleTTLMS       int64 `env:"PROVIDER_POOL_IDLE_TTL_MS"         envDefault:"1800000"`
	PoolCleanupInterval int64 `env:"PROVIDER_POOL_CLEANUP_INTERVAL_MS" envDefault:"60000"`
}

// From reports whether a source of the tenant counts.
func (m MultiTenancy) From(source string) bool {
	return slices.ContainsFunc(m.ExtractionPriority, func(s string) bool { return strings.TrimSpace(s) == source })
}

// PoolIdleTTL is how long an unused provider is kept.
func (m MultiTenancy) PoolIdleTTL() time.Duration {
	return time.Duration(m.PoolIdleTTLMS) * time.Millisecond
}

// PoolSweep is how often unused providers are looked for.
func (m MultiTenancy) PoolSweep() time.Duration {
	return time.Duration(m.PoolCleanupInterval) * time.Millisecond
}

// Load reads environ, in the form of os.Environ, and reports every value it cannot read, a line each. It checks what every
// command needs; [Config.ForServe] checks the rest.
func Load(environ []string) (Config, error) {
	var c Config
	err := env.ParseWithOptions(&c, env.Options{
		Environment: env.ToMap(environ),
		FuncMap: map[reflect.Type]env.ParserFunc{
			reflect.TypeFor[bool]():           parseBool,
			reflect.TypeFor[[]string]():       parseList,
			reflect.TypeFor[[]netip.Prefix](): parsePrefixes,
			reflect.TypeFor[Pooler]():         parsePooler,
			reflect.TypeFor[netip.AddrPort](): parseAddrPort,
		},
	})
	if err != nil {
		return Config{}, explain(err)
	}
	return c, nil
}

var errFormat = errors.New("not in the expected form")

// parseBool accepts less than strconv does: "1" and "t" are more often a mistake than a decision.
func parseBool(s string) (any, error) {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return nil, errFormat
}

func parsePooler(s string) (any, error) {
	if Pooler(s) != TransactionPooler {
		return nil, errFormat
	}
	return TransactionPooler, nil
}

func parseAddrPort(s string) (any, error) {
	at, err := netip.ParseAddrPort(strings.TrimSpace(s))
	if err != nil || at.Port() == 0 {
		return nil, errFormat
	}
	return at, nil
}

func parseList(s string) (any, error) {
	list := strings.Split(s, ",")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list, nil
}

// parsePrefixes takes a bare address for the prefix that holds it alone.
func parsePrefixes(s string) (any, error) {
	var prefixes []netip.Prefix
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		if addr, err := netip.ParseAddr(part); err == nil && addr.Zone() == "" {
			addr = addr.Unmap()
			prefixes = append(prefixes, netip.PrefixFrom(addr, addr.BitLen()))
			continue
		}
		prefix, err := netip.ParsePrefix(part)
		if err != nil {
			return nil, errFormat
		}
		prefixes = append(prefixes, prefix.Masked())
	}
	return prefixes, nil
}

// forms says in an operator's words what a variable of a type must be.
var forms = map[reflect.Type]string{
	reflect.TypeFor[bool]():           "true or false",
	reflect.TypeFor[int]():            "a whole number",
	reflect.TypeFor[int64]():          "a whole number",
	reflect.TypeFor[time.Duration]():  "a duration such as 10s",
	reflect.TypeFor[[]netip.Prefix](): "a list of addresses and prefixes such as 127.0.0.1, 10.0.0.0/8",
	reflect.TypeFor[Pooler]():         "transaction, or not set",
	reflect.TypeFor[netip.AddrPort](): "an address and a port such as 127.0.0.1:53 or [::1]:53",
}

// explain names the variables at fault without repeating their values, which may be secrets in the wrong place.
func explain(err error) error {
	list, ok := errors.AsType[env.AggregateError](err)
	if !ok {
		return errors.New("the environment cannot be read")
	}
	var lines []string
	for _, e := range list.Errors {
		fault, ok := errors.AsType[env.ParseError](e)
		if !ok {
			return errors.New("the environment cannot be read")
		}
		lines = append(lines, variable(reflect.TypeFor[Config](), "", fault.Name)+" must be "+forms[fault.Type])
	}
	return errors.New(strings.Join(lines, "\n"))
}

// variable finds the name of the variable behind a field of t: the library's error has only the field. The names of the
// fields of Config and of the structs in it must differ, which a test sees to.
func variable(t reflect.Type, prefix, field string) string {
	for f := range t.Fields() {
		if inner, ok := f.Tag.Lookup("envPrefix"); ok {
			if name := variable(f.Type, prefix+inner, field); name != "" {
				return name
			}
			continue
		}
		if f.Name == field {
			return prefix + f.Tag.Get("env")
		}
	}
	return ""
}

// ForServe checks what a server in production needs and reports every fault at once, a line each.
func (c Config) ForServe() error {
	var faults []string
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }

	switch c.Environment {
	case Development, Staging, Production:
	case "":
		fault("DEPLOYMENT_ENVIRONMENT is missing: set development, staging or production")
	default:
		fault("DEPLOYMENT_ENVIRONMENT is not known: set development, staging or production")
	}
	if c.Port < 1 || c.Port > 65535 {
		fault("DEPLOYMENT_SERVER_PORT must be between 1 and 65535")
	}
	if c.ShutdownGrace < 0 {
		fault("DEPLOYMENT_SHUTDOWN_GRACE must not be negative")
	}
	if c.DomainQuarantine < 0 {
		fault("CUSTOM_DOMAIN_QUARANTINE must not be negative")
	}
	if _, err := c.BaseURL(); err != nil {
		fault("%v", err)
	}
	if c.PostgresURL.Empty() {
		fault("STORAGE_POSTGRESQL_URL is missing: set postgres://parako_app:<password>@<host>/<database>")
	}
	if c.PlatformURL.Empty() {
		fault("STORAGE_POSTGRESQL_PLATFORM_URL is missing: set postgres://parako_platform:<password>@<host>/<database>")
	}
	if c.RedisPort < 1 || c.RedisPort > 65535 {
		fault("REDIS_PORT must be between 1 and 65535")
	}
	if c.RedisDatabase < 0 {
		fault("REDIS_DATABASE must not be negative")
	}
	if _, err := secret.ParseMasterKey(c.EncryptionKey.Reveal()); err != nil {
		fault("ENCRYPTION_KEY: %v", err)
	}
	if !c.EncryptionKeyPrevious.Empty() {
		if _, err := secret.ParseMasterKey(c.EncryptionKeyPrevious.Reveal()); err != nil {
			fault("ENCRYPTION_KEY_PREVIOUS: %v", err)
		}
	}
	for _, source := range c.MultiTenancy.ExtractionPriority {
		if source != "header" && source != "subdomain" {
			fault("MULTI_TENANCY_EXTRACTION_PRIORITY may list header and subdomain only")
			break
		}
	}
	if c.MultiTenancy.TenantHeader == "" {
		fault("MULTI_TENANCY_TENANT_HEADER must not be empty")
	}
	if c.MultiTenancy.PoolMaxSize < 1 {
		fault("MULTI_TENANCY_PROVIDER_POOL_MAX_SIZE must be at least 1")
	}
	if c.MultiTenancy.PoolIdleTTLMS < 1 || c.MultiTenancy.PoolCleanupInterval < 1 {
		fault("MULTI_TENANCY_PROVIDER_POOL_IDLE_TTL_MS and _CLEANUP_INTERVAL_MS must be positive")
	}
	for _, text := range c.bootstrapFaults() {
		fault("%s", text)
	}
	if len(faults) > 0 {
		return errors.New(strings.Join(faults, "\n"))
	}
	return nil
}

// A bootstrap password is at least this long, and at most as long as any password may be.
const (
	minBootstrapPassword = 12
	maxBootstrapPassword = 128
)

// bootstrapFaults are what is wrong with the account that makes the first administrator.
func (c Config) bootstrapFaults() []string {
	if c.BootstrapEmail == "" && c.BootstrapPassword.Empty() {
		return nil
	}
	if c.BootstrapEmail == "" || c.BootstrapPassword.Empty() {
		return []string{"PARAKO_BOOTSTRAP_ADMIN_EMAIL and PARAKO_BOOTSTRAP_ADMIN_PASSWORD belong together: set both, or neither"}
	}
	var faults []string
	if a, err := mail.ParseAddress(c.BootstrapEmail); err != nil || a.Address != c.BootstrapEmail {
		faults = append(faults, "PARAKO_BOOTSTRAP_ADMIN_EMAIL must be an email address")
	}
	if n := utf8.RuneCountInString(c.BootstrapPassword.Reveal()); n < minBootstrapPassword || n > maxBootstrapPassword {
		faults = append(faults, "PARAKO_BOOTSTRAP_ADMIN_PASSWORD must have 12 to 128 characters")
	}
	return faults
}

// BaseURL is DEPLOYMENT_URL, checked: http or https, a host, and nothing behind it.
func (c Config) BaseURL() (*url.URL, error) {
	if c.URL == "" {
		return nil, errors.New("DEPLOYMENT_URL is missing: set the public base URL, such as https://id.example.com")
	}
	u, err := url.Parse(strings.TrimSuffix(c.URL, "/"))
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "" || u.Path != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.User != nil {
		return nil, errors.New("DEPLOYMENT_URL must be a scheme and a host, such as https://id.example.com")
	}
	if u.Scheme == "http" && c.Environment == Production && !isLoopback(u.Hostname()) {
		return nil, errors.New("DEPLOYMENT_URL must be https in production")
	}
	u.Host = strings.ToLower(u.Host)
	return u, nil
}

func isLoopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// Redis is the URL to connect with, from REDIS_URL or its parts. Empty: none is configured.
func (c Config) Redis() secret.String {
	if !c.RedisURL.Empty() || c.RedisHost == "" {
		return c.RedisURL
	}
	u := url.URL{Scheme: "redis", Host: net.JoinHostPort(c.RedisHost, fmt.Sprint(c.RedisPort)), Path: fmt.Sprint(c.RedisDatabase)}
	if !c.RedisPassword.Empty() {
		u.User = url.UserPassword("", c.RedisPassword.Reveal())
	}
	return secret.NewString(u.String())
}

// ListenAddr is the address of the public listener.
func (c Config) ListenAddr() string {
	return net.JoinHostPort(c.Host, fmt.Sprint(c.Port))
}
