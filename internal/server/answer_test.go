package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"html"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/labstack/echo/v4"
	"golang.org/x/oauth2"

	"parako/internal/audit"
	"parako/internal/oidc"
	"parako/internal/secret"
	"parako/internal/session"
	"parako/internal/signin"
	"parako/internal/store"
)

// How the matrix asks, and how it compares what comes back.

// answer is what came back.
type answer struct {
	id, text string // text is the status, the header and the body
	status   int
	location string
	sent     []string // what was put and carried
}

// refused reports whether the request got nothing: an error, or a redirect that carries one.
func (a answer) refused() bool {
	return a.status >= http.StatusBadRequest || strings.Contains(a.location, "error=")
}

// ask sends a request to the route: what the host's own request says, what the caller carries, and over it what is put. With
// never, somebody else's credentials are replaced by such as never were.
func (m *matrix) ask(t *testing.T, r *echo.Route, who caller, s shape, puts load, never bool) answer {
	t.Helper()
	_, elsewhere := puts[place{inPath, "id"}]
	o := m.own(t, who, s, slices.Contains(pathNames(r), "id") && !elsewhere)
	if who.registered && strings.Contains(r.Path, "/register-rp") {
		o.registered, o.registration = m.register(t)
	}
	q := usual(t, r, o)
	if never && who.never != nil {
		q.put(o, who.never)
	} else {
		q.put(o, who.carries)
	}
	q.put(o, puts)
	w := httptest.NewRecorder()
	m.handler.ServeHTTP(w, q.request(t, m.asked.Add(1)))

	var text strings.Builder
	fmt.Fprintln(&text, w.Code)
	for _, name := range slices.Sorted(maps.Keys(w.Header())) {
		for _, value := range w.Header()[name] {
			if name != "X-Request-Id" {
				fmt.Fprintf(&text, "%s: %s\n", name, value)
			}
		}
	}
	id := w.Header().Get("X-Request-Id")
	text.WriteString("\n" + strings.ReplaceAll(w.Body.String(), id, "<request>"))
	return answer{id: id, text: text.String(), status: w.Code, location: w.Header().Get("Location"), sent: q.sent}
}

// question is a request as it is put together. Where it says "", nothing is sent.
type question struct {
	route             *echo.Route
	origin            string
	segments, cookies map[string]string
	query, fields     url.Values // fields are the query of a request without a body
	header            http.Header
	proxied           bool
	sent              []string // what was put
}

// usual is the host's own request to the route.
func usual(t *testing.T, r *echo.Route, o own) *question {
	t.Helper()
	q := &question{
		route: r, origin: strings.TrimSuffix(o.host.Issuer, oidc.Mount), segments: map[string]string{}, cookies: map[string]string{},
		query: url.Values{}, fields: url.Values{}, header: http.Header{},
	}
	if !hasBody(r) {
		q.fields = q.query
	}
	for name, say := range parameters {
		if say != nil && !isJSON(r) {
			q.fields.Set(name, say(o))
		}
	}
	if isAPI(r) && hasBody(r) {
		say := bodies[r.Method+" "+r.Path]
		if say == nil {
			t.Fatalf("say in bodies in matrix_request_test.go what a valid body of %s %s has", r.Method, r.Path)
		}
		for name, text := range say(o) {
			q.fields.Set(name, text)
		}
	} else if isJSON(r) {
		q.fields.Set("client_name", "The application")
		q.fields.Set("redirect_uri", o.host.callback)
		q.fields.Set("client_id", o.registered) // none where there is none yet
	}
	if o.registration != "" {
		q.header.Set("Authorization", "Bearer "+o.registration)
	}
	for _, name := range pathNames(r) {
		q.segments[name] = pathParameters[name](o)
	}
	if o.session != "" {
		q.cookies[sessionCookie.name] = o.host.Slug + "." + o.session
	}
	if o.flow != "" {
		q.cookies[flowOf(o.interaction.String())] = o.flow
	}
	return q
}

func (q *question) put(o own, l load) {
	for at, text := range l {
		q.sent = append(q.sent, text)
		switch at.in {
		case inPath:
			q.segments[at.name] = text
		case inQuery:
			q.query.Set(at.name, text)
		case inFields:
			q.fields.Set(at.name, text)
			for name, say := range costly {
				if _, too := l[place{inFields, name}]; costly[at.name] != nil && text != "" && !too {
					q.fields.Set(name, say(o))
				}
			}
		case inHeader, inProxied:
			q.header.Set(at.name, text)
			q.proxied = q.proxied || at.in == inProxied
		case inCookie:
			q.cookies[at.name] = text
		}
	}
}

