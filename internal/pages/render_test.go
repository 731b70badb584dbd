package pages

import (
	"bytes"
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"parako/internal/i18n"
	"parako/templates"
)

var update = flag.Bool("update", false, "rewrite the golden pages in testdata")

// sample is a page ready to be rendered, in whatever shell.
type sample func(*Renderer, io.Writer, Shell) error

// samples are the pages with everything in them, under the names of their golden files, and with nothing in them, under zero_….
func samples() map[string]sample {
	const host = "https://photos.example"
	all := map[string]sample{
		"zero_login":      func(r *Renderer, w io.Writer, s Shell) error { return r.Login(w, LoginView{Shell: s}) },
		"zero_register":   func(r *Renderer, w io.Writer, s Shell) error { return r.Register(w, RegisterView{Shell: s}) },
		"zero_consent":    func(r *Renderer, w io.Writer, s Shell) error { return r.Consent(w, ConsentView{Shell: s}) },
		"zero_select":     func(r *Renderer, w io.Writer, s Shell) error { return r.Select(w, SelectView{Shell: s}) },
		"zero_answer":     func(r *Renderer, w io.Writer, s Shell) error { return r.Answer(w, AnswerView{Shell: s}) },
		"zero_device":     func(r *Renderer, w io.Writer, s Shell) error { return r.Device(w, DeviceView{Shell: s}) },
		"zero_logout":     func(r *Renderer, w io.Writer, s Shell) error { return r.Logout(w, LogoutView{Shell: s}) },
		"zero_logged_out": func(r *Renderer, w io.Writer, s Shell) error { return r.LoggedOut(w, LoggedOutView{Shell: s}) },
		"zero_error":      func(r *Renderer, w io.Writer, s Shell) error { return r.Error(w, ErrorView{Shell: s}) },
		"home_anonymous":  func(r *Renderer, w io.Writer, s Shell) error { return r.Home(w, HomeView{Shell: s}) },
		"login": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Login(w, LoginView{
				Shell: s, Action: "/interaction/1/login", CancelAction: "/interaction/1/abort", RegisterURL: "/interaction/1/register",
				ClientName: "Photo Album",
			})
		},
		"login_error": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Login(w, LoginView{
				Shell: s, Action: "/interaction/1/login", ClientName: "Photo Album", ClientLogoURL: host + "/logo.png",
				Identifier: "alice@acme.example", Error: LoginInvalid,
			})
		},
		"register": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Register(w, RegisterView{
				Shell: s, Action: "/interaction/1/register", CancelAction: "/interaction/1/abort", LoginURL: "/interaction/1/login",
				ClientName: "Photo Album", WithEmail: true, Email: "alice@acme.example", MinLength: 8, MaxLength: 128,
			})
		},
		"register_error": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Register(w, RegisterView{
				Shell: s, Action: "/interaction/1/register", ClientName: "Photo Album", ClientLogoURL: host + "/logo.png",
				WithEmail: true, WithUsername: true, Email: "alice", Username: "a b", Name: "Alice", MinLength: 12, MaxLength: 128,
				Uppercase: true, Lowercase: true, Number: true, Symbol: true, Error: RegisterRefused, EmailError: RegisterEmail,
				UsernameError: RegisterUsername, PasswordError: RegisterPassword, NameError: RegisterName,
			})
		},
		"consent": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Consent(w, ConsentView{
				Shell: s, Action: "/interaction/1/confirm", DenyAction: "/interaction/1/abort", SwitchAction: "/interaction/1/switch",
				ClientName: "Photo Album", ClientLogoURL: host + "/logo.png", ClientPolicyURL: host + "/privacy", ClientTermsURL: host + "/terms",
				RedirectHost: "photos.example", Account: "alice@acme.example", Unverified: true,
				Scopes: []string{"openid", "profile", "email", "phone", "address", "offline_access", "photos:read"},
			})
		},
		"select": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Select(w, SelectView{
				Shell: s, Action: "/interaction/1/select", SwitchAction: "/interaction/1/switch", CancelAction: "/interaction/1/abort",
				ClientName: "Photo Album", ClientLogoURL: host + "/logo.png", Account: "alice@acme.example",
			})
		},
		"answer": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Answer(w, AnswerView{Shell: s, Action: host + "/callback", Hidden: []Field{{Name: "code", Value: "a&b"}, {Name: "state", Value: "\""}}})
		},
		"device": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Device(w, DeviceView{Shell: s, Action: "/oidc/v1/device", UserCode: "BCDF-GHJK", Linked: true})
		},
		"device_error": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Device(w, DeviceView{Shell: s, Action: "/oidc/v1/device", UserCode: "123", Digits: true, Error: DeviceInvalid})
		},
		"device_consent": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Consent(w, ConsentView{
				Shell: s, Action: "/interaction/1/confirm", DenyAction: "/interaction/1/abort", SwitchAction: "/interaction/1/switch",
				ClientName: "Television", Account: "alice@acme.example", Scopes: []string{"openid"}, Device: true, DeviceIP: "203.0.113.7",
			})
		},
		"device_done": func(r *Renderer, w io.Writer, s Shell) error { return r.DeviceDone(w, DeviceDoneView{Shell: s}) },
		"device_denied": func(r *Renderer, w io.Writer, s Shell) error {
			return r.DeviceDone(w, DeviceDoneView{Shell: s, Denied: true})
		},
		"logout": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Logout(w, LogoutView{
				Shell: s, Action: "/oidc/v1/session/end/confirm", CancelURL: "/", Account: "alice@acme.example",
				Hidden: []Field{{Name: "state", Value: "a&b"}, {Name: "post_logout_redirect_uri", Value: host}},
			})
		},
		"logged_out": func(r *Renderer, w io.Writer, s Shell) error {
			return r.LoggedOut(w, LoggedOutView{Shell: s, ReturnURL: host, ClientName: "Photo Album"})
		},
		"logged_out_frames": func(r *Renderer, w io.Writer, s Shell) error {
			return r.LoggedOut(w, LoggedOutView{
				Shell: s, ReturnURL: "com.example.photos:/bye?a=b&c=d", ClientName: "Photo Album",
				Frames: []string{host + "/logout?iss=https%3A%2F%2Fid.example&sid=1", "https://maps.example/logout"},
			})
		},
		"error": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Error(w, ErrorView{
				Shell: s, Status: 400, Reason: ErrorClient, Detail: "invalid_client: The client does not exist.", HomeURL: "/",
			})
		},
		"home": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Home(w, HomeView{Shell: s, Account: "alice@acme.example", LogoutAction: "/oidc/v1/session/end"})
		},
		"zero_tenants": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Tenants(w, TenantsView{PlatformShell: PlatformShell{Shell: s}})
		},
		"zero_tenant": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Tenant(w, TenantView{PlatformShell: PlatformShell{Shell: s}})
		},
		"zero_new_tenant": func(r *Renderer, w io.Writer, s Shell) error {
			return r.NewTenant(w, NewTenantView{PlatformShell: PlatformShell{Shell: s}})
		},
		"zero_tenant_status": func(r *Renderer, w io.Writer, s Shell) error {
			return r.TenantStatus(w, TenantStatusView{PlatformShell: PlatformShell{Shell: s}})
		},
		"zero_setup": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Setup(w, SetupView{PlatformShell: PlatformShell{Shell: s}})
		},
		"tenants": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Tenants(w, TenantsView{
				PlatformShell: operator(s, true), Action: "/platform/tenants", Prefix: "ac", Status: "active",
				Filters: []TenantFilter{
					{URL: "/platform/tenants?slug=ac"},
					{Status: "active", Count: "1000+", URL: "/platform/tenants?slug=ac&status=active", Current: true},
					{Status: "suspended", Count: "2", URL: "/platform/tenants?slug=ac&status=suspended"},
				},
				Tenants: []TenantItem{
					{Slug: "acme", Name: "Acme & Söhne", Status: "active", URL: "/platform/tenants/acme"},
					{Slug: "actual", Name: "Actual", Status: "active", URL: "/platform/tenants/actual"},
				},
				NextURL: "/platform/tenants?after=actual&slug=ac&status=active", NewURL: "/platform/tenants/new",
			})
		},
		"tenant": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Tenant(w, TenantView{
				PlatformShell: operator(s, true), Slug: "acme", Name: "Acme & Söhne", Status: "active", Issuer: "https://acme.id.example/oidc/v1",
				Domain: "id.acme.example", Created: "2026-11-26 03:32 UTC", Revision: 7, Clients: "12",
				Changes: []StatusChange{{Status: "suspended", URL: "/platform/tenants/acme/status?status=suspended"}, {Status: "archived", URL: "/platform/tenants/acme/status?status=archived"}},
				People:  []Person{{Label: "alice@acme.example", Roles: "user, admin"}, {Label: "bob", Roles: "user", Disabled: true}},
				NextURL: "/platform/tenants/acme?after=bob#people",
			})
		},
		"tenant_viewed": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Tenant(w, TenantView{PlatformShell: operator(s, false), Slug: "acme", Name: "Acme", Status: "archived", Created: "2026-11-26 03:32 UTC"})
		},
		"new_tenant": func(r *Renderer, w io.Writer, s Shell) error {
			return r.NewTenant(w, NewTenantView{PlatformShell: operator(s, true), Action: "/platform/tenants/new", CancelURL: "/platform/tenants"})
		},
		"new_tenant_error": func(r *Renderer, w io.Writer, s Shell) error {
			return r.NewTenant(w, NewTenantView{
				PlatformShell: operator(s, true), Action: "/platform/tenants/new", CancelURL: "/platform/tenants", Slug: "ACME!", Name: "Acme", Domain: "https://x",
				SlugError: FormSlug, NameError: FormName, DomainError: FormDomain,
			})
		},
		"tenant_status": func(r *Renderer, w io.Writer, s Shell) error {
			return r.TenantStatus(w, TenantStatusView{
				PlatformShell: operator(s, true), Action: "/platform/tenants/acme/status", CancelURL: "/platform/tenants/acme", Slug: "acme", Name: "Acme & Söhne", To: "suspended",
			})
		},
		"setup": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Setup(w, SetupView{
				PlatformShell: operator(s, true), Action: "/platform/setup", Email: "alice@acme.example", Name: "Alice", MinLength: 8, MaxLength: 128,
				Uppercase: true, Lowercase: true, Number: true, Symbol: true, EmailError: FormEmailTaken, NameError: FormPerson, PasswordError: FormReused,
			})
		},
		"home_applications": func(r *Renderer, w io.Writer, s Shell) error {
			return r.Home(w, HomeView{
				Shell: s, Account: "alice@acme.example", LogoutAction: "/oidc/v1/session/end", Applications: []Application{
					{Name: "Maps", URL: "https://maps.example/login?iss=https%3A%2F%2Fid.example&a=b"},
					{Name: "Photo <Album>", LogoURL: host + "/logo.png", URL: host + "/login?iss=x"},
				},
			})
		},
	}
	maps.Copy(all, platformSamples())
	return all
}

