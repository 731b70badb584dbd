package server_test

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"parako/internal/tenant"
	"parako/internal/testkit/app"
)

// TestAPIBodies sends bodies that are no requests.
func TestAPIBodies(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newProgram(t, a, onPlatform(t, a), allTenants)
	token := p.token(t, allTenants)
	long := strings.Repeat("x", 10<<10)
	for name, tt := range map[string]struct {
		body, media string
		status      int
		kind        string
		faults      []string
	}{
		"no JSON":                {`{"slug":`, "application/json", 400, "validation", nil},
		"two documents":          {`{} {}`, "application/json", 400, "validation", nil},
		"nothing":                {``, "application/json", 400, "validation", nil},
		"a form":                 {`slug=x&display_name=x`, "application/x-www-form-urlencoded", 415, "unsupported-media-type", nil},
		"XML":                    {`<slug>x</slug>`, "application/xml", 415, "unsupported-media-type", nil},
		"too much":               {`{"slug":"x","display_name":"` + long + `"}`, "application/json", 413, "body-too-large", nil},
		"far too much":           {`{"slug":"x","display_name":"` + strings.Repeat(long, 20) + `"}`, "application/json", 413, "body-too-large", nil},
		"nothing in it":          {`{}`, "application/json", 422, "validation", []string{"display_name: is required", "slug: is required"}},
		"an unknown member":      {`{"slug":"x","display_name":"X","colour":"red"}`, "application/json", 422, "validation", []string{"colour: is unknown"}},
		"another kind of value":  {`{"slug":7,"display_name":"X"}`, "application/json", 422, "validation", []string{"slug: expected string"}},
		"null":                   {`{"slug":null,"display_name":"X"}`, "application/json", 422, "validation", []string{"slug: expected string"}},
		"a list":                 {`[]`, "application/json", 422, "validation", []string{"(root): expected object"}},
		"a slug that is none":    {`{"slug":"no slug!","display_name":"X"}`, "application/json", 422, "validation", []string{"slug: " + tenant.ErrSlugFormat.Message}},
		"a name that is none":    {`{"slug":"x","display_name":" "}`, "application/json", 422, "validation", []string{"display_name: " + tenant.ErrDisplayName.Message}},
		"a domain that is none":  {`{"slug":"x","display_name":"X","domain":"https://x.example"}`, "application/json", 422, "validation", []string{"domain: " + tenant.ErrDomainFormat.Message}},
		"an address as domain":   {`{"slug":"x","display_name":"X","domain":"10.0.0.1"}`, "application/json", 422, "validation", []string{"domain: " + tenant.ErrDomainFormat.Message}},
		"a public suffix":        {`{"slug":"x","display_name":"X","domain":"co.uk"}`, "application/json", 422, "validation", []string{"domain: " + tenant.ErrDomainRefused.Message}},
		"a reserved slug":        {`{"slug":"admin","display_name":"X"}`, "application/json", 409, "conflict", nil},
		"the platform's slug":    {`{"slug":"_platforms","display_name":"X"}`, "application/json", 409, "conflict", nil},
		"a slug that is taken":   {`{"slug":"ACME","display_name":"X"}`, "application/json", 409, "conflict", nil},
		"a slug like a punycode": {`{"slug":"xn--80ak6aa92e","display_name":"X"}`, "application/json", 409, "conflict", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := p.call(t, token, http.MethodPost, "/tenants", tt.body, "Content-Type", tt.media)
			refuses(t, got, tt.status, tt.kind)
			if diff := cmp.Diff(tt.faults, sorted(faults(got))); diff != "" {
				t.Errorf("errors (-want +got)\n%s", diff)
			}
			if tt.status == 400 && got.text("title") != "Malformed JSON" {
				t.Errorf("title %q", got.text("title"))
			}
		})
	}
	t.Run("a body that just fits", func(t *testing.T) {
		body := `{"slug":"x","display_name":"` + strings.Repeat("x", 255) + `"}`
		got := p.call(t, token, http.MethodPost, "/tenants", body+strings.Repeat(" ", 10<<10-len(body)))
		if got.StatusCode != http.StatusCreated {
			t.Errorf("%d %s", got.StatusCode, got.Text)
		}
	})
}

