package settings_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/problem"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/tenant"
	"parako/internal/testkit"
)

// shared writes what the platform sets, and returns its layer.
func shared(t *testing.T, s *store.Store, section, document string) settings.Layer {
	t.Helper()
	if _, err := put(t, s, tenant.DefaultID, section, document); err != nil {
		t.Fatal(err)
	}
	l, err := settings.Platform(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// write changes a section of a tenant under the platform's layer.
func write(t *testing.T, s *store.Store, id uuid.UUID, platform settings.Layer, c settings.Change) (w settings.Written, err error) {
	t.Helper()
	if c.By.Type == "" {
		c.By = audit.Operator("test")
	}
	err = s.InTenant(t.Context(), id, func(ctx context.Context, tx *store.Tx) (err error) {
		w, err = settings.Write(ctx, tx, platform, c)
		return err
	})
	return w, err
}

func effective(t *testing.T, s *store.Store, id uuid.UUID, platform settings.Layer) (set settings.Settings) {
	t.Helper()
	err := s.AskTenant(t.Context(), id, func(ctx context.Context, tx *store.Tx) (err error) {
		set, err = settings.Load(ctx, tx, platform)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// Every limit refuses what is beyond it, naming it, and takes what is within. The platform's value is made the stricter one
// first, so that a limit of the default's would not do.
func TestLimits(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	org := testkit.Tenant(t, s, "acme")
	platform := shared(t, s, "security", `{"authentication": {
		"session": {"idle_timeout_minutes": 20, "absolute_timeout_hours": 0, "max_concurrent_sessions": 3, "bind_ip": true},
		"password_policy": {"min_length": 12, "require_numbers": true},
		"signup": {"auto_approval": {"enabled": false}}},
		"protection": {"rate_limiting": {"window_minutes": 20}}}`)
	const session, passwords = "security.authentication.session.", "security.authentication.password_policy."
	tests := map[string]struct {
		section, document string
		want              []settings.Violation
	}{
		"a number below a floor": {"security", `{"authentication": {"password_policy": {"min_length": 11}}}`, []settings.Violation{
			{Path: passwords + "min_length", Limit: json.Number("12"), Message: passwords + "min_length must not be below 12"},
		}},
		"a switch that must stay on": {"security", `{"authentication": {"session": {"bind_ip": false}}}`, []settings.Violation{
			{Path: session + "bind_ip", Limit: true, Message: session + "bind_ip must stay true"},
		}},
		"a switch that must stay off": {"security", `{"authentication": {"signup": {"auto_approval": {"enabled": true}}}}`, []settings.Violation{
			{Path: "security.authentication.signup.auto_approval.enabled", Limit: false, Message: "security.authentication.signup.auto_approval.enabled must stay false"},
		}},
		"a number above a ceiling": {"oidc", `{"token_ttl": {"access_token": 3601}}`, []settings.Violation{
			{Path: "oidc.token_ttl.access_token", Limit: json.Number("3600"), Message: "oidc.token_ttl.access_token must not be above 3600"},
		}},
		"no bound where there is one": {"security", `{"authentication": {"session": {"idle_timeout_minutes": 0}}}`, []settings.Violation{
			{Path: session + "idle_timeout_minutes", Limit: json.Number("20"), Message: session + "idle_timeout_minutes must be between 1 and 20"},
		}},
		"more within a time than the platform wants": {"security", `{"protection": {"rate_limiting": {"window_minutes": 19}}}`, []settings.Violation{
			{Path: "security.protection.rate_limiting.window_minutes", Limit: json.Number("20"), Message: "security.protection.rate_limiting.window_minutes must not be below 20"},
		}},
		"what is the platform's": {"security", `{"key_store": {"rotation_interval_days": 30}}`, []settings.Violation{
			{Path: "security.key_store.rotation_interval_days", Limit: json.Number("90"), Message: "security.key_store.rotation_interval_days can only be set for the whole platform"},
		}},
		"several at once": {"security", `{"authentication": {"password_policy": {"min_length": 8, "require_numbers": false}}}`, []settings.Violation{
			{Path: passwords + "min_length", Limit: json.Number("12"), Message: passwords + "min_length must not be below 12"},
			{Path: passwords + "require_numbers", Limit: true, Message: passwords + "require_numbers must stay true"},
		}},
		"null inherits and is no way around": {"security", `{"authentication": {"password_policy": {"require_numbers": null, "min_length": null}}}`, nil},
		"any bound where there is none":      {"security", `{"authentication": {"session": {"absolute_timeout_hours": 8760}}}`, nil},
		"the limits themselves": {"security", `{"authentication": {"session": {"idle_timeout_minutes": 20, "bind_ip": true}, "password_policy": {"min_length": 12}},
			"protection": {"rate_limiting": {"window_minutes": 20}}}`, nil},
		"TLS to the mail server": {"integrations", `{"email": {"tls_reject_unauthorized": false}}`, []settings.Violation{
			{Path: "integrations.email.tls_reject_unauthorized", Limit: true, Message: "integrations.email.tls_reject_unauthorized must stay true"},
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := write(t, s, org.ID, platform, settings.Change{Section: tt.section, Document: []byte(tt.document)})
			refused, _ := errors.AsType[*settings.Refused](err)
			var got []settings.Violation
			if refused != nil {
				got = refused.Violations
			} else if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("violations mismatch (-want +got)\n%s", diff)
			}
			if p, ok := errors.AsType[*problem.Error](err); tt.want != nil && (!ok || p.Code != "constraint_violation") {
				t.Errorf("error = %v, want constraint_violation", err)
			}
		})
	}
}

// encoding/json takes a name in another case for the name. A secret under such a name would be stored as it is, and shown.
func TestNamesAreSpelledAsTheyAre(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	org := testkit.Tenant(t, s, "acme")
	refused := func(section, document, name string) {
		t.Helper()
		for _, patch := range []bool{false, true} {
			_, err := write(t, s, org.ID, settings.Layer{}, settings.Change{Section: section, Document: []byte(document), Patch: patch})
			if r, ok := errors.AsType[*settings.Refused](err); !ok || !cmp.Equal(r.Faults, []string{fmt.Sprintf("%s: unknown field %q", section, name)}) {
				t.Errorf("%s: %v", document, err)
			}
		}
	}
	for _, f := range settings.Fields() {
		names := strings.Split(f.Path, ".")
		if strings.HasPrefix(f.Path, "branding.colors.") {
			continue // The names of colours are looked at one by one.
		}
		for i := 1; i < len(names); i++ {
			other := slices.Clone(names[1:])
			other[i-1] = strings.ToUpper(other[i-1][:1]) + strings.ToLower(other[i-1][1:])
			if other[i-1] == names[i] {
				t.Fatalf("%s is as it was", f.Path)
			}
			document := "null"
			for _, name := range slices.Backward(other) {
				document = fmt.Sprintf("{%q: %s}", name, document)
			}
			refused(f.Section, document, other[i-1])
		}
	}
	refused("branding", `{"colors": {"LIGHT": {"primary": "#111111"}}}`, "LIGHT")
	refused("oidc", `{"resource_servers": [{"identifier": "urn:a"}, {"Identifier": "urn:b"}]}`, "Identifier")
	if _, err := write(t, s, org.ID, settings.Layer{}, settings.Change{Section: "branding", Document: []byte(`{"colors": {"light": {"Primary": "#111111"}}}`)}); err == nil {
		t.Error("a colour is taken in another case")
	}
	if rows := asked(t, s, org.ID); rows != 0 {
		t.Errorf("%d sections are stored", rows)
	}
}

func asked(t *testing.T, s *store.Store, id uuid.UUID) (sections int) {
	t.Helper()
	err := s.AskTenant(t.Context(), id, func(ctx context.Context, tx *store.Tx) error {
		rows, err := tx.SettingsList(ctx, tx.Tenant())
		sections = len(rows)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sections
}

// What the platform has set since, or an earlier release let it set, does not keep a tenant from changing something else.
func TestFaultsOfThePlatformAreItsOwn(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	org := testkit.Tenant(t, s, "acme")
	change := func(platform settings.Layer, section, document string) error {
		_, err := write(t, s, org.ID, platform, settings.Change{Section: section, Document: []byte(document), Patch: true})
		return err
	}
	if err := change(settings.Layer{}, "application", `{"locales": {"default": "en", "available": ["en", "fr"]}}`); err != nil {
		t.Fatal(err)
	}
	if err := change(settings.Layer{}, "application", `{"locales": {"default": null}}`); err != nil {
		t.Fatal(err)
	}
	platform := shared(t, s, "application", `{"locales": {"default": "de", "available": ["de"]}}`)
	if err := change(platform, "application", `{"title": "Acme"}`); err != nil {
		t.Errorf("the title cannot be set: %v", err)
	}
	if err := change(platform, "application", `{"locales": {"default": "de"}}`); err == nil {
		t.Error("a default of its own that is not available is taken")
	}
	if err := change(platform, "application", `{"locales": {"available": ["fr", "it"], "default": "es"}}`); err == nil {
		t.Error("another contradiction is taken")
	}
	if got := effective(t, s, org.ID, platform).Application; got.Title != "Acme" || got.Locales.Default != "en" {
		t.Errorf("the settings are %+v", got)
	}
	// A value that has to wait now, from before it did.
	old := settings.LayerOf(tenant.DefaultID, map[string]map[string]any{"security": {"authentication": map[string]any{
		"multi_factor": map[string]any{"totp": map[string]any{"issuer_name": "Example"}},
	}}})
	if err := change(old, "security", `{"authentication": {"session": {"bind_ip": true}}}`); err != nil {
		t.Errorf("the session cannot be bound: %v", err)
	}
	if err := change(old, "security", `{"authentication": {"multi_factor": {"totp": {"issuer_name": "Acme"}}}}`); err == nil {
		t.Error("what waits is taken")
	}
}

// Of the words of an enum with a floor, a tenant may take those as strong as the platform's and stronger ones.
func TestFloorOfWords(t *testing.T) {
	t.Parallel()
	verification := func(owner uuid.UUID, word string) settings.Layer {
		return settings.LayerOf(owner, map[string]map[string]any{"security": {"authentication": map[string]any{
			"multi_factor": map[string]any{"webauthn": map[string]any{"user_verification": word}},
		}}})
	}
	for _, words := range [][3]string{
		{"required", "preferred", "required"},
		{"preferred", "discouraged", "preferred"},
		{"preferred", "required", "required"},
		{"discouraged", "discouraged", "discouraged"},
		{"discouraged", "preferred", "preferred"},
	} {
		set, clamps, err := settings.Effective(verification(tenant.DefaultID, words[0]), verification(uuid.New(), words[1]))
		if err != nil {
			t.Fatal(err)
		}
		if got := set.Security.Authentication.MultiFactor.WebAuthn.UserVerification; got != words[2] || (len(clamps) > 0) != (words[1] != words[2]) {
			t.Errorf("%s under a platform's %s: %s, clamped %v", words[1], words[0], got, clamps)
		}
	}
}

// A word in the place of a switch, and a negative number, are not taken for anything else.
func TestWrongTypesAreNoWayAroundALimit(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	org := testkit.Tenant(t, s, "acme")
	for section, documents := range map[string][]string{
		"security": {
			`{"authentication": {"password_policy": {"require_numbers": "false"}}}`,
			`{"authentication": {"session": {"idle_timeout_minutes": -1}}}`,
			`{"authentication": {"session": {"idle_timeout_minutes": "0"}}}`,
			`{"authentication": {"roles": {"default": "superadmin"}}}`,
			`{"authentication": {"roles": {"default": "owner"}}}`,
			`{"authentication": {"recovery": {"security_questions": true}}}`,
			`{"authentication": {"multi_factor": {"totp": {"enabled": true}}}}`,
		},
		"integrations": {`{"email": {"smtp_host": "mail.example:25"}}`, `{"email": {"smtp_host": "http://169.254.169.254/"}}`, `{"email": {"from": "nobody"}}`},
	} {
		for _, document := range documents {
			_, err := write(t, s, org.ID, settings.Layer{}, settings.Change{Section: section, Document: []byte(document)})
			if p, ok := errors.AsType[*problem.Error](err); !ok || p.Code != "settings_invalid" {
				t.Errorf("Write(%s) = %v, want settings_invalid", document, err)
			}
		}
	}
}

// What the platform sets reaches every tenant that has not said otherwise, and no tenant's settings reach another.
func TestThePlatformsLayerLiesBetween(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	acme, globex := testkit.Tenant(t, s, "acme"), testkit.Tenant(t, s, "globex")
	platform := shared(t, s, "application", `{"title": "Shared", "description": "of all"}`)
	if _, err := write(t, s, acme.ID, platform, settings.Change{Section: "application", Document: []byte(`{"title": "Acme"}`)}); err != nil {
		t.Fatal(err)
	}
	got := [][]string{}
	for _, id := range []uuid.UUID{acme.ID, globex.ID, tenant.DefaultID} {
		app := effective(t, s, id, platform).Application
		got = append(got, []string{app.Title, app.Description})
	}
	if diff := cmp.Diff([][]string{{"Acme", "of all"}, {"Shared", "of all"}, {"Shared", "of all"}}, got); diff != "" {
		t.Errorf("titles of acme, globex and the built-in tenant mismatch (-want +got)\n%s", diff)
	}
}

func TestPatchLosesNothing(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	org := testkit.Tenant(t, s, "acme")
	for _, step := range []struct {
		patch    bool
		document string
		want     string
	}{
		{false, `{"token_ttl": {"access_token": 300, "id_token": 400}, "scopes": ["roles"]}`, `{"scopes":["roles"],"token_ttl":{"access_token":300,"id_token":400}}`},
		{true, `{"token_ttl": {"id_token": 500}}`, `{"scopes":["roles"],"token_ttl":{"access_token":300,"id_token":500}}`},
		{true, `{"token_ttl": {"access_token": null}}`, `{"scopes":["roles"],"token_ttl":{"id_token":500}}`},
		{true, `{"scopes": ["account"]}`, `{"scopes":["account"],"token_ttl":{"id_token":500}}`},
		{true, `{}`, `{"scopes":["account"],"token_ttl":{"id_token":500}}`},
		{true, `{"token_ttl": null}`, `{"scopes":["account"]}`},
		{false, `{"token_ttl": {"id_token": 600}}`, `{"token_ttl":{"id_token":600}}`},
		{false, `{}`, `{}`},
	} {
		if _, err := write(t, s, org.ID, settings.Layer{}, settings.Change{Section: "oidc", Document: []byte(step.document), Patch: step.patch}); err != nil {
			t.Fatal(err)
		}
		var own settings.Layer
		err := s.AskTenant(t.Context(), org.ID, func(ctx context.Context, tx *store.Tx) (err error) {
			own, err = settings.Read(ctx, tx)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(own.Override("oidc"))
		if err != nil || string(got) != step.want {
			t.Errorf("after %s: %s, %v, want %s", step.document, got, err, step.want)
		}
	}
}

// Of two writers who have seen the same version one wins, also when they are at it at the same time.
func TestOptimisticLocking(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	org := testkit.Tenant(t, s, "acme")
	zero, one := int64(0), int64(1)
	change := func(title string, match *int64) settings.Change {
		return settings.Change{Section: "application", Document: fmt.Appendf(nil, `{"title": %q}`, title), Match: match}
	}
	results := make(chan error)
	for _, title := range []string{"A", "B", "C", "D"} {
		go func() {
			_, err := write(t, s, org.ID, settings.Layer{}, change(title, &zero))
			results <- err
		}()
	}
	won := 0
	for range 4 {
		switch err := <-results; {
		case err == nil:
			won++
		case !errors.Is(err, settings.ErrChanged):
			t.Errorf("a loser gets %v", err)
		}
	}
	if won != 1 {
		t.Errorf("%d writers of version 0 won, want 1", won)
	}
	if _, err := write(t, s, org.ID, settings.Layer{}, change("E", &zero)); !errors.Is(err, settings.ErrChanged) {
		t.Errorf("a writer who has seen version 0 of 1 gets %v", err)
	}
	if w, err := write(t, s, org.ID, settings.Layer{}, change("F", &one)); err != nil || w.Version != 2 {
		t.Errorf("a writer who has seen version 1 gets %+v, %v", w, err)
	}
}

func TestHistory(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	org := testkit.Tenant(t, s, "acme")
	for i, title := range []string{"One", "Two", "Two"} {
		_, err := write(t, s, org.ID, settings.Layer{}, settings.Change{
			Section: "application", Document: fmt.Appendf(nil, `{"title": %q}`, title), By: audit.Operator("ann"), Reason: fmt.Sprint("reason ", i),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	in := func(fn func(context.Context, *store.Tx) error) {
		t.Helper()
		if err := s.InTenant(t.Context(), org.ID, fn); err != nil {
			t.Fatal(err)
		}
	}
	in(func(ctx context.Context, tx *store.Tx) error {
		list, err := settings.History(ctx, tx, "application", 0, 10)
		if err != nil {
			return err
		}
		var got []string
		for _, v := range list {
			got = append(got, fmt.Sprint(v.Version, " ", v.Actor, " ", v.Reason, " ", v.Value["title"]))
		}
		want := []string{"3 operator ann reason 2 Two", "2 operator ann reason 1 Two", "1 operator ann reason 0 One"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("history mismatch (-want +got)\n%s", diff)
		}
		diff := settings.Diff("application", list[2], list[1])
		if diff := cmp.Diff([]settings.Difference{{Path: "application.title", Before: "One", After: "Two"}}, diff); diff != "" {
			t.Errorf("difference mismatch (-want +got)\n%s", diff)
		}
		// The title is Two since version 2: who wrote the same again did not set it.
		by, err := settings.Setter(ctx, tx, "application.title")
		if err != nil || by == nil || by.Version != 2 || by.Reason != "reason 1" {
			t.Errorf("Setter = %+v, %v, want version 2", by, err)
		}
		w, err := settings.Rollback(ctx, tx, settings.Layer{}, 1, settings.Change{Section: "application", By: audit.Operator("bob")})
		if err != nil || w.Version != 4 {
			t.Errorf("Rollback = %+v, %v, want version 4", w, err)
		}
		_, err = settings.Rollback(ctx, tx, settings.Layer{}, 9, settings.Change{Section: "application"})
		if !errors.Is(err, settings.ErrVersion) {
			t.Errorf("Rollback to a version that is not there = %v", err)
		}
		return nil
	})
	if got := load(t, s, org.ID).Application.Title; got != "One" {
		t.Errorf("title = %q after the rollback", got)
	}
	// What the platform has forbidden meanwhile does not come back.
	if _, err := put(t, s, org.ID, "oidc", `{"token_ttl": {"id_token": 3600}}`); err != nil {
		t.Fatal(err)
	}
	if _, err := put(t, s, org.ID, "oidc", `{"token_ttl": {"id_token": 60}}`); err != nil {
		t.Fatal(err)
	}
	platform := shared(t, s, "oidc", `{"token_ttl": {"id_token": 600}}`)
	err := s.InTenant(t.Context(), org.ID, func(ctx context.Context, tx *store.Tx) error {
		_, err := settings.Rollback(ctx, tx, platform, 1, settings.Change{Section: "oidc", By: audit.Operator("bob")})
		return err
	})
	if p, ok := errors.AsType[*problem.Error](err); !ok || p.Code != "constraint_violation" {
		t.Errorf("rollback beyond a limit = %v, want constraint_violation", err)
	}
}

// The history does not grow for ever.
func TestHistoryIsBounded(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	org := testkit.Tenant(t, s, "acme")
	for range 103 {
		if _, err := put(t, s, org.ID, "application", `{"title": "Same"}`); err != nil {
			t.Fatal(err)
		}
	}
	got := db.Ask(t, org.ID, "SELECT count(*)::text || ' from ' || min(version) FROM parako.tenant_settings_history")
	if diff := cmp.Diff([]string{"100 from 4"}, got); diff != "" {
		t.Errorf("history mismatch (-want +got)\n%s", diff)
	}
	err := s.AskTenant(t.Context(), org.ID, func(ctx context.Context, tx *store.Tx) error {
		by, err := settings.Setter(ctx, tx, "application.title")
		if by != nil || err != nil {
			t.Errorf("Setter = %+v, %v, though the version that set the title is gone", by, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestExportThenImport(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	acme, globex := testkit.Tenant(t, s, "acme"), testkit.Tenant(t, s, "globex")
	for section, document := range map[string]string{"application": `{"title": "Acme"}`, "oidc": `{"token_ttl": {"id_token": 60}}`} {
		if _, err := put(t, s, acme.ID, section, document); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := put(t, s, globex.ID, "branding", `{"companyName": "Globex"}`); err != nil {
		t.Fatal(err)
	}
	var exported settings.Document
	err := s.AskTenant(t.Context(), acme.ID, func(ctx context.Context, tx *store.Tx) error {
		own, err := settings.Read(ctx, tx)
		exported = own.Export()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	bring := func(d settings.Document) error {
		return s.InTenant(t.Context(), globex.ID, func(ctx context.Context, tx *store.Tx) error {
			_, err := settings.Import(ctx, tx, settings.Layer{}, d, audit.Operator("test"), "move", nil)
			return err
		})
	}
	if err := bring(exported); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(load(t, s, acme.ID), load(t, s, globex.ID)); diff != "" {
		t.Errorf("settings after the import mismatch (-acme +globex)\n%s", diff)
	}
	bad := settings.Document{Format: exported.Format, Sections: map[string]map[string]any{"application": {"title": "Half"}, "oidc": {"token_ttl": map[string]any{"id_token": 0}}}}
	if err := bring(bad); err == nil || load(t, s, globex.ID).Application.Title != "Acme" {
		t.Errorf("an import with a fault = %v, and something of it is there", err)
	}
	if err := bring(settings.Document{}); err == nil {
		t.Error("a document of no format is imported")
	}
	// Whoever comes without a sealer is told so before anything is written, and comes again in the same transaction.
	withSecret := settings.Document{Format: exported.Format, Sections: map[string]map[string]any{
		"application": {"title": "Again"}, "integrations": {"email": map[string]any{"smtp_host": "smtp.acme.example", "smtp_password": "hunter2"}},
	}}
	err = s.InTenant(t.Context(), globex.ID, func(ctx context.Context, tx *store.Tx) error {
		before, err := settings.Read(ctx, tx)
		if err != nil {
			return err
		}
		if _, err := settings.Import(ctx, tx, settings.Layer{}, withSecret, audit.Operator("test"), "move", nil); !errors.Is(err, settings.ErrNoSealer) {
			t.Errorf("without a sealer Import = %v", err)
		}
		after, err := settings.Read(ctx, tx)
		if got, want := after.Version("application"), before.Version("application"); got != want {
			t.Errorf("the first section has version %d, want %d", got, want)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
