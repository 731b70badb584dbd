package oidc

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/openid"
	"github.com/ory/fosite/token/jwt"

	"parako/internal/dbsqlc"
	"parako/internal/directory"
	"parako/internal/session"
)

// grantSession is what fosite carries through a request about one grant: who authorised it, when and how. It also keeps the
// rows that were loaded for the request, because fosite asks the store for the same code several times. It belongs to one
// request and is not safe for concurrent use.
type grantSession struct {
	subject   uuid.UUID // uuid.Nil for client_credentials
	sessionID *uuid.UUID
	authTime  time.Time
	acr       string
	amr       []string
	nonce     string
	// ends is when the grant itself ends, whatever is refreshed.
	ends    time.Time
	expires map[fosite.TokenType]time.Time

	// client is the client of the request; the zero value before authentication.
	client client
	// claims is what single claims were asked for; nil: none.
	claims *claimsRequest
	// person is the account of subject where it is at hand; nil: it is looked up when it is needed.
	person *directory.User
	// bare says that there is no access token: the ID token carries what userinfo would say (OpenID Connect Core section 5.4).
	bare bool

	// proof is the thumbprint of the key that a DPoP proof with the request proved; empty: none.
	proof string
	// cnf is what the tokens that are issued are bound to, and bound what the presented refresh token is bound to.
	cnf, bound confirmation
	// audience are the resources the access token is for.
	audience []string
	// act is who acts for the subject (RFC 8693 section 4.1); nil: the subject itself.
	act json.RawMessage
	// keep says that the refresh token stays as it is.
	keep bool
	// atHash is where fosite leaves the at_hash.
	atHash *jwt.IDTokenClaims

	code *dbsqlc.CodeByIDRow
	// family is the grant of the code that is presented; uuid.Nil: none.
	family uuid.UUID
}

var (
	_ openid.Session = (*grantSession)(nil)
	_ fosite.Session = (*grantSession)(nil)
)

func newGrantSession() *grantSession {
	return &grantSession{expires: map[fosite.TokenType]time.Time{}, atHash: &jwt.IDTokenClaims{}}
}

// authorizedBy fills the session for a new grant of the person who is signed in.
func (g *grantSession) authorizedBy(s session.Session, nonce string) {
	g.subject, g.sessionID, g.authTime, g.acr, g.amr, g.nonce = s.User.ID, &s.ID, s.AuthTime, s.ACR, s.AMR, nonce
}

// restore fills the session from a stored grant.
func (g *grantSession) restore(row dbsqlc.Grant) (err error) {
	g.subject, g.sessionID, g.authTime, g.acr, g.amr, g.nonce = row.UserID, row.SessionID, row.AuthTime.UTC(), row.ACR, row.AMR, row.Nonce
	g.ends = row.ExpiresAt
	g.claims, err = storedClaims(row.Claims)
	return err
}

// SetExpiresAt implements fosite.Session. Nothing outlives the grant.
func (g *grantSession) SetExpiresAt(key fosite.TokenType, at time.Time) {
	if !g.ends.IsZero() && at.After(g.ends) {
		at = g.ends
	}
	g.expires[key] = at
}

// GetExpiresAt implements fosite.Session.
func (g *grantSession) GetExpiresAt(key fosite.TokenType) time.Time { return g.expires[key] }

// GetUsername implements fosite.Session.
func (*grantSession) GetUsername() string { return "" }

// GetSubject implements fosite.Session.
func (g *grantSession) GetSubject() string {
	if g.subject == uuid.Nil {
		return ""
	}
	return g.subject.String()
}

// Clone implements fosite.Session.
func (g *grantSession) Clone() fosite.Session {
	c := *g
	c.amr = slices.Clone(g.amr)
	c.expires = maps.Clone(g.expires)
	claims := *g.atHash
	c.atHash = &claims
	return &c
}

// IDTokenClaims implements openid.Session. fosite checks the subject in it and leaves the at_hash there; the rest of the ID
// token is made in idtoken.go.
func (g *grantSession) IDTokenClaims() *jwt.IDTokenClaims {
	g.atHash.Subject = g.GetSubject()
	return g.atHash
}

// IDTokenHeaders implements openid.Session. fosite takes the size of the at_hash from the digits of alg. EdDSA has none and
// goes with SHA-512, the hash inside Ed25519.
func (g *grantSession) IDTokenHeaders() *jwt.Headers {
	alg := g.client.IDTokenSignedResponseAlg
	if alg == "EdDSA" {
		alg = "HS512"
	}
	return &jwt.Headers{Extra: map[string]any{"alg": alg}}
}
