package pages

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"parako/internal/settings"
)

// platformSamples are samples of the pages with which the platform administers a tenant.
func platformSamples() map[string]sample {
	return map[string]sample{
		"zero_edit_tenant": func(r *Renderer, w io.Writer, s Shell) error {
			return r.EditTenant(w, EditTenantView{PlatformShell: PlatformShell{Shell: s}})
		},
		"zero_config": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Config(w, ConfigView{PlatformShell: PlatformShell{Shell: s}})
		},
		"zero_section": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Section(w, SectionView{PlatformShell: PlatformShell{Shell: s}})
		},
		"zero_history": func(r *Renderer, w io.Writer, s Shell) error {
			return r.History(w, HistoryView{PlatformShell: PlatformShell{Shell: s}})
		},
		"zero_quota": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Quota(w, QuotaView{PlatformShell: PlatformShell{Shell: s}})
		},
		"zero_domains": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Domains(w, DomainsView{PlatformShell: PlatformShell{Shell: s}})
		},
		"zero_keys": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Keys(w, KeysView{PlatformShell: PlatformShell{Shell: s}})
		},
		"zero_deletion": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Deletion(w, DeletionView{PlatformShell: PlatformShell{Shell: s}})
		},
		"zero_ask": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Ask(w, AskView{PlatformShell: PlatformShell{Shell: s}})
		},
		"quota": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Quota(w, QuotaView{
				PlatformShell: operator(s, true), Name: "Acme", Action: "/platform/tenants/acme/quota", BackURL: "/platform/tenants/acme", Wrong: true, Revision: 7,
				Quotas: []QuotaItem{
					{Name: "users", Most: "100", Used: 12, MostValue: 2147483647},
					{Name: "clients", Most: "-1", Wrong: true, MostValue: 2147483647},
					{Name: "requests_per_second", Rate: true, LeastValue: 1, MostValue: 1000000},
				},
			})
		},
		"quota_stale": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Quota(w, QuotaView{
				PlatformShell: operator(s, true), Name: "Acme", Action: "/platform/tenants/acme/quota", BackURL: "/platform/tenants/acme", Revision: 8, Stale: true,
				Quotas: []QuotaItem{{Name: "users", Most: "100", Now: "50", Used: 12, MostValue: 2147483647}, {Name: "clients", Most: "5", MostValue: 2147483647}},
			})
		},
		"domains": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Domains(w, DomainsView{
				PlatformShell: operator(s, true), Name: "Acme", Action: "/platform/tenants/acme/domains", BackURL: "/platform/tenants/acme", Typed: "x", Alert: "This name cannot belong to a tenant.",
				Base: "https://acme.id.example/oidc/v1", BaseURL: "/platform/tenants/acme/domains/primary?domain=",
				Domains: []DomainItem{
					{Name: "id.acme.example", State: "verified", Primary: true},
					{
						Name: "xn--bcher-kva.example", Unicode: "bücher.example", State: "pending", RecordName: "_parako-challenge.xn--bcher-kva.example", RecordValue: "parako-domain-verification=x",
						MayCheck: true, PrimaryURL: "/platform/tenants/acme/domains/primary?domain=x", ReleaseURL: "/platform/tenants/acme/domains/release?domain=x",
					},
				},
			})
		},
		"keys": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Keys(w, KeysView{
				PlatformShell: operator(s, true), Name: "Acme", Action: "/platform/tenants/acme/keys", BackURL: "/platform/tenants/acme", Alert: "The tenant has no such key.", More: true,
				Keys: []KeyItem{
					{KID: "one", Alg: "ES256", State: "signs", Created: "2026-11-26 03:32 UTC", MayRotate: true, RevokeURL: "/platform/tenants/acme/keys/revoke?kid=one"},
					{KID: "two", Alg: "RS256", State: "expiring", Created: "2026-11-26 03:32 UTC", Until: "2026-11-27 03:32 UTC"},
				},
			})
		},
		"deletion": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Deletion(w, DeletionView{
				PlatformShell: operator(s, true), Slug: "acme", Name: "Acme", Action: "/platform/tenants/acme/deletion", BackURL: "/platform/tenants/acme", Typed: "globex", Days: "0",
				WrongSlug: true, WrongDays: true, Alert: "The tenant is to be deleted. Restore it first.",
			})
		},
		"deletion_due": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Deletion(w, DeletionView{
				PlatformShell: operator(s, true), Slug: "acme", Name: "Acme", Action: "/platform/tenants/acme/deletion", BackURL: "/platform/tenants/acme", Due: "2026-12-26 03:32 UTC", Restorable: true,
			})
		},
		"ask": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Ask(w, AskView{
				PlatformShell: operator(s, true), What: "release", Name: "Acme", About: "id.acme.example", Action: "/platform/tenants/acme/domains/release",
				CancelURL: "/platform/tenants/acme/domains", Hidden: []Field{{Name: "domain", Value: "id.acme.example"}},
			})
		},
		"edit_tenant": func(r *Renderer, w io.Writer, s Shell) error {
			return r.EditTenant(w, EditTenantView{
				PlatformShell: operator(s, true), Action: "/platform/tenants/acme/edit", CancelURL: "/platform/tenants/acme", Slug: "acme", Title: "Acme & Söhne",
				Name: "Acme", Issuer: "x", Computed: "https://acme.id.example/oidc/v1", Revision: 7, NameError: FormName, IssuerError: FormIssuerTaken,
			})
		},
		"edit_tenant_stale": func(r *Renderer, w io.Writer, s Shell) error {
			return r.EditTenant(w, EditTenantView{
				PlatformShell: operator(s, true), Action: "/platform/tenants/acme/edit", CancelURL: "/platform/tenants/acme", Slug: "acme", Title: "Acme & Söhne",
				Name: "Acme", Computed: "https://acme.id.example/oidc/v1", Revision: 8, Stale: true, NowName: "Acme & Söhne",
			})
		},
		"config": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Config(w, ConfigView{
				PlatformShell: operator(s, true), Slug: "acme", Name: "Acme", BackURL: "/platform/tenants/acme", Foreign: s.Locale != "en",
				Sections: []SectionItem{{Title: "Application", URL: "/platform/tenants/acme/config/application", Set: 1, All: 4}},
			})
		},
		"section": func(r *Renderer, w io.Writer, s Shell) error {
			v := sectionOf("integrations", operator(s, true), map[string]any{"urls.website": "https://acme.example/", "email.smtp_password": settings.Masked})
			v.Saved = true
			return r.Section(w, v)
		},
		"section_viewed": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Section(w, sectionOf("application", operator(s, false), map[string]any{"title": "Acme"}))
		},
		"section_stale": func(r *Renderer, w io.Writer, s Shell) error {
			v := sectionOf("application", operator(s, true), map[string]any{"title": "Acme"})
			v.Stale = true
			v.Groups[0].Settings[0].Moved, v.Groups[0].Settings[0].Theirs, v.Groups[0].Settings[1].Moved = true, "Acme", true
			return r.Section(w, v)
		},
		"section_wrong": func(r *Renderer, w io.Writer, s Shell) error {
			v := sectionOf("application", operator(s, true), map[string]any{"title": "", "locales.available": []any{}})
			v.Wrong, v.TooLong, v.Reason, v.Faults = true, true, strings.Repeat("x", 501), []string{"application.unknown must not be."}
			v.Groups[0].Settings[0].Fault, v.Groups[0].Settings[1].Error = "Must be 1 to 255 characters.", SettingNumber
			return r.Section(w, v)
		},
		"history": func(r *Renderer, w io.Writer, s Shell) error {
			return r.History(w, HistoryView{
				PlatformShell: operator(s, true), Slug: "acme", Name: "Acme", Title: "OpenID Connect", Action: "/platform/tenants/acme/config/oidc/history",
				BackURL: "/platform/tenants/acme/config/oidc", NextURL: "/platform/tenants/acme/config/oidc/history?before=4", Version: 5, Faults: []string{"oidc must not."},
				Versions: []VersionItem{
					{Number: 5, At: "2026-11-26 03:32 UTC", By: "olga@parako.example", Reason: "short & sweet", Current: true, Changes: []ChangeItem{{Path: "oidc.token_ttl.access_token", After: "60"}}, More: true},
					{Number: 4, At: "2026-11-26 03:30 UTC", By: "operator cli"},
				},
			})
		},
	}
}

