package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"parako/internal/cache"
	"parako/internal/config"
	"parako/internal/federation"
	"parako/internal/ratelimit"
	"parako/internal/secret"
	"parako/internal/session"
	"parako/internal/telemetry"
	"parako/internal/tenant"
	"parako/internal/testkit/app"
)

// TestGateway asks the stateless tenant, which answers in JSON and serves three paths.
func TestGateway(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	for name, tt := range map[string]struct {
		method, path string
		status       int
		body         string // as far as it is the same each time
	}{
		"health":                     {http.MethodGet, "/health", 200, `{"status":"ok","timestamp":"`},
		"health, with a question":    {http.MethodGet, "/health?deep=true", 200, `{"status":"ok","timestamp":"`},
		"metrics":                    {http.MethodGet, "/metrics", 200, `{"message":"Metrics endpoint","status":"ok"}`},
		"a callback without a state": {http.MethodGet, "/social/google/callback", 400, `{"error":"Invalid code or state parameter"}`},
		"a post to health":           {http.MethodPost, "/health", 405, `{"error":"Method not allowed"}`},
		"a deletion of metrics":      {http.MethodDelete, "/metrics", 405, `{"error":"Method not allowed"}`},
		"a post to the callback":     {http.MethodPost, "/social/google/callback", 405, `{"error":"Method not allowed"}`},
		"a page":                     {http.MethodGet, "/", 404, `{"error":"Not found"}`},
		"readiness":                  {http.MethodGet, "/readyz", 404, `{"error":"Not found"}`},
		"a style sheet":              {http.MethodGet, "/static/x/app.css", 404, `{"error":"Not found"}`},
		"discovery":                  {http.MethodGet, "/oidc/v1/.well-known/openid-configuration", 404, `{"error":"Not found"}`},
		"a post elsewhere":           {http.MethodPost, "/oidc/v1/token", 404, `{"error":"Not found"}`},
		"the API":                    {http.MethodGet, "/api/v1/users", 404, `{"error":"Not found"}`},
		"no callback":                {http.MethodGet, "/social/google/nothing", 404, `{"error":"Not found"}`},
		"no name of a provider":      {http.MethodGet, "/social/Google/callback", 404, `{"error":"Not found"}`},
		"an encoded slash":           {http.MethodGet, "/social/google%2fcallback", 404, `{"error":"Not found"}`},
		"a path that goes up":        {http.MethodGet, "/x/../health", 404, `{"error":"Not found"}`},
		"a slash at the end":         {http.MethodGet, "/health/", 404, `{"error":"Not found"}`},
	} {
		t.Run(name, func(t *testing.T) {
			for _, header := range []http.Header{nil, {"X-Tenant-Id": {"_ops"}}} { // by its host, or by a trusted proxy's header
				r, err := http.NewRequestWithContext(t.Context(), tt.method, "http://"+a.Addr+tt.path, nil)
				if err != nil {
					t.Fatal(err)
				}
				if r.Host = "_ops.localhost"; header != nil {
					r.Host, r.Header = "localhost", header
				}
				resp := app.Do(t, a.Client(t), r)
				if resp.StatusCode != tt.status || !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") || !strings.HasPrefix(resp.Text, tt.body) {
					t.Errorf("%d %s: %s, want %d %s", resp.StatusCode, resp.Header.Get("Content-Type"), resp.Text, tt.status, tt.body)
				}
				if got := resp.Header.Get("Allow"); (got == "GET, HEAD") != (tt.status == http.StatusMethodNotAllowed) {
					t.Errorf("Allow: %q", got)
				}
				if resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("Referrer-Policy") != "no-referrer" {
					t.Errorf("headers %v", resp.Header)
				}
				if len(resp.Cookies()) > 0 || strings.Contains(resp.Text, "checks") {
					t.Errorf("the gateway has a state: %v %s", resp.Cookies(), resp.Text)
				}
			}
		})
	}
	t.Cleanup(func() {
		for _, event := range []string{"ops_method_blocked", "ops_route_blocked", "social_callback_refused"} {
			if !strings.Contains(a.Journal.String(), `"`+event+`"`) {
				t.Errorf("the log has no %s", event)
			}
		}
	})
}

