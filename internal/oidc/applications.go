package oidc

import (
	"context"
	"fmt"
	"net/url"

	"parako/internal/dbsqlc"
	"parako/internal/store"
)

// Application is a client in which a login can be started from here (OpenID Connect Core section 4).
type Application struct {
	Name    string
	LogoURI string
	// LoginURL is the client's initiate_login_uri with the issuer, and with the client's own page as the place to arrive at.
	LoginURL string
}

// maxApplications is the most that one page shows.
const maxApplications = 100

// Applications lists the tenant's clients in which a login can be started, by name.
func (p *Provider) Applications(ctx context.Context) ([]Application, error) {
	var rows []dbsqlc.ClientsWithLoginRow
	err := p.askTenant(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
		rows, err = tx.ClientsWithLogin(ctx, dbsqlc.ClientsWithLoginParams{TenantID: tx.Tenant(), PageSize: maxApplications})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list applications: %w", err)
	}
	list := make([]Application, len(rows))
	for i, r := range rows {
		params := url.Values{"iss": {p.Issuer}}
		if r.ClientURI != "" {
			params.Set("target_link_uri", r.ClientURI)
		}
		list[i] = Application{Name: r.ClientName, LogoURI: r.LogoURI, LoginURL: withQuery(r.LoginURI, params)}
	}
	return list, nil
}