// formOf is the form of a section of a tenant that has set values, by their paths below the section.
func formOf(section string, set map[string]any) *sectionForm {
	form, err := newSectionForm(settings.Layer{}, settings.Layer{}, section)
	if err != nil {
		panic(err) // The section is written into the test.
	}
	for _, f := range form.fields {
		if value, said := set[f.name]; said {
			f.Tenant, f.typed = value, formValueOf(f.Field, value)
		}
	}
	return form
}

// sectionOf is the page with that form.
func sectionOf(section string, shell PlatformShell, set map[string]any) SectionView {
	foreign := shell.Locale != "en"
	return SectionView{
		PlatformShell: shell, Slug: "acme", Name: "Acme", Section: section, Title: title(section), Action: "/platform/tenants/acme/config/" + section,
		BackURL: "/platform/tenants/acme/config", HistoryURL: "/platform/tenants/acme/config/" + section + "/history", Version: 1,
		Foreign: foreign, Groups: formOf(section, set).groups(shell.MayChange, foreign),
	}
}

// platformWords are the messages that the views choose.
func platformWords() []string {
	words := []string{"platform.config.inherit", "platform.config.nothing", "platform.config.secret_set", "platform.config.secret_unset", switchKey("true"), switchKey("false")}
	for _, e := range []SettingError{SettingNumber, SettingJSON, SettingSecret, SettingAgain} {
		words = append(words, Setting{Error: e}.ErrorKey())
	}
	for _, l := range []SettingLimit{LimitOn, LimitOff, LimitLeast, LimitMost, LimitBetween} {
		words = append(words, Setting{Limit: l}.LimitKey())
	}
	for _, c := range (Setting{Own: true}).Actions() {
		words = append(words, c.Key)
	}
	for _, name := range []string{"edit", "config", "quota", "domains", "keys", "deletion"} {
		words = append(words, TenantPage{Name: name}.Key())
	}
	for _, what := range []string{"primary", "release", "revoke"} {
		v := AskView{What: what}
		words = append(words, v.TitleKey(), v.EffectKey(), v.SubmitKey())
	}
	for _, state := range []string{"pending", "verified", "failing", "released"} {
		words = append(words, DomainItem{State: state}.Key())
	}
	for _, state := range []string{"signs", "waits", "expiring", "retired", "revoked"} {
		words = append(words, KeyItem{State: state}.Key())
	}
	for _, q := range quotas {
		words = append(words, QuotaItem{Name: q.name}.Key())
	}
	return append(words, Setting{}.InheritedKey(), Setting{FromPlatform: true}.InheritedKey())
}