// operator is the frame of the platform's pages.
func operator(s Shell, mayChange bool) PlatformShell {
	return PlatformShell{Shell: s, Account: "olga@parako.example", MayChange: mayChange, LogoutAction: "/oidc/v1/session/end"}
}

// acme is a shell with everything in it.
func acme(locale string) Shell {
	return Shell{
		Locale: locale, Company: "Acme & Söhne", StylesheetURL: "/static/0/app.css", RequestID: "01JQ6Z8Y4W3V9K2M5N7P8R0T1S",
		PrivacyURL: "https://acme.example/privacy", TermsURL: "https://acme.example/terms",
	}
}

func newRenderer(tb testing.TB) *Renderer {
	tb.Helper()
	catalog, err := i18n.New()
	if err != nil {
		tb.Fatal(err)
	}
	r, err := NewRenderer(catalog)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func render(t *testing.T, r *Renderer, page sample, s Shell) string {
	t.Helper()
	var body bytes.Buffer
	if err := page(r, &body, s); err != nil {
		t.Fatal(err)
	}
	return body.String()
}

func TestEveryPageInEveryLocale(t *testing.T) {
	t.Parallel()
	r := newRenderer(t)
	catalog, err := i18n.New()
	if err != nil {
		t.Fatal(err)
	}
	for name, page := range samples() {
		for _, locale := range catalog.Locales() {
			t.Run(name+"/"+locale, func(t *testing.T) {
				t.Parallel()
				shell := acme(locale)
				if strings.HasPrefix(name, "zero_") {
					shell = Shell{Locale: locale}
				}
				checkPage(t, render(t, r, page, shell), locale)
			})
		}
	}
	for _, reason := range []ErrorReason{
		ErrorRequest, ErrorClient, ErrorExpired, ErrorForbidden, ErrorInactive, ErrorNotFound, ErrorQuota, ErrorTooMany, ErrorInternal, ErrorUnavailable, "x",
	} {
		t.Run("error/"+string(reason), func(t *testing.T) {
			t.Parallel()
			page := func(r *Renderer, w io.Writer, s Shell) error { return r.Error(w, ErrorView{Shell: s, Reason: reason}) }
			checkPage(t, render(t, r, page, Shell{}), "en")
		})
	}
	for _, e := range formErrors {
		t.Run("form error/"+string(e), func(t *testing.T) {
			t.Parallel()
			page := func(r *Renderer, w io.Writer, s Shell) error {
				return errors.Join(
					r.NewTenant(w, NewTenantView{PlatformShell: PlatformShell{Shell: s}, SlugError: e, NameError: e, DomainError: e}),
					r.Setup(io.Discard, SetupView{PlatformShell: PlatformShell{Shell: s}, EmailError: e, NameError: e, PasswordError: e}),
				)
			}
			checkPage(t, render(t, r, page, Shell{}), "en")
		})
	}
	for _, e := range []DeviceError{DeviceInvalid, DeviceTooMany, "x"} {
		t.Run("device error/"+string(e), func(t *testing.T) {
			t.Parallel()
			page := func(r *Renderer, w io.Writer, s Shell) error { return r.Device(w, DeviceView{Shell: s, Error: e}) }
			checkPage(t, render(t, r, page, Shell{}), "en")
		})
	}
	for _, e := range []RegisterError{
		RegisterMissing, RegisterRefused, RegisterTooMany, RegisterEmail, RegisterUsername, RegisterPassword, RegisterObvious, RegisterName, "x",
	} {
		t.Run("register error/"+string(e), func(t *testing.T) {
			t.Parallel()
			page := func(r *Renderer, w io.Writer, s Shell) error {
				return r.Register(w, RegisterView{Shell: s, WithEmail: true, Error: e, EmailError: e, PasswordError: e, NameError: e})
			}
			checkPage(t, render(t, r, page, Shell{}), "en")
		})
	}
	for _, e := range []LoginError{
		LoginMissing, LoginInvalid, LoginUnavailable, LoginDisabled, LoginBlocked, LoginUnverified, LoginTooMany, "x",
	} {
		t.Run("login error/"+string(e), func(t *testing.T) {
			t.Parallel()
			page := func(r *Renderer, w io.Writer, s Shell) error { return r.Login(w, LoginView{Shell: s, Error: e}) }
			checkPage(t, render(t, r, page, Shell{}), "en")
		})
	}
}

// checkPage holds a page to what every page promises: well-formed, usable with a screen reader, translated, and at home under our CSP.
func checkPage(t *testing.T, body, locale string) {
	t.Helper()
	if bad := regexp.MustCompile(`{{|<no value>|ZgotmplZ|\b(common|login|register|select|consent|answer|device|scope|logout|logged_out|home|error|platform)\.[a-z_.]+`).
		FindString(body); bad != "" {
		t.Errorf("the page contains %q", bad)
	}
	checkNesting(t, body)

	doc, err := html.Parse(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	ids, labels, count := map[string]bool{}, map[string]bool{}, map[string]int{}
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		count[n.Data]++
		if id, ok := attr(n, "id"); ok {
			if ids[id] {
				t.Errorf("id %q is used twice", id)
			}
			ids[id] = true
		}
		if target, ok := attr(n, "for"); ok && n.Data == "label" {
			labels[target] = true
		}
	}
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode {
			checkElement(t, n, ids, labels)
		}
	}
	for _, once := range []string{"h1", "main", "header", "title", "link[stylesheet]"} {
		want := 1
		got := count[once]
		if once == "link[stylesheet]" {
			got = strings.Count(body, `rel="stylesheet"`)
		}
		if got != want {
			t.Errorf("%d %s, want %d", got, once, want)
		}
	}
	for _, never := range []string{"style", "object", "base"} {
		if count[never] > 0 {
			t.Errorf("the page has a <%s>", never)
		}
	}
	root := doc.LastChild
	if lang, _ := attr(root, "lang"); lang != locale {
		t.Errorf("lang = %q, want %q", lang, locale)
	}
	if dir, _ := attr(root, "dir"); dir != i18n.Dir(locale) {
		t.Errorf("dir = %q, want %q", dir, i18n.Dir(locale))
	}
}

