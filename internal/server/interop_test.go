package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"parako/internal/testkit/app"
)

// interop is the folder of the client libraries in other languages.
const interop = "../../tools/interop"

// node returns the program, or skips the test where it or the libraries are missing. CI has both.
func node(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("node")
	if err == nil {
		_, err = os.Stat(filepath.Join(interop, "node_modules"))
	}
	switch {
	case err != nil && os.Getenv("CI") == "true":
		t.Fatalf("run npm ci in tools/interop: %v", err)
	case err != nil:
		t.Skipf("needs Node.js and npm ci in tools/interop, which CI has: %v", err)
	}
	return program
}

// loopback reaches this machine, whatever name an address has for it.
func loopback(t *testing.T) *http.Transport {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// page asks for pages as browsers do. Applications tell by that who can be sent away to sign in.
type page struct{ http.RoundTripper }

func (p page) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Accept", "text/html")
	return p.RoundTripper.RoundTrip(r)
}

// visitor is the browser of somebody who uses an application on this machine. It keeps cookies, and follows redirects to the
// server and no others.
func visitor(t *testing.T, a *app.App) *http.Client {
	t.Helper()
	browser := a.Browser(t)
	browser.Transport = page{loopback(t)}
	return browser
}

// openIDClientInput and openIDClientResult are what openid-client.mjs reads and prints.
type openIDClientInput struct {
	Issuer       string   `json:"issuer"`
	ClientID     string   `json:"client_id"`
	ClientSecret *string  `json:"client_secret"`
	RedirectURI  string   `json:"redirect_uri"`
	Identifier   string   `json:"identifier"`
	Password     string   `json:"password"`
	Machine      *machine `json:"machine"`
}

type machine struct {
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	Resource     string `json:"resource"`
	Scope        string `json:"scope"`
}

type openIDClientResult struct {
	Issuer        string              `json:"issuer"`
	Seen          []string            `json:"seen"`
	Claims        openIDClientClaims  `json:"claims"`
	Userinfo      openIDClientClaims  `json:"userinfo"`
	Scope         string              `json:"scope"`
	Rotated       bool                `json:"rotated"`
	Introspection *openIDClientActive `json:"introspection"`
	Revoked       string              `json:"revoked"`
	EndSession    string              `json:"end_session"`
	Machine       *openIDClientToken  `json:"machine"`
}

type openIDClientClaims struct {
	Sub           string `json:"sub"`
	Email         string `json:"email"`
	EmailVerified bool   `json:"email_verified"`
	Name          string `json:"name"`
}

type openIDClientActive struct {
	Active   bool   `json:"active"`
	Sub      string `json:"sub"`
	ClientID string `json:"client_id"`
}

type openIDClientToken struct {
	Header struct {
		Typ string `json:"typ"`
		Alg string `json:"alg"`
	} `json:"header"`
	Payload struct {
		Iss string `json:"iss"`
		Aud string `json:"aud"`
		Sub string `json:"sub"`
	} `json:"payload"`
	Scope string `json:"scope"`
}

// TestOpenIDClientForNode signs a person of each tenant in with the certified client library for Node.js, as a confidential and
// as a public client, all at the same server and at the same time.
func TestOpenIDClientForNode(t *testing.T) {
	t.Parallel()
	program := node(t)
	a := app.New(t)
	for _, tenant := range []app.Tenant{a.Acme, a.Globex} {
		service := &machine{ClientID: tenant.M2M.ID, ClientSecret: tenant.M2M.Secret, Resource: "urn:test:api", Scope: "read"}
		t.Run(tenant.Slug+" confidential", func(t *testing.T) {
			got := openIDClient(t, program, openIDClientInput{
				Issuer: tenant.Issuer, ClientID: tenant.Web.ID, ClientSecret: &tenant.Web.Secret, RedirectURI: app.Callback,
				Identifier: tenant.Email, Password: app.Password, Machine: service,
			})
			subject := tenant.User.ID.String()
			if diff := cmp.Diff(&openIDClientActive{Active: true, Sub: subject, ClientID: tenant.Web.ID}, got.Introspection); diff != "" {
				t.Errorf("introspection mismatch (-want +got)\n%s", diff)
			}
			want := &openIDClientToken{Scope: "read"}
			want.Header.Typ, want.Header.Alg = "at+jwt", "ES256"
			want.Payload.Iss, want.Payload.Aud, want.Payload.Sub = tenant.Issuer, "urn:test:api", tenant.M2M.ID
			if diff := cmp.Diff(want, got.Machine); diff != "" {
				t.Errorf("client_credentials mismatch (-want +got)\n%s", diff)
			}
			checkOpenIDClient(t, got, tenant)
		})
		t.Run(tenant.Slug+" public", func(t *testing.T) {
			checkOpenIDClient(t, openIDClient(t, program, openIDClientInput{
				Issuer: tenant.Issuer, ClientID: tenant.SPA.ID, RedirectURI: app.Callback, Identifier: tenant.Email, Password: app.Password,
			}), tenant)
		})
	}
}

func openIDClient(t *testing.T, program string, input openIDClientInput) openIDClientResult {
	t.Helper()
	var result openIDClientResult
	runNode(t, program, "openid-client.mjs", input, &result)
	return result
}

// runNode gives the script the input and reads what it prints into result.
func runNode(t *testing.T, program, script string, input, result any) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, script)
	var problems bytes.Buffer
	cmd.Dir, cmd.Stdin, cmd.Stderr = interop, bytes.NewReader(mustJSON(t, input)), &problems
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, &problems)
	}
	if err := json.Unmarshal(output, result); err != nil {
		t.Fatalf("%s printed %s: %v", script, output, err)
	}
}

// checkOpenIDClient checks what holds for every client of the tenant.
func checkOpenIDClient(t *testing.T, got openIDClientResult, tenant app.Tenant) {
	t.Helper()
	if got.Issuer != tenant.Issuer || !got.Rotated || got.Revoked != "invalid_grant" {
		t.Errorf("issuer %q, rotated %t, after the revocation %q", got.Issuer, got.Rotated, got.Revoked)
	}
	if diff := cmp.Diff([]string{"login", "consent"}, got.Seen); diff != "" {
		t.Errorf("pages mismatch (-want +got)\n%s", diff)
	}
	person := openIDClientClaims{Sub: tenant.User.ID.String(), Email: tenant.Email, EmailVerified: true, Name: "Pat Person"}
	if diff := cmp.Diff(person, got.Userinfo); diff != "" {
		t.Errorf("userinfo mismatch (-want +got)\n%s", diff)
	}
	if got.Claims.Sub != person.Sub {
		t.Errorf("the ID token is about %q, want %q", got.Claims.Sub, person.Sub)
	}
	end, err := url.Parse(got.EndSession)
	if err != nil || end.Query().Get("id_token_hint") == "" || end.Query().Get("client_id") == "" {
		t.Errorf("end_session = %q, %v", got.EndSession, err)
	}
}
