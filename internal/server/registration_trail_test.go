package server_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/oidc"
	"parako/internal/settings"
	"parako/internal/store"
)

// TestSectorIdentifiers registers and changes clients whose subjects others share.
func TestSectorIdentifiers(t *testing.T) {
	t.Parallel()
	a := registrar(t)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	token := p.initialToken(t).Token
	var asked atomic.Int32
	var gone atomic.Bool
	site := serve(t, map[string]func() string{
		"/uris": func() string {
			asked.Add(1)
			if gone.Load() {
				return "gone"
			}
			return `["https://one.example/cb","https://two.example/cb"]`
		},
		"/object": func() string { return `{"redirect_uris":["https://one.example/cb"]}` }, "/numbers": func() string { return "[1]" },
		"/huge": func() string { return `["` + strings.Repeat("x", 2<<20) + `"]` },
	})
	pairwise := func(path string, redirects ...string) []any {
		return []any{"subject_type", "pairwise", "sector_identifier_uri", site + path, "redirect_uris", redirects}
	}
	own, got := p.joined(t, token, pairwise("/uris", "https://one.example/cb", "https://two.example/cb")...)
	for _, path := range []string{"/object", "/numbers", "/missing", "/huge"} {
		expect(t, p.introduce(t, token, pairwise(path, "https://one.example/cb")...), http.StatusBadRequest, "invalid_client_metadata")
	}
	expect(t, p.introduce(t, token, pairwise("/uris", "https://one.example/cb", "https://evil.example/cb")...), http.StatusBadRequest, "invalid_client_metadata")
	for _, address := range []string{"https://10.0.0.1/uris", "https://169.254.169.254/uris", "http://app.example/uris"} {
		expect(t, p.introduce(t, token, "sector_identifier_uri", address), http.StatusBadRequest, "invalid_client_metadata")
	}
	// Nobody makes the server call anything without a good token.
	before := asked.Load()
	dead(t, "a bad token", p.introduce(t, "garbage", pairwise("/uris", "https://one.example/cb")...))
	used := p.initialToken(t, func(n *oidc.NewRegistrationToken) { n.Uses = 1 }).Token
	p.joined(t, used)
	dead(t, "a token that is used up", p.introduce(t, used, pairwise("/uris", "https://one.example/cb")...))
	if asked.Load() != before {
		t.Errorf("%d calls for bad tokens", asked.Load()-before)
	}

	change := func(pairs ...any) reply {
		t.Helper()
		answer := own.manage(t, http.MethodPut, got, got.text("registration_access_token"), metadata(append(pairs, "client_id", own.client.ID)...))
		if answer.StatusCode == http.StatusOK {
			got.body["registration_access_token"] = answer.body["registration_access_token"]
		}
		return answer
	}
	expect(t, change(pairwise("/uris", "https://evil.example/cb")...), http.StatusBadRequest, "invalid_client_metadata")
	expect(t, change(pairwise("/uris", "https://two.example/cb")...), http.StatusOK, "")
	gone.Store(true)
	expect(t, change(append(pairwise("/uris", "https://two.example/cb"), "client_name", "Renamed")...), http.StatusOK, "") // It was checked before.
	expect(t, change(pairwise("/uris", "https://one.example/cb")...), http.StatusBadRequest, "invalid_client_metadata")

	// Administrators cannot leave the look out either.
	p.inTenant(t, func(ctx context.Context, tx *store.Tx) error {
		n := oidc.NewClient{Preset: oidc.PresetWeb, ClientMetadata: oidc.ClientMetadata{Name: "Own", RedirectURIs: []string{"https://one.example/cb"}}}
		n.SectorIdentifierURI = site + "/uris"
		if _, err := oidc.RegisterClient(ctx, tx, a.Vault, settings.Layer{}, n); err == nil {
			t.Error("a client was registered without a look at its sector_identifier_uri")
		}
		return nil
	})
}

// TestRegistrationIsRecorded looks for who did what, and for secrets.
func TestRegistrationIsRecorded(t *testing.T) {
	t.Parallel()
	a := registrar(t)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	token := p.initialToken(t)
	own, got := p.joined(t, token.Token)
	changed := own.manage(t, http.MethodPut, got, got.text("registration_access_token"), metadata("client_id", own.client.ID, "token_endpoint_auth_method", "none"))
	expect(t, changed, http.StatusOK, "")
	own.manage(t, http.MethodDelete, got, changed.text("registration_access_token"), nil)
	p.inTenant(t, func(ctx context.Context, tx *store.Tx) error {
		return oidc.RevokeRegistrationToken(ctx, tx, token.ID, audit.Operator("test"))
	})
	trail := events(t, a, a.Acme)
	for _, want := range []struct{ kind, actorType, actorID, text string }{
		{"registration_token.created", "operator", "test", token.ID.String()},
		{"client.created", "client", own.client.ID, token.ID.String()},
		{"client.changed", "client", own.client.ID, ""},
		{"client.deleted", "client", own.client.ID, ""},
		{"registration_token.revoked", "operator", "test", token.ID.String()},
	} {
		i := slices.IndexFunc(trail, func(e event) bool {
			return e.Type == want.kind && e.ActorType == want.actorType && e.ActorID == want.actorID && strings.Contains(e.Text, want.text)
		})
		if i < 0 {
			t.Errorf("no event %+v", want)
			continue
		}
		if e := trail[i]; e.ActorType == "client" && (e.RequestID == "" || e.IP != "127.0.0.1") {
			t.Errorf("%s does not say where it came from: %s", e.Type, e.Text)
		}
	}
	for name, secret := range map[string]string{
		"the initial access token": token.Token, "the registration access token": got.text("registration_access_token"),
		"the next one": changed.text("registration_access_token"), "the secret": own.client.Secret,
	} {
		for _, e := range trail {
			if strings.Contains(e.Text, secret) {
				t.Errorf("%s holds %s", e.Type, name)
			}
		}
		if strings.Contains(a.Logs.String(), secret) {
			t.Errorf("the log holds %s", name)
		}
	}
	rows := strings.Join(a.DB.Ask(t, a.Acme.ID, "SELECT t::text FROM parako.registration_tokens AS t"), "\n")
	if _, signature, _ := strings.Cut(token.Token, "."); strings.Contains(rows, signature) || rows == "" {
		t.Errorf("the database holds the token: %s", rows)
	}
}

