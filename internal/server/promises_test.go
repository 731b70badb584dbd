package server_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"parako/internal/audit"
	"parako/internal/config"
	"parako/internal/directory"
	"parako/internal/keyring"
	"parako/internal/oidc"
	"parako/internal/store"
	"parako/internal/tenant"
	"parako/internal/testkit/app"
)

// promised is a deployment of three instances, with somebody in front of it whose every request reaches another one.
type promised struct {
	*app.Cluster

	first    *app.App
	platform platforms
	program  program
	token    string
}

// spread lets the requests of a party reach one instance after the other.
func (s *promised) spread(t *testing.T, p party) party {
	t.Helper()
	p.browser = s.Browser(t)
	step, direct := *p.browser, *p.browser
	step.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	direct.CheckRedirect, direct.Jar = step.CheckRedirect, nil
	p.step, p.direct = &step, &direct
	return p
}

func (s *promised) party(t *testing.T, org app.Tenant, client oidc.Client) party {
	t.Helper()
	return s.spread(t, newParty(t, s.first, org, client))
}

// everywhere waits until it holds at each instance.
func (s *promised) everywhere(t *testing.T, what string, holds func(a *app.App) bool) {
	t.Helper()
	for i, a := range s.Instances {
		eventually(t, fmt.Sprintf("%s at instance %d", what, i), func() bool { return holds(a) })
	}
}

// called is a tenant that the deployment got by way of the product.
func (s *promised) called(t *testing.T, slug string) app.Tenant {
	t.Helper()
	found, err := tenant.BySlug(t.Context(), s.first.Store, slug)
	if err != nil {
		t.Fatal(err)
	}
	base, err := s.first.Config.BaseURL()
	if err != nil {
		t.Fatal(err)
	}
	return app.Tenant{Tenant: found, Issuer: found.Issuer(base, oidc.Mount), Email: "ada@" + slug + ".example"}
}

// TestPromises goes through what the multi-tenancy of the product promises, from an empty database on, over three instances with
// a real PostgreSQL and a real Redis. Each part builds on those before.
func TestPromises(t *testing.T) {
	t.Parallel()
	c := app.NewCluster(t, 3, withFirst, func(c *config.Config) { c.MultiTenancy.PoolMaxSize = 2 })
	s := &promised{Cluster: c, first: c.Instances[0]}
	for _, part := range []struct {
		name string
		tell func(*testing.T, *promised)
	}{
		{"bootstrap: the first account makes the first administrator", theFirstAdministrator},
		{"administration: a tenant made on the platform's pages", theAdministratorsTenant},
		{"management API: a tenant's life by a program", theProgramsTenant},
		{"extraction: the host, a custom domain or a proxy's header says whose request it is", whoseRequest},
		{"isolation: what one tenant gave out is worth nothing at another", worthNothingElsewhere},
		{"special tenants: the gateway and the platform serve only what is theirs", specialTenants},
		{"provider pool: many tenants through a small pool", smallPool},
		{"key events: a new key is published, signs, and the old one still verifies", newKeyEverywhere},
		{"configuration: floors and ceilings", floorsAndCeilings},
		{"encryption at rest: a dump holds no secret", noSecretInADump},
	} {
		t.Run(part.name, func(t *testing.T) { part.tell(t, s) })
		if t.Failed() {
			return
		}
	}
}

func theFirstAdministrator(t *testing.T, s *promised) {
	s.platform = openPlatform(t, s.first)
	spread := s.spread(t, party{})
	s.platform.browser, s.platform.step = spread.browser, spread.step
	p := s.platform
	at(t, p.signIn(t, "/platform", "first@parako.example", firstPassword), http.StatusOK, "/platform/setup", `id="setup-form"`)
	leads(t, p.post(t, "/platform/tenants/new", "slug", "early", "display_name", "Early"), "/platform/setup")
	resp := app.Post(t, p.browser, p.origin+"/platform/setup", url.Values{"email": {"olga@parako.example"}, "name": {"Olga"}, "password": {"another good password"}})
	resp = app.Post(t, p.browser, resp.Request.URL.String()+"/login", url.Values{"identifier": {"olga@parako.example"}, "password": {"another good password"}})
	at(t, resp, http.StatusOK, "/platform/tenants", `id="tenants-new"`)
	for _, a := range s.Instances {
		again := openPlatform(t, a)
		resp := again.signIn(t, "/platform", "platform-admin", firstPassword)
		at(t, resp, http.StatusForbidden, resp.Request.URL.Path, `id="login-error"`)
	}
}

