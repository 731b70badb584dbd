package pages

import (
	"html/template"
	"unicode"
)

// Shell is what every page shows around its own content: whose page it is, in which language, and where its stylesheet is. The zero value
// is the neutral shell, in English and default colours, which says nothing of any tenant: it is the one to use while no tenant is known.
type Shell struct {
	Locale        string // a shipped locale, see i18n.Catalog.Negotiate; anything else is shown in English
	Company       string // "" is "Parako"
	LogoURL       string // "" shows Company beside a monogram of its first letter
	LogoDarkURL   string // replaces LogoURL in dark mode; "" keeps LogoURL, and without LogoURL it is ignored
	FaviconURL    string // "" keeps the browser from asking for one
	StylesheetURL string // Stylesheet.Path of the tenant's brand; "" is the neutral stylesheet
	PrivacyURL    string // the tenant's own page, linked in the footer; "" omits the link
	TermsURL      string // as PrivacyURL
	WebsiteURL    string // as PrivacyURL
	ContactURL    string // as PrivacyURL
	Description   string // what the pages say about themselves to link previews; "" is nothing
	RequestID     string // printed on the error page, so that a reader can quote it; "" omits it
}

// Initial returns the first letter or digit of Company in upper case, for the monogram.
func (s Shell) Initial() string {
	for _, r := range s.Company {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return string(unicode.ToUpper(r))
		}
	}
	return "·"
}

// LoginView is the sign-in form. It posts the fields identifier and password to Action, or to CancelAction when the reader gives up.
type LoginView struct {
	Shell
	Action        string // URL the form is posted to
	CancelAction  string // URL of the cancel button; "" omits the button
	RegisterURL   string // the page where the reader can make an account; "" omits the link
	ClientName    string // the application the reader is on the way to; "" omits the line
	ClientLogoURL string // shown beside ClientName; "" omits it
	Identifier    string // what the reader typed before, or the login_hint of the request (OpenID Connect Core §3.1.2.1)
	Error         LoginError
}

// LoginError says why the reader sees the sign-in form again. The zero value is the first visit.
type LoginError string

// The reasons a sign-in is refused. LoginInvalid is the one answer for an unknown person and for a wrong password, which must not be
// told apart by a stranger; the reasons about the account itself are only for someone who has proved the password.
const (
	LoginMissing     LoginError = "missing"     // a field was empty
	LoginInvalid     LoginError = "invalid"     // no such person, or not this password
	LoginUnavailable LoginError = "unavailable" // this kind of identifier may not sign in
	LoginDisabled    LoginError = "disabled"
	LoginBlocked     LoginError = "blocked" // until a date
	LoginUnverified  LoginError = "unverified"
	LoginTooMany     LoginError = "too_many"
)

// Valid reports whether e is one of the constants; the empty LoginError is not.
func (e LoginError) Valid() bool {
	switch e {
	case LoginMissing, LoginInvalid, LoginUnavailable, LoginDisabled, LoginBlocked, LoginUnverified, LoginTooMany:
		return true
	}
	return false
}

// ErrorKey returns the message key of Error: "" when there is none, and the key of LoginInvalid for a value that is not a constant.
func (v LoginView) ErrorKey() string {
	switch {
	case v.Error == "":
		return ""
	case !v.Error.Valid():
		return "login.error." + string(LoginInvalid)
	}
	return "login.error." + string(v.Error)
}

// RegisterView is the form in which a person makes an account. It posts the fields email, username, password and name to Action, or
// to CancelAction when the reader gives up.
type RegisterView struct {
	Shell
	Action        string
	CancelAction  string // "" omits the button
	LoginURL      string // the sign-in page, for those who have an account; "" omits the link
	ClientName    string // as in LoginView
	ClientLogoURL string
	WithEmail     bool // the identifiers on offer; with both, one is enough
	WithUsername  bool
	Email         string // what the reader typed before, or the login_hint of the request
	Username      string
	Name          string
	// The rules of passwords: the length in characters, and what must be among them.
	MinLength, MaxLength                 int
	Uppercase, Lowercase, Number, Symbol bool
	Error                                RegisterError // about the form as a whole
	EmailError, UsernameError            RegisterError
	PasswordError, NameError             RegisterError
}

// RegisterError says what is wrong with a registration. The zero value is nothing.
type RegisterError string

// The reasons a registration is refused. RegisterRefused does not say which of the details is another's.
const (
	RegisterMissing  RegisterError = "missing"  // neither of two identifiers
	RegisterApproval RegisterError = "approval" // the account is made and waits for an administrator
	RegisterRefused  RegisterError = "refused"
	RegisterTooMany  RegisterError = "too_many"
	RegisterEmail    RegisterError = "email"
	RegisterUsername RegisterError = "username"
	RegisterPassword RegisterError = "password" // against the rules
	RegisterObvious  RegisterError = "obvious"  // a password that says who the person is
	RegisterName     RegisterError = "name"
)

