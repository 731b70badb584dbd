package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"strings"

	"parako/internal/audit"
	"parako/internal/directory"
	"parako/internal/factor"
	"parako/internal/secret"
	"parako/internal/store"
)

func admin(ctx context.Context, p *process, args []string) error {
	return dispatch(ctx, p, "parako admin", []command{
		{"create-user", "add a person to a tenant, with a password", adminCreateUser},
	}, args)
}

func adminCreateUser(ctx context.Context, p *process, args []string) error {
	flags := flag.NewFlagSet("parako admin create-user", flag.ContinueOnError)
	slug := flags.String("tenant", "", "the tenant's slug; default in single-tenant mode (required)")
	email := flags.String("email", "", "the email address; it counts as verified")
	username := flags.String("username", "", "the username, when there is no email address or beside it")
	given := flags.String("given-name", "", "the given name")
	family := flags.String("family-name", "", "the family name")
	fromStdin := flags.Bool("password-stdin", false, "read the password from the first line of standard input; a random one is made otherwise")
	asJSON := flags.Bool("json", false, "print the account as JSON")
	var roles values
	flags.Var(&roles, "role", "a role, such as admin; may be repeated")
	if err := p.parse(flags, args); err != nil {
		return err
	}
	if err := p.required(flags, "tenant"); err != nil {
		return err
	}
	if *email == "" && *username == "" {
		_, _ = fmt.Fprintln(p.stderr, "parako admin create-user: --email or --username is required")
		return errUsage
	}
	password := rand.Text()
	if *fromStdin {
		line, err := bufio.NewReader(p.stdin).ReadString('\n')
		if password = strings.TrimRight(line, "\r\n"); password == "" {
			return errors.Join(errors.New("standard input holds no password"), err)
		}
	}
	user, err := createUser(ctx, p, *slug, directory.New{
		Username: *username, Email: *email, EmailVerified: *email != "", GivenName: *given, FamilyName: *family,
		Name: strings.TrimSpace(*given + " " + *family), Roles: roles,
	}, password)
	if err != nil {
		return err
	}
	if *asJSON {
		out := map[string]any{"id": user.ID, "username": user.Username, "email": user.Email, "roles": user.Roles}
		if !*fromStdin {
			out["password"] = password
		}
		return p.printJSON(out)
	}
	p.printf("id        %s\nusername  %s\n", user.ID, user.Username)
	if !*fromStdin {
		p.printf("password  %s\n          Keep it now: it is not shown again.\n", password)
	}
	return nil
}

func createUser(ctx context.Context, p *process, slug string, n directory.New, password string) (directory.User, error) {
	hash, err := factor.Passwords{Hasher: secret.NewHasher(1)}.Hash(ctx, password)
	if err != nil {
		return directory.User{}, err
	}
	var user directory.User
	err = p.inTenant(ctx, slug, func(ctx context.Context, tx *store.Tx) (err error) {
		user, err = addUser(ctx, tx, n, hash)
		return err
	})
	return user, err
}

// addUser creates an account with a password and records it.
func addUser(ctx context.Context, tx *store.Tx, n directory.New, hash string) (directory.User, error) {
	user, err := directory.Create(ctx, tx, n)
	if err != nil {
		return directory.User{}, err
	}
	if err := factor.Put(ctx, tx, user.ID, hash); err != nil {
		return directory.User{}, fmt.Errorf("keep password: %w", err)
	}
	return user, audit.Record(ctx, tx, audit.Event{
		Type: audit.UserCreated, Status: audit.Success, Actor: audit.Operator(operator), Target: audit.User(user.ID),
	})
}