// TestAPITenants administers tenants.
func TestAPITenants(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	home := onPlatform(t, a)
	p := newProgram(t, a, home, allTenants)
	token := p.token(t, allTenants)
	data := func(got reply) map[string]any {
		d, _ := got.body["data"].(map[string]any)
		return d
	}

	created := p.call(t, token, http.MethodPost, "/tenants", `{"slug":" Initech ","display_name":" Initech Inc. ","domain":"Login.Initech.Example."}`)
	if created.StatusCode != http.StatusCreated || created.Header.Get("Location") != "/api/v1/tenants/initech" {
		t.Fatalf("%d to %q: %s", created.StatusCode, created.Header.Get("Location"), created.Text)
	}
	stored, err := tenant.BySlug(t.Context(), a.Store, "initech")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"id": stored.ID.String(), "slug": "initech", "display_name": "Initech Inc.", "domain": "login.initech.example", "status": "active",
		"issuer_url": "http://login.initech.example/oidc/v1",
		"created_at": stored.CreatedAt.UTC().Format(time.RFC3339Nano), "updated_at": stored.UpdatedAt.UTC().Format(time.RFC3339Nano),
	}
	if diff := cmp.Diff(want, data(created)); diff != "" {
		t.Errorf("created (-want +got)\n%s", diff)
	}
	issuer := as(t, a, "login.initech.example", "/oidc/v1/.well-known/openid-configuration", nil)
	if issuer.StatusCode != http.StatusOK || !strings.Contains(issuer.Text, `"issuer":"http://login.initech.example/oidc/v1"`) {
		t.Errorf("it is not served: %d", issuer.StatusCode)
	}
	refuses(t, p.call(t, token, http.MethodPost, "/tenants", `{"slug":"other","display_name":"Other","domain":"login.initech.example"}`), http.StatusConflict, "conflict")
	read := p.call(t, token, http.MethodGet, "/tenants/INITECH", "")
	if diff := cmp.Diff(want, data(read)); diff != "" || read.Header.Get("ETag") != created.Header.Get("ETag") || read.Header.Get("ETag") == "" {
		t.Errorf("read with ETag %q (-want +got)\n%s", read.Header.Get("ETag"), diff)
	}
	for _, path := range []string{"/tenants/nobody", "/tenants/default", "/tenants/_ops", "/tenants/canary-a", "/tenants/%2e%2e", "/tenants/%00", "/tenants/" + stored.ID.String()} {
		refuses(t, p.call(t, token, http.MethodGet, path, ""), http.StatusNotFound, "tenant-not-found")
		refuses(t, p.call(t, token, http.MethodPatch, path, `{"display_name":"x"}`), http.StatusNotFound, "tenant-not-found")
		refuses(t, p.call(t, token, http.MethodPut, path+"/status", `{"status":"archived"}`), http.StatusNotFound, "tenant-not-found")
	}
	if got := p.call(t, token, http.MethodGet, "/tenants/%00/certificate", ""); got.StatusCode != http.StatusNotFound {
		t.Errorf("the certificate of a name that cannot be: %d %s", got.StatusCode, got.Text)
	}
	for _, name := range []string{`a\u0000b`, `a\nb`} {
		refuses(t, p.call(t, token, http.MethodPost, "/tenants", `{"slug":"lines","display_name":"`+name+`"}`), http.StatusUnprocessableEntity, "validation")
		refuses(t, p.call(t, token, http.MethodPatch, "/tenants/acme", `{"display_name":"`+name+`"}`), http.StatusUnprocessableEntity, "validation")
	}
	refuses(t, p.call(t, token, http.MethodPatch, "/tenants/_platforms", `{"display_name":"x"}`), http.StatusConflict, "conflict")
	refuses(t, p.call(t, token, http.MethodPut, "/tenants/_platforms/status", `{"status":"suspended"}`), http.StatusConflict, "conflict")

	// Changes depend on the state that was read, when the caller says so.
	first, second := newProgram(t, a, home, allTenants), newProgram(t, a, home, allTenants) // with rates of their own
	p, token = first, first.token(t, allTenants)
	original := read.Header.Get("ETag")
	acme := p.call(t, token, http.MethodGet, "/tenants/acme", "").Header.Get("ETag")
	changed := p.call(t, token, http.MethodPatch, "/tenants/initech", `{"display_name":"Initrode"}`, "If-Match", original)
	if changed.StatusCode != http.StatusOK || data(changed)["display_name"] != "Initrode" || changed.Header.Get("ETag") == original {
		t.Errorf("change: %d %q %s", changed.StatusCode, changed.Header.Get("ETag"), changed.Text)
	}
	for _, stale := range []string{original, "W/" + changed.Header.Get("ETag"), `"x"`, acme, "x", ","} {
		refuses(t, p.call(t, token, http.MethodPatch, "/tenants/initech", `{"display_name":"Never"}`, "If-Match", stale), http.StatusPreconditionFailed, "precondition-failed")
		refuses(t, p.call(t, token, http.MethodPut, "/tenants/initech/status", `{"status":"archived"}`, "If-Match", stale), http.StatusPreconditionFailed, "precondition-failed")
	}
	if got := p.call(t, token, http.MethodPatch, "/tenants/initech", `{"display_name":"Initech"}`, "If-Match", `"x", `+changed.Header.Get("ETag")); got.StatusCode != http.StatusOK {
		t.Errorf("one of several: %d %s", got.StatusCode, got.Text)
	}
	if got := p.call(t, token, http.MethodPatch, "/tenants/initech", `{"display_name":"Initech"}`, "If-Match", "*"); got.StatusCode != http.StatusOK {
		t.Errorf("any: %d %s", got.StatusCode, got.Text)
	}
	if diff := cmp.Diff([]string{"display_name: " + tenant.ErrDisplayName.Message}, faults(p.call(t, token, http.MethodPatch, "/tenants/initech", `{"display_name":""}`))); diff != "" {
		t.Errorf("an empty name (-want +got)\n%s", diff)
	}

	p = newProgram(t, a, home, allTenants)
	token = p.token(t, allTenants)
	const ownIssuer = "https://id.initech.example/login"
	moved := done(t, p.call(t, token, http.MethodPatch, "/tenants/initech", `{"issuer_url":"`+ownIssuer+`"}`), http.StatusOK)
	if data(moved)["issuer_url"] != ownIssuer || data(moved)["display_name"] != "Initech" {
		t.Errorf("an issuer of its own: %s", moved.Text)
	}
	for body, want := range map[string]string{
		`{}`: "(root): must name what to change: display_name or issuer_url",
		`{"issuer_url":"http://id.initech.example/Login/"}`: "issuer_url: " + tenant.ErrIssuerFormat.Message,
		`{"issuer_url":7}`: "issuer_url: expected string",
	} {
		if diff := cmp.Diff([]string{want}, faults(p.call(t, token, http.MethodPatch, "/tenants/initech", body))); diff != "" {
			t.Errorf("%s (-want +got)\n%s", body, diff)
		}
	}
	refuses(t, p.call(t, token, http.MethodPatch, "/tenants/acme", `{"issuer_url":"`+ownIssuer+`"}`), http.StatusConflict, "conflict")
	back := done(t, p.call(t, token, http.MethodPatch, "/tenants/initech", `{"issuer_url":""}`), http.StatusOK)
	if data(back)["issuer_url"] != want["issuer_url"] {
		t.Errorf("its host's again: %s", back.Text)
	}

	p, token = second, second.token(t, allTenants)
	suspended := p.call(t, token, http.MethodPut, "/tenants/initech/status", `{"status":"suspended","reason":"unpaid"}`)
	if suspended.StatusCode != http.StatusOK || data(suspended)["status"] != "suspended" || data(suspended)["updated_at"] == want["updated_at"] {
		t.Fatalf("suspend: %d %s", suspended.StatusCode, suspended.Text)
	}
	await(t, func() bool {
		return app.Get(t, p.direct, "http://login.initech.example/oidc/v1/jwks").StatusCode == http.StatusForbidden
	})
	if got := p.call(t, token, http.MethodGet, "/tenants/initech", ""); got.StatusCode != http.StatusOK || data(got)["status"] != "suspended" {
		t.Errorf("the platform does not see it: %d %s", got.StatusCode, got.Text)
	}
	refuses(t, p.call(t, token, http.MethodPut, "/tenants/initech/status", `{"status":"gone"}`), http.StatusUnprocessableEntity, "validation")

	// The trail of the platform says who called, that of the tenant what was done to it.
	call := suspended.Header.Get("X-Request-Id")
	about := func(trail []event) (found []string) {
		for _, e := range trail {
			if e.RequestID == call {
				found = append(found, e.Type+" "+e.Status+" "+e.ActorType+" "+e.ActorID)
			}
		}
		return found
	}
	if diff := cmp.Diff([]string{"api.request success client " + p.client.ID}, about(events(t, a, home))); diff != "" {
		t.Errorf("the platform's trail (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff([]string{"tenant.status_changed success operator api:" + p.client.ID}, about(events(t, a, app.Tenant{Tenant: stored}))); diff != "" {
		t.Errorf("the tenant's trail (-want +got)\n%s", diff)
	}
	text := ""
	for _, e := range events(t, a, home) {
		if e.RequestID == call {
			text = e.Text
		}
	}
	for _, part := range []string{stored.ID.String(), "unpaid", "/tenants/:slug/status", "suspended"} {
		if !strings.Contains(text, part) {
			t.Errorf("the record lacks %q: %s", part, text)
		}
	}
}

