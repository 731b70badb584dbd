package main

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/oauth2"
)

func TestDemoSignsInRefreshesAndSignsOut(t *testing.T) {
	t.Parallel()
	b := newDemoBrowser(t)
	b.signIn(t)

	page := b.get(t, "/", http.StatusOK)
	for _, want := range []string{
		"Signed in at Acme &lt;Ltd&gt;", "Ada &lt;Lovelace&gt;", "(1 January 2030, 00:00:00 UTC)", "openid email", "access-token…", "received: refresh-toke…",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page of a session does not contain %q", want)
		}
	}
	for _, whole := range []string{"access-token-0-secret", "refresh-token-0-secret"} {
		if strings.Contains(page, whole) {
			t.Errorf("the page of a session shows %s in full", whole)
		}
	}

	b.post(t, "/refresh", http.StatusSeeOther)
	if diff := cmp.Diff([]string{"authorization_code", "refresh_token"}, b.op.grants); diff != "" {
		t.Errorf("grants mismatch (-want +got):\n%s", diff)
	}
	if page := b.get(t, "/", http.StatusOK); !strings.Contains(page, `<th scope="row">times refreshed</th><td>1</td>`) {
		t.Error("the page does not say that the tokens were refreshed once")
	}

	target := b.post(t, "/logout", http.StatusSeeOther)
	query := target.Query()
	got := []string{target.Scheme + "://" + target.Host + target.Path, query.Get("client_id"), query.Get("post_logout_redirect_uri"), query.Get("id_token_hint")}
	want := []string{b.op.URL + "/logout", "demo", b.origin + "/", b.op.idToken}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("logout request mismatch (-want +got):\n%s", diff)
	}
	if page := b.get(t, "/?state=other", http.StatusOK); !strings.Contains(page, "You are not signed in") {
		t.Error("a session outlives its logout")
	}
	if page := b.get(t, "/?state="+query.Get("state"), http.StatusOK); !strings.Contains(page, "You are signed out") {
		t.Error("the way back from the logout is not recognised by its state")
	}
}

func TestDemoRefusesAnswers(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		answer func(url.Values)
		op     func(*demoProvider)
		status int
		want   string
	}{
		"state of another browser": {
			answer: func(q url.Values) { q.Set("state", "another") }, status: http.StatusBadRequest, want: "did not start here",
		},
		"no state": {
			answer: func(q url.Values) { q.Del("state") }, status: http.StatusBadRequest, want: "did not start here",
		},
		"iss of another provider (RFC 9207)": {
			answer: func(q url.Values) { q.Set("iss", "http://evil.example") }, status: http.StatusBadRequest, want: "Another provider answered",
		},
		"no iss": {
			answer: func(q url.Values) { q.Del("iss") }, status: http.StatusBadRequest, want: "Another provider answered",
		},
		"error, shown as text": {
			answer: func(q url.Values) { q.Set("error", "access_denied"); q.Set("error_description", "<script>no</script>") },
			status: http.StatusBadRequest, want: "access_denied: &lt;script&gt;no&lt;/script&gt;",
		},
		"code of another sign-in": {
			answer: func(q url.Values) { q.Set("code", "another") }, status: http.StatusBadGateway, want: "invalid_grant",
		},
		"ID token with another nonce": {
			op: func(p *demoProvider) { p.nonce = "another" }, status: http.StatusBadGateway, want: "nonce",
		},
		"ID token for another client": {
			op: func(p *demoProvider) { p.audience = "another" }, status: http.StatusBadGateway, want: "verify the ID token",
		},
		"userinfo about another person": {
			op: func(p *demoProvider) { p.userInfoSubject = "another" }, status: http.StatusBadGateway, want: "another person",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newDemoBrowser(t)
			answer := b.begin(t)
			if tt.answer != nil {
				tt.answer(answer)
			}
			if tt.op != nil {
				tt.op(b.op)
			}
			if page := b.get(t, "/callback?"+answer.Encode(), tt.status); !strings.Contains(page, tt.want) {
				t.Errorf("the page does not contain %q:\n%s", tt.want, page)
			}
			if page := b.get(t, "/", http.StatusOK); !strings.Contains(page, "You are not signed in") {
				t.Error("a refused answer signed in")
			}
		})
	}
}

func TestDemoSpendsStateOnce(t *testing.T) {
	t.Parallel()
	b := newDemoBrowser(t)
	answer := b.begin(t)
	wrong := url.Values{"state": {"another"}}
	b.get(t, "/callback?"+wrong.Encode(), http.StatusBadRequest)
	b.get(t, "/callback?"+answer.Encode(), http.StatusBadRequest)
}

