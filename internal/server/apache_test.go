package server_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"

	"parako/internal/oidc"
	"parako/internal/outbound"
	"parako/internal/testkit/app"
)

// apacheModules is where Debian has the modules of Apache.
const apacheModules = "/usr/lib/apache2/modules"

// apacheProgram returns Apache, or skips the test where it or mod_auth_openidc is missing. CI has both.
func apacheProgram(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("apache2")
	if err != nil {
		program, err = exec.LookPath("/usr/sbin/apache2") // It is not in everybody's PATH.
	}
	if err == nil {
		_, err = os.Stat(filepath.Join(apacheModules, "mod_auth_openidc.so"))
	}
	switch {
	case err != nil && os.Getenv("CI") == "true":
		t.Fatalf("a test needs apache2 and libapache2-mod-auth-openidc: %v", err)
	case err != nil:
		t.Skipf("needs apache2 and libapache2-mod-auth-openidc, which CI has: %v", err)
	}
	return program
}

// apacheConfig is that of a server which signs people in before it passes them on to the application behind it.
var apacheConfig = template.Must(template.New("").Parse(`
{{range .Modules}}LoadModule {{.}}_module {{$.ModuleFolder}}/mod_{{.}}.so
{{end}}
ServerRoot "{{.Folder}}"
DefaultRuntimeDir "{{.Folder}}"
PidFile "{{.Folder}}/pid"
ErrorLog "{{.Folder}}/error.log"
LogLevel warn auth_openidc:info
{{if .Root}}User www-data
Group www-data
{{end}}
ServerName 127.0.0.1
Listen 127.0.0.1:{{.Port}}
StartServers 1
ServerLimit 1
ThreadsPerChild 16
MaxRequestWorkers 16
MinSpareThreads 1

OIDCProviderMetadataURL {{.Issuer}}/.well-known/openid-configuration
OIDCClientID {{.ClientID}}
OIDCClientSecret {{.ClientSecret}}
OIDCProviderTokenEndpointAuth client_secret_basic
OIDCPKCEMethod S256
OIDCScope "openid email"
OIDCRedirectURI http://127.0.0.1:{{.Port}}/app/oidc
OIDCCryptoPassphrase {{.Passphrase}}
OIDCHTTPTimeoutShort 60

ProxyPass /app/oidc !
ProxyPass /app {{.Application}}
ProxyPass /open {{.Application}}
<Location /app>
	AuthType openid-connect
	Require valid-user
</Location>
`))

// apacheSite is an Apache with mod_auth_openidc in front of an application.
type apacheSite struct {
	url, folder          string
	secret               string
	redirectURI, leaving string
}

// apacheSettings fill apacheConfig.
type apacheSettings struct {
	Modules                                     []string
	ModuleFolder, Folder, Port                  string
	Root                                        bool
	Issuer, ClientID, ClientSecret, Application string
	Passphrase                                  string
}

// newApache runs an Apache of the test's own on a free port of loopback. It touches nothing of the machine's.
func newApache(t *testing.T, tenant app.Tenant, clientID string) apacheSite {
	t.Helper()
	program := apacheProgram(t)
	sign := rand.Text()
	application := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %q %q", sign, r.URL, r.Header.Get("OIDC_CLAIM_sub"), r.Header.Get("OIDC_CLAIM_email"))
	}))
	t.Cleanup(application.Close)
	s := apacheSite{folder: t.TempDir(), secret: rand.Text() + rand.Text()}
	settings := apacheSettings{
		Modules: []string{"mpm_event", "authn_core", "authz_core", "authz_user", "auth_openidc", "proxy", "proxy_http"}, ModuleFolder: apacheModules,
		Folder: s.folder, Root: os.Getuid() == 0, Issuer: tenant.Issuer, ClientID: clientID, ClientSecret: s.secret, Application: application.URL,
		Passphrase: rand.Text(),
	}
	client := &http.Client{Transport: loopback(t)}
	for range 20 { // Somebody else may take the port before Apache does.
		settings.Port = freePort(t)
		s.url = "http://127.0.0.1:" + settings.Port
		if s.start(t, program, settings, client, sign) {
			s.redirectURI, s.leaving = s.url+"/app/oidc", s.url+"/open"
			return s
		}
	}
	t.Fatalf("Apache does not start:\n%s", s.log())
	return s
}

// start returns when Apache answers with what the application behind it says, or has ended.
func (s apacheSite) start(t *testing.T, program string, settings apacheSettings, client *http.Client, sign string) bool {
	t.Helper()
	var config, said bytes.Buffer
	if err := apacheConfig.Execute(&config, settings); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.folder, "apache2.conf")
	if err := os.WriteFile(file, config.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	cmd := exec.CommandContext(ctx, program, "-D", "FOREGROUND", "-f", file)
	cmd.Env = append(os.Environ(), "TMPDIR="+s.folder)
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		stop()
		<-ended
		if t.Failed() {
			t.Logf("Apache says:\n%s%s", &said, s.log())
		}
	})
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/open", nil); err != nil {
			t.Fatal(err)
		} else if _, _, body, err := send(client, r); err == nil && strings.HasPrefix(body, sign) {
			return true
		}
		select {
		case <-tick.C:
		case <-ended:
			return false
		}
	}
}

func (s apacheSite) log() string {
	text, _ := os.ReadFile(filepath.Join(s.folder, "error.log"))
	return string(text)
}