// TestAPIRecord reads what is recorded of calls: changes and refusals, not what was merely read.
func TestAPIRecord(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	home := onPlatform(t, a)
	p := newProgram(t, a, home, allTenants)
	token, reader := p.token(t, allTenants), p.token(t, readTenants)
	read := p.call(t, token, http.MethodGet, "/tenants", "")
	denied := p.call(t, reader, http.MethodPost, "/tenants", `{"slug":"never","display_name":"Never"}`)
	unknown := p.call(t, token, http.MethodGet, "/secret-of-the-caller", "")
	stranger := p.call(t, "rubbish", http.MethodGet, "/tenants", "")
	records := map[string]string{}
	for _, e := range events(t, a, home) {
		if e.Type == "api.request" {
			records[e.RequestID] = e.Status + " " + e.ActorType + " " + e.ActorID + " " + e.Text
		}
	}
	for name, tt := range map[string]struct {
		call reply
		want string
	}{
		"reading":        {read, ""},
		"without scope":  {denied, `"status_code": "403"`},
		"unknown path":   {unknown, `"route": "unknown"`},
		"without client": {stranger, ""},
	} {
		got := records[tt.call.Header.Get("X-Request-Id")]
		if (tt.want == "") != (got == "") || !strings.Contains(strings.ReplaceAll(got, `""`, `"`), tt.want) {
			t.Errorf("%s: recorded %q, want %q", name, got, tt.want)
		}
		if got != "" && !strings.HasPrefix(got, "failed client "+p.client.ID) || strings.Contains(got, "secret-of-the-caller") {
			t.Errorf("%s: recorded %q", name, got)
		}
	}
}

