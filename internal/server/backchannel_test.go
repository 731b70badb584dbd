package server_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"parako/internal/dbsqlc"
	"parako/internal/directory"
	"parako/internal/factor"
	"parako/internal/oidc"
	"parako/internal/outbound"
	"parako/internal/secret"
	"parako/internal/store"
	"parako/internal/telemetry"
	"parako/internal/testkit/app"
)

// receiver is where a client takes logout tokens.
type receiver struct {
	URL string
	// status is what it answers.
	status atomic.Int32
	got    chan logoutPost
}

// logoutPost is what arrived at a receiver.
type logoutPost struct {
	method, media string
	form          url.Values
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{got: make(chan logoutPost, 16)}
	r.status.Store(http.StatusOK)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if err := req.ParseForm(); err != nil {
			t.Error(err)
		}
		w.WriteHeader(int(r.status.Load()))
		r.got <- logoutPost{req.Method, req.Header.Get("Content-Type"), req.Form}
	}))
	t.Cleanup(server.Close)
	r.URL = server.URL + "/logout?client=own"
	return r
}

// token waits for a logout token.
func (r *receiver) token(t *testing.T) string {
	t.Helper()
	select {
	case post := <-r.got:
		if post.method != http.MethodPost || post.media != "application/x-www-form-urlencoded" || post.form.Get("client") != "own" {
			t.Errorf("%+v", post)
		}
		return post.form.Get("logout_token")
	case <-t.Context().Done():
		t.Fatal("no logout token arrived")
		return ""
	}
}

// toldAt registers the address for a client's logout tokens.
func toldAt(r *receiver) func(*oidc.NewClient) {
	return func(n *oidc.NewClient) { n.BackchannelLogoutURI, n.BackchannelLogoutSession = r.URL, true }
}

// TestBackchannelLogout has a person use applications of all kinds and sign out: each of them is told, in its own terms.
func TestBackchannelLogout(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	for _, tenant := range []app.Tenant{a.Acme, a.Globex} {
		a.Configure(t, tenant, "features", `{"oidc":{"encryption":{"enabled":true}}}`)
		t.Run(tenant.Slug, func(t *testing.T) {
			web := newParty(t, a, tenant, tenant.Web)
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			keys := mustJSON(t, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "one", Use: "enc"}}})
			receivers := map[string]*receiver{}
			told := func(name string, change func(*oidc.NewClient)) party {
				receivers[name] = newReceiver(t)
				return web.with(t, func(n *oidc.NewClient) {
					toldAt(receivers[name])(n)
					change(n)
				})
			}
			parties := map[string]party{
				"plain":     told("plain", func(*oidc.NewClient) {}),
				"pairwise":  told("pairwise", func(n *oidc.NewClient) { n.SubjectType = oidc.SubjectPairwise }),
				"other alg": told("other alg", func(n *oidc.NewClient) { n.IDTokenAlg = "ES256" }),
				"encrypted": told("encrypted", func(n *oidc.NewClient) {
					n.JWKS, n.IDTokenEncryptionAlg, n.IDTokenEncryptionEnc = keys, "ECDH-ES", "A128GCM"
				}),
				"offline": told("offline", func(*oidc.NewClient) {}),
			}
			told("elsewhere", func(*oidc.NewClient) {}) // It has nothing to do with the session.
			ids, algs := map[string]map[string]any{}, map[string]any{}
			var hint string
			opened := func(name, token string) string {
				if name != "encrypted" {
					return token
				}
				jwe, err := jose.ParseEncryptedCompact(token, []jose.KeyAlgorithm{jose.ECDH_ES}, []jose.ContentEncryption{jose.A128GCM})
				if err != nil {
					t.Fatalf("%s: %v", token, err)
				}
				inner, err := jwe.Decrypt(key)
				if err != nil {
					t.Fatal(err)
				}
				return string(inner)
			}
			for name, p := range parties {
				scope := "openid"
				if name == "offline" {
					scope += " offline_access"
				}
				id := p.tokens(t, "scope", scope).text("id_token")
				ids[name], algs[name] = claimsOf(t, opened(name, id)), segment(t, opened(name, id), 0)["alg"]
				if name == "plain" {
					hint = id
				}
			}
			before := time.Now().Add(-time.Second)
			parties["plain"].confirm(t, web.endSession(t, "id_token_hint", hint))
			jtis := map[string]bool{}
			for name, p := range parties {
				token := opened(name, receivers[name].token(t))
				got := p.verified(t, "logout+jwt", token)
				if alg := segment(t, token, 0)["alg"]; alg != algs[name] {
					t.Errorf("%s: signed with %v, the ID token with %v", name, alg, algs[name])
				}
				iat, exp, jti := seconds(got["iat"]), seconds(got["exp"]), got["jti"].(string) //nolint:forcetypeassert // It panics, which is no pass.
				if iat < float64(before.Unix()) || exp-iat != 120 || jtis[jti] || len(jti) < 16 {
					t.Errorf("%s: iat %v, exp %v, jti %q", name, iat, exp, jti)
				}
				jtis[jti] = true
				want := map[string]any{
					"iss": tenant.Issuer, "sub": ids[name]["sub"], "aud": p.client.ID, "sid": ids[name]["sid"], "iat": got["iat"], "exp": got["exp"], "jti": jti,
					"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s: claims mismatch (-want +got)\n%s", name, diff)
				}
				if got["sid"] == nil {
					t.Errorf("%s: no sid", name)
				}
			}
			if ids["pairwise"]["sub"] == ids["plain"]["sub"] || algs["other alg"] == algs["plain"] {
				t.Error("the clients do not differ")
			}
			// What was delivered is forgotten, and nothing else was enqueued.
			settled(t, a, tenant)
			for name, r := range receivers {
				if len(r.got) > 0 {
					t.Errorf("%s is told more than once, or although it was not in the session", name)
				}
			}
		})
	}
}