func TestDemoEndsSessionWhoseRefreshFails(t *testing.T) {
	t.Parallel()
	b := newDemoBrowser(t)
	b.signIn(t)
	b.op.subject = "another"
	b.post(t, "/refresh", http.StatusBadGateway)
	if page := b.get(t, "/", http.StatusOK); !strings.Contains(page, "You are not signed in") {
		t.Error("the session outlives a refresh that turned it over to another person")
	}
}

func TestDemoSaysWhichProviderIsNotReachable(t *testing.T) {
	t.Parallel()
	b := newDemoBrowser(t)
	b.op.Close()
	if page := b.get(t, "/login/acme", http.StatusBadGateway); !strings.Contains(page, "discover the provider of Acme") {
		t.Errorf("the page does not name the provider:\n%s", page)
	}
}

func TestDemoGuardsEveryResponse(t *testing.T) {
	t.Parallel()
	b := newDemoBrowser(t)
	want := "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self' " + b.op.URL
	for path, status := range map[string]int{"/": 200, "/demo.css": 200, "/login/nobody": 404, "/nothing": 404, "/callback": 400} {
		response := b.do(t, http.MethodGet, path, "")
		if response.StatusCode != status {
			t.Errorf("GET %s: status %d, want %d", path, response.StatusCode, status)
		}
		if got := response.Header.Get("Content-Security-Policy"); got != want {
			t.Errorf("GET %s: Content-Security-Policy mismatch (-want +got):\n%s", path, cmp.Diff(want, got))
		}
	}
	if response := b.do(t, http.MethodPost, "/logout", "https://evil.example"); response.StatusCode != http.StatusForbidden {
		t.Errorf("POST from another origin: status %d, want 403", response.StatusCode)
	}
}

func TestDemoMemoryForgetsTheOldest(t *testing.T) {
	t.Parallel()
	var m demoMemory[int]
	first, second := m.put(1), m.put(2)
	for i := range demoLimit - 1 {
		m.put(i)
	}
	if len(m.entries) != demoLimit {
		t.Errorf("%d values are kept, want %d", len(m.entries), demoLimit)
	}
	if _, ok := m.get(first); ok {
		t.Error("the oldest value is still there")
	}
	if got, ok := m.take(second); !ok || got != 2 {
		t.Errorf("take = %d, %t, want 2, true", got, ok)
	}
	if _, ok := m.get(second); ok {
		t.Error("a value can be taken twice")
	}
}

func TestLoopbackTransportFindsNamesBelowLocalhost(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host) }))
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	transport := loopbackTransport()
	t.Cleanup(transport.CloseIdleConnections)
	for _, host := range []string{"localhost", "acme.localhost", "a.b.LOCALHOST", "127.0.0.1"} {
		response, err := (&http.Client{Transport: transport}).Get("http://" + host + ":" + port)
		if err != nil {
			t.Errorf("%s: %v", host, err)
			continue
		}
		if body, _ := io.ReadAll(response.Body); string(body) != host+":"+port {
			t.Errorf("%s: the server saw the host %s", host, body)
		}
		_ = response.Body.Close()
	}
	for _, host := range []string{"localhost.example", "notlocalhost", ""} {
		if isLoopbackName(host) {
			t.Errorf("isLoopbackName(%q) = true", host)
		}
	}
}

// demoBrowser is a browser that visits the demo, and the provider the demo talks to. It follows no redirect.
type demoBrowser struct {
	origin string
	client *http.Client
	op     *demoProvider
}

func newDemoBrowser(t *testing.T) *demoBrowser {
	t.Helper()
	op := newDemoProvider(t)
	server := httptest.NewUnstartedServer(nil)
	origin := "http://" + server.Listener.Addr().String()
	server.Config.Handler = newDemo(origin, []demoTenant{{"acme", "Acme <Ltd>", op.URL, "demo", "s3cret"}}, op.Client().Transport)
	server.Start()
	t.Cleanup(server.Close)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &demoBrowser{origin: origin, op: op, client: &http.Client{Jar: jar, CheckRedirect: stay}}
}

