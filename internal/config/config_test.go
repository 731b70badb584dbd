package config_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"parako/internal/config"
	"parako/internal/secret"
)

// canary is in every secret of these tests: nothing the package prints may contain it.
const canary = "hunter2"

// complete is an environment that a server accepts.
func complete() map[string]string {
	return map[string]string{
		"DEPLOYMENT_ENVIRONMENT":          "production",
		"DEPLOYMENT_URL":                  "https://id.example.com",
		"STORAGE_POSTGRESQL_URL":          "postgres://parako_app:" + canary + "@db/parako",
		"STORAGE_POSTGRESQL_PLATFORM_URL": "postgres://parako_platform:" + canary + "@db/parako",
		"ENCRYPTION_KEY":                  "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
	}
}

// environ is complete with changes: name=value pairs, and a bare name to leave out.
func environ(changes ...string) []string {
	vars := complete()
	for _, change := range changes {
		if name, value, ok := strings.Cut(change, "="); ok {
			vars[name] = value
		} else {
			delete(vars, name)
		}
	}
	var list []string
	for name, value := range vars {
		list = append(list, name+"="+value)
	}
	return list
}

func load(t *testing.T, changes ...string) config.Config {
	t.Helper()
	c, err := config.Load(environ(changes...))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	got, err := config.Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := config.Config{
		Port: 9007, ShutdownGrace: 10 * time.Second, RedisPort: 6379,
		MultiTenancy: config.MultiTenancy{
			ExtractionPriority: []string{"header", "subdomain"}, TenantHeader: "x-tenant-id",
			PoolMaxSize: 50, PoolIdleTTLMS: 1_800_000, PoolCleanupInterval: 60_000,
		},
		MetricsAddr: "127.0.0.1:9464", LogLevel: "info", DomainQuarantine: 30 * 24 * time.Hour,
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Errorf("defaults mismatch (-want +got)\n%s", diff)
	}
	if got.ListenAddr() != ":9007" {
		t.Errorf("ListenAddr = %q, want :9007", got.ListenAddr())
	}
}

func TestLoadTakesEveryVariable(t *testing.T) {
	t.Parallel()
	got := load(t,
		"DEPLOYMENT_ENVIRONMENT=staging", "DEPLOYMENT_SERVER_HOST=::1", "DEPLOYMENT_SERVER_PORT=80", "DEPLOYMENT_SHUTDOWN_GRACE=1m30s",
		"DATABASE_URL=postgres://owner@db/parako", "STORAGE_POSTGRESQL_POOLER=transaction", "REDIS_URL=rediss://cache:6380/2",
		"TRUSTED_PROXIES=127.0.0.1", "DNS_RESOLVER_ADDR=[::1]:5353", "CUSTOM_DOMAIN_QUARANTINE=48h",
		"MULTI_TENANCY_ENABLED=TRUE", "MULTI_TENANCY_EXTRACTION_PRIORITY= subdomain , header", "MULTI_TENANCY_TENANT_HEADER=X-Org",
		"MULTI_TENANCY_PROVIDER_POOL_MAX_SIZE=7", "MULTI_TENANCY_PROVIDER_POOL_IDLE_TTL_MS=8", "MULTI_TENANCY_PROVIDER_POOL_CLEANUP_INTERVAL_MS=9",
		"METRICS_ADDR=:1", "SECURITY_LOGGING_LEVEL=debug", "SECURITY_LOGGING_PRETTY_PRINT=True")
	want := config.Config{
		Environment: config.Staging, Host: "::1", Port: 80, URL: "https://id.example.com", ShutdownGrace: 90 * time.Second,
		DatabaseURL: secret.NewString("postgres://owner@db/parako"),
		PostgresURL: secret.NewString(complete()["STORAGE_POSTGRESQL_URL"]),
		PlatformURL: secret.NewString(complete()["STORAGE_POSTGRESQL_PLATFORM_URL"]),
		Pooler:      config.TransactionPooler,
		RedisURL:    secret.NewString("rediss://cache:6380/2"), RedisPort: 6379,
		EncryptionKey:  secret.NewString(complete()["ENCRYPTION_KEY"]),
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
		DNSResolver:    netip.MustParseAddrPort("[::1]:5353"), DomainQuarantine: 48 * time.Hour,
		MultiTenancy: config.MultiTenancy{
			Enabled: true, ExtractionPriority: []string{"subdomain", "header"}, TenantHeader: "X-Org",
			PoolMaxSize: 7, PoolIdleTTLMS: 8, PoolCleanupInterval: 9,
		},
		MetricsAddr: ":1", LogLevel: "debug", LogPretty: true,
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(samePrefix), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Errorf("Load mismatch (-want +got)\n%s", diff)
	}
	if err := got.ForServe(); err != nil {
		t.Errorf("ForServe: %v", err)
	}
	if got.ListenAddr() != "[::1]:80" {
		t.Errorf("ListenAddr = %q, want [::1]:80", got.ListenAddr())
	}
}

