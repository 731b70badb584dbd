package oidc

import (
	"context"
	"encoding/json"
	"slices"

	"parako/internal/outbound"
	"parako/internal/problem"
	"parako/internal/ratelimit"
)

// Sector is what was found behind a client's sector_identifier_uri. The zero value is nothing.
type Sector struct {
	uri       string
	redirects []string
}

// FetchSector gets the list behind the sector_identifier_uri of a client that is about to become m and was before, the zero
// value for a new one. It is nothing when there is none, or none that needs a look. It calls the network, so it comes before
// the transaction.
func FetchSector(ctx context.Context, out *outbound.Client, before, m ClientMetadata) (Sector, error) {
	if !m.movesSector(before) {
		return Sector{}, nil
	}
	s := Sector{uri: m.SectorIdentifierURI}
	defer ratelimit.StepOut(ctx)()
	answer, err := out.Get(ctx, s.uri, "application/json")
	if err == nil {
		err = json.Unmarshal(answer.Body, &s.redirects)
	}
	if err != nil {
		// One message for every reason: nobody is told what can be reached from here.
		return Sector{}, invalidClient(badMetadata("sector_identifier_uri does not lead to a JSON array of redirect URIs (OpenID Connect Dynamic Client Registration section 5)."))
	}
	return s, nil
}

// movesSector reports whether the client has a sector_identifier_uri that it did not have before, or for other redirect URIs.
// What was checked once stays good, whatever becomes of the list.
func (m *ClientMetadata) movesSector(before ClientMetadata) bool {
	return m.SectorIdentifierURI != "" && (m.SectorIdentifierURI != before.SectorIdentifierURI || !slices.Equal(m.RedirectURIs, before.RedirectURIs))
}

// checkSector demands that the list behind the sector_identifier_uri holds every redirect URI (OpenID Connect Dynamic Client
// Registration section 5), or the client could choose whose subjects it shares.
func (n *NewClient) checkSector(before ClientMetadata) error {
	if !n.movesSector(before) {
		return nil
	}
	if n.Sector.uri != n.SectorIdentifierURI {
		return badMetadata("sector_identifier_uri has not been looked at.")
	}
	for _, uri := range n.RedirectURIs {
		if !slices.Contains(n.Sector.redirects, uri) {
			return badMetadata("The list at sector_identifier_uri lacks the redirect URI %s", uri)
		}
	}
	return nil
}

// invalidClient makes a fault of metadata an error for operators. It stays recognisable for clients.
func invalidClient(fault error) error {
	return problem.New(problem.Invalid, "client_invalid", fault.Error()).Because(fault)
}
