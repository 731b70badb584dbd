package pages

// PlatformShell is the frame of the platform's own pages: who is signed in, and whether they may change anything.
type PlatformShell struct {
	Shell
	Account      string
	MayChange    bool
	LogoutAction string // URL of the page that asks whether to sign out
}

// TenantsView is the list of the tenants. It sends the field slug, and the status that was chosen, to Action with GET.
type TenantsView struct {
	PlatformShell
	Action  string
	Prefix  string // what was looked for
	Status  string // "" is all
	Filters []TenantFilter
	Tenants []TenantItem
	NextURL string // "" omits the link
	NewURL  string // "" omits the link
}

// TenantFilter is a link to the tenants of one status.
type TenantFilter struct {
	Status  string // "" is all
	Count   string // "" omits it
	URL     string
	Current bool
}

// Key returns the message key of the status.
func (f TenantFilter) Key() string { return statusKey(f.Status) }

// TenantItem is a tenant in a list.
type TenantItem struct {
	Slug, Name, Status, URL string
}

// Key returns the message key of the status.
func (i TenantItem) Key() string { return statusKey(i.Status) }

// statusKey is the message key of a tenant's status; those that are not known are shown as all of them.
func statusKey(status string) string {
	switch status {
	case "active", "suspended", "archived":
		return "platform.status." + status
	}
	return "platform.status.all"
}

// TenantView is the page about a tenant.
type TenantView struct {
	PlatformShell
	Slug, Name, Status, Issuer string
	Domain                     string // "" omits the line
	Created                    string
	Revision                   int64
	Clients                    string
	Changes                    []StatusChange
	People                     []Person
	NextURL                    string // "" omits the link
}

// Key returns the message key of the status.
func (v TenantView) Key() string { return statusKey(v.Status) }

// StatusChange is a link to the page that asks whether to change the status.
type StatusChange struct {
	Status, URL string
}

// Key returns the message key of what is done.
func (s StatusChange) Key() string { return changeKey(s.Status, "submit") }

func changeKey(to, part string) string {
	switch to {
	case "suspended", "archived":
		return "platform.change." + to + "." + part
	}
	return "platform.change.active." + part
}

// Person is one of a tenant's people, as the platform sees them.
type Person struct {
	Label    string
	Roles    string
	Disabled bool
}

// FormError says what is wrong with a field of the platform's forms. The zero value is nothing.
type FormError string

// What can be wrong.
const (
	FormSlug        FormError = "slug"
	FormReserved    FormError = "reserved"
	FormTaken       FormError = "taken"
	FormName        FormError = "name"
	FormDomain      FormError = "domain"
	FormDomainTaken FormError = "domain_taken"
	FormEmail       FormError = "email"
	FormEmailTaken  FormError = "email_taken"
	FormPerson      FormError = "person"
	FormPassword    FormError = "password"
	FormObvious     FormError = "obvious"
	FormReused      FormError = "reused"
)

// Key returns the message key of e: "" when there is none, and the key of FormReserved, which asks for another value, for a value that
// is not a constant.
func (e FormError) Key() string {
	switch e {
	case "":
		return ""
	case FormEmail, FormPassword, FormObvious:
		return "register.error." + string(e)
	case FormPerson:
		return "register.error.name"
	case FormSlug, FormTaken, FormName, FormDomain, FormDomainTaken, FormEmailTaken, FormReused:
		return "platform.error." + string(e)
	case FormReserved:
	}
	return "platform.error.reserved"
}

// NewTenantView is the form for a new tenant. It posts the fields slug, display_name and domain to Action.
type NewTenantView struct {
	PlatformShell
	Action, CancelURL                 string
	Slug, Name, Domain                string // what was typed before
	SlugError, NameError, DomainError FormError
}

// Focus is the id of the field where the reader goes on: the first that is wrong.
func (v NewTenantView) Focus() string {
	switch {
	case v.SlugError == "" && v.NameError != "":
		return "display-name"
	case v.SlugError == "" && v.DomainError != "":
		return "domain"
	}
	return "slug"
}

// Wrong is whether something has to be corrected.
func (v NewTenantView) Wrong() bool {
	return v.SlugError != "" || v.NameError != "" || v.DomainError != ""
}

// TenantStatusView asks whether to change a tenant's status. It posts the field status to Action.
type TenantStatusView struct {
	PlatformShell
	Action, CancelURL string
	Slug, Name        string
	To                string
}

// TitleKey returns the message key of the question.
func (v TenantStatusView) TitleKey() string { return changeKey(v.To, "title") }

// EffectKey returns the message key of what happens.
func (v TenantStatusView) EffectKey() string { return changeKey(v.To, "effect") }

// SubmitKey returns the message key of the answer yes.
func (v TenantStatusView) SubmitKey() string { return changeKey(v.To, "submit") }

// SetupView is the form with which the first account makes a permanent administrator. It posts the fields email, name and password to
// Action.
type SetupView struct {
	PlatformShell
	Action      string
	Email, Name string // what was typed before
	// The rules of passwords, as in RegisterView.
	MinLength, MaxLength                 int
	Uppercase, Lowercase, Number, Symbol bool
	EmailError, NameError, PasswordError FormError
}

// Focus is the id of the field where the reader goes on: the first that is wrong.
func (v SetupView) Focus() string {
	switch {
	case v.EmailError == "" && v.NameError != "":
		return "name"
	case v.EmailError == "" && v.PasswordError != "":
		return "password"
	}
	return "email"
}

// Wrong is whether something has to be corrected.
func (v SetupView) Wrong() bool {
	return v.EmailError != "" || v.NameError != "" || v.PasswordError != ""
}
