package settings_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/problem"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/testkit"
)

func TestMain(m *testing.M) { os.Exit(testkit.Main(m)) }

func load(t *testing.T, s *store.Store, id uuid.UUID) settings.Settings {
	t.Helper()
	got, err := tryLoad(t, s, id)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func tryLoad(t *testing.T, s *store.Store, id uuid.UUID) (got settings.Settings, err error) {
	t.Helper()
	err = s.AskTenant(t.Context(), id, func(ctx context.Context, tx *store.Tx) (err error) {
		got, err = settings.Load(ctx, tx, settings.Layer{})
		return err
	})
	return got, err
}

func put(t *testing.T, s *store.Store, id uuid.UUID, section, override string) (revision int64, err error) {
	t.Helper()
	err = s.InTenant(t.Context(), id, func(ctx context.Context, tx *store.Tx) (err error) {
		written, err := settings.Write(ctx, tx, settings.Layer{}, settings.Change{Section: section, Document: json.RawMessage(override), By: audit.Operator("test")})
		revision = written.Revision
		return err
	})
	return revision, err
}

// changed is the defaults with one thing different.
func changed(change func(*settings.Settings)) settings.Settings {
	s := settings.Default()
	change(&s)
	return s
}

func TestPutThenLoad(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	tests := map[string]struct {
		section, override string
		want              settings.Settings
	}{
		"nothing said leaves the defaults": {"application", `{}`, settings.Default()},
		"a scalar replaces": {
			"application", `{"title": "Acme"}`,
			changed(func(s *settings.Settings) { s.Application.Title = "Acme" }),
		},
		"objects merge": {
			"oidc", `{"token_ttl": {"access_token": 300}}`,
			changed(func(s *settings.Settings) { s.OIDC.TokenTTL.AccessToken = 300 }),
		},
		"an array replaces": {
			"application", `{"locales": {"default": "fr", "available": ["fr"]}}`,
			changed(func(s *settings.Settings) {
				s.Application.Locales = settings.Locales{Default: "fr", Available: []string{"fr"}}
			}),
		},
		"maps merge": {
			"branding", `{"colors": {"light": {"primary": "#123", "cardForeground": "#aAbBcC"}}}`,
			changed(func(s *settings.Settings) {
				s.Branding.Colors.Light = map[string]string{"primary": "#123", "cardForeground": "#aAbBcC"}
			}),
		},
		"null leaves a scalar, a list, a map and an object": {
			"application", `{"title": null, "locales": {"default": null, "available": null}}`, settings.Default(),
		},
		"null leaves a colour":  {"branding", `{"colors": {"light": {"primary": null}, "dark": null}}`, settings.Default()},
		"null leaves a section": {"security", `null`, settings.Default()},
		"what is stricter may be set": {
			"security", `{"authentication": {"session": {"idle_timeout_minutes": 5}}}`,
			changed(func(s *settings.Settings) { s.Security.Authentication.Session.IdleTimeoutMinutes = 5 }),
		},
		"the last of two members counts": {
			"application", `{"title": "\u0000", "title": "Acme"}`,
			changed(func(s *settings.Settings) { s.Application.Title = "Acme" }),
		},
		"links": {
			"integrations", `{"urls": {"privacy_policy": "https://acme.example/privacy"}}`,
			changed(func(s *settings.Settings) { s.Integrations.URLs.PrivacyPolicy = "https://acme.example/privacy" }),
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			org := testkit.Tenant(t, s, "t"+strings.ReplaceAll(uuid.NewString(), "-", ""))
			if _, err := put(t, s, org.ID, tt.section, tt.override); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, load(t, s, org.ID)); diff != "" {
				t.Errorf("settings after %s mismatch (-want +got)\n%s", tt.override, diff)
			}
		})
	}
}

func TestPutRefuses(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	org := testkit.Tenant(t, s, "acme")
	tests := map[string]struct{ section, override, code, says string }{
		"a section that is not there":  {"database", `{}`, "section_not_allowed", "no settings"},
		"an unknown name":              {"application", `{"tite": "x"}`, "settings_invalid", `unknown field "tite"`},
		"an unknown name deep down":    {"oidc", `{"token_ttl": {"grant_token": 1}}`, "settings_invalid", `unknown field "grant_token"`},
		"an unknown name without":      {"application", `{"tite": null}`, "settings_invalid", `unknown field "tite"`},
		"a value of the wrong type":    {"oidc", `{"token_ttl": {"id_token": "long"}}`, "settings_invalid", "oidc.token_ttl.id_token has the wrong type"},
		"half a second":                {"oidc", `{"token_ttl": {"id_token": 1.5}}`, "settings_invalid", "oidc.token_ttl.id_token has the wrong type"},
		"no object":                    {"oidc", `[]`, "settings_invalid", "oidc must be an object"},
		"two documents":                {"oidc", `{} {}`, "settings_invalid", "more than one JSON value"},
		"half a document":              {"oidc", `{`, "settings_invalid", "unexpected EOF"},
		"nothing":                      {"oidc", ``, "settings_invalid", "EOF"},
		"a value out of range":         {"oidc", `{"token_ttl": {"id_token": 0}}`, "settings_invalid", "oidc.token_ttl.id_token must be between 1 and 86400"},
		"half a character of UTF-16":   {"application", `{"title": "\ud800"}`, "settings_invalid", "application.title"},
		"a zero byte":                  {"application", `{"title": "a\u0000"}`, "settings_invalid", "application.title"},
		"bytes that are not UTF-8":     {"branding", "{\"companyName\": \"\xff\"}", "settings_invalid", "branding.companyName"},
		"every fault of many is named": {"oidc", `{"token_ttl": {"id_token": 0, "access_token": 0}}`, "settings_invalid", "access_token must be between 1 and 86400; oidc.token_ttl.id_token must"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := put(t, s, org.ID, tt.section, tt.override)
			p, ok := errors.AsType[*problem.Error](err)
			if !ok || p.Kind != problem.Invalid || p.Code != tt.code || !strings.Contains(p.Message, tt.says) {
				t.Errorf("Write(%s, %s) = %v, want %s that says %q", tt.section, tt.override, err, tt.code, tt.says)
			}
		})
	}
	if diff := cmp.Diff(settings.Default(), load(t, s, org.ID)); diff != "" {
		t.Errorf("settings after refusals mismatch (-want +got)\n%s", diff)
	}
}

