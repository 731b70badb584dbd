package tenant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"parako/internal/dbsqlc"
	"parako/internal/dbsqlc/control"
	"parako/internal/problem"
	"parako/internal/store"
	"parako/internal/telemetry"
)

// What creating a tenant can answer.
var (
	ErrSlugFormat   = problem.New(problem.Invalid, "slug_format", "A slug is 1 to 63 characters: lower-case letters, digits, hyphens and underscores, and begins with a letter or digit.")
	ErrSlugReserved = problem.New(problem.Conflict, "slug_reserved", "This slug is reserved. Choose another.")
	ErrSlugTaken    = problem.New(problem.Conflict, "slug_taken", "A tenant with this slug exists. Choose another.")
	ErrDomainTaken  = problem.New(problem.Conflict, "domain_taken", "Another tenant uses this domain.")
	ErrDomainFormat = problem.New(problem.Invalid, "domain_format", "Domain must be a hostname without a scheme, port, or path.")
	ErrProtected    = problem.New(problem.Forbidden, "tenant_protected", "The platform's own tenant cannot be changed.")
	ErrDisplayName  = problem.New(problem.Invalid, "display_name_length", "A display name is 1 to 255 characters on one line.")
)

// maxDisplayName is the most characters of a display name.
const maxDisplayName = 255

// New describes a tenant to create.
type New struct {
	Slug        string
	DisplayName string
	// Domain is optional. Whoever creates a tenant with a domain vouches for it: it is primary and served at once, and no record in
	// the DNS has to prove it, now or later.
	Domain string
	// Base is the deployment's URL, against which a domain is checked. Without a domain it is not needed.
	Base *url.URL
	// Operator names who asked, for the audit trail.
	Operator string
}

var domainFormat = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)

func (n *New) normalise() error {
	n.Slug = strings.ToLower(strings.TrimSpace(n.Slug))
	n.DisplayName = strings.TrimSpace(n.DisplayName)
	if strings.TrimSpace(n.Domain) != "" {
		domain, err := hostOf(n.Domain)
		if err != nil {
			return err
		}
		if n.Base == nil {
			return errors.New("create tenant: a domain is checked against the deployment's URL, and there is none")
		}
		if ownHost(n.Base, domain) {
			return ErrDomainRefused
		}
		n.Domain = domain
	}
	switch {
	case reserved[n.Slug] || n.Slug == OpsSlug || strings.Contains(n.Slug, "--"):
		// "--" would let a slug pose as an internationalised name (xn--…) in the address bar.
		return ErrSlugReserved
	case !slugFormat.MatchString(n.Slug) && n.Slug != PlatformsSlug:
		return ErrSlugFormat
	case !validDisplayName(n.DisplayName):
		return ErrDisplayName
	}
	return nil
}

// Create adds a tenant and records it, as the platform. Its keys are made when it is first used.
func Create(ctx context.Context, s *store.Store, n New) (Tenant, error) {
	if err := n.normalise(); err != nil {
		return Tenant{}, err
	}
	if n.Slug == PlatformsSlug {
		return Tenant{}, ErrSlugReserved
	}
	return create(ctx, s, n)
}

// EnsurePlatforms creates the platform's own tenant unless it exists. Several instances may do so at once.
func EnsurePlatforms(ctx context.Context, s *store.Store) (Tenant, error) {
	t, err := BySlug(ctx, s, PlatformsSlug)
	if !errors.Is(err, ErrUnknown) {
		return t, err
	}
	t, err = create(ctx, s, New{Slug: PlatformsSlug, DisplayName: "Platform Administration", Operator: "system"})
	if errors.Is(err, ErrSlugTaken) {
		return BySlug(ctx, s, PlatformsSlug)
	}
	return t, err
}

func create(ctx context.Context, s *store.Store, n New) (Tenant, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return Tenant{}, err
	}
	var row control.Tenant
	err = s.InPlatform(ctx, func(ctx context.Context, tx *store.PlatformTx) error {
		if err := claim(ctx, tx, "slug", n.Slug, id, ErrSlugTaken); err != nil {
			return err
		}
		var domain *string
		if n.Domain != "" {
			if err := claimHost(ctx, tx, n.Domain, id); err != nil {
				return err
			}
			domain = &n.Domain
		}
		err := tx.TenantCreate(ctx, control.TenantCreateParams{ID: id, Slug: n.Slug, DisplayName: n.DisplayName, Domain: domain})
		if err != nil {
			return fmt.Errorf("create tenant: %w", err)
		}
		if err := record(ctx, tx, id, "tenant.created", n.Operator, map[string]string{"slug": n.Slug}); err != nil {
			return err
		}
		row, err = tx.TenantBySlug(ctx, n.Slug)
		return err
	})
	if err != nil {
		return Tenant{}, err
	}
	t := fromControl(row)
	if t.Domain == "" {
		return t, nil
	}
	if err := vouch(ctx, s, t); err != nil {
		return Tenant{}, fmt.Errorf("note domain: %w", err)
	}
	return t, nil
}

