package pages

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"strings"
	"testing"

	"parako/internal/i18n"
)

// TestLoginPageWeight is the promise to people on 2G: either page with the stylesheet stays below 15 kB, before any compression.
func TestLoginPageWeight(t *testing.T) {
	t.Parallel()
	r := newRenderer(t)
	brand := Brand{Light: map[string]string{}, Dark: map[string]string{}, FontSans: "Inter, Noto Sans"}
	for _, token := range r.sheet.tokens {
		brand.Light[token], brand.Dark[token] = "#123456", "#abcdef"
	}
	style := r.Stylesheet(brand).Body
	for _, name := range []string{"login_error", "register_error"} {
		page := []byte(render(t, r, samples()[name], acme("ru")))
		t.Logf("%s: page %d bytes (%d gzip), stylesheet %d bytes (%d gzip)", name, len(page), gzipped(t, page), len(style), gzipped(t, style))
		if total := len(page) + len(style); total >= 15_000 {
			t.Errorf("%s: together %d bytes, want fewer than 15000", name, total)
		}
	}
}

// TestPlatformPagesWeight has full pages with long names in a script of many bytes. Their stylesheet was loaded with the login page.
func TestPlatformPagesWeight(t *testing.T) {
	t.Parallel()
	r := newRenderer(t)
	full := TenantsView{PlatformShell: operator(acme("ru"), true), NewURL: "/platform/tenants/new", NextURL: "/platform/tenants?after=x"}
	one := TenantView{PlatformShell: operator(acme("ru"), true), Status: "active"}
	for i := range platformPage {
		slug := fmt.Sprintf("%s-%d", strings.Repeat("a", 30), i)
		full.Tenants = append(full.Tenants, TenantItem{Slug: slug, Name: strings.Repeat("Общество ", 3), Status: "active", URL: "/platform/tenants/" + slug})
		one.People = append(one.People, Person{Label: slug + "@example.org", Roles: "user, admin"})
	}
	for name, page := range map[string]sample{
		"tenants": func(r *Renderer, w io.Writer, _ Shell) error { return r.Tenants(w, full) },
		"tenant":  func(r *Renderer, w io.Writer, _ Shell) error { return r.Tenant(w, one) },
	} {
		if got := len(render(t, r, page, Shell{})); got >= 15_000 {
			t.Errorf("%s: %d bytes, want fewer than 15000", name, got)
		}
	}
}

func gzipped(t *testing.T, b []byte) int {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	if _, err := z.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Len()
}

func BenchmarkLogin(b *testing.B) {
	r := newRenderer(b)
	view := LoginView{Shell: acme("de"), Action: "/login", CancelAction: "/cancel", ClientName: "Photo Album"}
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Login(io.Discard, view); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNewRenderer(b *testing.B) {
	catalog, err := i18n.New()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := NewRenderer(catalog); err != nil {
			b.Fatal(err)
		}
	}
}
