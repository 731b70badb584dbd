package session_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"parako/internal/dbsqlc"
	"parako/internal/directory"
	"parako/internal/problem"
	"parako/internal/session"
	"parako/internal/store"
	"parako/internal/tenant"
	"parako/internal/testkit"
)

func TestMain(m *testing.M) { os.Exit(testkit.Main(m)) }

// policy is the product's default.
var policy = session.Policy{Idle: 30 * time.Minute, Absolute: 24 * time.Hour}

// world is a tenant with one person in it, and a clock.
type world struct {
	*testing.T
	db    *testkit.DB
	clock *testkit.Clock
	store *store.Store
	org   uuid.UUID
	ada   directory.User
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, db: testkit.NewDB(t), clock: &testkit.Clock{}}
	w.store = w.db.StoreAt(t, w.clock.Now)
	w.org = testkit.Tenant(t, w.store, "acme").ID
	w.write(func(ctx context.Context, tx *store.Tx) (err error) {
		w.ada, err = directory.Create(ctx, tx, directory.New{Username: "ada"})
		return err
	})
	return w
}

func (w *world) write(fn func(context.Context, *store.Tx) error) {
	w.Helper()
	if err := w.store.InTenant(w.Context(), w.org, fn); err != nil {
		w.Fatal(err)
	}
}

func (w *world) start(p session.Policy) (s session.Session, token string) {
	w.Helper()
	w.write(func(ctx context.Context, tx *store.Tx) (err error) {
		proof := session.Proof{
			User: w.ada, ACR: session.ACRPassword, AMR: []string{session.AMRPassword}, IP: "192.0.2.1", UserAgent: "Firefox",
		}
		s, token, err = session.Start(ctx, tx, proof, p)
		return err
	})
	return s, token
}

func (w *world) end(id uuid.UUID) {
	w.Helper()
	w.write(func(ctx context.Context, tx *store.Tx) error {
		_, err := session.End(ctx, tx, id, policy)
		return err
	})
}

func (w *world) renew(old session.Session, by directory.User, p session.Policy) (s session.Session, token string, err error) {
	w.Helper()
	err = w.store.InTenant(w.Context(), w.org, func(ctx context.Context, tx *store.Tx) (err error) {
		proof := session.Proof{User: by, ACR: "urn:mfa", AMR: []string{session.AMRPassword, "otp"}}
		s, token, err = session.Renew(ctx, tx, old, proof, p)
		return err
	})
	return s, token, err
}

// find looks in a transaction that may write.
func (w *world) find(token string, p session.Policy) (s session.Session, err error) {
	w.Helper()
	err = w.store.InTenant(w.Context(), w.org, func(ctx context.Context, tx *store.Tx) (err error) {
		s, err = session.Find(ctx, tx, token, p)
		return err
	})
	return s, err
}

func (w *world) expectLive(why, token string, p session.Policy) {
	w.Helper()
	if _, err := w.find(token, p); err != nil {
		w.Errorf("%s: Find = %v, want a session", why, err)
	}
}

func (w *world) expectNone(why, token string, p session.Policy) {
	w.Helper()
	if s, err := w.find(token, p); !errors.Is(err, store.ErrNotFound) {
		w.Errorf("%s: Find = %v, %v, want %v", why, s.ID, err, store.ErrNotFound)
	}
}

func TestStartThenFind(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	started, token := w.start(policy)
	want := session.Session{
		ID: started.ID, User: w.ada, AuthTime: w.clock.Now().UTC().Truncate(time.Second), ACR: "urn:pwd", AMR: []string{"pwd"},
	}
	if diff := cmp.Diff(want, started); diff != "" {
		t.Errorf("Start mismatch (-want +got)\n%s", diff)
	}
	found, err := w.find(token, policy)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, found, cmpopts.EquateApproxTime(0)); diff != "" {
		t.Errorf("Find mismatch (-want +got)\n%s", diff)
	}
	// Clients see the id as sid: it must neither lead to the session nor tell when it began.
	w.expectNone("the sid", started.ID.String(), policy)
	if started.ID.Version() != 4 {
		t.Errorf("sid %s has version %d, want 4", started.ID, started.ID.Version())
	}
	if kept := strings.Join(w.db.Ask(t, w.org, "SELECT sessions::text FROM parako.sessions"), "\n"); strings.Contains(kept, token) {
		t.Error("the table holds the token itself")
	}
}