// request is the nth request.
func (q *question) request(t *testing.T, n int64) *http.Request {
	t.Helper()
	for _, values := range []map[string][]string{q.query, q.fields, q.header} {
		maps.DeleteFunc(values, func(_ string, v []string) bool { return v[0] == "" })
	}
	path, body := q.route.Path, ""
	for name, text := range q.segments {
		path = strings.Replace(path, ":"+name, url.PathEscape(text), 1)
	}
	if hasBody(q.route) {
		body = q.fields.Encode()
		q.header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if isJSON(q.route) {
		body = said(t, q.fields)
		q.header.Set("Content-Type", "application/json")
	}
	r, err := http.NewRequestWithContext(t.Context(), q.route.Method, q.origin+path+"?"+q.query.Encode(), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = q.header
	if flow, ok := q.cookies["parako_flow_"]; ok {
		delete(q.cookies, "parako_flow_")
		q.cookies[flowOf(q.segments["id"])] = flow
	}
	for name, text := range q.cookies {
		if text != "" {
			r.AddCookie(&http.Cookie{Name: name, Value: strings.ReplaceAll(text, `"`, "")})
		}
	}
	// Everyone comes from an address of their own, so that no limit is met.
	address := fmt.Sprintf("10.%d.%d.%d", n>>16&255, n>>8&255, n&255)
	r.RemoteAddr = address + ":1"
	if q.proxied {
		r.Header.Set("X-Forwarded-For", address)
		r.RemoteAddr = "127.0.0.1:1"
	}
	return r
}

// said is a form as the metadata of an application.
func said(t *testing.T, fields url.Values) string {
	t.Helper()
	members := map[string]any{}
	for name := range fields {
		raw, isRaw := strings.CutPrefix(fields.Get(name), rawJSON)
		switch {
		case isRaw:
			members[name] = json.RawMessage(raw)
		case !strings.HasSuffix(name, "redirect_uri"):
			members[name] = fields.Get(name)
		case !fields.Has(name + "s"): // What is put there under the name of the list counts.
			members[name+"s"] = fields[name]
		}
	}
	text, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// flowOf is the name of the cookie that holds the secret of an interaction.
func flowOf(interaction string) string {
	return "parako_flow_" + interaction[:min(8, len(interaction))]
}

// own makes what the host's own request is made of: a session when the caller is one of its people, and an interaction when it
// is wanted.
func (m *matrix) own(t *testing.T, who caller, s shape, interaction bool) own {
	t.Helper()
	o := own{host: m.host, client: who.client, shape: s, sheet: m.sheet, script: m.script, userCode: m.userCode, interaction: uuid.New(), ward: m.ward}
	if who.person == nil && !interaction {
		return o
	}
	err := m.a.Store.InTenant(t.Context(), m.host.ID, func(ctx context.Context, tx *store.Tx) error {
		waiting := signin.Interaction{
			ClientID: m.host.Web.ID, LoginRequired: who.person == nil, ConsentPrompt: true, Request: url.Values{
				"client_id": {m.host.Web.ID}, "redirect_uri": {m.host.callback}, "response_type": {"code"}, "scope": {"openid"}, "state": {"the-state"},
				"code_challenge": {oauth2.S256ChallengeFromVerifier(verifier)}, "code_challenge_method": {"S256"},
			},
		}
		if who.person != nil {
			started, token, err := session.Start(ctx, tx, session.Proof{
				User: *who.person, ACR: session.ACRPassword, AMR: []string{session.AMRPassword},
			}, session.Policy{})
			if err != nil {
				return err
			}
			o.session, waiting.SessionID = token, &started.ID
		}
		if !interaction {
			return nil
		}
		begun, flow, err := signin.Begin(ctx, tx, waiting, time.Hour)
		o.interaction, o.flow = begun.ID, flow
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// register has an application register itself at the host, and returns its id and its token.
func (m *matrix) register(t *testing.T) (id, token string) {
	t.Helper()
	var initial oidc.RegistrationToken
	err := m.a.Store.InTenant(t.Context(), m.host.ID, func(ctx context.Context, tx *store.Tx) (err error) {
		initial, err = oidc.CreateRegistrationToken(ctx, tx, m.a.Vault, oidc.NewRegistrationToken{
			Uses: 1, TTL: time.Hour, Actor: audit.Operator(m.host.word + "-operator"),
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	m.handler.ServeHTTP(w, jsonRequest(t.Context(), http.MethodPost, m.host.Issuer+"/register-rp", initial.Token, map[string]any{
		"client_name": "The application", "redirect_uris": []string{m.host.callback},
	}))
	var got struct {
		ID    string `json:"client_id"`
		Token string `json:"registration_access_token"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusCreated {
		t.Fatalf("register: %d %s", w.Code, w.Body)
	}
	return got.ID, got.Token
}

// difference is empty when two answers are the same, or the same but for what is random and what a view leaves out.
func difference(view func(answer) string, a, b answer) string {
	if a.text == b.text || strip(a.text) == strip(b.text) {
		return ""
	}
	return gocmp.Diff(strip(view(a)), strip(view(b)))
}

// strip takes out what differs between two answers to one request: ids, tokens, secrets, times.
func strip(text string) string {
	return eachWord(timed.ReplaceAllString(timestamp.ReplaceAllString(text, "*"), "$1*"), func(word string) string {
		switch {
		case strings.HasPrefix(word, "parako_flow_"):
			return "parako_flow_*"
		case strings.HasPrefix(word, "parako_"), strings.HasPrefix(word, "eyJ"), len(word) == len(uuid.Nil.String()) && uuid.Validate(word) == nil,
			typed.MatchString(word):
			return "*"
		}
		parts := strings.Split(word, ".")
		for i, part := range parts {
			if len(part) == len(secret.Token()) || epoch.MatchString(part) {
				parts[i] = "*"
			}
		}
		return strings.Join(parts, ".")
	})
}

var (
	timed     = regexp.MustCompile(`(\bexpires_in"?[:=])[0-9]+`) // a second may end between two answers
	timestamp = regexp.MustCompile(`"timestamp":"[^"]*"`)
	epoch     = regexp.MustCompile(`^1[0-9]{9}$`)
)

// eachWord replaces the words of a text: what ids and tokens are made of.
func eachWord(text string, replace func(string) string) string {
	var b strings.Builder
	inWord := func(c byte) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.'
	}
	for i := 0; i < len(text); {
		start := i
		for i < len(text) && inWord(text[i]) {
			i++
		}
		if i > start {
			b.WriteString(replace(text[start:i]))
			continue
		}
		b.WriteByte(text[i])
		i++
	}
	return b.String()
}

// masked is the answer without what was put into the request, however it is escaped.
func (a answer) masked() string {
	const enough = 64
	text := a.text
	for _, s := range slices.SortedFunc(slices.Values(a.sent), func(a, b string) int { return len(b) - len(a) }) {
		s = strings.TrimPrefix(s, "Bearer ")
		if len(s) < 4 {
			continue
		}
		for _, form := range []string{s, url.QueryEscape(s), strings.ReplaceAll(html.EscapeString(s), "+", "&#43;"), url.PathEscape(s)} {
			text = strings.ReplaceAll(text, form, "<sent>")
		}
		if len(s) > enough { // It may have been cut.
			text = regexp.MustCompile(regexp.QuoteMeta(s[:enough])+`[A-Za-z0-9._-]*`).ReplaceAllString(text, "<sent>")
		}
	}
	return typedBack.ReplaceAllStringFunc(text, func(input string) string {
		for _, s := range a.sent {
			if plain := asTyped(input); plain != "" && strings.HasPrefix(asTyped(s), plain) {
				return "<sent>"
			}
		}
		return input
	})
}

// typedBack is the code of a device as a page fills it in again, and asTyped what is left of a text there.
var typedBack = regexp.MustCompile(`name="user_code" value="[^"]*"`)

func asTyped(text string) string {
	text = strings.TrimSuffix(strings.TrimPrefix(text, `name="user_code" value="`), `"`)
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, strings.ToUpper(text))
}

// bare is an answer without what does not depend on whether the request was believed: what it merely repeats of the
// parameters, a code of a device among them, what it says of the origin, and that a cookie is taken back.
func bare(text string, loads ...load) string {
	text = incidental.ReplaceAllString(text, "")
	names := slices.Collect(maps.Keys(costly))
	for _, l := range loads {
		for at := range l {
			names = append(names, at.name)
		}
	}
	for _, name := range names {
		text = regexp.MustCompile(`[?&]`+name+`=[^&\s"]*|<input type="hidden" name="`+name+`" value="[^"]*">\n?|"`+name+`s?":("[^"]*"|\[[^]]*\]),?`).ReplaceAllString(text, "")
	}
	return strings.ReplaceAll(strings.ReplaceAll(text, ",}", "}"), "?", "&")
}

var incidental = regexp.MustCompile(`(?m)^(Set-Cookie: [^=]+=; |Access-Control-|Vary: Origin|<p class="lead" id="device-lead">|<input class="code" id="user-code").*\n`)
