package tenant

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"

	"parako/internal/audit"
	"parako/internal/dbsqlc"
	"parako/internal/dbsqlc/control"
	"parako/internal/outbound"
	"parako/internal/problem"
	"parako/internal/secret"
	"parako/internal/store"
)

// What claiming, proving and giving up a domain can answer, besides ErrDomainFormat and ErrDomainTaken.
var (
	ErrDomainRefused   = problem.New(problem.Invalid, "domain_refused", "This name cannot belong to a tenant: it is the deployment's own, a public suffix, or reserved.")
	ErrDomainUnknown   = problem.New(problem.NotFound, "domain_not_found", "The tenant has not claimed this domain.")
	ErrDomainClaimed   = problem.New(problem.Conflict, "domain_claimed", "The tenant has this domain already.")
	ErrDomainLimit     = problem.New(problem.Conflict, "domain_limit", "The tenant has claimed too many domains. Release one, or wait until those that were released are forgotten.")
	ErrDomainUnproven  = problem.New(problem.Conflict, "domain_unproven", "The TXT record was not found, or says something else. Set it, and try again when the DNS has it.")
	ErrDomainUnchecked = problem.New(problem.Conflict, "domain_unchecked", "The DNS did not answer. Try again.")
	ErrDomainPending   = problem.New(problem.Conflict, "domain_pending", "The domain has not been verified yet.")
	ErrDomainPrimary   = problem.New(problem.Conflict, "domain_primary", "This is the tenant's primary domain. Choose another one first.")
)

const (
	// challenge is the label below a domain that holds the record.
	challenge = "_parako-challenge."
	// maxDomains bounds the claims of a tenant.
	maxDomains = 100
	// maxProven is the longest name that has room for the challenge before it.
	maxProven = 253 - len(challenge)
	// claimLife is how long a claim waits for its proof.
	claimLife = 7 * 24 * time.Hour
	// checkEvery is how often the record is looked for, give or take a twelfth.
	checkEvery = 24 * time.Hour
	// retryAfter is when it is looked for again after the DNS did not answer.
	retryAfter = time.Hour
	// A domain whose record was missing minMisses times over missingFor is failing; one that fails for failingFor is released.
	minMisses  = 5
	missingFor = 7 * 24 * time.Hour
	failingFor = 7 * 24 * time.Hour
)

// DomainState says how far a claim has come.
type DomainState string

// The states of a domain. Those that are verified or failing lead to their tenant.
const (
	DomainPending  DomainState = "pending"
	DomainVerified DomainState = "verified"
	DomainFailing  DomainState = "failing"
	DomainReleased DomainState = "released"
)

