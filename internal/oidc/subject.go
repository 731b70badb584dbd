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
func (p *Provider) subject(more MoreMetadata, redirectURIs []string, user uuid.UUID) string {
	if more.SubjectType != SubjectPairwise {
		return user.String()
	}
	mac := hmac.New(sha256.New, p.pairwise)
	mac.Write([]byte(sector(more, redirectURIs)))
	mac.Write([]byte{0})
	mac.Write(user[:])
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// sector is the host that clients of one owner have in common (section 8.1).
func sector(more MoreMetadata, redirectURIs []string) string {
	at := more.SectorIdentifierURI
	if at == "" && len(redirectURIs) > 0 {
		at = redirectURIs[0]
	}
	u, err := url.Parse(at)
	if err != nil {
		return at // Never a sector that another client has.
	}
	return u.Host
}

func (p *Provider) subjectFor(c client, user uuid.UUID) string {
	return p.subject(c.more, c.RedirectUris, user)
}
