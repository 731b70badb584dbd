package oidc

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/url"

	"github.com/google/uuid"
)

// subject is the sub of a person for a client (OpenID Connect Core section 8). A pairwise one cannot be traced to the person
// or to another sector without the tenant's own key.
func (p *Provider) subject(clientID string, more MoreMetadata, redirectURIs []string, user uuid.UUID) string {
	if more.SubjectType != SubjectPairwise {
		return user.String()
	}
	mac := hmac.New(sha256.New, p.pairwise)
	mac.Write([]byte(sector(clientID, more, redirectURIs)))
	mac.Write([]byte{0})
	mac.Write(user[:])
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// sector is the host that clients of one owner have in common (section 8.1). A client that comes back to its own machine or to a
// scheme of its own has nothing in common with others, and is a sector by itself.
func sector(clientID string, more MoreMetadata, redirectURIs []string) string {
	if u, err := url.Parse(more.SectorIdentifierURI); err == nil && u.Host != "" {
		return u.Host
	}
	if len(redirectURIs) > 0 {
		if u, err := url.Parse(redirectURIs[0]); err == nil && u.Scheme == "https" && u.Host != "" {
			return u.Host
		}
	}
	return "client " + clientID // No host has a space in it.
}

func (p *Provider) subjectFor(c client, user uuid.UUID) string {
	return p.subject(c.ID, c.more, c.RedirectUris, user)
}
