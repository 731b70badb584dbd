package server_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/oauth2"

	"parako/internal/testkit"
	"parako/internal/testkit/app"
)

// BenchmarkRequests measures what a request costs in CPU seconds per thousand, the server and its PostgreSQL together: the
// figure that survives a noisy machine (docs/performance.md). Requests are handed to the handler directly, so that no client
// is measured along.
func BenchmarkRequests(b *testing.B) {
	a := app.New(b)
	t := a.Acme
	host := strings.TrimPrefix(strings.TrimSuffix(t.Issuer, "/oidc/v1"), "http://")
	serve := func(b *testing.B, method, path, cookie, bearer string, form url.Values) *httptest.ResponseRecorder {
		b.Helper()
		r := httptest.NewRequestWithContext(b.Context(), method, "http://"+host+path, strings.NewReader(form.Encode()))
		if form != nil {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		if cookie != "" {
			r.Header.Set("Cookie", cookie)
		}
		if bearer != "" {
			r.Header.Set("Authorization", "Bearer "+bearer)
		}
		r.RemoteAddr = "127.0.0.1:1"
		w := httptest.NewRecorder()
		a.Server.Handler().ServeHTTP(w, r)
		return w
	}
	expect := func(b *testing.B, w *httptest.ResponseRecorder, status int) {
		b.Helper()
		if w.Code != status {
			b.Fatalf("status %d, want %d: %s", w.Code, status, w.Body)
		}
	}
	run := func(name string, one func(b *testing.B)) {
		b.Run(name, func(b *testing.B) {
			one(b)                    // Connections, statements and the provider are warm.
			a.Superuser(b, "ANALYZE") // Autovacuum does this elsewhere.
			b.ReportAllocs()
			before := testkit.CPUSeconds(b)
			n := 0
			for b.Loop() {
				one(b)
				n++
			}
			b.ReportMetric((testkit.CPUSeconds(b)-before)/float64(n)*1000, "cpu-s/1000req")
		})
	}
	run("discovery", func(b *testing.B) {
		expect(b, serve(b, http.MethodGet, "/oidc/v1/.well-known/openid-configuration", "", "", nil), 200)
	})
	run("jwks", func(b *testing.B) { expect(b, serve(b, http.MethodGet, "/oidc/v1/jwks", "", "", nil), 200) })

	m2m := url.Values{"grant_type": {"client_credentials"}, "client_id": {t.M2M.ID}, "client_secret": {t.M2M.Secret}}
	asPost(b, a, t)
	resource := url.Values{"resource": {"urn:test:api"}, "scope": {"read"}}
	maps.Copy(resource, m2m)
	run("client_credentials JWT", func(b *testing.B) { expect(b, serve(b, http.MethodPost, "/oidc/v1/token", "", "", resource), 200) })
	run("client_credentials opaque", func(b *testing.B) { expect(b, serve(b, http.MethodPost, "/oidc/v1/token", "", "", m2m), 200) })

	browser := a.Browser(b)
	verifier := oauth2.GenerateVerifier()
	authorize := url.Values{
		"response_type": {"code"}, "client_id": {t.SPA.ID}, "redirect_uri": {app.Callback}, "scope": {"openid profile email"}, "state": {"s"},
		"code_challenge": {oauth2.S256ChallengeFromVerifier(verifier)}, "code_challenge_method": {"S256"},
	}
	a.SignIn(b, browser, t.Issuer+"/authorize?"+authorize.Encode(), t.Email, app.Password)
	issuer, err := url.Parse(t.Issuer)
	if err != nil {
		b.Fatal(err)
	}
	var cookies []string
	for _, c := range browser.Jar.Cookies(issuer) {
		cookies = append(cookies, c.Name+"="+c.Value)
	}
	cookie := strings.Join(cookies, "; ")
	var token struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	redeem := func(b *testing.B, form url.Values) {
		b.Helper()
		w := serve(b, http.MethodPost, "/oidc/v1/token", "", "", form)
		expect(b, w, 200)
		if err := json.NewDecoder(bytes.NewReader(w.Body.Bytes())).Decode(&token); err != nil {
			b.Fatal(err)
		}
	}
	codeFlow := func(b *testing.B) {
		b.Helper()
		w := serve(b, http.MethodGet, "/oidc/v1/authorize?"+authorize.Encode(), cookie, "", nil)
		expect(b, w, 303)
		back, err := url.Parse(w.Header().Get("Location"))
		if err != nil || back.Query().Get("code") == "" {
			b.Fatalf("no code in %s", w.Header().Get("Location"))
		}
		redeem(b, url.Values{
			"grant_type": {"authorization_code"}, "client_id": {t.SPA.ID}, "code": {back.Query().Get("code")}, "redirect_uri": {app.Callback},
			"code_verifier": {verifier},
		})
	}
	run("code flow, existing session, RS256", codeFlow)
	run("userinfo", func(b *testing.B) {
		expect(b, serve(b, http.MethodGet, "/oidc/v1/userinfo", "", token.Access, nil), 200)
	})
	run("refresh with rotation, RS256", func(b *testing.B) {
		redeem(b, url.Values{"grant_type": {"refresh_token"}, "client_id": {t.SPA.ID}, "refresh_token": {token.Refresh}})
	})
	w := serve(b, http.MethodPost, "/oidc/v1/token", "", "", m2m)
	expect(b, w, 200)
	if err := json.Unmarshal(w.Body.Bytes(), &token); err != nil {
		b.Fatal(err)
	}
	introspect := url.Values{"client_id": {t.M2M.ID}, "client_secret": {t.M2M.Secret}, "token": {token.Access}}
	run("introspection", func(b *testing.B) {
		w := serve(b, http.MethodPost, "/oidc/v1/token/introspection", "", "", introspect)
		expect(b, w, 200)
		if !strings.Contains(w.Body.String(), `"active":true`) {
			b.Fatal(w.Body)
		}
	})
	a.Superuser(b, "UPDATE parako.clients SET id_token_signed_response_alg = 'ES256' WHERE id = $1", t.SPA.ID)
	run("code flow, existing session, ES256", codeFlow)
	run("refresh with rotation, ES256", func(b *testing.B) {
		redeem(b, url.Values{"grant_type": {"refresh_token"}, "client_id": {t.SPA.ID}, "refresh_token": {token.Refresh}})
	})
}

// asPost lets the service client send its secret in the body.
func asPost(tb testing.TB, a *app.App, t app.Tenant) {
	tb.Helper()
	a.Superuser(tb, "UPDATE parako.clients SET token_endpoint_auth_method = 'client_secret_post' WHERE id = $1", t.M2M.ID)
}
