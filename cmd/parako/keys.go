package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"parako/internal/audit"
	"parako/internal/keyring"
	"parako/internal/oidc"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/tenant"
)

func keys(ctx context.Context, p *process, args []string) error {
	return dispatch(ctx, p, "parako keys", []command{
		{"list", "list a tenant's keys, those that are over included", keysList},
		{"rotate", "publish the next key of an algorithm; it signs after the promotion delay", keysRotate},
		{"promote", "have the next key sign now", keysPromote},
		{"revoke", "end a key at once, with every token it signed", keysRevoke},
		{"retire", "erase the keys that nothing needs any more, as the server does by itself", keysRetire},
		{"rotate-master", "wrap every tenant's data key with ENCRYPTION_KEY instead of ENCRYPTION_KEY_PREVIOUS", keysRotateMaster},
	}, args)
}

// everyAlg stands for every algorithm that the tenant has a key for.
const everyAlg = "all"

// keyFlags are those that every command for a tenant's keys takes.
type keyFlags struct {
	set    *flag.FlagSet
	slug   *string
	asJSON *bool
}

func newKeyFlags(verb string) keyFlags {
	set := flag.NewFlagSet("parako keys "+verb, flag.ContinueOnError)
	return keyFlags{
		set: set, slug: set.String("tenant", "", "the tenant's slug; default in single-tenant mode (required)"),
		asJSON: set.Bool("json", false, "print the keys as JSON"),
	}
}

// keyTools are what changes of keys need.
type keyTools struct {
	vault  tenant.Vault
	policy keyring.Policy
}

// onKeys parses the flags and runs fn in a transaction of the tenant, then tells the servers, and prints the keys that fn returns.
func (p *process) onKeys(ctx context.Context, f keyFlags, args []string, needed []string, fn func(context.Context, *store.Tx, keyTools) ([]keyring.Key, error)) error {
	if err := p.parse(f.set, args); err != nil {
		return err
	}
	if err := p.required(f.set, append([]string{"tenant"}, needed...)...); err != nil {
		return err
	}
	vault, err := p.vault()
	if err != nil {
		return err
	}
	var list []keyring.Key
	err = p.underPlatform(ctx, *f.slug, func(ctx context.Context, tx *store.Tx, platform settings.Layer) error {
		policy, err := oidc.KeyPolicy(ctx, tx, platform)
		if err != nil {
			return err
		}
		list, err = fn(ctx, tx, keyTools{vault, policy})
		return err
	})
	if err != nil {
		return err
	}
	if *f.asJSON {
		return p.printJSON(map[string]any{"keys": list})
	}
	return p.printKeys(list)
}

func (p *process) printKeys(list []keyring.Key) error {
	table := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "ALG\tKID\tSTATE\tCREATED\tUNTIL")
	for _, k := range list {
		state, until := k.Status, (*time.Time)(nil)
		switch {
		case k.Revoked:
			state, until = "revoked", k.RetiredAt
		case k.Status == keyring.Active && k.Promoted:
			state = "signs"
		case k.Status == keyring.Active:
			state, until = "waits", k.PromoteAt
		case k.Status == keyring.Expiring:
			until = k.VerifyUntil
		case k.Status == keyring.Retired:
			until = k.RetiredAt
		}
		end := "-"
		if until != nil {
			end = until.Format(time.RFC3339)
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", k.Alg, k.KID, state, k.CreatedAt.Format(time.RFC3339), end)
	}
	return table.Flush()
}

func keysList(ctx context.Context, p *process, args []string) error {
	return p.onKeys(ctx, newKeyFlags("list"), args, nil, func(ctx context.Context, tx *store.Tx, with keyTools) ([]keyring.Key, error) {
		return keyring.List(ctx, tx)
	})
}

// eachAlg runs fn for the algorithm, or for every one that the tenant has a key for.
func eachAlg(ctx context.Context, tx *store.Tx, alg string, fn func(alg string) (keyring.Key, error)) ([]keyring.Key, error) {
	algs := []string{alg}
	if alg == everyAlg {
		var err error
		if algs, err = keyring.InUse(ctx, tx); err != nil {
			return nil, err
		}
	}
	list := []keyring.Key{}
	for _, alg := range algs {
		k, err := fn(alg)
		if err != nil {
			return nil, err
		}
		list = append(list, k)
	}
	return list, nil
}