func theAdministratorsTenant(t *testing.T, s *promised) {
	leads(t, s.platform.post(t, "/platform/tenants/new", "slug", "umbrella", "display_name", "Umbrella", "domain", ""), "/platform/tenants/umbrella")
	umbrella := s.called(t, "umbrella")
	s.everywhere(t, "it is served", func(a *app.App) bool {
		return strings.Contains(app.Get(t, a.Client(t), umbrella.Issuer+"/.well-known/openid-configuration").Text, `"issuer":"`+umbrella.Issuer+`"`)
	})
	s.platform.employ(t, "vic", directory.PlatformViewer)
	viewer := openPlatform(t, s.first)
	spread := s.spread(t, party{})
	viewer.browser, viewer.step = spread.browser, spread.step
	at(t, viewer.signIn(t, "/platform/tenants/umbrella", "vic", app.Password), http.StatusOK, "/platform/tenants/umbrella", "Umbrella")
	if resp := viewer.post(t, "/platform/tenants/umbrella/status", "status", "suspended"); resp.StatusCode != http.StatusForbidden {
		t.Errorf("a viewer suspends a tenant: %d", resp.StatusCode)
	}
}

func theProgramsTenant(t *testing.T, s *promised) {
	const scopes = allTenants + " " + allConfig
	s.program = newProgram(t, s.first, onPlatform(t, s.first), scopes)
	s.program.party = s.spread(t, s.program.party)
	s.token = s.program.token(t, scopes)
	p := s.program
	done(t, p.call(t, s.token, http.MethodPost, "/tenants", `{"slug":"hooli","display_name":"Hooli"}`), http.StatusCreated)
	hooli := s.called(t, "hooli")
	serves := func(a *app.App) int { return app.Get(t, a.Client(t), hooli.Issuer+"/jwks").StatusCode }
	s.everywhere(t, "it is served", func(a *app.App) bool { return serves(a) == http.StatusOK })
	becomes := func(status string, want int) {
		done(t, p.call(t, s.token, http.MethodPut, "/tenants/hooli/status", `{"status":"`+status+`"}`), http.StatusOK)
		s.everywhere(t, "it is "+status, func(a *app.App) bool { return serves(a) == want })
	}
	becomes("suspended", http.StatusForbidden)
	becomes("active", http.StatusOK)
	stranger := newProgram(t, s.first, s.first.Acme, "parako:users:read")
	refuses(t, p.call(t, stranger.token(t, "parako:users:read"), http.MethodGet, "/tenants", ""), http.StatusUnauthorized, "token-invalid")
}

func whoseRequest(t *testing.T, s *promised) {
	if _, err := tenant.Create(t.Context(), s.first.Store, tenant.New{Slug: "initech", DisplayName: "Initech", Domain: "login.initech.example", Base: s.first.Base(t)}); err != nil {
		t.Fatal(err)
	}
	for i, a := range s.Instances {
		for _, tt := range []struct {
			host   string
			header http.Header
			want   string
			status int
		}{
			{host: "acme.localhost", want: s.first.Acme.Issuer},
			{host: "login.initech.example", want: "http://login.initech.example/oidc/v1"},
			{host: "localhost", header: http.Header{"X-Tenant-Id": {"globex"}}, want: s.first.Globex.Issuer},
			{host: "acme.localhost", header: http.Header{"X-Tenant-Id": {"globex"}}, status: http.StatusBadRequest},
			{host: "nobody.localhost", status: http.StatusNotFound},
			{host: "login.example.org", status: http.StatusNotFound},
		} {
			resp := as(t, a, tt.host, "/oidc/v1/.well-known/openid-configuration", tt.header)
			if tt.status != 0 && resp.StatusCode != tt.status || tt.want != "" && !strings.Contains(resp.Text, `"issuer":"`+tt.want+`"`) {
				t.Errorf("instance %d, %s with %v: %d %s", i, tt.host, tt.header, resp.StatusCode, resp.Text)
			}
		}
	}
}

func worthNothingElsewhere(t *testing.T, s *promised) {
	acme, globex := s.party(t, s.first.Acme, webClient(t, s.first, s.first.Acme)), s.party(t, s.first.Globex, webClient(t, s.first, s.first.Globex))
	code := acme.code(t)
	tokens := acme.tokens(t, "scope", "openid profile offline_access")
	expect(t, acme.userinfo(t, tokens.text("access_token")), http.StatusOK, "")
	for range s.Instances { // each in its turn
		expect(t, globex.userinfo(t, tokens.text("access_token")), http.StatusUnauthorized, "invalid_token")
		expect(t, globex.redeem(t, code), http.StatusBadRequest, "invalid_grant")
		expect(t, globex.refresh(t, tokens.text("refresh_token")), http.StatusBadRequest, "invalid_grant")
		if got := globex.post(t, "/token/introspection", "token", tokens.text("access_token")); got.body["active"] != false {
			t.Errorf("introspection says %s", got.Text)
		}
		expect(t, globex.as(acme.client).post(t, "/token", "grant_type", "client_credentials"), http.StatusUnauthorized, "invalid_client")
	}
	// The browser that is signed in at one is nobody at the other.
	there := acme
	there.tenant, there.client = globex.tenant, globex.client
	there.refused(t, "login_required", "prompt", "none")
	expect(t, acme.redeem(t, code), http.StatusOK, "")
}

