package server_test

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"parako/internal/audit"
	"parako/internal/oidc"
	"parako/internal/store"
	"parako/internal/testkit/app"
)

// TestRegistrationManagement follows a client through its life.
func TestRegistrationManagement(t *testing.T) {
	t.Parallel()
	a := registrar(t)
	own, got := newParty(t, a, a.Acme, a.Acme.Web).joined(t, newParty(t, a, a.Acme, a.Acme.Web).initialToken(t).Token)
	first := got.text("registration_access_token")

	read := own.manage(t, http.MethodGet, got, first, nil)
	expect(t, read, http.StatusOK, "")
	if read.text("client_id") != own.client.ID || read.text("registration_access_token") != first || read.body["client_secret"] != nil || read.body["client_secret_expires_at"] != 0.0 {
		t.Errorf("read: %s", read.Text)
	}

	update := metadata("client_id", own.client.ID, "client_secret", own.client.Secret, "client_name", "Renamed", "scope", "openid", "redirect_uris", []string{app.Callback + "?x=1"})
	changed := own.manage(t, http.MethodPut, got, first, update)
	expect(t, changed, http.StatusOK, "")
	second := changed.text("registration_access_token")
	if changed.text("client_name") != "Renamed" || changed.text("scope") != "openid" || second == first || !strings.HasPrefix(second, "parako_rat_") || changed.body["client_secret"] != nil {
		t.Errorf("changed: %s", changed.Text)
	}
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		dead(t, method+" with the old token", own.manage(t, method, got, first, update))
	}
	expect(t, own.redeem(t, own.code(t, "redirect_uri", app.Callback+"?x=1"), "redirect_uri", app.Callback+"?x=1"), http.StatusOK, "")
	if resp := own.authorize(t); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a redirect URI that was replaced: %d", resp.StatusCode)
	}

	// What is left out goes back to its default (RFC 7592 section 2.2).
	public := own.manage(t, http.MethodPut, got, second, metadata("client_id", own.client.ID, "token_endpoint_auth_method", "none"))
	expect(t, public, http.StatusOK, "")
	if public.text("client_name") != "Dynamic" || public.text("scope") != "openid profile email address phone" || public.body["client_secret_expires_at"] != nil {
		t.Errorf("replaced: %s", public.Text)
	}
	third := public.text("registration_access_token")
	confidential := own.manage(t, http.MethodPut, got, third, metadata("client_id", own.client.ID))
	expect(t, confidential, http.StatusOK, "")
	if secret := confidential.text("client_secret"); secret == "" || secret == own.client.Secret {
		t.Errorf("a client that needs a secret again: %s", confidential.Text)
	}
	own.client.Secret = confidential.text("client_secret")
	last := confidential.text("registration_access_token")
	tokens := own.tokens(t)

	gone := own.manage(t, http.MethodDelete, got, last, nil)
	if gone.StatusCode != http.StatusNoContent || gone.Text != "" {
		t.Errorf("delete: %d %q", gone.StatusCode, gone.Text)
	}
	if own.alive(t, tokens.text("access_token")) || own.authorize(t).StatusCode != http.StatusBadRequest {
		t.Error("the client lives on")
	}
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		dead(t, method+" after the end", own.manage(t, method, got, last, update))
	}
}

// TestRegistrationManagementRefusals tries what a client may not do with its registration.
func TestRegistrationManagementRefusals(t *testing.T) {
	t.Parallel()
	a := registrar(t)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	token := p.initialToken(t).Token
	own, got := p.joined(t, token)
	_, other := p.joined(t, token)
	_, foreign := newParty(t, a, a.Globex, a.Globex.Web).joined(t, newParty(t, a, a.Globex, a.Globex.Web).initialToken(t).Token)
	mine := got.text("registration_access_token")
	before := rowsOf(t, a, a.Acme)

	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		body := metadata("client_id", own.client.ID)
		for what, token := range map[string]string{
			"garbage": "garbage", "another client's token": other.text("registration_access_token"), "another tenant's token": foreign.text("registration_access_token"),
			"an initial access token": token, "its secret": own.client.Secret,
		} {
			dead(t, method+" with "+what, own.manage(t, method, got, token, body))
		}
		for what, id := range map[string]string{
			"unknown": "never-was", "without a registration token": a.Acme.Web.ID, "of another tenant": foreign.text("client_id"),
			"impossible": "%00", "too long": strings.Repeat("x", 300), "a path": "..%2f..%2ftoken",
		} {
			r := jsonRequest(t.Context(), method, a.Acme.Issuer+"/register-rp/"+id, mine, body)
			dead(t, method+" of a client that is "+what, own.do(t, r))
		}
	}
	for what, pairs := range map[string][]any{
		"without client_id":           {"client_id", nil},
		"with another's client_id":    {"client_id", other.text("client_id")},
		"with a secret of its choice": {"client_secret", "chosen"},
		"with a token":                {"registration_access_token", mine},
		"with an address":             {"registration_client_uri", got.text("registration_client_uri")},
		"with the end of the secret":  {"client_secret_expires_at", 0},
		"with its beginning":          {"client_id_issued_at", 1},
		"without a name":              {"client_name", nil},
		"as an internal client":       {"isInternalClient", true},
		"with resources":              {"allowedResources", []string{"urn:parako:api:v1"}},
		"with an audience":            {"audience", "https://api.example"},
		"with a software statement":   {"software_statement", "a.b.c"},
		"with a script":               {"redirect_uris", []string{"javascript:alert(1)"}},
		"with a grant that is off":    {"grant_types", []string{"implicit"}},
	} {
		refused := own.manage(t, http.MethodPut, got, mine, metadata(append([]any{"client_id", own.client.ID}, pairs...)...))
		if refused.StatusCode != http.StatusBadRequest || refused.text("error") == "" {
			t.Errorf("a change %s: %d %s", what, refused.StatusCode, refused.Text)
		}
	}
	if rowsOf(t, a, a.Acme) != before {
		t.Error("rows have changed")
	}
	p.inTenant(t, func(ctx context.Context, tx *store.Tx) error {
		return oidc.SetClientActive(ctx, tx, own.client.ID, false, audit.Operator("test"))
	})
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		dead(t, method+" of a client that was switched off", own.manage(t, method, got, mine, metadata("client_id", own.client.ID)))
	}
}

// TestOneRegistrationTokenManyChanges is used by many at once: one change is made, and one token lives.
func TestOneRegistrationTokenManyChanges(t *testing.T) {
	t.Parallel()
	a := registrar(t)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	own, got := p.joined(t, p.initialToken(t).Token)
	var nth atomic.Int64
	sector := meetingPoint(t)
	replies := own.together(t, func() *http.Request {
		body := metadata("client_id", own.client.ID, "client_name", "Change "+string(rune('A'+nth.Add(1))), "sector_identifier_uri", sector)
		return jsonRequest(t.Context(), http.MethodPut, got.text("registration_client_uri"), got.text("registration_access_token"), body)
	})
	var won []reply
	for _, r := range replies {
		if r.StatusCode == http.StatusOK {
			won = append(won, r)
			continue
		}
		dead(t, "a change that came too late", r)
	}
	if len(won) != 1 {
		t.Fatalf("%d changes were made", len(won))
	}
	now := own.manage(t, http.MethodGet, got, won[0].text("registration_access_token"), nil)
	if now.text("client_name") != won[0].text("client_name") {
		t.Errorf("the client is %q, want %q", now.text("client_name"), won[0].text("client_name"))
	}
}
