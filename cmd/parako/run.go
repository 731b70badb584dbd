package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/google/uuid"

	"parako/internal/cache"
	"parako/internal/config"
	"parako/internal/problem"
	"parako/internal/store"
	"parako/internal/telemetry"
)

// command is one subcommand. Its function gets what is left of the arguments.
type command struct {
	name, summary string
	run           func(context.Context, *process, []string) error
}

// process is what a command may use of the world.
type process struct {
	environ []string
	stdin   io.Reader
	stdout  io.Writer
	stderr  io.Writer
	// released gives signals back to the system, so that a second Ctrl-C ends the process at once.
	released func()
}

func commands() []command {
	return []command{
		{"dev", "run everything on this machine, with demo tenants", dev},
		{"serve", "run the server", serve},
		{"migrate", "bring the database's schema up to date: up, down, status", migrate},
		{"doctor", "examine the database: isolation", doctor},
		{"audit", "the audit trail: verify, seal, export, retain", auditTrail},
		{"tenant", "administer tenants: create, list, show, update, status, quota, delete, restore, certificate, release, export, import, auditor", tenants},
		{"domain", "a tenant's own host names: add, list, verify, primary, release", domains},
		{"settings", "what can be adjusted: show, put, patch, explain, history, diff, rollback, export, import, schema", tenantSettings},
		{"client", "administer a tenant's clients: create, list, update, rotate-secret, disable, enable, delete, token", clients},
		{"user", "administer a tenant's people: create, list, show, update, disable, enable", users},
		{"admin", "the same as user create: create-user", admin},
		{"logout", "single sign-out: failures", logouts},
		{"mail", "mail to people: test, failures", mail},
		{"keys", "the keys of tenants, and the master key: list, rotate, promote, revoke, retire, rotate-master", keys},
	}
}

// errUsage ends a command whose arguments were wrong, after the reason has been printed.
var errUsage = errors.New("usage")

// run does what args say and returns the exit status: 0 done, 1 failed, 2 wrong arguments.
func run(ctx context.Context, released func(), args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := &process{environ: environ, stdin: stdin, stdout: stdout, stderr: stderr, released: released}
	err := dispatch(ctx, p, "parako", commands(), args)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		return 2
	}
	said := complaints(err)
	if len(said) == 0 {
		said = []string{err.Error()}
	}
	for _, text := range said {
		_, _ = fmt.Fprintf(stderr, "parako: %s\n", text)
	}
	return 1
}

// complaints are what err has to say to whoever called, one for each error that was joined into it; nothing when it is a
// failure of ours.
func complaints(err error) []string {
	var said []string
	if joined, several := errors.AsType[interface {
		error
		Unwrap() []error
	}](err); several {
		for _, part := range joined.Unwrap() {
			said = append(said, complaints(part)...)
		}
	}
	if trouble, known := errors.AsType[*problem.Error](err); known && len(said) == 0 && trouble.Kind != problem.Internal {
		said = append(said, trouble.Message)
	}
	return said
}

// dispatch picks the command that the first argument names.
func dispatch(ctx context.Context, p *process, name string, list []command, args []string) error {
	if len(args) == 0 || slices.Contains([]string{"-h", "-help", "--help", "help"}, args[0]) {
		out := p.stderr
		if len(args) > 0 {
			out = p.stdout
		}
		_, _ = fmt.Fprintf(out, "Usage: %s <command> [flags]\n\n", name)
		for _, c := range list {
			_, _ = fmt.Fprintf(out, "  %-12s %s\n", c.name, c.summary)
		}
		_, _ = fmt.Fprintf(out, "\nEvery command explains itself with --help.\n")
		if len(args) > 0 {
			return flag.ErrHelp
		}
		return errUsage
	}
	for _, c := range list {
		if c.name == args[0] {
			return c.run(ctx, p, args[1:])
		}
	}
	_, _ = fmt.Fprintf(p.stderr, "%s: there is no command %q; see %s --help\n", name, args[0], name)
	return errUsage
}

// parse reads the flags of a command that takes no other arguments.
func (p *process) parse(flags *flag.FlagSet, args []string) error {
	var said bytes.Buffer
	flags.SetOutput(&said)
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		p.printf("%s", &said) // It was asked for: it is not an error.
		return err
	} else if err != nil {
		// All the flags there are would hide what is wrong with one of them.
		return p.misuse(flags, "%v; see %s --help", err, flags.Name())
	}
	if flags.NArg() > 0 {
		return p.misuse(flags, "unexpected argument %q; see %s --help", flags.Arg(0), flags.Name())
	}
	return nil
}

// misuse complains about the arguments of a command.
func (p *process) misuse(flags *flag.FlagSet, format string, args ...any) error {
	_, _ = fmt.Fprintf(p.stderr, "%s: %s\n", flags.Name(), fmt.Sprintf(format, args...))
	return errUsage
}

// required complains about flags that were left empty.
func (p *process) required(flags *flag.FlagSet, names ...string) error {
	for _, name := range names {
		if flags.Lookup(name).Value.String() == "" {
			return p.misuse(flags, "--%s is required", name)
		}
	}
	return nil
}

// printJSON prints one JSON object on a line of its own.
func (p *process) printJSON(v any) error {
	e := json.NewEncoder(p.stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

func (p *process) printf(format string, args ...any) { _, _ = fmt.Fprintf(p.stdout, format, args...) }

// database opens the store of the environment for an administrative command.
func (p *process) database(ctx context.Context) (*store.Store, error) {
	c, err := config.Load(p.environ)
	if err != nil {
		return nil, err
	}
	if c.PostgresURL.Empty() || c.PlatformURL.Empty() {
		return nil, errors.New("set STORAGE_POSTGRESQL_URL (role parako_app) and STORAGE_POSTGRESQL_PLATFORM_URL (role parako_platform)")
	}
	s, err := store.Open(ctx, store.Options{
		AppURL: c.PostgresURL, PlatformURL: c.PlatformURL, Pooled: c.Pooler == config.TransactionPooler,
		Changed: func(ctx context.Context, id uuid.UUID, revision int64) {
			p.hint(ctx, cache.Hint{Tenant: id, Revision: revision})
		},
	})
	if err != nil {
		return nil, err
	}
	if err := s.Check(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// hint tells the servers of a change through Redis, when there is one. They would find it by themselves within seconds.
func (p *process) hint(ctx context.Context, h cache.Hint) {
	c, err := config.Load(p.environ)
	if err != nil || c.Redis().Empty() {
		return
	}
	log := telemetry.NewLogger(p.stderr, c.LogLevel, true)
	redis, err := cache.Open(ctx, cache.Options{URL: c.Redis().Reveal(), Log: log})
	if err != nil {
		log.WarnContext(ctx, "hint_not_sent", "error", err.Error())
		return
	}
	defer redis.Close()
	redis.PublishHint(ctx, h)
}

// operator is who runs an administrative command, for the audit trail.
const operator = "cli"

// values collects a flag that may be given several times.
type values []string

// String implements flag.Value.
func (v *values) String() string { return strings.Join(*v, ",") }

// Set implements flag.Value.
func (v *values) Set(s string) error {
	*v = append(*v, s)
	return nil
}
