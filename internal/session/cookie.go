package session

import (
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Cookies reads and writes the product's cookies. They are host-only, so a tenant's browser sends them to no other tenant's
// host; over https their names carry the __Host- prefix, so that no sibling host can plant one.
type Cookies struct {
	// Secure is whether the deployment's public URL is https.
	Secure bool
}

// The cookies' names, without the prefix.
const (
	sessionCookie = "application_session"
	flowCookie    = "parako_flow_"
	localeCookie  = "locale"
	socialCookie  = "parako_social_"
	stateCookie   = "browser_state" // templates/static/session.js reads it by this name
)

func (c Cookies) name(base string) string {
	if c.Secure {
		return "__Host-" + base
	}
	return base
}

func (c Cookies) set(w http.ResponseWriter, name, value string, life time.Duration) {
	cookie := &http.Cookie{
		Name: c.name(name), Value: value, Path: "/", Secure: c.Secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		MaxAge: int(life / time.Second),
	}
	if value == "" {
		cookie.MaxAge = -1
	}
	http.SetCookie(w, cookie)
}

// Token is the session token in r for the tenant. bound is false when the cookie was made for another tenant: it must be
// cleared, and nobody is signed in.
func (c Cookies) Token(r *http.Request, slug string) (token string, bound bool) {
	cookie, err := r.Cookie(c.name(sessionCookie))
	if err != nil {
		return "", true
	}
	owner, token, ok := strings.Cut(cookie.Value, ".")
	if !ok || owner != slug {
		return "", false
	}
	return token, true
}

// SetToken gives the browser a session of the tenant; a zero life ends with the browser.
func (c Cookies) SetToken(w http.ResponseWriter, slug, token string, life time.Duration) {
	c.set(w, sessionCookie, slug+"."+token, life)
}

// ClearToken takes the session's cookie away.
func (c Cookies) ClearToken(w http.ResponseWriter) { c.set(w, sessionCookie, "", 0) }

// SetState lets the scripts of check_session_iframe see which session the browser is in, inside of frames of other sites (OpenID
// Connect Session Management section 3.2). It is no secret and opens nothing; an empty state takes it away.
func (c Cookies) SetState(w http.ResponseWriter, state string, life time.Duration) {
	cookie := &http.Cookie{Name: c.name(stateCookie), Value: state, Path: "/", Secure: true, SameSite: http.SameSiteNoneMode, MaxAge: int(life / time.Second)}
	if state == "" {
		cookie.MaxAge = -1
	}
	http.SetCookie(w, cookie)
}

// Flow is the secret that ties an interaction to the browser it began in; empty when this is another browser.
func (c Cookies) Flow(r *http.Request, interaction uuid.UUID) string {
	cookie, err := r.Cookie(c.name(flowCookie + interaction.String()[:8]))
	if err != nil {
		return ""
	}
	return cookie.Value
}

// SetFlow ties an interaction to this browser. Each has a cookie of its own, so that two tabs do not disturb each other.
func (c Cookies) SetFlow(w http.ResponseWriter, interaction uuid.UUID, secret string, life time.Duration) {
	c.set(w, flowCookie+interaction.String()[:8], secret, life)
}

// ClearFlow forgets an interaction.
func (c Cookies) ClearFlow(w http.ResponseWriter, interaction uuid.UUID) {
	c.set(w, flowCookie+interaction.String()[:8], "", 0)
}

// Social is what ties the sign-in id at an upstream provider to the browser it began in; empty when this is another browser.
func (c Cookies) Social(r *http.Request, id string) string {
	cookie, err := r.Cookie(c.name(socialCookie + id))
	if err != nil {
		return ""
	}
	return cookie.Value
}

// SetSocial ties the sign-in id at an upstream provider to this browser; an empty value forgets it. Each has a cookie of its own,
// so that two tabs do not disturb each other.
func (c Cookies) SetSocial(w http.ResponseWriter, id, value string, life time.Duration) {
	c.set(w, socialCookie+id, value, life)
}

// Locale is the language the person chose in this browser, as they left it; empty: none.
func (c Cookies) Locale(r *http.Request) string {
	cookie, err := r.Cookie(c.name(localeCookie))
	if err != nil {
		return ""
	}
	return cookie.Value
}
