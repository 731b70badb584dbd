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
	between("security.authentication.password_policy.min_length", s.Security.Authentication.PasswordPolicy.MinLength, 8, 64)
	s.Security.Authentication.Signup.validate(fault)
	ttl := s.OIDC.TokenTTL
	between("oidc.token_ttl.access_token", ttl.AccessToken, 1, 86400)
	between("oidc.token_ttl.client_credentials", ttl.ClientCredentials, 1, 86400)
	between("oidc.token_ttl.id_token", ttl.IDToken, 1, 86400)
	between("oidc.token_ttl.authorization_code", ttl.AuthorizationCode, 1, 60)
	between("oidc.token_ttl.refresh_token", ttl.RefreshToken, 1, 31536000)
	between("oidc.token_ttl.interaction", ttl.Interaction, 30, 3600)
	between("oidc.token_ttl.device_code", ttl.DeviceCode, MinDeviceCodeTTL, MaxDeviceCodeTTL)
	between("oidc.token_ttl.pushed_request", ttl.PushedRequest, 5, 600)
	s.Features.OIDC.validate(fault)
	s.OIDC.validate(fault)
	slices.Sort(faults)
	return faults
}

// validate keeps a tenant from promising what the server cannot do: an address that must be verified could never be.
func (s Signup) validate(fault func(path, want string)) {
	const path = "security.authentication.signup."
	known := func(method string) bool { return slices.Contains(SignupMethods, method) }
	if len(s.Methods) == 0 || len(s.Methods) > len(SignupMethods) || !all(s.Methods, known) {
		fault(path+"signup_methods", "must name "+strings.Join(SignupMethods, " or ")+", or both; other identifiers cannot be registered yet")
	}
	if s.RequireEmailVerification {
		fault(path+"require_email_verification", "must be false: the server cannot send mail yet, so nobody could finish to register")
	}
	if s.RequirePhoneVerification {
		fault(path+"require_phone_verification", "must be false: the server cannot send SMS yet, so nobody could finish to register")
	}
}

// deviceMask is the form of a user code: at least 6 characters, at most 16, with hyphens in between.
var deviceMask = regexp.MustCompile(`^\*+(?:-\*+)*$`)

// validate finds switches that need another one, and a user code that could be guessed.
func (f OIDCFeatures) validate(fault func(path, want string)) {
	for _, needs := range []struct {
		on, also       bool
		path, required string
	}{
		{f.JWTIntrospection.Enabled, f.TokenIntrospection.Enabled, "jwt_introspection", "token_introspection"},
		{f.JWTUserinfo.Enabled, f.UserinfoEndpoint.Enabled, "jwt_userinfo", "userinfo_endpoint"},
		{f.ClientRegistrationManagement.Enabled, f.DynamicClientRegistration.Enabled, "client_registration_management", "dynamic_client_registration"},
		{f.RequestURI.Enabled, f.RequestObjects.Enabled, "request_uri", "request_objects"},
		{f.PKCE.Required, f.PKCE.Enabled, "pkce.required", "pkce.enabled"},
		{f.PushedAuthorizationRequests.Required, f.PushedAuthorizationRequests.Enabled, "pushed_authorization_requests.required", "pushed_authorization_requests.enabled"},
	} {
		if needs.on && !needs.also {
			fault("features.oidc."+needs.path, "needs features.oidc."+needs.required)
		}
	}
	if f.DeviceFlow.Charset != CharsetBase20 && f.DeviceFlow.Charset != CharsetDigits {
		fault("features.oidc.device_flow.charset", "must be base-20 or digits")
	}
	// Twenty consonants hold 4.3 bits each, digits 3.3: with the limit on attempts, 30 bits are enough (RFC 8628 section 5.1).
	least := 7
	if f.DeviceFlow.Charset == CharsetDigits {
		least = 9
	}
	if n := strings.Count(f.DeviceFlow.Mask, "*"); !deviceMask.MatchString(f.DeviceFlow.Mask) || n < least || n > 16 {
		fault("features.oidc.device_flow.mask", fmt.Sprintf("must be %d to 16 asterisks, with single hyphens in between if you like", least))
	}
}

// scopeName is a scope-token (RFC 6749 section 3.3).
var scopeName = regexp.MustCompile(`^[\x21\x23-\x5b\x5d-\x7e]{1,100}$`)

const maxList = 100 // entries of a list that people write by hand

func (o OIDC) validate(fault func(path, want string)) {
	if len(o.Scopes) > maxList || !all(o.Scopes, func(scope string) bool { return slices.Contains(OptionalScopes, scope) }) {
		fault("oidc.scopes", "must only name "+strings.Join(OptionalScopes, " and "))
	}
	if !webLink(o.Discovery.ServiceDocumentation) {
		fault("oidc.discovery.service_documentation", "must be an https URL or empty")
	}
	if len(o.ResourceServers) > maxList || len(o.JWTBearerIssuers) > maxList {
		fault("oidc.resource_servers and oidc.jwt_bearer_issuers", "must have at most 100 entries each")
		return
	}
	seen := map[string]bool{}
	for i, r := range o.ResourceServers {
		path := fmt.Sprintf("oidc.resource_servers[%d]", i)
		switch {
		case !ResourceURI(r.Identifier):
			fault(path+".identifier", "must be an absolute URI without fragment")
		case seen[r.Identifier]:
			fault(path+".identifier", "is listed twice")
		}
		seen[r.Identifier] = true
		if len(r.Scopes) > maxList || !all(r.Scopes, scopeName.MatchString) {
			fault(path+".scopes", "must be at most 100 scopes without spaces")
		}
		if !slices.Contains([]string{"", FormatJWT, FormatOpaque}, r.AccessTokenFormat) {
			fault(path+".accessTokenFormat", "must be jwt or opaque")
		}
		if r.AccessTokenTTL < 0 || r.AccessTokenTTL > 86400 {
			fault(path+".access_token_ttl", "must be between 0 and 86400")
		}
		if !slices.Contains([]string{"", "RS256", "PS256", "ES256", "EdDSA"}, r.SigningAlg) {
			fault(path+".signing_alg", "must be RS256, PS256, ES256 or EdDSA")
		}
	}
	issuers := map[string]bool{}
	for i, b := range o.JWTBearerIssuers {
		path := fmt.Sprintf("oidc.jwt_bearer_issuers[%d]", i)
		switch {
		case b.Issuer == "" || !line(b.Issuer, maxLink):
			fault(path+".issuer", "must be 1 to 2048 characters on one line")
		case issuers[b.Issuer]:
			fault(path+".issuer", "is listed twice")
		}
		issuers[b.Issuer] = true
		if (b.JWKSURI == "") == (len(b.JWKS) == 0) || !webLink(b.JWKSURI) {
			fault(path, "must have either jwks_uri, an https URL, or jwks")
		}
		if !slices.Contains([]string{"", "id", "username", "email"}, b.Subject) {
			fault(path+".subject", "must be id, username or email")
		}
		if len(b.Scopes) > maxList || !all(b.Scopes, scopeName.MatchString) {
			fault(path+".scopes", "must be at most 100 scopes without spaces")
		}
		if len(b.Clients) > maxList {
			fault(path+".clients", "must be at most 100 clients")
		}
	}
}

// ResourceURI reports whether text can name a resource: an absolute URI without fragment (RFC 8707 section 2).
func ResourceURI(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.IsAbs() && !strings.Contains(text, "#") && len(text) <= maxLink && line(text, maxLink)
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
