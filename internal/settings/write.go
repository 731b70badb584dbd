package settings

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/dbsqlc"
	"parako/internal/problem"
	"parako/internal/secret"
	"parako/internal/store"
	"parako/internal/tenant"
)

// Change is what somebody wants a section to be.
type Change struct {
	Section string
	// Document is a JSON object. A member that is null is not set, and inherits.
	Document json.RawMessage
	// Patch merges Document into what is set (RFC 7396), so that what it does not name stays. Otherwise it replaces the section.
	Patch bool
	// Match is the version that the writer has seen; nil: whatever it is.
	Match *int64
	// By is who wants it, and Reason why.
	By     audit.Party
	Reason string
	Origin audit.Origin
	// Sealer is that of the tenant. Only secrets need it.
	Sealer *secret.Sealer
}

// Written is what became of a change.
type Written struct {
	// Version is the section's, Revision the tenant's.
	Version, Revision int64
}

// Violation is a value that a tenant must not set.
type Violation struct {
	Path string
	// Limit is what the platform demands.
	Limit any
	// Message is a sentence that says so.
	Message string
}

// Refused reports everything that is wrong with a change. It wraps a problem: settings_invalid, or constraint_violation when
// the values are valid and the platform does not allow them.
type Refused struct {
	problem *problem.Error

	// Faults are the values that are not valid, each a path and what is allowed there. When there are any, those beyond a limit are
	// among them.
	Faults []string
	// Violations are the values beyond a limit.
	Violations []Violation
}

// Error implements error.
func (r *Refused) Error() string { return r.problem.Error() }

// Unwrap gives errors.As the problem.
func (r *Refused) Unwrap() error { return r.problem }

// What a change can be refused with besides.
var (
	ErrSection = problem.New(problem.Invalid, "section_not_allowed", "There are no settings in this section.")
	ErrChanged = problem.New(problem.Conflict, "settings_changed", "Somebody else has changed this section meanwhile. Read it again and repeat your change.")
	ErrVersion = problem.New(problem.NotFound, "version_unknown", "There is no such version of this section, or it is too old to be kept.")
	errReason  = problem.New(problem.Invalid, "reason_length", "A reason is at most 500 characters on one line.")
)

const (
	maxReason = 500
	// keepVersions is how many versions of a section are kept.
	keepVersions = 100
)

// Write changes a section of tx's tenant, or of the platform when that is the built-in tenant, keeps the version before, records
// who did, and raises the tenant's revision. platform is the platform's layer, which does not count for the built-in tenant.
// Besides [Refused] it answers [ErrSection], [ErrChanged] and [ErrNoSealer].
func Write(ctx context.Context, tx *store.Tx, platform Layer, c Change) (Written, error) {
	if !slices.Contains(Sections, c.Section) {
		return Written{}, ErrSection
	}
	if !line(c.Reason, maxReason) {
		return Written{}, errReason
	}
	own, err := Read(ctx, tx)
	if err != nil {
		return Written{}, err
	}
	if c.Match != nil && *c.Match != own.Version(c.Section) {
		return Written{}, ErrChanged
	}
	before := own.sections[c.Section].value
	value, err := c.parse(before)
	if err != nil {
		return Written{}, err
	}
	if faults := carried(c.Section, before, value); len(faults) > 0 {
		return Written{}, invalid(faults...)
	}
	return put(ctx, tx, platform, own, c, value)
}

// parse reads the document, refusing names that are not known and types that are wrong, seals its secrets, and merges it if it is
// a patch.
func (c Change) parse(before map[string]any) (map[string]any, error) {
	if err := decode(c.Document, new(Settings).Section(c.Section), true); err != nil {
		return nil, invalid(complaint(c.Section, err))
	}
	var tree any
	if err := decode(c.Document, &tree, false); err != nil {
		return nil, invalid(complaint(c.Section, err))
	}
	value, _ := tree.(map[string]any)
	if value == nil {
		value = map[string]any{}
	}
	if name := misspelt(reflect.TypeOf(new(Settings).Section(c.Section)), value); name != "" {
		return nil, invalid(fmt.Sprintf("%s: unknown field %q", c.Section, name))
	}
	if err := seal(c.Section, value, before, c.Sealer); err != nil {
		return nil, err
	}
	if c.Patch {
		value = patched(clone(before), value)
	}
	prune(value) // What was checked is what is stored: a member may have been there twice.
	return value, nil
}