// freePort is a port of loopback that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// TestApache has a person of each tenant use an application behind Apache and mod_auth_openidc.
func TestApache(t *testing.T) {
	t.Parallel()
	apacheProgram(t)
	a := app.New(t)
	for _, tenants := range [][2]app.Tenant{{a.Acme, a.Globex}, {a.Globex, a.Acme}} {
		tenant, other := tenants[0], tenants[1]
		t.Run(tenant.Slug, func(t *testing.T) {
			clientID := "apache-" + tenant.Slug
			app.Get(t, a.Client(t), tenant.Issuer+"/jwks") // A tenant's first request makes its keys, and Apache has less patience than a busy machine needs.
			s := newApache(t, tenant, clientID)
			told := func(n *oidc.NewClient) {
				n.BackchannelLogoutURI, n.BackchannelLogoutSession = s.redirectURI+"?logout=backchannel", true
			}
			p := newParty(t, a, tenant, webClient(t, a, tenant, told, func(n *oidc.NewClient) {
				n.ID, n.Secret, n.Scope = clientID, s.secret, "openid email"
				n.RedirectURIs, n.PostLogoutRedirectURIs = []string{s.redirectURI}, []string{s.leaving}
			}))
			p.browser = visitor(t, a)
			p.step = &http.Client{Jar: p.browser.Jar, Transport: p.browser.Transport, CheckRedirect: p.step.CheckRedirect}
			page := s.url + "/app/page?x=1"
			greeting := fmt.Sprintf("/page?x=1 %q %q", tenant.User.ID, tenant.Email)

			signIn := func(t *testing.T) {
				t.Helper()
				back := p.SignIn(t, p.browser, page, tenant.Email, app.Password).String()
				if got := app.Get(t, p.step, back); got.Header.Get("Location") != page {
					t.Fatalf("back at the application: %d to %q\n%s", got.StatusCode, got.Header.Get("Location"), got.Text)
				}
				if got := app.Get(t, p.step, page); got.StatusCode != http.StatusOK || !strings.HasSuffix(got.Text, greeting) {
					t.Fatalf("the application: %d %s, want %s", got.StatusCode, got.Text, greeting)
				}
			}
			// asked is the authorization request to which the application sends somebody it does not know.
			asked := func(t *testing.T) *url.URL {
				t.Helper()
				got := app.Get(t, p.step, page)
				u, err := got.Location()
				if err != nil || got.StatusCode != http.StatusFound || !strings.HasPrefix(u.String(), tenant.Issuer+"/authorize?") {
					t.Fatalf("the application lets somebody in: %d to %v\n%s", got.StatusCode, u, got.Text)
				}
				return u
			}

			t.Run("an answer is for the browser that asked", func(t *testing.T) {
				request := asked(t).Query()
				if request.Get("code_challenge_method") != "S256" || request.Get("state") == "" || request.Get("nonce") == "" {
					t.Errorf("the request: %v", request)
				}
				back := p.SignIn(t, p.browser, page, tenant.Email, app.Password).String()
				stranger := visitor(t, a)
				for name, got := range map[string]app.Response{
					"another state":   app.Get(t, p.step, strings.Replace(back, "state=", "state=x", 1)),
					"another code":    app.Get(t, p.step, strings.Replace(back, "code=", "code=x", 1)),
					"another browser": app.Get(t, stranger, back),
				} {
					if got.Header.Get("Location") != "" { // Its own page about an error may well have the status 200.
						t.Errorf("%s: %d to %q", name, got.StatusCode, got.Header.Get("Location"))
					}
				}
				if got := app.Get(t, stranger, page); !strings.Contains(got.Text, `id="login-form"`) {
					t.Errorf("another browser is let in: %d %s", got.StatusCode, got.Text)
				}
				asked(t)
			})
			t.Run("signing out at the application", func(t *testing.T) {
				signIn(t)
				leave := app.Get(t, p.step, s.redirectURI+"?logout="+url.QueryEscape(s.leaving)).Header.Get("Location")
				if !strings.HasPrefix(leave, tenant.Issuer+"/session/end?") {
					t.Fatalf("the application sends to %q", leave)
				}
				if got := p.confirm(t, app.Get(t, p.step, leave)); got.Header.Get("Location") != s.leaving {
					t.Errorf("signed out: %d to %q", got.StatusCode, got.Header.Get("Location"))
				}
				asked(t)
				settled(t, a, tenant)
			})
			t.Run("signing out at the provider", func(t *testing.T) {
				signIn(t)
				// Another tenant's word about a client of the same name means nothing here.
				foreign := newParty(t, a, other, webClient(t, a, other, told, func(n *oidc.NewClient) { n.ID = p.client.ID }))
				id := foreign.delivery(t)
				if err := deliverer(t, a, other, outbound.Options{Loopback: true}).DeliverLogout(t.Context(), id); err != nil {
					t.Fatal(err)
				}
				if got := foreign.deliveryState(t, id); got != "1 given up the answer has status 400" {
					t.Errorf("the other tenant's logout is %q", got)
				}
				if got := app.Get(t, p.step, page); !strings.HasSuffix(got.Text, greeting) {
					t.Fatalf("the other tenant's logout ended the session: %d %s", got.StatusCode, got.Text)
				}

				p.confirm(t, p.endSession(t))
				settled(t, a, tenant)
				asked(t)
				if failed := a.DB.Ask(t, tenant.ID, "SELECT last_error FROM parako.logout_deliveries WHERE client_id = $1", p.client.ID); len(failed) > 0 {
					t.Errorf("the application was not told: %q", failed)
				}
			})
		})
	}
}