// Record is what a tenant has to put into the DNS. It is no secret.
type Record struct {
	Type  string `json:"type"`
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Domain is a host name that a tenant claims.
type Domain struct {
	ID uuid.UUID `json:"id"`
	// Name is the host name in ASCII (A-labels), in lower case; Unicode is the same for people.
	Name    string      `json:"domain"`
	Unicode string      `json:"unicode"`
	State   DomainState `json:"state"`
	// Primary says that the tenant's issuer is at this host.
	Primary bool `json:"primary"`
	// Record proves the claim, for as long as the domain is to lead to the tenant. Nil: an operator vouched for it.
	Record    *Record    `json:"record,omitempty"`
	CreatedAt time.Time  `json:"created_at"`
	Verified  *time.Time `json:"verified_at,omitempty"`
	Checked   *time.Time `json:"checked_at,omitempty"`
	// Missing is since when the record is gone, Failing since when that is taken seriously.
	Missing  *time.Time `json:"missing_since,omitempty"`
	Failing  *time.Time `json:"failing_since,omitempty"`
	Released *time.Time `json:"released_at,omitempty"`
	// Revision is what a change made of the tenant's revision; 0: it did not touch it.
	Revision int64 `json:"-"`
}

func (d Domain) as(state DomainState) Domain {
	d.State = state
	return d
}

func domainOf(r dbsqlc.TenantDomain, primary string) Domain {
	d := Domain{
		ID: r.ID, Name: r.Name, Unicode: r.Name, CreatedAt: r.CreatedAt, Verified: r.VerifiedAt, Checked: r.CheckedAt,
		Missing: r.MissingSince, Failing: r.FailingSince, Released: r.ReleasedAt,
	}
	if text, err := idna.Lookup.ToUnicode(r.Name); err == nil {
		d.Unicode = text
	}
	if r.Token != "" {
		d.Record = &Record{Type: "TXT", Name: challenge + r.Name, Value: "parako-domain-verification=" + r.Token}
	}
	switch {
	case r.ReleasedAt != nil:
		return d.as(DomainReleased)
	case r.FailingSince != nil:
		d.State = DomainFailing
	case r.VerifiedAt != nil:
		d.State = DomainVerified
	default:
		return d.as(DomainPending)
	}
	d.Primary = r.Name == primary
	return d
}

// Registrar gives host names to tenants that prove that they are theirs. It is safe for concurrent use.
type Registrar struct {
	Store *store.Store
	DNS   *outbound.Resolver
	// Base is the deployment's URL. Its host, and what is below, belongs to no tenant.
	Base *url.URL
	// Quarantine is how long a name that was released is kept for the tenant that had it.
	Quarantine time.Duration
}

// special are domains that no public DNS will ever lead to us (RFC 6761, RFC 6762, RFC 7686).
var special = []string{"localhost", "local", "onion", "invalid", "arpa"}

// hostOf brings a domain as a person writes it into the form in which hosts are compared. ErrDomainFormat, ErrDomainRefused.
func hostOf(name string) (string, error) {
	name = strings.TrimSuffix(strings.ToLower(strings.TrimSpace(name)), ".")
	plain := !strings.ContainsFunc(name, func(c rune) bool { return c > 0x7e })
	if !plain || strings.Contains(name, "xn--") {
		ascii, err := idna.Lookup.ToASCII(name)
		if err != nil {
			return "", ErrDomainFormat
		}
		name = ascii
	}
	if len(name) > 253 || !domainFormat.MatchString(name) {
		return "", ErrDomainFormat
	}
	if suffix, _ := publicsuffix.PublicSuffix(name); suffix == name {
		return "", ErrDomainRefused
	}
	if slices.ContainsFunc(special, func(s string) bool { return strings.HasSuffix(name, "."+s) }) {
		return "", ErrDomainRefused
	}
	return name, nil
}

// ownHost reports whether a host is the deployment's or below it, where each label is that of a tenant: on another's it would have the
// other's issuer.
func ownHost(base *url.URL, name string) bool {
	own := hostName(base.Hostname())
	return name == own || strings.HasSuffix(name, "."+own)
}

// AddDomain claims a domain for the tenant. It leads nowhere before VerifyDomain; until then any tenant may claim it, and nobody
// learns of the others. A claim that is there already, and pending, is answered as it is. It is dropped after seven days.
// ErrDomainFormat, ErrDomainRefused, ErrDomainClaimed, ErrDomainLimit.
func (r *Registrar) AddDomain(ctx context.Context, id uuid.UUID, name string, by audit.Party) (Domain, error) {
	name, err := hostOf(name)
	if err != nil {
		return Domain{}, err
	}
	if len(name) > maxProven {
		return Domain{}, ErrDomainFormat
	}
	if ownHost(r.Base, name) {
		return Domain{}, ErrDomainRefused
	}
	var added Domain
	err = r.Store.InTenant(ctx, id, func(ctx context.Context, tx *store.Tx) error {
		claims, err := tx.DomainCount(ctx, id)
		if err != nil {
			return err
		}
		if claims >= maxDomains {
			return ErrDomainLimit
		}
		claim, err := uuid.NewV7()
		if err != nil {
			return err
		}
		n, err := tx.DomainCreate(ctx, dbsqlc.DomainCreateParams{ID: claim, Name: name, Token: secret.Token()})
		if err != nil {
			return err
		}
		row, err := tx.DomainByName(ctx, dbsqlc.DomainByNameParams{TenantID: id, Name: name})
		if err != nil {
			return err
		}
		if added = domainOf(row, ""); n == 0 {
			if added.State != DomainPending {
				return ErrDomainClaimed
			}
			return nil
		}
		// The job stays with the row for as long as there is one.
		if err := tx.Enqueue(ctx, store.JobDomain, claim); err != nil {
			return err
		}
		return recordDomain(ctx, tx, audit.DomainAdded, audit.Success, by, name, nil)
	})
	if err != nil {
		return Domain{}, about("claim", name, err)
	}
	return added, nil
}

// Domains lists what the tenant claims, by name, and what it has released lately.
func (r *Registrar) Domains(ctx context.Context, id uuid.UUID) ([]Domain, error) {
	list := []Domain{}
	err := r.Store.ViewTenant(ctx, id, func(ctx context.Context, tx *store.Tx) error {
		t, err := tx.TenantByID(ctx, id)
		if err != nil {
			return err
		}
		rows, err := tx.DomainList(ctx, dbsqlc.DomainListParams{TenantID: id, PageSize: 2 * maxDomains})
		for _, row := range rows {
			list = append(list, domainOf(row, FromRow(t).Domain))
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list domains: %w", err)
	}
	return list, nil
}

// VerifyDomain looks for the record of the claim and, when it is there, lets the domain lead to the tenant. Of several tenants
// that prove the same name one gets it. ErrDomainUnknown, ErrDomainUnproven, ErrDomainUnchecked when the DNS gave no definite
// answer, and ErrDomainTaken when the name is verified for another tenant or was until lately, which nobody is told who cannot
// prove it.
func (r *Registrar) VerifyDomain(ctx context.Context, id uuid.UUID, name string, by audit.Party) (Domain, error) {
	row, err := r.claimed(ctx, id, name)
	if err != nil {
		return Domain{}, err
	}
	if row.Token == "" {
		return Domain{}, ErrDomainClaimed
	}
	found, err := r.recorded(ctx, row)
	switch {
	case err != nil:
		return Domain{}, ErrDomainUnchecked
	case !found:
		return Domain{}, ErrDomainUnproven
	}
	return r.prove(ctx, id, row, false, by)
}

// prove lets the domain of a claim lead to the tenant, unless it leads there. A claim that was given up meanwhile, or made anew
// with another token, is not proven.
func (r *Registrar) prove(ctx context.Context, id uuid.UUID, claim dbsqlc.TenantDomain, leads bool, by audit.Party) (Domain, error) {
	var proven Domain
	err := r.Store.InTenant(ctx, id, func(ctx context.Context, tx *store.Tx) error {
		before, err := hold(ctx, tx, claim.Name)
		if err != nil {
			return err
		}
		if before.ID != claim.ID {
			return ErrDomainUnproven
		}
		if before.VerifiedAt == nil || before.FailingSince != nil {
			if err := recordDomain(ctx, tx, audit.DomainVerified, audit.Success, by, claim.Name, nil); err != nil {
				return err
			}
		}
		row, err := tx.DomainProve(ctx, dbsqlc.DomainProveParams{TenantID: id, ID: claim.ID})
		if err != nil {
			return err
		}
		t, err := tx.TenantByID(ctx, id)
		if err != nil {
			return err
		}
		proven = domainOf(row, FromRow(t).Domain)
		if leads {
			return nil
		}
		proven.Revision, err = r.point(ctx, id, claim.Name)
		return err
	})
	if err != nil {
		return Domain{}, about("verify", claim.Name, err)
	}
	return proven, nil
}

// point lets a host lead to the tenant.
func (r *Registrar) point(ctx context.Context, id uuid.UUID, name string) (revision int64, err error) {
	err = r.Store.InPlatform(ctx, func(ctx context.Context, tx *store.PlatformTx) error {
		// The tenant's row first, in every transaction, so that none waits for another in a circle.
		if revision, err = tx.TenantDomainsChanged(ctx, control.TenantDomainsChangedParams{ID: id}); err != nil {
			return err
		}
		return claimHost(ctx, tx, name, id)
	})
	return revision, err
}

// SetPrimaryDomain moves the tenant's issuer to a verified domain, or with an empty name to its host below the base domain. Every
// token that was issued before names the old issuer, and applications have to be configured anew.
// revision is what the tenant's must be; nil: any. ErrDomainUnknown, ErrDomainPending, ErrRevision.
func (r *Registrar) SetPrimaryDomain(ctx context.Context, id uuid.UUID, name string, revision *int64, by audit.Party) (Tenant, error) {
	var changed control.Tenant
	err := r.Store.InTenant(ctx, id, func(ctx context.Context, tx *store.Tx) error {
		t, err := tx.TenantByID(ctx, id)
		if err != nil {
			return err
		}
		var domain *string
		if name != "" {
			ascii, err := hostOf(name)
			if err != nil {
				return err
			}
			row, err := hold(ctx, tx, ascii)
			if err != nil {
				return err
			}
			if row.VerifiedAt == nil {
				return ErrDomainPending
			}
			domain, name = &ascii, ascii
		}
		detail := map[string]string{"from": FromRow(t).Domain}
		if err := recordDomain(ctx, tx, audit.DomainPrimary, audit.Success, by, name, detail); err != nil {
			return err
		}
		err = r.Store.InPlatform(ctx, func(ctx context.Context, tx *store.PlatformTx) (err error) {
			changed, err = tx.TenantSetDomain(ctx, control.TenantSetDomainParams{ID: id, Domain: domain, Revision: revision})
			return err
		})
		switch {
		case errors.Is(err, store.ErrNotFound) && revision != nil:
			return ErrRevision
		case errors.Is(err, store.ErrNotFound):
			return ErrDomainPending // It does not lead to the tenant.
		}
		return err
	})
	if err != nil {
		return Tenant{}, about("make primary", name, err)
	}
	return fromControl(changed), nil
}

// ReleaseDomain gives a domain up. It stops leading to the tenant, and for the time of the quarantine only the same tenant can
// claim it again: whoever finds its record in the DNS, or the addresses that lead here, gets nothing with them. A claim that was
// never verified is forgotten. ErrDomainUnknown, ErrDomainPrimary.
func (r *Registrar) ReleaseDomain(ctx context.Context, id uuid.UUID, name string, by audit.Party) (Domain, error) {
	ascii, err := hostOf(name)
	if err != nil {
		return Domain{}, err
	}
	var released Domain
	err = r.Store.InTenant(ctx, id, func(ctx context.Context, tx *store.Tx) error {
		row, err := hold(ctx, tx, ascii)
		if err != nil {
			return err
		}
		t, err := tx.TenantByID(ctx, id)
		if err != nil {
			return err
		}
		if FromRow(t).Domain == row.Name {
			return ErrDomainPrimary
		}
		released, err = r.release(ctx, tx, row, by, "requested")
		return err
	})
	if err != nil {
		return Domain{}, about("release", ascii, err)
	}
	return released, nil
}

// release gives up a domain that the transaction holds.
func (r *Registrar) release(ctx context.Context, tx *store.Tx, row dbsqlc.TenantDomain, by audit.Party, reason string) (Domain, error) {
	id, now := tx.Tenant(), tx.Now()
	err := recordDomain(ctx, tx, audit.DomainReleased, audit.Success, by, row.Name, map[string]string{"reason": reason})
	if err == nil && row.Token == "" {
		// Nothing had to be looked at so far.
		err = tx.Enqueue(ctx, store.JobDomain, row.ID)
	}
	if err != nil {
		return Domain{}, err
	}
	if row.VerifiedAt == nil {
		err = tx.DomainDelete(ctx, dbsqlc.DomainDeleteParams{TenantID: id, ID: row.ID})
	} else {
		err = tx.DomainRelease(ctx, dbsqlc.DomainReleaseParams{TenantID: id, ID: row.ID})
	}
	if err != nil {
		return Domain{}, err
	}
	row.ReleasedAt = &now
	released := domainOf(row, "")
	// The platform's transaction commits first: what the tenant's trail says was released leads nowhere any more.
	err = r.Store.InPlatform(ctx, func(ctx context.Context, ptx *store.PlatformTx) (err error) {
		if released.Revision, err = ptx.TenantDomainsChanged(ctx, control.TenantDomainsChangedParams{ID: id, Gone: row.Name}); err != nil {
			return err
		}
		return ptx.LocatorRelease(ctx, control.LocatorReleaseParams{Name: row.Name, TenantID: id, ReservedUntil: ptx.Now().Add(r.Quarantine)})
	})
	return released, err
}

// claimed is the tenant's claim of a name.
func (r *Registrar) claimed(ctx context.Context, id uuid.UUID, name string) (dbsqlc.TenantDomain, error) {
	ascii, err := hostOf(name)
	if err != nil {
		return dbsqlc.TenantDomain{}, err
	}
	var row dbsqlc.TenantDomain
	err = r.Store.AskTenant(ctx, id, func(ctx context.Context, tx *store.Tx) (err error) {
		row, err = tx.DomainByName(ctx, dbsqlc.DomainByNameParams{TenantID: id, Name: ascii})
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return row, ErrDomainUnknown
	}
	return row, err
}

// hold is the tenant's claim of a name, which nobody else changes until the transaction ends.
func hold(ctx context.Context, tx *store.Tx, name string) (dbsqlc.TenantDomain, error) {
	row, err := tx.DomainHold(ctx, dbsqlc.DomainHoldParams{TenantID: tx.Tenant(), Name: name})
	if errors.Is(err, store.ErrNotFound) {
		return row, ErrDomainUnknown
	}
	return row, err
}

// claimHost takes a host for the tenant. The one conditional statement decides between two that want it.
func claimHost(ctx context.Context, tx *store.PlatformTx, name string, id uuid.UUID) error {
	if err := tx.LocatorLock(ctx, name); err != nil {
		return fmt.Errorf("claim host: %w", err)
	}
	taken, err := tx.IssuerOfAnother(ctx, control.IssuerOfAnotherParams{Host: name, TenantID: id})
	if err != nil {
		return fmt.Errorf("claim host: %w", err)
	}
	if taken {
		return ErrDomainTaken
	}
	n, err := tx.LocatorClaimHost(ctx, control.LocatorClaimHostParams{Name: name, TenantID: id})
	if err != nil {
		return fmt.Errorf("claim host: %w", err)
	}
	if n == 0 {
		return ErrDomainTaken
	}
	return nil
}

// vouch notes the domain of a tenant whose creator answers for it.
func vouch(ctx context.Context, s *store.Store, t Tenant) error {
	claim, err := uuid.NewV7()
	if err != nil {
		return err
	}
	return s.InTenant(ctx, t.ID, func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.DomainCreate(ctx, dbsqlc.DomainCreateParams{ID: claim, Name: t.Domain, VerifiedAt: &t.CreatedAt})
		return err
	})
}

// recordDomain writes into the tenant's trail what happened to one of its domains.
func recordDomain(ctx context.Context, tx *store.Tx, event audit.Type, status audit.Status, by audit.Party, name string, detail map[string]string) error {
	return audit.Record(ctx, tx, audit.Event{Type: event, Status: status, Actor: by, Target: audit.Thing("domain", name), Detail: detail})
}

// about says what was attempted, unless the error is the caller's own.
func about(verb, name string, err error) error {
	if trouble, ok := errors.AsType[*problem.Error](err); ok {
		return trouble
	}
	return fmt.Errorf("%s domain %s: %w", verb, name, err)
}