func TestPutRaisesTheRevisionOfItsTenantOnly(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	acme, other := testkit.Tenant(t, s, "acme"), testkit.Tenant(t, s, "other")
	for _, want := range []int64{acme.Revision + 1, acme.Revision + 2} {
		got, err := put(t, s, acme.ID, "application", `{"title": "Acme"}`)
		if err != nil || got != want {
			t.Fatalf("Write = %d, %v, want revision %d", got, err, want)
		}
	}
	const revision = "SELECT revision::text FROM parako.tenants"
	got := [][]string{db.Ask(t, acme.ID, revision), db.Ask(t, other.ID, revision)}
	if diff := cmp.Diff([][]string{{"3"}, {"1"}}, got); diff != "" {
		t.Errorf("revisions mismatch (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"2"}, db.Ask(t, acme.ID, "SELECT version::text FROM parako.tenant_settings")); diff != "" {
		t.Errorf("version of the section mismatch (-want +got)\n%s", diff)
	}
}

func TestTenantsDoNotSeeEachOthersOverrides(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	acme, other := testkit.Tenant(t, s, "acme"), testkit.Tenant(t, s, "other")
	if _, err := put(t, s, acme.ID, "application", `{"title": "Acme"}`); err != nil {
		t.Fatal(err)
	}
	if _, err := put(t, s, acme.ID, "branding", `{"colors": {"light": {"primary": "#123456"}}}`); err != nil {
		t.Fatal(err)
	}
	if _, err := put(t, s, other.ID, "application", `{"title": "Other"}`); err != nil {
		t.Fatal(err)
	}
	wants := map[uuid.UUID]settings.Settings{
		acme.ID: changed(func(s *settings.Settings) {
			s.Application.Title = "Acme"
			s.Branding.Colors.Light["primary"] = "#123456"
		}),
		other.ID: changed(func(s *settings.Settings) { s.Application.Title = "Other" }),
	}
	for id, want := range wants {
		if diff := cmp.Diff(want, load(t, s, id)); diff != "" {
			t.Errorf("settings of %s mismatch (-want +got)\n%s", want.Application.Title, diff)
		}
	}
}

func TestLoadReadsWhatANewerReleaseWrote(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	org := testkit.Tenant(t, s, "acme")
	db.Ask(t, org.ID, `
INSERT INTO parako.tenant_settings (id, section, value)
VALUES (gen_random_uuid(), 'application', '{"title": "Acme", "motto": {"text": "ever newer"}}'),
       (gen_random_uuid(), 'notifications', '{"teleport": true}')`)
	want := changed(func(s *settings.Settings) { s.Application.Title = "Acme" })
	if diff := cmp.Diff(want, load(t, s, org.ID)); diff != "" {
		t.Errorf("settings mismatch (-want +got)\n%s", diff)
	}
}

func TestLoadNamesTheSectionItCannotRead(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	for name, value := range map[string]string{
		"wrong-type": `{"token_ttl": "for ever"}`,
		"no-object":  `[1]`,
		"a-number":   `7`,
	} {
		org := testkit.Tenant(t, s, name)
		db.Ask(t, org.ID, "INSERT INTO parako.tenant_settings (id, section, value) VALUES (gen_random_uuid(), 'oidc', $1::jsonb)", value)
		if _, err := tryLoad(t, s, org.ID); err == nil || !strings.Contains(err.Error(), "section oidc") {
			t.Errorf("Load of %s = %v, want an error that names section oidc", value, err)
		}
	}
}

// Every list and map must be fresh: the settings of one tenant are changed by laying its overrides over them.
func TestDefaultsAreNotShared(t *testing.T) {
	t.Parallel()
	spoiled := settings.Default()
	spoiled.Branding.Colors.Light["primary"] = "#000"
	spoiled.Branding.Colors.Dark["primary"] = "#000"
	spoiled.Application.Locales.Available[0] = "xx"
	again := settings.Default()
	if again.Application.Locales.Available[0] != "en" || len(again.Branding.Colors.Light)+len(again.Branding.Colors.Dark) != 0 {
		t.Errorf("Default() = %+v after a change of another", again)
	}
}
