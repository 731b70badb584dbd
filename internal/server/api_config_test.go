package server_test

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/tenant"
	"parako/internal/testkit/app"
)

const (
	readConfig = "parako:cross-tenant:read"
	allConfig  = "parako:cross-tenant:read parako:cross-tenant:write"
)

// data is the data of an answer.
func (r reply) data() map[string]any {
	d, _ := r.body["data"].(map[string]any)
	return d
}

// rows are the data of an answer that is a list.
func (r reply) rows() (rows []map[string]any) {
	list, _ := r.body["data"].([]any)
	for _, each := range list {
		row, _ := each.(map[string]any)
		rows = append(rows, row)
	}
	return rows
}

// member finds what a path leads to.
func member(tree map[string]any, path string) any {
	var node any = tree
	for name := range strings.SplitSeq(path, ".") {
		object, _ := node.(map[string]any)
		node = object[name]
	}
	return node
}

// done fails the test when the answer is another than the status.
func done(t *testing.T, got reply, status int) reply {
	t.Helper()
	if got.StatusCode != status {
		t.Fatalf("%s %s: %d %s, want %d", got.Request.Method, got.Request.URL.Path, got.StatusCode, got.Text, status)
	}
	return got
}

// limits are the values that a refusal says the platform allows, by the setting.
func limits(got reply) map[string]any {
	found := map[string]any{}
	list, _ := got.body["errors"].([]any)
	for _, each := range list {
		fault, _ := each.(map[string]any)
		field, _ := fault["field"].(string)
		found[field] = fault["limit"]
	}
	return found
}

// everywhere are the settings of everybody.
var everywhere = app.Tenant{Tenant: tenant.Tenant{ID: tenant.DefaultID, Slug: tenant.DefaultSlug}}

