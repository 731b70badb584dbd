package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"

	"parako/internal/audit"
	"parako/internal/oidc"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/tenant"
	"parako/internal/testkit/app"
)

// program is a client of the Management API of a tenant.
type program struct {
	party
	contract *apiContract
}

// newProgram registers a client with scopes at a tenant.
func newProgram(t *testing.T, a *app.App, at app.Tenant, scopes ...string) program {
	t.Helper()
	client := register(t, a, at, oidc.NewClient{
		Preset: oidc.PresetAPIManagement, ResourcesScopes: strings.Join(scopes, " "), ClientMetadata: oidc.ClientMetadata{Name: "Automation"},
	})
	p := program{party: newParty(t, a, at, client)}
	p.contract = contract(t, app.Get(t, p.direct, p.origin()+"/api/v1/openapi.json").Text)
	return p
}

// apiContract checks answers against an OpenAPI document. It is safe for concurrent use.
type apiContract struct {
	mu        sync.Mutex
	validator validator.Validator
}

var (
	contractsMu sync.Mutex
	contracts   = map[string]*apiContract{} // by their text: the model of one takes tens of megabytes
)

func contract(t *testing.T, text string) *apiContract {
	t.Helper()
	contractsMu.Lock()
	defer contractsMu.Unlock()
	if known := contracts[text]; known != nil {
		return known
	}
	document, err := libopenapi.NewDocument([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	v, faults := validator.NewValidator(document)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	contracts[text] = &apiContract{validator: v}
	return contracts[text]
}

// check fails the test when an answer breaks the contract.
func (c *apiContract) check(t *testing.T, r *http.Request, answer *http.Response, text string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if ok, faults := c.validator.ValidateHttpResponse(r, answer); !ok {
		for _, fault := range faults {
			t.Errorf("%s %s: %d breaks the contract: %s\n%s", r.Method, r.URL.Path, answer.StatusCode, fault, text)
		}
	}
}

// onPlatform is the platform's own tenant.
func onPlatform(t *testing.T, a *app.App) app.Tenant {
	t.Helper()
	found, err := tenant.BySlug(t.Context(), a.Store, tenant.PlatformsSlug)
	if err != nil {
		t.Fatal(err)
	}
	base, err := a.Config.BaseURL()
	if err != nil {
		t.Fatal(err)
	}
	return app.Tenant{Tenant: found, Issuer: found.Issuer(base, oidc.Mount)}
}

const (
	apiResource = "urn:parako:api:v1"
	readTenants = "parako:tenants:read"
	allTenants  = "parako:tenants:read parako:tenants:write"
)

func (p program) origin() string { return strings.TrimSuffix(p.tenant.Issuer, oidc.Mount) }

// ask asks the token endpoint for a token for the API.
func (p program) ask(t *testing.T, scope string, pairs ...string) reply {
	t.Helper()
	return p.post(t, "/token", append([]string{"grant_type", "client_credentials", "resource", apiResource, "scope", scope}, pairs...)...)
}

func (p program) token(t *testing.T, scope string) string {
	t.Helper()
	got := p.ask(t, scope)
	expect(t, got, http.StatusOK, "")
	return got.text("access_token")
}

// call calls the API with a token and holds the answer to the contract.
func (p program) call(t *testing.T, token, method, path, body string, header ...string) reply {
	t.Helper()
	r := p.request(t, method, path, body, header...)
	if token != "" && r.Header.Get("Authorization") == "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return p.send(t, r)
}

func (p program) request(t *testing.T, method, path, body string, header ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, p.origin()+"/api/v1"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

func (p program) send(t *testing.T, r *http.Request) reply {
	t.Helper()
	got := reply{Response: app.Do(t, p.direct, r)}
	if err := json.Unmarshal([]byte(got.Text), &got.body); err != nil {
		t.Fatalf("%s %s: %d %q is not JSON: %v", r.Method, r.URL.Path, got.StatusCode, got.Text, err)
	}
	if got.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s %s: %d may be kept", r.Method, r.URL.Path, got.StatusCode)
	}
	media := "application/json"
	if got.StatusCode >= http.StatusBadRequest {
		media = "application/problem+json"
		want := map[string]any{"status": float64(got.StatusCode), "instance": r.URL.EscapedPath(), "request_id": got.Header.Get("X-Request-Id")}
		for name, value := range want {
			if got.body[name] != value {
				t.Errorf("%s %s: %s is %v, want %v", r.Method, r.URL.Path, name, got.body[name], value)
			}
		}
		if got.text("title") == "" || got.text("detail") == "" {
			t.Errorf("%s %s: no words: %s", r.Method, r.URL.Path, got.Text)
		}
	}
	if got.Header.Get("Content-Type") != media {
		t.Errorf("%s %s: Content-Type %q, want %q", r.Method, r.URL.Path, got.Header.Get("Content-Type"), media)
	}
	if documented(r.URL.Path) && p.tenant.Slug == tenant.PlatformsSlug && got.StatusCode != http.StatusMethodNotAllowed {
		answer := *got.Response.Response
		answer.Body = io.NopCloser(bytes.NewBufferString(got.Text))
		p.contract.check(t, r, &answer, got.Text)
	}
	return got
}

// documented reports whether a path that a test calls is in the document.
func documented(path string) bool {
	path, _ = strings.CutPrefix(path, "/api/v1")
	return !strings.HasSuffix(path, "/nowhere") && (strings.HasPrefix(path, "/tenants") || strings.HasPrefix(path, "/config/"))
}

// refuses checks status and type of a refusal.
func refuses(t *testing.T, got reply, status int, kind string) {
	t.Helper()
	if got.StatusCode != status || got.text("type") != "urn:parako:error:"+kind {
		t.Errorf("%s %s: %d %s, want %d %q", got.Request.Method, got.Request.URL.Path, got.StatusCode, got.Text, status, kind)
	}
}

// faults are the errors of a validation, as "field: message".
func faults(got reply) (all []string) {
	list, _ := got.body["errors"].([]any)
	for _, each := range list {
		fault, _ := each.(map[string]any)
		field, _ := fault["field"].(string)
		message, _ := fault["message"].(string)
		all = append(all, field+": "+message)
	}
	return all
}

func (p program) inTenant(t *testing.T, do func(context.Context, *store.Tx) error) {
	t.Helper()
	if err := p.Store.InTenant(t.Context(), p.tenant.ID, do); err != nil {
		t.Fatal(err)
	}
}

func (p program) change(t *testing.T, change func(*oidc.NewClient)) {
	t.Helper()
	p.inTenant(t, func(ctx context.Context, tx *store.Tx) error {
		_, err := oidc.ChangeClient(ctx, tx, p.Vault, settings.Layer{}, p.client.ID, audit.Operator("test"), func(n *oidc.NewClient) error {
			change(n)
			return nil
		})
		return err
	})
}