func checkElement(t *testing.T, n *html.Node, ids, labels map[string]bool) {
	t.Helper()
	for _, a := range n.Attr {
		if a.Key == "style" || strings.HasPrefix(a.Key, "on") {
			t.Errorf("<%s> has the attribute %s, which the CSP refuses", n.Data, a.Key)
		}
		if a.Key != "aria-describedby" && a.Key != "aria-labelledby" {
			continue
		}
		for id := range strings.FieldsSeq(a.Val) {
			if !ids[id] {
				t.Errorf("<%s> %s = %q, which is not on the page", n.Data, a.Key, id)
			}
		}
	}
	switch n.Data {
	case "script":
		if src, _ := attr(n, "src"); !strings.HasPrefix(src, "/static/") || n.FirstChild != nil {
			t.Error("the page has an inline script, which the CSP refuses, or one of another origin")
		}
	case "iframe":
		_, unseen := attr(n, "hidden")
		if sandbox, _ := attr(n, "sandbox"); !unseen || sandbox != "allow-scripts allow-same-origin" {
			t.Errorf("a frame can be seen, or may do more than run its own scripts: %q", sandbox)
		}
	case "input", "select", "textarea":
		kind, _ := attr(n, "type")
		id, _ := attr(n, "id")
		if kind != "hidden" && !labels[id] {
			t.Errorf("the input %q has no label", id)
		}
		if value, ok := attr(n, "value"); kind == "password" && ok {
			t.Errorf("the page gives a password back: %q", value)
		}
	case "img":
		if _, ok := attr(n, "alt"); !ok {
			t.Error("an image has no alt")
		}
	case "a":
		if _, ok := attr(n, "href"); !ok {
			t.Error("a link leads nowhere")
		}
		if target, _ := attr(n, "target"); target == "_blank" {
			if rel, _ := attr(n, "rel"); rel != "noopener noreferrer" {
				t.Errorf("a link to a new tab has rel %q", rel)
			}
		}
	case "form":
		role, _ := attr(n, "role")
		if method, _ := attr(n, "method"); method != "post" && (method != "get" || role != "search") {
			t.Errorf("a form has method %q", method)
		}
	}
}

