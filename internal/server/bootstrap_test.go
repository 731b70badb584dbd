package server_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"parako/internal/audit"
	"parako/internal/config"
	"parako/internal/directory"
	"parako/internal/secret"
	"parako/internal/server"
	"parako/internal/store"
	"parako/internal/tenant"
	"parako/internal/testkit/app"
)

const firstPassword = "the-first-password-of-all"

// withFirst configures the first account of the platform.
func withFirst(c *config.Config) {
	c.BootstrapEmail, c.BootstrapPassword = "first@parako.example", secret.NewString(firstPassword)
}

// restart starts another instance on the database of a, and stops it. It returns what it said of the first account.
func restart(t *testing.T, a *app.App, change ...func(*config.Config)) []string {
	t.Helper()
	c := a.Config
	for _, f := range change {
		f(&c)
	}
	logs := &app.Logs{}
	s, err := server.New(t.Context(), server.Options{Config: c, Log: slog.New(slog.NewTextHandler(logs, nil)), RedisCompat: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	return regexp.MustCompile(`msg=bootstrap_\w+`).FindAllString(logs.String(), -1)
}

func TestFirstAccountOfThePlatform(t *testing.T) {
	t.Parallel()
	a := app.New(t, withFirst)
	p := openPlatform(t, a)
	if !strings.Contains(a.Logs.String(), "level=WARN msg=bootstrap_admin_created") {
		t.Fatalf("the log does not say that it was created\n%s", a.Logs)
	}
	if diff := cmp.Diff([]string{"platform-admin first@parako.example true {admin,platform_admin}"},
		p.DB.Ask(t, p.ID, "SELECT concat_ws(' ', username, email, CASE WHEN email_verified THEN 'true' END, roles::text) FROM parako.users")); diff != "" {
		t.Fatalf("account mismatch (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"msg=bootstrap_admin_already_exists"}, restart(t, a)); diff != "" {
		t.Errorf("the next start says (-want +got)\n%s", diff)
	}

	t.Run("does nothing before it is replaced", func(t *testing.T) {
		at(t, p.signIn(t, "/platform/tenants/acme", "first@parako.example", firstPassword), http.StatusOK, "/platform/setup", `id="setup-form"`)
		for _, path := range []string{"/platform", "/platform/tenants", "/platform/tenants/new", "/platform/tenants/acme", "/platform/tenants/acme/status?status=suspended"} {
			at(t, p.get(t, path), http.StatusOK, "/platform/setup")
		}
		leads(t, p.post(t, "/platform/tenants/new", "slug", "early", "display_name", "Early"), "/platform/setup")
		leads(t, p.post(t, "/platform/tenants/acme/status", "status", "suspended"), "/platform/setup")
		if _, err := tenant.BySlug(t.Context(), p.Store, "early"); err == nil {
			t.Error("it created a tenant")
		}
	})
	t.Run("signs in to no application", func(t *testing.T) {
		home := app.Tenant{Tenant: p.Tenant, Issuer: p.origin + "/oidc/v1", Email: "first@parako.example"}
		rp := newParty(t, a, home, webClient(t, a, home))
		resp := app.Get(t, rp.browser, rp.authorizeURL())
		at(t, resp, http.StatusOK, resp.Request.URL.Path, `id="login-form"`)
		resp = app.Post(t, rp.browser, resp.Request.URL.String()+"/login", url.Values{"identifier": {"platform-admin"}, "password": {firstPassword}})
		at(t, resp, http.StatusForbidden, resp.Request.URL.Path, `id="login-error"`)
		rp.browser, rp.step = p.browser, p.step // where it is signed in
		rp.refused(t, "login_required", "prompt", "none")
	})
	t.Run("is not replaced by what is wrong", func(t *testing.T) {
		for _, tt := range []struct{ email, name, password, field string }{
			{"", "Olga", "another good password", "email-error"},
			{"olga", "Olga", "another good password", "email-error"},
			{"olga@parako.example", strings.Repeat("o", 300), "another good password", "name-error"},
			{"olga@parako.example", "Olga", "short", "password-error"},
			{"olga@parako.example", "Olga", "olga@parako.example", "password-error"},
			{"olga@parako.example", "Olga", firstPassword, "password-error"},
		} {
			resp := p.post(t, "/platform/setup", "email", tt.email, "name", tt.name, "password", tt.password)
			at(t, resp, http.StatusUnprocessableEntity, "/platform/setup", `id="form-error"`, `id="`+tt.field+`"`, `value="`+tt.email+`"`, `value="`+tt.name+`"`)
			if strings.Contains(resp.Text, `value="`+tt.password+`"`) && tt.password != tt.email {
				t.Error("the page gives the password back")
			}
		}
	})
	t.Run("is replaced, and ends", func(t *testing.T) {
		elsewhere := p.visitor(t)
		at(t, elsewhere.signIn(t, "/platform", "platform-admin", firstPassword), http.StatusOK, "/platform/setup")
		setup := url.Values{"email": {"first@parako.example"}, "name": {"Olga"}, "password": {"another good password"}}
		resp := app.Post(t, p.browser, p.origin+"/platform/setup", setup)
		at(t, resp, http.StatusOK, resp.Request.URL.Path, `id="login-form"`, `value="first@parako.example"`)
		resp = app.Post(t, p.browser, resp.Request.URL.String()+"/login", url.Values{"identifier": {"first@parako.example"}, "password": {"another good password"}})
		at(t, resp, http.StatusOK, "/platform/tenants", `id="tenants-new"`)
		at(t, p.get(t, "/platform/setup"), http.StatusOK, "/platform/tenants")
		leads(t, p.post(t, "/platform/setup", "email", "second@parako.example", "password", "another good password"), "/platform/tenants")

		// Its other session, and its password, are worth nothing now.
		if resp := elsewhere.post(t, "/platform/setup", "email", "second@parako.example", "password", "another good password"); !strings.Contains(resp.Header.Get("Location"), "/interaction/") {
			t.Errorf("the other session answers %d to %s", resp.StatusCode, resp.Header.Get("Location"))
		}
		resp = elsewhere.signIn(t, "/platform", "platform-admin", firstPassword)
		at(t, resp, http.StatusForbidden, resp.Request.URL.Path, `id="login-error"`)
		// Not even when somebody enables it.
		p.Superuser(t, "UPDATE parako.users SET account_enabled = true WHERE username = 'platform-admin'")
		resp = elsewhere.signIn(t, "/platform", "platform-admin", firstPassword)
		at(t, resp, http.StatusForbidden, resp.Request.URL.Path, `id="login-error"`)

		if diff := cmp.Diff([]string{"bootstrap.created system", "user.created user", "bootstrap.replaced user"},
			p.DB.Ask(t, p.ID, "SELECT type || ' ' || actor_type FROM parako.audit_events WHERE type LIKE 'bootstrap.%' OR type = 'user.created' ORDER BY occurred_at, id")); diff != "" {
			t.Errorf("the trail mismatch (-want +got)\n%s", diff)
		}
		if diff := cmp.Diff([]string{"msg=bootstrap_admin_already_exists"}, restart(t, a)); diff != "" {
			t.Errorf("the next start says (-want +got)\n%s", diff)
		}
	})
	if strings.Contains(a.Logs.String()+strings.Join(p.DB.Ask(t, p.ID, "SELECT e::text FROM parako.audit_events AS e"), "\n"), firstPassword) {
		t.Error("the password is in the log or in the trail")
	}
}

// TestFirstAccountEndsUnused lets the seven days pass: it does nothing any more, and comes back with another password only.
func TestFirstAccountEndsUnused(t *testing.T) {
	t.Parallel()
	a := app.New(t, withFirst)
	p := openPlatform(t, a)
	at(t, p.signIn(t, "/platform", "platform-admin", firstPassword), http.StatusOK, "/platform/setup")
	a.Superuser(t, "UPDATE parako.users SET bootstrap_until = now() WHERE bootstrap_until BETWEEN now() + interval '6 days' AND now() + interval '7 days'")
	resp := p.signIn(t, "/platform/setup", "platform-admin", firstPassword) // The session has ended, too.
	at(t, resp, http.StatusForbidden, resp.Request.URL.Path, `id="login-error"`)

	if diff := cmp.Diff([]string{"msg=bootstrap_admin_expired"}, restart(t, a)); diff != "" {
		t.Errorf("with the old password the next start says (-want +got)\n%s", diff)
	}
	again := func(c *config.Config) {
		c.BootstrapEmail, c.BootstrapPassword = "second@parako.example", secret.NewString("the-second-password")
	}
	if diff := cmp.Diff([]string{"msg=bootstrap_admin_created"}, restart(t, a, again)); diff != "" {
		t.Errorf("with another password the next start says (-want +got)\n%s", diff)
	}
	at(t, p.signIn(t, "/platform", "second@parako.example", "the-second-password"), http.StatusOK, "/platform/setup")
}

// TestFirstAccountIsMadeOnce starts several instances at the same time on a platform that nobody administers.
func TestFirstAccountIsMadeOnce(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := openPlatform(t, a)
	c := a.Config
	withFirst(&c)
	const instances = 4
	said := make(chan string, instances)
	for range instances {
		go func() {
			logs := &app.Logs{}
			s, err := server.New(t.Context(), server.Options{Config: c, Log: slog.New(slog.NewTextHandler(logs, nil)), RedisCompat: true})
			if err != nil {
				said <- err.Error()
				return
			}
			s.Close()
			said <- logs.String()
		}()
	}
	var all []string
	for range instances {
		all = append(all, regexp.MustCompile(`msg=bootstrap_\w+|^[^t].*`).FindAllString(<-said, -1)...)
	}
	slices.Sort(all)
	want := append(slices.Repeat([]string{"msg=bootstrap_admin_already_exists"}, instances-1), "msg=bootstrap_admin_created")
	if diff := cmp.Diff(want, all); diff != "" {
		t.Errorf("the instances say (-want +got)\n%s", diff)
	}
	if got := p.DB.Ask(t, p.ID, "SELECT username FROM parako.users"); len(got) != 1 {
		t.Errorf("accounts %v, want one", got)
	}
}

// TestFirstAccountStaysAway has a platform with an administrator, whom somebody has disabled, and one whose address is taken.
func TestFirstAccountStaysAway(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := openPlatform(t, a)
	first := p.employ(t, "first", "user")
	if diff := cmp.Diff([]string{"msg=bootstrap_admin_not_created"}, restart(t, a, withFirst)); diff != "" {
		t.Errorf("where the address is taken the start says (-want +got)\n%s", diff)
	}
	olga := p.employ(t, "olga", directory.PlatformAdmin)
	err := p.Store.InTenant(t.Context(), p.ID, func(ctx context.Context, tx *store.Tx) error {
		return directory.SetEnabled(ctx, tx, olga.ID, false, audit.Operator("test"))
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"msg=bootstrap_admin_already_exists"}, restart(t, a, withFirst)); diff != "" {
		t.Errorf("with a disabled administrator the start says (-want +got)\n%s", diff)
	}
	if got := restart(t, a); len(got) != 0 {
		t.Errorf("without the variables the start says %v", got)
	}
	if diff := cmp.Diff([]string{first.ID.String(), olga.ID.String()}, p.DB.Ask(t, p.ID, "SELECT id::text FROM parako.users ORDER BY created_at")); diff != "" {
		t.Errorf("accounts mismatch (-want +got)\n%s", diff)
	}
}
