package settings_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parako/internal/settings"
)

func TestDefaultsAreValid(t *testing.T) {
	t.Parallel()
	s := settings.Default()
	if faults := s.Validate(); len(faults) > 0 {
		t.Errorf("Validate() = %q, want no fault", faults)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	type edit = func(*settings.Settings)
	title := func(title string) edit { return func(s *settings.Settings) { s.Application.Title = title } }
	locales := func(initial string, available ...string) edit {
		return func(s *settings.Settings) {
			s.Application.Locales = settings.Locales{Default: initial, Available: available}
		}
	}
	company := func(name string) edit { return func(s *settings.Settings) { s.Branding.CompanyName = name } }
	logo := func(url string) edit { return func(s *settings.Settings) { s.Branding.Logo = url } }
	fonts := func(list string) edit { return func(s *settings.Settings) { s.Branding.Fonts.Sans = list } }
	light := func(name, value string) edit {
		return func(s *settings.Settings) { s.Branding.Colors.Light[name] = value }
	}
	dark := func(name, value string) edit {
		return func(s *settings.Settings) { s.Branding.Colors.Dark[name] = value }
	}
	session := func(idle, absolute int) edit {
		return func(s *settings.Settings) {
			s.Security.Authentication.Session.IdleTimeoutMinutes, s.Security.Authentication.Session.AbsoluteTimeoutHours = idle, absolute
		}
	}
	ttl := func(change func(*settings.TokenTTL)) edit {
		return func(s *settings.Settings) { change(&s.OIDC.TokenTTL) }
	}
	passwords := func(p settings.PasswordPolicy) edit {
		return func(s *settings.Settings) { s.Security.Authentication.PasswordPolicy = p }
	}
	signup := func(up settings.Signup) edit {
		return func(s *settings.Settings) {
			up.AutoApproval, up.ContactChannels = s.Security.Authentication.Signup.AutoApproval, s.Security.Authentication.Signup.ContactChannels
			s.Security.Authentication.Signup = up
		}
	}
	const (
		lengthFault  = "security.authentication.password_policy.min_length must be between 8 and 64"
		methodFault  = "security.authentication.signup.signup_methods must name email or username, each at most once"
		titleFault   = "application.title must be 1 to 255 characters on one line"
		tagsFault    = "application.locales.available must be at most 100 language tags such as pt-BR"
		defaultFault = "application.locales.default must be one of application.locales.available"
		companyFault = "branding.companyName must be at most 255 characters on one line"
		logoFault    = "branding.logo must be an https URL or empty"
		fontFault    = "branding.fonts.sans must be a list of font names of at most 200 characters"
		lightFault   = "branding.colors.light must only name known colours"
		valueFault   = "branding.colors.light.primary must be #rgb or #rrggbb"
	)
	tests := map[string]struct {
		edit edit
		want []string
	}{
		"title: one character":             {title("P"), nil},
		"title: 255 characters, not bytes": {title(strings.Repeat("é", 255)), nil},
		"title: 256 characters":            {title(strings.Repeat("é", 256)), []string{titleFault}},
		"title: nothing":                   {title(""), []string{titleFault}},
		"title: only space":                {title(" \u00a0"), []string{titleFault}},
		"title: two lines":                 {title("a\nb"), []string{titleFault}},

		"locales: one":                     {locales("pt-BR", "pt-BR"), nil},
		"locales: old spelling":            {locales("zh_Hant_TW", "zh_Hant_TW"), nil},
		"locales: default not offered":     {locales("de", "en", "fr"), []string{defaultFault}},
		"locales: none":                    {locales("en"), []string{defaultFault}},
		"locales: an empty one":            {locales("en", "en", ""), []string{tagsFault}},
		"locales: a path":                  {locales("en", "en", "../../etc"), []string{tagsFault}},
		"locales: too long":                {locales("en", "en", "en"+strings.Repeat("-abcdefgh", 4)), []string{tagsFault}},
		"locales: too many":                {locales("en", strings.Fields(strings.Repeat("en ", 101))...), []string{tagsFault}},
		"locales: neither tag nor offered": {locales("!", "?"), []string{tagsFault, defaultFault}},

		"company: none":           {company(""), nil},
		"company: 255 characters": {company(strings.Repeat("é", 255)), nil},
		"company: 256 characters": {company(strings.Repeat("é", 256)), []string{companyFault}},
		"company: two lines":      {company("a\r\nb"), []string{companyFault}},

		"logo: none":             {logo(""), nil},
		"logo: https":            {logo("https://cdn.acme.example:8443/logo.svg?v=2"), nil},
		"logo: international":    {logo("https://bücher.example/logo.svg"), nil},
		"logo: http":             {logo("http://cdn.acme.example/logo.svg"), []string{logoFault}},
		"logo: script":           {logo("javascript:alert(1)"), []string{logoFault}},
		"logo: data":             {logo("data:image/svg+xml,<svg/>"), []string{logoFault}},
		"logo: path":             {logo("/images/logo.png"), []string{logoFault}},
		"logo: of any scheme":    {logo("//cdn.acme.example/logo.svg"), []string{logoFault}},
		"logo: no host":          {logo("https:///logo.svg"), []string{logoFault}},
		"logo: only a port":      {logo("https://:443/logo.svg"), []string{logoFault}},
		"logo: opaque":           {logo("https:logo.svg"), []string{logoFault}},
		"logo: with credentials": {logo("https://user:pass@cdn.acme.example/logo.svg"), []string{logoFault}},
		"logo: a false host":     {logo(`https://cdn.acme.example\@evil.example/`), []string{logoFault}},
		"logo: two lines":        {logo("https://cdn.acme.example/a\nb"), []string{logoFault}},
		"logo: too long":         {logo("https://a.example/" + strings.Repeat("a", 2048)), []string{logoFault}},
		"logoDark": {
			func(s *settings.Settings) { s.Branding.LogoDark = "http://a.example" },
			[]string{"branding.logoDark must be an https URL or empty"},
		},
		"links": {
			func(s *settings.Settings) {
				s.Integrations.URLs = settings.URLs{PrivacyPolicy: "/privacy", TermsOfService: "x"}
			},
			[]string{
				"integrations.urls.privacy_policy must be an https URL or empty",
				"integrations.urls.terms_of_service must be an https URL or empty",
			},
		},

		"fonts: a list":           {fonts(`"Inter Tight", Helvetica, sans-serif`), nil},
		"fonts: 200 characters":   {fonts(strings.Repeat("é", 200)), nil},
		"fonts: 201 characters":   {fonts(strings.Repeat("a", 201)), []string{fontFault}},
		"fonts: end of the rule":  {fonts("x;color:red"), []string{fontFault}},
		"fonts: end of the block": {fonts("x}body{display:none"), []string{fontFault}},
		"fonts: a resource":       {fonts("url(//evil.example)"), []string{fontFault}},
		"fonts: an escape":        {fonts(`\3b`), []string{fontFault}},
		"fonts: an at-rule":       {fonts("@import"), []string{fontFault}},
		"fonts: an element":       {fonts("</style>"), []string{fontFault}},
		"fonts: two lines":        {fonts("a\nb"), []string{fontFault}},

		"color: short":             {light("primary", "#abc"), nil},
		"color: long":              {dark("sidebarPrimaryForeground", "#A1b2C3"), nil},
		"color: other name":        {light("shadow", "#abc"), []string{lightFault}},
		"color: name in kebab":     {light("card-foreground", "#abc"), []string{lightFault}},
		"color: name as CSS":       {light("x:url(//evil.example);--y", "#abc"), []string{lightFault}},
		"color: other dark name":   {dark("", "red"), []string{"branding.colors.dark must only name known colours"}},
		"color: a word":            {light("primary", "red"), []string{valueFault}},
		"color: empty":             {light("primary", ""), []string{valueFault}},
		"color: four digits":       {light("primary", "#abcd"), []string{valueFault}},
		"color: with transparency": {light("primary", "#aabbccdd"), []string{valueFault}},
		"color: more behind it":    {light("primary", "#abc;}"), []string{valueFault}},
		"color: a line behind it":  {light("primary", "#abc\n"), []string{valueFault}},
		"color: two unknown names are said once": {
			func(s *settings.Settings) { s.Branding.Colors.Light = map[string]string{"a": "#abc", "b": "#abc"} },
			[]string{lightFault},
		},

		"session: off":  {session(0, 0), nil},
		"session: most": {session(525600, 8760), nil},
		"session: negative": {session(-1, -1), []string{
			"security.authentication.session.absolute_timeout_hours must be between 0 and 8760",
			"security.authentication.session.idle_timeout_minutes must be between 0 and 525600",
		}},
		"session: too long": {session(525601, 8761), []string{
			"security.authentication.session.absolute_timeout_hours must be between 0 and 8760",
			"security.authentication.session.idle_timeout_minutes must be between 0 and 525600",
		}},

		"password: shortest": {passwords(settings.PasswordPolicy{MinLength: 8}), nil},
		"password: longest":  {passwords(settings.PasswordPolicy{MinLength: 64, RequireSymbols: true}), nil},
		"password: shorter":  {passwords(settings.PasswordPolicy{MinLength: 7}), []string{lengthFault}},
		"password: nothing":  {passwords(settings.PasswordPolicy{}), []string{lengthFault}},
		"password: longer":   {passwords(settings.PasswordPolicy{MinLength: 65}), []string{lengthFault}},

		"signup: by email":           {signup(settings.Signup{Enabled: true, Methods: []string{"email"}}), nil},
		"signup: by both":            {signup(settings.Signup{Enabled: true, Methods: []string{"username", "email"}}), nil},
		"signup: by nothing":         {signup(settings.Signup{Enabled: true}), []string{methodFault}},
		"signup: by telephone":       {signup(settings.Signup{Methods: []string{"email", "phone"}}), []string{methodFault}},
		"signup: by custom":          {signup(settings.Signup{Methods: []string{"custom_identifier"}}), []string{methodFault}},
		"signup: by email and again": {signup(settings.Signup{Methods: []string{"email", "email", "email"}}), []string{methodFault}},
		"signup: with a verified address": {
			signup(settings.Signup{Enabled: true, Methods: []string{"email"}, RequireEmailVerification: true, RequirePhoneVerification: true}),
			[]string{
				"security.authentication.signup.require_email_verification must be false: nobody can prove an address yet, and so finish to register",
				"security.authentication.signup.require_phone_verification must be false: the server cannot send SMS yet, so nobody could finish to register",
			},
		},
		"signup: verification is refused when it is off, too": {
			signup(settings.Signup{Methods: []string{"email"}, RequireEmailVerification: true}),
			[]string{"security.authentication.signup.require_email_verification must be false: nobody can prove an address yet, and so finish to register"},
		},

		"ttl: least": {
			ttl(lifetimes(1, 1, 1, 1, 1, 30, 30, 5)),
			nil,
		},
		"ttl: most": {
			ttl(lifetimes(86400, 86400, 86400, 60, 31536000, 3600, 1800, 600)),
			nil,
		},
		"ttl: too short": {
			ttl(lifetimes(0, 0, 0, 0, 0, 29, 29, 4)),
			ttlFaults,
		},
		"ttl: too long": {
			ttl(lifetimes(86401, 86401, 86401, 61, 31536001, 3601, 1801, 601)),
			ttlFaults,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := changed(tt.edit)
			if diff := cmp.Diff(tt.want, s.Validate()); diff != "" {
				t.Errorf("Validate() mismatch (-want +got)\n%s", diff)
			}
		})
	}
}

