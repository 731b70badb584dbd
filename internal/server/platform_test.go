package server_test

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/config"
	"parako/internal/directory"
	"parako/internal/factor"
	"parako/internal/secret"
	"parako/internal/store"
	"parako/internal/tenant"
	"parako/internal/testkit/app"
)

// platforms is the platform's own tenant of an app, with one person's browser in front of its pages.
type platforms struct {
	*app.App
	tenant.Tenant
	origin        string
	browser, step *http.Client
}

func openPlatform(t *testing.T, a *app.App) platforms {
	t.Helper()
	home, err := tenant.BySlug(t.Context(), a.Store, tenant.PlatformsSlug)
	if err != nil {
		t.Fatal(err)
	}
	p := platforms{App: a, Tenant: home, origin: fmt.Sprintf("http://_platforms.localhost:%d", a.Config.Port), browser: a.Browser(t)}
	step := *p.browser
	step.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	p.step = &step
	return p
}

// visitor is p in front of another browser.
func (p platforms) visitor(t *testing.T) platforms {
	t.Helper()
	return openPlatform(t, p.App)
}

// employ adds a person with roles to the platform's own tenant.
func (p platforms) employ(t *testing.T, name string, roles ...string) directory.User {
	t.Helper()
	hash, err := factor.Passwords{Hasher: secret.NewHasher(0)}.Hash(t.Context(), app.Password)
	if err != nil {
		t.Fatal(err)
	}
	var u directory.User
	err = p.Store.InTenant(t.Context(), p.ID, func(ctx context.Context, tx *store.Tx) error {
		if u, err = directory.Create(ctx, tx, directory.New{Username: name, Email: name + "@parako.example", Roles: roles}); err != nil {
			return err
		}
		return factor.Put(ctx, tx, u.ID, hash)
	})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// signIn opens a page of the platform, fills in the sign-in it leads to, and returns where that ends.
func (p platforms) signIn(t *testing.T, path, identifier, password string) app.Response {
	t.Helper()
	resp := p.get(t, path)
	if !strings.Contains(resp.Text, `id="login-form"`) {
		t.Fatalf("GET %s: %d to %s, want the sign-in\n%s", path, resp.StatusCode, resp.Request.URL, resp.Text)
	}
	return app.Post(t, p.browser, resp.Request.URL.String()+"/login", url.Values{"identifier": {identifier}, "password": {password}})
}

func (p platforms) get(t *testing.T, path string) app.Response {
	t.Helper()
	return app.Get(t, p.browser, p.origin+path)
}

// post sends a form and follows nothing.
func (p platforms) post(t *testing.T, path string, pairs ...string) app.Response {
	t.Helper()
	return app.Post(t, p.step, p.origin+path, edit(url.Values{}, pairs...))
}

// at checks where a response comes from and what is on the page.
func at(t *testing.T, resp app.Response, status int, path string, parts ...string) {
	t.Helper()
	if resp.StatusCode != status || resp.Request.URL.RequestURI() != path {
		t.Fatalf("%d at %s, want %d at %s\n%s", resp.StatusCode, resp.Request.URL.RequestURI(), status, path, resp.Text)
	}
	for _, part := range parts {
		if !strings.Contains(resp.Text, part) {
			t.Errorf("%s: without %q\n%s", path, part, resp.Text)
		}
	}
}

// leads checks that a response redirects.
func leads(t *testing.T, resp app.Response, path string) {
	t.Helper()
	if got := resp.Header.Get("Location"); resp.StatusCode != http.StatusSeeOther || got != path {
		t.Fatalf("%s %s: %d to %q, want a redirect to %s\n%s", resp.Request.Method, resp.Request.URL.Path, resp.StatusCode, got, path, resp.Text)
	}
}

func TestPlatformPages(t *testing.T) {
	t.Parallel()
	p := openPlatform(t, app.New(t))
	olga := p.employ(t, "olga", directory.PlatformAdmin)
	subject := "operator user:" + olga.ID.String()

	t.Run("a visit leads through the sign-in and back to the page", func(t *testing.T) {
		resp := p.signIn(t, "/platform/tenants?status=active&slug=ac", "olga", app.Password)
		at(t, resp, http.StatusOK, "/platform/tenants?status=active&slug=ac", `href="/platform/tenants/acme"`, "olga@parako.example")
		if strings.Contains(resp.Text, "globex") || strings.Contains(resp.Text, "canary") {
			t.Errorf("the search shows more than it was asked for\n%s", resp.Text)
		}
		at(t, p.get(t, "/platform"), http.StatusOK, "/platform/tenants", "globex", "_platforms", `id="tenants-new"`)
	})
	t.Run("a tenant is shown with its people", func(t *testing.T) {
		at(t, p.get(t, "/platform/tenants/acme"), http.StatusOK, "/platform/tenants/acme",
			p.Acme.Issuer, p.Acme.Email, `id="tenant-clients">3<`, `id="tenant-suspended"`)
		for _, path := range []string{"/nobody", "/default", "/_ops", "/ACME", "/%00", "/a%2Fb", "/nobody/status?status=suspended"} {
			if resp := p.get(t, "/platform/tenants"+path); resp.StatusCode != http.StatusNotFound {
				t.Errorf("%s: %d, want 404", path, resp.StatusCode)
			}
		}
	})
	t.Run("people and tenants are paged", func(t *testing.T) {
		initech := p.AddTenant(t, "initech")
		p.Superuser(t, `INSERT INTO parako.users (tenant_id, id, username, username_norm) SELECT $1, gen_random_uuid(), 'n' || n, 'n' || n FROM generate_series(100, 129) AS n`, initech.ID)
		first := p.get(t, "/platform/tenants/initech")
		next := regexp.MustCompile(`id="people-next" href="([^"]*)"`).FindStringSubmatch(first.Text)
		if next == nil || !strings.Contains(first.Text, ">n124<") || strings.Contains(first.Text, ">n125<") {
			t.Fatalf("the first page of people\n%s", first.Text)
		}
		second := p.get(t, strings.TrimSuffix(html.UnescapeString(next[1]), "#people"))
		if !strings.Contains(second.Text, ">n125<") || strings.Contains(second.Text, ">n124<") || !strings.Contains(second.Text, initech.Email) {
			t.Errorf("the second page of people\n%s", second.Text)
		}
		at(t, p.get(t, "/platform/tenants/initech?after=%00"), http.StatusOK, "/platform/tenants/initech?after=%00", ">n100<")

		p.Superuser(t, `WITH made AS (INSERT INTO parako.tenants (id, slug, display_name, status) SELECT gen_random_uuid(), 'many-' || n, 'Many', 'archived' FROM generate_series(1000, 2100) AS n RETURNING id, slug)
			INSERT INTO parako.tenant_locators (kind, name, tenant_id, verified_at) SELECT 'slug', slug, id, now() FROM made`)
		list := p.get(t, "/platform/tenants?slug=Many-&status=archived")
		at(t, list, http.StatusOK, "/platform/tenants?slug=Many-&status=archived", "1000&#43;", "many-1024")
		more := regexp.MustCompile(`id="tenants-next" href="([^"]*)"`).FindStringSubmatch(list.Text)
		if more == nil || strings.Contains(list.Text, "many-1025") {
			t.Fatalf("the first page of tenants\n%s", list.Text)
		}
		if page := p.get(t, html.UnescapeString(more[1])); !strings.Contains(page.Text, "many-1025") || strings.Contains(page.Text, "many-1024") {
			t.Errorf("the second page of tenants\n%s", page.Text)
		}
		at(t, p.get(t, "/platform/tenants?slug=%00%25&status=x"), http.StatusOK, "/platform/tenants?slug=%00%25&status=x", `id="tenants-none"`)
	})
	t.Run("a tenant is created by whoever is signed in", func(t *testing.T) {
		leads(t, p.post(t, "/platform/tenants/new", "slug", " Hooli ", "display_name", "Hooli", "domain", "login.hooli.example"), "/platform/tenants/hooli")
		at(t, p.get(t, "/platform/tenants/hooli"), http.StatusOK, "/platform/tenants/hooli", `id="tenant-domain">login.hooli.example<`, `id="people"`)
		if diff := cmp.Diff([]string{"tenant.created " + subject}, p.trail(t, "hooli")); diff != "" {
			t.Errorf("the trail mismatch (-want +got)\n%s", diff)
		}
	})
	t.Run("what is wrong is said at its field, and what was typed stays", func(t *testing.T) {
		for _, tt := range []struct{ slug, name, domain, field string }{
			{"no spaces", "Kept", "kept.example", "slug-error"},
			{"acme", "Kept", "kept.example", "slug-error"},
			{"admin", "Kept", "kept.example", "slug-error"},
			{"_platforms", "Kept", "kept.example", "slug-error"},
			{"new", "Kept", "kept.example", "slug-error"},
			{"kept", " ", "kept.example", "display-name-error"},
			{"kept", "Kept", "https://kept.example", "domain-error"},
			{"kept", "Kept", "login.hooli.example", "domain-error"},
			{"kept", "Kept", "co.uk", "domain-error"},
			{"kept", "Kept", "printer.local", "domain-error"},
			{"kept", "Kept", "1.", "domain-error"},
		} {
			resp := p.post(t, "/platform/tenants/new", "slug", tt.slug, "display_name", tt.name, "domain", tt.domain)
			at(t, resp, http.StatusUnprocessableEntity, "/platform/tenants/new", `id="form-error"`, `id="`+tt.field+`"`, tt.field,
				`value="`+tt.slug+`"`, `value="`+tt.name+`"`, `value="`+tt.domain+`"`)
		}
		if _, err := tenant.BySlug(t.Context(), p.Store, "kept"); err == nil {
			t.Error("the tenant was created")
		}
	})
	t.Run("a tenant is suspended after a question, at once", func(t *testing.T) {
		at(t, p.get(t, "/platform/tenants/globex/status?status=suspended"), http.StatusOK, "/platform/tenants/globex/status?status=suspended", `id="status-effect"`, "Globex")
		if resp := app.Get(t, p.Client(t), p.Globex.Issuer+"/.well-known/openid-configuration"); resp.StatusCode != http.StatusOK {
			t.Fatalf("the question alone did something: %d", resp.StatusCode)
		}
		leads(t, p.post(t, "/platform/tenants/globex/status", "status", "suspended"), "/platform/tenants/globex")
		if resp := app.Get(t, p.Client(t), p.Globex.Issuer+"/.well-known/openid-configuration"); resp.StatusCode != http.StatusForbidden {
			t.Errorf("the suspended tenant answers %d", resp.StatusCode)
		}
		leads(t, p.post(t, "/platform/tenants/globex/status", "status", "suspended"), "/platform/tenants/globex")
		leads(t, p.post(t, "/platform/tenants/globex/status", "status", "sleepy"), "/platform/tenants/globex")
		leads(t, p.post(t, "/platform/tenants/globex/status", "status", "active"), "/platform/tenants/globex")
		if resp := app.Get(t, p.Client(t), p.Globex.Issuer+"/.well-known/openid-configuration"); resp.StatusCode != http.StatusOK {
			t.Errorf("the reactivated tenant answers %d", resp.StatusCode)
		}
		if diff := cmp.Diff([]string{"tenant.created operator test", "tenant.status_changed " + subject, "tenant.status_changed " + subject}, p.trail(t, "globex")); diff != "" {
			t.Errorf("the trail mismatch (-want +got)\n%s", diff)
		}
	})
	t.Run("the platform's own tenant is not changed", func(t *testing.T) {
		resp := p.get(t, "/platform/tenants/_platforms")
		at(t, resp, http.StatusOK, "/platform/tenants/_platforms", "olga@parako.example")
		if strings.Contains(resp.Text, "tenant-suspended") {
			t.Error("the page offers to suspend it")
		}
		at(t, p.get(t, "/platform/tenants/_platforms/status?status=suspended"), http.StatusForbidden, "/platform/tenants/_platforms/status?status=suspended", `id="error-title"`)
		at(t, p.post(t, "/platform/tenants/_platforms/status", "status", "archived"), http.StatusForbidden, "/platform/tenants/_platforms/status", `id="error-title"`)
	})
	t.Run("a form of another site does nothing", func(t *testing.T) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.origin+"/platform/tenants/acme/status", strings.NewReader("status=archived"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		at(t, app.Do(t, p.step, r), http.StatusForbidden, "/platform/tenants/acme/status")
		if acme, err := tenant.BySlug(t.Context(), p.Store, "acme"); err != nil || acme.Status != tenant.Active {
			t.Errorf("acme is %s (%v)", acme.Status, err)
		}
	})
	t.Run("a tenant is stopped by somebody who has just signed in", func(t *testing.T) {
		p.Superuser(t, "UPDATE parako.sessions SET auth_time = auth_time - interval '16 minutes' WHERE user_id = $1", olga.ID)
		resp := p.post(t, "/platform/tenants/acme/status", "status", "suspended")
		if resp.StatusCode != http.StatusSeeOther || !strings.HasPrefix(resp.Header.Get("Location"), p.origin+"/oidc/v1/interaction/") {
			t.Fatalf("%d to %s, want the sign-in", resp.StatusCode, resp.Header.Get("Location"))
		}
		login := app.Get(t, p.browser, resp.Header.Get("Location"))
		at(t, login, http.StatusOK, login.Request.URL.Path, `value="olga@parako.example"`)
		resp = app.Post(t, p.browser, login.Request.URL.String()+"/login", url.Values{"identifier": {"olga"}, "password": {app.Password}})
		at(t, resp, http.StatusOK, "/platform/tenants/acme/status?status=suspended", `id="status-form"`)
		leads(t, p.post(t, "/platform/tenants/acme/status", "status", "archived"), "/platform/tenants/acme")
		if archived := p.get(t, "/platform/tenants/acme"); !strings.Contains(archived.Text, "status=active") || strings.Contains(archived.Text, "status=suspended") {
			t.Errorf("an archived tenant can become active and nothing else:\n%s", archived.Text)
		}
		// What is not dangerous asks for nothing.
		p.Superuser(t, "UPDATE parako.sessions SET auth_time = auth_time - interval '16 minutes' WHERE user_id = $1", olga.ID)
		at(t, p.get(t, "/platform/tenants/new"), http.StatusOK, "/platform/tenants/new", `id="tenant-form"`)
	})
	t.Run("signing out ends the visit", func(t *testing.T) {
		resp := p.get(t, "/oidc/v1/session/end")
		at(t, resp, http.StatusOK, "/oidc/v1/session/end", "olga@parako.example")
		app.Post(t, p.browser, p.origin+"/oidc/v1/session/end/confirm", url.Values{})
		if resp := p.get(t, "/platform/tenants"); !strings.Contains(resp.Text, `id="login-form"`) {
			t.Errorf("%d without the sign-in", resp.StatusCode)
		}
	})
}

// trail are the events of a tenant that somebody of the platform caused, with who did.
func (p platforms) trail(t *testing.T, slug string) []string {
	t.Helper()
	of, err := tenant.BySlug(t.Context(), p.Store, slug)
	if err != nil {
		t.Fatal(err)
	}
	return p.DB.Ask(t, of.ID, "SELECT type || ' ' || actor_type || ' ' || actor_id FROM parako.audit_events WHERE type LIKE 'tenant.%' ORDER BY occurred_at, id")
}

func TestPlatformRoles(t *testing.T) {
	t.Parallel()
	p := openPlatform(t, app.New(t))
	const reads, writes, neither = "reads", "writes", "neither"
	for name, tt := range map[string]struct {
		roles []string
		may   string
	}{
		"admin-of-platform":   {[]string{directory.PlatformAdmin}, writes},
		"viewer":              {[]string{directory.PlatformViewer}, reads},
		"viewer-and-admin":    {[]string{"admin", directory.PlatformViewer}, reads},
		"both-platform-roles": {[]string{directory.PlatformViewer, directory.PlatformAdmin}, writes},
		"admin":               {[]string{"user", "admin"}, writes},
		"superadmin":          {[]string{"superadmin"}, writes},
		"user":                {nil, neither},
		"somebody":            {[]string{"platform", "Platform_Admin"}, neither},
	} {
		t.Run(name, func(t *testing.T) {
			p := p.visitor(t)
			p.employ(t, name, tt.roles...)
			resp := p.signIn(t, "/platform/tenants", name, app.Password)
			create := func() int {
				return p.post(t, "/platform/tenants/new", "slug", "of-"+name, "display_name", name).StatusCode
			}
			status := func() int { return p.post(t, "/platform/tenants/acme/status", "status", "active").StatusCode }
			if tt.may == neither {
				at(t, resp, http.StatusForbidden, "/platform/tenants", `id="error-title"`)
				if strings.Contains(resp.Text, "acme") || p.get(t, "/platform/tenants/acme").StatusCode != http.StatusForbidden {
					t.Error("somebody without a role sees a tenant")
				}
			} else {
				at(t, resp, http.StatusOK, "/platform/tenants", "acme")
			}
			if tt.may == writes {
				if got := [2]int{create(), status()}; got != [2]int{http.StatusSeeOther, http.StatusSeeOther} {
					t.Errorf("create and status answer %v, want redirects", got)
				}
				return
			}
			got := []int{create(), status(), p.get(t, "/platform/tenants/new").StatusCode, p.get(t, "/platform/tenants/acme/status?status=archived").StatusCode}
			if slices.Max(got) != http.StatusForbidden || slices.Min(got) != http.StatusForbidden {
				t.Errorf("create, status and their forms answer %v, want 403", got)
			}
			for _, element := range []string{"tenants-new", "tenant-suspended"} {
				if strings.Contains(p.get(t, "/platform/tenants").Text+p.get(t, "/platform/tenants/acme").Text, element) {
					t.Errorf("a page offers %s", element)
				}
			}
		})
	}
	t.Run("a change of roles counts from the next request on", func(t *testing.T) {
		p := p.visitor(t)
		u := p.employ(t, "changing", directory.PlatformAdmin)
		at(t, p.signIn(t, "/platform/tenants", "changing", app.Password), http.StatusOK, "/platform/tenants", `id="tenants-new"`)
		for _, step := range []struct {
			roles  []string
			status [2]int // of a page, of a change
		}{
			{[]string{directory.PlatformViewer}, [2]int{200, 403}},
			{[]string{"user"}, [2]int{403, 403}},
			{[]string{directory.PlatformAdmin}, [2]int{200, 303}},
		} {
			err := p.Store.InTenant(t.Context(), p.ID, func(ctx context.Context, tx *store.Tx) error {
				_, err := directory.Change(ctx, tx, u.ID, audit.Operator("test"), func(n *directory.New) { n.Roles = step.roles })
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			got := [2]int{p.get(t, "/platform/tenants").StatusCode, p.post(t, "/platform/tenants/acme/status", "status", "active").StatusCode}
			if got != step.status {
				t.Errorf("with the roles %v: %v, want %v", step.roles, got, step.status)
			}
		}
	})
}

// TestPlatformIsServedOnItsOwnHostAlone asks every other host for every page of the platform, also with the session of somebody who
// may see them on their own.
func TestPlatformIsServedOnItsOwnHostAlone(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	single := app.New(t, func(c *config.Config) { c.MultiTenancy.Enabled = false })
	p := openPlatform(t, a)
	p.employ(t, "olga", directory.PlatformAdmin)
	at(t, p.signIn(t, "/platform", "olga", app.Password), http.StatusOK, "/platform/tenants")
	own, err := url.Parse(p.origin)
	if err != nil {
		t.Fatal(err)
	}
	cookies := p.browser.Jar.Cookies(own)
	asked := 0
	for _, r := range a.Server.Routes() {
		if !ofPlatform(r) {
			continue
		}
		path := strings.ReplaceAll(r.Path, ":slug", "acme")
		for host, of := range map[string]*app.App{"acme.localhost": a, "localhost": a, "_ops.localhost": a, "any.example": single} {
			q, err := http.NewRequestWithContext(t.Context(), r.Method, fmt.Sprintf("http://%s:%d%s", host, of.Config.Port, path), nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, cookie := range cookies {
				q.AddCookie(cookie)
			}
			resp := app.Do(t, of.Client(t), q)
			if asked++; resp.StatusCode != http.StatusNotFound {
				t.Errorf("%s %s on %s: %d, want 404", r.Method, path, host, resp.StatusCode)
			}
		}
	}
	if asked < 8 {
		t.Fatalf("%d requests: the pages were not found", asked)
	}
}

// TestPlatformSignInLeadsNowhereElse has the sign-in lead to what only looks like a page of the platform.
func TestPlatformSignInLeadsNowhereElse(t *testing.T) {
	t.Parallel()
	p := openPlatform(t, app.New(t))
	p.employ(t, "olga", directory.PlatformAdmin)
	for _, path := range []string{"//evil.example/platform", "/platform/../../evil.example", `/\evil.example`, "/platform/tenants/" + strings.Repeat("a", 3000)} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.origin+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.URL.Opaque = "//" + r.URL.Host + path
		resp := app.Do(t, p.Client(t), r)
		if resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusBadRequest {
			continue
		}
		if resp.StatusCode != http.StatusSeeOther || !strings.HasPrefix(resp.Header.Get("Location"), p.origin+"/oidc/v1/interaction/") {
			t.Errorf("%.40s: %d to %s", path, resp.StatusCode, resp.Header.Get("Location"))
		}
	}
	targets := p.DB.Ask(t, p.ID, "SELECT target FROM parako.interactions")
	if diff := cmp.Diff([]string{"/platform"}, targets); diff != "" {
		t.Errorf("targets mismatch (-want +got)\n%s", diff)
	}
}

// TestPlatformRolesAreForItsOwnPeople tries to give the platform's roles to people of other tenants.
func TestPlatformRolesAreForItsOwnPeople(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	for _, role := range []string{directory.PlatformAdmin, directory.PlatformViewer} {
		for name, try := range map[string]func(context.Context, *store.Tx) error{
			"create": func(ctx context.Context, tx *store.Tx) error {
				_, err := directory.Create(ctx, tx, directory.New{Username: "mallory-" + uuid.NewString()[:8], Roles: []string{"user", role}})
				return err
			},
			"change": func(ctx context.Context, tx *store.Tx) error {
				_, err := directory.Change(ctx, tx, a.Acme.User.ID, audit.Operator("test"), func(n *directory.New) { n.Roles = append(n.Roles, role) })
				return err
			},
		} {
			err := a.Store.InTenant(t.Context(), a.Acme.ID, try)
			if !errors.Is(err, directory.ErrPlatformRole) {
				t.Errorf("%s with %s: %v, want ErrPlatformRole", name, role, err)
			}
		}
	}
}