// TestAPIConfig sets what a tenant overrides, as a client of the platform.
func TestAPIConfig(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	home := onPlatform(t, a)
	p := newProgram(t, a, home, allConfig)
	token := p.token(t, allConfig)
	others := func() []string {
		return a.DB.AskAbove(t, "SELECT t::text FROM parako.tenant_settings AS t WHERE tenant_id <> $1 ORDER BY 1", a.Acme.ID)
	}
	before := others()

	schema := done(t, p.call(t, token, http.MethodGet, "/config/schema/oidc", ""), http.StatusOK)
	if member(schema.data(), "properties.token_ttl.properties.access_token.maximum") != 86400.0 {
		t.Errorf("schema: %s", schema.Text)
	}
	refuses(t, p.call(t, token, http.MethodGet, "/config/schema/tenants", ""), http.StatusBadRequest, "section-not-allowed")
	none := done(t, p.call(t, token, http.MethodGet, "/tenants/acme/config", ""), http.StatusOK)
	if data, said := none.body["data"]; !said || data != nil {
		t.Errorf("nothing is set: %s", none.Text)
	}
	const one = "/tenants/acme/config/oidc"
	fresh := done(t, p.call(t, token, http.MethodGet, one, ""), http.StatusOK)
	if d := fresh.data(); d["version"] != 0.0 || !cmp.Equal(map[string]any{}, d["override"]) || member(d, "effective.token_ttl.access_token") != 3600.0 {
		t.Errorf("before: %s", fresh.Text)
	}
	put := done(t, p.call(t, token, http.MethodPut, one+"?reason=short+lives", `{"token_ttl":{"access_token":600,"client_credentials":120,"id_token":null}}`), http.StatusOK)
	want := map[string]any{"token_ttl": map[string]any{"access_token": 600.0, "client_credentials": 120.0}}
	if diff := cmp.Diff(want, put.data()["override"]); diff != "" || put.data()["version"] != 1.0 || member(put.data(), "effective.token_ttl.id_token") != 3600.0 {
		t.Errorf("put: %s (-want +got)\n%s", put.Text, diff)
	}
	if again := p.call(t, token, http.MethodGet, one, ""); again.Text != put.Text || again.Header.Get("ETag") != put.Header.Get("ETag") {
		t.Errorf("read %s, want what was answered: %s", again.Text, put.Text)
	}
	service := newParty(t, a, a.Acme, a.Acme.M2M)
	await(t, func() bool {
		life, _ := service.post(t, "/token", "grant_type", "client_credentials", "resource", "urn:test:api").body["expires_in"].(float64)
		return life <= 120
	})

	// What a patch does not name stays, and null is inherited.
	patched := done(t, p.call(t, token, http.MethodPatch, one, `{"token_ttl":{"client_credentials":null,"refresh_token":900}}`), http.StatusOK)
	want = map[string]any{"token_ttl": map[string]any{"access_token": 600.0, "refresh_token": 900.0}}
	if diff := cmp.Diff(want, patched.data()["override"]); diff != "" || member(patched.data(), "effective.token_ttl.client_credentials") != 3600.0 {
		t.Errorf("patch: %s (-want +got)\n%s", patched.Text, diff)
	}
	done(t, p.call(t, token, http.MethodPut, "/tenants/ACME/config/application", `{"title":"Acme"}`), http.StatusOK)
	all := done(t, p.call(t, token, http.MethodGet, "/tenants/acme/config", ""), http.StatusOK)
	if diff := cmp.Diff(map[string]any{"oidc": want, "application": map[string]any{"title": "Acme"}}, all.data()); diff != "" {
		t.Errorf("all (-want +got)\n%s", diff)
	}

	// A change may depend on the version that was read.
	p = newProgram(t, a, home, allConfig) // with a rate of its own
	token = p.token(t, allConfig)
	current := patched.Header.Get("ETag")
	elsewhere := p.call(t, token, http.MethodGet, "/tenants/globex/config/oidc", "").Header.Get("ETag")
	for _, stale := range []string{fresh.Header.Get("ETag"), put.Header.Get("ETag"), all.Header.Get("ETag") + `"x"`, elsewhere, "W/" + current} {
		for _, change := range []struct{ method, path, body string }{
			{http.MethodPut, one, `{}`}, {http.MethodPatch, one, `{"scopes":["roles"]}`}, {http.MethodPost, one + "/rollback", `{"version":1}`},
		} {
			refuses(t, p.call(t, token, change.method, change.path, change.body, "If-Match", stale), http.StatusPreconditionFailed, "precondition-failed")
		}
	}
	matching := done(t, p.call(t, token, http.MethodPatch, one, `{"scopes":["roles"]}`, "If-Match", current), http.StatusOK)
	refuses(t, p.call(t, token, http.MethodPatch, one, `{"scopes":["account"]}`, "If-Match", current), http.StatusPreconditionFailed, "precondition-failed")
	emptied := done(t, p.call(t, token, http.MethodPut, one, `{}`, "If-Match", "*"), http.StatusOK)
	if emptied.data()["version"] != 4.0 || matching.data()["version"] != 3.0 || !cmp.Equal(map[string]any{}, emptied.data()["override"]) {
		t.Errorf("emptied: %s", emptied.Text)
	}
	if diff := cmp.Diff(before, others()); diff != "" {
		t.Errorf("other tenants' settings have changed (-before +after)\n%s", diff)
	}

	// Each trail says what was done, and why.
	trail := func(at app.Tenant, kind string) (text string) {
		for _, e := range events(t, a, at) {
			if e.RequestID == put.Header.Get("X-Request-Id") && e.Type == kind {
				text = e.Status + " " + e.ActorType + " " + e.ActorID + " " + e.Text
			}
		}
		return text
	}
	for _, tt := range []struct {
		at    app.Tenant
		kind  string
		parts []string
	}{
		{a.Acme, "settings.changed", []string{"success operator api:", "short lives"}},
		{home, "api.request", []string{"success client ", a.Acme.ID.String(), "oidc", "/tenants/:slug/config/:section"}},
	} {
		for _, part := range tt.parts {
			if text := trail(tt.at, tt.kind); !strings.Contains(text, part) {
				t.Errorf("%s in the trail of %s lacks %q: %q", tt.kind, tt.at.Slug, part, text)
			}
		}
	}
}

