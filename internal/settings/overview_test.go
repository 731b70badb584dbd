package settings_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"parako/internal/settings"
	"parako/internal/tenant"
	"parako/internal/testkit"
)

func TestOverviewSaysWhatATenantInherits(t *testing.T) {
	t.Parallel()
	number := func(n string) json.Number { return json.Number(n) }
	platform := settings.LayerOf(tenant.DefaultID, map[string]map[string]any{
		"oidc": {"token_ttl": map[string]any{"access_token": number("1800")}},
	})
	own := settings.LayerOf(uuid.New(), map[string]map[string]any{
		"oidc": {"token_ttl": map[string]any{"access_token": number("7200"), "id_token": number("60")}, "scopes": []any{}},
	})
	list, err := settings.Overview(platform, own, "oidc")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]any{}
	for _, e := range list {
		if e.Field.Path != e.Key {
			t.Errorf("the declaration of %s stands at %s", e.Field.Path, e.Key)
		}
		if e.Adjusted != "" {
			t.Errorf("%s is adjusted: %s", e.Key, e.Adjusted)
		}
		got[e.Key] = []any{e.Inherited, e.Source, e.Tenant, e.Clamped}
	}
	for path, want := range map[string][]any{
		"oidc.token_ttl.access_token":  {number("1800"), settings.FromPlatform, number("7200"), true},
		"oidc.token_ttl.id_token":      {number("3600"), settings.FromDefault, number("60"), false},
		"oidc.token_ttl.refresh_token": {number("86400"), settings.FromDefault, nil, false},
		"oidc.scopes":                  {[]any{}, settings.FromDefault, []any{}, false},
	} {
		if diff := cmp.Diff(want, got[path]); diff != "" {
			t.Errorf("%s mismatch (-want +got)\n%s", path, diff)
		}
	}
	if n := own.Set("oidc"); n != 3 {
		t.Errorf("Set = %d, want 3", n)
	}
	if _, err := settings.Overview(platform, own, "nothing"); !errors.Is(err, settings.ErrSection) {
		t.Errorf("a section that is not there: %v", err)
	}
}

// TestEverythingThatIsWrongIsSaidAtOnce has one value that is not valid and one that the platform does not allow.
func TestEverythingThatIsWrongIsSaidAtOnce(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	_, err := write(t, s, testkit.Tenant(t, s, "acme").ID, settings.Layer{}, settings.Change{
		Section: "oidc", Document: json.RawMessage(`{"token_ttl":{"access_token":7200,"id_token":0}}`),
	})
	refused, ok := errors.AsType[*settings.Refused](err)
	if !ok {
		t.Fatal(err)
	}
	want := []string{"oidc.token_ttl.id_token must be between 1 and 86400", "oidc.token_ttl.access_token must not be above 3600"}
	if diff := cmp.Diff(want, refused.Faults); diff != "" {
		t.Errorf("faults mismatch (-want +got)\n%s", diff)
	}
}
