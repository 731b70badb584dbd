package signin_test

import (
	"context"
	"errors"
	"net/url"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/directory"
	"parako/internal/factor"
	"parako/internal/ratelimit"
	"parako/internal/secret"
	"parako/internal/session"
	"parako/internal/settings"
	"parako/internal/signin"
	"parako/internal/store"
	"parako/internal/telemetry"
	"parako/internal/testkit"
)

func TestMain(m *testing.M) { os.Exit(testkit.Main(m)) }

// world is a tenant where people may register, with a client and the machinery of logins.
type world struct {
	*testing.T
	db     *testkit.DB
	org    uuid.UUID
	logins *signin.Logins
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db := testkit.NewDB(t)
	s := db.Store(t)
	w := &world{T: t, db: db, org: testkit.Tenant(t, s, "acme").ID, logins: &signin.Logins{
		Store: s, Passwords: factor.Passwords{Hasher: secret.NewHasher(0)}, Limiter: ratelimit.New(nil, time.Now), Metrics: telemetry.NewMetrics(),
	}}
	db.Ask(t, w.org, "INSERT INTO parako.clients (id, client_name, application_type, token_endpoint_auth_method) VALUES ('app', 'App', 'web', 'none') RETURNING ''")
	return w
}

const password = "correct horse battery staple"

