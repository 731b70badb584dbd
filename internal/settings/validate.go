package settings

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

var (
	color    = regexp.MustCompile(`^#(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})$`)
	language = regexp.MustCompile(`^[A-Za-z]{2,8}(?:[-_][A-Za-z0-9]{1,8})*$`) // the shape of BCP 47
	hostname = regexp.MustCompile(`^(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
	country  = regexp.MustCompile(`^[A-Z]{2}$`)
	phone    = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)
	roleName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,49}$`)
	// deviceMask is the form of a user code: at least 6 characters, at most 16, with hyphens in between.
	deviceMask = regexp.MustCompile(`^\*+(?:-\*+)*$`)
	// scopeName is a scope-token (RFC 6749 section 3.3).
	scopeName = regexp.MustCompile(`^[\x21\x23-\x5b\x5d-\x7e]{1,100}$`)
)

const (
	maxText   = 255 // characters where a field says nothing else
	maxFonts  = 200 // characters
	maxLink   = 2048
	maxLocale = 35  // BCP 47 section 4.4.1
	maxHost   = 253 // RFC 1035 section 2.3.4
	maxList   = 100 // entries of a list that people write by hand
)

// formats are those of texts, and of the entries of lists: whether one is right, and what it must be.
var formats = map[string]struct {
	valid    func(string) bool
	is, list string
}{
	"web":     {webLink, "must be an https URL or empty", ""},
	"locale":  {validLocale, "", "must be at most 100 language tags such as pt-BR"},
	"fonts":   {validFonts, "must be a list of font names of at most 200 characters", ""},
	"color":   {color.MatchString, "must be #rgb or #rrggbb", ""},
	"host":    {validHost, "must be a host name or empty", "must be at most 100 host names"},
	"country": {country.MatchString, "", "must be at most 100 countries of two capital letters"},
	"phone":   {func(s string) bool { return s == "" || phone.MatchString(s) }, "must be a number such as +491701234567, or empty", ""},
	"mailbox": {validMailbox, "must be an address such as login@acme.example or Acme <login@acme.example>, or empty", ""},
	"role":    {roleName.MatchString, "", "must be 1 to 100 names of lower-case letters, digits, hyphens and underscores"},
}

// Validate lists every fault, each a path and what is allowed there, sorted. None: the settings may be used.
func (s *Settings) Validate() []string {
	var faults []string
	fault := func(path, want string) { faults = append(faults, path+" "+want) }
	for i := range all {
		if f := &all[i]; f.key == "" {
			f.validate(s, fault)
		}
	}
	s.Branding.Colors.validate(fault)
	if l := s.Application.Locales; !slices.Contains(l.Available, l.Default) {
		fault("application.locales.default", "must be one of application.locales.available")
	}
	s.Security.Authentication.Roles.validate(fault)
	s.Security.Authentication.CustomIdentifiers.validate(fault)
	s.Features.OIDC.DeviceFlow.validate(fault)
	s.OIDC.validate(fault)
	slices.Sort(faults)
	return slices.Compact(faults)
}

// validate checks a setting by what its tags say.
func (f *Field) validate(s *Settings, fault func(path, want string)) {
	v := f.Value(s)
	if f.Awaits != "" && f.Kind != Secret {
		if document, _ := json.Marshal(v); string(document) != f.defaultJSON() {
			fault(f.Path, fmt.Sprintf("must be %s: %s", f.defaultJSON(), f.Awaits))
			return
		}
	}
	switch v := v.(type) {
	case bool:
		if needed := byPath[f.Needs]; v && needed != nil && needed.Value(s) != true {
			path, whole := strings.CutSuffix(f.Path, ".enabled")
			other := f.Needs
			if whole {
				other = strings.TrimSuffix(other, ".enabled") // One part of the product needs another.
			}
			fault(path, "needs "+other)
		}
	case int:
		f.within(float64(v), fault)
	case float64:
		f.within(v, fault)
	case string:
		f.text(v, fault)
	case []string:
		f.list(v, fault)
	}
}

func (f *Field) defaultJSON() string {
	document, _ := json.Marshal(f.Default)
	return string(document)
}

func (f *Field) within(x float64, fault func(path, want string)) {
	if f.Minimum != nil && x < *f.Minimum || f.Maximum != nil && x > *f.Maximum {
		fault(f.Path, fmt.Sprintf("must be between %s and %s", digits(*f.Minimum), digits(*f.Maximum)))
	}
}

func digits(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }

func (f *Field) text(v string, fault func(path, want string)) {
	switch {
	case f.Enum != nil:
		if !slices.Contains(f.Enum, v) {
			fault(f.Path, "must be "+oneOf(f.Enum))
		}
	case f.Format != "":
		if format := formats[f.Format]; !format.valid(v) {
			fault(f.Path, format.is)
		}
	case f.Minimum != nil:
		if strings.TrimSpace(v) == "" || !line(v, int(*f.Maximum)) {
			fault(f.Path, fmt.Sprintf("must be %s to %s characters on one line", digits(*f.Minimum), digits(*f.Maximum)))
		}
	default:
		limit := maxText
		if f.Maximum != nil {
			limit = int(*f.Maximum)
		}
		if !line(v, limit) {
			fault(f.Path, fmt.Sprintf("must be at most %d characters on one line", limit))
		}
	}
}

