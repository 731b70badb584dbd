package platform

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/dbsqlc"
	"parako/internal/directory"
	"parako/internal/factor"
	"parako/internal/problem"
	"parako/internal/secret"
	"parako/internal/session"
	"parako/internal/store"
)

// bootstrapLife is how long the first account waits for whoever makes a permanent administrator with it.
const bootstrapLife = 7 * 24 * time.Hour

// bootstrapUsername is the name of the first account.
const bootstrapUsername = "platform-admin"

// What replacing the first account can answer, besides what [directory.New.Check], [factor.Policy.Check] and [directory.Create] find.
var (
	ErrReplaced       = problem.New(problem.Conflict, "bootstrap_replaced", "A permanent administrator exists already. Sign in as that one.")
	ErrEmailMissing   = problem.New(problem.Invalid, "email_missing", "Enter an email address.")
	ErrPasswordReused = problem.New(problem.Invalid, "password_reused", "Choose another password than that of the first account.")
)

// Outcome is what became of a bootstrap.
type Outcome string

// The outcomes. Spent: the first account has ended unused, and is made anew with another password only.
const (
	Created Outcome = "created"
	Exists  Outcome = "exists"
	Spent   Outcome = "spent"
)

// Bootstrap makes the first account of the platform.
type Bootstrap struct {
	Store     *store.Store
	Passwords factor.Passwords
	// Home is the platform's own tenant.
	Home     uuid.UUID
	Email    string
	Password secret.String
}

// found is what there is before a bootstrap.
type found struct {
	admin bool      // somebody administers the platform, or the first account can still make somebody
	id    uuid.UUID // the first account, when it has ended
	hash  string    // its password
}

// Run makes the first account when nobody administers the platform: for [Outcome] Created it can make a permanent administrator
// ([Bootstrap.Replace]) within seven days, and do nothing else. An administrator whose account was disabled counts: what an operator
// has shut is not opened by a restart. Several instances may do this at once. directory.ErrTaken: somebody else has the address or the
// username.
func (b Bootstrap) Run(ctx context.Context) (Outcome, error) {
	var before found
	err := b.Store.InTenant(ctx, b.Home, func(ctx context.Context, tx *store.Tx) (err error) {
		before, err = look(ctx, tx)
		return err
	})
	if err != nil || before.admin {
		return Exists, err
	}
	if before.hash != "" {
		same, _, err := b.Passwords.Verify(ctx, before.hash, b.Password.Reveal())
		if err != nil || same {
			return Spent, err
		}
	}
	hash, err := b.Passwords.Hash(ctx, b.Password.Reveal())
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	outcome := Created
	err = b.Store.InTenant(ctx, b.Home, func(ctx context.Context, tx *store.Tx) error {
		if before.hash != "" {
			outcome, err = b.renew(ctx, tx, before.id, hash)
			return err
		}
		return b.create(ctx, tx, hash)
	})
	if errors.Is(err, directory.ErrTaken) {
		again := found{}
		lookErr := b.Store.InTenant(ctx, b.Home, func(ctx context.Context, tx *store.Tx) (err error) {
			again, err = look(ctx, tx)
			return err
		})
		if lookErr == nil && again.admin { // Another instance was first.
			return Exists, nil
		}
	}
	return outcome, err
}

func look(ctx context.Context, tx *store.Tx) (found, error) {
	_, err := tx.PlatformAdministrator(ctx, tx.Tenant())
	if err == nil {
		return found{admin: true}, nil
	}
	if !errors.Is(err, store.ErrNotFound) {
		return found{}, fmt.Errorf("look for an administrator: %w", err)
	}
	row, err := tx.BootstrapAccount(ctx, tx.Tenant())
	if errors.Is(err, store.ErrNotFound) {
		return found{}, nil
	}
	if err != nil {
		return found{}, fmt.Errorf("look for the first account: %w", err)
	}
	return found{admin: row.Live, id: row.ID, hash: row.Hash}, nil
}

func (b Bootstrap) create(ctx context.Context, tx *store.Tx, hash string) error {
	u, err := directory.Create(ctx, tx, directory.New{
		Username: bootstrapUsername, Email: b.Email, EmailVerified: true, Roles: []string{"admin", directory.PlatformAdmin},
	})
	if err != nil {
		return err
	}
	end := tx.Now().Add(bootstrapLife)
	return errors.Join(
		tx.BootstrapMark(ctx, dbsqlc.BootstrapMarkParams{TenantID: tx.Tenant(), ID: u.ID, BootstrapUntil: end}),
		factor.Put(ctx, tx, u.ID, hash),
		recordBootstrap(ctx, tx, u.ID, end),
	)
}

