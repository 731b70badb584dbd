package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/cache"
	"parako/internal/config"
	"parako/internal/oidc"
	"parako/internal/ratelimit"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/tenant"
	"parako/internal/testkit/app"
)

// The canary test has two tenants do everything the product does. Each has its word in every text it can choose, down to wrong
// passwords and request ids. Then it looks for the words in everything that came out and in everything that is kept: answers,
// log, metrics, Redis, rows, memory. A word belongs to its tenant and to nobody else.
//
// How a new kind of output is not forgotten: what leaves the process does so through one of the doors that
// TestEveryWayOutIsSearched lists; it fails when the product opens another. Tables are taken from the catalog, keys and messages
// from Redis as they are there, metrics as a whole, and memory by following every pointer from the server (memory_test.go), so
// a new table, key, metric or cache is searched without anyone remembering.

// story is the life of two tenants on one server.
type story struct {
	*app.App
	tenants []marked
	crowded bool // both live at once
	// calls answers what the server asks of other servers; it calls them in development only. called are the requests.
	calls  *httptest.Server
	called []string
	hints  *cache.Cache
	// heard is what Redis published, as "channel message".
	mu    sync.Mutex
	heard []string
}

// exchange is a request of a tenant's people or clients and what they got.
type exchange struct {
	request string
	answer  http.Header
	status  int
	body    string
}

// witness carries the requests of one tenant, one at a time, and keeps the answers.
type witness struct {
	next http.RoundTripper
	m    *marked
	from string // the address of the requests
	seen []exchange
}

// RoundTrip implements http.RoundTripper.
func (w *witness) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("X-Forwarded-For", w.from)
	r.Header.Set("User-Agent", w.m.word+"-browser")
	r.Header.Set("X-Request-Id", fmt.Sprintf("%s-request-%d", w.m.word, len(w.seen)))
	resp, err := w.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	w.seen = append(w.seen, exchange{r.Method + " " + r.URL.Path, resp.Header.Clone(), resp.StatusCode, string(body)})
	return resp, nil
}

// party is a client of the tenant whose requests are witnessed.
func (w *witness) party(t *testing.T, a *app.App) party {
	p := w.m.party(t, a, w.m.Web)
	w.next = p.direct.Transport
	p.browser.Transport, p.step.Transport, p.direct.Transport = w, w, w
	return p
}

