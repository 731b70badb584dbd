package server_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"parako/internal/config"
	"parako/internal/settings"
	"parako/internal/testkit/app"
)

var update = flag.Bool("update", false, "rewrite the golden documents in testdata")

// everything turns every switch of the protocol on, whatever it is called.
func everything(t *testing.T) string {
	t.Helper()
	features := settings.Default().Features
	turnOn(reflect.ValueOf(&features.OIDC).Elem())
	return string(mustJSON(t, features))
}

func turnOn(v reflect.Value) {
	for _, field := range v.Fields() {
		switch field.Kind() {
		case reflect.Bool:
			field.SetBool(true)
		case reflect.Struct:
			turnOn(field)
		default: // A name, which is a matter of taste.
		}
	}
}

// TestDiscoveryDocuments has the golden documents of a tenant as it comes and of one with everything on.
func TestDiscoveryDocuments(t *testing.T) {
	t.Parallel()
	root := newAuthority(t, nil)
	file := filepath.Join(t.TempDir(), "authorities.pem")
	if err := os.WriteFile(file, root.pem(), 0o600); err != nil {
		t.Fatal(err)
	}
	a := app.New(t, func(c *config.Config) { c.ClientCertificateHeader, c.ClientCAFile = "Client-Cert", file })
	a.Configure(t, a.Globex, "features", everything(t))
	a.Configure(t, a.Globex, "oidc", `{"scopes":["roles","account"],"discovery":{"service_documentation":"https://globex.example/docs"}}`)
	a.Configure(t, a.Globex, "integrations", `{"urls":{"privacy_policy":"https://globex.example/privacy","terms_of_service":"https://globex.example/terms"}}`)
	for name, tenant := range map[string]app.Tenant{"default": a.Acme, "everything": a.Globex} {
		t.Run(name, func(t *testing.T) {
			resp := app.Get(t, a.Client(t), tenant.Issuer+"/.well-known/openid-configuration")
			var got bytes.Buffer
			if err := json.Indent(&got, []byte(strings.ReplaceAll(resp.Text, tenant.Issuer, "https://id.example/oidc/v1")), "", "  "); err != nil {
				t.Fatal(err)
			}
			got.WriteByte('\n')
			golden := filepath.Join("testdata", "discovery_"+name+".json")
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("document mismatch (-want +got), rewrite with -update:\n%s", diff)
			}
			if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%d %s", resp.StatusCode, resp.Header.Get("Content-Type"))
			}
			checkEndpoints(t, a, []byte(resp.Text))
		})
	}
}

// checkEndpoints holds that every endpoint of a document is there.
func checkEndpoints(t *testing.T, a *app.App, document []byte) {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(document, &m); err != nil {
		t.Fatal(err)
	}
	for name, value := range m {
		target, _ := value.(string)
		if !strings.HasSuffix(name, "_endpoint") && name != "jwks_uri" && name != "check_session_iframe" {
			continue
		}
		if resp := app.Post(t, a.Client(t), target, nil); resp.StatusCode == http.StatusNotFound {
			if resp = app.Get(t, a.Client(t), target); resp.StatusCode == http.StatusNotFound {
				t.Errorf("%s is not there: %s", name, target)
			}
		}
	}
}