// TestGatewayNeedsNoDatabase takes the database away from under the gateway.
func TestGatewayNeedsNoDatabase(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	s := newSignIn(t, a)
	start := s.begin(t, a.Acme.Tenant, "acme")
	a.SuperuserElsewhere(t, "ALTER DATABASE "+a.DB.Name+" ALLOW_CONNECTIONS false")
	a.SuperuserElsewhere(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", a.DB.Name)
	defer a.SuperuserElsewhere(t, "ALTER DATABASE "+a.DB.Name+" ALLOW_CONNECTIONS true")
	if resp := as(t, a, "localhost", "/readyz", nil); resp.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("the database is still there: %d", resp.StatusCode)
	}
	if resp := as(t, a, "_ops.localhost", "/health", nil); resp.StatusCode != http.StatusOK {
		t.Errorf("health: %d %s", resp.StatusCode, resp.Text)
	}
	if resp := s.callback(t, start.RedirectURI, "state", start.State, "code", "the-code"); resp.StatusCode != http.StatusFound {
		t.Errorf("callback: %d %s", resp.StatusCode, resp.Text)
	}
}

// TestGatewayInSingleTenantMode: there is one tenant and no gateway.
func TestGatewayInSingleTenantMode(t *testing.T) {
	t.Parallel()
	a := app.New(t, func(c *config.Config) { c.MultiTenancy.Enabled = false })
	for _, path := range []string{"/metrics", "/social/google/callback"} {
		if resp := as(t, a, "_ops.localhost", path, nil); resp.StatusCode != http.StatusNotFound || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
			t.Errorf("%s: %d %s", path, resp.StatusCode, resp.Text)
		}
	}
	if resp := as(t, a, "_ops.localhost", "/health?deep=true", nil); !strings.Contains(resp.Text, "database") {
		t.Errorf("health: %s", resp.Text)
	}
}

// signIn is what the pages of another instance will do with the relay: it has the deployment's key and Redis, and no more.
type signIn struct {
	*app.App
	relay   *federation.Relay
	browser *http.Client
	cookies session.Cookies
}

