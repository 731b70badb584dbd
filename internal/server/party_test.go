package server_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/oauth2"

	"parako/internal/oidc"
	"parako/internal/secret"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/testkit/app"
)

// verifier is the PKCE secret of every authorization request that does not choose another.
const verifier = "a-verifier-of-more-than-forty-three-characters-0123456789"

// drop, as a value, leaves a parameter out.
const drop = "\x00drop"

// edit lays pairs of names and values over form.
func edit(form url.Values, pairs ...string) url.Values {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == drop {
			form.Del(pairs[i])
			continue
		}
		form.Set(pairs[i], pairs[i+1])
	}
	return form
}

// party is a relying party: a client of a tenant with one person's browser in front of it.
type party struct {
	*app.App
	tenant app.Tenant
	client oidc.Client
	// callback is where the client wants its people back; password is the person's.
	callback, password string
	// browser keeps cookies and follows redirects within the server; step keeps the same cookies and follows none; direct
	// keeps nothing and follows nothing.
	browser, step, direct *http.Client
}

func newParty(t *testing.T, a *app.App, tenant app.Tenant, client oidc.Client) party {
	t.Helper()
	browser := a.Browser(t)
	step := *browser
	step.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return party{
		App: a, tenant: tenant, client: client, callback: app.Callback, password: app.Password, browser: browser, step: &step, direct: a.Client(t),
	}
}

// as is another client in front of the same browser.
func (p party) as(client oidc.Client) party {
	p.client = client
	return p
}