// TestSectionsWeight is the promise to people on 2G for the longest forms, as they are sent: compressed, with something in every field.
func TestSectionsWeight(t *testing.T) {
	t.Parallel()
	r := newRenderer(t)
	for _, section := range settings.Sections {
		for _, locale := range []string{"en", "ru"} {
			page := []byte(render(t, r, func(r *Renderer, w io.Writer, s Shell) error {
				return r.Section(w, sectionOf(section, operator(s, true), map[string]any{}))
			}, acme(locale)))
			checkPage(t, strings.ReplaceAll(string(page), "login.login_methods", ""), locale) // which is no message
			if strings.Contains(string(page), "it is not one of those available") {
				t.Errorf("%s says of a setting that nobody set that it has no effect", section)
			}
			packed := gzipped(t, page)
			t.Logf("%s in %s: %d bytes, %d compressed", section, locale, len(page), packed)
			if packed >= 15_000 {
				t.Errorf("%s in %s: %d bytes compressed, want fewer than 15000", section, locale, packed)
			}
		}
	}
}

// TestListsWeight has as many domains and keys as are shown, with proofs and names that nothing can be left out of.
func TestListsWeight(t *testing.T) {
	t.Parallel()
	r := newRenderer(t)
	random := func(i int) string {
		sum := sha256.Sum256([]byte(strconv.Itoa(i)))
		return base64.RawURLEncoding.EncodeToString(sum[:])
	}
	domains := DomainsView{PlatformShell: operator(acme("ru"), true), Action: "/platform/tenants/acme/domains"}
	for i := range 100 {
		name := fmt.Sprintf("login-%d.acme.example", i)
		domains.Domains = append(domains.Domains, DomainItem{
			Name: name, State: "verified", RecordName: "_parako-challenge." + name, RecordValue: "parako-domain-verification=" + random(i), MayCheck: true,
			PrimaryURL: domains.Action + "/primary?domain=" + name, ReleaseURL: domains.Action + "/release?domain=" + name,
		})
	}
	keys := KeysView{PlatformShell: operator(acme("ru"), true), Action: "/platform/tenants/acme/keys"}
	for i := range keysPage {
		keys.Keys = append(keys.Keys, KeyItem{KID: random(i), Alg: "ES256", State: "expiring", Created: "2026-11-26 03:32 UTC", RevokeURL: keys.Action + "/revoke?kid=" + random(i)})
	}
	for name, page := range map[string]sample{
		"domains": func(r *Renderer, w io.Writer, _ Shell) error { return r.Domains(w, domains) },
		"keys":    func(r *Renderer, w io.Writer, _ Shell) error { return r.Keys(w, keys) },
	} {
		if packed := gzipped(t, []byte(render(t, r, page, Shell{}))); packed >= 15_000 {
			t.Errorf("%s: %d bytes compressed, want fewer than 15000", name, packed)
		} else {
			t.Logf("%s: %d bytes compressed", name, packed)
		}
	}
}

