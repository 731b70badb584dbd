package server_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"parako/internal/testkit/app"
)

// event is a row of the audit trail as far as the tests look.
type event struct {
	Type, Status, ActorType, ActorID, RequestID, IP, Text string
}

func events(t *testing.T, a *app.App, tenant app.Tenant) []event {
	t.Helper()
	var list []event
	for _, row := range a.DB.Ask(t, tenant.ID, `SELECT concat_ws('|', type, status, actor_type, actor_id, request_id, ip, e::text)
		FROM parako.audit_events AS e ORDER BY occurred_at, id`) {
		f := strings.SplitN(row, "|", 7)
		list = append(list, event{Type: f[0], Status: f[1], ActorType: f[2], ActorID: f[3], RequestID: f[4], IP: f[5], Text: f[6]})
	}
	return list
}

// TestAuditTrail does what is to be recorded and reads the trail: every event is there once, names its actor and where it came
// from, and holds no secret; nor does the log.
func TestAuditTrail(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	page := app.Get(t, p.browser, p.authorizeURL())
	app.Post(t, p.browser, page.Request.URL.String()+"/login", url.Values{"identifier": {a.Acme.Email}, "password": {"not the password"}})
	code := p.code(t, "scope", "openid offline_access")
	tokens := p.redeem(t, code)
	expect(t, tokens, http.StatusOK, "")
	refreshed := p.refresh(t, tokens.text("refresh_token"))
	expect(t, p.post(t, "/token/revocation", "token", refreshed.text("access_token")), http.StatusOK, "")
	expect(t, p.redeem(t, code), http.StatusBadRequest, "invalid_grant") // the second use
	denied := newParty(t, a, a.Acme, a.Acme.SPA)
	denied.browser, denied.step = p.browser, p.step
	asked := app.Get(t, denied.browser, denied.authorizeURL("prompt", "consent"))
	app.Post(t, denied.step, asked.Request.URL.String()+"/abort", nil)
	p.confirm(t, p.endSession(t, "id_token_hint", tokens.text("id_token")))

	person := a.Acme.User.ID.String()
	want := []struct{ Type, Status, ActorType, ActorID string }{
		{"tenant.created", "success", "operator", "test"},
		{"client.created", "success", "operator", "test"},
		{"key.created", "success", "system", ""},
		{"login.failed", "failed", "anonymous", ""},
		{"login.succeeded", "success", "user", person},
		{"consent.given", "success", "user", person},
		{"consent.denied", "failed", "user", person},
		{"token.issued", "success", "client", a.Acme.Web.ID},
		{"token.revoked", "success", "client", a.Acme.Web.ID},
		{"token.refused", "failed", "client", a.Acme.Web.ID},
		{"token.reuse_detected", "warning", "anonymous", ""},
		{"logout", "success", "user", person},
	}
	trail := events(t, a, a.Acme)
	for _, w := range want {
		i := slices.IndexFunc(trail, func(e event) bool {
			return e.Type == w.Type && e.Status == w.Status && e.ActorType == w.ActorType && e.ActorID == w.ActorID
		})
		if i < 0 {
			t.Errorf("no event %+v", w)
			continue
		}
		if e := trail[i]; w.ActorType != "operator" && w.ActorType != "system" && (e.RequestID == "" || e.IP != "127.0.0.1") {
			t.Errorf("%s does not say where it came from: %s", e.Type, e.Text)
		}
	}
	secrets := map[string]string{
		"the password": app.Password, "the wrong password": "not the password", "the code": code, "the client's secret": a.Acme.Web.Secret,
		"the access token": tokens.text("access_token"), "the refresh token": tokens.text("refresh_token"), "the ID token": tokens.text("id_token"),
		"the refreshed token": refreshed.text("refresh_token"), "the verifier": verifier,
	}
	for name, secret := range secrets {
		for _, e := range trail {
			if strings.Contains(e.Text, secret) {
				t.Errorf("%s holds %s", e.Type, name)
			}
		}
		if strings.Contains(a.Logs.String(), secret) || strings.Contains(a.Logs.String(), url.QueryEscape(secret)) {
			t.Errorf("the log holds %s", name)
		}
	}
	for _, e := range events(t, a, a.Globex) {
		if strings.Contains(strings.ToLower(e.Text), "acme") || strings.Contains(e.Text, person) {
			t.Errorf("globex's trail speaks of acme: %s", e.Text)
		}
	}
}
