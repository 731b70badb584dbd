package server_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/dbsqlc"
	"parako/internal/directory"
	"parako/internal/message"
	"parako/internal/oidc"
	"parako/internal/session"
	"parako/internal/signin"
	"parako/internal/store"
	"parako/internal/testkit/app"
)

// holdings are what a tenant has given out and still honours.
type holdings struct {
	code, access, refresh, idToken string
	// bound is a person's access token for a resource; service and serviceBound are a client's own.
	bound, service, serviceBound string
	// api is a client's token for the Management API.
	api string
	// cookie and adminCookie are those of two sessions.
	cookie, adminCookie string
	// deviceCode and userCode are those of a request of a device that waits.
	deviceCode, userCode string
	// initial lets applications register; registered is one that did, and registration its token.
	initial, registered, registration string
	// pushed is the request_uri of a pushed request.
	pushed            string
	interaction, flow string
	etags             []string
	sheet, script     string
}

// hold has the tenant give out one of everything, through its own endpoints.
func hold(t *testing.T, a *app.App, m marked) holdings {
	t.Helper()
	if _, err := domainsOf(t, a).AddDomain(t.Context(), m.ID, "claim."+strings.Trim(m.Slug, "_")+".example", audit.Operator("test")); err != nil {
		t.Fatal(err)
	}
	err := a.Store.InTenant(t.Context(), m.ID, func(ctx context.Context, tx *store.Tx) error {
		letter := dbsqlc.MailCreateParams{ID: uuid.New(), UserID: m.User.ID, Kind: string(message.NewSession), Detail: []byte("{}"), ExpiresAt: tx.Now().Add(time.Hour)}
		if err := tx.MailCreate(ctx, letter); err != nil {
			return err
		}
		return message.Tried(ctx, tx, letter.ID, "The mail server refused the mail.", true)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, person := range []directory.User{m.User, m.admin} {
		err := a.Store.InTenant(t.Context(), m.ID, func(ctx context.Context, tx *store.Tx) error {
			s := session.Session{User: person}
			for _, client := range []string{m.Web.ID, m.SPA.ID} {
				if err := signin.GiveConsent(ctx, tx, s, client, strings.Fields(m.SPA.Scope), audit.Origin{}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var h holdings
	jar := func(p party, name string) string {
		home, err := url.Parse(m.Issuer)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range p.browser.Jar.Cookies(home) {
			if strings.HasPrefix(c.Name, name) {
				return c.Value
			}
		}
		t.Fatalf("%s: no cookie %s", m.word, name)
		return ""
	}
	p := m.party(t, a, m.SPA)
	tokens := p.tokens(t, "scope", "openid profile offline_access")
	h.access, h.refresh, h.idToken = tokens.text("access_token"), tokens.text("refresh_token"), tokens.text("id_token")
	h.bound = p.redeem(t, p.code(t, "resource", m.resource)).text("access_token")
	h.code = p.code(t)
	a.Superuser(t, "UPDATE parako.codes SET expires_at = now() + interval '1 hour' WHERE tenant_id = $1", m.ID)
	h.cookie = jar(p, "application_session")

	h.pushed = p.pushRequest(t).text("request_uri")
	a.Superuser(t, "UPDATE parako.pushed_requests SET expires_at = now() + interval '1 hour' WHERE tenant_id = $1", m.ID)

	root := m.party(t, a, m.SPA)
	root.tenant.Email = m.adminEmail
	root.code(t)
	h.adminCookie = jar(root, "application_session")

	page := app.Get(t, p.browser, p.authorizeURL("prompt", "login"))
	h.interaction = page.Request.URL.Path[strings.LastIndex(page.Request.URL.Path, "/")+1:]
	h.flow = jar(p, flowOf(h.interaction))
	a.Superuser(t, "UPDATE parako.interactions SET expires_at = now() + interval '1 hour' WHERE tenant_id = $1", m.ID)
	h.sheet = regexp.MustCompile(`/static/([0-9a-f]+)/`).FindStringSubmatch(page.Text)[1]
	page = app.Get(t, p.browser, p.authorizeURL("response_mode", "form_post", "prompt", "none"))
	h.script = regexp.MustCompile(`/static/([0-9a-f]+/\w+\.js)`).FindStringSubmatch(page.Text)[1]
	for _, path := range []string{"/jwks", "/.well-known/openid-configuration"} {
		h.etags = append(h.etags, app.Get(t, p.direct, m.Issuer+path).Header.Get("ETag"))
	}

	box := p.as(m.box).post(t, "/device/auth", "scope", "openid")
	h.deviceCode, h.userCode = box.text("device_code"), box.text("user_code")
	a.Superuser(t, "UPDATE parako.device_codes SET expires_at = now() + interval '1 hour' WHERE tenant_id = $1", m.ID)

	p.delivery(t)
	h.initial = p.initialToken(t, func(n *oidc.NewRegistrationToken) { n.Uses = 1000 }).Token
	own := p.do(t, jsonRequest(t.Context(), http.MethodPost, m.Issuer+"/register-rp", h.initial, map[string]any{
		"client_name": m.word + " registered", "redirect_uris": []string{m.callback},
	}))
	expect(t, own, http.StatusCreated, "")
	h.registered, h.registration = own.text("client_id"), own.text("registration_access_token")

	machine := p.as(m.M2M)
	h.service = machine.post(t, "/token", "grant_type", "client_credentials").text("access_token")
	h.serviceBound = machine.post(t, "/token", "grant_type", "client_credentials", "resource", m.resource).text("access_token")
	h.api = p.as(m.keeper).post(t, "/token", "grant_type", "client_credentials", "resource", oidc.ManagementResource, "scope", m.keeper.ResourcesScopes).text("access_token")
	revoked := machine.post(t, "/token", "grant_type", "client_credentials", "resource", m.resource).text("access_token")
	expect(t, machine.post(t, "/token/revocation", "token", revoked), http.StatusOK, "")
	expect(t, p.as(m.keyed).post(t, "/token", "grant_type", "client_credentials",
		"client_assertion", m.assertion(t, m.keyed.ID), "client_assertion_type", assertionType), http.StatusOK, "")
	a.DB.Ask(t, m.ID, "SELECT seal_no::text FROM audit.seal($1)", m.ID)
	for name, text := range map[string]string{
		"code": h.code, "access token": h.access, "refresh token": h.refresh, "ID token": h.idToken, "token for a resource": h.bound,
		"service's token": h.service, "service's token for a resource": h.serviceBound, "token for the API": h.api, "ETag": h.etags[0],
		"pushed request": h.pushed, "device code": h.deviceCode, "user code": h.userCode,
		"registration token": h.registration,
	} {
		if text == "" {
			t.Fatalf("%s has no %s", m.word, name)
		}
	}
	return h
}

// alive fails the test unless the tenant honours all that it gave out. It uses up what can be used once.
func (h holdings) alive(t *testing.T, a *app.App, m marked) {
	t.Helper()
	h.carried(t, a, m)
	p := m.party(t, a, m.SPA)
	with := func(path string, cookie http.Cookie) app.Response {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, m.Issuer+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.AddCookie(&cookie)
		return app.Do(t, p.direct, r)
	}
	if resp := with("/interaction/"+h.interaction, http.Cookie{Name: flowOf(h.interaction), Value: h.flow}); resp.StatusCode != http.StatusOK {
		t.Errorf("%s: the interaction has died: %d", m.word, resp.StatusCode)
	}
	for _, cookie := range []string{h.cookie, h.adminCookie} {
		resp := with("/authorize?"+p.request("prompt", "none").Encode(), http.Cookie{Name: "application_session", Value: cookie})
		if got := p.answer(t, resp); got.Get("code") == "" {
			t.Errorf("%s: a session has died: %v", m.word, got)
		}
	}
	expect(t, p.redeem(t, h.code), http.StatusOK, "")
	expect(t, p.refresh(t, h.refresh), http.StatusOK, "")
	expect(t, p.do(t, jsonRequest(t.Context(), http.MethodGet, m.Issuer+"/register-rp/"+h.registered, h.registration, nil)), http.StatusOK, "")
	expect(t, p.as(m.box).post(t, "/token", "grant_type", deviceGrant, "device_code", h.deviceCode), http.StatusBadRequest, "authorization_pending")
}

// carried fails the test unless the tokens are good that callers carry.
func (h holdings) carried(t *testing.T, a *app.App, m marked) {
	t.Helper()
	p := m.party(t, a, m.M2M)
	if !p.alive(t, h.access) {
		t.Errorf("%s: the access token has died", m.word)
	}
	for _, token := range []string{h.service, h.serviceBound} {
		if got := p.post(t, "/token/introspection", "token", token); got.body["active"] != true {
			t.Errorf("%s: a token has died: %s", m.word, got.Text)
		}
	}
}

// belonging is something of a tenant, with what belongs to it, at the places where it would be of use; and the same as it
// would look had it never been.
type belonging struct {
	name         string
	there, never load
}

// give makes a belonging of texts. Those that begin with "=" are public and the same in both.
func give(name string, there load) belonging {
	b := belonging{name: name, there: load{}, never: load{}}
	for at, text := range there {
		if fixed, ok := strings.CutPrefix(text, "="); ok {
			b.there[at], b.never[at] = fixed, fixed
			continue
		}
		b.there[at], b.never[at] = text, neverWas(text)
	}
	return b
}

// belongings are what m has given out, at every place where the protocol wants it, for use at host.
func (h holdings) belongings(t *testing.T, m, host marked) []belonging {
	t.Helper()
	field := func(name string) place { return place{inFields, name} }
	path, cookie, grant := place{inPath, "id"}, sessionCookie, grantType
	_, token, _ := strings.Cut(h.cookie, ".")
	all := []belonging{
		give("code", load{grant: "=authorization_code", field("code"): h.code, field("redirect_uri"): m.callback, field("code_verifier"): "=" + verifier}),
		give("code of its client", load{
			grant: "=authorization_code", field("code"): h.code, field("redirect_uri"): m.callback, field("code_verifier"): "=" + verifier,
			field("client_id"): m.SPA.ID,
		}),
		give("refresh token", load{grant: "=refresh_token", field("refresh_token"): h.refresh}),
		give("refresh token of its client", load{grant: "=refresh_token", field("refresh_token"): h.refresh, field("client_id"): m.SPA.ID}),
		give("resource for a service", load{grant: "=client_credentials", field("scope"): "=", field("resource"): m.resource}),
		give("scope for a service", load{grant: "=client_credentials", field("scope"): m.scope}),
		give("secret for a service", load{
			grant: "=client_credentials", field("scope"): "=", field("client_id"): m.M2M.ID, field("client_secret"): m.M2M.Secret,
		}),
		give("token to exchange", load{grant: "=" + grantTokenExchange, field("subject_token"): h.access, field("subject_token_type"): "=urn:ietf:params:oauth:token-type:access_token"}),
		give("device code", load{grant: "=" + deviceGrant, field("device_code"): h.deviceCode}),
		give("device code of its client", load{grant: "=" + deviceGrant, field("device_code"): h.deviceCode, field("client_id"): m.box.ID}),
		give("user code", load{field("user_code"): h.userCode}),
		give("slug", load{{inPath, "slug"}: m.Slug}),
		{
			"slug with a program's token",
			load{{inPath, "slug"}: m.Slug, authorization: "Bearer " + h.api},
			load{{inPath, "slug"}: neverWas(m.Slug), authorization: "Bearer " + neverWas(h.api)},
		},
		give("initial access token", load{authorization: "Bearer " + h.initial}),
		give("registered application", load{{inPath, "client_id"}: h.registered}),
		give("registered application with its token", load{{inPath, "client_id"}: h.registered, authorization: "Bearer " + h.registration}),
		give("address for a new account", load{field("email"): m.Email}),
		give("username for a new account", load{field("username"): m.User.Username}),
		give("pushed request", load{field("request_uri"): h.pushed}),
		give("pushed request of its client", load{field("request_uri"): h.pushed, field("client_id"): m.SPA.ID}),
		give("client", load{field("client_id"): m.SPA.ID, field("redirect_uri"): m.callback}),
		give("client and its way out", load{field("client_id"): m.SPA.ID, field("post_logout_redirect_uri"): m.after}),
		give("redirect URI", load{field("redirect_uri"): m.callback}),
		give("way out", load{field("post_logout_redirect_uri"): m.after}),
		give("origin of its application", load{place{inHeader, "Origin"}: strings.TrimSuffix(m.callback, "/callback")}),
		give("resource", load{field("resource"): m.resource}),
		give("scope", load{field("scope"): m.scope}),
		give("secret", load{field("client_id"): m.Web.ID, field("client_secret"): m.Web.Secret}),
		give("ID token as hint", load{field("id_token_hint"): h.idToken}),
		give("ID token as hint, of its client", load{
			field("id_token_hint"): h.idToken, field("client_id"): m.SPA.ID, field("post_logout_redirect_uri"): m.after,
		}),
		give("session cookie", load{prompt: "=none", cookie: h.cookie}),
		give("flow cookie", load{place{inCookie, "parako_flow_"}: h.flow}),
		give("interaction", load{path: h.interaction}),
		give("interaction with its flow", load{path: h.interaction, {inCookie, "parako_flow_"}: h.flow}),
		give("interaction with its flow and session", load{path: h.interaction, {inCookie, "parako_flow_"}: h.flow, cookie: h.cookie}),
		give("person", load{field("identifier"): m.Email, field("password"): m.password}),
		give("person by username", load{field("identifier"): m.User.Username, field("password"): m.password}),
		give("person by id", load{field("identifier"): m.User.ID.String(), field("password"): m.password}),
		give("person with this tenant's password", load{field("identifier"): m.Email, field("password"): "=" + host.password}),
		give("hint at a person", load{field("login_hint"): m.Email}),
		give("style sheet", load{place{inPath, "hash"}: h.sheet}),
	}
	renamed := give("session cookie under this tenant's name", load{prompt: "=none", cookie: host.Slug + "." + token})
	renamed.never[cookie] = host.Slug + "." + neverWas(token)
	all = append(all, renamed)
	for kind, token := range map[string]string{
		"access token": h.access, "refresh token": h.refresh, "ID token": h.idToken, "token for a resource": h.bound,
		"service's token": h.service, "service's token for a resource": h.serviceBound, "token for the API": h.api,
	} {
		all = append(all, give(kind+" to ask about", load{field("token"): token}), give(kind+" in the body", load{field("access_token"): token}),
			belonging{kind + " in the header", load{authorization: "Bearer " + token}, load{authorization: "Bearer " + neverWas(token)}})
	}
	for _, etag := range h.etags {
		all = append(all, give("ETag", load{place{inHeader, "If-None-Match"}: etag}))
	}
	assertion := give("assertion", load{field("client_assertion_type"): "=" + assertionType, field("client_id"): m.keyed.ID})
	assertion.there[field("client_assertion")] = m.assertion(t, m.keyed.ID)
	assertion.never[field("client_assertion")] = m.assertion(t, assertion.never[field("client_id")])
	for _, name := range []string{m.Slug, m.ID.String(), "login." + m.word + ".example"} {
		all = append(all, give("name "+name, load{place{inHeader, "X-Tenant-Id"}: name, {inHeader, "X-Forwarded-Host"}: name}),
			give("name "+name+" through a proxy", load{place{inProxied, "X-Tenant-Id"}: name}))
	}
	slices.SortFunc(all, func(a, b belonging) int { return strings.Compare(a.name, b.name) })
	bearer := belonging{"assertion as a grant", maps.Clone(assertion.there), maps.Clone(assertion.never)}
	for _, l := range []load{bearer.there, bearer.never} {
		l[grant], l[field("assertion")] = "urn:ietf:params:oauth:grant-type:jwt-bearer", l[field("client_assertion")]
		delete(l, field("client_assertion_type"))
		delete(l, field("client_assertion"))
	}
	return append(all, assertion, bearer)
}

// value is a text of a tenant by itself, and the same as it would look had it never been.
type value struct{ name, text, never string }

// columns are the columns that hold ids: those of type uuid, those of a key, and those that are called so.
const columns = `
	SELECT c.relname || ' ' || a.attname || ' ' || t.typname || ' ' || (CASE c.relname WHEN 'tenants' THEN 'id' ELSE 'tenant_id' END)
	  FROM pg_class AS c
	  JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
	  JOIN pg_type AS t ON t.oid = a.atttypid
	 WHERE c.relnamespace = 'parako'::regnamespace
	   AND c.relkind IN ('r', 'p')
	   AND NOT c.relispartition
	   AND c.relname <> 'audit_drops' -- it has no tenant
	   AND a.attname <> 'tenant_id'
	   AND t.typname <> 'timestamptz'
	   AND (t.typname IN ('uuid', '_uuid')
	        OR a.attname ~ '(^|_)(id|ids|digest)$'
	        OR EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisunique AND a.attnum = ANY (i.indkey))
	        OR EXISTS (SELECT FROM pg_constraint AS k WHERE k.conrelid = c.oid AND k.contype = 'f' AND a.attnum = ANY (k.conkey)))
	 ORDER BY c.relname, a.attnum`

// ids are a value of every column that holds ids, of m's own rows and not of host's. A table without a row of m
// fails the test: nothing of it would be tried.
func ids(t *testing.T, a *app.App, m, host marked) []value {
	t.Helper()
	var all []value
	seen := map[string]bool{}
	for _, column := range a.DB.AskAbove(t, columns) {
		f := strings.Fields(column)
		table, name, kind, owner := f[0], f[1], f[2], f[3]
		if a.DB.AskAbove(t, fmt.Sprintf("SELECT count(*)::text FROM parako.%s WHERE %s = $1", table, owner), m.ID)[0] == "0" {
			t.Errorf("%s has no row in %s: do in hold what makes one", m.word, table)
			continue
		}
		text := name + "::text"
		switch {
		case kind == "bytea":
			text = "encode(" + name + ", 'hex')"
		case strings.HasPrefix(kind, "_"):
			text = "unnest(" + name + ")::text"
		}
		of := "SELECT " + text + " AS v FROM parako." + table + " WHERE " + owner + " = "
		for _, v := range a.DB.AskAbove(t, "SELECT DISTINCT v FROM ("+of+"$1) AS m WHERE v NOT IN (SELECT v FROM ("+of+"$2) AS h WHERE v IS NOT NULL) AND length(v) > 4 ORDER BY v LIMIT 1", m.ID, host.ID) {
			if !seen[v] {
				seen[v] = true
				all = append(all, value{table + "." + name, v, neverWas(v)})
			}
		}
	}
	return all
}

// values are every text of m that could be taken for an id or a credential.
func (h holdings) values(t *testing.T, a *app.App, m, host marked) []value {
	t.Helper()
	all := ids(t, a, m, host)
	for name, text := range map[string]string{
		"code": h.code, "access token": h.access, "refresh token": h.refresh, "ID token": h.idToken, "token for a resource": h.bound,
		"service's token": h.service, "session cookie": h.cookie, "flow": h.flow, "secret": m.Web.Secret, "email address": m.Email,
		"redirect URI": m.callback, "resource": m.resource, "style sheet": h.sheet, "ETag": h.etags[0], "pushed request": h.pushed,
		"device code": h.deviceCode, "user code": h.userCode,
		"initial access token": h.initial, "registration token": h.registration,
	} {
		all = append(all, value{name, text, neverWas(text)})
	}
	return all
}

var (
	publicStart = regexp.MustCompile(`^(urn:ietf:params:oauth:request_uri:(parako_[a-z]+_)?|(Bearer )?parako_[a-z]+_|https?://|urn:|eyJ[A-Za-z0-9_-]+\.)`)
	typed       = regexp.MustCompile(`^[B-DF-HJ-NP-TV-XZ]{4}-[B-DF-HJ-NP-TV-XZ]{4}$`) // the code of a device
	hexadecimal = regexp.MustCompile(`^[0-9a-f-]{8,}$`)
)

// neverWas is a text of the same form that nobody ever had: each character is any of its kind. The same text gives the same.
func neverWas(text string) string {
	start, sum := publicStart.FindString(text), sha256.Sum256([]byte(text))
	random := rand.New(rand.NewChaCha8(sum))
	other := func(from rune, n int) rune { return from + rune(random.IntN(n)) }
	isHex, isTyped := hexadecimal.MatchString(text), typed.MatchString(text)
	return start + strings.Map(func(r rune) rune {
		switch {
		case isTyped && r != '-':
			return rune("BCDFGHJKLMNPQRSTVWXZ"[random.IntN(20)])
		case isHex && r != '-':
			return rune("0123456789abcdef"[random.IntN(16)])
		case r >= 'a' && r <= 'z':
			return other('a', 26)
		case r >= 'A' && r <= 'Z':
			return other('A', 26)
		case r >= '0' && r <= '9':
			return other('0', 10)
		}
		return r
	}, text[len(start):])
}

// kindOf is the form of a text, as far as a parser could look.
func kindOf(text string) string {
	_, isUUID := uuid.Parse(text)
	switch {
	case isUUID == nil:
		return "uuid"
	case hexadecimal.MatchString(text):
		return "hexadecimal"
	case strings.HasPrefix(text, "parako_"):
		return publicStart.FindString(text)
	case strings.HasPrefix(text, "eyJ"):
		return "JWT"
	case strings.Contains(text, "://"):
		return "URL"
	case strings.Contains(text, "@"):
		return "address"
	case strings.Contains(text, "."):
		return "with a dot"
	}
	return "word"
}
