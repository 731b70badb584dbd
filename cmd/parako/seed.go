package main

import (
	"context"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/config"
	"parako/internal/dbsqlc"
	"parako/internal/directory"
	"parako/internal/factor"
	"parako/internal/oidc"
	"parako/internal/secret"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/tenant"
)

// seeded is what `parako dev` prints: where everything is and how to sign in.
type seeded struct {
	Server   string `json:"server"`
	Platform string `json:"platform"`
	// Operator administers the platform.
	Operator seededUser     `json:"platform_admin"`
	Demo     string         `json:"relying_party"`
	Tenants  []seededTenant `json:"tenants"`
	// Environment is what the other commands need to work on this database.
	Environment map[string]string `json:"environment"`
}

type seededTenant struct {
	Slug    string         `json:"slug"`
	Name    string         `json:"name"`
	Issuer  string         `json:"issuer"`
	Users   []seededUser   `json:"users"`
	Clients []seededClient `json:"clients"`
}

type seededUser struct {
	Identifier string `json:"identifier"`
	Password   string `json:"password"`
}

type seededClient struct {
	ClientID               string   `json:"client_id"`
	ClientSecret           string   `json:"client_secret"`
	RedirectURIs           []string `json:"redirect_uris"`
	PostLogoutRedirectURIs []string `json:"post_logout_redirect_uris"`
}

// demoBrand is what makes the two tenants easy to tell apart. Its person has every claim, because conformance suites warn about
// those that are missing.
type demoBrand struct {
	slug, name string
	person     directory.New
	branding   string
}

func demoBrands() []demoBrand {
	return []demoBrand{
		{
			"acme", "Acme",
			directory.New{
				Username: "alice", Email: "alice@acme.example", EmailVerified: true, Name: "Alice Mary Archer", GivenName: "Alice",
				FamilyName: "Archer", MiddleName: "Mary", Nickname: "Al", Profile: "https://acme.example/people/alice",
				Picture: "https://acme.example/people/alice.png", Website: "https://alice.example/", Gender: "female", Birthdate: "1988-02-29",
				Zoneinfo: "Europe/London", Locale: "en-GB", PhoneNumber: "+442071838750", PhoneNumberVerified: true, Roles: []string{"user"},
				Address: &directory.Address{
					Formatted: "1 Example Street\nLondon\nGreater London\nEC1A 1BB\nGB", StreetAddress: "1 Example Street", Locality: "London",
					Region: "Greater London", PostalCode: "EC1A 1BB", Country: "GB",
				},
			},
			`{"companyName":"Acme","colors":{"light":{"primary":"#b4232c"},"dark":{"primary":"#ff8a8f"}}}`,
		},
		{
			"globex", "Globex",
			directory.New{
				Username: "gloria", Email: "gloria@globex.example", EmailVerified: true, Name: "Gloria Ida Grant", GivenName: "Gloria",
				FamilyName: "Grant", MiddleName: "Ida", Nickname: "Glo", Profile: "https://globex.example/people/gloria",
				Picture: "https://globex.example/people/gloria.png", Website: "https://gloria.example/", Gender: "female", Birthdate: "1979-11-05",
				Zoneinfo: "Europe/Berlin", Locale: "de-DE", PhoneNumber: "+493012345678", PhoneNumberVerified: true, Roles: []string{"user"},
				Address: &directory.Address{
					Formatted: "Musterstraße 2\n10115 Berlin\nDE", StreetAddress: "Musterstraße 2", Locality: "Berlin", Region: "Berlin",
					PostalCode: "10115", Country: "DE",
				},
			},
			`{"companyName":"Globex","colors":{"light":{"primary":"#0b6b4f"},"dark":{"primary":"#5fd3ae"}}}`,
		},
	}
}