func (b *demoBrowser) do(t *testing.T, method, path, from string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, b.origin+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if from != "" {
		r.Header.Set("Origin", from)
	}
	response, err := b.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

// get returns the page at path.
func (b *demoBrowser) get(t *testing.T, path string, status int) string {
	t.Helper()
	response := b.do(t, http.MethodGet, path, "")
	page, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != status {
		t.Fatalf("GET %s: status %d, error %v, want %d:\n%s", path, response.StatusCode, err, status, page)
	}
	return string(page)
}

// post presses a button and returns where it leads, if anywhere.
func (b *demoBrowser) post(t *testing.T, path string, status int) *url.URL {
	t.Helper()
	response := b.do(t, http.MethodPost, path, b.origin)
	if response.StatusCode != status {
		t.Fatalf("POST %s: status %d, want %d", path, response.StatusCode, status)
	}
	target, err := url.Parse(response.Header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// begin starts a login and returns the answer of a provider with which nothing is wrong.
func (b *demoBrowser) begin(t *testing.T) url.Values {
	t.Helper()
	response := b.do(t, http.MethodGet, "/login/acme", "")
	target, err := response.Location()
	if err != nil {
		t.Fatalf("GET /login/acme: status %d, %v", response.StatusCode, err)
	}
	query := target.Query()
	b.op.nonce, b.op.challenge = query.Get("nonce"), query.Get("code_challenge")
	return url.Values{"code": {"the-code"}, "state": {query.Get("state")}, "iss": {b.op.URL}}
}

func (b *demoBrowser) signIn(t *testing.T) {
	t.Helper()
	b.get(t, "/callback?"+b.begin(t).Encode(), http.StatusSeeOther)
}

// demoProvider is an OpenID provider as small as the demo can talk to. It is given what it should say between two requests, not during one.
type demoProvider struct {
	*httptest.Server
	signer           jose.Signer
	nonce, challenge string // of the authorization request

	subject, userInfoSubject, audience string

	grants  []string // grant_type of each token request
	idToken string   // the last
}

func newDemoProvider(t *testing.T) *demoProvider {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: "k"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &demoProvider{signer: signer, subject: "ada", userInfoSubject: "ada", audience: "demo"}
	mux := http.NewServeMux()
	answer := func(pattern string, body func(r *http.Request) (int, any)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			status, value := body(r)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_ = json.NewEncoder(w).Encode(value)
		})
	}
	answer("GET /.well-known/openid-configuration", func(*http.Request) (int, any) {
		return http.StatusOK, map[string]any{
			"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "userinfo_endpoint": p.URL + "/userinfo",
			"jwks_uri": p.URL + "/jwks", "end_session_endpoint": p.URL + "/logout", "id_token_signing_alg_values_supported": []string{"RS256"},
		}
	})
	answer("GET /jwks", func(*http.Request) (int, any) {
		return http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "RS256", Use: "sig"}}}
	})
	answer("GET /userinfo", func(*http.Request) (int, any) {
		return http.StatusOK, map[string]any{"sub": p.userInfoSubject, "name": "Ada <Lovelace>"}
	})
	answer("POST /token", p.token)
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

// token answers a token request. It refuses a code that does not come with the verifier of its challenge and with the client's secret.
func (p *demoProvider) token(r *http.Request) (int, any) {
	refused := map[string]string{"error": "invalid_grant"}
	id, secret, _ := r.BasicAuth()
	grant := r.FormValue("grant_type")
	codeFits := r.FormValue("code") == "the-code" && oauth2.S256ChallengeFromVerifier(r.FormValue("code_verifier")) == p.challenge
	refreshFits := r.FormValue("refresh_token") == fmt.Sprintf("refresh-token-%d-secret", len(p.grants)-1)
	if id != "demo" || secret != "s3cret" || (grant == "authorization_code" && !codeFits) || (grant == "refresh_token" && !refreshFits) {
		return http.StatusBadRequest, refused
	}
	idToken, err := jwt.Signed(p.signer).Claims(map[string]any{
		"iss": p.URL, "aud": p.audience, "sub": p.subject, "nonce": p.nonce, "exp": time.Now().Add(time.Minute).Unix(),
		"updated_at": time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC).Unix(),
	}).Serialize()
	if err != nil {
		return http.StatusInternalServerError, refused
	}
	n := len(p.grants)
	p.grants, p.idToken = append(p.grants, grant), idToken
	return http.StatusOK, map[string]any{
		"access_token": fmt.Sprintf("access-token-%d-secret", n), "refresh_token": fmt.Sprintf("refresh-token-%d-secret", n),
		"id_token": idToken, "token_type": "Bearer", "expires_in": 60, "scope": "openid email",
	}
}
