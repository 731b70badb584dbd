package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"parako/internal/config"
	"parako/internal/oidc"
	"parako/internal/testkit/app"
)

// authority issues certificates.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

// certificate makes a certificate; a nil issuer has it sign itself.
func certificate(t *testing.T, issuer *authority, change func(*x509.Certificate)) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "client", Organization: []string{"Acme"}}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, DNSNames: []string{"client.acme.example"},
	}
	if change != nil {
		change(template)
	}
	parent, signer := template, key
	if issuer != nil {
		parent, signer = issuer.cert, issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{key: key, cert: cert}
}

func newAuthority(t *testing.T, parent *authority) authority {
	t.Helper()
	return certificate(t, parent, func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.Subject.CommonName, c.ExtKeyUsage, c.DNSNames = true, true, "authority", nil, nil
	})
}

// rfc9440 is a certificate as RFC 9440 sends it.
func (a authority) rfc9440() string {
	return ":" + base64.StdEncoding.EncodeToString(a.cert.Raw) + ":"
}

func (a authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

func (a authority) thumbprint() string {
	sum := sha256.Sum256(a.cert.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// token asks for a token of client_credentials with headers.
func (p party) token(t *testing.T, header http.Header, pairs ...string) reply {
	t.Helper()
	return p.send(t.Context(), t, "/token", header, edit(url.Values{"grant_type": {"client_credentials"}}, pairs...))
}

func TestMutualTLS(t *testing.T) {
	t.Parallel()
	root := newAuthority(t, nil)
	file := filepath.Join(t.TempDir(), "authorities.pem")
	if err := os.WriteFile(file, root.pem(), 0o600); err != nil {
		t.Fatal(err)
	}
	a := app.New(t, func(c *config.Config) { c.ClientCertificateHeader, c.ClientCAFile = "Client-Cert", file })
	a.Configure(t, a.Acme, "features", `{"oidc":{"mtls":{"enabled":true}}}`)
	machine := func(change func(*oidc.NewClient)) party {
		t.Helper()
		p := newParty(t, a, a.Acme, a.Acme.M2M)
		return p.with(t, func(n *oidc.NewClient) {
			n.Preset, n.Scope, n.RedirectURIs = oidc.PresetM2M, "jobs:run", nil
			n.AllowedResources = []string{"urn:test:api"}
			change(n)
		})
	}
	sent := func(text string) http.Header { return http.Header{"Client-Cert": {text}} }

	t.Run("tls_client_auth", func(t *testing.T) {
		between := newAuthority(t, &root)
		good, deep := certificate(t, &root, nil), certificate(t, &between, nil)
		p := machine(func(n *oidc.NewClient) {
			n.TokenEndpointAuthMethod, n.TLSSANDNS = "tls_client_auth", "client.acme.example"
		})
		expect(t, p.token(t, sent(good.rfc9440())), http.StatusOK, "")
		expect(t, p.token(t, sent(url.PathEscape(string(good.pem())))), http.StatusOK, "")
		chain := sent(deep.rfc9440())
		chain.Set("Client-Cert-Chain", between.rfc9440())
		expect(t, p.token(t, chain), http.StatusOK, "")
		foreign := newAuthority(t, nil)
		for name, header := range map[string]http.Header{
			"nothing":            nil,
			"garbage":            sent(":garbage:"),
			"twice":              {"Client-Cert": {good.rfc9440(), good.rfc9440()}},
			"no chain":           sent(deep.rfc9440()),
			"of another issuer":  sent(certificate(t, &foreign, nil).rfc9440()),
			"self-signed":        sent(certificate(t, nil, nil).rfc9440()),
			"of another name":    sent(certificate(t, &root, func(c *x509.Certificate) { c.DNSNames = []string{"other.acme.example"} }).rfc9440()),
			"expired":            sent(certificate(t, &root, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }).rfc9440()),
			"of a server":        sent(certificate(t, &root, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }).rfc9440()),
			"in another header":  {"X-Client-Cert": {good.rfc9440()}},
			"as a common name":   sent(certificate(t, &root, func(c *x509.Certificate) { c.DNSNames, c.Subject.CommonName = nil, "client.acme.example" }).rfc9440()),
			"a wildcard of ours": sent(certificate(t, &root, func(c *x509.Certificate) { c.DNSNames = []string{"*.acme.example"} }).rfc9440()),
		} {
			if got := p.token(t, header); got.StatusCode != http.StatusUnauthorized || got.text("error") != "invalid_client" {
				t.Errorf("%s: %d %s", name, got.StatusCode, got.Text)
			}
		}
		expect(t, p.token(t, sent(good.rfc9440()), "client_secret", "x"), http.StatusUnauthorized, "invalid_client")

		dn := machine(func(n *oidc.NewClient) {
			n.TokenEndpointAuthMethod, n.TLSSubjectDN = "tls_client_auth", "CN=client,O=Acme"
		})
		expect(t, dn.token(t, sent(good.rfc9440())), http.StatusOK, "")
		expect(t, dn.token(t, sent(certificate(t, &root, func(c *x509.Certificate) { c.Subject.Organization = []string{"Globex"} }).rfc9440())), http.StatusUnauthorized, "invalid_client")
	})
	t.Run("self_signed_tls_client_auth and bound tokens", func(t *testing.T) {
		mine := certificate(t, nil, nil)
		keys := mustJSON(t, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: mine.key.Public(), KeyID: "1"}}})
		p := machine(func(n *oidc.NewClient) {
			n.TokenEndpointAuthMethod, n.JWKS, n.TLSBound = "self_signed_tls_client_auth", keys, true
		})
		got := p.token(t, sent(mine.rfc9440()), "resource", "urn:test:api")
		expect(t, got, http.StatusOK, "")
		cnf, _ := claimsOf(t, got.text("access_token"))["cnf"].(map[string]any)
		if cnf["x5t#S256"] != mine.thumbprint() || got.text("token_type") != "Bearer" {
			t.Errorf("cnf = %v, token_type = %s", cnf, got.text("token_type"))
		}
		for name, header := range map[string]http.Header{
			"nothing": nil, "another": sent(certificate(t, nil, nil).rfc9440()), "of the authority": sent(certificate(t, &root, nil).rfc9440()),
		} {
			if got := p.token(t, header); got.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s: %d %s", name, got.StatusCode, got.Text)
			}
		}
	})
	t.Run("a bound token needs its certificate", func(t *testing.T) {
		mine := certificate(t, nil, nil)
		p := newParty(t, a, a.Acme, a.Acme.Web).with(t, func(n *oidc.NewClient) { n.TLSBound = true })
		form := url.Values{"grant_type": {"authorization_code"}, "code": {p.code(t)}, "redirect_uri": {app.Callback}, "code_verifier": {verifier}}
		expect(t, p.send(t.Context(), t, "/token", nil, form), http.StatusBadRequest, "invalid_request")
		tokens := p.send(t.Context(), t, "/token", sent(mine.rfc9440()), form)
		expect(t, tokens, http.StatusOK, "")
		ask := func(header http.Header) reply {
			t.Helper()
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.tenant.Issuer+"/userinfo", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header = header.Clone()
			r.Header.Set("Authorization", "Bearer "+tokens.text("access_token"))
			return p.do(t, r)
		}
		expect(t, ask(sent(mine.rfc9440())), http.StatusOK, "")
		expect(t, ask(sent(certificate(t, nil, nil).rfc9440())), http.StatusUnauthorized, "invalid_token")
		expect(t, ask(http.Header{}), http.StatusUnauthorized, "invalid_token")
	})
}

