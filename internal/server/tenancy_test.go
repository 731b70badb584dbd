package server_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"parako/internal/config"
	"parako/internal/tenant"
	"parako/internal/testkit/app"
)

// callers are the three kinds that wait for an answer, each with a path of its own and the form its errors take.
var callers = []struct {
	name, path string
	// check fails the test unless the answer has the caller's form, and returns the message in it.
	check func(t *testing.T, resp app.Response) string
}{
	{"API", "/api/v1/anything", func(t *testing.T, resp app.Response) string {
		t.Helper()
		var p struct {
			Type     string `json:"type"`
			Title    string `json:"title"`
			Detail   string `json:"detail"`
			Instance string `json:"instance"`
		}
		if ct := resp.Header.Get("Content-Type"); ct != "application/problem+json" {
			t.Errorf("content type %q", ct)
		}
		if err := json.Unmarshal([]byte(resp.Text), &p); err != nil || !strings.HasPrefix(p.Type, "urn:parako:error:") || p.Title == "" || p.Instance != "/api/v1/anything" {
			t.Errorf("not a problem document (%v): %s", err, resp.Text)
		}
		return p.Detail
	}},
	{"OAuth", "/oidc/v1/.well-known/openid-configuration", func(t *testing.T, resp app.Response) string {
		t.Helper()
		var e struct {
			Error       string `json:"error"`
			Description string `json:"error_description"`
		}
		if ct := resp.Header.Get("Content-Type"); !strings.HasPrefix(ct, "application/json") {
			t.Errorf("content type %q", ct)
		}
		if err := json.Unmarshal([]byte(resp.Text), &e); err != nil || e.Error == "" {
			t.Errorf("not an OAuth error (%v): %s", err, resp.Text)
		}
		return e.Description
	}},
	{"browser", "/oidc/v1/authorize?client_id=x", func(t *testing.T, resp app.Response) string {
		t.Helper()
		if ct := resp.Header.Get("Content-Type"); !strings.HasPrefix(ct, "text/html") {
			t.Errorf("content type %q", ct)
		}
		if !strings.Contains(resp.Text, `id="error-title"`) {
			t.Errorf("not an error page: %s", resp.Text)
		}
		return resp.Text
	}},
}

