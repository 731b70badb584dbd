package store

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"parako/internal/secret"
)

// TenantLogin is a login of PostgreSQL for the auditors of one tenant: it sees the views of schema audit for that tenant,
// read only, and nothing else. The tenant is in its name, where no session can change it.
type TenantLogin struct {
	Tenant uuid.UUID
	// Label tells several logins of a tenant apart; usually empty.
	Label string
	// ValidUntil ends the password; the zero time means never.
	ValidUntil time.Time
}

var loginLabel = regexp.MustCompile(`^[a-z0-9]{1,16}$`)

// ErrLoginLabel reports a label that cannot be part of a role's name.
var ErrLoginLabel = errors.New("a label is 1 to 16 lower-case letters and digits")

// Name is the name of the role: parako_tenant_<id without hyphens>, and _<label>.
func (l TenantLogin) Name() string {
	name := "parako_tenant_" + hex.EncodeToString(l.Tenant[:])
	if l.Label != "" {
		name += "_" + l.Label
	}
	return name
}

// What a login may take of the server. Its queries are a person's, so they may take longer than a request.
const (
	loginConnections = 3
	loginTimeout     = "60s"
)

// making are the statements that make the login, or renew what they can of one that exists. database is the one whose CONNECT it needs.
func (l TenantLogin) making(exists bool, database string, password secret.String) ([]string, error) {
	if l.Label != "" && !loginLabel.MatchString(l.Label) {
		return nil, ErrLoginLabel
	}
	verifier, err := secret.SCRAMVerifier(password)
	if err != nil {
		return nil, err
	}
	until := "infinity"
	if !l.ValidUntil.IsZero() {
		until = l.ValidUntil.UTC().Format(time.RFC3339)
	}
	// Nothing here holds a quote: hexadecimal digits, a checked label, base64 and a time.
	role := l.Name()
	verb, membership := "CREATE", " INHERIT NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE IN ROLE parako_tenant_auditor"
	if exists {
		verb, membership = "ALTER", ""
	}
	return []string{
		fmt.Sprintf("%s ROLE %s LOGIN%s CONNECTION LIMIT %d PASSWORD '%s' VALID UNTIL '%s'", verb, role, membership, loginConnections, verifier, until),
		fmt.Sprintf("ALTER ROLE %s SET default_transaction_read_only = on", role),
		fmt.Sprintf("ALTER ROLE %s SET statement_timeout = '%s'", role, loginTimeout),
		fmt.Sprintf("ALTER ROLE %s SET idle_in_transaction_session_timeout = '%s'", role, loginTimeout),
		fmt.Sprintf("ALTER ROLE %s SET search_path = audit", role),
		fmt.Sprintf("GRANT CONNECT ON DATABASE %s TO %s", pgx.Identifier{database}.Sanitize(), role),
	}, nil
}

// Create makes the login with the owner's URL, or gives an existing one the new password and end, and returns the URL to
// connect with. Who owns the database needs CREATEROLE for it, and from PostgreSQL 16 on ADMIN of parako_tenant_auditor.
func (l TenantLogin) Create(ctx context.Context, owner, password secret.String) (secret.String, error) {
	u, err := url.Parse(owner.Reveal())
	if err != nil || u.Scheme == "" {
		return secret.String{}, errors.New("DATABASE_URL must be a URL: postgres://user:password@host:port/name")
	}
	err = l.asOwner(ctx, owner, func(tx pgx.Tx, exists bool) error {
		statements, err := l.making(exists, tx.Conn().Config().Database, password)
		if err != nil {
			return err
		}
		return execAll(ctx, tx, statements)
	})
	if err != nil {
		return secret.String{}, fmt.Errorf("make login %s: %w", l.Name(), err)
	}
	u.User = url.UserPassword(l.Name(), password.Reveal())
	return secret.NewString(u.String()), nil
}

// Drop removes the login; a session that is still open holds no grant any more. ErrNotFound: there is none.
func (l TenantLogin) Drop(ctx context.Context, owner secret.String) error {
	if l.Label != "" && !loginLabel.MatchString(l.Label) {
		return ErrLoginLabel
	}
	err := l.asOwner(ctx, owner, func(tx pgx.Tx, exists bool) error {
		if !exists {
			return ErrNotFound
		}
		return execAll(ctx, tx, l.removing(tx.Conn().Config().Database))
	})
	if err != nil {
		return fmt.Errorf("drop login %s: %w", l.Name(), err)
	}
	return nil
}

func (l TenantLogin) removing(database string) []string {
	return []string{
		fmt.Sprintf("REVOKE CONNECT ON DATABASE %s FROM %s", pgx.Identifier{database}.Sanitize(), l.Name()),
		"DROP ROLE " + l.Name(),
	}
}

// ToCreate are the statements that Create would run now, for an administrator where the owner may not make roles. They hold a verifier
// of the password only.
func (l TenantLogin) ToCreate(ctx context.Context, owner, password secret.String) (statements []string, err error) {
	err = l.asOwner(ctx, owner, func(tx pgx.Tx, exists bool) (err error) {
		statements, err = l.making(exists, tx.Conn().Config().Database, password)
		return err
	})
	return statements, err
}

// ToDrop are the statements that Drop would run now. ErrNotFound: there is no login.
func (l TenantLogin) ToDrop(ctx context.Context, owner secret.String) (statements []string, err error) {
	if l.Label != "" && !loginLabel.MatchString(l.Label) {
		return nil, ErrLoginLabel
	}
	err = l.asOwner(ctx, owner, func(tx pgx.Tx, exists bool) error {
		if !exists {
			return ErrNotFound
		}
		statements = l.removing(tx.Conn().Config().Database)
		return nil
	})
	return statements, err
}

func (l TenantLogin) asOwner(ctx context.Context, owner secret.String, fn func(tx pgx.Tx, exists bool) error) error {
	conn, err := connectOwner(ctx, owner)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		var exists bool
		if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", l.Name()).Scan(&exists); err != nil {
			return err
		}
		return fn(tx, exists)
	})
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == "42501" {
		return fmt.Errorf("%s may not do this here (%s): use --sql and let an administrator run it", conn.Config().User, strings.TrimSpace(pg.Message))
	}
	return err
}

func execAll(ctx context.Context, tx pgx.Tx, statements []string) error {
	for _, sql := range statements {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}
