package server_test

import (
	"compress/gzip"
	"context"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"parako/internal/audit"
	"parako/internal/directory"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/tenant"
	"parako/internal/testkit/app"
)

// administrator is the platform with an administrator in front of its pages.
func administrator(t *testing.T, a *app.App, name string) (platforms, directory.User) {
	t.Helper()
	p := openPlatform(t, a)
	u := p.employ(t, name, directory.PlatformAdmin)
	at(t, p.signIn(t, "/platform/tenants", name, app.Password), http.StatusOK, "/platform/tenants")
	return p, u
}

// version is the one that the form on a page was made of.
func version(t *testing.T, page app.Response) string {
	t.Helper()
	found := regexp.MustCompile(`name="(?:version|revision)" value="(-?\d+)"`).FindStringSubmatch(page.Text)
	if found == nil {
		t.Fatalf("no version on the page\n%s", page.Text)
	}
	return found[1]
}

// overrides are what a tenant has set in a section.
func (p platforms) overrides(t *testing.T, of app.Tenant, section string) string {
	t.Helper()
	stored := p.DB.Ask(t, of.ID, "SELECT value::text FROM parako.tenant_settings WHERE section = '"+section+"'")
	if len(stored) == 0 {
		return ""
	}
	return stored[0]
}

// platformSets writes a section of what holds for all tenants.
func (p platforms) platformSets(t *testing.T, section, document string) {
	t.Helper()
	err := p.Store.InTenant(t.Context(), tenant.DefaultID, func(ctx context.Context, tx *store.Tx) error {
		_, err := settings.Write(ctx, tx, settings.Layer{}, settings.Change{Section: section, Document: []byte(document), By: audit.Operator("test")})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// field is the part of a page about one setting.
func field(t *testing.T, page app.Response, id string) string {
	t.Helper()
	for part := range strings.SplitSeq(page.Text, `<div class="field">`) {
		if strings.Contains(part, `id="`+id+`"`) {
			return html.UnescapeString(part)
		}
	}
	t.Fatalf("no field %s on the page\n%s", id, page.Text)
	return ""
}

func holds(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("without %q:\n%s", part, text)
		}
	}
}

func TestPlatformEditsATenant(t *testing.T) {
	t.Parallel()
	p, olga := administrator(t, app.New(t), "olga")
	const edit = "/platform/tenants/acme/edit"
	form := p.get(t, edit)
	at(t, form, http.StatusOK, edit, `value="Acme"`, "Empty: "+p.Acme.Issuer)
	seen := version(t, form)
	leads(t, p.post(t, edit, "display_name", " Acme & Co ", "issuer_url", "", "revision", seen), "/platform/tenants/acme")
	at(t, p.get(t, "/platform/tenants/acme"), http.StatusOK, "/platform/tenants/acme", "Acme &amp; Co")

	t.Run("a form that is out of date changes nothing and keeps what was typed", func(t *testing.T) {
		stale := p.post(t, edit, "display_name", "Typed", "issuer_url", "https://typed.example", "revision", seen)
		at(t, stale, http.StatusConflict, edit, `id="stale"`, "<dd>Acme &amp; Co</dd>", `value="Typed"`, `value="https://typed.example"`)
		for _, none := range []string{"", "x", "-1"} {
			at(t, p.post(t, edit, "display_name", "Typed", "revision", none), http.StatusConflict, edit, `value="Typed"`)
		}
		leads(t, p.post(t, edit, "display_name", "Typed", "issuer_url", "https://typed.example", "revision", version(t, stale)), "/platform/tenants/acme")
		at(t, p.get(t, "/platform/tenants/acme"), http.StatusOK, "/platform/tenants/acme", `<dd id="tenant-issuer">https://typed.example</dd>`)
	})
	t.Run("what is wrong is said at its field", func(t *testing.T) {
		seen := version(t, p.get(t, edit))
		for field, typed := range map[string][2]string{"display-name-error": {" ", "https://typed.example"}, "issuer-error": {"Kept", "https://typed.example/"}} {
			resp := p.post(t, edit, "display_name", typed[0], "issuer_url", typed[1], "revision", seen)
			at(t, resp, http.StatusUnprocessableEntity, edit, `id="form-error"`, `id="`+field+`"`, `value="`+typed[0]+`"`, `value="`+typed[1]+`"`)
		}
		taken := p.post(t, edit, "display_name", "Kept", "issuer_url", strings.Replace(p.Globex.Issuer, "/oidc/v1", "", 1), "revision", seen)
		at(t, taken, http.StatusUnprocessableEntity, edit, `id="issuer-error"`, "another tenant")
	})
	t.Run("an issuer is changed by somebody who has just signed in", func(t *testing.T) {
		page := p.get(t, edit)
		p.Superuser(t, "UPDATE parako.sessions SET auth_time = auth_time - interval '16 minutes' WHERE user_id = $1", olga.ID)
		for _, resp := range []app.Response{
			p.get(t, edit), p.post(t, edit, "display_name", "Typed", "issuer_url", "https://other.example", "revision", version(t, page)),
		} {
			if place := resp.Header.Get("Location") + resp.Request.URL.Path; !strings.Contains(place, "/oidc/v1/interaction/") {
				t.Fatalf("%d at %q, want the sign-in", resp.StatusCode, place)
			}
		}
		if now := p.refreshed(t, "acme"); now.IssuerURL != "https://typed.example" {
			t.Errorf("the issuer is %s", now.IssuerURL)
		}
		p.Superuser(t, "UPDATE parako.sessions SET auth_time = auth_time + interval '16 minutes' WHERE user_id = $1", olga.ID)
	})
	t.Run("the platform's own tenant is not edited", func(t *testing.T) {
		own := "/platform/tenants/_platforms/edit"
		at(t, p.get(t, own), http.StatusForbidden, own)
		at(t, p.post(t, own, "display_name", "Mine", "revision", "1"), http.StatusForbidden, own)
		if page := p.get(t, "/platform/tenants/_platforms"); strings.Contains(page.Text, own) {
			t.Error("the page offers it")
		}
	})
	by := "operator user:" + olga.ID.String()
	if diff := cmp.Diff([]string{"tenant.created operator test", "tenant.updated " + by, "tenant.updated " + by}, p.trail(t, "acme")); diff != "" {
		t.Errorf("the trail mismatch (-want +got)\n%s", diff)
	}
}

func TestPlatformConfiguresATenant(t *testing.T) {
	t.Parallel()
	p, olga := administrator(t, app.New(t), "olga")
	const config = "/platform/tenants/acme/config"
	t.Run("every setting of every section is on its page", func(t *testing.T) {
		list := p.get(t, config)
		for _, section := range settings.Sections {
			holds(t, list.Text, `href="`+config+`/`+section+`"`)
			page := p.get(t, config+"/"+section)
			at(t, page, http.StatusOK, config+"/"+section, `id="section-form"`)
			for _, f := range settings.Fields() {
				if f.Section == section {
					name := strings.TrimPrefix(f.Path, section+".")
					part := field(t, page, "s-"+strings.ReplaceAll(name, ".", "-"))
					holds(t, part, f.Doc, f.Awaits)
					if editable := f.Awaits == "" && !f.PlatformOnly; editable != strings.Contains(part, `name="v.`+name+`"`) {
						t.Errorf("%s can be entered: %t, want %t", f.Path, !editable, editable)
					}
				}
			}
		}
		for _, path := range []string{config + "/nothing", config + "/nothing/history", "/platform/tenants/nobody/config", "/platform/tenants/nobody/config/oidc"} {
			at(t, p.get(t, path), http.StatusNotFound, path)
		}
	})
	t.Run("values make the round trip, alone, and are undone by leaving them empty", func(t *testing.T) {
		const oidc = config + "/oidc"
		page := p.get(t, oidc)
		if version(t, page) != "0" {
			t.Fatal("something is set already")
		}
		all := edit(url.Values{}, "version", "0", "reason", "a <reason>")
		for _, f := range settings.Fields() { // A browser sends every field of a form.
			if f.Section == "oidc" {
				all.Set("v."+strings.TrimPrefix(f.Path, "oidc."), "")
			}
		}
		all.Set("v.token_ttl.access_token", "600")
		all.Set("v.scopes", "roles\r\naccount\r\n")
		all.Set("v.resource_servers", `[{"identifier":"urn:acme:api","access_token_ttl":60}]`)
		all.Set("v.discovery.display_values_supported", "")
		all.Set("e.discovery.display_values_supported", "1")
		leads(t, app.Post(t, p.step, p.origin+oidc, all), oidc+"?saved=1")
		want := `{"scopes": ["roles", "account"], "discovery": {"display_values_supported": []}, "token_ttl": {"access_token": 600}, "resource_servers": [{"identifier": "urn:acme:api", "access_token_ttl": 60}]}`
		if got := p.overrides(t, p.Acme, "oidc"); got != want {
			t.Errorf("stored\n%s, want\n%s", got, want)
		}
		page = p.get(t, oidc+"?saved=1")
		at(t, page, http.StatusOK, oidc+"?saved=1", `id="saved"`)
		holds(t, field(t, page, "s-token_ttl-access_token"), `value="600"`, `max="3600"`, "At most 3600 s: the platform’s limit.", "Default: 3600 s.")
		holds(t, field(t, page, "s-scopes"), ">roles\naccount</textarea>", "One per line.")
		holds(t, field(t, page, "s-resource_servers"), `"urn:acme:api"`)
		holds(t, field(t, page, "s-discovery-display_values_supported"), `value="1" checked`)

		all.Set("version", version(t, page))
		all.Set("v.resource_servers", "")
		all.Del("e.discovery.display_values_supported")
		leads(t, app.Post(t, p.step, p.origin+oidc, all), oidc+"?saved=1")
		if got, want := p.overrides(t, p.Acme, "oidc"), `{"scopes": ["roles", "account"], "discovery": {}, "token_ttl": {"access_token": 600}}`; got != want {
			t.Errorf("stored\n%s, want\n%s", got, want)
		}
		// What changes nothing makes no version.
		all.Set("version", "2")
		leads(t, app.Post(t, p.step, p.origin+oidc, all), oidc+"?saved=1")
		if version(t, p.get(t, oidc)) != "2" {
			t.Error("a version was made of nothing")
		}
		at(t, p.get(t, oidc+"/history"), http.StatusOK, oidc+"/history", "a &lt;reason&gt;", "olga@parako.example", "oidc.token_ttl.access_token", ">600<", "rollback-1")
	})
	t.Run("a switch has three positions", func(t *testing.T) {
		const features = config + "/features"
		for i, step := range []struct{ say, want string }{
			{"true", `{"oidc": {"token_exchange": {"enabled": true}}}`}, {"false", `{"oidc": {"token_exchange": {"enabled": false}}}`}, {"", `{"oidc": {"token_exchange": {}}}`},
		} {
			leads(t, p.post(t, features, "version", fmt.Sprint(i), "v.oidc.token_exchange.enabled", step.say), features+"?saved=1")
			if got := p.overrides(t, p.Acme, "features"); got != step.want {
				t.Errorf("after %q stored %s, want %s", step.say, got, step.want)
			}
			holds(t, field(t, p.get(t, features), "s-oidc-token_exchange-enabled"), `value="`+step.say+`" selected`, "Token exchange</label>")
		}
	})
	t.Run("everything that is wrong is said at once, at its field, and what was typed stays", func(t *testing.T) {
		const oidc = config + "/oidc"
		seen := version(t, p.get(t, oidc))
		resp := p.post(t, oidc, "version", seen, "reason", "kept reason", "v.token_ttl.access_token", "7200", "v.token_ttl.id_token", "0", "v.token_ttl.refresh_token", "ten",
			"v.discovery.op_tos_uri", "http://kept.example", "v.resource_servers", "[", "v.token_ttl.interaction", "60")
		at(t, resp, http.StatusUnprocessableEntity, oidc, `id="form-error"`, `value="kept reason"`)
		for id, want := range map[string][]string{
			"s-token_ttl-access_token":  {`value="7200"`, "Must not be above 3600.", `aria-invalid="true"`},
			"s-token_ttl-id_token":      {`value="0"`, "Must be between 1 and 86400."},
			"s-token_ttl-refresh_token": {`value="ten"`, "Enter a number."},
			"s-discovery-op_tos_uri":    {`value="http://kept.example"`, "Must be an https URL or empty."},
			"s-resource_servers":        {">[<", "This is no list in JSON."},
			"s-token_ttl-interaction":   {`value="60"`},
		} {
			holds(t, field(t, resp, id), want...)
		}
		if strings.Contains(field(t, resp, "s-token_ttl-interaction"), `class="fault"`) || strings.Contains(resp.Text, `lang="en">oidc.`) {
			t.Error("a fault is where nothing is wrong")
		}
		nested := p.post(t, config+"/features", "version", "3", "v.oidc.jwt_introspection.enabled", "true", "v.oidc.token_introspection.enabled", "false")
		at(t, nested, http.StatusUnprocessableEntity, config+"/features")
		holds(t, field(t, nested, "s-oidc-jwt_introspection-enabled"), "Needs features.oidc.token_introspection.", `value="true" selected`)
		long := p.post(t, oidc, "version", seen, "reason", strings.Repeat("x", 501), "v.token_ttl.access_token", "5")
		at(t, long, http.StatusUnprocessableEntity, oidc, `id="reason-error"`)
		if version(t, p.get(t, oidc)) != seen {
			t.Error("something was written")
		}
	})
	t.Run("a form that is out of date changes nothing, and meets what others did", func(t *testing.T) {
		const app = config + "/application"
		page := p.get(t, app)
		leads(t, p.post(t, app, "version", version(t, page), "v.title", "Theirs", "v.description", "Their text"), app+"?saved=1")
		stale := p.post(t, app, "version", version(t, page), "reason", "kept reason", "v.title", "Mine", "v.description", "", "v.locales.default", "de")
		at(t, stale, http.StatusConflict, app, `id="stale"`, `value="kept reason"`)
		holds(t, field(t, stale, "s-title"), `value="Mine"`, "Changed meanwhile to: Theirs")
		holds(t, field(t, stale, "s-description"), `value="Their text"`, "Changed meanwhile to: Their text")
		holds(t, field(t, stale, "s-locales-default"), `value="de"`)
		if got, want := p.overrides(t, p.Acme, "application"), `{"title": "Theirs", "description": "Their text"}`; got != want {
			t.Errorf("stored %s, want %s", got, want)
		}
		for _, none := range []string{"", "x", "77"} {
			at(t, p.post(t, app, "version", none, "v.title", "Mine"), http.StatusConflict, app, `value="Mine"`)
		}
		leads(t, p.post(t, app, "version", version(t, stale), "v.title", "Mine", "v.description", "Their text", "v.locales.default", "de"), app+"?saved=1")
	})
	t.Run("a version is brought back", func(t *testing.T) {
		const history = config + "/application/history"
		at(t, p.post(t, history, "version", "1", "seen", "1"), http.StatusConflict, history, `id="stale"`)
		leads(t, p.post(t, history, "version", "1", "seen", "2"), config+"/application?saved=1")
		if got, want := p.overrides(t, p.Acme, "application"), `{"title": "Theirs", "description": "Their text"}`; got != want {
			t.Errorf("stored %s, want %s", got, want)
		}
		at(t, p.get(t, history), http.StatusOK, history, "rollback to version 1", `id="version-3"`)
		for _, none := range []string{"", "99"} {
			if resp := p.post(t, history, "version", none, "seen", "3"); resp.StatusCode != http.StatusNotFound {
				t.Errorf("version %q: %d, want 404", none, resp.StatusCode)
			}
		}
	})
	t.Run("what came from whom is recorded", func(t *testing.T) {
		events := p.DB.Ask(t, p.Acme.ID, "SELECT DISTINCT actor_type || ' ' || actor_id FROM parako.audit_events WHERE type = 'settings.changed'")
		if diff := cmp.Diff([]string{"operator user:" + olga.ID.String()}, events); diff != "" {
			t.Errorf("authors mismatch (-want +got)\n%s", diff)
		}
	})
}

func TestPlatformsLimitsAreShown(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p, _ := administrator(t, a, "olga")
	a.Configure(t, a.Acme, "oidc", `{"token_ttl":{"access_token":1800}}`)
	p.platformSets(t, "oidc", `{"token_ttl":{"access_token":900}}`)
	p.platformSets(t, "security", `{"authentication":{"session":{"bind_ip":true,"idle_timeout_minutes":20},"password_policy":{"min_length":12}}}`)
	const config = "/platform/tenants/acme/config/"
	holds(t, field(t, p.get(t, config+"oidc"), "s-token_ttl-access_token"),
		`value="1800"`, `max="900"`, "At most 900 s: the platform’s limit.", "From the platform: 900 s.", "no longer allowed by the platform: 1800 s.")
	security := p.get(t, config+"security")
	holds(t, field(t, security, "s-authentication-session-bind_ip"), "Must stay on: the platform’s limit.", "From the platform: On.")
	holds(t, field(t, security, "s-authentication-session-idle_timeout_minutes"), `min="1" max="20"`, "1 to 20 min: the platform’s limit.")
	holds(t, field(t, security, "s-authentication-password_policy-min_length"), `min="12" max="64"`, "At least 12: the platform’s limit.")
	holds(t, field(t, security, "s-key_store-rotation_interval_days"), "readonly", `value="90 d"`, "Set for the whole platform only.")
	holds(t, field(t, security, "s-authentication-recovery-enabled"), "disabled", `value="Off"`, "Not available yet:", ">people cannot recover accounts yet<")
	refused := p.post(t, config+"security", "version", "0", "v.authentication.session.bind_ip", "false", "v.authentication.session.idle_timeout_minutes", "0",
		"v.key_store.rotation_interval_days", "1", "v.authentication.recovery.enabled", "true")
	at(t, refused, http.StatusUnprocessableEntity, config+"security")
	holds(t, field(t, refused, "s-authentication-session-bind_ip"), "Must stay true.")
	holds(t, field(t, refused, "s-authentication-session-idle_timeout_minutes"), "Must be between 1 and 20.")
	if got := p.overrides(t, a.Acme, "security"); got != "" {
		t.Errorf("stored %s", got)
	}
	leads(t, p.post(t, config+"security", "version", "0", "v.key_store.rotation_interval_days", "1", "v.authentication.recovery.enabled", "true"), config+"security?saved=1")
	if got := p.overrides(t, a.Acme, "security"); got != "" {
		t.Errorf("what cannot be set was: %s", got)
	}
}

func TestPlatformNeverShowsASecret(t *testing.T) {
	t.Parallel()
	p, _ := administrator(t, app.New(t), "olga")
	const section, id, secret = "/platform/tenants/acme/config/integrations", "s-email-smtp_password", "a-secret-of-somebody"
	holds(t, field(t, p.get(t, section), id), "Not set.")
	kept := func() string { return p.overrides(t, p.Acme, "integrations") }

	leads(t, p.post(t, section, "version", "0", "a.email.smtp_password", "replace", "v.email.smtp_password", secret), section+"?saved=1")
	sealed := kept()
	if sealed == "" || strings.Contains(sealed, secret) {
		t.Fatalf("stored %s", sealed)
	}
	page := p.get(t, section)
	holds(t, field(t, page, id), `value="remove"`, "</span> Set.")
	leads(t, p.post(t, section, "version", "1", "a.email.smtp_password", "keep", "v.email.smtp_password", "", "v.email.from", "x@acme.example"), section+"?saved=1")
	if got := kept(); !strings.Contains(got, strings.Split(sealed, `"`)[5]) {
		t.Errorf("left as it is it became %s from %s", got, sealed)
	}
	elsewhere := p.post(t, section, "version", "2", "a.email.smtp_password", "keep", "v.email.smtp_password", "", "v.email.smtp_host", "mail.evil.example")
	at(t, elsewhere, http.StatusUnprocessableEntity, section, "mail.evil.example")
	holds(t, field(t, elsewhere, id), "Must be given again or removed, because integrations.email.smtp_host changes.")
	pages := []app.Response{page, elsewhere, p.get(t, section), p.get(t, section+"/history")}
	for _, typed := range [][2]string{{"keep", secret}, {"remove", secret}, {"replace", ""}, {"", secret}, {"nonsense", secret}} {
		resp := p.post(t, section, "version", "2", "a.email.smtp_password", typed[0], "v.email.smtp_password", typed[1])
		at(t, resp, http.StatusUnprocessableEntity, section)
		holds(t, field(t, resp, id), "To replace it, choose so")
		pages = append(pages, resp)
	}
	for _, typed := range [][2]string{{"2", "not a host!"}, {"1", "mail.acme.example"}} {
		resp := p.post(t, section, "version", typed[0], "a.email.smtp_password", "replace", "v.email.smtp_password", secret, "v.email.smtp_host", typed[1])
		holds(t, field(t, resp, id), "Enter it again.", `value="replace" selected`)
		pages = append(pages, resp)
	}
	leads(t, p.post(t, section, "version", "2", "a.email.smtp_password", "remove", "v.email.smtp_password", ""), section+"?saved=1")
	if got, want := kept(), `{"email": {"from": "x@acme.example"}}`; got != want {
		t.Errorf("stored %s, want %s", got, want)
	}
	for _, page := range append(pages, p.get(t, section+"/history")) {
		if strings.Contains(page.Text, secret) || strings.Contains(page.Text, strings.Split(sealed, `"`)[5]) {
			t.Errorf("a page holds the secret\n%s", page.Text)
		}
	}
	if strings.Contains(p.Logs.String()+p.Journal.String(), secret) {
		t.Error("the log holds the secret")
	}
}

// TestPlatformRefusesToBringBackWhatIsForbiddenByNow rolls back to a version beyond a limit that came later.
func TestPlatformRefusesToBringBackWhatIsForbiddenByNow(t *testing.T) {
	t.Parallel()
	p, _ := administrator(t, app.New(t), "olga")
	const oidc = "/platform/tenants/acme/config/oidc"
	leads(t, p.post(t, oidc, "version", "0", "v.token_ttl.access_token", "3000"), oidc+"?saved=1")
	leads(t, p.post(t, oidc, "version", "1", "v.token_ttl.access_token", "60"), oidc+"?saved=1")
	p.platformSets(t, "oidc", `{"token_ttl":{"access_token":900}}`)
	at(t, p.post(t, oidc+"/history", "version", "1", "seen", "2"), http.StatusUnprocessableEntity, oidc+"/history", "oidc.token_ttl.access_token must not be above 900")
}

func TestViewerOfThePlatformConfiguresNothing(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	a.Configure(t, a.Acme, "application", `{"title":"Set"}`)
	a.Configure(t, a.Acme, "application", `{"title":"Set again"}`)
	p := openPlatform(t, a)
	p.employ(t, "vera", directory.PlatformViewer)
	const of = "/platform/tenants/acme"
	at(t, p.signIn(t, of+"/config/application", "vera", app.Password), http.StatusOK, of+"/config/application")
	for path, shown := range map[string]string{
		of + "/config": "1 of 4 set", of + "/config/application": `value="Set again"`, of + "/config/application/history": "operator test", of + "/config/security": "readonly",
	} {
		page := p.get(t, path)
		at(t, page, http.StatusOK, path, shown)
		if found := regexp.MustCompile(`<(form|button|select|textarea)\b|<input[^>]* name=`).FindString(page.Text); found != "" {
			t.Errorf("%s has a %s", path, found)
		}
	}
	for _, path := range []string{of + "/edit", of + "/config/application", of + "/config/application/history"} {
		at(t, p.post(t, path, "version", "2", "seen", "2", "revision", "1", "display_name", "Vera's", "v.title", "Vera's"), http.StatusForbidden, path)
	}
	if got, want := p.overrides(t, a.Acme, "application"), `{"title": "Set again"}`; got != want {
		t.Errorf("stored %s, want %s", got, want)
	}
}

// TestFormsOfOtherSitesConfigureNothing posts as another site makes a browser do.
func TestFormsOfOtherSitesConfigureNothing(t *testing.T) {
	t.Parallel()
	p, _ := administrator(t, app.New(t), "olga")
	for _, r := range p.Server.Routes() {
		if !ofPlatform(r) || r.Method != http.MethodPost {
			continue
		}
		path := strings.NewReplacer(":slug", "acme", ":section", "oidc").Replace(r.Path)
		q, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.origin+path, strings.NewReader("version=0&v.token_ttl.access_token=5"))
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		q.Header.Set("Sec-Fetch-Site", "cross-site")
		at(t, app.Do(t, p.step, q), http.StatusForbidden, path)
	}
	if got := p.overrides(t, p.Acme, "oidc"); got != "" {
		t.Errorf("stored %s", got)
	}
}

// TestSectionsAreSentCompressed asks for the longest page as browsers do, and as those do that take no gzip.
func TestSectionsAreSentCompressed(t *testing.T) {
	t.Parallel()
	p, _ := administrator(t, app.New(t), "olga")
	ask := func(accept string) app.Response {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.origin+"/platform/tenants/acme/config/security", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept-Encoding", accept)
		return app.Do(t, p.browser, r)
	}
	plain := ask("gzip;q=0, br")
	if plain.Header.Get("Content-Encoding") != "" || plain.Header.Get("Vary") == "" {
		t.Errorf("headers %v", plain.Header)
	}
	packed := ask("br, gzip, deflate")
	z, err := gzip.NewReader(strings.NewReader(packed.Text))
	if err != nil {
		t.Fatal(err)
	}
	unpacked, err := io.ReadAll(z)
	if err != nil || string(unpacked) != plain.Text {
		t.Errorf("unpacked it is another page (%v)", err)
	}
	const budget = 15_000
	if len(packed.Text) >= budget || packed.Header.Get("Content-Security-Policy") != plain.Header.Get("Content-Security-Policy") {
		t.Errorf("%d bytes, want fewer than %d, with the headers of every page: %v", len(packed.Text), budget, packed.Header)
	}
}