// Valid reports whether e is one of the constants; the empty RegisterError is not.
func (e RegisterError) Valid() bool {
	switch e {
	case RegisterMissing, RegisterApproval, RegisterRefused, RegisterTooMany, RegisterEmail, RegisterUsername, RegisterPassword, RegisterObvious, RegisterName:
		return true
	}
	return false
}

// Key returns the message key of e: "" when there is none, and the key of RegisterRefused for a value that is not a constant.
func (e RegisterError) Key() string {
	switch {
	case e == "":
		return ""
	case !e.Valid():
		return "register.error." + string(RegisterRefused)
	}
	return "register.error." + string(e)
}

// Focus returns the id of the field the reader continues in: the first that is wrong, else an identifier while there is none or
// another one is needed, else the password.
func (v RegisterView) Focus() string {
	fields := []struct {
		id      string
		shown   bool
		invalid RegisterError
		value   string
	}{
		{"email", v.WithEmail, v.EmailError, v.Email},
		{"username", v.WithUsername, v.UsernameError, v.Username},
		{"password", true, v.PasswordError, ""},
		{"name", true, v.NameError, v.Name},
	}
	for _, f := range fields {
		if f.shown && f.invalid != "" {
			return f.id
		}
	}
	if v.Email == "" && v.Username == "" || v.Error == RegisterRefused {
		for _, f := range fields {
			if f.shown {
				return f.id
			}
		}
	}
	return "password"
}

// ConsentView asks a signed-in person whether an application may have what it wants. It posts an empty form to Action (yes), DenyAction
// (no) or SwitchAction (someone else).
type ConsentView struct {
	Shell
	Action          string
	DenyAction      string
	SwitchAction    string   // "" omits the offer to use another account
	ClientName      string   // required: a nameless application is shown by its client_id
	ClientLogoURL   string   // logo_uri (OpenID Connect Registration §2); "" omits it
	ClientPolicyURL string   // policy_uri; "" omits the link
	ClientTermsURL  string   // tos_uri; "" omits the link
	RedirectHost    string   // host of the redirect URI, or the scheme of a private one (RFC 8252 §7.1); "" omits the line
	Account         string   // how the person is known: an address or a user name
	Scopes          []string // in the order to show; openid and the other standard scopes are described, the rest shown by name
	Unverified      bool     // the application registered itself (RFC 7591) and nobody of the tenant vouched for it
	Device          bool     // the access is for a device elsewhere: the reader is warned of codes that others sent (RFC 8628 §5.4)
	DeviceIP        string   // the address from which the device asked; "" omits the line
}

// ScopeItem is a scope as the consent page lists it.
type ScopeItem struct {
	Name                string
	Known               bool   // whether it has a description
	TitleKey, DetailKey string // the message keys of the description; "" otherwise
}

// ScopeItems returns Scopes with the message keys of those that have a description.
func (v ConsentView) ScopeItems() []ScopeItem {
	items := make([]ScopeItem, len(v.Scopes))
	for i, name := range v.Scopes {
		items[i] = ScopeItem{Name: name}
		switch name {
		case "openid", "profile", "email", "phone", "address", "offline_access":
			items[i].Known = true
			items[i].TitleKey, items[i].DetailKey = "scope."+name+".title", "scope."+name+".detail"
		}
	}
	return items
}

// SelectView asks a signed-in person whether to go on with that account (prompt=select_account). It posts an empty form to Action (yes),
// SwitchAction (another account) or CancelAction.
type SelectView struct {
	Shell
	Action        string
	SwitchAction  string
	CancelAction  string
	ClientName    string // as in LoginView
	ClientLogoURL string
	Account       string // how the person is known
}

// AnswerView carries an answer to the application (OAuth 2.0 Form Post Response Mode). It posts Hidden to Action, by itself where scripts
// run; see [AllowScripts].
type AnswerView struct {
	Shell
	Action string // the redirect URI, http or https
	Hidden []Field
}

// DeviceView asks for the code that a device shows (RFC 8628 §3.3). It posts the field user_code to Action.
type DeviceView struct {
	Shell
	Action   string
	UserCode string // what came with a link, or what the reader typed before
	Linked   bool   // UserCode came with a link: the reader compares it with what the device shows (RFC 8628 §3.3.1)
	Digits   bool   // codes are digits: telephones show the keys for them
	Error    DeviceError
}

// DeviceError says why the reader sees the page for codes again. The zero value is the first visit.
type DeviceError string