func TestTokensAreNotShared(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	one, oneToken := w.start(policy)
	other, otherToken := w.start(policy)
	if one.ID == other.ID || oneToken == otherToken {
		t.Errorf("two logins gave ids %s and %s, and equal tokens: %t", one.ID, other.ID, oneToken == otherToken)
	}
	for _, token := range []string{"", "x", oneToken[1:], oneToken + "A", strings.ToUpper(oneToken)} {
		w.expectNone("a token that nobody got", token, policy)
	}
	w.end(one.ID)
	w.expectNone("the ended one", oneToken, policy)
	w.expectLive("the other one", otherToken, policy)
	w.end(one.ID) // harmless
	w.end(uuid.New())
	w.expectLive("the other one still", otherToken, policy)
}

func TestFindAfterTooLong(t *testing.T) {
	t.Parallel()
	const slack = 10 * time.Second // the row carries PostgreSQL's time
	tests := map[string]struct {
		at, now session.Policy // at the login and at the request
		after   time.Duration
		want    bool
	}{
		"just within the idle time":                {policy, policy, policy.Idle - slack, true},
		"idle for too long":                        {policy, policy, policy.Idle + slack, false},
		"no idle bound":                            {session.Policy{Absolute: 24 * time.Hour}, session.Policy{Absolute: 24 * time.Hour}, 24*time.Hour - slack, true},
		"past the absolute end":                    {session.Policy{Absolute: time.Hour}, session.Policy{Absolute: time.Hour}, time.Hour + slack, false},
		"no bound at all":                          {session.Policy{}, session.Policy{}, 360 * 24 * time.Hour, true},
		"an idle time tightened after the login":   {session.Policy{}, session.Policy{Idle: time.Minute}, time.Minute + slack, false},
		"an absolute end tightened after it":       {session.Policy{}, session.Policy{Absolute: time.Hour}, time.Hour + slack, false},
		"an idle time loosened after the login":    {policy, session.Policy{Idle: time.Hour}, 59 * time.Minute, true},
		"before its time, as by a clock that lags": {policy, policy, -time.Minute, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			_, token := w.start(tt.at)
			w.clock.Advance(tt.after)
			if tt.want {
				w.expectLive(name, token, tt.now)
			} else {
				w.expectNone(name, token, tt.now)
			}
		})
	}
}

// PostgreSQL holds the end that was set at the login, for instances whose clock is wrong and for whoever reads the table.
func TestFindAfterTheEndInTheRow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, token := w.start(session.Policy{Absolute: time.Hour})
	const left = "SELECT round(extract(epoch FROM expires_at - created_at) / 60)::text FROM parako.sessions"
	if diff := cmp.Diff([]string{"60"}, w.db.Ask(t, w.org, left)); diff != "" {
		t.Errorf("minutes in the row mismatch (-want +got)\n%s", diff)
	}
	w.db.Ask(t, w.org, "UPDATE parako.sessions SET expires_at = now()")
	w.expectNone("past its end", token, session.Policy{})
}

func TestFindOfADisabledAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, token := w.start(policy)
	w.db.Ask(t, w.org, "UPDATE parako.users SET account_enabled = false")
	w.expectNone("disabled", token, policy)
	w.db.Ask(t, w.org, "UPDATE parako.users SET account_enabled = true")
	w.expectLive("enabled again", token, policy)
}

func TestFindInAnotherTenant(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, token := w.start(policy)
	home := w.org
	w.org = testkit.Tenant(t, w.store, "other").ID
	w.expectNone("another tenant", token, policy)
	w.end(s.ID) // of no effect there
	w.org = home
	w.expectLive("its own tenant", token, policy)
}

func TestFindRecordsUseOnceAMinute(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, token := w.start(policy)
	look := func(ctx context.Context, tx *store.Tx) error {
		_, err := session.Find(ctx, tx, token, policy)
		return err
	}
	tests := []struct {
		name string
		idle string
		in   func(context.Context, uuid.UUID, func(context.Context, *store.Tx) error) error
		want bool
	}{
		{"a moment ago", "50 seconds", w.store.InTenant, false},
		{"over a minute ago", "70 seconds", w.store.InTenant, true},
		{"over a minute ago, in a transaction that reads", "70 seconds", w.store.ViewTenant, false},
		{"over a minute ago, in one question", "70 seconds", w.store.AskTenant, false},
	}
	for _, tt := range tests {
		w.db.Ask(t, w.org, "UPDATE parako.sessions SET last_seen_at = now() - $1::text::interval", tt.idle)
		if err := tt.in(t.Context(), w.org, look); err != nil {
			t.Errorf("%s: Find = %v", tt.name, err)
		}
		const touched = "SELECT (last_seen_at > now() - interval '40 seconds')::text FROM parako.sessions"
		if got := w.db.Ask(t, w.org, touched)[0] == "true"; got != tt.want {
			t.Errorf("%s: recorded %t, want %t", tt.name, got, tt.want)
		}
	}
}