// TestTenantResolution asks for every way to name a tenant, as each kind of caller. The wanted slug is the tenant that
// answers; without one, the status is that of the refusal.
func TestTenantResolution(t *testing.T) {
	t.Parallel()
	development := app.New(t)
	production := app.New(t, func(c *config.Config) { c.Environment = config.Staging })
	untrusting := app.New(t, func(c *config.Config) { c.TrustedProxies = nil })
	single := app.New(t, func(c *config.Config) { c.MultiTenancy.Enabled = false })
	hostOnly := app.New(t, func(c *config.Config) { c.MultiTenancy.ExtractionPriority = []string{"subdomain"} })
	headerOnly := app.New(t, func(c *config.Config) { c.MultiTenancy.ExtractionPriority = []string{"header"} })
	for _, a := range []*app.App{development, untrusting} {
		for _, slug := range []string{"sleeping", "buried"} {
			a.AddTenant(t, slug)
		}
		for slug, status := range map[string]tenant.Status{"sleeping": tenant.Suspended, "buried": tenant.Archived} {
			if _, err := tenant.SetStatus(t.Context(), a.Store, slug, status, "test"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := tenant.Create(t.Context(), a.Store, tenant.New{Slug: "initech", DisplayName: "Initech", Domain: "login.initech.example", Base: a.Base(t)}); err != nil {
			t.Fatal(err)
		}
	}

	const refusedAsAmbiguous, refusedAsMissing = 400, 400
	tests := map[string]struct {
		app    *app.App
		host   string
		header http.Header
		status int    // of a refusal
		slug   string // of the tenant that answers
	}{
		"subdomain":                                     {app: development, host: "acme.localhost", slug: "acme"},
		"subdomain with a port":                         {app: development, host: "acme.localhost:9007", slug: "acme"},
		"subdomain in capitals with a final dot":        {app: development, host: "ACME.LocalHost.", slug: "acme"},
		"platform's tenant by subdomain":                {app: development, host: "_platforms.localhost", slug: "_platforms"},
		"custom domain":                                 {app: development, host: "login.initech.example", slug: "initech"},
		"header from a trusted peer":                    {app: development, host: "localhost", header: http.Header{"X-Tenant-Id": {"acme"}}, slug: "acme"},
		"header and host agree":                         {app: development, host: "acme.localhost", header: http.Header{"X-Tenant-Id": {"acme"}}, slug: "acme"},
		"header and custom domain agree":                {app: development, host: "login.initech.example", header: http.Header{"X-Tenant-Id": {"initech"}}, slug: "initech"},
		"header default names nothing":                  {app: development, host: "acme.localhost", header: http.Header{"X-Tenant-Id": {"default"}}, slug: "acme"},
		"forwarded host from a trusted peer":            {app: development, host: "internal.lan", header: http.Header{"X-Forwarded-Host": {"acme.localhost"}}, slug: "acme"},
		"header and host differ":                        {app: development, host: "acme.localhost", header: http.Header{"X-Tenant-Id": {"globex"}}, status: refusedAsAmbiguous},
		"header and custom domain differ":               {app: development, host: "login.initech.example", header: http.Header{"X-Tenant-Id": {"acme"}}, status: refusedAsAmbiguous},
		"header sent twice":                             {app: development, host: "localhost", header: http.Header{"X-Tenant-Id": {"acme", "globex"}}, status: refusedAsAmbiguous},
		"malformed header":                              {app: development, host: "localhost", header: http.Header{"X-Tenant-Id": {"Acme Corp!"}}, status: 400},
		"malformed header on a good host":               {app: development, host: "acme.localhost", header: http.Header{"X-Tenant-Id": {"../etc"}}, status: 400},
		"malformed label":                               {app: development, host: "-acme.localhost", status: 400},
		"unknown tenant by host":                        {app: development, host: "nobody.localhost", status: 404},
		"unknown tenant by header":                      {app: development, host: "localhost", header: http.Header{"X-Tenant-Id": {"nobody"}}, status: 404},
		"built-in tenant by host":                       {app: development, host: "default.localhost", status: 404},
		"foreign host":                                  {app: development, host: "evil.example", status: 404},
		"two labels under the base":                     {app: development, host: "www.acme.localhost", status: 404},
		"suspended tenant":                              {app: untrusting, host: "sleeping.localhost", status: 403},
		"archived tenant":                               {app: untrusting, host: "buried.localhost", status: 403},
		"nothing named in staging":                      {app: production, host: "localhost", status: refusedAsMissing},
		"an address in staging":                         {app: production, host: "127.0.0.1", status: refusedAsMissing},
		"an IPv6 address in staging":                    {app: production, host: "[::1]:9007", status: refusedAsMissing},
		"header default in staging":                     {app: production, host: "localhost", header: http.Header{"X-Tenant-Id": {"default"}}, status: refusedAsMissing},
		"header from an untrusted peer":                 {app: untrusting, host: "acme.localhost", header: http.Header{"X-Tenant-Id": {"globex"}}, slug: "acme"},
		"forwarded host from an untrusted peer":         {app: untrusting, host: "acme.localhost", header: http.Header{"X-Forwarded-Host": {"globex.localhost"}}, slug: "acme"},
		"other forwarding headers":                      {app: development, host: "acme.localhost", header: http.Header{"X-Original-Host": {"globex.localhost"}, "X-Host": {"globex.localhost"}, "Forwarded": {"host=globex.localhost"}}, slug: "acme"},
		"platform's tenant by header, untrusted":        {app: untrusting, host: "acme.localhost", header: http.Header{"X-Tenant-Id": {"_platforms"}}, slug: "acme"},
		"gateway by header, untrusted":                  {app: untrusting, host: "acme.localhost", header: http.Header{"X-Tenant-Id": {"_ops"}}, slug: "acme"},
		"single-tenant mode on any host":                {app: single, host: "whatever.example", slug: "default"},
		"single-tenant mode with a header":              {app: single, host: "localhost", header: http.Header{"X-Tenant-Id": {"acme"}}, slug: "default"},
		"header does not count, subdomain only":         {app: hostOnly, host: "acme.localhost", header: http.Header{"X-Tenant-Id": {"globex"}}, slug: "acme"},
		"host does not count, header only":              {app: headerOnly, host: "globex.localhost", header: http.Header{"X-Tenant-Id": {"acme"}}, slug: "acme"},
		"nothing named in development, protocol or API": {app: development, host: "localhost", status: refusedAsMissing},
	}
	for name, tt := range tests {
		for _, caller := range callers {
			t.Run(name+" as "+caller.name, func(t *testing.T) {
				status := tt.status
				resp := as(t, tt.app, tt.host, caller.path, tt.header)
				if resp.Header.Get("X-Request-Id") == "" {
					t.Error("no request id")
				}
				if tt.slug != "" {
					answeredBy(t, tt.app, caller.name, resp, tt.slug)
					return
				}
				if resp.StatusCode != status {
					t.Errorf("status %d, want %d: %s", resp.StatusCode, status, resp.Text)
				}
				if got := resp.Header.Get("Cache-Control"); got != "no-store" {
					t.Errorf("a refusal may be kept: Cache-Control %q", got)
				}
				message := caller.check(t, resp)
				for _, secret := range []string{"globex", "Globex", "initech", "nobody", "evil.example", "sleeping"} {
					if strings.Contains(message, secret) {
						t.Errorf("the answer repeats %q: %s", secret, message)
					}
				}
			})
		}
	}
}

// as sends a request to a host of the deployment, on the port the app really listens on.
func as(t *testing.T, a *app.App, host, path string, header http.Header) app.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+a.Addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	maps.Copy(r.Header, header)
	return app.Do(t, a.Client(t), r)
}

// answeredBy fails the test unless the tenant answered: its issuer in discovery, its name on the page of an unknown client,
// and the API's demand for a token.
func answeredBy(t *testing.T, a *app.App, caller string, resp app.Response, slug string) {
	t.Helper()
	switch caller {
	case "OAuth":
		var d struct {
			Issuer string `json:"issuer"`
		}
		if err := json.Unmarshal([]byte(resp.Text), &d); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%d, %v: %s", resp.StatusCode, err, resp.Text)
		}
		base, err := a.Config.BaseURL()
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{
			"default": base.String() + "/oidc/v1", "initech": "http://login.initech.example/oidc/v1",
		}[slug]
		if want == "" {
			want = "http://" + slug + "." + base.Host + "/oidc/v1"
		}
		if d.Issuer != want {
			t.Errorf("issuer %q, want %q", d.Issuer, want)
		}
	case "browser":
		name := map[string]string{"_platforms": "Platform Administration"}[slug]
		if name == "" {
			name = strings.ToUpper(slug[:1]) + slug[1:]
		}
		if resp.StatusCode != http.StatusBadRequest || !strings.Contains(resp.Text, name) {
			t.Errorf("%d, not the page of %s: %s", resp.StatusCode, name, resp.Text)
		}
	default:
		if resp.StatusCode != http.StatusUnauthorized || !strings.Contains(resp.Text, "urn:parako:error:unauthorized") {
			t.Errorf("%d: %s", resp.StatusCode, resp.Text)
		}
	}
}

// TestLogNamesTheTenant sends what is refused before a route sees it. The line of the request names the tenant all the same.
func TestLogNamesTheTenant(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	if _, err := tenant.SetStatus(t.Context(), a.Store, a.Globex.Slug, tenant.Suspended, "test"); err != nil {
		t.Fatal(err)
	}
	big := app.Post(t, a.Client(t), a.Acme.Issuer+"/token", url.Values{"x": {strings.Repeat("x", 70_000)}})
	suspended := app.Get(t, a.Client(t), a.Globex.Issuer+"/jwks")
	for slug, resp := range map[string]app.Response{"acme": big, "globex": suspended} {
		if resp.StatusCode != http.StatusRequestEntityTooLarge && resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s answers %d", slug, resp.StatusCode)
		}
		for line := range strings.Lines(a.Journal.String()) {
			if strings.Contains(line, resp.Header.Get("X-Request-Id")) && !strings.Contains(line, `"tenant":"`+slug+`"`) {
				t.Errorf("a line about a request of %s does not say so: %s", slug, line)
			}
		}
	}
}