func samePrefix(a, b netip.Prefix) bool { return a == b }

func TestFaults(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		changes []string
		want    []string
	}{
		"nothing is wrong": {},
		"all that is required is missing": {
			changes: []string{
				"DEPLOYMENT_ENVIRONMENT", "DEPLOYMENT_URL", "STORAGE_POSTGRESQL_URL", "STORAGE_POSTGRESQL_PLATFORM_URL", "ENCRYPTION_KEY",
			},
			want: []string{
				"DEPLOYMENT_ENVIRONMENT is missing: set development, staging or production",
				"DEPLOYMENT_URL is missing: set the public base URL, such as https://id.example.com",
				"STORAGE_POSTGRESQL_URL is missing: set postgres://parako_app:<password>@<host>/<database>",
				"STORAGE_POSTGRESQL_PLATFORM_URL is missing: set postgres://parako_platform:<password>@<host>/<database>",
				"ENCRYPTION_KEY: master key must be 64 hex digits or 44 characters of base64 (make one with: openssl rand -hex 32)",
			},
		},
		"an unknown environment": {
			changes: []string{"DEPLOYMENT_ENVIRONMENT=" + canary},
			want:    []string{"DEPLOYMENT_ENVIRONMENT is not known: set development, staging or production"},
		},
		"a port out of range": {
			changes: []string{"DEPLOYMENT_SERVER_PORT=65536", "REDIS_PORT=0", "REDIS_DATABASE=-1"},
			want: []string{
				"DEPLOYMENT_SERVER_PORT must be between 1 and 65535", "REDIS_PORT must be between 1 and 65535",
				"REDIS_DATABASE must not be negative",
			},
		},
		"a grace that is over before it begins": {
			changes: []string{"DEPLOYMENT_SHUTDOWN_GRACE=-1s"},
			want:    []string{"DEPLOYMENT_SHUTDOWN_GRACE must not be negative"},
		},
		"a short key": {
			changes: []string{"ENCRYPTION_KEY=" + canary},
			want:    []string{"ENCRYPTION_KEY: master key must be 64 hex digits or 44 characters of base64 (make one with: openssl rand -hex 32)"},
		},
		"a sample key": {
			changes: []string{"ENCRYPTION_KEY=" + strings.Repeat("0", 64)},
			want:    []string{"ENCRYPTION_KEY: master key is not random (make one with: openssl rand -hex 32)"},
		},
		"a short key beside the new one": {
			changes: []string{"ENCRYPTION_KEY_PREVIOUS=" + canary},
			want:    []string{"ENCRYPTION_KEY_PREVIOUS: master key must be 64 hex digits or 44 characters of base64 (make one with: openssl rand -hex 32)"},
		},
		"a base URL with a password": {
			changes: []string{"DEPLOYMENT_URL=https://me:" + canary + "@id.example.com"},
			want:    []string{"DEPLOYMENT_URL must be a scheme and a host, such as https://id.example.com"},
		},
		"an unknown source of the tenant": {
			changes: []string{"MULTI_TENANCY_EXTRACTION_PRIORITY=cookie,path"},
			want:    []string{"MULTI_TENANCY_EXTRACTION_PRIORITY may list header and subdomain only"},
		},
		"a hole in the list of sources": {
			changes: []string{"MULTI_TENANCY_EXTRACTION_PRIORITY=header,,subdomain"},
			want:    []string{"MULTI_TENANCY_EXTRACTION_PRIORITY may list header and subdomain only"},
		},
		"a pool of nothing": {
			changes: []string{"MULTI_TENANCY_PROVIDER_POOL_MAX_SIZE=0", "MULTI_TENANCY_PROVIDER_POOL_IDLE_TTL_MS=0"},
			want: []string{
				"MULTI_TENANCY_PROVIDER_POOL_MAX_SIZE must be at least 1",
				"MULTI_TENANCY_PROVIDER_POOL_IDLE_TTL_MS and _CLEANUP_INTERVAL_MS must be positive",
			},
		},
		"a first administrator without a password": {
			changes: []string{"PARAKO_BOOTSTRAP_ADMIN_EMAIL=" + canary + "@example.com"},
			want:    []string{"PARAKO_BOOTSTRAP_ADMIN_EMAIL and PARAKO_BOOTSTRAP_ADMIN_PASSWORD belong together: set both, or neither"},
		},
		"a password without a first administrator": {
			changes: []string{"PARAKO_BOOTSTRAP_ADMIN_PASSWORD=" + canary + canary},
			want:    []string{"PARAKO_BOOTSTRAP_ADMIN_EMAIL and PARAKO_BOOTSTRAP_ADMIN_PASSWORD belong together: set both, or neither"},
		},
		"a first administrator who is none": {
			changes: []string{"PARAKO_BOOTSTRAP_ADMIN_EMAIL=Me <" + canary + "@example.com>", "PARAKO_BOOTSTRAP_ADMIN_PASSWORD=eleven char"},
			want: []string{
				"PARAKO_BOOTSTRAP_ADMIN_EMAIL must be an email address", "PARAKO_BOOTSTRAP_ADMIN_PASSWORD must have 12 to 128 characters",
			},
		},
		"a first administrator": {
			changes: []string{"PARAKO_BOOTSTRAP_ADMIN_EMAIL=me@example.com", "PARAKO_BOOTSTRAP_ADMIN_PASSWORD=twelve chars"},
		},
		"values of another type": {
			changes: []string{
				"DEPLOYMENT_SERVER_PORT=" + canary, "DEPLOYMENT_SHUTDOWN_GRACE=10", "REDIS_PORT=1e3", "REDIS_DATABASE=one",
				"TRUSTED_PROXIES=" + canary, "MULTI_TENANCY_ENABLED=yes", "MULTI_TENANCY_PROVIDER_POOL_MAX_SIZE=many",
				"MULTI_TENANCY_PROVIDER_POOL_IDLE_TTL_MS=30m", "SECURITY_LOGGING_PRETTY_PRINT=" + canary,
				"STORAGE_POSTGRESQL_POOLER=session", "DNS_RESOLVER_ADDR=dns.example", "CUSTOM_DOMAIN_QUARANTINE=30d",
			},
			want: []string{
				"DEPLOYMENT_SERVER_PORT must be a whole number",
				"DEPLOYMENT_SHUTDOWN_GRACE must be a duration such as 10s",
				"STORAGE_POSTGRESQL_POOLER must be transaction, or not set",
				"REDIS_PORT must be a whole number",
				"REDIS_DATABASE must be a whole number",
				"TRUSTED_PROXIES must be a list of addresses and prefixes such as 127.0.0.1, 10.0.0.0/8",
				"DNS_RESOLVER_ADDR must be an address and a port such as 127.0.0.1:53 or [::1]:53",
				"CUSTOM_DOMAIN_QUARANTINE must be a duration such as 10s",
				"MULTI_TENANCY_ENABLED must be true or false",
				"MULTI_TENANCY_PROVIDER_POOL_MAX_SIZE must be a whole number",
				"MULTI_TENANCY_PROVIDER_POOL_IDLE_TTL_MS must be a whole number",
				"SECURITY_LOGGING_PRETTY_PRINT must be true or false",
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := config.Load(environ(tt.changes...))
			if err == nil {
				err = c.ForServe()
			}
			var got []string
			if err != nil {
				got = strings.Split(err.Error(), "\n")
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("faults mismatch (-want +got)\n%s", diff)
			}
			if err != nil && strings.Contains(err.Error(), canary) {
				t.Errorf("the faults repeat a value: %v", err)
			}
		})
	}
}