func TestUseKeepsASessionAlive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, token := w.start(policy)
	w.db.Ask(t, w.org, "UPDATE parako.sessions SET last_seen_at = now() - interval '29 minutes'")
	w.expectLive("within the idle time", token, policy)
	w.clock.Advance(29 * time.Minute)
	w.expectLive("29 minutes after it was used", token, policy)
}

func TestRenew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old, oldToken := w.start(policy)
	w.clock.Advance(23 * time.Hour)
	renewed, token, err := w.renew(old, w.ada, policy)
	if err != nil {
		t.Fatal(err)
	}
	want := session.Session{
		ID: old.ID, User: w.ada, AuthTime: w.clock.Now().UTC().Truncate(time.Second), ACR: "urn:mfa", AMR: []string{"pwd", "otp"},
	}
	if diff := cmp.Diff(want, renewed); diff != "" {
		t.Errorf("Renew mismatch (-want +got)\n%s", diff)
	}
	w.expectNone("the token of before (session fixation)", oldToken, session.Policy{})
	found, err := w.find(token, session.Policy{Absolute: policy.Absolute})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("Find mismatch (-want +got)\n%s", diff)
	}
	w.clock.Advance(23 * time.Hour)
	w.expectLive("within the absolute time of the new login", token, session.Policy{Absolute: policy.Absolute})
	w.clock.Advance(2 * time.Hour)
	w.expectNone("past it", token, session.Policy{Absolute: policy.Absolute})
}

func TestRenewNeedsALiveSessionOfThePerson(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var bob directory.User
	w.write(func(ctx context.Context, tx *store.Tx) (err error) {
		bob, err = directory.Create(ctx, tx, directory.New{Username: "bob"})
		return err
	})
	adas, token := w.start(policy)
	ended, _ := w.start(policy)
	w.end(ended.ID)
	tests := map[string]struct {
		old session.Session
		by  directory.User
	}{
		"another person's": {adas, bob},
		"an ended one":     {ended, w.ada},
		"none":             {session.Session{ID: uuid.New()}, w.ada},
	}
	for name, tt := range tests {
		if s, got, err := w.renew(tt.old, tt.by, policy); !errors.Is(err, store.ErrNotFound) || got != "" {
			t.Errorf("%s: Renew = %s, %q, %v, want %v", name, s.ID, got, err, store.ErrNotFound)
		}
	}
	w.expectLive("what nobody renewed", token, policy)
}

// Header values are bytes. PostgreSQL refuses some of them, and a cut in the middle of a character makes such ones.
func TestStartTakesAnyUserAgent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for agent, want := range map[string]string{
		"Firefox \xff":                      "Firefox ?",
		strings.Repeat("a", 511) + "é":      strings.Repeat("a", 511),
		strings.Repeat("a", 100_000):        strings.Repeat("a", 512),
		"":                                  "",
		"Firefox/1 (\x1b[2J\u202e; de_DE)ü": "Firefox/1 (?[2J?; de_DE)ü",
	} {
		var s session.Session
		w.write(func(ctx context.Context, tx *store.Tx) (err error) {
			s, _, err = session.Start(ctx, tx, session.Proof{User: w.ada, AMR: []string{}, UserAgent: agent}, policy)
			return err
		})
		got := w.db.Ask(t, w.org, "SELECT user_agent FROM parako.sessions WHERE id = $1", s.ID)
		if diff := cmp.Diff([]string{want}, got); diff != "" {
			t.Errorf("user agent mismatch (-want +got)\n%s", diff)
		}
	}
}

func TestStartNeedsAnAccountOfTheTenant(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := testkit.Tenant(t, w.store, "other").ID
	err := w.store.InTenant(t.Context(), other, func(ctx context.Context, tx *store.Tx) error {
		s, token, err := session.Start(ctx, tx, session.Proof{User: w.ada, AMR: []string{}}, policy)
		if err == nil || s.ID != uuid.Nil || token != "" {
			t.Errorf("Start = %s, %q, %v, want only an error", s.ID, token, err)
		}
		return err
	})
	if err == nil {
		t.Error("another tenant's account has a session")
	}
}

