package pages

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// SecurityHeaders sets the headers every page is sent with: nothing runs, nothing frames it, nothing keeps it. The page may load its
// stylesheet from its own origin and images from anywhere by https, and its forms may be posted to its own origin.
//
// destinations are URIs to which the answer to the form may redirect the browser, such as the redirect_uri of the request: Chromium holds
// the redirects that follow a form to form-action too, and would stop the reader on the way back to the application. Of an http or
// https URI the origin is allowed; of a private-use one (RFC 8252 §7.1), the scheme. What is neither is left out.
//
// A page with a script has it allowed by [AllowScripts].
func SecurityHeaders(h http.Header, destinations ...string) {
	formAction := []string{"'self'"}
	for _, destination := range destinations {
		if source, ok := formSource(destination); ok && !slices.Contains(formAction, source) {
			formAction = append(formAction, source)
		}
	}
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self' https: data:; font-src 'self'; form-action "+
		strings.Join(formAction, " ")+"; frame-ancestors 'none'; base-uri 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
}

// AllowFrames lets the page that [SecurityHeaders] was called for show the origins of the URIs in frames, and no other.
func AllowFrames(h http.Header, uris []string) {
	var origins []string
	for _, uri := range uris {
		if source, ok := formSource(uri); ok && strings.Contains(source, "://") && !slices.Contains(origins, source) {
			origins = append(origins, source)
		}
	}
	if len(origins) > 0 {
		h.Set("Content-Security-Policy", h.Get("Content-Security-Policy")+"; frame-src "+strings.Join(origins, " "))
	}
}

// formSource returns the source expression (CSP Level 3 §2.3.1) that covers a URI, and whether there is one. The URI was registered by a
// client, so whatever could end the directive, or widen it with a wildcard, makes it no source at all.
func formSource(uri string) (string, bool) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme == "" {
		return "", false
	}
	switch u.Scheme {
	case "http", "https":
		if strings.HasPrefix(u.Host, "[") {
			return u.Scheme + ":", true // a source cannot name an IPv6 address, which native applications listen on (RFC 8252 §7.3)
		}
		if u.Hostname() == "" || strings.Trim(strings.ToLower(u.Host), "abcdefghijklmnopqrstuvwxyz0123456789.-:") != "" {
			return "", false
		}
		return u.Scheme + "://" + u.Host, true
	case "javascript", "data", "blob", "file", "vbscript", "about":
		return "", false
	}
	return u.Scheme + ":", true
}