// unknownYet warns of what signing at once does.
const unknownYet = "warning: whoever keeps the published keys refuses new tokens until it fetches them again, up to 5 minutes\n"

func keysRotate(ctx context.Context, p *process, args []string) error {
	f := newKeyFlags("rotate")
	alg := f.set.String("alg", everyAlg, "the algorithm, such as RS256; all: every one that the tenant has a key for")
	now := f.set.Bool("now", false, "let the new key sign at once: who keeps the published keys refuses its tokens for up to 5 minutes")
	return p.onKeys(ctx, f, args, nil, func(ctx context.Context, tx *store.Tx, with keyTools) ([]keyring.Key, error) {
		if *now {
			_, _ = io.WriteString(p.stderr, unknownYet)
		}
		return eachAlg(ctx, tx, *alg, func(alg string) (keyring.Key, error) {
			k, err := keyring.Rotate(ctx, tx, with.vault, with.policy, audit.Operator(operator), alg)
			if err != nil || !*now {
				return k, err
			}
			return keyring.Promote(ctx, tx, with.policy, audit.Operator(operator), alg, true)
		})
	})
}

func keysPromote(ctx context.Context, p *process, args []string) error {
	f := newKeyFlags("promote")
	alg := f.set.String("alg", "", "the algorithm, such as RS256 (required)")
	return p.onKeys(ctx, f, args, []string{"alg"}, func(ctx context.Context, tx *store.Tx, with keyTools) ([]keyring.Key, error) {
		k, err := keyring.Promote(ctx, tx, with.policy, audit.Operator(operator), *alg, true)
		if err == nil && k.PromoteAt != nil && tx.Now().Before(*k.PromoteAt) {
			_, _ = io.WriteString(p.stderr, unknownYet)
		}
		return []keyring.Key{k}, err
	})
}

func keysRevoke(ctx context.Context, p *process, args []string) error {
	f := newKeyFlags("revoke")
	kid := f.set.String("kid", "", "the key (required)")
	return p.onKeys(ctx, f, args, []string{"kid"}, func(ctx context.Context, tx *store.Tx, with keyTools) ([]keyring.Key, error) {
		if err := keyring.Revoke(ctx, tx, with.vault, audit.Operator(operator), *kid); err != nil {
			return nil, err
		}
		return keyring.List(ctx, tx)
	})
}

func keysRetire(ctx context.Context, p *process, args []string) error {
	return p.onKeys(ctx, newKeyFlags("retire"), args, nil, func(ctx context.Context, tx *store.Tx, with keyTools) ([]keyring.Key, error) {
		return keyring.Retire(ctx, tx, audit.Operator(operator))
	})
}

// keysRotateMaster may be interrupted anywhere and started again.
func keysRotateMaster(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako keys rotate-master", flag.ContinueOnError)
	asJSON := flags.Bool("json", false, "print the outcome as JSON and no progress")
	if err := p.parse(flags, args); err != nil {
		return err
	}
	vault, err := p.vault()
	if err != nil {
		return err
	}
	if vault.Master.ID() == "" || vault.Previous.ID() == "" {
		return errors.New("set ENCRYPTION_KEY to the new key and ENCRYPTION_KEY_PREVIOUS to the one it replaces")
	}
	s, err := p.database(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	progress := func(r keyring.Rewrapping) {
		if !*asJSON {
			p.printf("%d of %d tenants seen, %d data keys re-wrapped, %d left behind\n", r.Seen, r.Tenants, r.Rewrapped, r.Left)
		}
	}
	r, failed := keyring.Rewrap(ctx, s, vault, audit.Operator(operator), progress)
	if failed != nil {
		return fmt.Errorf("%w\nkeep ENCRYPTION_KEY_PREVIOUS and run this again: what was done is done", failed)
	}
	if *asJSON {
		return p.printJSON(r)
	}
	p.printf("0 left: ENCRYPTION_KEY_PREVIOUS may be removed\n")
	return nil
}
