package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"parako/internal/audit"
	"parako/internal/config"
	"parako/internal/oidc"
	"parako/internal/outbound"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/tenant"
)

func clients(ctx context.Context, p *process, args []string) error {
	return dispatch(ctx, p, "parako client", []command{
		{"create", "register an application with a tenant", clientCreate},
		{"list", "list a tenant's applications", clientList},
		{"update", "change what an application registered", clientUpdate},
		{"rotate-secret", "give an application a new secret while the old one goes on for a day", clientRotateSecret},
		{"disable", "stop an application at once, its tokens included", clientDisable},
		{"enable", "let an application work again", clientEnable},
		{"delete", "remove an application and everything it was granted", clientDelete},
		{"token", "the tokens with which applications register themselves: create, list, revoke", clientTokens},
	}, args)
}

// inTenant runs fn in a transaction of the tenant the slug names.
func (p *process) inTenant(ctx context.Context, slug string, fn func(context.Context, *store.Tx) error) error {
	s, err := p.database(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	t, err := namedTenant(ctx, s, slug)
	if err != nil {
		return err
	}
	return s.InTenant(ctx, t.ID, fn)
}

// underPlatform is inTenant for what depends on what the platform has set for all tenants.
func (p *process) underPlatform(ctx context.Context, slug string, fn func(context.Context, *store.Tx, settings.Layer) error) error {
	s, err := p.database(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	t, err := namedTenant(ctx, s, slug)
	if err != nil {
		return err
	}
	platform, err := settings.Platform(ctx, s)
	if err != nil {
		return err
	}
	return s.InTenant(ctx, t.ID, func(ctx context.Context, tx *store.Tx) error { return fn(ctx, tx, platform) })
}

// administeredFlags are the flags for what administrators decide about a client and no metadata can say. A switch is taken
// back with =false, a text or a list with an empty value.
type administeredFlags struct {
	set              *flag.FlagSet
	resources        values
	resourceScopes   *string
	apiScopes        *string
	internal, noPKCE *bool
}

func newAdministeredFlags(set *flag.FlagSet) *administeredFlags {
	f := &administeredFlags{
		set:            set,
		resourceScopes: set.String("resource-scopes", "", "the scopes it may ask for at a resource; '' for none"),
		apiScopes: set.String("api-scopes", "",
			"the scopes it may ask for at the Management API, such as 'parako:tenants:read'; stands for --resource "+oidc.ManagementResource+" and --resource-scopes"),
		internal: set.Bool("internal", false, "people are not asked for consent; --internal=false: they are"),
		noPKCE: set.Bool("no-pkce", false,
			"excuse a client that authenticates from PKCE where the tenant does not demand it of all; --no-pkce=false: it is not excused"),
	}
	set.Var(&f.resources, "resource", "a resource it may ask tokens for (RFC 8707); may be repeated; '' for none")
	return f
}

// apply lays the flags that were given over n, and reports whether there were any.
func (f *administeredFlags) apply(n *oidc.NewClient) bool {
	given := false
	f.set.Visit(func(flag *flag.Flag) {
		switch flag.Name {
		case "resource":
			n.AllowedResources = f.resources
			if slices.Equal(f.resources, values{""}) {
				n.AllowedResources = []string{} // Not nil, which would be the preset's.
			}
		case "resource-scopes":
			n.ResourcesScopes = *f.resourceScopes
		case "api-scopes":
			n.AllowedResources, n.ResourcesScopes = []string{oidc.ManagementResource}, *f.apiScopes
		case "internal":
			n.Internal = *f.internal
		case "no-pkce":
			n.WithoutPKCE = *f.noPKCE
		default:
			return
		}
		given = true
	})
	return given
}

// checkAPIScopes refuses --api-scopes that the tenant cannot grant, or besides the flags that it stands for.
func (p *process) checkAPIScopes(f *administeredFlags, slug string) error {
	if *f.apiScopes == "" {
		return nil
	}
	if f.resources != nil || *f.resourceScopes != "" {
		return p.misuse(f.set, "--api-scopes stands for --resource and --resource-scopes: leave these out")
	}
	grantable := oidc.GrantableManagementScopes(slug)
	for scope := range strings.FieldsSeq(*f.apiScopes) {
		if !slices.Contains(grantable, scope) {
			return p.misuse(f.set, "--api-scopes: %q is none that %s can grant; there are %s", scope, slug, strings.Join(grantable, " "))
		}
	}
	return nil
}

func clientCreate(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako client create", flag.ContinueOnError)
	slug := flags.String("tenant", "", "the tenant's slug; default in single-tenant mode (required)")
	name := flags.String("name", "", "the client_name people see (required)")
	preset := flags.String("preset", "web", "web, spa, native, m2m, device or api_management, the default with --api-scopes")
	id := flags.String("client-id", "", "the client_id; a random UUID when it is left out")
	method := flags.String("auth-method", "", "token_endpoint_auth_method, instead of the preset's")
	scope := flags.String("scope", "", "the scopes it may ask for, instead of the preset's")
	alg := flags.String("id-token-alg", "", "RS256 (default; ES256 for a FAPI 2.0 client), PS256, ES256 or EdDSA")
	keys := flags.String("jwks", "", "a file with the public keys of the client")
	metadata := flags.String("metadata", "", "a file with more metadata, under the names of RFC 7591 and of the specifications that add to it")
	administered := newAdministeredFlags(flags)
	asJSON := flags.Bool("json", false, "print the client as JSON")
	var redirects, logouts values
	flags.Var(&redirects, "redirect-uri", "where to send people back to; may be repeated")
	flags.Var(&logouts, "post-logout-redirect-uri", "where to send people after a logout; may be repeated")
	if err := p.parse(flags, args); err != nil {
		return err
	}
	if err := p.required(flags, "tenant", "name"); err != nil {
		return err
	}
	if err := p.checkAPIScopes(administered, *slug); err != nil {
		return err
	}
	named := false
	flags.Visit(func(flag *flag.Flag) { named = named || flag.Name == "preset" })
	if *administered.apiScopes != "" && !named {
		*preset = string(oidc.PresetAPIManagement)
	}
	n := oidc.NewClient{ID: *id, Preset: oidc.Preset(*preset), Actor: audit.Operator(operator)}
	administered.apply(&n)
	if *metadata != "" {
		document, err := p.document(*metadata)
		if err != nil {
			return err
		}
		if err := decodeMetadata(document, &n.ClientMetadata); err != nil {
			return err
		}
	}
	n.Name = *name
	if *keys != "" {
		var err error
		if n.JWKS, err = os.ReadFile(*keys); err != nil {
			return fmt.Errorf("read --jwks: %w", err)
		}
	}
	for _, flag := range []struct {
		to   *string
		from string
	}{{&n.Scope, *scope}, {&n.TokenEndpointAuthMethod, *method}, {&n.IDTokenAlg, *alg}} {
		if flag.from != "" {
			*flag.to = flag.from
		}
	}
	n.RedirectURIs, n.PostLogoutRedirectURIs = append(n.RedirectURIs, redirects...), append(n.PostLogoutRedirectURIs, logouts...)
	vault, err := p.vault()
	if err != nil {
		return err
	}
	if n.Sector, err = p.fetchSector(ctx, oidc.ClientMetadata{}, n.ClientMetadata); err != nil {
		return err
	}
	var c oidc.Client
	err = p.underPlatform(ctx, *slug, func(ctx context.Context, tx *store.Tx, platform settings.Layer) (err error) {
		c, err = oidc.RegisterClient(ctx, tx, vault, platform, n)
		return err
	})
	if err != nil {
		return err
	}
	return p.printClient(*asJSON, c)
}

func (p *process) printClient(asJSON bool, c oidc.Client) error {
	if asJSON {
		return p.printJSON(c)
	}
	p.printf("client_id      %s\n", c.ID)
	if c.Secret != "" {
		p.printf("client_secret  %s\n               Keep it now: it is not shown again.\n", c.Secret)
	}
	return nil
}

// vault opens data keys when the environment has ENCRYPTION_KEY; most clients need none.
func (p *process) vault() (tenant.Vault, error) {
	c, err := config.Load(p.environ)
	if err != nil || c.EncryptionKey.Empty() {
		return tenant.Vault{}, err
	}
	return tenant.NewVault(c.EncryptionKey, c.EncryptionKeyPrevious)
}

// fetchSector looks at the sector_identifier_uri of a client that was before and is about to become m. It calls what servers
// in this environment would call.
func (p *process) fetchSector(ctx context.Context, before, m oidc.ClientMetadata) (oidc.Sector, error) {
	c, err := config.Load(p.environ)
	if err != nil {
		return oidc.Sector{}, err
	}
	out := outbound.New(outbound.Options{Allowed: c.OutboundNetworks, Loopback: c.Environment == config.Development})
	defer out.Close()
	return oidc.FetchSector(ctx, out, before, m)
}

// decodeMetadata reads a document of client metadata over m. A name that means nothing is a mistake.
func decodeMetadata(document []byte, m *oidc.ClientMetadata) error {
	d := json.NewDecoder(bytes.NewReader(document))
	d.DisallowUnknownFields()
	if err := d.Decode(m); err != nil {
		return fmt.Errorf("read --metadata: %w", err)
	}
	return nil
}

// clientUpdate replaces what the document and the flags name and leaves the rest.
func clientUpdate(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako client update", flag.ContinueOnError)
	slug := flags.String("tenant", "", "the tenant's slug; default in single-tenant mode (required)")
	id := flags.String("client-id", "", "the client (required)")
	metadata := flags.String("metadata", "", "a file with the metadata that changes, under the names of RFC 7591 and of the specifications that add to it")
	administered := newAdministeredFlags(flags)
	asJSON := flags.Bool("json", false, "print the client as JSON")
	if err := p.parse(flags, args); err != nil {
		return err
	}
	if err := p.required(flags, "tenant", "client-id"); err != nil {
		return err
	}
	if err := p.checkAPIScopes(administered, *slug); err != nil {
		return err
	}
	document := json.RawMessage("{}")
	if *metadata != "" {
		var err error
		if document, err = p.document(*metadata); err != nil {
			return err
		}
	} else if !administered.apply(new(oidc.NewClient)) {
		return p.misuse(flags, "say what changes; see %s --help", flags.Name())
	}
	vault, err := p.vault()
	if err != nil {
		return err
	}
	var c oidc.Client
	err = p.inTenant(ctx, *slug, func(ctx context.Context, tx *store.Tx) (err error) {
		c, err = oidc.GetClient(ctx, tx, *id)
		return err
	})
	if err != nil {
		return err
	}
	next := c.ClientMetadata
	if err := decodeMetadata(document, &next); err != nil {
		return err
	}
	sector, err := p.fetchSector(ctx, c.ClientMetadata, next)
	if err != nil {
		return err
	}
	err = p.underPlatform(ctx, *slug, func(ctx context.Context, tx *store.Tx, platform settings.Layer) (err error) {
		c, err = oidc.ChangeClient(ctx, tx, vault, platform, *id, audit.Operator(operator), func(n *oidc.NewClient) error {
			n.Sector = sector
			administered.apply(n)
			return decodeMetadata(document, &n.ClientMetadata)
		})
		return err
	})
	if err != nil {
		return err
	}
	return p.printClient(*asJSON, c)
}

func clientRotateSecret(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako client rotate-secret", flag.ContinueOnError)
	slug := flags.String("tenant", "", "the tenant's slug; default in single-tenant mode (required)")
	id := flags.String("client-id", "", "the client (required)")
	overlap := flags.Duration("overlap", 24*time.Hour, "how long the secret of today goes on working")
	asJSON := flags.Bool("json", false, "print the client as JSON")
	if err := p.parse(flags, args); err != nil {
		return err
	}
	if err := p.required(flags, "tenant", "client-id"); err != nil {
		return err
	}
	vault, err := p.vault()
	if err != nil {
		return err
	}
	var c oidc.Client
	err = p.inTenant(ctx, *slug, func(ctx context.Context, tx *store.Tx) (err error) {
		c, err = oidc.RotateSecret(ctx, tx, vault, *id, max(*overlap, 0), audit.Operator(operator))
		return err
	})
	if err != nil {
		return err
	}
	return p.printClient(*asJSON, c)
}

func clientEnable(ctx context.Context, p *process, args []string) error {
	return p.onClient(ctx, "enable", args, func(ctx context.Context, tx *store.Tx, id string) error {
		return oidc.SetClientActive(ctx, tx, id, true, audit.Operator(operator))
	})
}

func clientDisable(ctx context.Context, p *process, args []string) error {
	return p.onClient(ctx, "disable", args, func(ctx context.Context, tx *store.Tx, id string) error {
		return oidc.SetClientActive(ctx, tx, id, false, audit.Operator(operator))
	})
}

func clientDelete(ctx context.Context, p *process, args []string) error {
	return p.onClient(ctx, "delete", args, func(ctx context.Context, tx *store.Tx, id string) error {
		return oidc.DeleteClient(ctx, tx, id, audit.Operator(operator))
	})
}

// onClient runs a command that takes a client and prints nothing.
func (p *process) onClient(ctx context.Context, verb string, args []string, do func(context.Context, *store.Tx, string) error) error {
	flags := flag.NewFlagSet("parako client "+verb, flag.ContinueOnError)
	slug := flags.String("tenant", "", "the tenant's slug; default in single-tenant mode (required)")
	id := flags.String("client-id", "", "the client (required)")
	if err := p.parse(flags, args); err != nil {
		return err
	}
	if err := p.required(flags, "tenant", "client-id"); err != nil {
		return err
	}
	return p.inTenant(ctx, *slug, func(ctx context.Context, tx *store.Tx) error { return do(ctx, tx, *id) })
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
