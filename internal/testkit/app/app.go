// Package app runs the whole server for a test: real PostgreSQL, a Redis, two tenants with a person and clients each, and a
// browser without a screen. It is a package of its own because it imports the server, which the packages that testkit itself
// serves must not.
package app

import (
	"context"
	"encoding/hex"
	"html"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"parako/internal/audit"
	"parako/internal/config"
	"parako/internal/directory"
	"parako/internal/factor"
	"parako/internal/oidc"
	"parako/internal/secret"
	"parako/internal/server"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/telemetry"
	"parako/internal/tenant"
	"parako/internal/testkit"
)

// patience is how long a server waits for its neighbours, which share a busy machine with it.
const patience = time.Minute

// Password is that of every person an App creates.
const Password = "correct horse battery staple"

// App is a running server.
type App struct {
	DB     *testkit.DB
	Store  *store.Store
	Server *server.Server
	Config config.Config
	// Addr is the loopback address it listens on; every host of the deployment leads there.
	Addr string
	// Logs collects what the server logs, before it is scrubbed; Journal the same as operators get it, one JSON object a line.
	Logs, Journal *Logs
	// Acme and Globex are two tenants that know nothing of each other.
	Acme, Globex Tenant
	// Vault opens the data keys of its tenants.
	Vault tenant.Vault
	// Redis is the in-process Redis; nil in a [Cluster], whose Redis is a process.
	Redis *miniredis.Miniredis

	stop func() error
}

// Tenant is a tenant of an App.
type Tenant struct {
	tenant.Tenant
	Issuer string
	User   directory.User
	// Email signs User in, with Password.
	Email string
	// Web is confidential, SPA public, M2M for client_credentials with the resource urn:test:api.
	Web, SPA, M2M oidc.Client
}

// Callback is where the clients of an App want their people back.
const Callback = "http://localhost:9008/callback"

// New starts a server and creates the two tenants. change may adjust the configuration first. Everything ends with the test.
func New(tb testing.TB, change ...func(*config.Config)) *App {
	tb.Helper()
	return NewOn(tb, testkit.NewDB(tb), change...)
}

// NewOn is New with a database of the test's, which has changed something there that connections begin with.
func NewOn(tb testing.TB, db *testkit.DB, change ...func(*config.Config)) *App {
	tb.Helper()
	redis := miniredis.RunT(tb)
	a := launch(tb, &App{DB: db}, "redis://"+redis.Addr(), true, change...)
	a.Redis = redis
	a.Acme, a.Globex = a.AddTenant(tb, "acme"), a.AddTenant(tb, "globex")
	return a
}

// launch starts a server on the database of first, or as another instance beside it: with the same keys, under the same public address.
// compat is for miniredis.
func launch(tb testing.TB, first *App, redisURL string, compat bool, change ...func(*config.Config)) *App {
	tb.Helper()
	a := &App{Logs: &Logs{}, Journal: &Logs{}}
	listener, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	check(tb, err)
	a.Addr = listener.Addr().String()
	a.DB = first.DB
	if first.Store == nil {
		a.Config = configuration(tb, a.Addr, a.DB.Options())
		a.Store = a.DB.Store(tb)
		// A test is one address with many requests. Tenants may turn it on again.
		a.ConfigurePlatform(tb, "security", `{"protection": {"rate_limiting": {"enabled": false}}}`)
	} else {
		a.Config, a.Store = first.Config, first.Store
	}
	a.Config.RedisURL = secret.NewString(redisURL)
	for _, f := range change {
		f(&a.Config)
	}
	check(tb, a.Config.ForServe())
	a.Vault, err = tenant.NewVault(a.Config.EncryptionKey, a.Config.EncryptionKeyPrevious)
	check(tb, err)
	handlers := []slog.Handler{slog.NewTextHandler(a.Logs, &slog.HandlerOptions{Level: slog.LevelDebug})}
	if _, measured := tb.(*testing.B); !measured { // A server writes its lines once.
		handlers = append(handlers, telemetry.NewLogger(a.Journal, "debug", false).Handler())
	}
	log := slog.New(slog.NewMultiHandler(handlers...))
	o := server.Options{Config: a.Config, Log: log, RedisCompat: compat, OutboundTimeout: patience}
	if compat { // It is in this process, as busy as the machine. A Redis that a test loses is to be noticed at once.
		o.RedisTimeout = patience
	}
	a.Server, err = server.New(tb.Context(), o)
	check(tb, err)

	ctx, stop := context.WithCancel(context.WithoutCancel(tb.Context()))
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- a.Server.Run(ctx, listener, nil, func() { close(ready) }) }()
	<-ready
	a.stop = sync.OnceValue(func() error {
		stop()
		defer a.Server.Close()
		return <-done
	})
	tb.Cleanup(func() {
		a.Stop(tb)
		// The testing package keeps what clean-ups refer to until the last test has ended, and a server has 15 MB of pages.
		a.Server, a.Logs, a.Journal = nil, nil, nil
	})
	return a
}