// seed makes the demo tenants, or finds those of an earlier run. Their passwords and secrets derive from the encryption key,
// so that they are random, different on every machine, and the same on the next run.
func seed(ctx context.Context, c config.Config, o devOptions) (seeded, error) {
	s, err := store.Open(ctx, store.Options{AppURL: c.PostgresURL, PlatformURL: c.PlatformURL, Pooled: c.Pooler == config.TransactionPooler})
	if err != nil {
		return seeded{}, err
	}
	defer s.Close()
	vault, err := tenant.NewVault(c.EncryptionKey, c.EncryptionKeyPrevious)
	if err != nil {
		return seeded{}, err
	}
	base, err := c.BaseURL()
	if err != nil {
		return seeded{}, err
	}
	out := seeded{
		Server: base.String(), Platform: base.Scheme + "://" + tenant.PlatformsSlug + "." + base.Host + "/platform",
		Demo: "http://localhost:" + strconv.Itoa(o.demoPort),
		Environment: map[string]string{
			"DEPLOYMENT_URL": base.String(), "DATABASE_URL": c.DatabaseURL.Reveal(), "STORAGE_POSTGRESQL_URL": c.PostgresURL.Reveal(),
			"STORAGE_POSTGRESQL_PLATFORM_URL": c.PlatformURL.Reveal(), "ENCRYPTION_KEY": c.EncryptionKey.Reveal(),
		},
	}
	platforms, err := tenant.EnsurePlatforms(ctx, s)
	if err != nil {
		return seeded{}, err
	}
	out.Operator, _, err = seedPerson(ctx, s, vault.Master, platforms, directory.New{
		Username: "olga", Email: "olga@platform.example", EmailVerified: true, Name: "Olga Operator", Roles: []string{"admin", directory.PlatformAdmin},
	})
	if err != nil {
		return seeded{}, fmt.Errorf("platform: %w", err)
	}
	if err := liftRate(ctx, s); err != nil {
		return seeded{}, fmt.Errorf("settings of the platform: %w", err)
	}
	for _, brand := range demoBrands() {
		t, err := seedTenant(ctx, s, vault, base, brand, out.Demo)
		if err != nil {
			return seeded{}, fmt.Errorf("tenant %s: %w", brand.slug, err)
		}
		out.Tenants = append(out.Tenants, t)
	}
	return out, nil
}

// liftRate turns off, at the first run, the rate of requests of one address: whoever develops an application is one.
func liftRate(ctx context.Context, s *store.Store) error {
	var never int64
	err := s.InTenant(ctx, tenant.DefaultID, func(ctx context.Context, tx *store.Tx) error {
		_, err := settings.Write(ctx, tx, settings.Layer{}, settings.Change{
			Section: "security", Document: json.RawMessage(`{"protection": {"rate_limiting": {"enabled": false}}}`), Match: &never, By: audit.Operator("dev"),
		})
		return err
	})
	if errors.Is(err, settings.ErrChanged) {
		return nil
	}
	return err
}

func seedTenant(ctx context.Context, s *store.Store, vault tenant.Vault, base *url.URL, b demoBrand, demo string) (seededTenant, error) {
	t, err := tenant.Create(ctx, s, tenant.New{Slug: b.slug, DisplayName: b.name, Operator: "dev"})
	if errors.Is(err, tenant.ErrSlugTaken) {
		t, err = tenant.BySlug(ctx, s, b.slug)
	}
	if err != nil {
		return seededTenant{}, err
	}
	out := seededTenant{Slug: t.Slug, Name: b.name, Issuer: t.Issuer(base, oidc.Mount)}
	user, fresh, err := seedPerson(ctx, s, vault.Master, t, b.person)
	if err == nil && fresh {
		err = s.InTenant(ctx, t.ID, func(ctx context.Context, tx *store.Tx) error {
			_, err := settings.Write(ctx, tx, settings.Layer{}, settings.Change{
				Section: "branding", Document: json.RawMessage(b.branding), By: audit.Operator("dev"),
			})
			return err
		})
	}
	if err != nil {
		return seededTenant{}, fmt.Errorf("user: %w", err)
	}
	out.Users = []seededUser{user}
	out.Clients, err = seedClients(ctx, s, vault, t, b, demo)
	return out, err
}

// seedPerson adds a person to a tenant, or finds the one of an earlier run.
func seedPerson(ctx context.Context, s *store.Store, master secret.MasterKey, t tenant.Tenant, person directory.New) (user seededUser, fresh bool, err error) {
	user = seededUser{Identifier: person.Email, Password: memorable(master, t.ID, "dev-password")}
	err = s.InTenant(ctx, t.ID, func(ctx context.Context, tx *store.Tx) error {
		_, _, err := directory.ForLogin(ctx, tx, person.Email)
		return err
	})
	if !errors.Is(err, store.ErrNotFound) {
		return user, false, err
	}
	hash, err := factor.Passwords{Hasher: secret.NewHasher(1)}.Hash(ctx, user.Password)
	if err != nil {
		return user, false, err
	}
	return user, true, s.InTenant(ctx, t.ID, func(ctx context.Context, tx *store.Tx) error {
		_, err := addUser(ctx, tx, person, hash)
		return err
	})
}