// TestCertificatesOfStrangers come in a header from an address that is no trusted proxy, or to a server that takes none.
func TestCertificatesOfStrangers(t *testing.T) {
	t.Parallel()
	mine := certificate(t, nil, nil)
	keys := mustJSON(t, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: mine.key.Public(), KeyID: "1"}}})
	for name, change := range map[string]func(*config.Config){
		"no trusted proxy": func(c *config.Config) { c.ClientCertificateHeader, c.TrustedProxies = "Client-Cert", nil },
		"no header":        func(*config.Config) {},
	} {
		t.Run(name, func(t *testing.T) {
			a := app.New(t, change)
			a.Configure(t, a.Acme, "features", `{"oidc":{"mtls":{"enabled":true}}}`)
			p := newParty(t, a, a.Acme, a.Acme.M2M).with(t, func(n *oidc.NewClient) {
				n.Preset, n.RedirectURIs, n.TokenEndpointAuthMethod, n.JWKS, n.Scope = oidc.PresetM2M, nil, "self_signed_tls_client_auth", keys, "jobs:run"
			})
			expect(t, p.token(t, http.Header{"Client-Cert": {mine.rfc9440()}}), http.StatusUnauthorized, "invalid_client")
			document := app.Get(t, p.direct, p.tenant.Issuer+"/.well-known/openid-configuration").Text
			if strings.Contains(document, `"tls_client_auth"`) || !strings.Contains(document, `"self_signed_tls_client_auth"`) {
				t.Errorf("without authorities: %s", document)
			}
		})
	}
}