// TestAPIConfigRefusals asks for what cannot be set, and as whoever must not.
func TestAPIConfigRefusals(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	home := onPlatform(t, a)
	a.Configure(t, a.Acme, "oidc", `{"token_ttl":{"access_token":600}}`)
	stored := func() []string {
		return a.DB.AskAbove(t, "SELECT t::text FROM parako.tenant_settings AS t UNION ALL SELECT v::text FROM parako.tenant_settings_history AS v ORDER BY 1")
	}
	before := stored()
	const one = "/tenants/acme/config/oidc"
	t.Run("refused", func(t *testing.T) {
		for name, tt := range map[string]struct {
			body   string
			status int
			kind   string
			fields []string // those complained of
			limits map[string]any
		}{
			"beyond limits": {
				`{"token_ttl":{"access_token":86400,"id_token":7200,"refresh_token":60}}`, 422, "constraint-violation", nil,
				map[string]any{"oidc.token_ttl.access_token": 3600.0, "oidc.token_ttl.id_token": 3600.0},
			},
			"out of range":        {`{"token_ttl":{"access_token":0,"refresh_token":-1}}`, 422, "validation", []string{"oidc.token_ttl.access_token", "oidc.token_ttl.refresh_token"}, nil},
			"range beside limits": {`{"token_ttl":{"access_token":0,"id_token":7200}}`, 422, "validation", []string{"oidc.token_ttl.access_token", "oidc.token_ttl.id_token"}, nil},
			"an unknown name":     {`{"token_ttl":{"acces_token":60}}`, 422, "validation", []string{"oidc"}, nil},
			"another section's":   {`{"title":"x"}`, 422, "validation", []string{"oidc"}, nil},
			"a wrong type":        {`{"token_ttl":{"access_token":"60"}}`, 422, "validation", []string{"oidc.token_ttl.access_token"}, nil},
			"a part of a second":  {`{"token_ttl":{"access_token":60.5}}`, 422, "validation", []string{"oidc.token_ttl.access_token"}, nil},
			"a text for an object": {
				`{"token_ttl":"long"}`, 422, "validation", []string{"oidc.token_ttl"}, nil,
			},
			"null":          {`null`, 422, "validation", []string{"(root)"}, nil},
			"a list":        {`[]`, 422, "validation", []string{"(root)"}, nil},
			"a text":        {`"x"`, 422, "validation", []string{"(root)"}, nil},
			"no JSON":       {`{"token_ttl":`, 400, "validation", nil, nil},
			"two documents": {`{} {}`, 400, "validation", nil, nil},
			"nothing":       {``, 400, "validation", nil, nil},
			"too much":      {`{"x":"` + strings.Repeat("x", 10<<10) + `"}`, 413, "body-too-large", nil, nil},
		} {
			t.Run(name, func(t *testing.T) {
				p := newProgram(t, a, home, allConfig)
				token := p.token(t, allConfig)
				for _, method := range []string{http.MethodPut, http.MethodPatch} {
					got := p.call(t, token, method, one, tt.body, "Content-Type", "application/json")
					refuses(t, got, tt.status, tt.kind)
					if tt.limits != nil {
						if diff := cmp.Diff(tt.limits, limits(got)); diff != "" {
							t.Errorf("%s: limits (-want +got)\n%s", method, diff)
						}
						continue
					}
					var fields []string
					for field := range limits(got) {
						fields = append(fields, field)
					}
					if diff := cmp.Diff(tt.fields, sorted(fields)); diff != "" {
						t.Errorf("%s: errors (-want +got)\n%s\n%s", method, diff, got.Text)
					}
				}
			})
		}
		t.Run("what is not there", func(t *testing.T) {
			p := newProgram(t, a, home, allConfig)
			token := p.token(t, allConfig)
			for _, section := range []string{"tenants", "OIDC", "_", a.Acme.ID.String()} {
				path := "/tenants/acme/config/" + section
				for _, call := range [][3]string{
					{http.MethodGet, path, ""},
					{http.MethodPut, path, `{}`},
					{http.MethodPatch, path, `{}`},
					{http.MethodGet, path + "/history", ""},
					{http.MethodGet, path + "/diff?from=1&to=1", ""},
					{http.MethodPost, path + "/rollback", `{"version":1}`},
				} {
					refuses(t, p.call(t, token, call[0], call[1], call[2]), http.StatusBadRequest, "section-not-allowed")
				}
			}
			for _, slug := range []string{"nobody", "default", a.Acme.ID.String()} {
				path := "/tenants/" + slug
				for _, call := range [][3]string{
					{http.MethodGet, path + "/config", ""},
					{http.MethodGet, path + "/config/oidc", ""},
					{http.MethodPut, path + "/config/oidc", `{}`},
					{http.MethodPatch, path + "/config/oidc", `{}`},
					{http.MethodGet, path + "/config/oidc/history", ""},
					{http.MethodGet, path + "/config/oidc/diff?from=1&to=1", ""},
					{http.MethodPost, path + "/config/oidc/rollback", `{"version":1}`},
					{http.MethodGet, path + "/explain?key=oidc.token_ttl.access_token", ""},
				} {
					refuses(t, p.call(t, token, call[0], call[1], call[2]), http.StatusNotFound, "tenant-not-found")
				}
			}
			refuses(t, p.call(t, token, http.MethodPost, one+"/rollback", `{"version":7}`), http.StatusNotFound, "not-found")
			refuses(t, p.call(t, token, http.MethodGet, one+"/diff?from=1&to=7", ""), http.StatusNotFound, "not-found")
			refuses(t, p.call(t, token, http.MethodGet, "/tenants/acme/explain?key=oidc.nothing", ""), http.StatusNotFound, "not-found")
			refuses(t, p.call(t, token, http.MethodGet, "/tenants/acme/explain", ""), http.StatusUnprocessableEntity, "validation")
			refuses(t, p.call(t, token, http.MethodGet, one+"/diff?from=1", ""), http.StatusUnprocessableEntity, "validation")
			refuses(t, p.call(t, token, http.MethodPost, one+"/rollback", `{"version":0}`), http.StatusUnprocessableEntity, "validation")
			refuses(t, p.call(t, token, http.MethodPut, one+"?reason="+strings.Repeat("x", 501), `{}`), http.StatusUnprocessableEntity, "validation")
			if got := faults(p.call(t, token, http.MethodPut, one+"?reason=two%0Alines", `{}`)); len(got) != 1 || !strings.HasPrefix(got[0], "reason: ") {
				t.Errorf("a reason of two lines: %q", got)
			}
		})
		t.Run("whoever must not", func(t *testing.T) {
			reader := newProgram(t, a, home, allConfig, allTenants)
			for _, call := range [][4]string{
				{readConfig, http.MethodPut, one, `{}`},
				{readConfig, http.MethodPatch, one, `{}`},
				{readConfig, http.MethodPost, one + "/rollback", `{"version":1}`},
				{allTenants, http.MethodPut, one, `{}`},
				{allTenants, http.MethodGet, one, ""},
				{allTenants, http.MethodGet, "/tenants/acme/config", ""},
				{allTenants, http.MethodGet, "/tenants/acme/explain?key=oidc.token_ttl.access_token", ""},
				{"parako:cross-tenant:write", http.MethodGet, one, ""},
				{allTenants, http.MethodGet, "/config/schema/oidc", ""},
			} {
				refuses(t, reader.call(t, reader.token(t, call[0]), call[1], call[2], call[3]), http.StatusForbidden, "scope-insufficient")
			}
			own := newProgram(t, a, a.Acme, allConfig, "parako:config:read", "parako:config:write")
			token := own.token(t, "parako:config:read parako:config:write "+allConfig)
			for _, call := range [][2]string{{http.MethodGet, ""}, {http.MethodPut, `{}`}, {http.MethodPatch, `{}`}} {
				refuses(t, own.call(t, token, call[0], one, call[1]), http.StatusForbidden, "scope-insufficient")
				refuses(t, reader.call(t, token, call[0], one, call[1]), http.StatusUnauthorized, "token-invalid")
			}
			refuses(t, own.call(t, token, http.MethodGet, "/config/schema/oidc", ""), http.StatusForbidden, "scope-insufficient")
		})
	})
	if diff := cmp.Diff(before, stored()); diff != "" {
		t.Errorf("what was refused has changed something (-before +after)\n%s", diff)
	}
}