func TestNoTenantsWordsReachAnother(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		words  [2]string
		middle func(*story) // happens between the lives of the two
		both   bool         // they live at once
		calls  bool         // their clients' keys lie elsewhere
	}{
		"one after the other":              {words: [2]string{"okapi", "quetzal"}},
		"the other first":                  {words: [2]string{"quetzal", "okapi"}},
		"Redis is taken away":              {words: [2]string{"okapi", "quetzal"}, middle: func(s *story) { s.Redis.Close() }},
		"Redis is taken away, other first": {words: [2]string{"quetzal", "okapi"}, middle: func(s *story) { s.Redis.Close() }},
		"both at once":                     {words: [2]string{"okapi", "quetzal"}, both: true},
		"with calls to others":             {words: [2]string{"okapi", "quetzal"}, calls: true},
	} {
		if raced && !tt.both && !tt.calls {
			continue // The race detector looks for something else: it sees the most where the two live at once.
		}
		t.Run(name, func(t *testing.T) {
			s := &story{crowded: tt.both, App: app.New(t, func(c *config.Config) {
				if c.Environment = config.Production; tt.calls {
					c.Environment = config.Development
				}
				if tt.both {
					c.MultiTenancy.PoolMaxSize = 1 // they take turns in the pool, too
				}
			})}
			s.listen(t)
			if tt.calls {
				s.answerCalls(t)
			}
			hints, err := cache.Open(t.Context(), cache.Options{URL: s.Config.RedisURL.Reveal(), Compat: true, Timeout: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(hints.Close)
			s.hints = hints
			witnesses := make([]*witness, 2)
			for i, word := range tt.words {
				s.tenants = append(s.tenants, mark(t, s.App, word, 1+i))
			}
			for i := range s.tenants {
				witnesses[i] = &witness{m: &s.tenants[i], from: s.tenants[i].ip}
			}
			t.Run("life", func(t *testing.T) {
				for i, w := range witnesses {
					t.Run(w.m.word, func(t *testing.T) {
						if tt.both {
							t.Parallel()
						}
						if i == 1 && tt.middle != nil {
							tt.middle(s)
						}
						s.live(t, w)
					})
				}
			})
			for i, w := range witnesses {
				searchAnswers(t, w, s.tenants[1-i])
			}
			compareETags(t, witnesses)
			s.searchRows(t)
			s.searchRedis(t)
			s.searchMetrics(t)
			s.searchCalls(t)
			s.Stop(t)
			s.searchLogs(t)
			searchMemory(t, s.Server, s.tenants)
		})
	}
}

// live has the tenant's people and clients do everything there is to do, and everything that is refused.
func (s *story) live(t *testing.T, w *witness) {
	m, p := *w.m, w.party(t, s.App)
	root := strings.TrimSuffix(m.Issuer, "/oidc/v1")
	word := func(what string) string { return m.word + "-" + what }

	for _, path := range []string{
		"/", "/oidc/v1/jwks", "/oidc/v1/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/oidc/v1", "/oidc/v1/userinfo",
		"/" + word("nowhere"), "/oidc/v1/" + word("nowhere"), "/api/v1/" + word("nowhere"), "/static/" + word("sheet") + "/app.css",
		"/oidc/v1/interaction/" + word("id"), "/oidc/v1/interaction/" + uuid.NewString(), "/oidc/v1/token", "/health?" + word("query"),
	} {
		app.Get(t, p.direct, root+path)
	}
	for _, path := range []string{"/token", "/token/introspection", "/token/revocation", "/userinfo", "/authorize", "/session/end", "/session/end/confirm"} {
		app.Post(t, p.direct, m.Issuer+path, url.Values{
			"token": {word("token")}, "grant_type": {word("grant")}, "client_id": {word("nobody")}, "client_secret": {word("nothing")},
			"redirect_uri": {"https://" + m.word + ".evil.example/"}, "post_logout_redirect_uri": {"https://" + m.word + ".evil.example/"},
		})
		app.Post(t, p.direct, m.Issuer+path, url.Values{"x": {strings.Repeat(m.word, 15_000)}})
	}

	// Requests to sign in, right and wrong.
	request := []string{"state", word("state"), "nonce", word("nonce"), "login_hint", word("hint"), "scope", "openid profile email address phone offline_access " + m.scope}
	with := func(pairs ...string) []string { return append(slices.Clone(request), pairs...) }
	for _, wrong := range [][]string{
		{"client_id", word("nobody")},
		{"redirect_uri", "https://" + m.word + ".evil.example/"},
		{"scope", word("scope")},
		{"prompt", word("prompt")},
		{"resource", "urn:" + m.word + ":nothing"},
		{"id_token_hint", word("hint")},
		{"response_type", word("type")},
		{"code_challenge", m.word},
		{"max_age", m.word},
		{"response_mode", m.word},
		{"request", m.word},
		{"prompt", "none"},
	} {
		app.Get(t, p.step, p.authorizeURL(with(wrong...)...))
	}
	page := app.Get(t, p.browser, p.authorizeURL(request...))
	login := func(identifier, password string) app.Response {
		return app.Post(t, p.step, page.Request.URL.String()+"/login", url.Values{"identifier": {identifier}, "password": {password}})
	}
	if sheet := regexp.MustCompile(`/static/[0-9a-f]+/app.css`).FindString(page.Text); sheet == "" {
		t.Errorf("no style sheet in %s", page.Text)
	} else {
		app.Get(t, p.direct, root+sheet)
	}
	login(m.Email, word("wrong-password"))
	login(word("somebody")+"@"+m.word+".example", word("another-password"))
	if resp := login(m.Email, m.password); resp.StatusCode != http.StatusSeeOther {
		t.Fatalf("sign-in: %d %s", resp.StatusCode, resp.Text)
	}
	asked := p.shows(t, "consent-form", request...)
	app.Post(t, p.step, asked.Request.URL.String()+"/switch", nil)
	asked = p.shows(t, "consent-form", request...)
	app.Post(t, p.step, asked.Request.URL.String()+"/abort", nil)
	app.Get(t, p.direct, root+"/")

	// Tokens.
	code := p.code(t, request...)
	tokens := p.redeem(t, code)
	expect(t, tokens, http.StatusOK, "")
	expect(t, p.userinfo(t, tokens.text("access_token")), http.StatusOK, "")
	for _, name := range []string{"access_token", "refresh_token", "id_token"} {
		p.post(t, "/token/introspection", "token", tokens.text(name))
	}
	refreshed := p.refresh(t, tokens.text("refresh_token"))
	expect(t, refreshed, http.StatusOK, "")
	expect(t, p.post(t, "/token/revocation", "token", refreshed.text("access_token")), http.StatusOK, "")
	s.Superuser(t, "UPDATE parako.refresh_tokens SET used_at = used_at - interval '1 minute' WHERE tenant_id = $1", m.ID)
	expect(t, p.refresh(t, tokens.text("refresh_token")), http.StatusBadRequest, "invalid_grant") // reuse
	expect(t, p.redeem(t, code), http.StatusBadRequest, "invalid_grant")                          // reuse
	expect(t, p.redeem(t, "parako_ac_"+word("code")), http.StatusBadRequest, "invalid_grant")
	bound := p.redeem(t, p.code(t, with("resource", m.resource)...))
	p.userinfo(t, bound.text("access_token"))
	p.userinfo(t, "parako_at_"+word("token"))

	// The rest of the protocol.
	machine := p.as(m.M2M)
	p.codeAt(t, p.pushed(t, request...))
	p.pushRequest(t, with("scope", word("scope"))...)
	for _, more := range [][]string{
		{"response_mode", "jwt"},
		{"response_mode", "form_post"},
		{"response_mode", "fragment"},
		{"request", m.word + "." + m.word + "." + m.word},
		{"request_uri", "urn:ietf:params:oauth:request_uri:" + m.word},
		{"claims", `{"userinfo":{"` + m.word + `":null,"address":null}}`},
		{"claims", m.word},
		{"dpop_jkt", m.word},
		{"acr_values", m.word},
	} {
		app.Get(t, p.step, p.authorizeURL(with(more...)...))
	}
	for _, proof := range []string{m.word, m.proof(t, http.MethodPost, m.Issuer+"/token")} {
		p.send(t.Context(), t, "/token", dpop(proof), url.Values{"grant_type": {"refresh_token"}, "refresh_token": {word("token")}})
	}
	for grant, name := range map[string]string{grantTokenExchange: "subject_token", grantJWTBearer: "assertion"} {
		for _, token := range []string{word("token"), tokens.text("access_token"), m.assertion(t, m.M2M.ID)} {
			machine.post(t, "/token", "grant_type", grant, name, token, name+"_type", typeAccessToken)
		}
	}
	initial := p.initialToken(t).Token
	join := func(token string, pairs ...any) reply {
		return p.do(t, jsonRequest(t.Context(), http.MethodPost, m.Issuer+"/register-rp", token, metadata(append([]any{"client_name", word("dynamic")}, pairs...)...)))
	}
	for _, got := range []reply{join("parako_iat_" + m.word), join(initial, "redirect_uris", []string{m.word}), join(initial, "audience", m.word)} {
		if got.StatusCode == http.StatusCreated {
			t.Errorf("%s: %s", m.word, got.Text)
		}
	}
	joined := join(initial)
	for _, token := range []string{"parako_rat_" + m.word, joined.text("registration_access_token")} {
		for _, method := range []string{http.MethodGet, http.MethodDelete} {
			p.do(t, jsonRequest(t.Context(), method, joined.text("registration_client_uri"), token, nil))
		}
	}
	page = app.Get(t, p.browser, p.authorizeURL(with("prompt", "create")...))
	for _, form := range []url.Values{
		{"email": {m.Email}, "password": {word("long-password")}},
		{"email": {word("mail")}, "password": {m.word}},
		{"email": {"new@" + m.word + ".example"}, "password": {"correct horse staple"}, "name": {word("name")}},
	} {
		app.Post(t, p.step, strings.TrimSuffix(page.Request.URL.String(), "/register")+"/register", form)
	}
	box := p.as(m.box).begin(t)
	p.as(m.box).poll(t, box)
	p.as(m.box).post(t, "/device/auth", "scope", word("scope"))
	app.Get(t, p.browser, box.text("verification_uri_complete"))
	for _, code := range []string{m.word, box.text("user_code")} {
		app.Post(t, p.step, box.text("verification_uri"), url.Values{"user_code": {code}})
	}
	if s.calls != nil {
		s.call(t, w, p)
	}
	s.relayed(t, w)

	// Clients on their own behalf.
	expect(t, machine.post(t, "/token", "grant_type", "client_credentials", "scope", m.scope), http.StatusOK, "")
	jwt := machine.post(t, "/token", "grant_type", "client_credentials", "resource", m.resource, "scope", m.scope)
	expect(t, machine.post(t, "/token/introspection", "token", jwt.text("access_token")), http.StatusOK, "")
	expect(t, machine.post(t, "/token/revocation", "token", jwt.text("access_token")), http.StatusOK, "")
	machine.post(t, "/token", "grant_type", "client_credentials", "resource", "urn:"+m.word+":other")
	machine.post(t, "/token", "grant_type", "client_credentials", "scope", word("scope"))
	keyed, assertion := p.as(m.keyed), m.assertion(t, m.keyed.ID)
	for range 2 { // the second time it is spent
		keyed.post(t, "/token", "grant_type", "client_credentials", "client_assertion", assertion, "client_assertion_type", assertionType)
	}
	thief := m.Web
	thief.Secret = word("wrong-secret")
	expect(t, p.as(thief).post(t, "/token/introspection", "token", tokens.text("access_token")), http.StatusUnauthorized, "invalid_client")

	// The end of the session.
	p.endSession(t, "client_id", word("nobody"), "post_logout_redirect_uri", m.after)
	p.confirm(t, p.endSession(t, "id_token_hint", tokens.text("id_token"), "post_logout_redirect_uri", m.after, "state", word("bye")))

	// Somebody guesses, from where somebody guesses at the other tenant, too. Each tenant counts for itself; while Redis cannot
	// be reached, which a busy machine may bring about, the process counts from the start.
	w.from = "192.0.2.77"
	page = app.Get(t, p.browser, p.authorizeURL(request...))
	guesses, limit := 0, ratelimit.LoginIP().Burst
	for login(m.Email, word("guess")).StatusCode == http.StatusUnauthorized && guesses < 5*limit {
		guesses++
	}
	if lenient := s.calls != nil; !lenient && (guesses < limit || guesses == 5*limit) {
		t.Errorf("%s: refused after %d guesses, want %d", m.word, guesses, limit)
	}
	w.from = m.ip

	s.change(t, w, p)
	if !s.crowded {
		s.fail(t, p, request)
	}

	s.Superuser(t, "UPDATE parako.sessions SET expires_at = now() - interval '2 days' WHERE tenant_id = $1", m.ID)
	s.Superuser(t, "UPDATE parako.interactions SET expires_at = now() - interval '2 days' WHERE tenant_id = $1", m.ID)
	if err := s.Server.Expire(t.Context()); err != nil {
		t.Error(err)
	}
	s.DB.Ask(t, m.ID, "SELECT seal_no::text FROM audit.seal($1)", m.ID)
}

// relayed has the tenant's people come back from a provider through the gateway. It does so in development, where there is no
// need of https; elsewhere the gateway refuses.
func (s *story) relayed(t *testing.T, w *witness) {
	t.Helper()
	word := func(what string) string { return w.m.word + "-" + what }
	gateway := "http://_ops." + strings.TrimPrefix(s.Config.URL, "http://") + "/social/" + w.m.word + "/callback?"
	refused := url.Values{"state": {word("state")}, "code": {word("code")}, "iss": {"https://" + w.m.word + ".example"}}
	in := signIn{browser: &http.Client{Transport: w, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	if resp := app.Get(t, in.browser, gateway+refused.Encode()); resp.StatusCode < http.StatusBadRequest {
		t.Errorf("%s: the gateway takes a state that it did not make: %d", w.m.word, resp.StatusCode)
	}
	if s.calls == nil {
		return
	}
	in.App, in.relay = s.App, newSignIn(t, s.App).relay
	host := w.m.Domain + ":" + in.relay.Base.Port()
	start, err := in.relay.Begin(t.Context(), w.m.Tenant.Tenant, host, w.m.word, w.m.ip)
	if err != nil {
		t.Fatal(err)
	}
	for _, answer := range [][]string{{"code", word("code")}, {"error", word("error")}} { // Both wait in Redis when it is searched.
		resp := in.callback(t, start.RedirectURI, append([]string{"state", start.State}, answer...)...)
		if !strings.HasPrefix(resp.Header.Get("Location"), "http://"+host+"/") {
			t.Errorf("%s: the gateway answers %d %s", w.m.word, resp.StatusCode, resp.Text)
		}
	}
}

// change changes the tenant's settings, suspends it and lets it back in, and waits until the server has noticed.
func (s *story) change(t *testing.T, w *witness, p party) {
	t.Helper()
	m := w.m
	until := func(what string, seen func(app.Response) bool) {
		t.Helper()
		for deadline := time.After(time.Minute); !seen(app.Get(t, p.direct, strings.TrimSuffix(m.Issuer, "/oidc/v1")+"/")); {
			select {
			case <-deadline:
				t.Fatalf("%s: %s is not noticed", m.word, what)
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	hint := func(revision int64) { s.hints.PublishHint(t.Context(), cache.Hint{Tenant: m.ID, Revision: revision}) }
	var revision int64
	err := s.Store.InTenant(t.Context(), m.ID, func(ctx context.Context, tx *store.Tx) (err error) {
		document := fmt.Appendf(nil, `{"companyName": %q, "colors": {"light": {"accent": %q}}}`, m.word+" renamed", m.marks[2])
		written, err := settings.Write(ctx, tx, settings.Layer{}, settings.Change{
			Section: "branding", Document: document, By: audit.Operator(m.word + "-operator"), Reason: m.word + " grows up",
		})
		revision = written.Revision
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	hint(revision)
	until("the new name", func(r app.Response) bool { return strings.Contains(r.Text, m.word+" renamed") })
	for _, status := range []tenant.Status{tenant.Suspended, tenant.Active} {
		changed, err := tenant.SetStatus(t.Context(), s.Store, m.Slug, status, m.word+"-operator")
		if err != nil {
			t.Fatal(err)
		}
		hint(changed.Revision)
		until(string(status), func(r app.Response) bool { return (r.StatusCode == http.StatusOK) == (status == tenant.Active) })
		if status == tenant.Suspended {
			app.Get(t, p.direct, p.authorizeURL("state", m.word, "login_hint", m.word))
			p.post(t, "/token", "grant_type", "client_credentials", "scope", m.scope)
		}
	}
}

// fail makes the database refuse what the tenant needs, so that faults of ours are told about.
func (s *story) fail(t *testing.T, p party, request []string) {
	t.Helper()
	s.Superuser(t, "REVOKE SELECT ON parako.clients FROM parako_app")
	if resp := app.Get(t, p.step, p.authorizeURL(request...)); resp.StatusCode != http.StatusInternalServerError {
		t.Errorf("without its clients a tenant answers %d", resp.StatusCode)
	}
	p.post(t, "/token", "grant_type", "client_credentials")
	p.post(t, "/token/introspection", "token", "parako_at_"+p.tenant.Slug)
	s.Superuser(t, "GRANT SELECT ON parako.clients TO parako_app")
}

// listen keeps what Redis publishes, until it goes away.
func (s *story) listen(t *testing.T) {
	t.Helper()
	all := s.Redis.NewSubscriber()
	all.Psubscribe("*")
	done := make(chan struct{})
	go func() {
		for m := range all.Pmessages() {
			s.mu.Lock()
			s.heard = append(s.heard, m.Channel+" "+m.Message)
			s.mu.Unlock()
		}
		close(done)
	}()
	t.Cleanup(func() {
		all.Close()
		<-done
	})
}

// answerCalls is where the tenants' clients keep their keys. It keeps what it is sent.
func (s *story) answerCalls(t *testing.T) {
	t.Helper()
	s.calls = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent, err := httputil.DumpRequest(r, true)
		if err != nil {
			t.Error(err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.called = append(s.called, string(sent))
		for _, m := range s.tenants {
			if strings.HasPrefix(r.URL.Path, "/"+m.word+"/") {
				w.Header().Set("Content-Type", "application/json")
				if err := json.NewEncoder(w).Encode(m.keys()); err != nil {
					t.Error(err)
				}
			}
		}
	}))
	t.Cleanup(s.calls.Close)
}

// call has the server ask for the keys of a client.
func (s *story) call(t *testing.T, w *witness, p party) {
	t.Helper()
	m := w.m
	var client oidc.Client
	err := s.Store.InTenant(t.Context(), m.ID, func(ctx context.Context, tx *store.Tx) (err error) {
		client, err = oidc.RegisterClient(ctx, tx, s.Vault, settings.Layer{}, oidc.NewClient{
			ClientMetadata: oidc.ClientMetadata{
				Name: m.word + " far", TokenEndpointAuthMethod: "private_key_jwt",
				MoreMetadata: oidc.MoreMetadata{JWKSURI: s.calls.URL + "/" + m.word + "/keys"},
			},
			ID: m.word + "-far", Preset: oidc.PresetM2M, Actor: audit.Operator(m.word + "-operator"),
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	far := w.party(t, s.App).as(client)
	expect(t, far.post(t, "/token", "grant_type", "client_credentials", "client_assertion", m.assertion(t, client.ID), "client_assertion_type", assertionType), http.StatusOK, "")
	told := register(t, s.App, m.Tenant, oidc.NewClient{
		ClientMetadata: oidc.ClientMetadata{
			Name: m.word + " told", RedirectURIs: []string{m.callback},
			MoreMetadata: oidc.MoreMetadata{BackchannelLogoutURI: s.calls.URL + "/" + m.word + "/told"},
		},
		ID: m.word + "-told", Preset: oidc.PresetSPA, Actor: audit.Operator(m.word + "-operator"),
	})
	p.as(told).code(t) // at the end of the session it is told
}

// toldOfLogouts reports whether both tenants' applications have been told that the session has ended.
func (s *story) toldOfLogouts() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := strings.Join(s.called, "\n")
	return !slices.ContainsFunc(s.tenants, func(m marked) bool { return !strings.Contains(all, "POST /"+m.word+"/told ") })
}