func specialTenants(t *testing.T, s *promised) {
	for i, a := range s.Instances {
		for _, tt := range []struct {
			host, path, want string
			status           int
		}{
			{"_ops.localhost", "/health", `"status":"ok"`, http.StatusOK},
			{"_ops.localhost", "/oidc/v1/jwks", `{"error":"Not found"}`, http.StatusNotFound},
			{"_ops.localhost", "/social/google/callback", `{"error":"Invalid code or state parameter"}`, http.StatusBadRequest},
			{"acme.localhost", "/platform/tenants", "", http.StatusNotFound},
			{"_platforms.localhost", "/oidc/v1/.well-known/openid-configuration", "_platforms.localhost", http.StatusOK},
		} {
			if resp := as(t, a, tt.host, tt.path, nil); resp.StatusCode != tt.status || !strings.Contains(resp.Text, tt.want) {
				t.Errorf("instance %d, %s%s: %d %s", i, tt.host, tt.path, resp.StatusCode, resp.Text)
			}
		}
	}
}

func smallPool(t *testing.T, s *promised) {
	orgs := []app.Tenant{s.first.Acme, s.first.Globex, s.called(t, "umbrella"), s.called(t, "hooli"), onPlatform(t, s.first)}
	var all sync.WaitGroup
	for _, a := range s.Instances {
		client := a.Client(t)
		for n := range 40 {
			want := orgs[n%len(orgs)].Issuer
			all.Go(func() {
				resp := app.Get(t, client, want+"/.well-known/openid-configuration")
				for resp.StatusCode == http.StatusServiceUnavailable && t.Context().Err() == nil { // Its turn has not come for too long.
					resp = app.Get(t, client, want+"/.well-known/openid-configuration")
				}
				if !strings.Contains(resp.Text, `"issuer":"`+want+`"`) {
					t.Errorf("%s: %d %s", want, resp.StatusCode, resp.Text)
				}
			})
		}
	}
	all.Wait()
	for i, a := range s.Instances {
		if n := metric(t, a, "parako_provider_pool_size"); n > 2 {
			t.Errorf("instance %d holds %d tenants", i, n)
		}
	}
}

func newKeyEverywhere(t *testing.T, s *promised) {
	p := s.party(t, s.first.Acme, webClient(t, s.first, s.first.Acme))
	before := p.tokens(t).text("id_token")
	policy := keyring.Policy{}
	inAcme := func(a *app.App, fn func(context.Context, *store.Tx) error) {
		t.Helper()
		if err := a.Server.Store().InTenant(t.Context(), s.first.Acme.ID, fn); err != nil {
			t.Fatal(err)
		}
	}
	var next keyring.Key
	inAcme(s.Instances[1], func(ctx context.Context, tx *store.Tx) (err error) {
		next, err = keyring.Rotate(ctx, tx, s.first.Vault, policy, audit.Operator("test"), "RS256")
		return err
	})
	publishes := func(a *app.App) bool {
		return strings.Contains(app.Get(t, a.Client(t), s.first.Acme.Issuer+"/jwks").Text, next.KID)
	}
	s.everywhere(t, "the next key is published", publishes)
	if kid := kidOf(t, p.tokens(t).text("id_token")); kid == next.KID {
		t.Error("it signs before those who verify can know it")
	}
	inAcme(s.Instances[2], func(ctx context.Context, tx *store.Tx) error {
		_, err := keyring.Promote(ctx, tx, policy, audit.Operator("test"), "RS256", true)
		return err
	})
	s.everywhere(t, "the next key signs", func(a *app.App) bool {
		own := newParty(t, a, s.first.Acme, p.client)
		own.browser, own.step = p.browser, p.step
		return kidOf(t, own.tokens(t).text("id_token")) == next.KID
	})
	for range s.Instances {
		p.verified(t, "JWT", before)
	}
	if other := newParty(t, s.first, s.first.Globex, s.first.Globex.Web); strings.Contains(app.Get(t, other.direct, s.first.Globex.Issuer+"/jwks").Text, next.KID) {
		t.Error("another tenant publishes it")
	}
}