// renew is create for an account that was there before and has ended.
func (b Bootstrap) renew(ctx context.Context, tx *store.Tx, id uuid.UUID, hash string) (Outcome, error) {
	end := tx.Now().Add(bootstrapLife)
	folded := directory.Fold(b.Email)
	n, err := tx.BootstrapRenew(ctx, dbsqlc.BootstrapRenewParams{
		TenantID: tx.Tenant(), ID: id, Email: &b.Email, EmailNorm: &folded, BootstrapUntil: end,
	})
	if _, taken := errors.AsType[*store.Conflict](err); taken {
		return "", directory.ErrTaken
	}
	if err != nil {
		return "", fmt.Errorf("renew the first account: %w", err)
	}
	if n == 0 { // Another instance was first.
		return Exists, nil
	}
	return Created, errors.Join(
		factor.Put(ctx, tx, id, hash),
		session.EndAll(ctx, tx, id, session.Policy{}), // Or those of the old password would live again.
		recordBootstrap(ctx, tx, id, end),
	)
}

func recordBootstrap(ctx context.Context, tx *store.Tx, id uuid.UUID, end time.Time) error {
	return audit.Record(ctx, tx, audit.Event{
		Type: audit.BootstrapCreated, Status: audit.Warning, Actor: audit.System(), Target: audit.User(id),
		Detail: map[string]string{"until": end.UTC().Format(time.RFC3339)},
	})
}

// Replacement is the permanent administrator that takes the place of the first account.
type Replacement struct {
	Store     *store.Store
	Passwords factor.Passwords
	Home      uuid.UUID
	// By is the session of the first account.
	By       session.Session
	Email    string
	Name     string
	Password string
	// Company is what people know the tenant as; it makes no password.
	Company string
	// Rules are what the tenant demands of a password.
	Rules  factor.Policy
	Policy session.Policy
	Origin audit.Origin
}

// Run makes the administrator; the first account and its sessions end in the same transaction. What is wrong with what was typed comes
// joined. ErrReplaced: somebody else did it in the meantime.
func (r Replacement) Run(ctx context.Context) error {
	n := directory.New{
		Email: strings.TrimSpace(r.Email), EmailVerified: true, Name: r.Name, Roles: []string{"admin", directory.PlatformAdmin},
	}
	faults := []error{n.Check()}
	if n.Email == "" {
		faults = append(faults, ErrEmailMissing)
	}
	faults = append(faults, r.Rules.Check(r.Password, n.Email, n.Name, r.Company))
	if err := errors.Join(faults...); err != nil {
		return err
	}
	if err := r.another(ctx); err != nil {
		return err
	}
	hash, err := r.Passwords.Hash(ctx, r.Password)
	if err != nil {
		return fmt.Errorf("hash password: %w", err)
	}
	return r.Store.InTenant(ctx, r.Home, func(ctx context.Context, tx *store.Tx) error {
		ended, err := tx.BootstrapEnd(ctx, dbsqlc.BootstrapEndParams{TenantID: tx.Tenant(), ID: r.By.User.ID})
		if err != nil {
			return fmt.Errorf("end the first account: %w", err)
		}
		if ended == 0 {
			return ErrReplaced
		}
		u, err := directory.Create(ctx, tx, n)
		if err != nil {
			return err
		}
		by, whom := audit.User(r.By.User.ID), audit.User(u.ID)
		return errors.Join(
			factor.Put(ctx, tx, u.ID, hash),
			session.EndAll(ctx, tx, r.By.User.ID, r.Policy),
			audit.Record(ctx, tx, audit.Event{Type: audit.UserCreated, Status: audit.Success, Actor: by, Target: whom, Origin: r.Origin}),
			audit.Record(ctx, tx, audit.Event{Type: audit.BootstrapReplaced, Status: audit.Success, Actor: by, Target: whom, Origin: r.Origin}),
		)
	})
}

// another refuses the password that stands in the environment of the server.
func (r Replacement) another(ctx context.Context) error {
	var first dbsqlc.BootstrapAccountRow
	err := r.Store.InTenant(ctx, r.Home, func(ctx context.Context, tx *store.Tx) (err error) {
		first, err = tx.BootstrapAccount(ctx, tx.Tenant())
		return err
	})
	if err != nil {
		return fmt.Errorf("look for the first account: %w", err)
	}
	same, _, err := r.Passwords.Verify(ctx, first.Hash, r.Password)
	if err != nil {
		return fmt.Errorf("compare passwords: %w", err)
	}
	if same {
		return ErrPasswordReused
	}
	return nil
}