// TestRegistrationTokens checks what operators do with initial access tokens.
func TestRegistrationTokens(t *testing.T) {
	t.Parallel()
	a := registrar(t)
	p, other := newParty(t, a, a.Acme, a.Acme.Web), newParty(t, a, a.Globex, a.Globex.Web)
	for name, n := range map[string]oidc.NewRegistrationToken{
		"no use": {TTL: time.Hour}, "too many uses": {Uses: 1001}, "too short": {Uses: 1, TTL: time.Minute}, "too long": {Uses: 1, TTL: 31 * 24 * time.Hour},
		"in the past": {Uses: 1, TTL: -time.Hour}, "a novel": {Uses: 1, Note: strings.Repeat("x", 501)}, "two lines": {Uses: 1, Note: "a\nb"},
		"an unknown grant": {Uses: 1, Policy: oidc.RegistrationPolicy{GrantTypes: []string{"password"}}},
		"two scopes":       {Uses: 1, Policy: oidc.RegistrationPolicy{Scopes: []string{"a b"}}},
		"no scope":         {Uses: 1, Policy: oidc.RegistrationPolicy{Scopes: []string{""}}},
		"an address":       {Uses: 1, Policy: oidc.RegistrationPolicy{RedirectHosts: []string{"https://app.example"}}},
		"a path":           {Uses: 1, Policy: oidc.RegistrationPolicy{RedirectHosts: []string{"app.example/cb"}}},
		"a person":         {Uses: 1, Policy: oidc.RegistrationPolicy{RedirectHosts: []string{"x@app.example"}}},
		"a wildcard":       {Uses: 1, Policy: oidc.RegistrationPolicy{RedirectHosts: []string{"*.example"}}},
		"no host":          {Uses: 1, Policy: oidc.RegistrationPolicy{RedirectHosts: []string{""}}},
		"many hosts":       {Uses: 1, Policy: oidc.RegistrationPolicy{RedirectHosts: slices.Repeat([]string{"app.example"}, 51)}},
	} {
		p.inTenant(t, func(ctx context.Context, tx *store.Tx) error {
			if token, err := oidc.CreateRegistrationToken(ctx, tx, a.Vault, n); err == nil {
				t.Errorf("%s: %+v", name, token)
			}
			return nil
		})
	}
	var made []oidc.RegistrationToken
	for range 3 {
		made = append(made, p.initialToken(t))
	}
	foreign := other.initialToken(t)
	p.joined(t, made[1].Token)
	p.inTenant(t, func(ctx context.Context, tx *store.Tx) error {
		var listed []uuid.UUID
		for after := uuid.Nil; ; after = listed[len(listed)-1] {
			page, err := oidc.ListRegistrationTokens(ctx, tx, after, 2)
			if err != nil {
				return err
			}
			for _, token := range page {
				if token.Token != "" || token.State(time.Now()) != "active" || (token.Uses == 1) != (token.ID == made[1].ID) {
					t.Errorf("listed: %+v", token)
				}
				listed = append(listed, token.ID)
			}
			if len(page) < 2 {
				break
			}
		}
		if want := []uuid.UUID{made[0].ID, made[1].ID, made[2].ID}; !slices.Equal(listed, want) {
			t.Errorf("listed %v, want %v", listed, want)
		}
		for name, id := range map[string]uuid.UUID{"unknown": uuid.New(), "another tenant's": foreign.ID} {
			if err := oidc.RevokeRegistrationToken(ctx, tx, id, audit.Operator("test")); err == nil {
				t.Errorf("an id that is %s was revoked", name)
			}
		}
		return nil
	})
	now := time.Now()
	past := now.Add(-time.Second)
	for want, token := range map[string]oidc.RegistrationToken{
		"active": {MaxUses: 1}, "used": {MaxUses: 1, Uses: 1}, "expired": {MaxUses: 1, ExpiresAt: &past}, "revoked": {MaxUses: 1, Uses: 1, ExpiresAt: &past, RevokedAt: &past},
	} {
		if got := token.State(now); got != want {
			t.Errorf("State = %s, want %s", got, want)
		}
	}
}