func lifetimes(access, machine, id, code, refresh, interaction, device, pushed int) func(*settings.TokenTTL) {
	return func(t *settings.TokenTTL) {
		t.AccessToken, t.ClientCredentials, t.IDToken, t.AuthorizationCode = access, machine, id, code
		t.RefreshToken, t.Interaction, t.DeviceCode, t.PushedRequest = refresh, interaction, device, pushed
	}
}

var ttlFaults = []string{
	"oidc.token_ttl.access_token must be between 1 and 86400",
	"oidc.token_ttl.authorization_code must be between 1 and 60",
	"oidc.token_ttl.client_credentials must be between 1 and 86400",
	"oidc.token_ttl.device_code must be between 30 and 1800",
	"oidc.token_ttl.id_token must be between 1 and 86400",
	"oidc.token_ttl.interaction must be between 30 and 3600",
	"oidc.token_ttl.pushed_request must be between 5 and 600",
	"oidc.token_ttl.refresh_token must be between 1 and 31536000",
}

// everything turns on what a tenant can turn on.
func everything(s *settings.Settings) {
	on := settings.Switch{Enabled: true}
	f := &s.Features.OIDC
	for _, part := range []*settings.Switch{
		&f.JWTIntrospection, &f.JWTUserinfo, &f.FrontchannelLogout, &f.SessionManagement, &f.DynamicClientRegistration,
		&f.ClientRegistrationManagement, &f.ImplicitFlow, &f.HybridFlow, &f.ClaimsParameter, &f.RequestURI, &f.JWTResponseModes,
		&f.Encryption, &f.MTLS, &f.TokenExchange, &f.JWTBearer,
	} {
		*part = on
	}
	f.PushedAuthorizationRequests.Required, f.DPoP.RequireNonce = true, true
}

