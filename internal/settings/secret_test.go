package settings_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/secret"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/tenant"
	"parako/internal/testkit"
)

func TestSecrets(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	acme, globex := testkit.Tenant(t, s, "acme"), testkit.Tenant(t, s, "globex")
	vault := testkit.Vault(t)
	sealer := func(id uuid.UUID) (of *secret.Sealer) {
		t.Helper()
		err := s.InTenant(t.Context(), id, func(ctx context.Context, tx *store.Tx) (err error) {
			of, err = vault.Sealer(ctx, tx)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return of
	}
	const plain = "hunter2, and more"
	document := `{"email": {"smtp_host": "mail.acme.example", "smtp_password": "` + plain + `"}}`
	if _, err := write(t, s, acme.ID, settings.Layer{}, settings.Change{Section: "integrations", Document: []byte(document)}); !errors.Is(err, settings.ErrNoSealer) {
		t.Fatalf("a secret without a key = %v", err)
	}
	mine := sealer(acme.ID)
	change := func(document string, patch bool) {
		t.Helper()
		if _, err := write(t, s, acme.ID, settings.Layer{}, settings.Change{Section: "integrations", Document: []byte(document), Patch: patch, Sealer: mine}); err != nil {
			t.Fatal(err)
		}
	}
	holds := func(want string) {
		t.Helper()
		password := load(t, s, acme.ID).Integrations.Email.SMTPPassword
		got, err := password.Open(mine)
		if err != nil || got.Reveal() != want || password.Set() != (want != "") {
			t.Errorf("the secret is %q, %v, want %q", got.Reveal(), err, want)
		}
	}
	change(document, false)
	holds(plain)
	set := load(t, s, acme.ID)
	if shown, err := json.Marshal(set); err != nil || strings.Contains(string(shown), plain) || !strings.Contains(string(shown), settings.Masked) {
		t.Errorf("the settings show %s, %v", shown, err)
	}
	if _, err := set.Integrations.Email.SMTPPassword.Open(sealer(globex.ID)); err == nil {
		t.Error("another tenant's key opens the secret")
	}
	for _, table := range []string{"tenant_settings", "tenant_settings_history"} {
		if got := db.Ask(t, acme.ID, "SELECT count(*)::text FROM parako."+table+" WHERE value::text LIKE '%hunter2%'"); got[0] != "0" {
			t.Errorf("%s holds the secret in clear", table)
		}
	}
	change(`{"email": {"smtp_host": "mail.acme.example", "from": "x@acme.example", "smtp_password": "**masked**"}}`, false)
	holds(plain)
	for _, elsewhere := range []string{
		`{"email": {"smtp_host": "mail2.acme.example", "smtp_password": "**masked**"}}`, `{"email": {"smtp_host": "mail2.acme.example"}}`,
		`{"email": {"smtp_host": ""}}`, `{"email": {"smtp_host": null}}`,
	} {
		_, err := write(t, s, acme.ID, settings.Layer{}, settings.Change{Section: "integrations", Document: []byte(elsewhere), Patch: true, Sealer: sealer(acme.ID)})
		if refused, ok := errors.AsType[*settings.Refused](err); !ok ||
			!cmp.Equal(refused.Faults, []string{"integrations.email.smtp_password must be given again or removed, because integrations.email.smtp_host changes"}) {
			t.Errorf("%s takes the password along: %v", elsewhere, err)
		}
	}
	change(`{"email": {"smtp_host": "mail2.acme.example", "smtp_password": "hunter22"}}`, true)
	holds("hunter22")
	change(`{"email": {"smtp_host": "mail.acme.example", "smtp_password": "`+plain+`"}}`, true)
	holds(plain)
	change(`{"email": {"smtp_port": 465}}`, true)
	holds(plain)
	change(`{"email": {"smtp_password": "other"}}`, true)
	holds("other")
	change(`{"email": {"smtp_password": null}}`, true)
	holds("")
	change(`{"email": {"smtp_password": "**masked**"}}`, false)
	holds("")
	err := s.InTenant(t.Context(), acme.ID, func(ctx context.Context, tx *store.Tx) error {
		list, err := settings.History(ctx, tx, "integrations", 0, 10)
		if err != nil {
			return err
		}
		if text := fmt.Sprint(list); strings.Contains(text, "hunter2") || strings.Contains(text, "other") {
			t.Error("the history shows the secret")
		}
		_, err = settings.Rollback(ctx, tx, settings.Layer{}, 1, settings.Change{Section: "integrations", By: audit.Operator("test")})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	holds(plain)
}

// The platform's secret reaches a tenant that has none of its own, and names whose key opens it.
func TestSecretsOfThePlatform(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	org, vault := testkit.Tenant(t, s, "acme"), testkit.Vault(t)
	var sealer *secret.Sealer
	err := s.InTenant(t.Context(), tenant.DefaultID, func(ctx context.Context, tx *store.Tx) (err error) {
		if sealer, err = vault.Sealer(ctx, tx); err != nil {
			return err
		}
		_, err = settings.Write(ctx, tx, settings.Layer{}, settings.Change{
			Section: "integrations", Document: []byte(`{"email": {"smtp_password": "of all"}}`), By: audit.Operator("test"), Sealer: sealer,
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	platform, err := settings.Platform(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	password := effective(t, s, org.ID, platform).Integrations.Email.SMTPPassword
	if got, err := password.Open(sealer); err != nil || got.Reveal() != "of all" || password.Owner() != tenant.DefaultID {
		t.Errorf("the secret is %q of %s, %v", got.Reveal(), password.Owner(), err)
	}
}

// TestPasswordOfThePlatformStaysWithItsServer lets a tenant name a mail server of its own: the account of the platform's is not for it.
// What is no part of the account is inherited as ever.
func TestPasswordOfThePlatformStaysWithItsServer(t *testing.T) {
	t.Parallel()
	email := func(members string) map[string]map[string]any {
		t.Helper()
		var section map[string]any
		if err := json.Unmarshal([]byte(`{"email":`+members+`}`), &section); err != nil {
			t.Fatal(err)
		}
		return map[string]map[string]any{"integrations": section}
	}
	ofAll := base64.StdEncoding.EncodeToString([]byte("sealed by the platform"))
	own := base64.StdEncoding.EncodeToString([]byte("sealed by the tenant"))
	platform := settings.LayerOf(tenant.DefaultID, email(`{"smtp_host":"mail.platform.example","smtp_username":"platform","smtp_password":"`+ofAll+`","from":"login@platform.example"}`))
	org := uuid.New()
	for name, tt := range map[string]struct {
		sets, host, username string
		password             uuid.UUID // whose it is
	}{
		"nothing":                        {`{}`, "mail.platform.example", "platform", tenant.DefaultID},
		"the sender only":                {`{"from":"login@acme.example"}`, "mail.platform.example", "platform", tenant.DefaultID},
		"a server":                       {`{"smtp_host":"mail.acme.example"}`, "mail.acme.example", "", uuid.Nil},
		"the same server":                {`{"smtp_host":"mail.platform.example"}`, "mail.platform.example", "", uuid.Nil},
		"no server":                      {`{"smtp_host":""}`, "", "", uuid.Nil},
		"a server and an account":        {`{"smtp_host":"mail.acme.example","smtp_username":"acme","smtp_password":"` + own + `"}`, "mail.acme.example", "acme", org},
		"a server and half an account":   {`{"smtp_host":"mail.acme.example","smtp_username":"acme"}`, "mail.acme.example", "acme", uuid.Nil},
		"a password for the same server": {`{"smtp_password":"` + own + `"}`, "mail.platform.example", "platform", org},
	} {
		layer := settings.LayerOf(org, email(tt.sets))
		set, _, err := settings.Effective(platform, layer)
		if err != nil {
			t.Fatal(err)
		}
		got := set.Integrations.Email
		if got.SMTPHost != tt.host || got.SMTPUsername != tt.username || got.SMTPPassword.Owner() != tt.password || got.SMTPPassword.Set() != (tt.password != uuid.Nil) {
			t.Errorf("%s: %s %q, password of %s", name, got.SMTPHost, got.SMTPUsername, got.SMTPPassword.Owner())
		}
		e, err := settings.Explain(platform, layer, "integrations.email.smtp_password")
		if err != nil {
			t.Fatal(err)
		}
		if withheld := tt.password == uuid.Nil; (e.Adjusted != "") != withheld || withheld != (e.Layer == settings.FromDefault) {
			t.Errorf("%s is explained as of layer %s, adjusted: %q", name, e.Layer, e.Adjusted)
		}
	}
}