// The reasons a code is refused. DeviceInvalid is the one answer for a code that never was, has expired or was used.
const (
	DeviceInvalid DeviceError = "invalid"
	DeviceTooMany DeviceError = "too_many"
)

// ErrorKey returns the message key of Error: "" when there is none, and the key of DeviceInvalid for a value that is not a constant.
func (v DeviceView) ErrorKey() string {
	switch v.Error {
	case "":
		return ""
	case DeviceTooMany:
		return "login.error.too_many"
	case DeviceInvalid:
	}
	return "device.invalid"
}

// DeviceDoneView says how the reader answered for a device, and that the browser is no longer needed.
type DeviceDoneView struct {
	Shell
	Denied bool
}

// LogoutView asks whether to sign out (OpenID Connect RP-Initiated Logout §2). It posts Hidden to Action.
type LogoutView struct {
	Shell
	Action    string
	CancelURL string  // where "stay signed in" leads; "" omits the link
	Account   string  // "" omits the line
	Hidden    []Field // the parameters of the request, which must survive the question
}

// Field is a hidden form field.
type Field struct {
	Name, Value string
}

// LoggedOutView says that the person is signed out.
type LoggedOutView struct {
	Shell
	ReturnURL  string   // the way back to the application; "" omits it
	ClientName string   // names the link; "" calls it "the app"
	Frames     []string // addresses that applications want loaded (OpenID Connect Front-Channel Logout §2); see [AllowFrames]
}

// Return is ReturnURL as a link of whatever scheme, since native applications have their own (RFC 8252 §7.1); "" where it is no address
// to follow from a page.
func (v LoggedOutView) Return() template.URL {
	if _, ok := formSource(v.ReturnURL); !ok {
		return ""
	}
	return template.URL(v.ReturnURL) //nolint:gosec // G203: formSource refuses the schemes that run something.
}

// GoesOn is whether the page follows its link by itself, where scripts run, when the frames have been loaded; see [AllowScripts].
func (v LoggedOutView) GoesOn() bool { return len(v.Frames) > 0 && v.Return() != "" }

// ErrorView says what went wrong and what to do about it. The text follows from Reason; the caller sends Status as the answer's code too.
type ErrorView struct {
	Shell
	Status  int // HTTP status code; 0 omits the line
	Reason  ErrorReason
	Detail  string // for developers, in small print: an OAuth error code and description (RFC 6749 §4.1.2.1); "" omits it
	HomeURL string // "" omits the link
}

// ErrorReason selects the words of an error page. The zero value and unknown values are ErrorInternal.
type ErrorReason string

// The error pages, with the status each usually has. ErrorNotFound is also the page of a tenant that does not exist: the two must look
// the same, and neither names anyone.
const (
	ErrorRequest     ErrorReason = "request"     // 400: not understood
	ErrorClient      ErrorReason = "client"      // 400: unknown client_id or unregistered redirect_uri, where redirecting is not safe
	ErrorExpired     ErrorReason = "expired"     // 400: the interaction is over
	ErrorForbidden   ErrorReason = "forbidden"   // 403
	ErrorInactive    ErrorReason = "inactive"    // 403: the tenant is suspended or archived
	ErrorNotFound    ErrorReason = "not_found"   // 404
	ErrorQuota       ErrorReason = "quota"       // 409: the tenant has as many as it may have
	ErrorTooMany     ErrorReason = "too_many"    // 429
	ErrorInternal    ErrorReason = "internal"    // 500
	ErrorUnavailable ErrorReason = "unavailable" // 503
)

// Valid reports whether r is one of the constants.
func (r ErrorReason) Valid() bool {
	switch r {
	case ErrorRequest, ErrorClient, ErrorExpired, ErrorForbidden, ErrorInactive, ErrorNotFound, ErrorQuota, ErrorTooMany, ErrorInternal, ErrorUnavailable:
		return true
	}
	return false
}

// TitleKey returns the message key of the heading.
func (v ErrorView) TitleKey() string { return v.key("title") }

// MessageKey returns the message key of what happened.
func (v ErrorView) MessageKey() string { return v.key("message") }

// HintKey returns the message key of what to do about it.
func (v ErrorView) HintKey() string { return v.key("hint") }

func (v ErrorView) key(part string) string {
	reason := v.Reason
	if !reason.Valid() {
		reason = ErrorInternal
	}
	return "error." + string(reason) + "." + part
}

// HomeView is the page at the root of a tenant, where nobody is sent on purpose.
type HomeView struct {
	Shell
	Account      string // "" is nobody signed in
	LogoutAction string // URL of the page that asks whether to sign out; "" omits the link
	Applications []Application
}

// Application is one that a signed-in person can open from the tenant's own page (OpenID Connect Core §4).
type Application struct {
	Name    string
	LogoURL string // "" omits it
	URL     string
}
