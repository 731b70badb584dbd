package main

import (
	"context"
	"errors"
	"flag"

	"parako/internal/config"
	"parako/internal/store"
)

// migrate changes the schema as its owner. Without a subcommand it goes up.
func migrate(ctx context.Context, p *process, args []string) error {
	if len(args) == 0 {
		args = []string{"up"}
	}
	return dispatch(ctx, p, "parako migrate", []command{
		{"up", "apply every migration that is missing", migrateUp},
		{"down", "take back migrations above --to", migrateDown},
		{"status", "list the migrations and whether they are applied", migrateStatus},
	}, args)
}

func migrator(p *process) (*store.Migrator, error) {
	c, err := config.Load(p.environ)
	if err != nil {
		return nil, err
	}
	if c.DatabaseURL.Empty() {
		return nil, errors.New("DATABASE_URL is missing: set postgres://parako_owner:<password>@<host>/<database>")
	}
	return store.NewMigrator(c.DatabaseURL)
}

func migrateUp(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako migrate up", flag.ContinueOnError)
	asJSON := flags.Bool("json", false, "print the applied migrations as JSON")
	return withMigrator(p, flags, args, func(m *store.Migrator) error {
		done, err := m.Up(ctx)
		return errors.Join(p.printMigrations(*asJSON, done), err)
	})
}

func migrateDown(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako migrate down", flag.ContinueOnError)
	asJSON := flags.Bool("json", false, "print the reverted migrations as JSON")
	to := flags.Int64("to", -1, "the version to keep; 0 removes everything, with all data (required)")
	return withMigrator(p, flags, args, func(m *store.Migrator) error {
		if *to < 0 {
			return p.misuse(flags, "say where to stop with --to; 0 removes everything, with all data")
		}
		done, err := m.Down(ctx, *to)
		return errors.Join(p.printMigrations(*asJSON, done), err)
	})
}

func migrateStatus(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako migrate status", flag.ContinueOnError)
	asJSON := flags.Bool("json", false, "print the migrations as JSON")
	return withMigrator(p, flags, args, func(m *store.Migrator) error {
		list, err := m.Status(ctx)
		return errors.Join(err, p.printMigrations(*asJSON, list))
	})
}

func withMigrator(p *process, flags *flag.FlagSet, args []string, do func(*store.Migrator) error) error {
	if err := p.parse(flags, args); err != nil {
		return err
	}
	m, err := migrator(p)
	if err != nil {
		return err
	}
	return errors.Join(do(m), m.Close())
}

func (p *process) printMigrations(asJSON bool, list []store.Migration) error {
	if asJSON {
		return p.printJSON(map[string]any{"migrations": list})
	}
	if len(list) == 0 {
		p.printf("nothing to do\n")
	}
	for _, m := range list {
		state := "pending"
		if m.Applied {
			state = "applied"
		}
		p.printf("%-8s %s\n", state, m.File)
	}
	return nil
}
