package db_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// login makes the login of a tenant, as `parako tenant auditor` does, and connects. label follows the tenant in its name.
func (tr trail) login(t *testing.T, tenant uuid.UUID, label string) *pgx.Conn {
	t.Helper()
	name := "parako_tenant_" + strings.ReplaceAll(tenant.String(), "-", "") + label
	tr.exec(t, "CREATE ROLE "+name+" LOGIN IN ROLE parako_tenant_auditor")
	conn, err := pgx.Connect(t.Context(), as(t, tr.SuperDSN(), name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close(context.WithoutCancel(t.Context()))
		_, _ = tr.super.Exec(context.WithoutCancel(t.Context()), "DROP ROLE "+name)
	})
	return conn
}

// auditor connects as parako_auditor.
func (tr trail) auditor(t *testing.T) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), as(t, tr.SuperDSN(), "parako_auditor"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// try runs one statement and returns its rows as text, or the SQLSTATE with which it is refused.
func try(t *testing.T, conn *pgx.Conn, sql string) (text []string, refused string) {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql)
	if err == nil {
		text, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return nil, pg.Code
	}
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return text, ""
}

// message is what PostgreSQL says about an error, or "" when there is none.
func message(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Message
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// populate puts one more of everything that has a view of its own into both tenants.
func (tr trail) populate(t *testing.T) {
	t.Helper()
	for tenant, mark := range map[uuid.UUID]string{tr.acme: "acme", tr.globex: "globex"} {
		for _, sql := range []string{
			"INSERT INTO parako.users (id, username, username_norm) VALUES ('00000000-0000-4000-8000-0000000000aa', '" + mark + "-ann', '" + mark + "-ann') RETURNING ''",
			"INSERT INTO parako.clients (id, client_name, application_type, token_endpoint_auth_method, grant_types, response_types) VALUES ('" + mark + "-shop', '" + mark + "', 'web', 'none', '{}', '{}') RETURNING ''",
			"INSERT INTO parako.signing_keys (id, kid, alg, status, promoted, public_jwk, private_key) VALUES (gen_random_uuid(), '" + mark + "-kid', 'ES256', 'active', true, '{}', '\\x" + fmt.Sprintf("%x", mark) + "') RETURNING ''",
			"INSERT INTO parako.data_keys (id, master_key_id, wrapped) VALUES (gen_random_uuid(), '" + mark + "-master', '\\x00') RETURNING ''",
			"INSERT INTO parako.tenant_settings (id, section, value) VALUES (gen_random_uuid(), 'branding', '{}') RETURNING ''",
			"INSERT INTO parako.grants (id, client_id, user_id, scopes, auth_time, acr, amr, expires_at) VALUES (gen_random_uuid(), '" + mark + "-shop', '00000000-0000-4000-8000-0000000000aa', '{openid}', now(), '1', '{pwd}', now() + interval '1 day') RETURNING ''",
			"INSERT INTO parako.audit_events (id, type, status, actor_type, target_type, target_id, client_id, detail) SELECT gen_random_uuid(), y, 'success', 'operator', 'settings', 'branding', '" + mark + "-shop', '{\"grant_type\": \"refresh_token\"}' FROM unnest(ARRAY['settings.changed', 'token.issued']) AS y RETURNING ''",
		} {
			tr.Ask(t, tenant, sql)
		}
	}
	tr.exec(t, "INSERT INTO parako.audit_drops (partition, until, rows) VALUES ('audit_events_2020_01', '2020-02-01', 7)")
}

const tenantViews = "SELECT view_name FROM audit.promised_tenant_views ORDER BY view_name"

// TestAuditorReadsEveryTenant opens every view of schema audit as parako_auditor.
func TestAuditorReadsEveryTenant(t *testing.T) {
	t.Parallel()
	tr := newTrail(t)
	tr.populate(t)
	auditor := tr.auditor(t)
	for _, view := range column(t, tr.DB, "SELECT relname::text FROM pg_class WHERE relnamespace = 'audit'::regnamespace AND relkind = 'v'") {
		if _, refused := try(t, auditor, "SELECT v::text FROM audit."+view+" AS v"); refused != "" {
			t.Errorf("audit.%s: SQLSTATE %s", view, refused)
		}
	}
	for _, view := range column(t, tr.DB, tenantViews) {
		if view == "drops" || view == "partitions" { // of all tenants together
			continue
		}
		got, _ := try(t, auditor, "SELECT DISTINCT tenant FROM audit."+view+" WHERE tenant NOT IN ('default', 'canary-a', 'canary-b') ORDER BY tenant")
		if diff := cmp.Diff([]string{"acme", "globex"}, got); diff != "" {
			t.Errorf("tenants in audit.%s mismatch (-want +got)\n%s", view, diff)
		}
	}
	got, _ := try(t, auditor, "SELECT concat_ws(' ', tenant, table_name, rows) FROM audit.tenant_sizes WHERE tenant = 'acme' AND table_name IN ('users', 'user_passwords', 'audit_seals') ORDER BY table_name")
	if diff := cmp.Diff([]string{"acme audit_seals 2", "acme users 1"}, got); diff != "" {
		t.Errorf("sizes mismatch (-want +got)\n%s", diff)
	}
	if got, refused := try(t, auditor, "SELECT finding FROM audit.verify('"+tr.acme.String()+"')"); refused != "" || len(got) > 0 {
		t.Errorf("verification by the auditor: %q %s", got, refused)
	}
}

// TestTenantLoginSeesItsTenantAlone is what a customer's security team gets: plain psql, its own tenant's views.
func TestTenantLoginSeesItsTenantAlone(t *testing.T) {
	t.Parallel()
	tr := newTrail(t)
	tr.populate(t)
	plain, labelled := tr.login(t, tr.acme, ""), tr.login(t, tr.acme, "_soc2")
	open := column(t, tr.DB, tenantViews)
	for name, conn := range map[string]*pgx.Conn{"plain": plain, "with a label": labelled} {
		t.Run(name, func(t *testing.T) {
			for _, attempt := range []string{"", "SET app.tenant_id = '" + tr.globex.String() + "'"} {
				if attempt != "" {
					if _, err := conn.Exec(t.Context(), attempt); err != nil {
						t.Fatal(err)
					}
				}
				for _, view := range column(t, tr.DB, "SELECT relname::text FROM pg_class WHERE relnamespace = 'audit'::regnamespace AND relkind = 'v'") {
					rows, refused := try(t, conn, "SELECT v::text FROM audit."+view+" AS v")
					switch {
					case !slices.Contains(open, view):
						if refused != "42501" {
							t.Errorf("audit.%s: SQLSTATE %q, want 42501", view, refused)
						}
						continue
					case refused != "" || len(rows) == 0:
						t.Errorf("audit.%s: %d rows, SQLSTATE %q", view, len(rows), refused)
					}
					for _, row := range rows {
						if strings.Contains(row, "globex") || strings.Contains(row, tr.globex.String()) {
							t.Errorf("audit.%s shows another tenant: %s", view, row)
						}
					}
				}
			}
			if got, refused := try(t, conn, "SELECT finding FROM audit.verify('"+tr.acme.String()+"')"); refused != "" || len(got) > 0 {
				t.Errorf("verification of its own trail: %q %s", got, refused)
			}
			if _, refused := try(t, conn, "SELECT finding FROM audit.verify('"+tr.globex.String()+"')"); refused != "P0002" {
				t.Errorf("verification of another's trail: SQLSTATE %q, want P0002", refused)
			}
			for _, sql := range []string{
				"SELECT parako.set_tenant('" + tr.globex.String() + "')::text", "SELECT seal_no::text FROM audit.seal('" + tr.acme.String() + "')",
				"SET ROLE parako_app", "SET ROLE parako_auditor", "SET ROLE parako_owner", "CREATE TABLE public.mine ()", "CREATE SCHEMA mine",
				"SELECT parako.current_tenant()::text", "SELECT rolpassword FROM pg_authid", "COPY parako.users TO STDOUT",
			} {
				if _, refused := try(t, conn, sql); refused != "42501" {
					t.Errorf("%s: SQLSTATE %q, want 42501", sql, refused)
				}
			}
		})
	}
	t.Run("as the role it belongs to", func(t *testing.T) {
		if _, err := plain.Exec(t.Context(), "SET ROLE parako_tenant_auditor"); err != nil {
			t.Fatal(err)
		}
		for _, view := range open {
			if view == "drops" || view == "partitions" {
				continue
			}
			if rows, refused := try(t, plain, "SELECT v::text FROM audit."+view+" AS v"); refused != "" || len(rows) > 0 {
				t.Errorf("audit.%s without a tenant: %q %s", view, rows, refused)
			}
		}
	})
}

// TestAuditorsReadNoSecretColumn asks for every column of every table there is, and demands that all are refused that are
// not listed.
func TestAuditorsReadNoSecretColumn(t *testing.T) {
	t.Parallel()
	tr := newTrail(t)
	auditor, login := tr.auditor(t), tr.login(t, tr.acme, "")
	listed := column(t, tr.DB, `
		SELECT table_name || '.' || unnest(columns) FROM audit.promised_columns
		UNION
		SELECT table_name || '.' || tenant_column FROM audit.tables WHERE NOT global AND NOT partition`)
	all := column(t, tr.DB, `
		SELECT c.relname || '.' || a.attname
		  FROM pg_class AS c
		  JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		 WHERE c.relnamespace = 'parako'::regnamespace AND c.relkind IN ('r', 'p')`)
	open := 0
	for _, name := range all {
		table, col, _ := strings.Cut(name, ".")
		for who, conn := range map[string]*pgx.Conn{"parako_auditor": auditor, "the login of a tenant": login} {
			_, refused := try(t, conn, "SELECT coalesce("+col+"::text, '') FROM parako."+table)
			switch {
			case slices.Contains(listed, name) && refused != "":
				t.Errorf("%s cannot read %s: SQLSTATE %s", who, name, refused)
			case slices.Contains(listed, name):
				open++
			case refused != "42501":
				t.Errorf("%s reads %s: SQLSTATE %q, want 42501", who, name, refused)
			}
		}
		for who, conn := range map[string]*pgx.Conn{"parako_auditor": auditor, "the login of a tenant": login} {
			for _, sql := range []string{"UPDATE parako." + table + " SET " + col + " = " + col, "DELETE FROM parako." + table, "INSERT INTO parako." + table + " (" + col + ") VALUES (NULL)", "TRUNCATE parako." + table} {
				if _, refused := try(t, conn, sql); refused != "42501" {
					t.Errorf("%s: %s: SQLSTATE %q, want 42501", who, sql, refused)
				}
			}
		}
	}
	if open == 0 {
		t.Error("no column is open: this test proves nothing")
	}
	// Names that speak of secrets must not be listed, whatever the list says.
	for _, name := range listed {
		for _, word := range []string{"secret_digest", "private", "wrapped", "token_digest", "digest", "hash", "value", "password", "verifier"} {
			if strings.HasSuffix(name, "."+word) && name != "audit_seals.hash" {
				t.Errorf("auditors are shown %s", name)
			}
		}
	}
}

// TestLoginsWithoutATenantSeeNothing tries names that are nearly those of a tenant's login.
func TestLoginsWithoutATenantSeeNothing(t *testing.T) {
	t.Parallel()
	tr := newTrail(t)
	hex := strings.ReplaceAll(tr.acme.String(), "-", "")
	names := []string{
		"parako_tenant_" + hex[:31], "parako_tenant_" + hex + "0", "parako_tenant_" + hex + "_", `"parako_tenant_` + strings.ToUpper(hex) + `"`,
		"x_parako_tenant_" + hex, `"parako_tenant_` + hex + `_a b"`, `"parako_tenant_` + hex + "\n" + `"`,
	}
	for _, name := range names {
		tx, err := tr.super.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, sql := range []string{"CREATE ROLE " + name + " IN ROLE parako_tenant_auditor", "SET LOCAL ROLE " + name} {
			if _, err := tx.Exec(t.Context(), sql); err != nil {
				t.Fatalf("%s: %v", sql, err)
			}
		}
		var seen int
		if err := tx.QueryRow(t.Context(), "SELECT count(*) FROM audit.events").Scan(&seen); err != nil || seen != 0 {
			t.Errorf("%s sees %d events, %v", name, seen, err)
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