// configuration is that of a deployment whose public address is addr on localhost.
func configuration(tb testing.TB, addr string, o store.Options) config.Config {
	tb.Helper()
	_, port, err := net.SplitHostPort(addr)
	check(tb, err)
	c := config.Config{
		Environment: config.Development, Host: "127.0.0.1", URL: "http://localhost:" + port,
		PostgresURL: o.AppURL, PlatformURL: o.PlatformURL, RedisPort: 6379,
		EncryptionKey:  secret.NewString(hex.EncodeToString(secret.NewDataKey())),
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, ShutdownGrace: 10 * time.Second,
		DomainQuarantine: 30 * 24 * time.Hour,
		MultiTenancy: config.MultiTenancy{
			Enabled: true, ExtractionPriority: []string{"header", "subdomain"}, TenantHeader: "x-tenant-id", PoolMaxSize: 50,
			PoolIdleTTLMS: 1_800_000, PoolCleanupInterval: 60_000,
		},
	}
	if c.Port, err = strconv.Atoi(port); err != nil {
		tb.Fatal(err)
	}
	if o.Pooled {
		c.Pooler = config.TransactionPooler
	}
	return c
}

// Stop ends the server before the test ends, so that nothing in it moves any more.
func (a *App) Stop(tb testing.TB) {
	tb.Helper()
	if err := a.stop(); err != nil {
		tb.Errorf("server ended with %v", err)
	}
}

// Base is the deployment's URL.
func (a *App) Base(tb testing.TB) *url.URL {
	tb.Helper()
	base, err := a.Config.BaseURL()
	check(tb, err)
	return base
}

