package pages

// ConfigView is the list of the sections of a tenant's settings.
type ConfigView struct {
	PlatformShell
	Slug, Name, BackURL string
	Foreign             bool
	Sections            []SectionItem
}

// SectionItem is a section in that list.
type SectionItem struct {
	Title, URL string
	Set, All   int
}

// SectionView is a section of a tenant's settings as a form. It posts to Action the fields version and reason and, for each setting, what
// sectionForm reads.
type SectionView struct {
	PlatformShell
	Slug, Name, Section, Title   string
	Action, BackURL, HistoryURL  string
	Version                      int64
	Reason                       string // what was typed before
	Foreign                      bool   // the settings describe themselves in another language than the page's
	Saved, Stale, Wrong, TooLong bool
	Faults                       []string
	Groups                       []SettingGroup
}

// SettingGroup is a part of a section. Without a title it stands alone.
type SettingGroup struct {
	ID, Title string
	Set, All  int
	Open      bool
	Settings  []Setting
}

// SettingKind is how a setting is entered.
type SettingKind string

// The kinds. KindFixed is shown and not entered.
const (
	KindText   SettingKind = "text"
	KindNumber SettingKind = "number"
	KindChoice SettingKind = "choice"
	KindList   SettingKind = "list"
	KindJSON   SettingKind = "json"
	KindSecret SettingKind = "secret"
	KindFixed  SettingKind = "fixed"
)

// SettingLimit says how far the platform lets a tenant go.
type SettingLimit string

// The limits.
const (
	LimitOn      SettingLimit = "must_on"
	LimitOff     SettingLimit = "must_off"
	LimitLeast   SettingLimit = "at_least"
	LimitMost    SettingLimit = "at_most"
	LimitBetween SettingLimit = "between"
)

// SettingError is a mistake in a form that the settings themselves do not see.
type SettingError string

// The mistakes.
const (
	SettingNumber SettingError = "number"
	SettingJSON   SettingError = "json"
	SettingSecret SettingError = "secret"
	// SettingAgain: a page does not give a secret back.
	SettingAgain SettingError = "again"
)

// Setting is a setting in a form.
type Setting struct {
	ID, Name, Label, Unit, Doc string
	Foreign                    bool
	Kind                       SettingKind
	Text                       string // what is set, or was typed before
	Choices                    []Choice
	Value                      Shown // what holds, of KindFixed
	Min, Max, Range            string
	Whole                      bool // a number without a fraction
	Empty, MayBeEmpty          bool // it is empty on purpose; that can be meant
	Inherited                  Shown
	FromPlatform               bool // what is inherited is what the platform has set
	Own                        bool // the tenant has set it
	Limit                      SettingLimit
	Bound                      string
	Awaits                     string // why it has no effect yet
	PlatformOnly               bool
	Clamped                    Shown  // what the tenant has set and the platform does not allow any more
	Adjusted                   string // why it has no effect
	Secret                     string // what is to become of a secret
	Fault                      string
	Error                      SettingError
	Moved                      bool // somebody else has changed it meanwhile
	Theirs                     string
}

// Choice is a value that can be chosen.
type Choice struct {
	Value, Key, Text string // Key is that of a message; "" shows Text
	Selected         bool
}

// Shown is a value, by its message's key or, without one, as it is.
type Shown struct{ Key, Text string }

// Any reports whether there is something to show.
func (s Shown) Any() bool { return s != (Shown{}) }

// Wrong reports whether the setting has to be corrected.
func (s Setting) Wrong() bool { return s.Fault != "" || s.Error != "" }

// ErrorKey returns the message key of the mistake, "" when there is none.
func (s Setting) ErrorKey() string {
	switch s.Error {
	case SettingNumber, SettingJSON, SettingSecret, SettingAgain:
		return "platform.config.error_" + string(s.Error)
	}
	return ""
}

// LimitKey returns the message key of the limit, "" when there is none.
func (s Setting) LimitKey() string {
	switch s.Limit {
	case LimitOn, LimitOff, LimitLeast, LimitMost, LimitBetween:
		return "platform.config." + string(s.Limit)
	}
	return ""
}

// InheritedKey returns the message key of where the inherited value is from.
func (s Setting) InheritedKey() string {
	if s.FromPlatform {
		return "platform.config.from_platform"
	}
	return "platform.config.from_default"
}

// Actions are what can become of a secret.
func (s Setting) Actions() []Choice {
	list := []Choice{{Value: string(keepSecret), Key: "platform.config.keep"}, {Value: string(replaceSecret), Key: "platform.config.replace"}}
	if s.Own {
		list = append(list, Choice{Value: string(removeSecret), Key: "platform.config.remove"})
	}
	for i := range list {
		list[i].Selected = list[i].Value == s.Secret
	}
	return list
}

// HistoryView lists the versions of a section, the newest first. It posts the fields version and seen to Action.
type HistoryView struct {
	PlatformShell
	Slug, Name, Title        string
	Action, BackURL, NextURL string
	Version                  int64 // of the section as it is
	Stale                    bool
	Faults                   []string
	Versions                 []VersionItem
}

// VersionItem is a version of a section.
type VersionItem struct {
	Number         int64
	At, By, Reason string
	Changes        []ChangeItem
	More           bool // not all changes are listed
	Current        bool
}

// ChangeItem is a setting that a version set differently from the one before; what it did not say is "".
type ChangeItem struct {
	Path, Before, After string
}
