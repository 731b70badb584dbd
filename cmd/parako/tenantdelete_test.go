package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	"parako/internal/tenant"
	"parako/internal/testkit"
)

// TestCertificateOutlivesItsKey has a certificate that no key in the database verifies any more. Whoever has kept the key set still
// gets it.
func TestCertificateOutlivesItsKey(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	acme := testkit.Tenant(t, s, "acme")
	if _, err := tenant.RequestDeletion(t.Context(), s, "acme", tenant.Deletion{Archive: true, Operator: "test"}); err != nil {
		t.Fatal(err)
	}
	db.Superuser(t, "UPDATE parako.tenants SET updated_at = now() - interval '1 minute' WHERE slug = 'acme'")
	const signed = "e30.e30.c2lnbmF0dXJl"
	if _, err := tenant.Purge(t.Context(), s, acme.ID, func(context.Context, []byte) (string, error) { return signed, nil }); err != nil {
		t.Fatal(err)
	}
	certificate := func(more ...string) (stdout, stderr string, err error) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "parako", append([]string{"tenant", "certificate", "--slug", "acme"}, more...)...)
		cmd.Env = append(os.Environ(), "STORAGE_POSTGRESQL_URL="+db.AppDSN(), "STORAGE_POSTGRESQL_PLATFORM_URL="+db.PlatformDSN())
		var out, said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &said
		err = cmd.Run()
		return out.String(), said.String(), err
	}
	if out, said, err := certificate("--raw"); err != nil || out != signed+"\n" || !strings.Contains(said, "not verified") {
		t.Errorf("--raw: %v\n%s%s", err, out, said)
	}
	if out, said, err := certificate(); err == nil || out != "" || !strings.Contains(said, "signed this certificate") {
		t.Errorf("a certificate that cannot be verified: %v\n%s%s", err, out, said)
	}
}