// seedClients registers a confidential and a public client, or moves those of an earlier run to today's ports.
func seedClients(ctx context.Context, s *store.Store, vault tenant.Vault, t tenant.Tenant, b demoBrand, demo string) ([]seededClient, error) {
	redirects := unique("http://localhost:9008/callback", "http://127.0.0.1/callback", demo+"/callback")
	logouts := unique("http://localhost:9008/", "http://127.0.0.1:9008/", demo+"/")
	var list []seededClient
	for _, n := range []oidc.NewClient{
		{
			ID: b.slug + "-web", Preset: oidc.PresetWeb, Secret: memorable(vault.Master, t.ID, "dev-client-secret"),
			ClientMetadata: oidc.ClientMetadata{Name: b.name + " demo application"},
		},
		{ID: b.slug + "-spa", Preset: oidc.PresetSPA, ClientMetadata: oidc.ClientMetadata{Name: b.name + " single-page application"}},
	} {
		n.Scope = "openid profile email address phone offline_access"
		n.RedirectURIs, n.PostLogoutRedirectURIs, n.Actor = redirects, logouts, audit.Operator("dev")
		err := s.InTenant(ctx, t.ID, func(ctx context.Context, tx *store.Tx) error {
			moved, err := tx.ClientSetURIs(ctx, dbsqlc.ClientSetURIsParams{
				TenantID: t.ID, ID: n.ID, RedirectUris: redirects, PostLogoutRedirectUris: logouts,
			})
			if err != nil || moved > 0 {
				return err
			}
			_, err = oidc.RegisterClient(ctx, tx, vault, settings.Layer{}, n)
			return err
		})
		if err != nil && !errors.Is(err, oidc.ErrClientTaken) {
			return nil, fmt.Errorf("client %s: %w", n.ID, err)
		}
		list = append(list, seededClient{
			ClientID: n.ID, ClientSecret: n.Secret, RedirectURIs: redirects, PostLogoutRedirectURIs: logouts,
		})
	}
	return list, nil
}

// unique keeps the order and drops what repeats.
func unique(list ...string) []string {
	seen := map[string]bool{}
	var out []string
	for _, s := range list {
		if !seen[s] {
			out, seen[s] = append(out, s), true
		}
	}
	return out
}

// memorable is a secret of 100 bits that can be copied by eye.
func memorable(master secret.MasterKey, id uuid.UUID, purpose string) string {
	text := strings.ToLower(base32.StdEncoding.EncodeToString(master.Derive(id, purpose, 15)))
	return text[:5] + "-" + text[5:10] + "-" + text[10:15] + "-" + text[15:20]
}

// demoTenants are the tenants as the demo relying party needs them.
func (s seeded) demoTenants() []demoTenant {
	var list []demoTenant
	for _, t := range s.Tenants {
		list = append(list, demoTenant{
			Slug: t.Slug, Name: t.Name, Issuer: t.Issuer, ClientID: t.Clients[0].ClientID, ClientSecret: t.Clients[0].ClientSecret,
		})
	}
	return list
}

// String is the block a person reads.
func (s seeded) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nParako is ready.\n\n  Try it:    %s   (demo application: sign in, consent, see the claims, sign out)\n\n  Platform:  %s\n    user           %s\n    password       %s\n",
		s.Demo, s.Platform, s.Operator.Identifier, s.Operator.Password)
	for _, t := range s.Tenants {
		fmt.Fprintf(&b, "\n  %s\n    issuer         %s\n", t.Name, t.Issuer)
		for _, u := range t.Users {
			fmt.Fprintf(&b, "    user           %s\n    password       %s\n", u.Identifier, u.Password)
		}
		for _, c := range t.Clients {
			if c.ClientSecret != "" {
				fmt.Fprintf(&b, "    client_id      %s\n    client_secret  %s\n", c.ClientID, c.ClientSecret)
			} else {
				fmt.Fprintf(&b, "    client_id      %s (public)\n", c.ClientID)
			}
		}
	}
	b.WriteString("\n  For the other commands of `parako` in another terminal\n")
	for _, name := range slices.Sorted(maps.Keys(s.Environment)) {
		fmt.Fprintf(&b, "    export %s='%s'\n", name, s.Environment[name])
	}
	b.WriteString("\nCtrl-C stops everything. The data stays for the next run.\n\n")
	return b.String()
}
