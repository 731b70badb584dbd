package main

import (
	"context"
	"flag"
	"strings"
	"time"

	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/oidc"
	"parako/internal/store"
)

func clientTokens(ctx context.Context, p *process, args []string) error {
	return dispatch(ctx, p, "parako client token", []command{
		{"create", "make a token with which applications register themselves (RFC 7591)", clientTokenCreate},
		{"list", "list a tenant's tokens", clientTokenList},
		{"revoke", "end a token; applications that registered with it stay", clientTokenRevoke},
	}, args)
}

func clientTokenCreate(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako client token create", flag.ContinueOnError)
	slug := flags.String("tenant", "", "the tenant's slug; default in single-tenant mode (required)")
	uses := flags.Int("uses", 1, "how many applications may register with it, at most 1000")
	expires := flags.Duration("expires", 24*time.Hour, "how long it lives, 5m to 720h; 0 until it is used up or revoked")
	note := flags.String("note", "", "what it is for")
	scope := flags.String("scope", "", "the scopes an application may have, instead of the tenant's scopes about people")
	asJSON := flags.Bool("json", false, "print the token as JSON")
	var grants, hosts values
	flags.Var(&grants, "grant-type", "a grant type an application may have, instead of those with a person and client_credentials; may be repeated")
	flags.Var(&hosts, "redirect-host", "a host its redirect URIs may lead to, instead of any; may be repeated")
	if err := p.parse(flags, args); err != nil {
		return err
	}
	if err := p.required(flags, "tenant"); err != nil {
		return err
	}
	vault, err := p.vault()
	if err != nil {
		return err
	}
	n := oidc.NewRegistrationToken{
		Policy: oidc.RegistrationPolicy{GrantTypes: grants, Scopes: strings.Fields(*scope), RedirectHosts: hosts},
		Uses:   *uses, TTL: *expires, Note: *note, Actor: audit.Operator(operator),
	}
	var t oidc.RegistrationToken
	err = p.inTenant(ctx, *slug, func(ctx context.Context, tx *store.Tx) (err error) {
		t, err = oidc.CreateRegistrationToken(ctx, tx, vault, n)
		return err
	})
	if err != nil {
		return err
	}
	if *asJSON {
		return p.printJSON(t)
	}
	p.printf("id       %s\ntoken    %s\n         Keep it now: it is not shown again.\nuses     %d\nexpires  %s\n", t.ID, t.Token, t.MaxUses, end(t.ExpiresAt))
	return nil
}

// end is when something is over, for people.
func end(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return t.UTC().Format(time.RFC3339)
}

func clientTokenList(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako client token list", flag.ContinueOnError)
	slug := flags.String("tenant", "", "the tenant's slug; default in single-tenant mode (required)")
	asJSON := flags.Bool("json", false, "print the tokens as JSON")
	if err := p.parse(flags, args); err != nil {
		return err
	}
	if err := p.required(flags, "tenant"); err != nil {
		return err
	}
	all := []oidc.RegistrationToken{}
	var now time.Time
	err := p.inTenant(ctx, *slug, func(ctx context.Context, tx *store.Tx) error {
		now = tx.Now()
		for after := uuid.Nil; ; {
			const page = 500
			list, err := oidc.ListRegistrationTokens(ctx, tx, after, page)
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
		return p.printJSON(map[string]any{"tokens": all})
	}
	for _, t := range all {
		p.printf("%s  %-8s %4d of %-4d  %-20s  %s\n", t.ID, t.State(now), t.Uses, t.MaxUses, end(t.ExpiresAt), t.Note)
	}
	return nil
}

func clientTokenRevoke(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako client token revoke", flag.ContinueOnError)
	slug := flags.String("tenant", "", "the tenant's slug; default in single-tenant mode (required)")
	text := flags.String("id", "", "the id of the token, as create and list print it (required)")
	if err := p.parse(flags, args); err != nil {
		return err
	}
	if err := p.required(flags, "tenant", "id"); err != nil {
		return err
	}
	id, err := uuid.Parse(*text)
	if err != nil {
		return p.misuse(flags, "--id is the id of the token, not the token")
	}
	return p.inTenant(ctx, *slug, func(ctx context.Context, tx *store.Tx) error {
		return oidc.RevokeRegistrationToken(ctx, tx, id, audit.Operator(operator))
	})
}