// checkNesting reports tags that are left open or closed in the wrong order, which a parser of HTML repairs in silence.
func checkNesting(t *testing.T, body string) {
	t.Helper()
	void := []string{"meta", "link", "input", "img", "source", "br"}
	var open []string
	for z := html.NewTokenizer(strings.NewReader(body)); ; {
		switch z.Next() {
		case html.StartTagToken:
			if name, _ := z.TagName(); !slices.Contains(void, string(name)) {
				open = append(open, string(name))
			}
		case html.EndTagToken:
			name, _ := z.TagName()
			if len(open) == 0 || open[len(open)-1] != string(name) {
				t.Errorf("</%s> closes %v", name, open)
				return
			}
			open = open[:len(open)-1]
		case html.ErrorToken:
			if !errors.Is(z.Err(), io.EOF) || len(open) > 0 {
				t.Errorf("the page ends with %v open: %v", open, z.Err())
			}
			return
		default: // text and comments do not nest
		}
	}
}

func attr(n *html.Node, key string) (string, bool) {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val, true
		}
	}
	return "", false
}

func TestGoldenPages(t *testing.T) {
	t.Parallel()
	r := newRenderer(t)
	for name, page := range samples() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			shell := acme("en")
			if strings.HasPrefix(name, "zero_") {
				shell = Shell{StylesheetURL: "/static/0/app.css"}
			}
			got := render(t, r, page, shell)
			file := filepath.Join("testdata", name+".html")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("page mismatch (-want +got), rewrite with -update:\n%s", diff)
			}
		})
	}
}

