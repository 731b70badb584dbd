package oidc

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"

	"parako/internal/secret"
	"parako/internal/session"
)

// BrowserState is what a browser keeps of its session for scripts to compare (OpenID Connect Session Management section 3.2): another
// value for each session, from which neither the session nor its cookie can be found. It is empty where the tenant has session
// management off, and when nobody is signed in.
func (p *Provider) BrowserState(s *session.Session) string {
	if s == nil || !p.Settings.Features.OIDC.SessionManagement.Enabled {
		return ""
	}
	mac := hmac.New(sha256.New, p.states)
	mac.Write(s.ID[:])
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// sessionState is the session_state of an authorization response (section 2): what check_session_iframe computes for the client,
// the origin of its redirect URI and the browser's state. The salt keeps clients from comparing what they got.
func sessionState(clientID, redirectURI, browserState string) string {
	salt := secret.Token()
	sum := sha256.Sum256([]byte(clientID + " " + origin(redirectURI) + " " + browserState + " " + salt))
	return base64.RawURLEncoding.EncodeToString(sum[:]) + "." + salt
}