func (f *Field) list(v []string, fault func(path, want string)) {
	switch {
	case len(v) < f.least || len(v) > maxList:
	case f.Enum != nil:
		if known := func(s string) bool { return slices.Contains(f.Enum, s) }; every(v, known) && !repeats(v) {
			return
		}
	case every(v, formats[f.Format].valid):
		return
	}
	want := formats[f.Format].list
	if f.Enum != nil {
		want = "must only name " + strings.Join(f.Enum[:len(f.Enum)-1], ", ") + " and " + f.Enum[len(f.Enum)-1]
		if f.least > 0 {
			want = "must name " + oneOf(f.Enum) + ", each at most once"
		}
	}
	fault(f.Path, want)
}

// oneOf lists names as in "a, b or c".
func oneOf(list []string) string {
	shown := make([]string, len(list))
	for i, name := range list {
		if shown[i] = name; name == "" {
			shown[i] = "empty"
		}
	}
	if len(shown) == 1 {
		return shown[0]
	}
	return strings.Join(shown[:len(shown)-1], ", ") + " or " + shown[len(shown)-1]
}

func (c Colors) validate(fault func(path, want string)) {
	for mode, colors := range map[string]map[string]string{"light": c.Light, "dark": c.Dark} {
		path, unknown := "branding.colors."+mode, false
		for name, value := range colors {
			if !slices.Contains(colorNames, name) {
				unknown = true // said once and without the names, which are the caller's
				continue
			}
			if !color.MatchString(value) {
				fault(path+"."+name, formats["color"].is)
			}
		}
		if unknown {
			fault(path, "must only name known colours")
		}
	}
}

// administers reports whether a role may change other people's things. Nobody gets one by registering.
func administers(role string) bool {
	return slices.Contains([]string{"admin", "superadmin", "platform_admin", "platform_viewer"}, role)
}

func (r Roles) validate(fault func(path, want string)) {
	const path = "security.authentication.roles.default"
	switch {
	case administers(r.Default):
		fault(path, "must not be a role that administers: everybody who registers gets it")
	case !slices.Contains(r.Available, r.Default):
		fault(path, "must be one of security.authentication.roles.available")
	}
}

func (c CustomIdentifiers) validate(fault func(path, want string)) {
	if len(c.Fields) > 0 {
		fault("security.authentication.custom_identifiers.fields", "must be empty: the server knows no identifiers but addresses and usernames yet")
	}
}

// validate finds a user code that could be guessed. Twenty consonants hold 4.3 bits each, digits 3.3: with the limit on
// attempts, 30 bits are enough (RFC 8628 section 5.1).
func (d DeviceFlow) validate(fault func(path, want string)) {
	least := 7
	if d.Charset == CharsetDigits {
		least = 9
	}
	if n := strings.Count(d.Mask, "*"); !deviceMask.MatchString(d.Mask) || n < least || n > 16 {
		fault("features.oidc.device_flow.mask", fmt.Sprintf("must be %d to 16 asterisks, with single hyphens in between if you like", least))
	}
}

func (o OIDC) validate(fault func(path, want string)) {
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
		if len(r.Scopes) > maxList || !every(r.Scopes, scopeName.MatchString) {
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
		} else if len(b.JWKS) > 0 && !publicKeys(b.JWKS) {
			fault(path+".jwks", "must be a JSON Web Key Set of public keys")
		}
		if !slices.Contains([]string{"", "id", "username", "email"}, b.Subject) {
			fault(path+".subject", "must be id, username or email")
		}
		if len(b.Scopes) > maxList || !every(b.Scopes, scopeName.MatchString) {
			fault(path+".scopes", "must be at most 100 scopes without spaces")
		}
		if len(b.Clients) > maxList || !every(b.Clients, clientName) {
			fault(path+".clients", "must be at most 100 clients, each of 1 to 255 characters on one line")
		}
	}
}

func clientName(id string) bool { return id != "" && line(id, 255) }

// publicKeys reports whether document is a JSON Web Key Set (RFC 7517 section 5) in which no key is private or symmetric.
func publicKeys(document json.RawMessage) bool {
	var set struct {
		Keys []map[string]any `json:"keys"`
	}
	if json.Unmarshal(document, &set) != nil || set.Keys == nil || bytes.Contains(document, []byte(`\u0000`)) {
		return false
	}
	return !slices.ContainsFunc(set.Keys, func(key map[string]any) bool { return key["d"] != nil || key["k"] != nil })
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

func validHost(host string) bool {
	return host == "" || len(host) <= maxHost && hostname.MatchString(host)
}

func validFonts(list string) bool {
	return line(list, maxFonts) && !strings.ContainsAny(list, `{};<>\()@`)
}

// validMailbox takes what net/mail does on one line (RFC 5322 section 3.4).
func validMailbox(box string) bool {
	if box == "" {
		return true
	}
	_, err := mail.ParseAddress(box)
	return err == nil && line(box, maxText)
}

func every(list []string, valid func(string) bool) bool {
	return !slices.ContainsFunc(list, func(s string) bool { return !valid(s) })
}

func repeats(list []string) bool {
	return len(slices.Compact(slices.Sorted(slices.Values(list)))) < len(list)
}

// webLink reports whether a link may be shown or loaded on a hosted page: absolute, https, without credentials.
func webLink(link string) bool {
	if link == "" {
		return true
	}
	u, err := url.Parse(link)
	return err == nil && u.Scheme == "https" && u.Hostname() != "" && u.User == nil && len(link) <= maxLink && line(link, maxLink)
}
