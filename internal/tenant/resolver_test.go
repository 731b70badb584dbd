package tenant_test

import (
	"bytes"
	"database/sql"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"parako/internal/tenant"
	"parako/internal/testkit"
)

const (
	stranger = "203.0.113.9:50000"
	proxy    = "10.0.0.1:50000"
)

func TestResolve(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	for slug, domain := range map[string]string{
		"acme": "", "umbra": "", "a_b": "", "suspended": "", "archived": "closed.example", "shop": "shop.example",
		"books": "xn--bcher-kva.example", "claims": "unverified.example",
	} {
		if _, err := tenant.Create(t.Context(), s, tenant.New{Slug: slug, DisplayName: slug, Domain: domain, Base: base}); err != nil {
			t.Fatal(err)
		}
	}
	for _, status := range []tenant.Status{tenant.Suspended, tenant.Archived} {
		if _, err := tenant.SetStatus(t.Context(), s, string(status), status, "test"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tenant.EnsurePlatforms(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	super, err := sql.Open("pgx", db.SuperDSN()) // the store has registered the driver
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = super.Close() })
	if _, err := super.Exec("UPDATE parako.tenant_locators SET verified_at = NULL WHERE name = 'unverified.example'"); err != nil {
		t.Fatal(err)
	}
	registry := tenant.NewRegistry(s, slog.New(slog.DiscardHandler), time.Now)

	const (
		fallback  = "tenant_fallback_to_default"
		untrusted = "tenant_header_from_untrusted_peer"
	)
	type options = tenant.Options
	lenient := func(o *options) { o.Lenient = true }
	base := func(raw string) func(*options) {
		return func(o *options) {
			u, err := url.Parse(raw)
			if err != nil {
				t.Error(err)
			}
			o.Base = u
		}
	}
	tests := map[string]struct {
		host   string      // the Host header; empty: the base, id.example.com
		peer   string      // empty: a stranger
		header http.Header // keys as they are compared, in canonical form
		set    func(*options)
		want   string // the slug
		err    error
		log    string // what is warned about
	}{
		// The host alone.
		"a subdomain":                              {host: "acme.id.example.com", want: "acme"},
		"a subdomain in capitals":                  {host: "ACME.Id.Example.COM", want: "acme"},
		"a subdomain with a port":                  {host: "acme.id.example.com:8443", want: "acme"},
		"a subdomain with a final dot":             {host: "acme.id.example.com.", want: "acme"},
		"a subdomain with a final dot and a port":  {host: "acme.id.example.com.:8443", want: "acme"},
		"a subdomain with an underscore":           {host: "a_b.id.example.com", want: "a_b"},
		"a subdomain with an underscore, capitals": {host: "A_B.ID.EXAMPLE.COM", want: "a_b"},
		"a tenant with a domain, by its slug":      {host: "shop.id.example.com", want: "shop"},
		"an unknown subdomain":                     {host: "nobody.id.example.com", err: tenant.ErrUnknown},
		"a suspended tenant":                       {host: "suspended.id.example.com", err: tenant.ErrInactive},
		"an archived tenant":                       {host: "archived.id.example.com", err: tenant.ErrInactive},
		"a label below a tenant":                   {host: "www.acme.id.example.com", err: tenant.ErrUnknown},
		"a label that is no slug":                  {host: "-acme.id.example.com", err: tenant.ErrMalformed},
		"a label that is too long":                 {host: strings.Repeat("a", 64) + ".id.example.com", err: tenant.ErrMalformed},
		"a label of nothing":                       {host: ".id.example.com", err: tenant.ErrMalformed},
		"the built-in tenant cannot be asked for":  {host: "default.id.example.com", err: tenant.ErrUnknown},
		"the gateway's tenant":                     {host: "_ops.id.example.com", want: tenant.OpsSlug},
		"the platform's tenant":                    {host: "_platforms.id.example.com", want: tenant.PlatformsSlug},
		"another name with an underscore in front": {host: "_system.id.example.com", err: tenant.ErrMalformed},
		"a name that only ends like the base":      {host: "xid.example.com", err: tenant.ErrUnknown},
		"a name that only begins like the base":    {host: "acme.id.example.com.evil.example", err: tenant.ErrUnknown},
		"the parent of the base":                   {host: "example.com", err: tenant.ErrUnknown},
		"no name at all, in development":           {set: lenient, want: tenant.DefaultSlug, log: fallback},
		"no name at all":                           {err: tenant.ErrRequired},
		"the base in capitals":                     {host: "ID.EXAMPLE.COM", err: tenant.ErrRequired},
		"the base with a port and a final dot":     {host: "id.example.com.:443", err: tenant.ErrRequired},
		"an unknown subdomain, in development":     {host: "nobody.id.example.com", set: lenient, err: tenant.ErrUnknown},
		"a suspended tenant, in development":       {host: "suspended.id.example.com", set: lenient, err: tenant.ErrInactive},
		"an address":                               {host: "203.0.113.1", err: tenant.ErrRequired},
		"an address with a port":                   {host: "203.0.113.1:9007", err: tenant.ErrRequired},
		"an address of version 6":                  {host: "[2001:db8::1]", err: tenant.ErrRequired},
		"an address of version 6 with a port":      {host: "[2001:db8::1]:9007", err: tenant.ErrRequired},
		"an address of version 6 without brackets": {host: "2001:db8::1", err: tenant.ErrRequired},
		"an address, in development":               {host: "127.0.0.1:9007", set: lenient, want: tenant.DefaultSlug, log: fallback},
		"an address with a zone":                   {host: "[fe80::1%25eth0]", err: tenant.ErrMalformed},
		"a user in front of the host":              {host: "acme.id.example.com@evil.example", err: tenant.ErrMalformed},
		"a percent sign":                           {host: "acme%2eid.example.com", err: tenant.ErrMalformed},
		"a backslash":                              {host: `acme.id.example.com\.evil.example`, err: tenant.ErrMalformed},
		"a slash":                                  {host: "acme.id.example.com/evil", err: tenant.ErrMalformed},
		"a space":                                  {host: "acme.id.example.com evil.example", err: tenant.ErrMalformed},
		"a line break":                             {host: "acme.id.example.com\r\nx", err: tenant.ErrMalformed},
		"only a dot":                               {host: ".", err: tenant.ErrMalformed},
		"only a port":                              {host: ":443", err: tenant.ErrMalformed},
		"a host that is too long":                  {host: strings.Repeat("a.", 127) + "example", err: tenant.ErrMalformed},

		// A custom domain.
		"a domain":                            {host: "shop.example", want: "shop"},
		"a domain in capitals with a port":    {host: "SHOP.Example:443", want: "shop"},
		"a domain with a final dot":           {host: "shop.example.", want: "shop"},
		"a domain in its own script":          {host: "BÜCHER.example", want: "books"},
		"a domain in its own script, encoded": {host: "xn--bcher-kva.example", want: "books"},
		"a name below a domain":               {host: "www.shop.example", err: tenant.ErrUnknown},
		"an unknown domain":                   {host: "evil.example", err: tenant.ErrUnknown},
		"an unknown domain, in development":   {host: "evil.example", set: lenient, err: tenant.ErrUnknown},
		"a domain that is not verified":       {host: "unverified.example", err: tenant.ErrUnknown},
		"a domain of an archived tenant":      {host: "closed.example", err: tenant.ErrInactive},
		"a slug is not a host":                {host: "acme", err: tenant.ErrUnknown},

		// The header.
		"a header of a stranger":                   {header: http.Header{"X-Tenant-Id": {"acme"}}, err: tenant.ErrRequired, log: untrusted},
		"a header of a stranger does not confuse":  {host: "acme.id.example.com", header: http.Header{"X-Tenant-Id": {"umbra"}}, want: "acme", log: untrusted},
		"a stranger's header is not even read":     {host: "acme.id.example.com", header: http.Header{"X-Tenant-Id": {"!", "?"}}, want: "acme", log: untrusted},
		"a header of a proxy":                      {peer: proxy, header: http.Header{"X-Tenant-Id": {"acme"}}, want: "acme"},
		"a header of a proxy, mapped to version 6": {peer: "[::ffff:10.0.0.1]:50000", header: http.Header{"X-Tenant-Id": {"acme"}}, want: "acme"},
		"a header of a proxy without a port":       {peer: "10.0.0.1", header: http.Header{"X-Tenant-Id": {"acme"}}, want: "acme"},
		"a header of a peer that cannot be read":   {peer: "@", header: http.Header{"X-Tenant-Id": {"acme"}}, err: tenant.ErrRequired, log: untrusted},
		"a header with spaces around it":           {peer: proxy, header: http.Header{"X-Tenant-Id": {"  acme "}}, want: "acme"},
		"an empty header":                          {peer: proxy, header: http.Header{"X-Tenant-Id": {""}}, err: tenant.ErrRequired},
		"an empty header beside a host":            {host: "acme.id.example.com", peer: proxy, header: http.Header{"X-Tenant-Id": {" "}}, want: "acme"},
		"a header with the built-in tenant":        {peer: proxy, header: http.Header{"X-Tenant-Id": {"default"}}, err: tenant.ErrRequired},
		"the same, in development":                 {peer: proxy, header: http.Header{"X-Tenant-Id": {"default"}}, set: lenient, want: tenant.DefaultSlug, log: fallback},
		"the built-in tenant beside a host":        {host: "acme.id.example.com", peer: proxy, header: http.Header{"X-Tenant-Id": {"default"}}, want: "acme"},
		"a header that is no slug":                 {peer: proxy, header: http.Header{"X-Tenant-Id": {"Acme Inc."}}, err: tenant.ErrMalformed},
		"a header in capitals":                     {peer: proxy, header: http.Header{"X-Tenant-Id": {"ACME"}}, err: tenant.ErrMalformed},
		"a header that is no slug on a good host":  {host: "acme.id.example.com", peer: proxy, header: http.Header{"X-Tenant-Id": {"../acme"}}, err: tenant.ErrMalformed},
		"a header with a list":                     {peer: proxy, header: http.Header{"X-Tenant-Id": {"acme, umbra"}}, err: tenant.ErrMalformed},
		"two headers":                              {peer: proxy, header: http.Header{"X-Tenant-Id": {"acme", "umbra"}}, err: tenant.ErrAmbiguous},
		"two headers that agree":                   {peer: proxy, header: http.Header{"X-Tenant-Id": {"acme", "acme"}}, err: tenant.ErrAmbiguous},
		"a header with an unknown tenant":          {peer: proxy, header: http.Header{"X-Tenant-Id": {"nobody"}}, err: tenant.ErrUnknown},
		"a header with a suspended tenant":         {peer: proxy, header: http.Header{"X-Tenant-Id": {"suspended"}}, err: tenant.ErrInactive},
		"a header with an archived tenant":         {peer: proxy, header: http.Header{"X-Tenant-Id": {"archived"}}, err: tenant.ErrInactive},
		"a header with the gateway's tenant":       {peer: proxy, header: http.Header{"X-Tenant-Id": {"_ops"}}, want: tenant.OpsSlug},
		"a header with the platform's tenant":      {peer: proxy, header: http.Header{"X-Tenant-Id": {"_platforms"}}, want: tenant.PlatformsSlug},
		"a header with another underscore":         {peer: proxy, header: http.Header{"X-Tenant-Id": {"_system"}}, err: tenant.ErrMalformed},
		"a header on an address":                   {host: "10.0.0.2:9007", peer: proxy, header: http.Header{"X-Tenant-Id": {"acme"}}, want: "acme"},
		"header and host agree":                    {host: "acme.id.example.com", peer: proxy, header: http.Header{"X-Tenant-Id": {"acme"}}, want: "acme"},
		"header and host disagree":                 {host: "acme.id.example.com", peer: proxy, header: http.Header{"X-Tenant-Id": {"umbra"}}, err: tenant.ErrAmbiguous},
		"header and host disagree on the gateway":  {host: "acme.id.example.com", peer: proxy, header: http.Header{"X-Tenant-Id": {"_ops"}}, err: tenant.ErrAmbiguous},
		"header and domain agree":                  {host: "shop.example", peer: proxy, header: http.Header{"X-Tenant-Id": {"shop"}}, want: "shop"},
		"header and domain disagree":               {host: "shop.example", peer: proxy, header: http.Header{"X-Tenant-Id": {"acme"}}, err: tenant.ErrAmbiguous},
		"a header on an unknown domain":            {host: "evil.example", peer: proxy, header: http.Header{"X-Tenant-Id": {"acme"}}, err: tenant.ErrUnknown},
		"a header below a tenant":                  {host: "www.acme.id.example.com", peer: proxy, header: http.Header{"X-Tenant-Id": {"acme"}}, err: tenant.ErrUnknown},

		// The host a proxy forwards.
		"a forwarded host of a stranger":            {host: "acme.id.example.com", header: http.Header{"X-Forwarded-Host": {"umbra.id.example.com"}}, want: "acme"},
		"a forwarded host of a proxy":               {host: "app:9007", peer: proxy, header: http.Header{"X-Forwarded-Host": {"acme.id.example.com"}}, want: "acme"},
		"a forwarded host with capitals and a port": {host: "app:9007", peer: proxy, header: http.Header{"X-Forwarded-Host": {"ACME.id.example.com:443"}}, want: "acme"},
		"a forwarded domain":                        {host: "app:9007", peer: proxy, header: http.Header{"X-Forwarded-Host": {"shop.example"}}, want: "shop"},
		"two forwarded hosts":                       {host: "acme.id.example.com", peer: proxy, header: http.Header{"X-Forwarded-Host": {"umbra.id.example.com", "umbra.id.example.com"}}, want: "acme"},
		"a list of forwarded hosts":                 {host: "acme.id.example.com", peer: proxy, header: http.Header{"X-Forwarded-Host": {"umbra.id.example.com, umbra.id.example.com"}}, want: "acme"},
		"a forwarded host that is none":             {host: "acme.id.example.com", peer: proxy, header: http.Header{"X-Forwarded-Host": {"umbra@evil"}}, err: tenant.ErrMalformed},
		"a forwarded host and a header disagree":    {host: "app:9007", peer: proxy, header: http.Header{"X-Forwarded-Host": {"acme.id.example.com"}, "X-Tenant-Id": {"umbra"}}, err: tenant.ErrAmbiguous},

		// What the deployment chooses.
		"one tenant only: the base":              {set: func(o *options) { o.Enabled = false }, want: tenant.DefaultSlug},
		"one tenant only: any host, any header":  {host: "evil@example", peer: proxy, header: http.Header{"X-Tenant-Id": {"acme", "!"}}, set: func(o *options) { o.Enabled = false }, want: tenant.DefaultSlug},
		"no header: it is ignored":               {peer: proxy, header: http.Header{"X-Tenant-Id": {"acme"}}, set: func(o *options) { o.FromHeader = false }, err: tenant.ErrRequired},
		"no header: the host counts":             {host: "acme.id.example.com", peer: proxy, header: http.Header{"X-Tenant-Id": {"umbra"}}, set: func(o *options) { o.FromHeader = false }, want: "acme"},
		"no host: it is ignored":                 {host: "acme.id.example.com", set: func(o *options) { o.FromHost = false }, err: tenant.ErrRequired},
		"no host: the header counts":             {host: "acme.id.example.com", peer: proxy, header: http.Header{"X-Tenant-Id": {"umbra"}}, set: func(o *options) { o.FromHost = false }, want: "umbra"},
		"no host: no domain either":              {host: "shop.example", set: func(o *options) { o.FromHost = false }, err: tenant.ErrRequired},
		"another header":                         {peer: proxy, header: http.Header{"X-Org": {"acme"}, "X-Tenant-Id": {"!"}}, set: func(o *options) { o.Header = "x-org" }, want: "acme"},
		"a header configured in capitals":        {peer: proxy, header: http.Header{"X-Tenant-Id": {"acme"}}, set: func(o *options) { o.Header = "X-TENANT-ID" }, want: "acme"},
		"nobody is trusted":                      {host: "acme.id.example.com", peer: proxy, header: http.Header{"X-Forwarded-Host": {"umbra.id.example.com"}}, set: func(o *options) { o.Trusted = nil }, want: "acme"},
		"a base with a port":                     {host: "acme.localhost:9007", set: base("http://localhost:9007"), want: "acme"},
		"a base in capitals with a final dot":    {host: "acme.id.example.com", set: base("https://ID.example.com."), want: "acme"},
		"a base in its own script":               {host: "acme.xn--bcher-kva.test", set: base("https://bücher.test"), want: "acme"},
		"a base that is an address":              {host: "127.0.0.1:9007", set: base("http://127.0.0.1:9007"), err: tenant.ErrRequired},
		"a base that is an address of version 6": {host: "[::1]:9007", set: base("http://[::1]:9007"), err: tenant.ErrRequired},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var logged bytes.Buffer
			o := tenant.Options{
				Enabled: true, FromHeader: true, FromHost: true, Header: "x-tenant-id",
				Base:    &url.URL{Scheme: "https", Host: "id.example.com"},
				Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
				Log:     slog.New(slog.NewTextHandler(&logged, nil)),
			}
			if tt.set != nil {
				tt.set(&o)
			}
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Host, r.RemoteAddr, r.Header = tt.host, tt.peer, tt.header
			if r.Host == "" {
				r.Host = "id.example.com"
			}
			if r.RemoteAddr == "" {
				r.RemoteAddr = stranger
			}
			v := tenant.NewResolver(registry, o)
			got, err := v.Resolve(r)
			if got.Slug != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("Resolve = %q, %v; want %q, %v", got.Slug, err, tt.want, tt.err)
			}
			if tt.log == "" && logged.Len() > 0 || !strings.Contains(logged.String(), tt.log) {
				t.Errorf("log = %q, want %q", logged.String(), tt.log)
			}
			if gateway := v.Gateway(r); gateway != (got.Slug == tenant.OpsSlug) {
				t.Errorf("Gateway = %t, but Resolve = %q", gateway, got.Slug)
			}
		})
	}
}

func TestResolveWithoutADatabase(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	v := tenant.NewResolver(tenant.NewRegistry(s, slog.New(slog.DiscardHandler), time.Now), tenant.Options{
		Enabled: true, FromHost: true, Base: &url.URL{Scheme: "https", Host: "id.example.com"}, Log: slog.New(slog.DiscardHandler),
	})
	s.Close()
	for _, host := range []string{"acme.id.example.com", "shop.example"} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = host
		if got, err := v.Resolve(r); err == nil || errors.Is(err, tenant.ErrUnknown) {
			t.Errorf("Resolve of %s = %q, %v; want the database's error", host, got.Slug, err)
		}
		if v.Gateway(r) {
			t.Errorf("%s is the gateway", host)
		}
	}
}