// formErrors are what can be wrong with a field of the platform's forms, and something that cannot.
var formErrors = []FormError{
	FormSlug, FormReserved, FormTaken, FormName, FormDomain, FormDomainTaken, FormEmail, FormEmailTaken, FormPerson, FormPassword, FormObvious, FormReused, FormIssuer, FormIssuerTaken, "x",
}

// TestTemplatesAndMessagesAgree holds that every key a template says exists, and that no message is left over.
func TestTemplatesAndMessagesAgree(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../i18n/locales/en.toml")
	if err != nil {
		t.Fatal(err)
	}
	var messages map[string]any
	meta, err := toml.Decode(string(text), &messages)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, key := range meta.Keys() {
		if meta.Type(key...) == "String" {
			known[key.String()] = true
		}
	}
	used := map[string]bool{}
	call := regexp.MustCompile(`\b(?:t|rich) "([^"]+)"`)
	err = fs.WalkDir(templates.Files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".html" {
			return err
		}
		source, err := fs.ReadFile(templates.Files, path)
		if err != nil {
			return err
		}
		for _, found := range call.FindAllStringSubmatch(string(source), -1) {
			used[found[1]] = true
			if !known[found[1]] {
				t.Errorf("%s: there is no message %q", path, found[1])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	platformKeys := map[string]bool{}
	for _, e := range formErrors {
		platformKeys[e.Key()] = true
	}
	for _, status := range []string{"", "active", "suspended", "archived"} {
		v := TenantStatusView{To: status}
		for _, key := range []string{statusKey(status), v.TitleKey(), v.EffectKey(), v.SubmitKey()} {
			platformKeys[key] = true
		}
	}
	for _, key := range platformWords() {
		platformKeys[key] = true
	}
	for key := range platformKeys {
		if !known[key] {
			t.Errorf("there is no message %q", key)
		}
	}
	for key := range known {
		reason, isError := strings.CutPrefix(key, "error.")
		reason, _, _ = strings.Cut(reason, ".")
		login, isLogin := strings.CutPrefix(key, "login.error.")
		register, isRegister := strings.CutPrefix(key, "register.error.")
		viewed := isError && ErrorReason(reason).Valid() || isLogin && LoginError(login).Valid() || strings.HasPrefix(key, "scope.") ||
			isRegister && RegisterError(register).Valid() || platformKeys[key] || key == DeviceView{Error: DeviceInvalid}.ErrorKey()
		if isMail := strings.HasPrefix(key, "mail."); !used[key] && !viewed && !isMail { // Package message says the latter.
			t.Errorf("nothing shows the message %q", key)
		}
	}
}

func TestHostileValuesStayText(t *testing.T) {
	t.Parallel()
	r := newRenderer(t)
	hostile := []string{
		`"><script>alert(1)</script>`, `' onfocus=alert(1) autofocus x='`, `javascript:alert(1)`, `data:text/html,<script>alert(1)</script>`,
		"</title><script>alert(1)</script>", "\u202egnp.exe\u202e", "\ue000\ue001", "{{.Company}}", "<!--", "\x00",
	}
	for i, value := range hostile {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			var bodies [25]bytes.Buffer
			login, consent, logout := LoginView{}, ConsentView{}, LogoutView{}
			loggedOut, failure, home, choice, answer := LoggedOutView{}, ErrorView{}, HomeView{}, SelectView{}, AnswerView{}
			device, deviceDone, register := DeviceView{}, DeviceDoneView{}, RegisterView{}
			tenants, one, made, status, setup := TenantsView{}, TenantView{}, NewTenantView{}, TenantStatusView{}, SetupView{}
			edited, config, section, history := EditTenantView{}, ConfigView{}, SectionView{}, HistoryView{}
			quota, domains, keys, deletion, ask := QuotaView{}, DomainsView{}, KeysView{}, DeletionView{}, AskView{}
			for _, view := range []any{&tenants, &one, &made, &status, &setup, &edited, &config, &section, &history, &quota, &domains, &keys, &deletion, &ask} {
				fill(reflect.ValueOf(view).Elem(), value)
			}
			for _, view := range []any{&login, &consent, &logout, &loggedOut, &failure, &home, &choice, &answer, &device, &deviceDone, &register} {
				fill(reflect.ValueOf(view).Elem(), value)
			}
			if err := errors.Join(
				r.Login(&bodies[0], login), r.Consent(&bodies[1], consent), r.Logout(&bodies[2], logout),
				r.LoggedOut(&bodies[3], loggedOut), r.Error(&bodies[4], failure), r.Home(&bodies[5], home),
				r.Select(&bodies[6], choice), r.Answer(&bodies[7], answer),
				r.Device(&bodies[8], device), r.DeviceDone(&bodies[9], deviceDone), r.Register(&bodies[10], register),
				r.Tenants(&bodies[11], tenants), r.Tenant(&bodies[12], one), r.NewTenant(&bodies[13], made), r.TenantStatus(&bodies[14], status), r.Setup(&bodies[15], setup),
				r.EditTenant(&bodies[16], edited), r.Config(&bodies[17], config), r.Section(&bodies[18], section), r.History(&bodies[19], history),
				r.Quota(&bodies[20], quota), r.Domains(&bodies[21], domains), r.Keys(&bodies[22], keys), r.Deletion(&bodies[23], deletion), r.Ask(&bodies[24], ask),
			); err != nil {
				t.Fatal(err)
			}
			for _, body := range bodies {
				checkHarmless(t, body.String())
			}
		})
	}
}

// fill sets every string within v.
func fill(v reflect.Value, s string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(s)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Struct:
		for _, field := range v.Fields() {
			fill(field, s)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), s)
		}
	default: // views have numbers besides, which cannot be hostile
	}
}