// settled waits until no logout is to be delivered any more.
func settled(t *testing.T, a *app.App, tenant app.Tenant) {
	t.Helper()
	for pending := ""; pending != "0"; {
		pending = a.DB.Ask(t, tenant.ID, "SELECT count(*)::text FROM parako.logout_deliveries WHERE failed_at IS NULL")[0]
	}
}

// TestBackchannelLogoutOfTheOther has two people use one browser: the second ends the session of the first.
func TestBackchannelLogoutOfTheOther(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	r := newReceiver(t)
	p := newParty(t, a, a.Acme, a.Acme.Web).with(t, toldAt(r))
	sid := claimsOf(t, p.tokens(t).text("id_token"))["sid"]
	p.inTenant(t, func(ctx context.Context, tx *store.Tx) error {
		second, err := directory.Create(ctx, tx, directory.New{Username: "second", Email: "second@acme.example", EmailVerified: true})
		if err != nil {
			return err
		}
		hash, err := factor.Passwords{Hasher: secret.NewHasher(0)}.Hash(ctx, app.Password)
		if err != nil {
			return err
		}
		return factor.Put(ctx, tx, second.ID, hash)
	})
	page := p.shows(t, "login-form", "prompt", "login")
	app.Post(t, p.browser, page.Request.URL.String()+"/login", url.Values{"identifier": {"second@acme.example"}, "password": {app.Password}})
	if got := claimsOf(t, r.token(t)); got["sid"] != sid || got["sub"] != a.Acme.User.ID.String() {
		t.Errorf("told of %v, want %v", got, sid)
	}
}

func TestBackchannelLogoutTurnedOff(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	a.Configure(t, a.Acme, "features", `{"oidc":{"backchannel_logout":{"enabled":false}}}`)
	r := newReceiver(t)
	p := newParty(t, a, a.Acme, a.Acme.Web).with(t, toldAt(r))
	hint := p.tokens(t).text("id_token")
	p.confirm(t, p.endSession(t, "id_token_hint", hint))
	p.refused(t, "login_required", "prompt", "none")
	if got := a.DB.Ask(t, a.Acme.ID, "SELECT count(*)::text FROM parako.logout_deliveries"); got[0] != "0" {
		t.Errorf("%s deliveries", got[0])
	}
}

