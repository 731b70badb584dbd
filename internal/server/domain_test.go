package server_test

import (
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"parako/internal/audit"
	"parako/internal/cache"
	"parako/internal/config"
	"parako/internal/oidc"
	"parako/internal/outbound"
	"parako/internal/tenant"
	"parako/internal/testkit"
	"parako/internal/testkit/app"
)

// domainsOf claims domains as the command line does, beside the running server.
func domainsOf(t *testing.T, a *app.App) *tenant.Registrar {
	t.Helper()
	base, err := a.Config.BaseURL()
	if err != nil {
		t.Fatal(err)
	}
	return &tenant.Registrar{Store: a.Store, DNS: outbound.NewResolver(a.Config.DNSResolver), Base: base, Quarantine: a.Config.DomainQuarantine}
}

// appWithDNS is an app that asks a name server of the test's own.
func appWithDNS(t *testing.T, change ...func(*config.Config)) (*app.App, *testkit.DNS) {
	t.Helper()
	dns := testkit.NewDNS(t)
	return app.New(t, append(change, func(c *config.Config) { c.DNSResolver = dns.Addr })...), dns
}

// prove makes a host lead to the tenant, and waits until the server has noticed.
func prove(t *testing.T, a *app.App, dns *testkit.DNS, org app.Tenant, host string) {
	t.Helper()
	r := domainsOf(t, a)
	d, err := r.AddDomain(t.Context(), org.ID, host, audit.Operator("test"))
	if err != nil {
		t.Fatal(err)
	}
	dns.Set(d.Record.Name, []string{d.Record.Value})
	if _, err := r.VerifyDomain(t.Context(), org.ID, host, audit.Operator("test")); err != nil {
		t.Fatal(err)
	}
	for as(t, a, host, "/oidc/v1/jwks", nil).StatusCode != http.StatusOK {
		continue
	}
}

// makePrimary moves the issuer, and waits until the server has noticed. It returns the tenant with its new issuer.
func makePrimary(t *testing.T, a *app.App, org app.Tenant, host string) app.Tenant {
	t.Helper()
	r := domainsOf(t, a)
	moved, err := r.SetPrimaryDomain(t.Context(), org.ID, host, nil, audit.Operator("test"))
	if err != nil {
		t.Fatal(err)
	}
	org.Tenant, org.Issuer = moved, moved.Issuer(r.Base, oidc.Mount)
	u, err := url.Parse(org.Issuer)
	if err != nil {
		t.Fatal(err)
	}
	for !strings.Contains(as(t, a, u.Host, "/oidc/v1/.well-known/openid-configuration", nil).Text, `"issuer":"`+org.Issuer+`"`) {
		continue
	}
	return org
}

// followAt makes the party's browser follow redirects at the host of its tenant's issuer.
func (p party) followAt(t *testing.T) party {
	t.Helper()
	issuer, err := url.Parse(p.tenant.Issuer)
	if err != nil {
		t.Fatal(err)
	}
	p.browser.CheckRedirect = func(next *http.Request, _ []*http.Request) error {
		if next.URL.Host != issuer.Host {
			return http.ErrUseLastResponse
		}
		return nil
	}
	return p
}