func checkHarmless(t *testing.T, body string) {
	t.Helper()
	checkNesting(t, body)
	doc, err := html.Parse(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if src, _ := attr(n, "src"); n.Data == "script" && (n.FirstChild != nil || !strings.HasPrefix(src, "/static/")) {
			t.Error("a value became a script")
		}
		for _, a := range n.Attr {
			url := slices.Contains([]string{"href", "src", "action", "formaction"}, a.Key)
			if strings.HasPrefix(a.Key, "on") || url && (strings.HasPrefix(a.Val, "javascript:") || strings.HasPrefix(a.Val, "data:text")) {
				t.Errorf("a value became the attribute %s=%q of <%s>", a.Key, a.Val, n.Data)
			}
		}
	}
}

func TestRichTextIsolatesValues(t *testing.T) {
	t.Parallel()
	r := newRenderer(t)
	page := func(r *Renderer, w io.Writer, s Shell) error {
		return r.Consent(w, ConsentView{Shell: s, ClientName: "A<\ue001", Scopes: []string{"openid"}})
	}
	body := render(t, r, page, Shell{Company: "B\ue000"})
	want := "<bdi>A&lt;\ue001</bdi> would like to use your <bdi>B\ue000</bdi> account."
	if !strings.Contains(body, want) {
		t.Errorf("the page lacks %q:\n%s", want, body)
	}
}

