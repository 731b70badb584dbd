package server_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"

	"parako/internal/oidc"
	"parako/internal/secret"
	"parako/internal/testkit/app"
	"parako/internal/transfer"
)

const movePassphrase = "six words that nobody would guess"

// exported writes a tenant into a file, at little cost.
func exported(t *testing.T, a *app.App, slug string) []byte {
	t.Helper()
	base, err := a.Config.BaseURL()
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	_, err = transfer.Export(t.Context(), a.Store, a.Vault, slug, &file, transfer.ExportOptions{
		Passphrase: secret.NewString(movePassphrase), Base: base, Mount: oidc.Mount, Operator: "test", WorkFactor: 8,
	})
	if err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// imported makes a tenant of a file, and is who was there before, at the new place.
func imported(t *testing.T, a *app.App, file []byte, slug string, keepKeys bool, was app.Tenant) app.Tenant {
	t.Helper()
	base, err := a.Config.BaseURL()
	if err != nil {
		t.Fatal(err)
	}
	done, err := transfer.Import(t.Context(), a.Store, a.Vault, bytes.NewReader(file), transfer.ImportOptions{
		Passphrase: secret.NewString(movePassphrase), Slug: slug, KeepKeys: keepKeys, Base: base, Mount: oidc.Mount, Operator: "test",
	})
	if err != nil {
		t.Fatal(err)
	}
	was.Tenant, was.Issuer = done.Tenant, done.Issuer
	return was
}

// at is what was issued, tried at another place by the same people and clients.
func (e estate) at(t *testing.T, a *app.App, there app.Tenant) estate {
	t.Helper()
	here := e.web.tenant.Issuer
	to := func(p party) party { return newParty(t, a, there, p.client) }
	e.web, e.service, e.device, e.joined = to(e.web), to(e.service), to(e.device), to(e.joined)
	e.form, e.pushed = strings.Replace(e.form, here, there.Issuer, 1), strings.Replace(e.pushed, here, there.Issuer, 1)
	body := map[string]any{}
	for name, value := range e.registration.body {
		if text, ok := value.(string); ok {
			value = strings.Replace(text, here, there.Issuer, 1)
		}
		body[name] = value
	}
	e.registration.body, e.expired = body, "invalid_grant" // Nobody there has heard of the device.
	return e
}

// kids are the keys that a tenant publishes.
func kids(t *testing.T, a *app.App, issuer string) []string {
	t.Helper()
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(app.Get(t, a.Client(t), issuer+"/jwks").Text), &set); err != nil {
		t.Fatal(err)
	}
	list := []string{}
	for _, key := range set.Keys {
		list = append(list, key.KeyID)
	}
	slices.Sort(list)
	return list
}

// TestMovedTenant moves a tenant into another deployment, and beside the original under another slug. The same people sign in with their
// old passwords and are the same subjects, also pairwise ones; clients authenticate with their old secrets, and administer themselves with
// their old tokens. What was issued before is dead there, and alive at the original.
func TestMovedTenant(t *testing.T) {
	t.Parallel()
	here, there := registrar(t), app.New(t)
	issued := issueEverything(t, here, here.Acme)
	signing := issued.web.with(t, func(n *oidc.NewClient) {
		n.Preset, n.RedirectURIs, n.Scope, n.TokenEndpointAuthMethod = oidc.PresetM2M, nil, "jobs:run", "client_secret_jwt"
	})
	private := issued.web.with(t, func(n *oidc.NewClient) { n.SubjectType, n.Internal = oidc.SubjectPairwise, true })
	subject := func(p party) string {
		t.Helper()
		sub, _ := claimsOf(t, p.tokens(t).text("id_token"))["sub"].(string)
		return sub
	}
	sub, plain := subject(private), subject(issued.web)
	file := exported(t, here, here.Acme.Slug)
	for name, tt := range map[string]struct {
		app  *app.App
		slug string
		keep bool
	}{"elsewhere": {there, "moved", true}, "beside": {here, "copy", false}} {
		at := imported(t, tt.app, file, tt.slug, tt.keep, here.Acme)
		noticed(t, tt.app, at, true)
		moved := issued.at(t, tt.app, at)
		moved.dead(t)
		moved.startsAnew(t)
		if got := subject(newParty(t, tt.app, at, private.client)); got != sub {
			t.Errorf("%s: the pairwise subject is %s, it was %s", name, got, sub)
		}
		if got := subject(newParty(t, tt.app, at, issued.web.client)); got != plain {
			t.Errorf("%s: the subject is %s, it was %s", name, got, plain)
		}
		assertion := signWith(t, jose.HS256, []byte(signing.client.Secret), "", map[string]any{
			"iss": signing.client.ID, "sub": signing.client.ID, "aud": at.Issuer, "jti": uuid.NewString(), "exp": time.Now().Add(time.Minute).Unix(),
		})
		got := newParty(t, tt.app, at, signing.client).token(t, nil, "client_assertion", assertion, "client_assertion_type", assertionType)
		expect(t, got, http.StatusOK, "")
		before, after := kids(t, here, here.Acme.Issuer), kids(t, tt.app, at.Issuer)
		shared := slices.ContainsFunc(after, func(kid string) bool { return slices.Contains(before, kid) })
		if tt.keep && !slices.Equal(before, after) || !tt.keep && shared || len(after) < 3 {
			t.Errorf("%s: keys %q, they were %q", name, after, before)
		}
		// Neither takes the tokens of the other.
		token := moved.web.tokens(t).text("access_token")
		if got := issued.web.userinfo(t, token); got.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: a token of the new tenant at the original: %d %s", name, got.StatusCode, got.Text)
		}
	}
	for name, active := range issued.introspected(t) {
		if !active {
			t.Errorf("the %s of the original is not active any more", name)
		}
	}
}