func TestFormSaysWhatWasTyped(t *testing.T) {
	t.Parallel()
	own := map[string]any{"token_ttl.access_token": 600, "scopes": []any{"roles"}, "discovery.service_documentation": "https://a.example"}
	for name, tt := range map[string]struct {
		posted map[string]string
		want   string
		errors []string
	}{
		"nothing is what is left alone": {map[string]string{
			"v.token_ttl.access_token": "600", "v.scopes": "roles\r\n", "v.token_ttl.id_token": "", "v.discovery.service_documentation": " https://a.example ",
		}, `{}`, nil},
		"a value is set, another inherits": {
			map[string]string{"v.token_ttl.access_token": "", "v.token_ttl.id_token": "60"},
			`{"token_ttl":{"access_token":null,"id_token":60}}`, nil,
		},
		"a list is emptied on purpose": {map[string]string{"v.scopes": "", "e.scopes": "1"}, `{"scopes":[]}`, nil},
		"a list inherits":              {map[string]string{"v.scopes": ""}, `{"scopes":null}`, nil},
		"a list has a line for each":   {map[string]string{"v.scopes": "roles\r\n\r\n account "}, `{"scopes":["roles","account"]}`, nil},
		"what is no number is said, and the rest goes on": {
			map[string]string{"v.token_ttl.access_token": "ten", "v.token_ttl.id_token": "5.5", "v.scopes": ""},
			`{"scopes":null}`,
			[]string{"token_ttl.access_token number", "token_ttl.id_token number"},
		},
		"objects are JSON":                            {map[string]string{"v.resource_servers": `[{"identifier":"urn:a"}]`}, `{"resource_servers":[{"identifier":"urn:a"}]}`, nil},
		"what is no JSON is said":                     {map[string]string{"v.resource_servers": `[{`, "v.jwt_bearer_issuers": `{}`}, `{}`, []string{"resource_servers json", "jwt_bearer_issuers json"}},
		"what awaits something, or is unknown, stays": {map[string]string{"v.token_ttl.session": "60", "v.nothing": "1"}, `{}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			form := formOf("oidc", own)
			form.read(tt.posted)
			patch, _ := form.document()
			document, err := json.Marshal(patch)
			if err != nil {
				t.Fatal(err)
			}
			var errors []string
			for _, f := range form.fields {
				if f.mistake != "" {
					errors = append(errors, f.name+" "+string(f.mistake))
				}
			}
			if diff := cmp.Diff(tt.errors, errors); diff != "" {
				t.Errorf("mistakes mismatch (-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(tt.want, string(document)); diff != "" {
				t.Errorf("patch mismatch (-want +got)\n%s", diff)
			}
		})
	}
}