// TestAPIConfigHistory goes back to what was set, and asks where a value comes from.
func TestAPIConfigHistory(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	home := onPlatform(t, a)
	p := newProgram(t, a, home, allConfig)
	token := p.token(t, allConfig)
	const one = "/tenants/acme/config/oidc"
	for _, life := range []int{600, 500, 400} {
		done(t, p.call(t, token, http.MethodPatch, one+"?reason=to+"+strconv.Itoa(life), `{"token_ttl":{"access_token":`+strconv.Itoa(life)+`}}`), http.StatusOK)
	}
	done(t, p.call(t, token, http.MethodPut, "/tenants/globex/config/oidc", `{"token_ttl":{"access_token":111}}`), http.StatusOK)

	var walked []string
	cursor, pages := "", 0
	for query := "?limit=2"; ; query = "?limit=2&after=" + cursor {
		got := done(t, p.call(t, token, http.MethodGet, one+"/history"+query, ""), http.StatusOK)
		pages++
		for _, v := range got.rows() {
			text, err := json.Marshal([]any{v["version"], v["by"], v["reason"], v["value"]})
			if err != nil {
				t.Fatal(err)
			}
			walked = append(walked, string(text))
		}
		next, _ := member(got.body, "pagination.next_cursor").(string)
		if next == "" || pages > 3 {
			break
		}
		cursor = next
	}
	by := `"operator api:` + p.client.ID + `"`
	want := []string{
		`[3,` + by + `,"to 400",{"token_ttl":{"access_token":400}}]`, `[2,` + by + `,"to 500",{"token_ttl":{"access_token":500}}]`,
		`[1,` + by + `,"to 600",{"token_ttl":{"access_token":600}}]`,
	}
	if diff := cmp.Diff(want, walked); diff != "" || pages != 2 {
		t.Errorf("history in %d pages (-want +got)\n%s", pages, diff)
	}
	for _, path := range []string{"/tenants/globex/config/oidc/history", "/tenants/acme/config/application/history", "/tenants"} {
		q := newProgram(t, a, home, allConfig, readTenants)
		refuses(t, q.call(t, q.token(t, allConfig+" "+readTenants), http.MethodGet, path+"?after="+cursor, ""), http.StatusUnprocessableEntity, "validation")
	}

	diff := done(t, p.call(t, token, http.MethodGet, one+"/diff?from=1&to=3", ""), http.StatusOK)
	if d := cmp.Diff([]map[string]any{{"path": "oidc.token_ttl.access_token", "before": 600.0, "after": 400.0}}, diff.rows()); d != "" {
		t.Errorf("difference (-want +got)\n%s", d)
	}
	if same := done(t, p.call(t, token, http.MethodGet, one+"/diff?from=2&to=2", ""), http.StatusOK); len(same.rows()) != 0 {
		t.Errorf("a version differs from itself: %s", same.Text)
	}

	back := done(t, p.call(t, token, http.MethodPost, one+"/rollback", `{"version":1,"reason":"too short"}`), http.StatusOK)
	if d := back.data(); d["version"] != 4.0 || member(d, "override.token_ttl.access_token") != 600.0 {
		t.Errorf("rollback: %s", back.Text)
	}
	newest := p.call(t, token, http.MethodGet, one+"/history?limit=1", "").rows()
	if len(newest) != 1 || newest[0]["reason"] != "too short" || newest[0]["version"] != 4.0 {
		t.Errorf("the newest version: %v", newest)
	}

	// The platform becomes stricter: what was set is held to it, and cannot be gone back to.
	explain := func(key string) map[string]any {
		return done(t, p.call(t, token, http.MethodGet, "/tenants/acme/explain?key="+key, ""), http.StatusOK).data()
	}
	if e := explain("oidc.token_ttl.access_token"); e["value"] != 600.0 || e["layer"] != "tenant" || e["clamped"] != false || e["bound"] != 3600.0 ||
		member(e, "set.by") != "operator api:"+p.client.ID || member(e, "set.reason") != "too short" || member(e, "set.version") != 4.0 {
		t.Errorf("explained: %v", e)
	}
	a.Configure(t, everywhere, "oidc", `{"token_ttl":{"access_token":450}}`)
	if e := explain("oidc.token_ttl.access_token"); e["value"] != 450.0 || e["layer"] != "platform" || e["clamped"] != true || e["tenant"] != 600.0 || e["bound"] != 450.0 {
		t.Errorf("explained: %v", e)
	}
	if d := p.call(t, token, http.MethodGet, one, "").data(); member(d, "override.token_ttl.access_token") != 600.0 || member(d, "effective.token_ttl.access_token") != 450.0 {
		t.Errorf("held to the limit: %v", d)
	}
	refused := p.call(t, token, http.MethodPost, one+"/rollback", `{"version":2}`)
	refuses(t, refused, http.StatusUnprocessableEntity, "constraint-violation")
	if diff := cmp.Diff(map[string]any{"oidc.token_ttl.access_token": 450.0}, limits(refused)); diff != "" {
		t.Errorf("limits (-want +got)\n%s", diff)
	}
	if member(p.call(t, token, http.MethodPost, one+"/rollback", `{"version":3}`).data(), "effective.token_ttl.access_token") != 400.0 {
		t.Error("what is within the limit cannot be gone back to")
	}
	if got := p.call(t, token, http.MethodGet, "/tenants/globex/config/oidc", "").data(); got["version"] != 1.0 || member(got, "override.token_ttl.access_token") != 111.0 {
		t.Errorf("another tenant: %v", got)
	}
}