func TestValidateFeatures(t *testing.T) {
	t.Parallel()
	type edit = func(*settings.Settings)
	server := func(r settings.ResourceServer) edit {
		return func(s *settings.Settings) { s.OIDC.ResourceServers = []settings.ResourceServer{r} }
	}
	const keysFault = "oidc.jwt_bearer_issuers[0].jwks must be a JSON Web Key Set of public keys"
	issuer := func(b settings.JWTBearerIssuer) edit {
		return func(s *settings.Settings) { s.OIDC.JWTBearerIssuers = []settings.JWTBearerIssuer{b} }
	}
	device := func(charset, mask string) edit {
		return func(s *settings.Settings) {
			s.Features.OIDC.DeviceFlow = settings.DeviceFlow{Enabled: true, Charset: charset, Mask: mask}
		}
	}
	const (
		mask20    = "features.oidc.device_flow.mask must be 7 to 16 asterisks, with single hyphens in between if you like"
		maskDigit = "features.oidc.device_flow.mask must be 9 to 16 asterisks, with single hyphens in between if you like"
	)
	tests := map[string]struct {
		edit edit
		want []string
	}{
		"everything on": {everything, nil},
		"signed introspection without introspection": {
			func(s *settings.Settings) {
				everything(s)
				s.Features.OIDC.TokenIntrospection.Enabled = false
			},
			[]string{"features.oidc.jwt_introspection needs features.oidc.token_introspection"},
		},
		"management without registration": {
			func(s *settings.Settings) { s.Features.OIDC.ClientRegistrationManagement.Enabled = true },
			[]string{"features.oidc.client_registration_management needs features.oidc.dynamic_client_registration"},
		},
		"PKCE required and off": {
			func(s *settings.Settings) { s.Features.OIDC.PKCE = settings.PKCE{Required: true} },
			[]string{"features.oidc.pkce.required needs features.oidc.pkce.enabled"},
		},
		"PAR required and off": {
			func(s *settings.Settings) {
				s.Features.OIDC.PushedAuthorizationRequests = settings.Pushed{Required: true}
			},
			[]string{"features.oidc.pushed_authorization_requests.required needs features.oidc.pushed_authorization_requests.enabled"},
		},
		"a user code of digits":         {device("digits", "***-***-***"), nil},
		"a user code that is too short": {device("base-20", "***-***"), []string{mask20}},
		"digits are fewer bits":         {device("digits", "****-****"), []string{maskDigit}},
		"a user code with other signs":  {device("base-20", "****--****"), []string{mask20}},
		"a user code that is too long":  {device("base-20", "*****************"), []string{mask20}},
		"a user code of emoji":          {device("emoji", "****-****"), []string{"features.oidc.device_flow.charset must be base-20 or digits"}},
		"optional scopes":               {func(s *settings.Settings) { s.OIDC.Scopes = []string{"roles", "account"} }, nil},
		"an unknown scope":              {func(s *settings.Settings) { s.OIDC.Scopes = []string{"openid"} }, []string{"oidc.scopes must only name roles and account"}},
		"a resource server": {server(settings.ResourceServer{
			Identifier: "https://api.example/", Scopes: []string{"read"}, AccessTokenFormat: "opaque", AccessTokenTTL: 60, SigningAlg: "PS256",
		}), nil},
		"a resource server that is none": {server(settings.ResourceServer{
			Identifier: "api#1", Scopes: []string{"a b"}, AccessTokenFormat: "saml", AccessTokenTTL: -1, SigningAlg: "HS256",
		}), []string{
			"oidc.resource_servers[0].accessTokenFormat must be jwt or opaque",
			"oidc.resource_servers[0].access_token_ttl must be between 0 and 86400",
			"oidc.resource_servers[0].identifier must be an absolute URI without fragment",
			"oidc.resource_servers[0].scopes must be at most 100 scopes without spaces",
			"oidc.resource_servers[0].signing_alg must be RS256, PS256, ES256 or EdDSA",
		}},
		"a resource server twice": {
			func(s *settings.Settings) {
				s.OIDC.ResourceServers = []settings.ResourceServer{{Identifier: "urn:a"}, {Identifier: "urn:a"}}
			},
			[]string{"oidc.resource_servers[1].identifier is listed twice"},
		},
		"an issuer with its keys":  {issuer(settings.JWTBearerIssuer{Issuer: "https://idp.example", JWKS: []byte(`{"keys":[]}`), Subject: "email"}), nil},
		"an issuer with a key URL": {issuer(settings.JWTBearerIssuer{Issuer: "https://idp.example", JWKSURI: "https://idp.example/jwks"}), nil},
		"an issuer with a number for keys": {
			issuer(settings.JWTBearerIssuer{Issuer: "https://idp.example", JWKS: []byte("7")}), []string{keysFault},
		},
		"an issuer with a private key": {
			issuer(settings.JWTBearerIssuer{Issuer: "https://idp.example", JWKS: []byte(`{"keys":[{"kty":"OKP","d":"AA"}]}`)}), []string{keysFault},
		},
		"an issuer with what no database takes": {
			issuer(settings.JWTBearerIssuer{Issuer: "https://idp.example", JWKS: []byte(`{"keys":[{"kid":"\u0000"}]}`), Clients: []string{"a\x00b"}}),
			[]string{"oidc.jwt_bearer_issuers[0].clients must be at most 100 clients, each of 1 to 255 characters on one line", keysFault},
		},
		"an issuer without keys": {
			issuer(settings.JWTBearerIssuer{Issuer: "https://idp.example", Subject: "phone"}),
			[]string{"oidc.jwt_bearer_issuers[0] must have either jwks_uri, an https URL, or jwks", "oidc.jwt_bearer_issuers[0].subject must be id, username or email"},
		},
		"an issuer without a name": {
			issuer(settings.JWTBearerIssuer{JWKSURI: "http://idp.example/jwks"}),
			[]string{"oidc.jwt_bearer_issuers[0] must have either jwks_uri, an https URL, or jwks", "oidc.jwt_bearer_issuers[0].issuer must be 1 to 2048 characters on one line"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := changed(tt.edit)
			if diff := cmp.Diff(tt.want, s.Validate()); diff != "" {
				t.Errorf("Validate() mismatch (-want +got)\n%s", diff)
			}
		})
	}
}

