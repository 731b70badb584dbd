package tenant

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"parako/internal/dbsqlc/control"
	"parako/internal/problem"
	"parako/internal/store"
)

// What changing a tenant can answer besides what creating one can.
var (
	ErrStatus       = problem.New(problem.Invalid, "status_unknown", "A status is active, suspended or archived.")
	ErrTransition   = problem.New(problem.Conflict, "status_transition", "An archived tenant cannot be suspended. Reactivate it first.")
	ErrChanged      = problem.New(problem.Conflict, "tenant_changed", "The tenant was changed by somebody else at the same time. Look at it again.")
	ErrRevision     = problem.New(problem.Stale, "precondition_failed", "The tenant has changed since it was read. Read it again and repeat the change.")
	ErrIssuerFormat = problem.New(problem.Invalid, "issuer_format", "An issuer is a URL such as https://login.example.com/oidc: https, a host in lower case, a path without a final slash, and nothing else.")
	ErrIssuerTaken  = problem.New(problem.Conflict, "issuer_taken", "This issuer is, or looks like, that of another tenant.")
)

// Changes are what Update changes; what is nil stays.
type Changes struct {
	DisplayName *string
	// IssuerURL becomes the issuer, verbatim; empty: it is computed from the domain or the slug again. Clients have to be told, and
	// tokens of the former issuer are no longer ours.
	IssuerURL *string
	// Base is the deployment's URL, against which an issuer is checked.
	Base *url.URL
	// Revision is the one that whoever asked has seen; nil: any.
	Revision *int64
	// Operator names who asked, for the audit trail.
	Operator string
}

// Update changes what a tenant is called and records it. The slug is for life. ErrUnknown: there is no such tenant;
// ErrProtected: it is the platform's own; ErrRevision: it is not at the revision any more; and those of the values.
func Update(ctx context.Context, s *store.Store, slug string, c Changes) (Tenant, error) {
	t, err := BySlug(ctx, s, slug)
	switch {
	case err != nil:
		return Tenant{}, err
	case t.Slug == PlatformsSlug:
		return Tenant{}, ErrProtected
	}
	detail := map[string]string{}
	if c.DisplayName != nil {
		name := strings.TrimSpace(*c.DisplayName)
		if !validDisplayName(name) {
			return Tenant{}, ErrDisplayName
		}
		c.DisplayName, detail["display_name"] = &name, name
	}
	if c.IssuerURL != nil {
		detail["issuer_url"] = *c.IssuerURL
	}
	var row control.Tenant
	err = s.InPlatform(ctx, func(ctx context.Context, tx *store.PlatformTx) error {
		if c.IssuerURL != nil && *c.IssuerURL != t.IssuerURL {
			if err := claimIssuer(ctx, tx, t, *c.IssuerURL, c.Base); err != nil {
				return err
			}
		}
		row, err = tx.TenantUpdate(ctx, control.TenantUpdateParams{
			ID: t.ID, DisplayName: c.DisplayName, IssuerURL: c.IssuerURL, Former: t.IssuerURL, Revision: c.Revision,
		})
		if err != nil {
			return fmt.Errorf("update tenant: %w", err)
		}
		return record(ctx, tx, t.ID, "tenant.updated", c.Operator, detail)
	})
	return changed(row, c.Revision, err)
}

// claimIssuer takes an issuer for the tenant and gives the former one back.
func claimIssuer(ctx context.Context, tx *store.PlatformTx, t Tenant, issuer string, base *url.URL) error {
	if t.IssuerURL != "" {
		err := tx.LocatorDrop(ctx, control.LocatorDropParams{Kind: "issuer", Name: t.IssuerURL, TenantID: t.ID})
		if err != nil {
			return fmt.Errorf("release issuer: %w", err)
		}
	}
	if issuer == "" {
		return nil
	}
	u, err := parseIssuer(issuer, base)
	if err != nil {
		return err
	}
	host := u.Hostname()
	if label, under := strings.CutSuffix(host, "."+hostName(base.Hostname())); under && label != t.Slug {
		return ErrIssuerTaken // Some tenant is called like this, or may be.
	}
	if first, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/"); host == hostName(base.Hostname()) && first != t.Slug {
		return ErrIssuerTaken
	}
	if err := tx.LocatorLock(ctx, host); err != nil {
		return fmt.Errorf("find owner of host: %w", err)
	}
	taken, err := tx.LocatorOfAnother(ctx, control.LocatorOfAnotherParams{Kind: "host", Name: host, TenantID: t.ID})
	if err != nil {
		return fmt.Errorf("find owner of host: %w", err)
	}
	if taken {
		return ErrIssuerTaken
	}
	return claim(ctx, tx, "issuer", issuer, t.ID, ErrIssuerTaken)
}