// misspelt returns a member that is not spelled as t has it. encoding/json takes smtp_Password for smtp_password, and nothing else here
// does: it would neither be sealed, masked nor heeded.
func misspelt(t reflect.Type, node any) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch node := node.(type) {
	case map[string]any:
		if t.Kind() != reflect.Struct {
			return "" // a palette, whose names are checked as such, or JSON of somebody else's
		}
		spelled := map[string]reflect.Type{}
		for sf := range t.Fields() {
			name, _, _ := strings.Cut(sf.Tag.Get("json"), ",")
			spelled[name] = sf.Type
		}
		for _, name := range slices.Sorted(maps.Keys(node)) {
			inner, ok := spelled[name]
			if !ok {
				return name
			}
			if name := misspelt(inner, node[name]); name != "" {
				return name
			}
		}
	case []any:
		if t.Kind() != reflect.Slice {
			return ""
		}
		for _, element := range node {
			if name := misspelt(t.Elem(), element); name != "" {
				return name
			}
		}
	}
	return ""
}

// carried finds secrets that would stay while what they are for changes: whoever may change a server must not be able to have the
// password sent to one of their own.
func carried(section string, before, after map[string]any) (faults []string) {
	for i := range all {
		f := &all[i]
		if f.Section != section || f.Kind != Secret || f.With == "" {
			continue
		}
		was, had := find(before, f.Path)
		is, has := find(after, f.Path)
		old, _ := find(before, f.With)
		current, _ := find(after, f.With)
		if had && has && was == is && !sameJSON(old, current) {
			faults = append(faults, f.Path+" must be given again or removed, because "+f.With+" changes")
		}
	}
	return faults
}

// patched merges a patch into target, which it changes (RFC 7396 section 2).
func patched(target, patch map[string]any) map[string]any {
	for name, member := range patch {
		object, ok := member.(map[string]any)
		if !ok {
			target[name] = member // null is pruned later
			continue
		}
		inner, ok := target[name].(map[string]any)
		if !ok {
			inner = map[string]any{}
		}
		target[name] = patched(inner, object)
	}
	return target
}

// put checks what a section would make of the settings and stores it.
func put(ctx context.Context, tx *store.Tx, platform, own Layer, c Change, value map[string]any) (Written, error) {
	if err := check(platform, own, c, value); err != nil {
		return Written{}, err
	}
	document, err := json.Marshal(value)
	if err != nil {
		return Written{}, fmt.Errorf("put settings: %w", err)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Written{}, fmt.Errorf("put settings: %w", err)
	}
	version, err := tx.SettingsPut(ctx, dbsqlc.SettingsPutParams{
		ID: id, Section: c.Section, Value: document, Version: own.Version(c.Section),
	})
	if errors.Is(err, store.ErrNotFound) {
		return Written{}, ErrChanged // Somebody was faster, and this is the statement that noticed.
	}
	if err != nil {
		return Written{}, fmt.Errorf("put settings: %w", err)
	}
	err = tx.Later().SettingsKeep(ctx, dbsqlc.SettingsKeepParams{
		ID: id, Section: c.Section, Version: version, Value: document, ActorType: c.By.Type, ActorID: c.By.ID, Reason: c.Reason,
	})
	if err != nil {
		return Written{}, fmt.Errorf("put settings: %w", err)
	}
	err = tx.Later().SettingsForget(ctx, dbsqlc.SettingsForgetParams{TenantID: tx.Tenant(), Section: c.Section, Version: version - keepVersions})
	if err != nil {
		return Written{}, fmt.Errorf("put settings: %w", err)
	}
	err = audit.Record(ctx, tx, audit.Event{
		Type: audit.SettingsChanged, Status: audit.Success, Actor: c.By, Target: audit.Thing("settings", c.Section), Origin: c.Origin,
		Detail: map[string]string{"version": fmt.Sprint(version), "reason": c.Reason},
	})
	if err != nil {
		return Written{}, err
	}
	revision, err := tx.TenantTouch(ctx, tx.Tenant())
	return Written{Version: version, Revision: revision}, err
}

// check refuses to replace a section of own by value if that is not valid or is beyond the limits. A patch may leave what was there before
// the platform tightened a limit: it is held to the limit when it is read.
func check(platform, own Layer, c Change, value map[string]any) error {
	section := c.Section
	next := own.with(section, value)
	faults, violations, err := wrongs(platform, next, section)
	if err != nil {
		return err
	}
	if len(faults) > 0 && own.Owner != tenant.DefaultID {
		// What the platform has set since, or may not set any more, is no fault of a tenant that does not say a word about it.
		old, _, err := wrongs(platform, own, section)
		if err != nil {
			return err
		}
		faults = slices.DeleteFunc(faults, func(fault string) bool {
			path, _, _ := strings.Cut(fault, " ")
			_, said := find(value, path)
			return !said && slices.Contains(old, fault)
		})
	}
	if c.Patch {
		violations = slices.DeleteFunc(violations, func(v Violation) bool {
			was, had := find(own.sections[section].value, v.Path)
			is, _ := find(value, v.Path)
			return had && sameJSON(was, is)
		})
	}
	switch {
	case len(faults) > 0:
		// Whoever corrects what is not valid hears at once of what is not allowed.
		for _, v := range violations {
			faults = append(faults, v.Message)
		}
		return invalid(faults...)
	case len(violations) > 0:
		said := make([]string, len(violations))
		for i, v := range violations {
			said[i] = v.Message
		}
		return &Refused{
			problem:    problem.New(problem.Invalid, "constraint_violation", "The platform does not allow this: "+strings.Join(said, "; ")+"."),
			Violations: violations,
		}
	}
	return nil
}

