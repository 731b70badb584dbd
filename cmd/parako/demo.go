package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// The demo's cookies. All are HttpOnly, and SameSite=Lax: Strict would withhold them when the provider sends the browser back.
const (
	demoSessionCookie = "demo_session" // names a demoSession
	demoLoginCookie   = "demo_login"   // names a demoLogin
	demoLogoutCookie  = "demo_logout"  // the state the provider must return after the logout
)

// demoFiles holds the one page and its stylesheet.
//
//go:embed demo.html demo.css
var demoFiles embed.FS

// demoTenant is one tenant the demo can sign in at. Slug names it in the demo's own addresses.
type demoTenant struct{ Slug, Name, Issuer, ClientID, ClientSecret string }

// demo is the relying party of `parako dev`: a small OpenID Connect client, written as we would like an application to be.
// It keeps everything in memory and forgets it when the process ends.
type demo struct {
	origin   string
	clients  []*demoClient
	http     *http.Client
	logins   demoMemory[demoLogin]
	sessions demoMemory[*demoSession]
	page     *template.Template
}

// newDemo returns the handler of the demo relying party that lives at origin, e.g. http://localhost:9008. Each tenant's client needs
// origin + "/callback" among its redirect_uris and origin + "/" among its post_logout_redirect_uris. The providers are reached through
// transport, and not before the first login, so they may start later than the demo. The handler is safe for concurrent use.
func newDemo(origin string, tenants []demoTenant, transport http.RoundTripper) http.Handler {
	d := &demo{
		origin: origin,
		http:   &http.Client{Transport: transport, Timeout: 10 * time.Second},
		page:   template.Must(template.ParseFS(demoFiles, "demo.html")),
	}
	// Chromium applies form-action to redirects too, and the answer to POST /logout is one to the provider.
	policy := []string{"default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"}
	for _, t := range tenants {
		d.clients = append(d.clients, &demoClient{demoTenant: t, redirectURI: origin + "/callback"})
		if issuer, err := url.Parse(t.Issuer); err == nil {
			policy = append(policy, issuer.Scheme+"://"+issuer.Host)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /demo.css", func(w http.ResponseWriter, r *http.Request) { http.ServeFileFS(w, r, demoFiles, "demo.css") })
	mux.Handle("GET /{$}", d.handle(d.home))
	mux.Handle("GET /login/{slug}", d.handle(d.login))
	mux.Handle("GET /callback", d.handle(d.callback))
	mux.Handle("POST /refresh", d.handle(d.refresh))
	mux.Handle("POST /logout", d.handle(d.logout))
	mux.Handle("GET /", d.handle(func(http.ResponseWriter, *http.Request) error { return errDemoNotFound }))
	guarded := http.NewCrossOriginProtection().Handler(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", strings.Join(policy, " "))
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Referrer-Policy", "same-origin") // the address of the callback holds the code
		w.Header().Set("Cache-Control", "no-store")
		guarded.ServeHTTP(w, r)
	})
}

// home shows who is signed in, or where one can sign in.
func (d *demo) home(w http.ResponseWriter, r *http.Request) error {
	if session, ok := d.sessions.get(demoCookie(r, demoSessionCookie)); ok {
		d.render(w, http.StatusOK, demoView{Title: "Signed in at " + session.client.Name, Session: session})
		return nil
	}
	view := demoView{Title: "You are not signed in", Clients: d.clients}
	if state := demoCookie(r, demoLogoutCookie); state != "" && sameSecret(r.URL.Query().Get("state"), state) {
		d.setCookie(w, demoLogoutCookie, "", -1)
		view.Title = "You are signed out"
	}
	d.render(w, http.StatusOK, view)
	return nil
}

// demoLogin is what the demo remembers of a login it sent to a provider, until the browser comes back.
type demoLogin struct {
	client                 *demoClient
	state, nonce, verifier string
}

// login sends the browser to the provider of one tenant with an authorization request (OpenID Connect Core §3.1.2.1).
func (d *demo) login(w http.ResponseWriter, r *http.Request) error {
	i := slices.IndexFunc(d.clients, func(c *demoClient) bool { return c.Slug == r.PathValue("slug") })
	if i < 0 {
		return errDemoNotFound
	}
	client := d.clients[i]
	if err := client.discover(d.context(r)); err != nil {
		return fmt.Errorf("discover the provider of %s: %w", client.Name, err)
	}
	login := demoLogin{client: client, state: rand.Text(), nonce: rand.Text(), verifier: oauth2.GenerateVerifier()}
	d.setCookie(w, demoLoginCookie, d.logins.put(login), 15*60)
	target := client.oauth.AuthCodeURL(login.state, oidc.Nonce(login.nonce), oauth2.S256ChallengeOption(login.verifier))
	http.Redirect(w, r, target, http.StatusSeeOther)
	return nil
}

// callback receives the authorization response (OpenID Connect Core §3.1.2.5) and turns it into a session.
func (d *demo) callback(w http.ResponseWriter, r *http.Request) error {
	answer := r.URL.Query()
	// A login is spent by the first answer, right or wrong: a state is never accepted twice.
	login, ok := d.logins.take(demoCookie(r, demoLoginCookie))
	d.setCookie(w, demoLoginCookie, "", -1)
	if !ok || !sameSecret(answer.Get("state"), login.state) {
		return &demoProblem{http.StatusBadRequest, "This sign-in did not start here", "The state belongs to no sign-in that is under way in " +
			"this browser. It may be too old, or another one was started since."}
	}
	// Mix-up attack: one provider's answer must not reach another's token endpoint (RFC 9207 §2.4).
	if iss := answer.Get("iss"); iss != login.client.Issuer {
		return &demoProblem{http.StatusBadRequest, "Another provider answered", fmt.Sprintf("iss is %q, want %q.", iss, login.client.Issuer)}
	}
	if code := answer.Get("error"); code != "" {
		detail := strings.TrimSuffix(code+": "+answer.Get("error_description"), ": ")
		return &demoProblem{http.StatusBadRequest, "The provider did not sign you in", detail}
	}
	ctx := d.context(r)
	token, err := login.client.oauth.Exchange(ctx, answer.Get("code"), oauth2.VerifierOption(login.verifier))
	if err != nil {
		return fmt.Errorf("exchange the code: %w", err)
	}
	session, err := demoSession{client: login.client, nonce: login.nonce}.accept(ctx, token)
	if err != nil {
		return err
	}
	d.sessions.take(demoCookie(r, demoSessionCookie))
	d.start(w, r, session)
	return nil
}

// start keeps session under a new name, for one planted in the browser earlier must be worth nothing (session fixation), and shows it.
func (d *demo) start(w http.ResponseWriter, r *http.Request, session *demoSession) {
	d.setCookie(w, demoSessionCookie, d.sessions.put(session), 0)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// refresh trades the refresh token for new tokens (RFC 6749 §6).
func (d *demo) refresh(w http.ResponseWriter, r *http.Request) error {
	// Taken, so that of two tabs only one presents the token: a provider that rotates refresh tokens takes a second use for theft. For
	// the same reason a session whose refresh failed is not put back.
	session, ok := d.sessions.take(demoCookie(r, demoSessionCookie))
	if !ok {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return nil
	}
	ctx := d.context(r)
	// A token that is nothing but a refresh token counts as expired, so the source asks for a new one at once.
	token, err := session.client.oauth.TokenSource(ctx, &oauth2.Token{RefreshToken: session.token.RefreshToken}).Token()
	if err != nil {
		return fmt.Errorf("refresh the tokens: %w", err)
	}
	renewed, err := session.accept(ctx, token)
	if err != nil {
		return err
	}
	renewed.refreshes++
	d.start(w, r, renewed)
	return nil
}

// logout ends the session here and asks the provider to end its own (OpenID Connect RP-Initiated Logout §2).
func (d *demo) logout(w http.ResponseWriter, r *http.Request) error {
	session, ok := d.sessions.take(demoCookie(r, demoSessionCookie))
	d.setCookie(w, demoSessionCookie, "", -1)
	if !ok || session.client.metadata.EndSession == "" {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return nil
	}
	target, err := url.Parse(session.client.metadata.EndSession)
	if err != nil {
		return fmt.Errorf("read end_session_endpoint: %w", err)
	}
	state := rand.Text()
	query := target.Query()
	query.Set("id_token_hint", session.idToken)
	query.Set("client_id", session.client.ClientID)
	query.Set("post_logout_redirect_uri", d.origin+"/")
	query.Set("state", state)
	target.RawQuery = query.Encode()
	d.setCookie(w, demoLogoutCookie, state, 15*60)
	http.Redirect(w, r, target.String(), http.StatusSeeOther)
	return nil
}

// demoClient is the demo's registration at one tenant. What discovery finds is written once, before anyone reads it.
type demoClient struct {
	demoTenant
	redirectURI string

	mu       sync.Mutex // held by discover
	provider *oidc.Provider
	oauth    oauth2.Config
	metadata struct { // what the library does not read
		EndSession string `json:"end_session_endpoint"`
	}
}

// discover reads the provider's metadata (OpenID Connect Discovery §4) unless an earlier call has. A failure is not remembered.
func (c *demoClient) discover(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.provider != nil {
		return nil
	}
	provider, err := oidc.NewProvider(ctx, c.Issuer)
	if err != nil {
		return err
	}
	if err := provider.Claims(&c.metadata); err != nil {
		return err
	}
	endpoint := provider.Endpoint()
	endpoint.AuthStyle = oauth2.AuthStyleInHeader // client_secret_basic; to let the library guess would present a refused code twice
	c.oauth = oauth2.Config{
		ClientID: c.ClientID, ClientSecret: c.ClientSecret, Endpoint: endpoint, RedirectURL: c.redirectURI,
		Scopes: []string{oidc.ScopeOpenID, "profile", "email", oidc.ScopeOfflineAccess},
	}
	c.provider = provider
	return nil
}

// demoSession is one signed-in browser. It is never changed; a refresh makes a new one.
type demoSession struct {
	client    *demoClient
	nonce     string
	subject   string // empty until the first ID token is accepted
	token     *oauth2.Token
	idToken   string // as received: the hint of the logout
	scope     string
	refreshes int
	claims    map[string]json.RawMessage // of the ID token
	userInfo  map[string]json.RawMessage
}

// accept checks a token response and returns the session with what it says. At the login the response must hold an ID token with our nonce
// (OpenID Connect Core §3.1.3.7); at a refresh an ID token is optional, but it must be about the same person (§12.2).
func (s demoSession) accept(ctx context.Context, token *oauth2.Token) (*demoSession, error) {
	raw, _ := token.Extra("id_token").(string)
	if first := s.subject == ""; first || raw != "" {
		verified, err := s.client.provider.Verifier(&oidc.Config{ClientID: s.client.ClientID}).Verify(ctx, raw) // signature, iss, aud, exp
		if err != nil {
			return nil, fmt.Errorf("verify the ID token: %w", err)
		}
		// A stolen code, injected here, yields an ID token with the nonce of another browser.
		if (first || verified.Nonce != "") && !sameSecret(verified.Nonce, s.nonce) {
			return nil, errors.New("verify the ID token: the nonce is not the one of this sign-in")
		}
		if !first && verified.Subject != s.subject {
			return nil, errors.New("verify the ID token: it is about another person")
		}
		s.idToken, s.subject, s.claims = raw, verified.Subject, nil
		if err := verified.Claims(&s.claims); err != nil {
			return nil, fmt.Errorf("read the ID token: %w", err)
		}
	}
	info, err := s.client.provider.UserInfo(ctx, oauth2.StaticTokenSource(token))
	if err != nil {
		return nil, fmt.Errorf("ask for userinfo: %w", err)
	}
	if info.Subject != s.subject { // OpenID Connect Core §5.3.2
		return nil, errors.New("userinfo is about another person than the ID token")
	}
	s.userInfo = nil
	if err := info.Claims(&s.userInfo); err != nil {
		return nil, fmt.Errorf("read userinfo: %w", err)
	}
	// A response that does not say has granted what was granted before, or all that was asked for (RFC 6749 §5.1, §6).
	granted, _ := token.Extra("scope").(string)
	s.scope = cmp.Or(granted, s.scope, strings.Join(s.client.oauth.Scopes, " "))
	s.token = token
	return &s, nil
}

// Refreshable reports whether the provider gave a refresh token.
func (s demoSession) Refreshable() bool { return s.token.RefreshToken != "" }

// Tables is what the page shows of a session: of the tokens no more than one needs to tell them apart.
func (s demoSession) Tables() []demoTable {
	refresh := "none received"
	if s.Refreshable() {
		refresh = "received: " + clip(s.token.RefreshToken, 12)
	}
	return []demoTable{
		{"demo-id-token", "Claims of the ID token", claimRows(s.claims)},
		{"demo-userinfo", "Claims of userinfo", claimRows(s.userInfo)},
		{"demo-tokens", "Tokens", []demoRow{
			{"scope", s.scope},
			{"access token", clip(s.token.AccessToken, 12)},
			{"refresh token", refresh},
			{"ID token", clip(s.idToken, 12)},
			{"times refreshed", strconv.Itoa(s.refreshes)},
		}},
	}
}

// claimTimes are the claims whose number is a time: seconds since 1970.
const claimTimes = " auth_time exp iat nbf updated_at "

// claimRows sorts claims by name and spells them for people: a text without quotes, a time with its date, anything else as JSON.
func claimRows(claims map[string]json.RawMessage) []demoRow {
	var rows []demoRow
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		value := string(claims[name])
		var text string
		if json.Unmarshal(claims[name], &text) == nil {
			value = text
		} else if at, err := strconv.ParseInt(value, 10, 64); err == nil && strings.Contains(claimTimes, " "+name+" ") {
			value += time.Unix(at, 0).UTC().Format(" (2 January 2006, 15:04:05 UTC)")
		}
		rows = append(rows, demoRow{name, value})
	}
	return rows
}

// demoView is everything the page can show: a problem, a session, or where one can sign in.
type demoView struct {
	Origin, Title string
	Problem       *demoProblem
	Session       *demoSession
	Clients       []*demoClient
}

type demoTable struct {
	ID, Caption string
	Rows        []demoRow
}

type demoRow struct{ Name, Value string }

// demoProblem is an error with its own page.
type demoProblem struct {
	Status        int
	Title, Detail string
}

// Error implements error.
func (p *demoProblem) Error() string { return p.Title + ": " + p.Detail }

var errDemoNotFound = &demoProblem{http.StatusNotFound, "There is no such page", "The demo knows no tenant and no page of this name."}

// handle turns a handler that may fail into one that shows the failure. Any error but a demoProblem is the provider's: the demo depends on
// nothing else. Its text is shown, because whoever runs `parako dev` is the one who can act on it.
func (d *demo) handle(serve func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := serve(w, r)
		if err == nil {
			return
		}
		problem, ok := errors.AsType[*demoProblem](err)
		if !ok {
			problem = &demoProblem{http.StatusBadGateway, "The provider could not be used", clip(err.Error(), 500)}
		}
		d.render(w, problem.Status, demoView{Title: problem.Title, Problem: problem})
	})
}

