package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"

	"parako/internal/audit"
	"parako/internal/oidc"
	"parako/internal/store"
	"parako/internal/tenant"
)

func clients(ctx context.Context, p *process, args []string) error {
	return dispatch(ctx, p, "parako client", []command{
		{"create", "register an application with a tenant", clientCreate},
		{"list", "list a tenant's applications", clientList},
	}, args)
}

// inTenant runs fn in a transaction of the tenant the slug names.
func (p *process) inTenant(ctx context.Context, slug string, fn func(context.Context, *store.Tx) error) error {
	s, err := p.database(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	id := tenant.DefaultID
	if slug != tenant.DefaultSlug {
		t, err := tenant.BySlug(ctx, s, slug)
		if err != nil {
			return err
		}
		id = t.ID
	}
	return s.InTenant(ctx, id, fn)
}

func clientCreate(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako client create", flag.ContinueOnError)
	slug := flags.String("tenant", "", "the tenant's slug; default in single-tenant mode (required)")
	name := flags.String("name", "", "the client_name people see (required)")
	preset := flags.String("preset", "web", "web, spa, native, m2m, device or api_management")
	id := flags.String("client-id", "", "the client_id; a random UUID when it is left out")
	method := flags.String("auth-method", "", "token_endpoint_auth_method, instead of the preset's")
	scope := flags.String("scope", "", "the scopes it may ask for, instead of the preset's")
	resourceScopes := flags.String("resource-scopes", "", "the scopes it may ask for at a resource")
	alg := flags.String("id-token-alg", "", "RS256, ES256 or EdDSA")
	keys := flags.String("jwks", "", "a file with the public keys of a private_key_jwt client")
	internal := flags.Bool("internal", false, "people are not asked for consent")
	asJSON := flags.Bool("json", false, "print the client as JSON")
	var redirects, logouts, resources values
	flags.Var(&redirects, "redirect-uri", "where to send people back to; may be repeated")
	flags.Var(&logouts, "post-logout-redirect-uri", "where to send people after a logout; may be repeated")
	flags.Var(&resources, "resource", "a resource it may ask tokens for (RFC 8707); may be repeated")
	if err := p.parse(flags, args); err != nil {
		return err
	}
	if err := p.required(flags, "tenant", "name"); err != nil {
		return err
	}
	var jwks json.RawMessage
	if *keys != "" {
		var err error
		if jwks, err = os.ReadFile(*keys); err != nil {
			return fmt.Errorf("read --jwks: %w", err)
		}
	}
	var c oidc.Client
	err := p.inTenant(ctx, *slug, func(ctx context.Context, tx *store.Tx) (err error) {
		c, err = oidc.RegisterClient(ctx, tx, oidc.NewClient{
			ID: *id, Name: *name, Preset: oidc.Preset(*preset), RedirectURIs: redirects, PostLogoutRedirectURIs: logouts, Scope: *scope,
			TokenEndpointAuthMethod: *method, JWKS: jwks, AllowedResources: resources, ResourcesScopes: *resourceScopes, IDTokenAlg: *alg,
			Internal: *internal, Actor: audit.Operator(operator),
		})
		return err
	})
	if err != nil {
		return err
	}
	if *asJSON {
		return p.printJSON(c)
	}
	p.printf("client_id      %s\n", c.ID)
	if c.Secret != "" {
		p.printf("client_secret  %s\n               Keep it now: it is not shown again.\n", c.Secret)
	}
	return nil
}

func clientList(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako client list", flag.ContinueOnError)
	slug := flags.String("tenant", "", "the tenant's slug; default in single-tenant mode (required)")
	asJSON := flags.Bool("json", false, "print the clients as JSON")
	if err := p.parse(flags, args); err != nil {
		return err
	}
	if err := p.required(flags, "tenant"); err != nil {
		return err
	}
	all := []oidc.Client{}
	err := p.inTenant(ctx, *slug, func(ctx context.Context, tx *store.Tx) error {
		for after := ""; ; {
			const page = 500
			list, err := oidc.ListClients(ctx, tx, after, page)
			if err != nil {
				return err
			}
			all = append(all, list...)
			if len(list) < page {
				return nil
			}
			after = list[len(list)-1].ID
		}
	})
	if err != nil {
		return err
	}
	if *asJSON {
		return p.printJSON(map[string]any{"clients": all})
	}
	for _, c := range all {
		p.printf("%-40s %-15s %s\n", c.ID, c.Preset, c.Name)
	}
	return nil
}