func TestEndRevokesTheGrantsThatDieWithTheSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ended, _ := w.start(policy)
	kept, _ := w.start(policy)
	w.write(func(ctx context.Context, tx *store.Tx) error {
		if err := tx.ClientCreate(ctx, dbsqlc.ClientCreateParams{
			ID: "shop", ClientName: "Shop", ApplicationType: "web", TokenEndpointAuthMethod: "none",
			RedirectUris: []string{}, PostLogoutRedirectUris: []string{}, GrantTypes: []string{}, ResponseTypes: []string{},
			AllowedResources: []string{}, Contacts: []string{}, Metadata: []byte("{}"), IDTokenSignedResponseAlg: "RS256",
		}); err != nil {
			return err
		}
		for nonce, g := range map[string]struct {
			session *uuid.UUID
			scopes  []string
		}{
			"online":          {&ended.ID, []string{"openid"}},
			"offline":         {&ended.ID, []string{"openid", "offline_access"}},
			"other session":   {&kept.ID, []string{"openid"}},
			"without session": {nil, []string{"openid"}},
		} {
			if err := tx.GrantCreate(ctx, dbsqlc.GrantCreateParams{
				ID: uuid.New(), ClientID: "shop", UserID: w.ada.ID, SessionID: g.session, Scopes: g.scopes, Resources: []string{},
				AuthTime: tx.Now(), AMR: []string{}, Nonce: nonce, ExpiresAt: tx.Now().Add(time.Hour),
			}); err != nil {
				return err
			}
		}
		return nil
	})
	const revoked = "SELECT nonce FROM parako.grants WHERE revoked_at IS NOT NULL"
	for range 2 { // ending it twice is harmless
		w.end(ended.ID)
		if diff := cmp.Diff([]string{"online"}, w.db.Ask(t, w.org, revoked)); diff != "" {
			t.Errorf("revoked grants mismatch (-want +got)\n%s", diff)
		}
	}
}

// told starts a session, gives clients grants of it, ends it, and returns the clients that End reports and those that are to be
// told, with a job each.
func (w *world) told(p session.Policy, clients map[string]string) (reported, deliveries []string) {
	w.Helper()
	s, _ := w.start(p)
	other, _ := w.start(p)
	insert := func(sql string, args ...any) { w.db.Ask(w.T, w.org, sql+" RETURNING ''", args...) }
	grant := func(client string, session uuid.UUID) {
		insert(`INSERT INTO parako.grants (id, client_id, user_id, session_id, scopes, auth_time, acr, amr, expires_at)
			VALUES (gen_random_uuid(), $1, $2, $3, '{openid}', now(), '1', '{pwd}', now() + interval '1 day')`, client, w.ada.ID, session)
	}
	for id, metadata := range clients {
		insert("INSERT INTO parako.clients (id, client_name, application_type, token_endpoint_auth_method, preset, metadata) VALUES ($1, 'n', 'web', 'none', 'spa', $2)", id, metadata)
		if strings.HasPrefix(id, "unused") {
			grant(id, other.ID)
			continue
		}
		grant(id, s.ID)
		grant(id, s.ID)
	}
	for range 2 { // The second time nothing happens.
		w.write(func(ctx context.Context, tx *store.Tx) error {
			list, err := session.End(ctx, tx, s.ID, p)
			for _, c := range list {
				reported = append(reported, c.ID)
			}
			return err
		})
	}
	deliveries = w.db.Ask(w.T, w.org, "SELECT concat_ws(' ', client_id, user_id = $1, session_id = $2) FROM parako.logout_deliveries ORDER BY client_id", w.ada.ID, s.ID)
	return reported, deliveries
}

