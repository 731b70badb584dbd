package pages

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
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