func newSignIn(t *testing.T, a *app.App) signIn {
	t.Helper()
	base, err := a.Config.BaseURL()
	if err != nil {
		t.Fatal(err)
	}
	redis, err := cache.Open(t.Context(), cache.Options{URL: a.Config.RedisURL.Reveal(), Compat: true, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(redis.Close)
	browser := a.Browser(t)
	browser.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return signIn{App: a, browser: browser, relay: &federation.Relay{
		Keys: []secret.MasterKey{a.Vault.Master}, Redis: redis, Limiter: ratelimit.New(redis, time.Now), Metrics: telemetry.NewMetrics(), Base: base,
		Plain: a.Config.Environment == config.Development, Now: time.Now,
	}}
}

// begin begins a sign-in at google under a label of the base domain, and gives the browser its cookie.
func (s signIn) begin(t *testing.T, who tenant.Tenant, label string) federation.Start {
	t.Helper()
	return s.beginAt(t, who, label+"."+s.relay.Base.Host)
}

func (s signIn) beginAt(t *testing.T, who tenant.Tenant, host string) federation.Start {
	t.Helper()
	start, err := s.relay.Begin(t.Context(), who, host, "google", "203.0.113.7")
	if err != nil {
		t.Fatal(err)
	}
	recorded := header{}
	s.cookies.SetSocial(recorded, start.Cookie, start.Sealed, federation.CookieLife)
	set := http.Response{Header: http.Header(recorded)}
	s.browser.Jar.SetCookies(&url.URL{Scheme: s.relay.Base.Scheme, Host: host, Path: "/"}, set.Cookies())
	return start
}

// header is a response of which only the header matters.
type header http.Header

// Header implements http.ResponseWriter.
func (h header) Header() http.Header { return http.Header(h) }

// Write implements http.ResponseWriter.
func (header) Write(b []byte) (int, error) { return len(b), nil }

// WriteHeader implements http.ResponseWriter.
func (header) WriteHeader(int) {}

// callback sends the browser to the gateway, as a provider does.
func (s signIn) callback(t *testing.T, redirectURI string, pairs ...string) app.Response {
	t.Helper()
	query := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		query.Add(pairs[i], pairs[i+1])
	}
	return app.Get(t, s.browser, redirectURI+"?"+query.Encode())
}

// complete is what the tenant's page does when the browser arrives at location with its cookies.
func (s signIn) complete(ctx context.Context, t *testing.T, who tenant.Tenant, location string) (federation.Arrival, error) {
	t.Helper()
	u, err := url.Parse(location)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, location, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, cookie := range s.browser.Jar.Cookies(u) {
		r.AddCookie(cookie)
	}
	return s.relay.Complete(ctx, who.ID, "google", u.Query().Get("ref"), func(id string) string { return s.cookies.Social(r, id) })
}

func TestSocialRelay(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	platforms, err := tenant.BySlug(t.Context(), a.Store, tenant.PlatformsSlug)
	if err != nil {
		t.Fatal(err)
	}
	made := map[string]tenant.Tenant{"acme": a.Acme.Tenant, "_platforms": platforms}
	for slug, domain := range map[string]string{"under_score": "", "initech": "login.initech.example"} {
		if made[slug], err = tenant.Create(t.Context(), a.Store, tenant.New{Slug: slug, DisplayName: slug, Domain: domain, Base: a.Base(t), Operator: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	port := strings.TrimPrefix(a.Config.URL, "http://localhost")
	for name, tt := range map[string]struct{ slug, host string }{
		"a slug":                    {"acme", "acme.localhost" + port},
		"a slug with an underscore": {"under_score", "under_score.localhost" + port},
		"the platform's tenant":     {"_platforms", "_platforms.localhost" + port},
		"a custom domain":           {"initech", "login.initech.example" + port},
	} {
		t.Run(name, func(t *testing.T) {
			s, who := newSignIn(t, a), made[tt.slug]
			start := s.beginAt(t, who, tt.host)
			for _, answer := range [][]string{{"code", "the-code"}, {"error", "access_denied", "error_description", "The person said no"}} {
				resp := s.callback(t, start.RedirectURI, append([]string{"state", start.State, "scope", "email"}, answer...)...)
				location := resp.Header.Get("Location")
				if resp.StatusCode != http.StatusFound || !strings.HasPrefix(location, "http://"+tt.host+"/auth/social/google/complete?ref=") {
					t.Fatalf("%d to %q: %s", resp.StatusCode, location, resp.Text)
				}
				if resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("Referrer-Policy") != "no-referrer" || len(resp.Cookies()) > 0 || strings.Contains(location, "the-code") {
					t.Errorf("headers %v", resp.Header)
				}
				got, err := s.complete(t.Context(), t, who, location)
				if err != nil || got.Code.Reveal() != map[string]string{"code": "the-code"}[answer[0]] || got.Refusal != map[string]string{"error": "access_denied"}[answer[0]] {
					t.Errorf("%v: arrived %+v, %v", answer, got, err)
				}
				if _, err := s.complete(t.Context(), t, who, location); !errors.Is(err, federation.ErrOver) {
					t.Errorf("a second time: %v, want ErrOver", err)
				}
			}
		})
	}
	t.Run("at another tenant", func(t *testing.T) {
		s := newSignIn(t, a)
		start := s.begin(t, a.Acme.Tenant, "acme")
		s.begin(t, a.Globex.Tenant, "globex")
		location := s.callback(t, start.RedirectURI, "state", start.State, "code", "the-code").Header.Get("Location")
		moved := strings.Replace(location, "acme.", "globex.", 1)
		if got, err := s.complete(t.Context(), t, a.Globex.Tenant, moved); !errors.Is(err, federation.ErrOver) {
			t.Errorf("arrived %+v, %v, want ErrOver", got, err)
		}
	})
	t.Run("in another browser", func(t *testing.T) {
		s, victim := newSignIn(t, a), newSignIn(t, a)
		start := s.begin(t, a.Acme.Tenant, "acme")
		victim.begin(t, a.Acme.Tenant, "acme")
		location := s.callback(t, start.RedirectURI, "state", start.State, "code", "the thief's").Header.Get("Location")
		if got, err := victim.complete(t.Context(), t, a.Acme.Tenant, location); !errors.Is(err, federation.ErrOver) {
			t.Errorf("arrived %+v, %v, want ErrOver", got, err)
		}
	})
}

// TestCallbackRefusals: none of these leads anywhere.
func TestCallbackRefusals(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	s := newSignIn(t, a)
	start := s.begin(t, a.Acme.Tenant, "acme")
	stranger := newSignIn(t, app.New(t))
	foreign := stranger.begin(t, stranger.Acme.Tenant, "acme").State // another deployment's
	for name, tt := range map[string]struct {
		query []string
		want  string
	}{
		"nothing":                   {nil, "Invalid code or state parameter"},
		"no state":                  {[]string{"code", "x"}, "Invalid code or state parameter"},
		"no code":                   {[]string{"state", start.State}, "Invalid code or state parameter"},
		"an error alone":            {[]string{"error", "access_denied"}, "Invalid code or state parameter"},
		"two codes":                 {[]string{"state", start.State, "code", "x", "code", "y"}, "Invalid code or state parameter"},
		"two states":                {[]string{"state", start.State, "state", start.State, "code", "x"}, "Invalid code or state parameter"},
		"two errors":                {[]string{"state", start.State, "error", "x", "error", "x"}, "Invalid code or state parameter"},
		"two issuers":               {[]string{"state", start.State, "code", "x", "iss", "https://a.example", "iss", "https://b.example"}, "Invalid code or state parameter"},
		"a state of somebody else":  {[]string{"state", foreign, "code", "x"}, "Invalid state"},
		"a made-up state, an error": {[]string{"state", "x", "error", "access_denied"}, "Invalid state"},
		"a cut state":               {[]string{"state", start.State[:100], "code", "x"}, "Invalid state"},
	} {
		resp := s.callback(t, start.RedirectURI, tt.query...)
		var body map[string]string
		if err := json.Unmarshal([]byte(resp.Text), &body); err != nil || len(body) != 1 || body["error"] != tt.want || resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d %s, want %q", name, resp.StatusCode, resp.Text, tt.want)
		}
		if resp.Header.Get("Location") != "" {
			t.Errorf("%s leads to %s", name, resp.Header.Get("Location"))
		}
	}
	elsewhere := strings.Replace(start.RedirectURI, "google", "github", 1)
	if resp := s.callback(t, elsewhere, "state", start.State, "code", "x"); resp.StatusCode != http.StatusBadRequest || !strings.Contains(resp.Text, "Invalid state") {
		t.Errorf("another provider: %d %s", resp.StatusCode, resp.Text)
	}
	if resp := app.Get(t, s.browser, start.RedirectURI+"?state=%zz&code=x"); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a malformed query: %d %s", resp.StatusCode, resp.Text)
	}
	if text := a.Logs.String(); strings.Contains(text, start.State) || strings.Contains(a.Journal.String(), start.State) {
		t.Error("the log holds a state")
	}
	limit := ratelimit.SocialCallback().Burst
	a.Redis.SetTime(time.Now()) // No attempt returns.
	for range limit {
		if resp := s.callback(t, start.RedirectURI, "state", start.State, "code", "x"); resp.StatusCode != http.StatusFound {
			t.Fatalf("%d %s", resp.StatusCode, resp.Text)
		}
	}
	if resp := s.callback(t, start.RedirectURI, "state", start.State, "code", "x"); resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" || !strings.Contains(resp.Text, "Too many attempts") {
		t.Errorf("after %d: %d %s", limit, resp.StatusCode, resp.Text)
	}
	a.Redis.Close()
	resp := s.callback(t, start.RedirectURI, "state", start.State, "code", "x")
	if resp.StatusCode != http.StatusServiceUnavailable || strings.TrimSpace(resp.Text) != `{"error":"Service unavailable"}` {
		t.Errorf("without Redis: %d %s", resp.StatusCode, resp.Text)
	}
}

// TestCallbackWithoutHTTPS: outside development no code travels in the clear, whatever the base address says.
func TestCallbackWithoutHTTPS(t *testing.T) {
	t.Parallel()
	a := app.New(t, func(c *config.Config) { c.Environment = config.Production })
	s := newSignIn(t, a)
	if _, err := s.relay.Begin(t.Context(), a.Acme.Tenant, "acme."+s.relay.Base.Host, "google", "203.0.113.7"); !errors.Is(err, federation.ErrPlain) {
		t.Errorf("Begin: %v, want ErrPlain", err)
	}
	s.relay.Plain = true // an instance that was set up otherwise
	start := s.begin(t, a.Acme.Tenant, "acme")
	resp := s.callback(t, start.RedirectURI, "state", start.State, "code", "x")
	if resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(resp.Text, "Service misconfigured") {
		t.Errorf("%d %s", resp.StatusCode, resp.Text)
	}
}

// TestSocialRelayOverHTTPS is the same as in production: behind a proxy that ends TLS.
func TestSocialRelayOverHTTPS(t *testing.T) {
	t.Parallel()
	a := app.New(t, func(c *config.Config) { c.Environment, c.URL = config.Production, "https://id.example.com" })
	s := newSignIn(t, a)
	s.cookies.Secure = true
	start := s.begin(t, a.Acme.Tenant, "acme")
	if start.RedirectURI != "https://_ops.id.example.com/social/google/callback" {
		t.Errorf("redirect URI %s", start.RedirectURI)
	}
	resp := as(t, a, "_ops.id.example.com", "/social/google/callback?"+url.Values{"state": {start.State}, "code": {"the-code"}}.Encode(), nil)
	location := resp.Header.Get("Location")
	if resp.StatusCode != http.StatusFound || !strings.HasPrefix(location, "https://acme.id.example.com/auth/social/google/complete?ref=") {
		t.Fatalf("%d to %q: %s", resp.StatusCode, location, resp.Text)
	}
	if got, err := s.complete(t.Context(), t, a.Acme.Tenant, location); err != nil || got.Code.Reveal() != "the-code" {
		t.Errorf("arrived %+v, %v", got, err)
	}
}
