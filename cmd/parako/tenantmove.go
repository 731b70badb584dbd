package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"parako/internal/config"
	"parako/internal/oidc"
	"parako/internal/secret"
	"parako/internal/transfer"
)

// passphraseFlag names the file with the passphrase. No argument holds one: everybody on the machine can read the arguments.
func passphraseFlag(flags *flag.FlagSet) *string {
	return flags.String("passphrase-file", "", "a file whose first line is the passphrase; without it PARAKO_EXPORT_PASSPHRASE is")
}

// mover is what exporting and importing need of the environment.
func (p *process) mover(passphraseFile string) (passphrase secret.String, base *url.URL, err error) {
	c, err := config.Load(p.environ)
	if err != nil {
		return secret.String{}, nil, err
	}
	if base, err = c.BaseURL(); err != nil {
		return secret.String{}, nil, err
	}
	passphrase = c.ExportPassphrase
	if passphraseFile != "" {
		f, err := os.Open(passphraseFile)
		if err != nil {
			return secret.String{}, nil, err
		}
		defer f.Close()
		text, err := bufio.NewReader(io.LimitReader(f, maxDocument)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return secret.String{}, nil, fmt.Errorf("read passphrase: %w", err)
		}
		passphrase = secret.NewString(strings.TrimRight(text, "\r\n"))
	}
	if passphrase.Empty() {
		return secret.String{}, nil, errors.New("the file has a passphrase: give --passphrase-file, or set PARAKO_EXPORT_PASSPHRASE")
	}
	return passphrase, base, nil
}

// positional takes the one argument that may come before the flags, as the value of a flag.
func positional(name string, args []string) []string {
	if len(args) > 0 && (args[0] == "-" || args[0] != "" && args[0][0] != '-') {
		return append([]string{"--" + name, args[0]}, args[1:]...)
	}
	return args
}

// tenantExport writes a tenant into a file. One that is not whole is not left.
func tenantExport(ctx context.Context, p *process, args []string) (err error) {
	flags := flag.NewFlagSet("parako tenant export", flag.ContinueOnError)
	slug := flags.String("slug", "", "the tenant (required; may also be the first argument)")
	output := flags.String("output", "-", "the file to write, which must not be there yet; - is standard output")
	passphraseFile := passphraseFlag(flags)
	asJSON := flags.Bool("json", false, "print what the file holds as JSON")
	if err := p.parse(flags, positional("slug", args)); err != nil {
		return err
	}
	if err := p.required(flags, "slug"); err != nil {
		return err
	}
	passphrase, base, err := p.mover(*passphraseFile)
	if err != nil {
		return err
	}
	vault, err := p.vault()
	if err != nil {
		return err
	}
	s, err := p.database(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	name := strings.ToLower(*slug)
	if _, err := namedTenant(ctx, s, name); err != nil {
		return err
	}
	out := p.stdout
	if *output != "-" {
		f, failed := os.OpenFile(*output, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if failed != nil {
			return failed
		}
		defer func() {
			if err = errors.Join(err, f.Close()); err != nil {
				_ = os.Remove(*output)
			}
		}()
		out = f
	}
	done, err := transfer.Export(ctx, s, vault, name, out, transfer.ExportOptions{Passphrase: passphrase, Base: base, Mount: oidc.Mount, Operator: operator})
	if err != nil {
		return err
	}
	if *output == "-" {
		return nil // The file is what was printed.
	}
	if *asJSON {
		return p.printJSON(map[string]any{"slug": done.Tenant.Slug, "file": *output, "tables": done.Parts})
	}
	p.printf("slug     %s\nfile     %s\n", done.Tenant.Slug, *output)
	p.printParts(done.Parts)
	return nil
}

func (p *process) printParts(parts []transfer.Part) {
	for _, part := range parts {
		p.printf("rows     %8d %s\n", part.Rows, part.Table)
	}
}

// tenantImport makes a tenant of a file.
func tenantImport(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako tenant import", flag.ContinueOnError)
	file := flags.String("file", "", "what `parako tenant export` wrote (required; may also be the first argument); - is standard input")
	o := transfer.ImportOptions{Mount: oidc.Mount, Operator: operator}
	flags.StringVar(&o.Slug, "slug", "", "the slug of the new tenant, when it is not that of the file")
	flags.StringVar(&o.DisplayName, "display-name", "", "its display name, when it is not that of the file")
	flags.BoolVar(&o.KeepKeys, "keep-keys", false, "keep its keys although its issuer changes: its own domain, and with it its issuer, will follow")
	passphraseFile := passphraseFlag(flags)
	asJSON := flags.Bool("json", false, "print the tenant as JSON")
	if err := p.parse(flags, positional("file", args)); err != nil {
		return err
	}
	if err := p.required(flags, "file"); err != nil {
		return err
	}
	var err error
	if o.Passphrase, o.Base, err = p.mover(*passphraseFile); err != nil {
		return err
	}
	vault, err := p.vault()
	if err != nil {
		return err
	}
	in, done, err := p.seekable(*file)
	if err != nil {
		return err
	}
	defer done()
	s, err := p.database(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	made, err := transfer.Import(ctx, s, vault, in, o)
	if err != nil {
		return err
	}
	keys := "new"
	if made.KeptKeys {
		keys = "kept"
	}
	if *asJSON {
		return p.printJSON(map[string]any{
			"tenant": made.Tenant, "issuer": made.Issuer, "from": made.From, "keys": keys, "domains": append([]string{}, made.Domains...), "tables": made.Parts,
		})
	}
	if err := p.printTenant(false, made.Tenant); err != nil {
		return err
	}
	p.printf("issuer   %s\nfrom     %s\nkeys     %s\n", made.Issuer, made.From.Issuer, keys)
	for _, name := range made.Domains {
		p.printf("claimed  %s\n         It leads here once it is proven: `parako domain add --tenant %s --domain %s` shows the record.\n", name, made.Tenant.Slug, name)
	}
	p.printParts(made.Parts)
	return nil
}

// seekable opens a file that is read twice. What comes from standard input is kept meanwhile, encrypted as it is.
func (p *process) seekable(name string) (in io.ReadSeeker, done func(), err error) {
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, nil, err
		}
		return f, func() { _ = f.Close() }, nil
	}
	f, err := os.CreateTemp("", "parako-import-")
	if err != nil {
		return nil, nil, err
	}
	done = func() { _, _ = f.Close(), os.Remove(f.Name()) }
	if _, err := io.Copy(f, p.stdin); err != nil {
		done()
		return nil, nil, fmt.Errorf("read file: %w", err)
	}
	return f, done, nil
}