// Verify refuses what tx's tenant has set if no [Write] would have stored it, whatever the platform's limits: those hold when it is read.
func Verify(ctx context.Context, tx *store.Tx) error {
	own, err := Read(ctx, tx)
	if err != nil {
		return err
	}
	var all []string
	for _, section := range Sections {
		faults, _, err := wrongs(Layer{}, own, section)
		if err != nil {
			return err
		}
		all = append(all, faults...)
	}
	if len(all) > 0 {
		return invalid(all...)
	}
	return nil
}

// wrongs finds what is not valid in a section, and what is beyond the limits.
func wrongs(platform, own Layer, section string) (faults []string, violations []Violation, err error) {
	shared := own.Owner == tenant.DefaultID
	if shared {
		platform, own = own, Layer{}
	}
	asked := Default() // what the settings would be if there were no limits
	for i := range all {
		f := &all[i]
		base, err := f.resolve(platform, Layer{})
		if err != nil {
			return nil, nil, fmt.Errorf("put settings: %w", err)
		}
		r := base
		if value, said := own.value(f); said && !f.PlatformOnly {
			r = resolved{value: value, layer: FromTenant, owner: own.Owner}
			if f.Section == section && f.beyond(value, base) {
				violations = append(violations, f.violation(base.value))
			}
		} else if said && f.Section == section {
			violations = append(violations, Violation{Path: f.Path, Limit: f.shown(base.value), Message: f.Path + " can only be set for the whole platform"})
		}
		if shared {
			// Nothing is passed over for being out of bounds, which is what is looked for.
			if value, said := platform.value(f); said {
				r = resolved{value: value, layer: FromPlatform, owner: platform.Owner}
			}
		}
		if r.layer == FromDefault || f.Kind == Secret {
			continue
		}
		if err := f.set(&asked, r.value); err != nil {
			return nil, nil, invalid(f.Path + " has the wrong type")
		}
	}
	unknownColors(&asked, platform, own)
	faults = slices.DeleteFunc(asked.Validate(), func(fault string) bool { return !strings.HasPrefix(fault, section+".") })
	return faults, violations, nil
}

// unknownColors puts the colours that no field stands for into s, so that they are found out.
func unknownColors(s *Settings, layers ...Layer) {
	for _, l := range layers {
		for mode, colors := range map[string]map[string]string{"light": s.Branding.Colors.Light, "dark": s.Branding.Colors.Dark} {
			set, _ := find(l.sections["branding"].value, "branding.colors."+mode)
			object, _ := set.(map[string]any)
			for name, value := range object {
				if !slices.Contains(colorNames, name) {
					colors[name] = text(value)
				}
			}
		}
	}
}

func (f *Field) violation(limit any) Violation {
	var want string
	switch {
	case f.Kind == Boolean:
		want = fmt.Sprintf("must stay %v", limit)
	case f.Kind == String:
		want = fmt.Sprintf("must be at least %v", limit)
	case f.Limit == Floor:
		want = fmt.Sprintf("must not be below %v", limit)
	case f.Limit == Ceiling0:
		want = fmt.Sprintf("must be between 1 and %v", limit)
	default:
		want = fmt.Sprintf("must not be above %v", limit)
	}
	return Violation{Path: f.Path, Limit: limit, Message: f.Path + " " + want}
}

// shown is a value as it may be told.
func (f *Field) shown(value any) any {
	if f.Kind == Secret && text(value) != "" {
		return Masked
	}
	return value
}

// Section returns a pointer to the part of s with that name; nil when there is none.
func (s *Settings) Section(name string) any {
	switch name {
	case "application":
		return &s.Application
	case "branding":
		return &s.Branding
	case "security":
		return &s.Security
	case "features":
		return &s.Features
	case "oidc":
		return &s.OIDC
	case "integrations":
		return &s.Integrations
	case "notifications":
		return &s.Notifications
	}
	return nil
}

func invalid(faults ...string) error {
	return &Refused{
		problem: problem.New(problem.Invalid, "settings_invalid", "The settings are not valid: "+strings.Join(faults, "; ")+"."),
		Faults:  faults,
	}
}

// complaint says what is wrong with a document to whoever wrote it.
func complaint(section string, err error) string {
	t, ok := errors.AsType[*json.UnmarshalTypeError](err)
	switch {
	case !ok:
		return section + ": " + strings.TrimPrefix(err.Error(), "json: ")
	case t.Field == "":
		return section + " must be an object"
	}
	return section + "." + t.Field + " has the wrong type"
}
