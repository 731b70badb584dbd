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
	DeleteAfter                string // "" omits the line
	Revision                   int64
	Clients                    string
	Pages                      []TenantPage
	Changes                    []StatusChange
	People                     []Person
	NextURL                    string // "" omits the link
}

// Key returns the message key of the status.
func (v TenantView) Key() string { return statusKey(v.Status) }

// TenantPage is a link to another page about the tenant.
type TenantPage struct {
	Name, URL string
}

// Key returns the message key of the page.
func (p TenantPage) Key() string {
	switch p.Name {
	case "config", "quota", "domains", "keys", "deletion":
		return "platform." + p.Name + ".title"
	}
	return "platform.edit.link"
}

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
	FormSlug          FormError = "slug"
	FormReserved      FormError = "reserved"
	FormTaken         FormError = "taken"
	FormName          FormError = "name"
	FormDomain        FormError = "domain"
	FormDomainRefused FormError = "domain_refused"
	FormDomainTaken   FormError = "domain_taken"
	FormEmail         FormError = "email"
	FormEmailTaken    FormError = "email_taken"
	FormPerson        FormError = "person"
	FormPassword      FormError = "password"
	FormObvious       FormError = "obvious"
	FormReused        FormError = "reused"
	FormIssuer        FormError = "issuer"
	FormIssuerTaken   FormError = "issuer_taken"
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
	case FormSlug, FormTaken, FormName, FormDomain, FormDomainRefused, FormDomainTaken, FormEmailTaken, FormReused, FormIssuer, FormIssuerTaken:
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

// EditTenantView is the form with which a tenant is changed. It posts the fields display_name, issuer_url and revision to Action.
type EditTenantView struct {
	PlatformShell
	Action, CancelURL      string
	Slug, Title            string
	Name, Issuer           string // what was typed before, or is so
	Computed               string // the issuer when none is given
	Revision               int64
	Stale                  bool
	NowName, NowIssuer     string // what they are meanwhile, when Stale
	NameError, IssuerError FormError
}

// Focus is the id of the field where the reader goes on: the first that is wrong.
func (v EditTenantView) Focus() string {
	if v.NameError == "" && v.IssuerError != "" {
		return "issuer"
	}
	return "display-name"
}

// Wrong is whether something has to be corrected.
func (v EditTenantView) Wrong() bool { return v.NameError != "" || v.IssuerError != "" }

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

// QuotaView is what a tenant may have, as a form. It posts the names of the quotas to Action.
type QuotaView struct {
	PlatformShell
	Name, Action, BackURL string
	Revision              int64
	// Stale reports that somebody else changed the tenant meanwhile; the items then say what is so now.
	Stale, Wrong bool
	Quotas       []QuotaItem
}

// QuotaItem is a bound and what there is.
type QuotaItem struct {
	Name  string
	Most  string // "" is any number
	Now   string // what is so, when the view is stale
	Used  int64
	Rate  bool // there is no Used
	Wrong bool
	// LeastValue and MostValue are what may be entered.
	LeastValue, MostValue uint64
}

// Key returns the message key of what is bounded.
func (i QuotaItem) Key() string { return "platform.quota." + i.Name }

// DomainsView lists the host names of a tenant. It posts the fields do, which is add or check, and domain to Action.
type DomainsView struct {
	PlatformShell
	Name, Action, BackURL string
	Typed                 string // what was typed before
	Alert                 string // why something was refused, in English
	Base                  string // the address below the platform's own host
	BasePrimary           bool
	BaseURL               string // of the question whether to make it the primary one
	Domains               []DomainItem
}

// DomainItem is a host name that a tenant claims.
type DomainItem struct {
	Name, Unicode           string // Unicode is "" when it is the same
	State                   string
	Primary                 bool
	RecordName, RecordValue string // "" when there is nothing to prove
	MayCheck                bool
	PrimaryURL, ReleaseURL  string // "" omits the link
}

// Key returns the message key of the state.
func (i DomainItem) Key() string {
	switch i.State {
	case "verified", "failing", "released":
		return "platform.domains." + i.State
	}
	return "platform.domains.pending"
}

// KeysView lists the keys of a tenant. It posts the field alg to Action.
type KeysView struct {
	PlatformShell
	Name, Action, BackURL string
	Alert                 string // why something was refused, in English
	Keys                  []KeyItem
	More                  bool // there are older ones
}

// KeyItem is a key of a tenant.
type KeyItem struct {
	KID, Alg, State, Created string
	Until                    string // of the state; "" omits it
	MayRotate                bool
	RevokeURL                string // "" omits the link
}

// Key returns the message key of the state.
func (i KeyItem) Key() string {
	switch i.State {
	case "waits", "expiring", "retired", "revoked":
		return "platform.keys." + i.State
	}
	return "platform.keys.signs"
}

// DeletionView is the form with which a tenant is removed; with Due the one that takes it back. It posts the fields confirm and days, or do,
// to Action.
type DeletionView struct {
	PlatformShell
	Slug, Name, Action, BackURL string
	Due                         string
	Restorable                  bool   // the removal was asked for: an import that is not complete has one, too
	Typed, Days                 string // what was typed before
	WrongSlug, WrongDays        bool
	Alert                       string // why something was refused, in English
}

// AskView asks whether to do something. It posts the field domain or kid to Action.
type AskView struct {
	PlatformShell
	What              string // primary, release or revoke
	Name, About       string // the tenant, and what the question is about
	Action, CancelURL string
	Hidden            []Field
}

// key returns the message key of a part of the question.
func (v AskView) key(part string) string {
	switch v.What {
	case "primary", "release":
		return "platform.ask." + v.What + "." + part
	}
	return "platform.ask.revoke." + part
}

// TitleKey returns the message key of the question.
func (v AskView) TitleKey() string { return v.key("title") }

// EffectKey returns the message key of what happens.
func (v AskView) EffectKey() string { return v.key("effect") }

// SubmitKey returns the message key of the answer yes.
func (v AskView) SubmitKey() string { return v.key("submit") }
