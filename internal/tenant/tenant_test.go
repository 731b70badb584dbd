package tenant_test

import (
	"context"
	"net/url"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"parako/internal/tenant"
	"parako/internal/testkit"
)

func TestMain(m *testing.M) { os.Exit(testkit.Main(m)) }

func TestContext(t *testing.T) {
	t.Parallel()
	if got, ok := tenant.Lookup(t.Context()); ok {
		t.Errorf("Lookup finds %v where nobody put a tenant", got)
	}
	acme := tenant.Tenant{Slug: "acme"}
	ctx := tenant.With(t.Context(), acme)
	if diff := cmp.Diff(acme, tenant.From(ctx)); diff != "" {
		t.Errorf("From mismatch (-want +got)\n%s", diff)
	}
	if got, ok := tenant.Lookup(ctx); !ok || got.Slug != "acme" {
		t.Errorf("Lookup = %v, %t", got, ok)
	}
}

func TestFromPanicsWithoutATenant(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("From returns")
		}
	}()
	tenant.From(context.Background()) //nolint:usetesting // Not even the test's own context.
}

func TestIssuer(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		tenant tenant.Tenant
		base   string
		want   string
	}{
		"below the base":             {tenant.Tenant{Slug: "acme"}, "https://id.example.com", "https://acme.id.example.com/oidc/v1"},
		"with the port of the base":  {tenant.Tenant{Slug: "acme"}, "http://localhost:9007", "http://acme.localhost:9007/oidc/v1"},
		"its own domain":             {tenant.Tenant{Slug: "shop", Domain: "shop.example"}, "https://id.example.com", "https://shop.example/oidc/v1"},
		"its own domain has no port": {tenant.Tenant{Slug: "shop", Domain: "shop.example"}, "http://localhost:9007", "http://shop.example/oidc/v1"},
		"its own URL, as it is":      {tenant.Tenant{Slug: "old", Domain: "shop.example", IssuerURL: "https://legacy.example/x"}, "https://id.example.com", "https://legacy.example/x"},
		"the built-in tenant":        {tenant.Tenant{Slug: tenant.DefaultSlug}, "https://id.example.com", "https://id.example.com/oidc/v1"},
		"the platform's tenant":      {tenant.Tenant{Slug: tenant.PlatformsSlug}, "https://id.example.com", "https://_platforms.id.example.com/oidc/v1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base, err := url.Parse(tt.base)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, tt.tenant.Issuer(base, "/oidc/v1")); diff != "" {
				t.Errorf("Issuer mismatch (-want +got)\n%s", diff)
			}
		})
	}
}