func (d *demo) render(w http.ResponseWriter, status int, view demoView) {
	view.Origin = d.origin
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_ = d.page.Execute(w, view) // the browser has gone
}

// context carries the demo's HTTP client to both libraries.
func (d *demo) context(r *http.Request) context.Context {
	return oidc.ClientContext(r.Context(), d.http)
}

// setCookie sets a cookie for maxAge seconds; 0 means until the browser closes, -1 deletes it.
func (d *demo) setCookie(w http.ResponseWriter, name, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Secure: strings.HasPrefix(d.origin, "https://"),
	})
}

// demoCookie returns the value of a cookie, or "" if the browser sent none.
func demoCookie(r *http.Request, name string) string {
	cookie, err := r.Cookie(name)
	if err != nil {
		return ""
	}
	return cookie.Value
}

// sameSecret compares in constant time: the caller controls one side and must not learn the other byte by byte.
func sameSecret(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// clip shortens text to its first n characters and an ellipsis.
func clip(text string, n int) string {
	if runes := []rune(text); len(runes) > n {
		return string(runes[:n]) + "…"
	}
	return text
}

// demoMemory keeps the newest demoLimit values under keys nobody can guess, and forgets the oldest for each further one.
// The zero value is empty. It is safe for concurrent use.
type demoMemory[T any] struct {
	mu      sync.Mutex
	entries []demoEntry[T] // oldest first; few enough to search one by one
}

type demoEntry[T any] struct {
	key   string
	value T
}

// demoLimit is how many values a demoMemory keeps.
const demoLimit = 1000

// put keeps value and returns its key.
func (m *demoMemory[T]) put(value T) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := rand.Text()
	m.entries = append(m.entries[max(0, len(m.entries)+1-demoLimit):], demoEntry[T]{key, value})
	return key
}

