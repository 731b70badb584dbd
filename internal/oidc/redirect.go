package oidc

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// matchRedirect reports whether a redirect_uri may be used with a registration: the same string, byte for byte, or a
// loopback address that differs in nothing but the port, which native applications choose at run time (RFC 8252 section
// 7.3). A URI that is dangerous in itself matches nothing, registered or not.
func matchRedirect(registered, presented string) bool {
	if !safeRedirect(presented) {
		return false
	}
	if registered == presented {
		return true
	}
	want, err1 := url.Parse(registered)
	got, err2 := url.Parse(presented)
	if err1 != nil || err2 != nil || want.Scheme != "http" || got.Scheme != "http" || want.Hostname() != got.Hostname() {
		return false
	}
	addr, err := netip.ParseAddr(got.Hostname())
	if err != nil || !addr.IsLoopback() {
		return false
	}
	want.Host, got.Host = "", ""
	return want.String() == got.String()
}

// safeRedirect refuses what browsers and parsers disagree about, and schemes that run code.
func safeRedirect(uri string) bool {
	if uri == "" || len(uri) > 2048 || strings.ContainsFunc(uri, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '\\' }) {
		return false
	}
	u, err := url.Parse(uri)
	if err != nil || !u.IsAbs() || u.Fragment != "" || strings.Contains(uri, "#") || u.User != nil {
		return false
	}
	if !strings.HasPrefix(uri, u.Scheme) { // url.Parse lowers the scheme; the string must have been lower already.
		return false
	}
	if slices.Contains([]string{"javascript", "data", "file", "vbscript", "blob", "about"}, u.Scheme) {
		return false
	}
	if u.Scheme == "http" || u.Scheme == "https" {
		return u.Host != "" && !strings.ContainsAny(u.Host, "*%") && u.Hostname() != ""
	}
	return true
}

// registeredRedirect reports whether one of the client's registrations allows the URI.
func registeredRedirect(registered []string, presented string) bool {
	return slices.ContainsFunc(registered, func(r string) bool { return matchRedirect(r, presented) })
}

// redirectOrigin is what a form's target must be allowed to redirect to, in the words of a Content-Security-Policy.
func redirectOrigin(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return ""
	}
	if u.Scheme == "http" || u.Scheme == "https" {
		return u.Scheme + "://" + u.Host
	}
	return u.Scheme + ":"
}

// withQuery adds parameters to a URI that may have a query already.
func withQuery(uri string, params url.Values) string {
	if len(params) == 0 {
		return uri
	}
	glue := "?"
	if strings.Contains(uri, "?") {
		glue = "&"
	}
	return uri + glue + params.Encode()
}
