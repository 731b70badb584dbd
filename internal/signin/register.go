package signin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/directory"
	"parako/internal/factor"
	"parako/internal/problem"
	"parako/internal/ratelimit"
	"parako/internal/session"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/tenant"
)

// What registering can answer, besides what [directory.New.Check] and [factor.Policy.Check] find. ErrRegistrationRefused does
// not say which identifier is taken.
var (
	ErrIdentifierMissing = problem.New(problem.Invalid, "identifier_missing", "Enter an email address or a username.")
	// ErrApproval: the account is made, and nobody can use it until an administrator has enabled it.
	ErrApproval            = problem.New(problem.Forbidden, "approval_required", "Your account has been made. An administrator has to enable it before you can sign in.")
	ErrRegistrationRefused = problem.New(problem.Conflict, "registration_refused", "No account can be made with these details. If you have an account, sign in.")
)

// Registration is one try to make an account within an interaction.
type Registration struct {
	Tenant      uuid.UUID
	Interaction Interaction
	Email       string
	Username    string
	Name        string
	Password    string
	// Company is what people know the tenant as; it makes no password.
	Company string
	// Rules are the tenant's.
	Rules settings.Authentication
	// Token is the session the browser holds already; empty: none.
	Token  string
	Policy session.Policy
	Origin audit.Origin
}

// Register makes an account, and ties a session of its owner to the interaction. It returns the token for the session's
// cookie. Everything that is wrong with what was typed is found before anyone is looked for, and comes joined.
//
// Whether an identifier is taken cannot be hidden from whoever tries to register it, as long as no mail can be sent. So each
// try is counted against its address, each refusal against the tenant, and the password is hashed in both cases.
func (l *Logins) Register(ctx context.Context, r Registration) (string, error) {
	person, err := r.person()
	if err != nil {
		return "", err
	}
	if _, err := l.admit(ctx, r.Tenant, charge{ratelimit.Register(), ratelimit.IP(address(r.Origin))}); err != nil {
		return "", err
	}
	refund, err := l.admit(ctx, r.Tenant, charge{ratelimit.RegisterRefused(), everybody})
	if err != nil {
		return "", err
	}
	token, err := l.register(ctx, r, person)
	if errors.Is(err, directory.ErrTaken) {
		return "", l.refused(ctx, r)
	}
	refund()
	if quota := tenant.OverQuota(err); quota != "" {
		l.Metrics.QuotaRefused(quota)
	}
	return token, err
}

func (l *Logins) register(ctx context.Context, r Registration, person directory.New) (string, error) {
	hash, err := l.Passwords.Hash(ctx, r.Password)
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	if !r.Rules.Signup.AutoApproval.Enabled {
		return "", l.wait(ctx, r, person, hash)
	}
	visit := Attempt{Tenant: r.Tenant, Interaction: r.Interaction, Token: r.Token, Policy: r.Policy, Origin: r.Origin}
	return l.signIn(ctx, visit, func(ctx context.Context, tx *store.Tx) (directory.User, error) {
		return r.create(ctx, tx, person, hash)
	})
}

func (r Registration) create(ctx context.Context, tx *store.Tx, person directory.New, hash string) (directory.User, error) {
	user, err := directory.Create(ctx, tx, person)
	if err != nil {
		return directory.User{}, err
	}
	if err := factor.Put(ctx, tx, user.ID, hash); err != nil {
		return directory.User{}, fmt.Errorf("keep password: %w", err)
	}
	return user, audit.Record(ctx, tx, r.event(audit.UserCreated, audit.Success, audit.User(user.ID)))
}

// wait makes an account that an administrator has to enable first.
func (l *Logins) wait(ctx context.Context, r Registration, person directory.New, hash string) error {
	err := l.Store.InTenant(ctx, r.Tenant, func(ctx context.Context, tx *store.Tx) error {
		user, err := r.create(ctx, tx, person, hash)
		if err != nil {
			return err
		}
		return directory.SetEnabled(ctx, tx, user.ID, false, audit.System())
	})
	if err != nil {
		return err
	}
	return ErrApproval
}

// PasswordPolicy is what the settings say about a new password.
func PasswordPolicy(s settings.PasswordPolicy) factor.Policy {
	return factor.Policy{
		MinLength: s.MinLength, RequireUppercase: s.RequireUppercase, RequireLowercase: s.RequireLowercase,
		RequireNumbers: s.RequireNumbers, RequireSymbols: s.RequireSymbols,
	}
}

// everybody is the subject of what is counted for a tenant as a whole.
const everybody = "everybody"

// person is who wants to register, with the identifiers that the tenant lets people choose, and no others.
func (r Registration) person() (directory.New, error) {
	n := directory.New{Name: r.Name, Roles: []string{r.Rules.Roles.Default}}
	if slices.Contains(r.Rules.Signup.Methods, settings.SignupEmail) {
		n.Email = strings.TrimSpace(r.Email)
	}
	if slices.Contains(r.Rules.Signup.Methods, settings.SignupUsername) {
		n.Username = strings.TrimSpace(r.Username)
	}
	faults := []error{n.Check()}
	if n.Email == "" && n.Username == "" {
		faults = append(faults, ErrIdentifierMissing)
	}
	policy := PasswordPolicy(r.Rules.PasswordPolicy)
	return n, errors.Join(append(faults, policy.Check(r.Password, n.Email, n.Username, n.Name, r.Company))...)
}

// event is about who registered, the actor and the target in one.
func (r Registration) event(t audit.Type, status audit.Status, who audit.Party) audit.Event {
	return audit.Event{Type: t, Status: status, Actor: who, Target: who, ClientID: r.Interaction.ClientID, Origin: r.Origin}
}

// refused records that an identifier is taken, without naming it.
func (l *Logins) refused(ctx context.Context, r Registration) error {
	e := r.event(audit.RegistrationRefused, audit.Failed, audit.Party{})
	e.Detail = map[string]string{"reason": directory.ErrTaken.Code}
	err := l.Store.InTenant(ctx, r.Tenant, func(ctx context.Context, tx *store.Tx) error { return audit.Record(ctx, tx, e) })
	if err != nil {
		return fmt.Errorf("record refused registration: %w", err)
	}
	return ErrRegistrationRefused
}