func TestBooleans(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ want, valid bool }{
		"true": {true, true}, "TRUE": {true, true}, "True": {true, true},
		"false": {false, true}, "FALSE": {false, true}, "fAlSe": {false, true}, "": {false, true},
		"1": {}, "0": {}, "t": {}, "F": {}, "yes": {}, "on": {}, "enabled": {},
	}
	for value, tt := range tests {
		t.Run(value, func(t *testing.T) {
			t.Parallel()
			c, err := config.Load([]string{"MULTI_TENANCY_ENABLED=" + value})
			if (err == nil) != tt.valid || c.MultiTenancy.Enabled != tt.want {
				t.Errorf("%q is %t, %v; want %t, valid: %t", value, c.MultiTenancy.Enabled, err, tt.want, tt.valid)
			}
		})
	}
}

func TestTrustedProxies(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		value string
		want  []string
		fails bool
	}{
		"nobody":                          {value: ""},
		"a prefix":                        {value: "10.0.0.0/8", want: []string{"10.0.0.0/8"}},
		"an address stands for itself":    {value: "127.0.0.1", want: []string{"127.0.0.1/32"}},
		"and so does one of version 6":    {value: "::1", want: []string{"::1/128"}},
		"a mapped address is unmapped":    {value: "::ffff:10.0.0.1", want: []string{"10.0.0.1/32"}},
		"host bits are cleared":           {value: "10.1.2.3/8", want: []string{"10.0.0.0/8"}},
		"a list with spaces":              {value: " 10.0.0.0/8 , fd00::/8,127.0.0.1", want: []string{"10.0.0.0/8", "fd00::/8", "127.0.0.1/32"}},
		"a name is refused":               {value: "proxy.internal", fails: true},
		"a hole is refused":               {value: "127.0.0.1,,::1", fails: true},
		"a port is refused":               {value: "127.0.0.1:80", fails: true},
		"too long a prefix is refused":    {value: "10.0.0.0/33", fails: true},
		"a zone is refused":               {value: "fe80::1%eth0", fails: true},
		"the number of hops is refused":   {value: "1", fails: true},
		"one fault spoils the whole list": {value: "127.0.0.1,x", fails: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := config.Load([]string{"TRUSTED_PROXIES=" + tt.value})
			if (err != nil) != tt.fails {
				t.Fatalf("Load: %v, fails: %t", err, tt.fails)
			}
			var got []string
			for _, p := range c.TrustedProxies {
				got = append(got, p.String())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("prefixes mismatch (-want +got)\n%s", diff)
			}
		})
	}
}