// claim takes a name for the tenant. The one conditional statement decides between two that want it.
func claim(ctx context.Context, tx *store.PlatformTx, kind, value string, id uuid.UUID, taken error) error {
	n, err := tx.LocatorCreate(ctx, control.LocatorCreateParams{Kind: kind, Name: value, TenantID: id})
	if err != nil {
		return fmt.Errorf("claim %s: %w", kind, err)
	}
	if n == 0 {
		return taken
	}
	return nil
}

// validDisplayName takes what stands in one line: no line breaks, and no characters that turn the direction of what follows.
func validDisplayName(name string) bool {
	bad := func(r rune) bool {
		return r == utf8.RuneError || unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp) || unicode.Is(unicode.Bidi_Control, r)
	}
	return name != "" && utf8.RuneCountInString(name) <= maxDisplayName && !strings.ContainsFunc(name, bad)
}

// BySlug finds a tenant for the platform, whatever its status. ErrUnknown: none.
func BySlug(ctx context.Context, s *store.Store, slug string) (Tenant, error) {
	if !ValidSlug(slug) {
		return Tenant{}, ErrUnknown
	}
	var row control.Tenant
	err := s.InPlatform(ctx, func(ctx context.Context, tx *store.PlatformTx) (err error) {
		row, err = tx.TenantBySlug(ctx, slug)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return Tenant{}, ErrUnknown
	}
	if err != nil {
		return Tenant{}, err
	}
	return fromControl(row), nil
}

// List pages through the tenants by slug, after the slug given. An empty status lists all.
func List(ctx context.Context, s *store.Store, status Status, after string, limit int32) ([]Tenant, error) {
	return Search(ctx, s, Filter{Status: status}, after, limit)
}

// Filter selects tenants. The zero value selects all.
type Filter struct {
	// Prefix is what the slug begins with.
	Prefix string
	Status Status
}

// Search is List of the tenants that the filter selects.
func Search(ctx context.Context, s *store.Store, f Filter, after string, limit int32) ([]Tenant, error) {
	if strings.Trim(f.Prefix+after, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		return []Tenant{}, nil // No slug has such characters, and PostgreSQL refuses some of them.
	}
	var status *string
	if f.Status != "" {
		status = (*string)(&f.Status)
	}
	var rows []control.Tenant
	err := s.InPlatform(ctx, func(ctx context.Context, tx *store.PlatformTx) (err error) {
		rows, err = tx.TenantList(ctx, control.TenantListParams{After: after, Prefix: f.Prefix, Status: status, PageSize: limit})
		return err
	})
	list := make([]Tenant, len(rows))
	for i, r := range rows {
		list[i] = fromControl(r)
	}
	return list, err
}

// Count counts the tenants of each of the statuses as far as bound: its cost does not grow with the tenants there are.
func Count(ctx context.Context, s *store.Store, statuses []Status, bound int32) (map[Status]int64, error) {
	counts := map[Status]int64{}
	err := s.InPlatform(ctx, func(ctx context.Context, tx *store.PlatformTx) error {
		for _, status := range statuses {
			n, err := tx.TenantStatusCount(ctx, control.TenantStatusCountParams{Status: string(status), Bound: bound})
			if err != nil {
				return fmt.Errorf("count tenants: %w", err)
			}
			counts[status] = n
		}
		return nil
	})
	return counts, err
}

// Event is something that the platform does to a tenant and that the tenant's trail tells.
type Event string

// The events besides those of creating a tenant and of setting its status.
const (
	AuditorCreated Event = "tenant.auditor_created"
	AuditorDropped Event = "tenant.auditor_dropped"
)

// Recorded does something outside the tenant's own tables and records it in the tenant's trail: neither is there without
// the other, unless the process dies between the two.
func Recorded(ctx context.Context, s *store.Store, id uuid.UUID, event Event, operator, what string, do func(context.Context) error) error {
	return s.InPlatform(ctx, func(ctx context.Context, tx *store.PlatformTx) error {
		if err := record(ctx, tx, id, string(event), operator, map[string]string{"role": what}); err != nil {
			return err
		}
		return do(ctx)
	})
}

// record writes what the platform did into the trail of the tenant concerned.
func record(ctx context.Context, tx *store.PlatformTx, id uuid.UUID, event, operator string, detail map[string]string) error {
	return recordAbout(ctx, tx, id, id, event, operator, detail)
}

// recordAbout writes into the trail of one tenant what the platform did to another.
func recordAbout(ctx context.Context, tx *store.PlatformTx, trail, target uuid.UUID, event, operator string, detail map[string]string) error {
	eventID, err := uuid.NewV7()
	if err != nil {
		return err
	}
	body, err := json.Marshal(detail)
	if err != nil {
		return err
	}
	err = tx.AuditAppend(ctx, control.AuditAppendParams{
		TenantID: trail, ID: eventID, Type: event, Status: "success", ActorType: "operator", ActorID: operator,
		TargetType: "tenant", TargetID: target.String(), RequestID: telemetry.RequestID(ctx), Detail: body,
	})
	if err != nil {
		return fmt.Errorf("record %s: %w", event, err)
	}
	return nil
}

// fromControl makes a Tenant of the row as the platform's queries return it.
func fromControl(r control.Tenant) Tenant { return FromRow(dbsqlc.Tenant(r)) }