func TestEndTellsTheClientsOfTheSession(t *testing.T) {
	t.Parallel()
	clients := map[string]string{
		"back":   `{"backchannel_logout_uri":"https://b.example/"}`,
		"both":   `{"backchannel_logout_uri":"https://c.example/","frontchannel_logout_uri":"https://c.example/f"}`,
		"front":  `{"frontchannel_logout_uri":"https://f.example/","frontchannel_logout_session_required":true}`,
		"silent": `{}`,
		"unused": `{"backchannel_logout_uri":"https://u.example/"}`,
	}
	t.Run("where it is on", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		p := policy
		p.Backchannel = true
		reported, deliveries := w.told(p, clients)
		if diff := cmp.Diff([]string{"back", "both", "front"}, reported); diff != "" {
			t.Errorf("reported clients mismatch (-want +got)\n%s", diff)
		}
		if diff := cmp.Diff([]string{"back t t", "both t t"}, deliveries); diff != "" {
			t.Errorf("deliveries mismatch (-want +got)\n%s", diff)
		}
		w.db.Superuser(t, `DO $$ BEGIN ASSERT (SELECT count(*) FROM jobs.river_job AS j JOIN parako.logout_deliveries AS d
			ON j.kind = 'logout_delivery' AND j.args = jsonb_build_object('tenant_id', d.tenant_id, 'id', d.id)) = 2; END $$`)
		w.db.Superuser(t, `DO $$ BEGIN ASSERT (SELECT count(*) FROM jobs.river_job) = 2; END $$`)
	})
	t.Run("where it is off", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		if reported, deliveries := w.told(policy, clients); len(reported) != 3 || len(deliveries) != 0 {
			t.Errorf("reported %q, to be told %q", reported, deliveries)
		}
	})
}

// TestEndThatIsUndoneTellsNobody has the causing transaction fail.
func TestEndThatIsUndoneTellsNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := policy
	p.Backchannel = true
	w.told(p, map[string]string{"back": `{"backchannel_logout_uri":"https://b.example/"}`})
	s, _ := w.start(p)
	w.db.Ask(t, w.org, `INSERT INTO parako.grants (id, client_id, user_id, session_id, scopes, auth_time, acr, amr, expires_at)
		VALUES (gen_random_uuid(), 'back', $1, $2, '{openid}', now(), '1', '{pwd}', now() + interval '1 day') RETURNING ''`, w.ada.ID, s.ID)
	failure := errors.New("something else went wrong")
	err := w.store.InTenant(t.Context(), w.org, func(ctx context.Context, tx *store.Tx) error {
		if list, err := session.End(ctx, tx, s.ID, p); err != nil || len(list) != 1 {
			t.Errorf("End = %v, %v", list, err)
		}
		return failure
	})
	if !errors.Is(err, failure) {
		t.Fatal(err)
	}
	w.db.Superuser(t, `DO $$ BEGIN ASSERT (SELECT count(*) FROM jobs.river_job) = 1 AND (SELECT count(*) FROM parako.logout_deliveries) = 1; END $$`)
}

// TestQuotaOfSessions has more people sign in at once than the tenant has room for.
func TestQuotaOfSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const most, more = 3, 8
	n := int32(most)
	if _, err := tenant.SetQuota(t.Context(), w.store, "acme", tenant.Quota{Sessions: &n}, nil, "test"); err != nil {
		t.Fatal(err)
	}
	bounded := policy
	bounded.Quota = true
	begin := func(p session.Policy) (s session.Session, token string, err error) {
		err = w.store.InTenant(t.Context(), w.org, func(ctx context.Context, tx *store.Tx) error {
			s, token, err = session.Start(ctx, tx, session.Proof{User: w.ada, AMR: []string{}}, p)
			return err
		})
		return s, token, err
	}
	errs := make([]error, more)
	live := make([]session.Session, more)
	var wait sync.WaitGroup
	for i := range errs {
		wait.Go(func() { live[i], _, errs[i] = begin(bounded) })
	}
	wait.Wait()
	var first session.Session
	refused := 0
	for i, err := range errs {
		if p, ok := errors.AsType[*problem.Error](err); ok && p.Code == "quota_sessions" && p.Kind == problem.Conflict {
			refused++
		} else if err != nil {
			t.Error(err)
		} else {
			first = live[i]
		}
	}
	if refused != more-most {
		t.Errorf("%d were refused, want %d", refused, more-most)
	}
	full := func(why string, p session.Policy, want string) {
		t.Helper()
		if _, _, err := begin(p); tenant.OverQuota(err) != want {
			t.Errorf("%s: %v, want the quota %q", why, err, want)
		}
	}
	if _, _, err := w.renew(first, w.ada, bounded); err != nil {
		t.Errorf("a session is renewed: %v", err)
	}
	w.end(first.ID)
	full("one has ended", bounded, "")
	full("it is full again", bounded, "sessions")
	own := bounded
	own.Most = 1
	full("the newest replaces the person's others", own, "")
	full("there is room for two now", bounded, "")
	full("there is room for one now", bounded, "")
	full("it is full once more", bounded, "sessions")
	w.clock.Advance(policy.Idle + time.Minute)
	full("all have been idle for too long", bounded, "")
}