// TestBackchannelLogoutIsRepeated has a client that is down for the first attempt.
func TestBackchannelLogoutIsRepeated(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	r := newReceiver(t)
	r.status.Store(http.StatusServiceUnavailable)
	p := newParty(t, a, a.Acme, a.Acme.Web).with(t, toldAt(r))
	p.confirm(t, p.endSession(t, "id_token_hint", p.tokens(t).text("id_token")))
	first := claimsOf(t, r.token(t))
	r.status.Store(http.StatusNoContent)
	for len(r.got) == 0 { // The next attempt is due in some seconds, unless it is moved.
		a.Superuser(t, "UPDATE jobs.river_job SET state = 'available', scheduled_at = now() WHERE state = 'retryable'")
	}
	second := claimsOf(t, r.token(t))
	if first["jti"] == second["jti"] || first["sid"] != second["sid"] {
		t.Errorf("the second attempt says %v, the first %v", second, first)
	}
	settled(t, a, a.Acme)
	if logs := a.Logs.String(); !strings.Contains(logs, "logout_not_delivered") || !strings.Contains(logs, "status 503") {
		t.Error("the log does not say why")
	}
}

// deliverer is a provider of the tenant whose deliveries a test makes itself, beside the server.
func deliverer(t *testing.T, a *app.App, tenant app.Tenant, o outbound.Options) *oidc.Provider {
	t.Helper()
	base, err := a.Config.BaseURL()
	if err != nil {
		t.Fatal(err)
	}
	o.Timeout = time.Minute
	outside := outbound.New(o)
	t.Cleanup(outside.Close)
	p, err := oidc.NewProvider(t.Context(), oidc.Deps{
		Store: a.Store, Vault: a.Vault, Base: base, MultiTenant: true, Outbound: outside, Keys: oidc.NewKeyCache(outside, time.Now),
		Metrics: telemetry.NewMetrics(), Log: slog.New(slog.DiscardHandler), Now: time.Now,
	}, tenant.Tenant)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// delivery makes a delivery that no job leads to.
func (p party) delivery(t *testing.T) uuid.UUID {
	t.Helper()
	id := uuid.New()
	p.inTenant(t, func(ctx context.Context, tx *store.Tx) error {
		return tx.LogoutDeliveryCreate(ctx, dbsqlc.LogoutDeliveryCreateParams{
			ID: id, ClientID: p.client.ID, UserID: p.tenant.User.ID, SessionID: uuid.New(), ExpiresAt: time.Now().Add(time.Hour),
		})
	})
	return id
}

// deliveryState is what became of a delivery.
func (p party) deliveryState(t *testing.T, id uuid.UUID) string {
	t.Helper()
	rows := p.DB.Ask(t, p.tenant.ID, `SELECT concat_ws(' ', attempts, CASE WHEN failed_at IS NULL THEN 'open' ELSE 'given up' END, last_error)
		FROM parako.logout_deliveries WHERE id = $1`, id)
	if len(rows) == 0 {
		return "gone"
	}
	return rows[0]
}

func TestDeliverLogout(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	loopback := outbound.Options{Loopback: true}
	acme := deliverer(t, a, a.Acme, loopback)
	web := newParty(t, a, a.Acme, a.Acme.Web)
	for name, tt := range map[string]struct {
		status int32
		want   string // the state after an attempt
		again  bool   // whether another one is due
	}{
		"200":                     {http.StatusOK, "gone", false},
		"204":                     {http.StatusNoContent, "gone", false},
		"400 refuses for good":    {http.StatusBadRequest, "1 given up the answer has status 400", false},
		"500 may pass":            {http.StatusInternalServerError, "1 open the answer has status 500", true},
		"404 may pass":            {http.StatusNotFound, "1 open the answer has status 404", true},
		"a redirect may pass":     {http.StatusFound, "1 open the answer has status 302", true},
		"too many, which passes":  {http.StatusTooManyRequests, "1 open the answer has status 429", true},
		"501 is nobody we called": {http.StatusNotImplemented, "1 open the answer has status 501", true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t)
			r.status.Store(tt.status)
			p := web.with(t, toldAt(r))
			id := p.delivery(t)
			if err := acme.DeliverLogout(t.Context(), id); errors.Is(err, oidc.ErrUndelivered) != tt.again || err != nil && !tt.again {
				t.Errorf("DeliverLogout = %v", err)
			}
			p.verified(t, "logout+jwt", r.token(t))
			if got := p.deliveryState(t, id); got != tt.want {
				t.Errorf("the delivery is %q, want %q", got, tt.want)
			}
			if err := acme.DeliverLogout(t.Context(), id); errors.Is(err, oidc.ErrUndelivered) != tt.again || err != nil && !tt.again {
				t.Errorf("once more: %v", err)
			}
			if told := len(r.got); (told > 0) != tt.again {
				t.Errorf("told %d times more", told)
			}
		})
	}
	t.Run("it is given up in the end, and that can be seen", func(t *testing.T) {
		r := newReceiver(t)
		r.status.Store(http.StatusBadGateway)
		p := web.with(t, toldAt(r))
		id := p.delivery(t)
		attempts := 1
		for ; errors.Is(acme.DeliverLogout(t.Context(), id), oidc.ErrUndelivered); attempts++ {
			<-r.got
		}
		if attempts != 10 || p.deliveryState(t, id) != "10 given up the answer has status 502" {
			t.Errorf("%d attempts, then %q", attempts, p.deliveryState(t, id))
		}
		p.inTenant(t, func(ctx context.Context, tx *store.Tx) error {
			list, err := oidc.UndeliveredLogouts(ctx, tx, 100)
			if !slices.ContainsFunc(list, func(u oidc.Undelivered) bool {
				return u.ID == id && u.ClientID == p.client.ID && u.Attempts == 10 && u.LastError == "the answer has status 502" && u.FailedAt.After(u.EndedAt)
			}) {
				t.Errorf("the list has no such entry: %+v", list)
			}
			return err
		})
		view := a.DB.Ask(t, a.Acme.ID, `SELECT concat_ws('|', tenant, client_id, reason, attempts, last_error) FROM audit.logout_failures WHERE client_id = $1`, p.client.ID)
		if diff := cmp.Diff([]string{fmt.Sprintf("acme|%s|unreachable|10|the answer has status 502", p.client.ID)}, view); diff != "" {
			t.Errorf("audit.logout_failures mismatch (-want +got)\n%s", diff)
		}
		if view := a.DB.Ask(t, a.Globex.ID, `SELECT client_id FROM audit.logout_failures`); len(view) > 0 {
			t.Errorf("another tenant sees %v", view)
		}
	})
	t.Run("another tenant's delivery is none", func(t *testing.T) {
		r := newReceiver(t)
		p := web.with(t, toldAt(r))
		id := p.delivery(t)
		if err := deliverer(t, a, a.Globex, loopback).DeliverLogout(t.Context(), id); err != nil || len(r.got) > 0 || p.deliveryState(t, id) != "0 open " {
			t.Errorf("DeliverLogout = %v, the delivery is %q", err, p.deliveryState(t, id))
		}
	})
	t.Run("a client that no longer wants to know", func(t *testing.T) {
		p := web.with(t, func(*oidc.NewClient) {})
		id := p.delivery(t)
		if err := acme.DeliverLogout(t.Context(), id); err != nil || p.deliveryState(t, id) != "gone" {
			t.Errorf("DeliverLogout = %v, the delivery is %q", err, p.deliveryState(t, id))
		}
	})
	t.Run("an address inside is not called", func(t *testing.T) {
		r := newReceiver(t)
		p := web.with(t, toldAt(r))
		id := p.delivery(t)
		if err := deliverer(t, a, a.Acme, outbound.Options{}).DeliverLogout(t.Context(), id); err != nil || len(r.got) > 0 {
			t.Errorf("DeliverLogout = %v, told %d times", err, len(r.got))
		}
		if got := p.deliveryState(t, id); got != "1 given up the address may not be called" {
			t.Errorf("the delivery is %q", got)
		}
	})
}