// register adds a client to the tenant.
func register(t *testing.T, a *app.App, tenant app.Tenant, n oidc.NewClient) oidc.Client {
	t.Helper()
	var client oidc.Client
	err := a.Store.InTenant(t.Context(), tenant.ID, func(ctx context.Context, tx *store.Tx) (err error) {
		client, err = oidc.RegisterClient(ctx, tx, a.Vault, settings.Layer{}, n)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// webClient is a confidential client of the test's own, which it may change without disturbing its neighbours.
func webClient(t *testing.T, a *app.App, tenant app.Tenant, change ...func(*oidc.NewClient)) oidc.Client {
	t.Helper()
	n := oidc.NewClient{
		ID: "web-" + uuid.NewString()[:8], Preset: oidc.PresetWeb, ClientMetadata: oidc.ClientMetadata{
			Name: "Own", RedirectURIs: []string{app.Callback}, PostLogoutRedirectURIs: []string{"http://localhost:9008/"},
			Scope: "openid profile email offline_access",
		},
	}
	for _, f := range change {
		f(&n)
	}
	return register(t, a, tenant, n)
}

// request is a valid authorization request with pairs laid over it.
func (p party) request(pairs ...string) url.Values {
	return edit(url.Values{
		"client_id": {p.client.ID}, "redirect_uri": {p.callback}, "response_type": {"code"}, "scope": {"openid"}, "state": {"the-state"},
		"nonce": {"the-nonce"}, "code_challenge": {oauth2.S256ChallengeFromVerifier(verifier)}, "code_challenge_method": {"S256"},
	}, pairs...)
}

func (p party) authorizeURL(pairs ...string) string {
	return p.tenant.Issuer + "/authorize?" + p.request(pairs...).Encode()
}

// authorize sends an authorization request and follows nothing.
func (p party) authorize(t *testing.T, pairs ...string) app.Response {
	t.Helper()
	return app.Get(t, p.step, p.authorizeURL(pairs...))
}

// answer reads the response to an authorization request, which must be a redirect to the client that names the issuer.
func (p party) answer(t *testing.T, resp app.Response) url.Values {
	t.Helper()
	location := resp.Header.Get("Location")
	if resp.StatusCode != http.StatusSeeOther || !strings.HasPrefix(location, p.callback) {
		t.Fatalf("%s %s: status %d to %q, want a redirect to the client\n%s",
			resp.Request.Method, resp.Request.URL, resp.StatusCode, location, resp.Text)
	}
	return p.read(t, location)
}

func (p party) read(t *testing.T, location string) url.Values {
	t.Helper()
	u, err := url.Parse(location)
	if err != nil {
		t.Fatal(err)
	}
	values := u.Query()
	if u.Fragment != "" {
		if values, err = url.ParseQuery(u.EscapedFragment()); err != nil {
			t.Fatal(err)
		}
	}
	if values.Get("iss") != p.tenant.Issuer {
		t.Errorf("iss = %q, want %q", values.Get("iss"), p.tenant.Issuer)
	}
	checkDescription(t, values.Get("error_description"))
	return values
}

// refused expects the error at the client's redirect URI, with the state.
func (p party) refused(t *testing.T, code string, pairs ...string) {
	t.Helper()
	got := p.answer(t, p.authorize(t, pairs...))
	if got.Get("error") != code || got.Get("state") != "the-state" || got.Has("code") {
		t.Errorf("%q: got %v, want error %s with the state", pairs, got, code)
	}
}

// signIn answers an authorization request as a person would and returns what came back to the client.
func (p party) signIn(t *testing.T, pairs ...string) url.Values {
	t.Helper()
	return p.read(t, p.SignIn(t, p.browser, p.authorizeURL(pairs...), p.tenant.Email, p.password).String())
}

// code signs in, or uses the session there is.
func (p party) code(t *testing.T, pairs ...string) string {
	t.Helper()
	got := p.signIn(t, pairs...)
	if got.Get("code") == "" {
		t.Fatalf("no code: %v", got)
	}
	return got.Get("code")
}

// shows expects that a request leads to the page with the element.
func (p party) shows(t *testing.T, element string, pairs ...string) app.Response {
	t.Helper()
	resp := app.Get(t, p.browser, p.authorizeURL(pairs...))
	if !strings.Contains(resp.Text, `id="`+element+`"`) {
		t.Errorf("%q: status %d to %q without %s:\n%s", pairs, resp.StatusCode, resp.Header.Get("Location"), element, resp.Text)
	}
	return resp
}

// reply is the answer of a protocol endpoint.
type reply struct {
	app.Response
	body map[string]any
}

func (r reply) text(name string) string {
	s, _ := r.body[name].(string)
	return s
}

// post sends a form to one of the tenant's endpoints, authenticated as the client registered.
func (p party) post(t *testing.T, path string, pairs ...string) reply {
	t.Helper()
	r := p.formRequest(t.Context(), path, edit(url.Values{}, pairs...))
	return p.do(t, r)
}

func (p party) formRequest(ctx context.Context, path string, form url.Values) *http.Request {
	basic := p.client.TokenEndpointAuthMethod == "client_secret_basic"
	if !basic && !form.Has("client_id") {
		form.Set("client_id", p.client.ID)
	}
	if p.client.TokenEndpointAuthMethod == "client_secret_post" && !form.Has("client_secret") {
		form.Set("client_secret", p.client.Secret)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.tenant.Issuer+path, strings.NewReader(form.Encode()))
	if err != nil {
		panic(err) // The issuer is a URL.
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if basic {
		r.SetBasicAuth(url.QueryEscape(p.client.ID), url.QueryEscape(p.client.Secret))
	}
	return r
}

// do sends a request to a protocol endpoint and checks what every answer has.
func (p party) do(t *testing.T, r *http.Request) reply {
	t.Helper()
	got := reply{Response: app.Do(t, p.direct, r)}
	if got.Text != "" {
		if err := json.Unmarshal([]byte(got.Text), &got.body); err != nil {
			t.Fatalf("%s %s: %d %q is not JSON: %v", r.Method, r.URL.Path, got.StatusCode, got.Text, err)
		}
		if media := got.Header.Get("Content-Type"); media != "application/json" {
			t.Errorf("%s %s: Content-Type %q", r.Method, r.URL.Path, media)
		}
	}
	if got.Header.Get("X-Request-Id") == "" {
		t.Errorf("%s %s: no request id", r.Method, r.URL.Path)
	}
	if got.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s %s: %d may be cached: %q", r.Method, r.URL.Path, got.StatusCode, got.Header.Get("Cache-Control"))
	}
	checkDescription(t, got.text("error_description"))
	return got
}

// checkDescription allows the characters of RFC 6749 section 5.2.
func checkDescription(t *testing.T, text string) {
	t.Helper()
	if strings.ContainsFunc(text, func(r rune) bool { return r < 0x20 || r > 0x7e || r == '"' || r == '\\' }) {
		t.Errorf("error_description %q has characters it must not have", text)
	}
}

// expect checks status and error of a reply.
func expect(t *testing.T, got reply, status int, code string) {
	t.Helper()
	if got.StatusCode != status || got.text("error") != code {
		t.Errorf("%s: %d %s, want %d %q", got.Request.URL.Path, got.StatusCode, got.Text, status, code)
	}
}

// redeem exchanges a code.
func (p party) redeem(t *testing.T, code string, pairs ...string) reply {
	t.Helper()
	form := edit(url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {p.callback}, "code_verifier": {verifier},
	}, pairs...)
	return p.do(t, p.formRequest(t.Context(), "/token", form))
}

// tokens signs in and exchanges the code.
func (p party) tokens(t *testing.T, pairs ...string) reply {
	t.Helper()
	got := p.redeem(t, p.code(t, pairs...))
	expect(t, got, http.StatusOK, "")
	return got
}

func (p party) refresh(t *testing.T, token string, pairs ...string) reply {
	t.Helper()
	form := edit(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}, pairs...)
	return p.do(t, p.formRequest(t.Context(), "/token", form))
}

// userinfo asks with the token in the header.
func (p party) userinfo(t *testing.T, token string) reply {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.tenant.Issuer+"/userinfo", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	return p.do(t, r)
}

// claimsOf reads the payload of a JSON Web Token without checking it.
func claimsOf(t *testing.T, token string) map[string]any {
	t.Helper()
	return segment(t, token, 1)
}

// segment decodes a part of a JSON Web Token.
func segment(t *testing.T, token string, n int) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no JSON Web Token", token)
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[n])
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	if err := json.Unmarshal(raw, &values); err != nil {
		t.Fatal(err)
	}
	return values
}

// rowID is the key under which an opaque token is stored.
func rowID(token string) []byte {
	_, signature, _ := strings.Cut(token, ".")
	return secret.Digest(signature)
}

// send is app.Do for goroutines, which must not end the test.
func send(client *http.Client, r *http.Request) (status int, header http.Header, body string, err error) {
	resp, err := client.Do(r)
	if err != nil {
		return 0, nil, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, string(b), err
}

func jwtPart(payload []byte) string { return base64.RawURLEncoding.EncodeToString(payload) }

func sorted(s []string) []string {
	slices.Sort(s)
	return s
}
