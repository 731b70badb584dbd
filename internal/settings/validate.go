package settings

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

var (
	color    = regexp.MustCompile(`^#(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})$`)
	language = regexp.MustCompile(`^[A-Za-z]{2,8}(?:[-_][A-Za-z0-9]{1,8})*$`) // the shape of BCP 47
)

// colorNames are the tokens a brand may set. Not all of them are on a page today; stored brands have them.
var colorNames = []string{
	"primary", "primaryForeground", "secondary", "secondaryForeground", "accent", "accentForeground",
	"destructive", "destructiveForeground", "success", "successForeground", "warning", "warningForeground",
	"info", "infoForeground", "background", "foreground", "card", "cardForeground", "popover", "popoverForeground",
	"muted", "mutedForeground", "border", "input", "ring",
	"sidebar", "sidebarForeground", "sidebarPrimary", "sidebarPrimaryForeground", "sidebarAccent",
	"sidebarAccentForeground", "sidebarBorder", "sidebarRing",
}

const (
	maxName    = 255 // characters
	maxFonts   = 200 // characters
	maxLink    = 2048
	maxLocales = 100
	maxLocale  = 35 // BCP 47 section 4.4.1
)

// Validate lists every fault, each a path and what is allowed there, sorted. None: the settings may be used.
func (s *Settings) Validate() []string {
	var faults []string
	fault := func(path, want string) { faults = append(faults, path+" "+want) }
	between := func(path string, v, low, high int) {
		if v < low || v > high {
			fault(path, fmt.Sprintf("must be between %d and %d", low, high))
		}
	}

	if strings.TrimSpace(s.Application.Title) == "" || !line(s.Application.Title, maxName) {
		fault("application.title", "must be 1 to 255 characters on one line")
	}
	locales := s.Application.Locales
	if len(locales.Available) > maxLocales || !all(locales.Available, validLocale) {
		fault("application.locales.available", "must be at most 100 language tags such as pt-BR")
	}
	if !slices.Contains(locales.Available, locales.Default) {
		fault("application.locales.default", "must be one of application.locales.available")
	}
	if !line(s.Branding.CompanyName, maxName) {
		fault("branding.companyName", "must be at most 255 characters on one line")
	}
	for path, link := range map[string]string{
		"branding.logo": s.Branding.Logo, "branding.logoDark": s.Branding.LogoDark,
		"integrations.urls.privacy_policy": s.Integrations.URLs.PrivacyPolicy, "integrations.urls.terms_of_service": s.Integrations.URLs.TermsOfService,
	} {
		if !webLink(link) {
			fault(path, "must be an https URL or empty")
		}
	}
	if !line(s.Branding.Fonts.Sans, maxFonts) || strings.ContainsAny(s.Branding.Fonts.Sans, `{};<>\()@`) {
		fault("branding.fonts.sans", "must be a list of font names of at most 200 characters")
	}
	for mode, colors := range map[string]map[string]string{"light": s.Branding.Colors.Light, "dark": s.Branding.Colors.Dark} {
		path, unknown := "branding.colors."+mode, false
		for name, value := range colors {
			if !slices.Contains(colorNames, name) {
				unknown = true // said once and without the names, which are the caller's
				continue
			}
			if !color.MatchString(value) {
				fault(path+"."+name, "must be #rgb or #rrggbb")
			}
		}
		if unknown {
			fault(path, "must only name known colours")
		}
	}
	between("security.authentication.session.idle_timeout_minutes", s.Security.Authentication.Session.IdleTimeoutMinutes, 0, 525600)
	between("security.authentication.session.absolute_timeout_hours", s.Security.Authentication.Session.AbsoluteTimeoutHours, 0, 8760)
	ttl := s.OIDC.TokenTTL
	between("oidc.token_ttl.access_token", ttl.AccessToken, 1, 86400)
	between("oidc.token_ttl.client_credentials", ttl.ClientCredentials, 1, 86400)
	between("oidc.token_ttl.id_token", ttl.IDToken, 1, 86400)
	between("oidc.token_ttl.authorization_code", ttl.AuthorizationCode, 1, 60)
	between("oidc.token_ttl.refresh_token", ttl.RefreshToken, 1, 31536000)
	between("oidc.token_ttl.interaction", ttl.Interaction, 30, 3600)
	slices.Sort(faults)
	return faults
}

// line reports whether text has at most limit characters and neither a control character nor the mark that JSON's decoder
// leaves for an invalid one: PostgreSQL's jsonb would refuse some of these.
func line(text string, limit int) bool {
	bad := func(r rune) bool { return r == utf8.RuneError || unicode.IsControl(r) }
	return utf8.RuneCountInString(text) <= limit && !strings.ContainsFunc(text, bad)
}

func validLocale(tag string) bool { return len(tag) <= maxLocale && language.MatchString(tag) }

func all(list []string, valid func(string) bool) bool {
	return !slices.ContainsFunc(list, func(s string) bool { return !valid(s) })
}

// webLink reports whether a link may be shown or loaded on a hosted page: absolute, https, without credentials.
func webLink(link string) bool {
	if link == "" {
		return true
	}
	u, err := url.Parse(link)
	return err == nil && u.Scheme == "https" && u.Hostname() != "" && u.User == nil && len(link) <= maxLink && line(link, maxLink)
}