// TestCustomDomain signs a person in at a tenant's own host, from the claim on, and gives the host up in the end.
func TestCustomDomain(t *testing.T) {
	t.Parallel()
	a, dns := appWithDNS(t)
	const host = "login.acme.example"
	claimed, err := domainsOf(t, a).AddDomain(t.Context(), a.Acme.ID, host, audit.Operator("test"))
	if err != nil || claimed.State != tenant.DomainPending {
		t.Fatalf("AddDomain = %+v, %v", claimed, err)
	}
	if resp := as(t, a, host, "/oidc/v1/jwks", nil); resp.StatusCode != http.StatusNotFound {
		t.Errorf("a host that is not proven answers %d", resp.StatusCode)
	}
	prove(t, a, dns, a.Acme, host)
	a.Configure(t, a.Acme, "features", `{"oidc":{"jwt_userinfo":{"enabled":true}}}`)
	acme := makePrimary(t, a, a.Acme, host)
	if want := "http://" + host + "/oidc/v1"; acme.Issuer != want {
		t.Fatalf("issuer %q, want %q", acme.Issuer, want)
	}

	client := webClient(t, a, acme, func(n *oidc.NewClient) { n.UserinfoAlg = "RS256" })
	p := newParty(t, a, acme, client).followAt(t)
	got := p.tokens(t) // It checks iss in the redirect back.
	if iss := claimsOf(t, got.text("id_token"))["iss"]; iss != acme.Issuer {
		t.Errorf("the ID token is of %v", iss)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, acme.Issuer+"/userinfo", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+got.text("access_token"))
	if resp := app.Do(t, p.direct, r); resp.StatusCode != http.StatusOK || claimsOf(t, resp.Text)["iss"] != acme.Issuer {
		t.Errorf("userinfo answers %d %s", resp.StatusCode, resp.Text)
	}

	// The session is a cookie of this host and of no other.
	cookies := func(at string) int {
		t.Helper()
		u, err := url.Parse("http://" + at + "/oidc/v1/authorize")
		if err != nil {
			t.Fatal(err)
		}
		return len(p.browser.Jar.Cookies(u))
	}
	base, err := a.Config.BaseURL()
	if err != nil {
		t.Fatal(err)
	}
	if cookies(host) == 0 {
		t.Error("there is no session at the host")
	}
	for _, other := range []string{"acme.example", "sub." + host, "other.acme.example", "acme." + base.Host, "globex." + base.Host} {
		if n := cookies(other); n > 0 {
			t.Errorf("%d cookies go to %s", n, other)
		}
	}

	// The name is given up: every instance that polls stops serving it, and other tenants do not get it.
	back := makePrimary(t, a, acme, "")
	if back.Issuer != a.Acme.Issuer {
		t.Errorf("issuer %q, want %q", back.Issuer, a.Acme.Issuer)
	}
	dr := domainsOf(t, a)
	if _, err := dr.ReleaseDomain(t.Context(), a.Acme.ID, host, audit.Operator("test")); err != nil {
		t.Fatal(err)
	}
	for as(t, a, host, "/oidc/v1/jwks", nil).StatusCode != http.StatusNotFound {
		continue
	}
	theirs, err := dr.AddDomain(t.Context(), a.Globex.ID, host, audit.Operator("test"))
	if err != nil {
		t.Fatal(err)
	}
	dns.Set(theirs.Record.Name, []string{theirs.Record.Value})
	if _, err := dr.VerifyDomain(t.Context(), a.Globex.ID, host, audit.Operator("test")); err == nil {
		t.Error("another tenant got the name")
	}
	if resp := as(t, a, host, "/oidc/v1/jwks", nil); resp.StatusCode != http.StatusNotFound {
		t.Errorf("the host answers %d again", resp.StatusCode)
	}
}