// Brands that were made for the product's palette of 33 names stay valid.
func TestEveryColourOfThePaletteMayBeSet(t *testing.T) {
	t.Parallel()
	names := strings.Fields(`primary primaryForeground secondary secondaryForeground accent accentForeground destructive
		destructiveForeground success successForeground warning warningForeground info infoForeground background foreground card
		cardForeground popover popoverForeground muted mutedForeground border input ring sidebar sidebarForeground sidebarPrimary
		sidebarPrimaryForeground sidebarAccent sidebarAccentForeground sidebarBorder sidebarRing`)
	s := settings.Default()
	for _, name := range names {
		s.Branding.Colors.Light[name] = "#000"
		s.Branding.Colors.Dark[name] = "#ffffff"
	}
	if got := len(s.Branding.Colors.Light); got != 33 {
		t.Errorf("%d names, want 33", got)
	}
	if faults := s.Validate(); len(faults) > 0 {
		t.Errorf("Validate() = %q, want no fault", faults)
	}
}

func TestDurations(t *testing.T) {
	t.Parallel()
	s := settings.Session{IdleTimeoutMinutes: 30, AbsoluteTimeoutHours: 24}
	got := []time.Duration{s.Idle(), s.Absolute(), settings.Session{}.Idle(), settings.Session{}.Absolute(), settings.Seconds(90)}
	want := []time.Duration{30 * time.Minute, 24 * time.Hour, 0, 0, 90 * time.Second}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("durations mismatch (-want +got)\n%s", diff)
	}
}
