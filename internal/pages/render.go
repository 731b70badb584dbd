// Package pages is the HTML edge of the product: what people see in a browser. It owns the view structs, their rendering from the files
// of package templates, the stylesheet with a tenant's brand in it, and the headers a page is sent with. It decides nothing about who may
// sign in, holds no state between requests, and lets nothing of one tenant appear on the page of another.
//
// A page is a view struct (views.go), a template of the same name in templates/pages and a method of [Renderer]. Start reading there.
package pages

import (
	"bytes"
	"errors"
	"fmt"
	"html/template"
	"io"
	"strings"

	"parako/internal/i18n"
	"parako/templates"
)

// neutralCompany stands for the operator on pages without a tenant.
const neutralCompany = "Parako"

// Renderer turns views into pages. It is built once, at start, is immutable and safe for concurrent use. The zero value is not usable.
type Renderer struct {
	pages   map[string]map[string]*template.Template // locale → page → template
	sheet   sheet
	scripts scripts
	neutral string // path of the stylesheet without a brand
}

// NewRenderer parses every template for every locale of the catalogue, so that a request only executes. An error names the broken template.
func NewRenderer(catalog *i18n.Catalog) (*Renderer, error) {
	source, err := templates.Files.ReadFile("static/app.css")
	if err != nil {
		return nil, fmt.Errorf("read stylesheet: %w", err)
	}
	files, err := readScripts()
	if err != nil {
		return nil, err
	}
	r := &Renderer{pages: map[string]map[string]*template.Template{}, sheet: parseSheet(string(source)), scripts: files}
	r.neutral = r.Stylesheet(Brand{}).Path()

	shared, err := template.New("base").Funcs(words(catalog, i18n.Fallback)).Funcs(template.FuncMap{"script": files.path}).
		ParseFS(templates.Files, "layout/*.html", "partials/*.html")
	if err != nil {
		return nil, fmt.Errorf("parse layout: %w", err)
	}
	for _, page := range []string{"login", "register", "select", "consent", "answer", "device", "device_done", "logout", "logged_out", "error", "home", "tenants", "tenant", "new_tenant", "tenant_status", "setup", "edit_tenant", "config", "section", "history", "quota", "domains", "keys", "deletion", "ask"} {
		english, err := shared.Clone()
		if err != nil {
			return nil, fmt.Errorf("copy layout: %w", err)
		}
		if english, err = english.ParseFS(templates.Files, "pages/"+page+".html"); err != nil {
			return nil, fmt.Errorf("parse page %s: %w", page, err)
		}
		for _, locale := range catalog.Locales() {
			// A set per locale, because functions belong to a set: bound per request they would need a clone per request.
			set, err := english.Clone()
			if err != nil {
				return nil, fmt.Errorf("copy page %s: %w", page, err)
			}
			if r.pages[locale] == nil {
				r.pages[locale] = map[string]*template.Template{}
			}
			r.pages[locale][page] = set.Funcs(words(catalog, locale))
		}
	}
	return r, nil
}

// Login writes the sign-in form. Like the other methods it writes the whole page or, on an error, nothing of it: a caller may still
// answer with another page. The error is a bug of a template, or the writer's own.
func (r *Renderer) Login(w io.Writer, v LoginView) error {
	v.Shell = r.shell(v.Shell)
	return r.render(w, "login", v.Locale, v)
}

// Register writes the form for a new account.
func (r *Renderer) Register(w io.Writer, v RegisterView) error {
	v.Shell = r.shell(v.Shell)
	return r.render(w, "register", v.Locale, v)
}

// Consent writes the question whether an application may have access.
func (r *Renderer) Consent(w io.Writer, v ConsentView) error {
	v.Shell = r.shell(v.Shell)
	return r.render(w, "consent", v.Locale, v)
}

// Select writes the question with which account to go on.
func (r *Renderer) Select(w io.Writer, v SelectView) error {
	v.Shell = r.shell(v.Shell)
	return r.render(w, "select", v.Locale, v)
}

// Answer writes the form that carries an answer to the application.
func (r *Renderer) Answer(w io.Writer, v AnswerView) error {
	v.Shell = r.shell(v.Shell)
	return r.render(w, "answer", v.Locale, v)
}

// Device writes the form for the code that a device shows.
func (r *Renderer) Device(w io.Writer, v DeviceView) error {
	v.Shell = r.shell(v.Shell)
	return r.render(w, "device", v.Locale, v)
}

// DeviceDone writes the page after the answer for a device.
func (r *Renderer) DeviceDone(w io.Writer, v DeviceDoneView) error {
	v.Shell = r.shell(v.Shell)
	return r.render(w, "device_done", v.Locale, v)
}

// Logout writes the question whether to sign out.
func (r *Renderer) Logout(w io.Writer, v LogoutView) error {
	v.Shell = r.shell(v.Shell)
	return r.render(w, "logout", v.Locale, v)
}

// LoggedOut writes the page after signing out.
func (r *Renderer) LoggedOut(w io.Writer, v LoggedOutView) error {
	v.Shell = r.shell(v.Shell)
	return r.render(w, "logged_out", v.Locale, v)
}

// Error writes an error page.
func (r *Renderer) Error(w io.Writer, v ErrorView) error {
	v.Shell = r.shell(v.Shell)
	return r.render(w, "error", v.Locale, v)
}

// Home writes the page at the root of a tenant.
func (r *Renderer) Home(w io.Writer, v HomeView) error {
	v.Shell = r.shell(v.Shell)
	return r.render(w, "home", v.Locale, v)
}

// Tenants writes the list of the tenants.
func (r *Renderer) Tenants(w io.Writer, v TenantsView) error {
	v.Shell = r.shell(v.Shell)
	return r.render(w, "tenants", v.Locale, v)
}

