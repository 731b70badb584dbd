package server_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"parako/internal/audit"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/tenant"
	"parako/internal/testkit"
	"parako/internal/testkit/app"
)

// TestNewSessionIsTold signs people of two tenants in. Each tenant's mail goes through its own server: its password is of use there
// only, and whoever runs it gets nothing of the other. The third tenant wants no such mail; the
// fourth wants none either, but for the sake of its security.
func TestNewSessionIsTold(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	quiet := a.AddTenant(t, "quiet")
	a.Configure(t, quiet, "notifications", `{"defaults": {"new_session_alerts": false}}`)
	careful := a.AddTenant(t, "careful")
	a.Configure(t, careful, "notifications", `{"defaults": {"new_session_alerts": false}}`)
	a.Configure(t, careful, "security", `{"authentication": {"session": {"notify_new_session": true}}}`)
	// The certificates of the test are nobody's.
	a.Configure(t, app.Tenant{Tenant: tenant.Tenant{ID: tenant.DefaultID}}, "integrations", `{"email": {"tls_reject_unauthorized": false}}`)
	platform, err := settings.Platform(t.Context(), a.Store)
	if err != nil {
		t.Fatal(err)
	}
	boxes := map[string]*testkit.Mailbox{}
	for _, org := range []app.Tenant{a.Acme, a.Globex, quiet, careful} {
		box := testkit.NewMailbox(t, org.Slug, "password of "+org.Slug)
		boxes[org.Slug] = box
		err := a.Store.InTenant(t.Context(), org.ID, func(ctx context.Context, tx *store.Tx) error {
			sealer, err := a.Vault.Sealer(ctx, tx)
			if err != nil {
				return err
			}
			document := fmt.Sprintf(`{"email": {"smtp_host": "localhost", "smtp_port": %d, "smtp_username": %q, "smtp_password": "password of %s",
				"from": "%s <login@%s.example>", "tls_reject_unauthorized": false}}`, box.Port, org.Slug, org.Slug, org.DisplayName, org.Slug)
			_, err = settings.Write(ctx, tx, platform, settings.Change{Section: "integrations", Document: []byte(document), By: audit.Operator("test"), Sealer: sealer})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, org := range []app.Tenant{a.Acme, a.Globex, careful} {
		p := newParty(t, a, org, webClient(t, a, org))
		p.code(t)
		got := boxes[org.Slug].Next(t)
		if got.To != org.Email || got.User != org.Slug || got.From != "login@"+org.Slug+".example" || !strings.Contains(got.Text, "New sign-in to your") {
			t.Errorf("%s: %+v", org.Slug, got)
		}
		for _, other := range []string{"acme", "globex", "quiet", "careful", app.Password, "password of", org.User.ID.String()} {
			if other != org.Slug && strings.Contains(strings.ToLower(got.Text), strings.ToLower(other)) {
				t.Errorf("%s: the mail says %q\n%s", org.Slug, other, got.Text)
			}
		}
		p.code(t, "prompt", "login") // The same browser again is no news.
	}
	newParty(t, a, quiet, webClient(t, a, quiet)).code(t)
	for slug, box := range boxes {
		if !box.Empty() {
			t.Errorf("%s sends more", slug)
		}
	}
	if left := a.DB.Ask(t, quiet.ID, "SELECT kind FROM parako.mails"); len(left) > 0 {
		t.Errorf("mails wait that nobody wants: %q", left)
	}
}