func TestBaseURL(t *testing.T) {
	t.Parallel()
	const malformed = "DEPLOYMENT_URL must be a scheme and a host, such as https://id.example.com"
	tests := map[string]struct {
		url  string
		env  config.Environment
		want string // the URL or the fault
	}{
		"https":                                  {"https://id.example.com", config.Production, "https://id.example.com"},
		"a final slash is dropped":               {"https://id.example.com/", config.Production, "https://id.example.com"},
		"a port stays":                           {"https://id.example.com:8443", config.Production, "https://id.example.com:8443"},
		"the host is lower case":                 {"https://ID.Example.COM", config.Production, "https://id.example.com"},
		"http in development":                    {"http://id.example.com", config.Development, "http://id.example.com"},
		"http in production":                     {"http://id.example.com", config.Production, "DEPLOYMENT_URL must be https in production"},
		"http in production on this machine":     {"http://localhost:9007", config.Production, "http://localhost:9007"},
		"http in production on a name below it":  {"http://id.localhost", config.Production, "http://id.localhost"},
		"http in production on a loopback":       {"http://127.0.0.1:9007", config.Production, "http://127.0.0.1:9007"},
		"http in production on a loopback of v6": {"http://[::1]:9007", config.Production, "http://[::1]:9007"},
		"what only looks like this machine":      {"http://localhost.example.com", config.Production, "DEPLOYMENT_URL must be https in production"},
		"a path":                                 {"https://id.example.com/auth", config.Production, malformed},
		"a query":                                {"https://id.example.com?a", config.Production, malformed},
		"an empty query":                         {"https://id.example.com?", config.Production, malformed},
		"a fragment":                             {"https://id.example.com#a", config.Production, malformed},
		"a user":                                 {"https://me@id.example.com", config.Production, malformed},
		"no scheme":                              {"id.example.com", config.Production, malformed},
		"no host":                                {"https://:443", config.Production, malformed},
		"another scheme":                         {"ftp://id.example.com", config.Production, malformed},
		"no URL at all":                          {"https://%zz", config.Production, malformed},
		"nothing":                                {"", config.Production, "DEPLOYMENT_URL is missing: set the public base URL, such as https://id.example.com"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u, err := config.Config{URL: tt.url, Environment: tt.env}.BaseURL()
			got := fmt.Sprint(u)
			if err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("BaseURL mismatch (-want +got)\n%s", diff)
			}
		})
	}
}