func TestNeutralShell(t *testing.T) {
	t.Parallel()
	r := newRenderer(t)
	page := func(r *Renderer, w io.Writer, s Shell) error {
		return r.Error(w, ErrorView{Shell: s, Status: 404, Reason: ErrorNotFound})
	}
	body := render(t, r, page, Shell{Locale: "xx"})
	for _, want := range []string{`<html lang="en"`, "<bdi>Parako</bdi>", r.Stylesheet(Brand{}).Path()} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(body, "<img") || strings.Contains(body, "<footer") || strings.Contains(body, "error-request-id") {
		t.Error("the page shows what nobody gave it")
	}
}

func TestInitial(t *testing.T) {
	t.Parallel()
	for company, want := range map[string]string{"acme": "A", "  «éclair»": "É", "3M": "3", "株式会社": "株", "!!!": "·", "": "·"} {
		if got := (Shell{Company: company}).Initial(); got != want {
			t.Errorf("Initial of %q = %q, want %q", company, got, want)
		}
	}
}

// brokenWriter refuses everything.
type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }

func TestWriterErrorIsReturned(t *testing.T) {
	t.Parallel()
	gone := errors.New("connection reset")
	if err := newRenderer(t).Home(brokenWriter{gone}, HomeView{}); !errors.Is(err, gone) {
		t.Errorf("Home = %v, want %v", err, gone)
	}
}

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

