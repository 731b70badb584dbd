package store_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"parako/internal/secret"
	"parako/internal/store"
	"parako/internal/testkit"
)

func TestBootstrapMakesWhatIsMissing(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	name := db.Name + ` "quoted"`
	for range 2 { // the second time everything is there
		if err := store.Bootstrap(t.Context(), secret.NewString(db.SuperDSN()), name); err != nil {
			t.Fatal(err)
		}
	}
	owner := text(t, connect(t, db.SuperDSN()), "SELECT datdba::regrole::text FROM pg_database WHERE datname = $1", name)
	if owner != "parako_owner" {
		t.Errorf("owner of the database = %s, want parako_owner", owner)
	}
}

func TestLoginAs(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	role := strings.ReplaceAll(db.Name, "test", "login") // roles belong to the whole server
	exec(t, db, "CREATE ROLE "+role+" NOLOGIN")
	const password = `it's "@/?#\ secret`
	got, err := store.LoginAs(t.Context(), secret.NewString(db.OwnerDSN()), role, secret.NewString(password))
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(got.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	if chosen, _ := u.User.Password(); u.User.Username() != role || chosen != password {
		t.Errorf("LoginAs gives user %s with password %q", u.User.Username(), chosen)
	}
	if diff := cmp.Diff(role, text(t, connect(t, got.Reveal()), "SELECT current_user")); diff != "" {
		t.Errorf("user of the new URL mismatch (-want +got)\n%s", diff)
	}
	stored := text(t, connect(t, db.SuperDSN()), "SELECT rolpassword FROM pg_authid WHERE rolname = $1", role)
	if !strings.HasPrefix(stored, "SCRAM-SHA-256$") {
		t.Errorf("password is stored as %.14s…", stored)
	}
}

func TestLoginAsNeedsAURL(t *testing.T) {
	t.Parallel()
	const keywords = "host=/tmp user=parako_owner password=hunter2"
	_, err := store.LoginAs(t.Context(), secret.NewString(keywords), "parako_app", secret.NewString("x"))
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("LoginAs: %v, want an error without the password", err)
	}
}