// TestAPIPages walks through lists.
func TestAPIPages(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	home := onPlatform(t, a)
	p := newProgram(t, a, home, readTenants, "parako:tenants:write")
	token := p.token(t, readTenants)
	for _, slug := range []string{"delta", "bravo", "charlie"} {
		if _, err := tenant.Create(t.Context(), a.Store, tenant.New{Slug: slug, DisplayName: slug}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tenant.SetStatus(t.Context(), a.Store, "delta", tenant.Suspended, "test"); err != nil {
		t.Fatal(err)
	}
	page := func(query string) (slugs []string, pagination map[string]any) {
		t.Helper()
		got := p.call(t, token, http.MethodGet, "/tenants"+query, "")
		if got.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d %s", query, got.StatusCode, got.Text)
		}
		rows, _ := got.body["data"].([]any)
		for _, row := range rows {
			each, _ := row.(map[string]any)
			slug, _ := each["slug"].(string)
			slugs = append(slugs, slug)
		}
		pagination, _ = got.body["pagination"].(map[string]any)
		return slugs, pagination
	}
	everyone := []string{"_platforms", "acme", "bravo", "charlie", "delta", "globex"}
	all, pagination := page("?include_count=1")
	if diff := cmp.Diff(everyone, sorted(all)); diff != "" {
		t.Errorf("all (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"has_more": false, "next_cursor": nil, "total_count": 6.0}, pagination); diff != "" {
		t.Errorf("pagination (-want +got)\n%s", diff)
	}
	if _, pagination = page(""); cmp.Diff(map[string]any{"has_more": false, "next_cursor": nil}, pagination) != "" {
		t.Errorf("without count: %v", pagination)
	}
	ordered := all
	var walked []string
	query, cursor := "?limit=4", ""
	for range 3 {
		slugs, pagination := page(query)
		walked = append(walked, slugs...)
		if more, _ := pagination["has_more"].(bool); !more {
			break
		}
		cursor, _ = pagination["next_cursor"].(string)
		query = "?limit=4&after=" + cursor
	}
	if diff := cmp.Diff(ordered, walked); diff != "" {
		t.Errorf("page by page (-want +got)\n%s", diff)
	}
	for query, want := range map[string]int{"?limit=0": 1, "?limit=-3": 1, "?limit=1": 1, "?limit=101": 6, "?limit=many": 6, "?limit=": 6, "?limit=2": 2} {
		if slugs, _ := page(query); len(slugs) != want {
			t.Errorf("%s: %d entries, want %d", query, len(slugs), want)
		}
	}
	for status, want := range map[string][]string{"suspended": {"delta"}, "archived": nil} {
		if slugs, pagination := page("?status=" + status + "&include_count=true"); !slices.Equal(slugs, want) || pagination["total_count"] != float64(len(want)) {
			t.Errorf("%s: %v, %v", status, slugs, pagination)
		}
	}
	if got := faults(p.call(t, token, http.MethodGet, "/tenants?status=gone", "")); len(got) != 1 || !strings.HasPrefix(got[0], "status: ") {
		t.Errorf("an unknown status: %q", got)
	}

	text, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]string
	if err := json.Unmarshal(text, &members); err != nil || members["slug"] != ordered[3] || members["id"] == "" {
		t.Fatalf("cursor %s: %v", text, err)
	}
	encode := func(change map[string]string) string {
		c := maps.Clone(members)
		maps.Copy(c, change)
		text, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	if slugs, _ := page("?after=" + encode(nil)); len(slugs) != 2 {
		t.Errorf("the cursor as it was: %v", slugs)
	}
	for name, after := range map[string]string{
		"rubbish":           "rubbish!",
		"no JSON":           base64.RawURLEncoding.EncodeToString([]byte("x")),
		"another slug":      encode(map[string]string{"slug": "bravo"}),
		"another id":        encode(map[string]string{"id": uuid.NewString()}),
		"one member more":   encode(map[string]string{"status": "active"}),
		"no mac":            encode(map[string]string{"mac": ""}),
		"too long":          strings.Repeat("A", 3000),
		"another alphabet":  cursor + "==",
		"numbers in it":     base64.RawURLEncoding.EncodeToString([]byte(`{"slug":1}`)),
		"an empty document": base64.RawURLEncoding.EncodeToString([]byte(`{}`)),
		"nothing of it":     base64.RawURLEncoding.EncodeToString([]byte(`null`)),
	} {
		got := p.call(t, token, http.MethodGet, "/tenants?after="+after, "")
		refuses(t, got, http.StatusUnprocessableEntity, "validation")
		if diff := cmp.Diff([]string{"after: is not a cursor of this list"}, faults(got)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
}