func TestRedis(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		vars []string
		want string
	}{
		"none":                      {nil, ""},
		"a URL is taken as it is":   {[]string{"REDIS_URL=rediss://cache/1", "REDIS_HOST=other"}, "rediss://cache/1"},
		"a host":                    {[]string{"REDIS_HOST=cache"}, "redis://cache:6379/0"},
		"all parts":                 {[]string{"REDIS_HOST=cache", "REDIS_PORT=1", "REDIS_PASSWORD=p@ss/w:rd", "REDIS_DATABASE=3"}, "redis://:p%40ss%2Fw%3Ard@cache:1/3"},
		"an address of version 6":   {[]string{"REDIS_HOST=::1"}, "redis://[::1]:6379/0"},
		"a password without a host": {[]string{"REDIS_PASSWORD=secret"}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := config.Load(tt.vars)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, c.Redis().Reveal()); diff != "" {
				t.Errorf("Redis mismatch (-want +got)\n%s", diff)
			}
		})
	}
}

func TestConfigPrintsNoSecret(t *testing.T) {
	t.Parallel()
	c := load(t, "DATABASE_URL=postgres://owner:"+canary+"@db/parako", "REDIS_PASSWORD="+canary, "REDIS_URL=redis://:"+canary+"@cache",
		"ENCRYPTION_KEY="+canary)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		if printed := fmt.Sprintf(verb, c); strings.Contains(printed, canary) {
			t.Errorf("%s prints a secret: %s", verb, printed)
		}
	}
}

// The names of the fields are how a fault finds its variable.
func TestFieldNamesDiffer(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, of := range []reflect.Type{reflect.TypeFor[config.Config](), reflect.TypeFor[config.MultiTenancy]()} {
		for f := range of.Fields() {
			if seen[f.Name] {
				t.Errorf("%s is the name of two fields", f.Name)
			}
			seen[f.Name] = true
		}
	}
}