// try is a registration in an interaction of its own; edit lays something over it.
func (w *world) try(edit ...func(*signin.Registration)) (token string, err error) {
	w.Helper()
	r := signin.Registration{
		Tenant: w.org, Email: uuid.NewString() + "@acme.example", Password: password, Company: "Acme",
		Rules:  settings.Default().Security.Authentication,
		Policy: session.Policy{Absolute: time.Hour}, Origin: audit.Origin{IP: "192.0.2.1", RequestID: "r"},
	}
	err = w.logins.Store.InTenant(w.Context(), w.org, func(ctx context.Context, tx *store.Tx) (err error) {
		r.Interaction, _, err = signin.Begin(ctx, tx, signin.Interaction{ClientID: "app", Request: url.Values{}}, time.Minute)
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
	r.Rules.Signup.Enabled, r.Rules.Signup.Methods = true, settings.SignupMethods
	for _, f := range edit {
		f(&r)
	}
	return w.logins.Register(w.Context(), r)
}

func email(address string) func(*signin.Registration) {
	return func(r *signin.Registration) { r.Email = address }
}

func username(name string) func(*signin.Registration) {
	return func(r *signin.Registration) { r.Email, r.Username = "", name }
}

func from(ip string) func(*signin.Registration) {
	return func(r *signin.Registration) { r.Origin.IP = ip }
}

func TestRegisterMakesAnAccountAndASession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token, err := w.try(email(" Ann@Acme.example "), func(r *signin.Registration) { r.Username, r.Name = "ann", "Ann Ames" })
	if err != nil {
		t.Fatal(err)
	}
	var s session.Session
	var hash string
	err = w.logins.Store.InTenant(t.Context(), w.org, func(ctx context.Context, tx *store.Tx) (err error) {
		if s, err = session.Find(ctx, tx, token, session.Policy{}); err != nil {
			return err
		}
		_, hash, err = directory.ForLogin(ctx, tx, "ann@acme.example")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	u := s.User
	if *u.Email != "Ann@Acme.example" || u.EmailVerified || u.Username != "ann" || *u.Name != "Ann Ames" || len(u.Roles) != 1 || u.Roles[0] != "user" {
		t.Errorf("account = %+v", u)
	}
	if s.ACR != session.ACRPassword || len(s.AMR) != 1 || s.AMR[0] != session.AMRPassword {
		t.Errorf("session = %+v", s)
	}
	if right, _, err := w.logins.Passwords.Verify(t.Context(), hash, password); !right || err != nil {
		t.Errorf("the password is not the one that was typed: %v", err)
	}
	want := []string{"login.succeeded user " + u.ID.String() + " app 192.0.2.1 r", "user.created user " + u.ID.String() + " app 192.0.2.1 r"}
	got := w.db.Ask(t, w.org, `SELECT concat_ws(' ', type, actor_type, actor_id, client_id, ip, request_id) FROM parako.audit_events
		WHERE actor_type = 'user' ORDER BY type`)
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("events = %q, want %q", got, want)
	}
}

func TestRegisterFindsEveryFault(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	only := func(method string) func(*signin.Registration) {
		return func(r *signin.Registration) { r.Rules.Signup.Methods = []string{method} }
	}
	for name, tt := range map[string]struct {
		edit func(*signin.Registration)
		want []error
	}{
		"everything": {
			func(r *signin.Registration) { r.Email, r.Username, r.Name, r.Password = "ann", "a b", "a\x00", "short" },
			[]error{directory.ErrEmailFormat, directory.ErrUsernameFormat, directory.ErrProfileFormat, factor.ErrPasswordLength},
		},
		"nothing": {
			func(r *signin.Registration) { r.Email, r.Password = "", "" },
			[]error{signin.ErrIdentifierMissing, factor.ErrPasswordLength},
		},
		"spaces": {func(r *signin.Registration) { r.Email, r.Username = " ", "\t" }, []error{signin.ErrIdentifierMissing}},
		"an identifier that is not on offer": {
			func(r *signin.Registration) {
				r.Email, r.Username = "", "ann"
				only(settings.SignupEmail)(r)
			},
			[]error{signin.ErrIdentifierMissing},
		},
		"an address where names are on offer": {only(settings.SignupUsername), []error{signin.ErrIdentifierMissing}},
		"the tenant's rules": {
			func(r *signin.Registration) { r.Rules.PasswordPolicy.RequireNumbers = true }, []error{factor.ErrPasswordPolicy},
		},
		"the name as password": {
			func(r *signin.Registration) { r.Name, r.Password = "Ann Ames-Archer", "ann ames-archer" }, []error{factor.ErrPasswordObvious},
		},
		"the company as password": {
			func(r *signin.Registration) { r.Company, r.Password = "Acme Rockets", "acme rockets!" }, []error{factor.ErrPasswordObvious},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// More often than anyone may register: what is wrong in itself does not count.
			for range 5 {
				token, err := w.try(tt.edit)
				if token != "" {
					t.Fatal("there is a session")
				}
				for _, want := range tt.want {
					if !errors.Is(err, want) {
						t.Fatalf("Register = %v, want %v", err, want)
					}
				}
			}
			if made := w.db.Ask(t, w.org, "SELECT username FROM parako.users"); len(made) > 0 {
				t.Errorf("accounts were made: %q", made)
			}
		})
	}
}

func TestRegisterIgnoresWhatIsNotOnOffer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.try(email("ann@acme.example"), func(r *signin.Registration) {
		r.Username = "not@a username"
		r.Rules.Signup.Methods = []string{settings.SignupEmail}
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := w.db.Ask(t, w.org, "SELECT 'x' FROM parako.users WHERE username = id::text AND email = 'ann@acme.example'"); len(got) != 1 {
		t.Error("the username was taken over")
	}
}

func TestTakenIdentifiersAreRefusedAlike(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := w.try(email("ann@acme.example"), func(r *signin.Registration) { r.Username = "ann" }); err != nil {
		t.Fatal(err)
	}
	before := w.db.Ask(t, w.org, "SELECT u::text || s::text FROM parako.users AS u, parako.sessions AS s")
	for i, edit := range []func(*signin.Registration){email("ANN@acme.example"), username("Ann"), func(r *signin.Registration) { r.Username = "ａｎｎ" }} {
		token, err := w.try(edit, from("192.0.2.2"))
		if !errors.Is(err, signin.ErrRegistrationRefused) || token != "" {
			t.Errorf("%d: Register = %q, %v, want %v", i, token, err, signin.ErrRegistrationRefused)
		}
	}
	if after := w.db.Ask(t, w.org, "SELECT u::text || s::text FROM parako.users AS u, parako.sessions AS s"); strings.Join(before, "") != strings.Join(after, "") {
		t.Errorf("rows went from %q to %q", before, after)
	}
	got := w.db.Ask(t, w.org, `SELECT concat_ws(' ', actor_type, target_type, client_id, ip, detail) FROM parako.audit_events WHERE type = 'registration.refused'`)
	if len(got) != 3 || got[0] != `anonymous  app 192.0.2.2 {"reason": "identifier_taken"}` {
		t.Errorf("events = %q", got)
	}
	for _, row := range w.db.Ask(t, w.org, "SELECT e::text FROM parako.audit_events AS e WHERE type = 'registration.refused'") {
		if strings.Contains(strings.ToLower(row), "ann") {
			t.Errorf("an event says what was typed: %s", row)
		}
	}
}

func TestAnotherTenantsAccountIsNotInTheWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := testkit.Tenant(t, w.logins.Store, "other")
	if err := w.logins.Store.InTenant(t.Context(), other.ID, func(ctx context.Context, tx *store.Tx) error {
		_, err := directory.Create(ctx, tx, directory.New{Username: "ann", Email: "ann@acme.example"})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.try(email("ann@acme.example"), func(r *signin.Registration) { r.Username = "ann" }); err != nil {
		t.Error(err)
	}
}

func TestRegistrationsAreLimited(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// Three from an address, whether they come to be or not; another address goes on.
	for i, edit := range []func(*signin.Registration){email("ann@acme.example"), email("ann@acme.example"), email("bob@acme.example")} {
		if _, err := w.try(edit); errors.Is(err, signin.ErrTooMany) {
			t.Fatalf("%d: %v", i, err)
		}
	}
	_, err := w.try()
	if wait, ok := errors.AsType[*signin.Throttled](err); !ok || wait.RetryAfter <= 0 {
		t.Errorf("the fourth = %v", err)
	}
	if _, err := w.try(from("192.0.2.2")); err != nil {
		t.Errorf("from another address: %v", err)
	}

	// A hundred refusals for the tenant, of which one is used up. What succeeds does not count.
	for range 98 {
		w.logins.Limiter.Consume(t.Context(), w.org, ratelimit.RegisterRefused(), "everybody")
	}
	for i, tt := range []struct {
		address string
		want    error
	}{
		{"cy@acme.example", nil},
		{"cy@acme.example", signin.ErrRegistrationRefused}, // the last
		{"dan@acme.example", signin.ErrTooMany},
		{"cy@acme.example", signin.ErrTooMany},
	} {
		if _, err := w.try(email(tt.address), from("198.51.100."+string(rune('1'+i)))); !errors.Is(err, tt.want) {
			t.Errorf("%d: Register = %v, want %v", i, err, tt.want)
		}
	}
}

func TestRegistrationInAnAnsweredInteraction(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.try(email("ann@acme.example"), func(r *signin.Registration) {
		if err := w.logins.Store.InTenant(t.Context(), w.org, func(ctx context.Context, tx *store.Tx) error {
			return signin.Finish(ctx, tx, r.Interaction.ID)
		}); err != nil {
			t.Fatal(err)
		}
	})
	if !errors.Is(err, signin.ErrExpired) {
		t.Errorf("Register = %v, want %v", err, signin.ErrExpired)
	}
	if got := w.db.Ask(t, w.org, "SELECT username FROM parako.users"); len(got) > 0 {
		t.Errorf("an account was made: %q", got)
	}
}

// TestATakenIdentifierCostsWhatAFreeOneDoes: the time of an answer says nothing that the answer does not say.
func TestATakenIdentifierCostsWhatAFreeOneDoes(t *testing.T) { //nolint:paralleltest // it counts what the whole process allocates
	w := newWorld(t)
	cost := func(want error, edit func(*signin.Registration)) uint64 {
		t.Helper()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := w.try(edit); !errors.Is(err, want) {
			t.Fatalf("Register = %v, want %v", err, want)
		}
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	const mebibyte = 1 << 20
	free, taken := cost(nil, email("ann@acme.example")), cost(signin.ErrRegistrationRefused, email("ann@acme.example"))
	if free < 10*mebibyte || taken < 10*mebibyte || max(free, taken)-min(free, taken) > 4*mebibyte {
		t.Errorf("a free identifier allocates %d bytes and a taken one %d, want a hash's worth each", free, taken)
	}
}