func TestPlatformFormsFocus(t *testing.T) {
	t.Parallel()
	for want, v := range map[string]interface{ Focus() string }{
		"slug":         NewTenantView{SlugError: FormSlug, NameError: FormName},
		"display-name": NewTenantView{NameError: FormName, DomainError: FormDomain},
		"domain":       NewTenantView{DomainError: FormDomain},
		"email":        SetupView{EmailError: FormEmail, NameError: FormPerson, PasswordError: FormReused},
		"name":         SetupView{NameError: FormPerson, PasswordError: FormReused},
		"password":     SetupView{PasswordError: FormReused},
	} {
		if got := v.Focus(); got != want {
			t.Errorf("Focus of %+v = %s, want %s", v, got, want)
		}
	}
}

func TestRegisterFocus(t *testing.T) {
	t.Parallel()
	for want, v := range map[string]RegisterView{
		"email":    {WithEmail: true, WithUsername: true},
		"username": {WithUsername: true},
		"password": {WithEmail: true, Email: "a@acme.example"},
		"name":     {WithEmail: true, Email: "a@acme.example", NameError: RegisterName},
	} {
		if got := v.Focus(); got != want {
			t.Errorf("Focus of %+v = %s, want %s", v, got, want)
		}
	}
	taken := RegisterView{WithUsername: true, Username: "alice", Error: RegisterRefused}
	if got := taken.Focus(); got != "username" {
		t.Errorf("Focus = %s, want the identifier that is taken", got)
	}
	v := RegisterView{WithEmail: true, WithUsername: true, UsernameError: RegisterUsername, PasswordError: RegisterPassword}
	if got := v.Focus(); got != "username" {
		t.Errorf("Focus = %s, want the first that is wrong", got)
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