// AddTenant creates a tenant with a person and three clients.
func (a *App) AddTenant(tb testing.TB, slug string) Tenant {
	tb.Helper()
	ctx := tb.Context()
	created, err := tenant.Create(ctx, a.Store, tenant.New{Slug: slug, DisplayName: strings.ToUpper(slug[:1]) + slug[1:], Operator: "test"})
	check(tb, err)
	t := Tenant{Tenant: created, Issuer: created.Issuer(a.Base(tb), oidc.Mount), Email: "person@" + slug + ".example"}
	hash, err := factor.Passwords{Hasher: secret.NewHasher(0)}.Hash(ctx, Password)
	check(tb, err)
	check(tb, a.Store.InTenant(ctx, t.ID, func(ctx context.Context, tx *store.Tx) error {
		if t.User, err = directory.Create(ctx, tx, directory.New{
			Username: "person", Email: t.Email, EmailVerified: true, Name: "Pat Person", GivenName: "Pat", FamilyName: "Person",
			MiddleName: "Quinn", Nickname: "Patty", Profile: "https://" + slug + ".example/people/pat", Picture: "https://" + slug + ".example/people/pat.png",
			Website: "https://pat.example/", Gender: "female", Birthdate: "1990-04-23", PhoneNumber: "+442071838750", PhoneNumberVerified: true,
			Locale: "en", Zoneinfo: "Europe/London", Address: &directory.Address{
				Formatted: "1 Example Street\nLondon\nGreater London\nEC1A 1BB\nGB", StreetAddress: "1 Example Street", Locality: "London",
				Region: "Greater London", PostalCode: "EC1A 1BB", Country: "GB",
			},
		}); err != nil {
			return err
		}
		if err := factor.Put(ctx, tx, t.User.ID, hash); err != nil {
			return err
		}
		t.Web, err = oidc.RegisterClient(ctx, tx, a.Vault, settings.Layer{}, oidc.NewClient{
			ID: slug + "-web", Preset: oidc.PresetWeb, Actor: audit.Operator("test"), ClientMetadata: oidc.ClientMetadata{
				Name: slug + " web", RedirectURIs: []string{Callback, "http://127.0.0.1/callback"},
				PostLogoutRedirectURIs: []string{"http://localhost:9008/"}, Scope: "openid profile email address phone offline_access",
			},
		})
		if err != nil {
			return err
		}
		t.SPA, err = oidc.RegisterClient(ctx, tx, a.Vault, settings.Layer{}, oidc.NewClient{
			ID: slug + "-spa", Preset: oidc.PresetSPA, Actor: audit.Operator("test"), ClientMetadata: oidc.ClientMetadata{
				Name: slug + " spa", RedirectURIs: []string{Callback, "http://127.0.0.1/callback"},
				PostLogoutRedirectURIs: []string{"http://localhost:9008/"},
			},
		})
		if err != nil {
			return err
		}
		t.M2M, err = oidc.RegisterClient(ctx, tx, a.Vault, settings.Layer{}, oidc.NewClient{
			ID: slug + "-m2m", Preset: oidc.PresetM2M, ClientMetadata: oidc.ClientMetadata{Name: slug + " service", Scope: "jobs:run"}, AllowedResources: []string{"urn:test:api"},
			ResourcesScopes: "read write", Actor: audit.Operator("test"),
		})
		return err
	}))
	return t
}

// SuperuserElsewhere is Superuser from another database, for what cannot be done inside the app's own.
func (a *App) SuperuserElsewhere(tb testing.TB, sql string, args ...any) {
	tb.Helper()
	ctx := context.WithoutCancel(tb.Context())
	conn, err := pgx.Connect(ctx, strings.Replace(a.DB.SuperDSN(), "/"+a.DB.Name, "/postgres", 1))
	check(tb, err)
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql, args...)
	check(tb, err)
}

// Superuser runs one statement above row-level security, to put the database into a state that takes time to reach otherwise.
func (a *App) Superuser(tb testing.TB, sql string, args ...any) {
	tb.Helper()
	a.DB.Superuser(tb, sql, args...)
}

// Transport leads every host to the server.
func (a *App) Transport() *http.Transport {
	return &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, a.Addr)
	}}
}