// Tenant writes the page about a tenant.
func (r *Renderer) Tenant(w io.Writer, v TenantView) error {
	v.Shell = r.shell(v.Shell)
	return r.render(w, "tenant", v.Locale, v)
}

// NewTenant writes the form for a new tenant.
func (r *Renderer) NewTenant(w io.Writer, v NewTenantView) error {
	v.Shell = r.shell(v.Shell)
	return r.render(w, "new_tenant", v.Locale, v)
}

// TenantStatus writes the question whether to change a tenant's status.
func (r *Renderer) TenantStatus(w io.Writer, v TenantStatusView) error {
	v.Shell = r.shell(v.Shell)
	return r.render(w, "tenant_status", v.Locale, v)
}

// EditTenant writes the form with which a tenant is changed.
func (r *Renderer) EditTenant(w io.Writer, v EditTenantView) error {
	v.Shell = r.shell(v.Shell)
	return r.render(w, "edit_tenant", v.Locale, v)
}

// Config writes the list of the sections of a tenant's settings.
func (r *Renderer) Config(w io.Writer, v ConfigView) error {
	v.Shell = r.shell(v.Shell)
	return r.render(w, "config", v.Locale, v)
}

// Section writes a section of a tenant's settings as a form.
func (r *Renderer) Section(w io.Writer, v SectionView) error {
	v.Shell = r.shell(v.Shell)
	return r.render(w, "section", v.Locale, v)
}

// History writes the versions of a section.
func (r *Renderer) History(w io.Writer, v HistoryView) error {
	v.Shell = r.shell(v.Shell)
	return r.render(w, "history", v.Locale, v)
}

// Quota writes what a tenant may have.
func (r *Renderer) Quota(w io.Writer, v QuotaView) error {
	v.Shell = r.shell(v.Shell)
	return r.render(w, "quota", v.Locale, v)
}

// Domains writes the host names of a tenant.
func (r *Renderer) Domains(w io.Writer, v DomainsView) error {
	v.Shell = r.shell(v.Shell)
	return r.render(w, "domains", v.Locale, v)
}

// Keys writes the keys of a tenant.
func (r *Renderer) Keys(w io.Writer, v KeysView) error {
	v.Shell = r.shell(v.Shell)
	return r.render(w, "keys", v.Locale, v)
}

// Deletion writes what the removal of a tenant means, or when it comes.
func (r *Renderer) Deletion(w io.Writer, v DeletionView) error {
	v.Shell = r.shell(v.Shell)
	return r.render(w, "deletion", v.Locale, v)
}

// Ask writes a question whether to do something that cannot be undone at once.
func (r *Renderer) Ask(w io.Writer, v AskView) error {
	v.Shell = r.shell(v.Shell)
	return r.render(w, "ask", v.Locale, v)
}

// Setup writes the form for the permanent administrator.
func (r *Renderer) Setup(w io.Writer, v SetupView) error {
	v.Shell = r.shell(v.Shell)
	return r.render(w, "setup", v.Locale, v)
}

// shell fills what a caller without a tenant leaves empty.
func (r *Renderer) shell(s Shell) Shell {
	if r.pages[s.Locale] == nil {
		s.Locale = i18n.Fallback
	}
	if s.Company == "" {
		s.Company = neutralCompany
	}
	if s.StylesheetURL == "" {
		s.StylesheetURL = r.neutral
	}
	return s
}

func (r *Renderer) render(w io.Writer, page, locale string, view any) error {
	var buf bytes.Buffer
	buf.Grow(4 << 10) // more than most pages
	if err := r.pages[locale][page].ExecuteTemplate(&buf, "base", view); err != nil {
		return fmt.Errorf("render page %s in %s: %w", page, locale, err)
	}
	if _, err := w.Write(buf.Bytes()); err != nil {
		return fmt.Errorf("send page %s: %w", page, err)
	}
	return nil
}

// words returns the functions through which a template speaks one language. Both t and rich take a message key and then pairs of a
// placeholder's name and value.
func words(catalog *i18n.Catalog, locale string) template.FuncMap {
	return template.FuncMap{
		"lang": func() string { return locale },
		"dir":  func() string { return i18n.Dir(locale) },
		// t is the message as plain text; the template escapes it for where it stands.
		"t": func(key string, pairs ...any) (string, error) {
			args, err := named(pairs)
			return catalog.Text(locale, key, args), err
		},
		// rich is the message as HTML, with each value in a <bdi>: set off for the eye, and unable to reorder the sentence around it
		// however many right-to-left overrides a client put into its name.
		"rich": func(key string, pairs ...any) (template.HTML, error) {
			args, err := named(pairs)
			if err != nil {
				return "", err
			}
			// The message is escaped with marks (private-use characters) in its placeholders; the values replace the marks afterwards, in
			// one pass, so that a value that contains a mark is not replaced again.
			var marks []string
			for name, value := range args {
				mark := string(rune(0xE000 + len(marks)))
				args[name] = mark
				marks = append(marks, mark, "<bdi>"+template.HTMLEscapeString(fmt.Sprint(value))+"</bdi>")
			}
			text := template.HTMLEscapeString(catalog.Text(locale, key, args))
			return template.HTML(strings.NewReplacer(marks...).Replace(text)), nil //nolint:gosec // G203: every part is escaped above
		},
	}
}

// named turns name, value, name, value into a map.
func named(pairs []any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, errors.New("want pairs of a name and a value")
	}
	args := make(map[string]any, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("want the name of a placeholder, have %v", pairs[i])
		}
		args[name] = pairs[i+1]
	}
	return args, nil
}