func floorsAndCeilings(t *testing.T, s *promised) {
	p := s.program
	set := func(section, document string) {
		t.Helper()
		s.first.Configure(t, everywhere, section, document)
	}
	lives := func(a *app.App, org app.Tenant, want float64) bool {
		got, _ := newParty(t, a, org, org.M2M).post(t, "/token", "grant_type", "client_credentials", "resource", "urn:test:api").body["expires_in"].(float64)
		return got > want-30 && got <= want
	}
	set("oidc", `{"token_ttl":{"client_credentials":1800}}`)
	set("security", `{"authentication":{"password_policy":{"min_length":12}}}`)

	above := p.call(t, s.token, http.MethodPatch, "/tenants/acme/config/oidc", `{"token_ttl":{"client_credentials":1801}}`)
	refuses(t, above, http.StatusUnprocessableEntity, "constraint-violation")
	if got := limits(above)["oidc.token_ttl.client_credentials"]; got != 1800.0 {
		t.Errorf("the limit is said to be %v", got)
	}
	below := p.call(t, s.token, http.MethodPatch, "/tenants/acme/config/security", `{"authentication":{"password_policy":{"min_length":8}}}`)
	refuses(t, below, http.StatusUnprocessableEntity, "constraint-violation")

	done(t, p.call(t, s.token, http.MethodPatch, "/tenants/acme/config/oidc?reason=short+lives", `{"token_ttl":{"client_credentials":900}}`), http.StatusOK)
	s.everywhere(t, "the tenant's own value holds", func(a *app.App) bool { return lives(a, s.first.Acme, 900) })
	s.everywhere(t, "the platform's holds for the other", func(a *app.App) bool { return lives(a, s.first.Globex, 1800) })
	set("oidc", `{"token_ttl":{"client_credentials":600}}`)
	for _, org := range []app.Tenant{s.first.Acme, s.first.Globex} {
		s.everywhere(t, "what the platform tightens holds for "+org.Slug, func(a *app.App) bool { return lives(a, org, 600) })
	}
	why := done(t, p.call(t, s.token, http.MethodGet, "/tenants/acme/explain?key=oidc.token_ttl.client_credentials", ""), http.StatusOK)
	if d := why.data(); d["value"] != 600.0 || !strings.Contains(why.Text, "900") {
		t.Errorf("it is explained as %s", why.Text)
	}
}

func noSecretInADump(t *testing.T, s *promised) {
	const password = "pa55word-of-the-mail-server"
	p := s.program
	got := done(t, p.call(t, s.token, http.MethodPatch, "/tenants/acme/config/integrations", `{"email":{"smtp_host":"mail.acme.example","smtp_password":"`+password+`"}}`), http.StatusOK)
	if strings.Contains(got.Text, password) {
		t.Error("the API gives the password back")
	}
	acme := s.party(t, s.first.Acme, webClient(t, s.first, s.first.Acme))
	tokens := acme.tokens(t, "scope", "openid profile offline_access")
	home, err := url.Parse(s.first.Acme.Issuer)
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string]string{
		"the password of the mail server": password, "the master key": s.first.Config.EncryptionKey.Reveal(), "a client's secret": acme.client.Secret,
		"a person's password": app.Password, "an access token": tokens.text("access_token"), "a refresh token": tokens.text("refresh_token"),
	}
	for _, cookie := range acme.browser.Jar.Cookies(home) {
		if strings.HasPrefix(cookie.Name, "application_session") {
			secrets["a session's cookie"] = cookie.Value[strings.LastIndex(cookie.Value, ".")+1:]
		}
	}
	if secrets["a session's cookie"] == "" {
		t.Fatal("there is no session")
	}
	dump, err := exec.CommandContext(t.Context(), s.first.DB.PGDump(t), "--data-only", s.first.DB.SuperDSN()).Output()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(dump, []byte(s.first.Acme.Email)) {
		t.Fatal("the dump is empty")
	}
	for name, text := range secrets {
		for form, needle := range map[string]string{"as it is": text, "in hexadecimal": hex.EncodeToString([]byte(text))} {
			if bytes.Contains(dump, []byte(needle)) {
				t.Errorf("the dump holds %s, %s", name, form)
			}
		}
	}
	if private := slices.ContainsFunc([]string{"PRIVATE KEY", `"d":`, `"d": `}, func(s string) bool { return bytes.Contains(dump, []byte(s)) }); private {
		t.Error("the dump holds a private key")
	}
}