// TestAPIConfigSecrets writes a secret, and looks for it.
func TestAPIConfigSecrets(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newProgram(t, a, onPlatform(t, a), allConfig)
	token := p.token(t, allConfig)
	const one, plain = "/tenants/acme/config/integrations", "correct-horse-battery"
	opened := func() string {
		var text string
		err := a.Store.InTenant(t.Context(), a.Acme.ID, func(ctx context.Context, tx *store.Tx) error {
			set, err := settings.Load(ctx, tx, settings.Layer{})
			if err != nil {
				return err
			}
			sealer, err := a.Vault.Sealer(ctx, tx)
			if err != nil {
				return err
			}
			opened, err := set.Integrations.Email.SMTPPassword.Open(sealer)
			text = opened.Reveal()
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	answers := []reply{
		p.call(t, token, http.MethodPut, one, `{"email":{"smtp_host":"smtp.acme.example","smtp_password":"`+plain+`"}}`),
		p.call(t, token, http.MethodPut, one, `{"email":{"smtp_host":"smtp.acme.example","from":"x@acme.example","smtp_password":"**masked**"}}`),
		p.call(t, token, http.MethodGet, one, ""),
		p.call(t, token, http.MethodGet, "/tenants/acme/config", ""),
		p.call(t, token, http.MethodGet, one+"/history", ""),
		p.call(t, token, http.MethodPost, one+"/rollback", `{"version":1}`),
		p.call(t, token, http.MethodGet, "/tenants/acme/explain?key=integrations.email.smtp_password", ""),
	}
	for _, got := range answers {
		if done(t, got, http.StatusOK); strings.Contains(got.Text, plain) || !strings.Contains(got.Text, "**masked**") {
			t.Errorf("%s %s: %s", got.Request.Method, got.Request.URL.Path, got.Text)
		}
	}
	if got := opened(); got != plain {
		t.Errorf("the secret became %q", got)
	}
	done(t, p.call(t, token, http.MethodPatch, one, `{"email":{"smtp_password":"another"}}`), http.StatusOK)
	diff := done(t, p.call(t, token, http.MethodGet, one+"/diff?from=1&to=4", ""), http.StatusOK)
	if rows := diff.rows(); len(rows) != 1 || rows[0]["before"] != "**masked**" || rows[0]["after"] != "**masked**" {
		t.Errorf("difference: %s", diff.Text)
	}
	refuses(t, p.call(t, token, http.MethodPatch, one, `{"email":{"smtp_host":"mail.evil.example"}}`), http.StatusUnprocessableEntity, "validation")
	refuses(t, p.call(t, token, http.MethodPatch, one, `{"email":{"smtp_Password":"`+plain+`"}}`), http.StatusUnprocessableEntity, "validation")
	refused := p.call(t, token, http.MethodPatch, one, `{"email":{"smtp_password":"`+strings.Repeat(plain, 200)+`"}}`)
	if refuses(t, refused, http.StatusUnprocessableEntity, "validation"); strings.Contains(refused.Text, plain) {
		t.Errorf("a refusal repeats the secret: %s", refused.Text)
	}
	stored := a.DB.AskAbove(t, "SELECT t::text FROM parako.tenant_settings AS t UNION ALL SELECT v::text FROM parako.tenant_settings_history AS v UNION ALL SELECT e::text FROM parako.audit_events AS e")
	if i := slices.IndexFunc(stored, func(row string) bool { return strings.Contains(row, plain) }); i >= 0 {
		t.Errorf("a row holds the secret: %s", stored[i])
	}
	if strings.Contains(a.Logs.String(), plain) {
		t.Error("the log holds the secret")
	}
}