// TestReleasedDomainOfAHint is released by another process that tells the server: it need not wait for its poll.
func TestReleasedDomainOfAHint(t *testing.T) {
	t.Parallel()
	a, dns := appWithDNS(t)
	const host = "login.acme.example"
	prove(t, a, dns, a.Acme, host)
	d, err := domainsOf(t, a).ReleaseDomain(t.Context(), a.Acme.ID, host, audit.Operator("test"))
	if err != nil {
		t.Fatal(err)
	}
	hints, err := cache.Open(t.Context(), cache.Options{URL: a.Config.Redis().Reveal(), Compat: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer hints.Close()
	hints.PublishHint(t.Context(), cache.Hint{Tenant: a.Acme.ID, Revision: d.Revision})
	for as(t, a, host, "/oidc/v1/jwks", nil).StatusCode != http.StatusNotFound {
		continue
	}
}

// TestOtherHostsOfATenant asks for everything at the hosts where the issuer is not.
func TestOtherHostsOfATenant(t *testing.T) {
	t.Parallel()
	a, dns := appWithDNS(t)
	const primary, other = "login.acme.example", "other.acme.example"
	for _, host := range []string{primary, other} {
		prove(t, a, dns, a.Acme, host)
	}
	// Without a primary domain the issuer is below the base domain, and the others lead there.
	resp := as(t, a, other, "/oidc/v1/.well-known/openid-configuration", nil)
	if want := a.Acme.Issuer + "/.well-known/openid-configuration"; resp.StatusCode != http.StatusPermanentRedirect || resp.Header.Get("Location") != want {
		t.Errorf("discovery: %d to %q, want %q", resp.StatusCode, resp.Header.Get("Location"), want)
	}
	old := newParty(t, a, a.Acme, webClient(t, a, a.Acme))
	token := old.tokens(t, "scope", "openid offline_access", "prompt", "consent")
	acme := makePrimary(t, a, a.Acme, primary)
	base, err := a.Config.BaseURL()
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{other, "acme." + base.Host} {
		for path, moves := range map[string]bool{
			"/oidc/v1/.well-known/openid-configuration":           true,
			"/.well-known/oauth-authorization-server/oidc/v1":     true,
			"/oidc/v1/authorize?client_id=x&state=a%20b%2Fc":      true,
			"/oidc/v1/interaction/x":                              true,
			"/oidc/v1/device?user_code=ABC":                       true,
			"/nothing//evil.example/%2e%2e/?x=%0d%0aSet-Cookie:a": true,
			"//evil.example/":                                     true,
			"/oidc/v1/jwks":                                       false,
			"/oidc/v1/userinfo":                                   false,
			"/api/v1/anything":                                    false,
			"/static/nothing":                                     false,
		} {
			resp := as(t, a, host, path, nil)
			location := resp.Header.Get("Location")
			if !moves {
				if resp.StatusCode == http.StatusPermanentRedirect || location != "" {
					t.Errorf("%s%s: %d to %q", host, path, resp.StatusCode, location)
				}
				continue
			}
			if resp.StatusCode != http.StatusPermanentRedirect || resp.Header.Get("Cache-Control") != "no-store" || !strings.HasPrefix(location, "http://"+primary+"/") {
				t.Errorf("%s%s: %d to %q, %q", host, path, resp.StatusCode, location, resp.Header.Get("Cache-Control"))
			}
			if want := "http://" + primary + path; !strings.HasPrefix(path, "//") && location != want {
				t.Errorf("%s%s leads to %q, want %q", host, path, location, want)
			}
		}
		// POST keeps its method and body.
		posted := app.Post(t, a.Client(t), "http://"+host+"/oidc/v1/authorize", url.Values{"client_id": {"x"}})
		if posted.StatusCode != http.StatusPermanentRedirect || posted.Header.Get("Location") != "http://"+primary+"/oidc/v1/authorize" {
			t.Errorf("POST to %s: %d to %q", host, posted.StatusCode, posted.Header.Get("Location"))
		}
	}
	// Who holds a refresh token goes on, and gets what the new issuer issues.
	fresh := old.refresh(t, token.text("refresh_token"))
	expect(t, fresh, http.StatusOK, "")
	if iss := claimsOf(t, fresh.text("id_token"))["iss"]; iss != acme.Issuer {
		t.Errorf("the new ID token is of %v", iss)
	}
	// A tenant that the header names on the base domain stays there.
	if resp := as(t, a, "localhost", "/oidc/v1/.well-known/openid-configuration", http.Header{"X-Tenant-Id": {"acme"}}); resp.StatusCode != http.StatusOK {
		t.Errorf("discovery by header: %d to %q", resp.StatusCode, resp.Header.Get("Location"))
	}
	// A request line with a URL that names another host, or none, leads nowhere else.
	for _, line := range []string{"http://evil.example/oidc/v1/authorize", "x:.evil.example/", "x:@evil.example/"} {
		answer := raw(t, a, "GET "+line+" HTTP/1.1\r\nHost: "+other+"\r\nConnection: close\r\n\r\n")
		for header := range strings.SplitSeq(answer, "\r\n") {
			if strings.HasPrefix(header, "Location:") && !strings.HasPrefix(header, "Location: http://"+primary+"/") {
				t.Errorf("%s leads to %s", line, header)
			}
		}
	}
}

// raw sends bytes to the server and returns its answer.
func raw(t *testing.T, a *app.App, request string) string {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", a.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	var answer strings.Builder
	buffer := make([]byte, 4096)
	for {
		n, err := conn.Read(buffer)
		answer.Write(buffer[:n])
		if err != nil {
			return answer.String()
		}
	}
}

// TestTLSAsk is what a proxy asks before it gets a certificate.
func TestTLSAsk(t *testing.T) {
	t.Parallel()
	a, dns := appWithDNS(t, func(c *config.Config) { c.URL = strings.Replace(c.URL, "localhost", "id.example.com", 1) })
	prove(t, a, dns, a.Acme, "login.acme.example")
	prove(t, a, dns, a.Globex, "login.globex.example")
	if _, err := domainsOf(t, a).AddDomain(t.Context(), a.Acme.ID, "pending.acme.example", audit.Operator("test")); err != nil {
		t.Fatal(err)
	}
	ask := func(method, query string) *httptest.ResponseRecorder {
		t.Helper()
		w := httptest.NewRecorder()
		a.Server.Metrics().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, "/tls/ask?"+query, nil))
		return w
	}
	for host, status := range map[string]int{
		"login.acme.example": 200, "LOGIN.acme.example": 200, "login.globex.example": 200, "acme.id.example.com": 200, "id.example.com": 200,
		"_platforms.id.example.com": 200, "_ops.id.example.com": 200, "pending.acme.example": 404, "evil.example": 404, "nobody.id.example.com": 404,
		"a.acme.id.example.com": 404, "203.0.113.1": 404, "": 404,
	} {
		if w := ask(http.MethodGet, "domain="+url.QueryEscape(host)); w.Code != status || w.Body.Len() > 0 || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%q: %d %q, want %d", host, w.Code, w.Body, status)
		}
	}
	if w := ask(http.MethodPost, "domain=login.acme.example"); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
	if resp := as(t, a, "acme.id.example.com", "/tls/ask?domain=login.acme.example", nil); resp.StatusCode == http.StatusOK {
		t.Error("the public listener answers the question")
	}
	if _, err := tenant.SetStatus(t.Context(), a.Store, "globex", tenant.Suspended, "test"); err != nil {
		t.Fatal(err)
	}
	for ask(http.MethodGet, "domain=login.globex.example").Code != http.StatusNotFound {
		continue
	}
	if w := ask(http.MethodGet, "domain=globex.id.example.com"); w.Code != http.StatusNotFound {
		t.Errorf("the slug of a suspended tenant: %d", w.Code)
	}
	if w := ask(http.MethodGet, "domain=login.acme.example"); w.Code != http.StatusOK {
		t.Errorf("another tenant's host: %d", w.Code)
	}
}
