package store_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"parako/internal/secret"
	"parako/internal/store"
	"parako/internal/testkit"
)

// TestTenantLogin makes a login, uses it, makes it again with another password, and takes it back under an open session.
func TestTenantLogin(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	acme, globex := testkit.Tenant(t, s, "acme").ID, testkit.Tenant(t, s, "globex").ID
	owner := secret.NewString(db.OwnerDSN())
	login := store.TenantLogin{Tenant: acme, Label: "soc", ValidUntil: time.Date(2099, 1, 31, 0, 0, 0, 0, time.UTC)}
	super := connect(t, db.SuperDSN())
	t.Cleanup(func() { _, _ = super.Exec(context.WithoutCancel(t.Context()), "DROP ROLE IF EXISTS "+login.Name()) })

	if err := login.Drop(t.Context(), owner); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("drop of a login that is not there: %v", err)
	}
	verifier := "SELECT rolpassword FROM pg_authid WHERE rolname = '" + login.Name() + "'"
	var address secret.String
	var stored []string
	for range 2 {
		var err error
		if address, err = login.Create(t.Context(), owner, secret.NewString(secret.Token())); err != nil {
			t.Fatal(err)
		}
		stored = append(stored, text(t, super, verifier))
	}
	if stored[0] == stored[1] {
		t.Error("the second time gives no new password")
	}
	const attributes = `SELECT concat_ws(' ', rolcanlogin AND rolinherit, rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication, rolconnlimit,
		rolvaliduntil AT TIME ZONE 'UTC', (SELECT string_agg(roleid::regrole::text, ',') FROM pg_auth_members WHERE member = r.oid)) FROM pg_roles AS r WHERE rolname = `
	want := "t f 3 2099-01-31 00:00:00 parako_tenant_auditor"
	if diff := cmp.Diff(want, text(t, super, attributes+"'"+login.Name()+"'")); diff != "" {
		t.Errorf("attributes of the role mismatch (-want +got)\n%s", diff)
	}

	conn, err := pgx.Connect(t.Context(), address.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	if got := text(t, conn, "SELECT string_agg(DISTINCT tenant, ',') FROM events"); got != "acme" {
		t.Errorf("the login sees the events of %s, want acme", got)
	}
	if got := text(t, conn, "SELECT count(*) FROM events WHERE tenant_id = '"+globex.String()+"'"); got != "0" {
		t.Errorf("the login sees %s events of another tenant", got)
	}
	if got := text(t, conn, "SELECT current_setting('default_transaction_read_only')"); got != "on" {
		t.Errorf("its transactions are read-only: %s", got)
	}
	if findings, err := s.Isolation(t.Context()); err != nil || len(findings) > 0 {
		t.Errorf("findings about the login: %v, %v", findings, err)
	}

	if err := login.Drop(t.Context(), owner); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "SELECT FROM events"); err == nil {
		t.Error("an open session of the login goes on reading after its end")
	}
	if _, err := pgx.Connect(t.Context(), address.Reveal()); err == nil {
		t.Error("the login connects after its end")
	}
}

func TestTenantLoginRefusals(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	acme := testkit.Tenant(t, db.Store(t), "acme").ID
	for _, label := range []string{"UPPER", "a b", "a'; --", "\"", "12345678901234567", "_"} {
		login := store.TenantLogin{Tenant: acme, Label: label}
		if _, err := login.Create(t.Context(), secret.NewString(db.OwnerDSN()), secret.NewString("x")); !errors.Is(err, store.ErrLoginLabel) {
			t.Errorf("label %q: %v, want %v", label, err, store.ErrLoginLabel)
		}
		if err := login.Drop(t.Context(), secret.NewString(db.OwnerDSN())); !errors.Is(err, store.ErrLoginLabel) {
			t.Errorf("drop with label %q: %v, want %v", label, err, store.ErrLoginLabel)
		}
	}
	// Whoever may not make roles is told what to do, and not the URL.
	app := secret.NewString(db.AppDSN())
	login := store.TenantLogin{Tenant: acme}
	if _, err := login.Create(t.Context(), app, secret.NewString("x")); err == nil || !strings.Contains(err.Error(), "parako_app may not do this here") || !strings.Contains(err.Error(), "--sql") {
		t.Errorf("as parako_app: %v", err)
	}
	for _, bad := range []string{"", "nonsense", "host=x password=hunter2", "postgres://u:hunter2@h:port/x"} {
		if _, err := login.Create(t.Context(), secret.NewString(bad), secret.NewString("x")); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("URL %q: %v", bad, err)
		}
	}
}