// Browser is an HTTP client with cookies that does not follow redirects away from the server's hosts.
func (a *App) Browser(tb testing.TB) *http.Client {
	tb.Helper()
	jar, err := cookiejar.New(nil)
	check(tb, err)
	transport := a.Transport()
	tb.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Jar: jar, Transport: transport,
		CheckRedirect: func(next *http.Request, _ []*http.Request) error {
			if next.URL.Port() != strconv.Itoa(a.Config.Port) {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}
}

// Client is an HTTP client without cookies that follows nothing.
func (a *App) Client(tb testing.TB) *http.Client {
	tb.Helper()
	transport := a.Transport()
	tb.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Configure replaces a section of a tenant's settings. The server notices soon; a tenant that it has not served yet is
// configured from the first request on.
func (a *App) Configure(tb testing.TB, t Tenant, section, document string) {
	tb.Helper()
	a.configure(tb, t.ID, section, document)
}

// ConfigurePlatform is Configure for what the platform sets for all tenants.
func (a *App) ConfigurePlatform(tb testing.TB, section, document string) {
	tb.Helper()
	a.configure(tb, tenant.DefaultID, section, document)
}

func (a *App) configure(tb testing.TB, id uuid.UUID, section, document string) {
	tb.Helper()
	check(tb, a.Store.InTenant(tb.Context(), id, func(ctx context.Context, tx *store.Tx) error {
		_, err := settings.Write(ctx, tx, settings.Layer{}, settings.Change{Section: section, Document: []byte(document), By: audit.Operator("test")})
		return err
	}))
}

// SignIn follows an authorization URL in the browser as a person would: it fills in the login form, keeps the account and
// consents. It returns the redirect back to the client; an answer in a form is returned as its action with the fields as the
// query. Steps that the server does not ask for are left out.
func (*App) SignIn(tb testing.TB, browser *http.Client, authorizeURL, identifier, password string) *url.URL {
	tb.Helper()
	resp := Get(tb, browser, authorizeURL)
	for range 4 {
		if location := resp.Header.Get("Location"); location != "" {
			u, err := url.Parse(location)
			check(tb, err)
			return u
		}
		action, form := resp.Request.URL.String(), url.Values{}
		switch {
		case strings.Contains(resp.Text, `id="login-form"`):
			action, form = action+"/login", url.Values{"identifier": {identifier}, "password": {password}}
		case strings.Contains(resp.Text, `id="select-form"`):
			action += "/select"
		case strings.Contains(resp.Text, `id="consent-form"`):
			action += "/confirm"
		case strings.Contains(resp.Text, `id="answer-form"`):
			u, fields := AnswerForm(tb, resp.Text)
			u.RawQuery = fields.Encode()
			return u
		default:
			tb.Fatalf("GET %s: %d, neither login nor consent:\n%s", resp.Request.URL, resp.StatusCode, resp.Text)
		}
		resp = Post(tb, browser, action, form)
	}
	tb.Fatalf("sign-in does not end: %d\n%s", resp.StatusCode, resp.Text)
	return nil
}

// AnswerForm reads the page that carries an answer to the client: where the form goes, and its fields.
func AnswerForm(tb testing.TB, page string) (*url.URL, url.Values) {
	tb.Helper()
	action := regexp.MustCompile(`<form id="answer-form" method="post" action="([^"]*)">`).FindStringSubmatch(page)
	if action == nil {
		tb.Fatalf("no form with an answer:\n%s", page)
	}
	u, err := url.Parse(html.UnescapeString(action[1]))
	check(tb, err)
	fields := url.Values{}
	for _, field := range regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`).FindAllStringSubmatch(page, -1) {
		fields.Add(html.UnescapeString(field[1]), html.UnescapeString(field[2]))
	}
	return u, fields
}

// Response is a response whose body has been read.
type Response struct {
	*http.Response
	Text string
	// Took is how long it took, from the first byte of the request on.
	Took time.Duration
}

// Get fetches a URL.
func Get(tb testing.TB, client *http.Client, target string) Response {
	tb.Helper()
	r, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, target, nil)
	check(tb, err)
	return Do(tb, client, r)
}

// Post sends a form, as a page of the same origin would.
func Post(tb testing.TB, client *http.Client, target string, form url.Values) Response {
	tb.Helper()
	r, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, target, strings.NewReader(form.Encode()))
	check(tb, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", r.URL.Scheme+"://"+r.URL.Host)
	return Do(tb, client, r)
}

// Do sends a request and reads the answer.
func Do(tb testing.TB, client *http.Client, r *http.Request) Response {
	tb.Helper()
	began := time.Now()
	resp, err := client.Do(r)
	check(tb, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	check(tb, err)
	return Response{Response: resp, Text: string(body), Took: time.Since(began)}
}

// Logs is what a server wrote to its log. It is safe for concurrent use.
type Logs struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements io.Writer.
func (l *Logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// String is everything so far.
func (l *Logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
