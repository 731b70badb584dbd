package main

import (
	"context"
	"errors"
	"flag"
	"fmt"

	"parako/internal/audit"
	"parako/internal/keyring"
)

func keys(ctx context.Context, p *process, args []string) error {
	return dispatch(ctx, p, "parako keys", []command{
		{"rotate-master", "wrap every tenant's data key with ENCRYPTION_KEY instead of ENCRYPTION_KEY_PREVIOUS", keysRotateMaster},
	}, args)
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
