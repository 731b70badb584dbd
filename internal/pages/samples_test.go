package pages

import (
	"io"
	"maps"
)

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

// formErrors are what can be wrong with a field of the platform's forms, and something that cannot.
var formErrors = []FormError{
	FormSlug, FormReserved, FormTaken, FormName, FormDomain, FormDomainRefused, FormDomainTaken, FormEmail, FormEmailTaken, FormPerson, FormPassword, FormObvious, FormReused, FormIssuer, FormIssuerTaken, "x",
}