// maxIssuer is what fits where names are claimed.
const maxIssuer = 253

var issuerPath = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)*$`)

// parseIssuer accepts a URL of which there is one spelling only, because issuers are compared as text (RFC 8414 section 3.3).
// Without https it is accepted where the deployment itself has none.
func parseIssuer(issuer string, base *url.URL) (*url.URL, error) {
	u, err := url.Parse(issuer)
	if err != nil || len(issuer) > maxIssuer || (u.Scheme != "https" && u.Scheme != base.Scheme) {
		return nil, ErrIssuerFormat
	}
	spelled := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	switch host := u.Hostname(); {
	case host == "" || hostName(host) != host || strings.HasSuffix(u.Host, ":"),
		!issuerPath.MatchString(u.Path) || u.Path != "" && path.Clean(u.Path) != u.Path,
		spelled.String() != issuer:
		return nil, ErrIssuerFormat
	}
	return u, nil
}

// transitions are the statuses that a status may become.
var transitions = map[Status][]Status{
	Active:    {Suspended, Archived},
	Suspended: {Active, Archived},
	Archived:  {Active},
}

// Next are the statuses that the tenant may be given.
func (t Tenant) Next() []Status {
	if t.Slug == PlatformsSlug || t.DeleteAfter != nil {
		return nil
	}
	return transitions[t.Status]
}

// SetStatus suspends, archives or reactivates a tenant. Every instance acts on it within the bound of its poll; the
// returned revision is the hint that makes them act at once. Whatever was issued before a change of status is dead after it:
// a tenant comes back with its people, clients and settings, and nobody is signed in. Setting the status that is set does
// nothing.
func SetStatus(ctx context.Context, s *store.Store, slug string, status Status, operator string) (Tenant, error) {
	return SetStatusAt(ctx, s, slug, status, nil, operator)
}

// SetStatusAt is SetStatus for whoever has seen the tenant at a revision, nil being any: ErrRevision when it has changed since.
func SetStatusAt(ctx context.Context, s *store.Store, slug string, status Status, revision *int64, operator string) (Tenant, error) {
	if _, known := transitions[status]; !known {
		return Tenant{}, ErrStatus
	}
	t, err := BySlug(ctx, s, slug)
	switch {
	case err != nil:
		return Tenant{}, err
	case t.Slug == PlatformsSlug:
		return Tenant{}, ErrProtected
	case t.Status == status:
		return t, nil
	case t.DeleteAfter != nil:
		return Tenant{}, ErrDeleting
	case !slices.Contains(transitions[t.Status], status):
		return Tenant{}, ErrTransition
	}
	var row control.Tenant
	err = s.InPlatform(ctx, func(ctx context.Context, tx *store.PlatformTx) error {
		row, err = tx.TenantSetStatus(ctx, control.TenantSetStatusParams{ID: t.ID, Status: string(status), Was: string(t.Status), Revision: revision})
		if err != nil {
			return fmt.Errorf("set status of tenant: %w", err)
		}
		return record(ctx, tx, t.ID, "tenant.status_changed", operator, map[string]string{"from": string(t.Status), "to": string(status)})
	})
	return changed(row, revision, err)
}

// changed is what a change of a tenant came to. No row: the tenant is not what the change was meant for.
func changed(row control.Tenant, revision *int64, err error) (Tenant, error) {
	switch {
	case errors.Is(err, store.ErrNotFound) && revision != nil:
		return Tenant{}, ErrRevision
	case errors.Is(err, store.ErrNotFound):
		return Tenant{}, ErrChanged
	case err != nil:
		return Tenant{}, err
	}
	return fromControl(row), nil
}