// get returns the value kept under key, or false.
func (m *demoMemory[T]) get(key string) (T, bool) { return m.find(key, false) }

// take is get, and forgets the value: of two callers only one receives it.
func (m *demoMemory[T]) take(key string) (T, bool) { return m.find(key, true) }

func (m *demoMemory[T]) find(key string, forget bool) (T, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.entries, func(e demoEntry[T]) bool { return e.key == key })
	if i < 0 {
		return *new(T), false
	}
	value := m.entries[i].value
	if forget {
		m.entries = slices.Delete(m.entries, i, i+1)
	}
	return value, true
}

// loopbackTransport returns a transport that finds localhost and every name below it on 127.0.0.1, as browsers do (RFC 6761 §6.3) and
// most resolvers do not. Other hosts are dialled as usual.
func loopbackTransport() *http.Transport {
	dial := (&net.Dialer{Timeout: 5 * time.Second}).DialContext
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSHandshakeTimeout: 5 * time.Second, IdleConnTimeout: time.Minute}
	transport.Proxy = func(r *http.Request) (*url.URL, error) {
		if isLoopbackName(r.URL.Hostname()) {
			return nil, nil //nolint:nilnil // Proxy's way to say: none.
		}
		return http.ProxyFromEnvironment(r)
	}
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if host, port, err := net.SplitHostPort(address); err == nil && isLoopbackName(host) {
			address = net.JoinHostPort("127.0.0.1", port)
		}
		return dial(ctx, network, address)
	}
	return transport
}

func isLoopbackName(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}
