package settings

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"parako/internal/dbsqlc"
	"parako/internal/store"
	"parako/internal/tenant"
)

// Layer is what somebody has set, by section: a tenant for itself, or the platform for all. The zero value sets nothing.
type Layer struct {
	// Owner is the tenant; the platform's layer belongs to the built-in one, [tenant.DefaultID].
	Owner    uuid.UUID
	sections map[string]override
}

type override struct {
	version int64
	value   map[string]any
}

// Version is that of a section, 0 when nothing was ever set there. It rises with every change.
func (l Layer) Version(section string) int64 { return l.sections[section].version }

// Override is what is set in a section, as a JSON object, with secrets masked.
func (l Layer) Override(section string) map[string]any {
	return masked(section, l.sections[section].value)
}

// value finds what the layer says about a setting.
func (l Layer) value(f *Field) (any, bool) { return find(l.sections[f.Section].value, f.Path) }

// with is the layer after a section was replaced.
func (l Layer) with(section string, value map[string]any) Layer {
	sections := maps.Clone(l.sections)
	if sections == nil {
		sections = map[string]override{}
	}
	sections[section] = override{version: sections[section].version + 1, value: value}
	return Layer{Owner: l.Owner, sections: sections}
}

// Read reads what tx's tenant has set.
func Read(ctx context.Context, tx *store.Tx) (Layer, error) {
	rows, err := tx.SettingsList(ctx, tx.Tenant())
	if err != nil {
		return Layer{}, fmt.Errorf("load settings: %w", err)
	}
	l := Layer{Owner: tx.Tenant(), sections: make(map[string]override, len(rows))}
	for _, r := range rows {
		value, err := readable(r)
		if err != nil {
			return Layer{}, fmt.Errorf("load settings: section %s: %w", r.Section, err)
		}
		l.sections[r.Section] = override{version: r.Version, value: value}
	}
	return l, nil
}

// readable decodes a section as it is stored, without the members that are null. What a newer release has written besides is
// passed over later; what cannot be read is an error now.
func readable(r dbsqlc.SettingsListRow) (map[string]any, error) {
	var tree any
	if err := decode(r.Value, &tree, false); err != nil {
		return nil, err
	}
	if tree == nil {
		return map[string]any{}, nil
	}
	object, ok := tree.(map[string]any)
	if !ok {
		return nil, errNoObject
	}
	prune(object)
	return object, nil
}

var errNoObject = errors.New("it is no object")

// Platform reads what the platform has set for all tenants. It is kept as what the built-in tenant has set, and so is all
// there is in single-tenant mode.
func Platform(ctx context.Context, s *store.Store) (l Layer, err error) {
	err = s.AskTenant(ctx, tenant.DefaultID, func(ctx context.Context, tx *store.Tx) (err error) {
		l, err = Read(ctx, tx)
		return err
	})
	return l, err
}

// Load reads the effective settings of tx's tenant, in one round trip. For the built-in tenant platform does not count: it is
// what is read.
func Load(ctx context.Context, tx *store.Tx, platform Layer) (Settings, error) {
	own, err := Read(ctx, tx)
	if err != nil {
		return Settings{}, err
	}
	s, _, err := Effective(platform, own)
	return s, err
}

// LongestTTL are the lifetimes that nothing in a tenant may exceed: what the platform has set or the defaults. In the built-in tenant, whose
// settings are the platform's, they are the most that there can be.
func LongestTTL(platform Layer, of uuid.UUID) (TokenTTL, error) {
	s := Default()
	for i := range all {
		f := &all[i]
		if !strings.HasPrefix(f.Path, "oidc.token_ttl.") {
			continue
		}
		if of == tenant.DefaultID {
			if err := f.set(&s, json.Number(strconv.FormatFloat(*f.Maximum, 'f', -1, 64))); err != nil {
				return TokenTTL{}, err
			}
			continue
		}
		r, err := f.resolve(platform, Layer{})
		if err == nil {
			err = f.set(&s, r.value)
		}
		if err != nil {
			return TokenTTL{}, fmt.Errorf("load settings: %s: %w", f.Path, err)
		}
	}
	return s.OIDC.TokenTTL, nil
}

// Clamp is a limit that was applied to what a tenant had set.
type Clamp struct {
	Path string
	// Set is what the tenant had set, Limit what holds instead.
	Set, Limit any
}

// Effective lays a tenant's layer over the platform's and holds it to the limits.
func Effective(platform, own Layer) (Settings, []Clamp, error) {
	if own.Owner == tenant.DefaultID {
		platform, own = own, Layer{}
	}
	s := Default()
	var clamps []Clamp
	for i := range all {
		f := &all[i]
		r, err := f.resolve(platform, own)
		if err != nil {
			return Settings{}, nil, fmt.Errorf("load settings: section %s: %w", f.Section, err)
		}
		if r.layer == FromDefault {
			continue
		}
		if r.clamped {
			clamps = append(clamps, Clamp{Path: f.Path, Set: r.set, Limit: r.value})
		}
		if f.Kind == Secret {
			err = f.seal(&s, r)
		} else {
			err = f.set(&s, r.value)
		}
		if err != nil {
			return Settings{}, nil, fmt.Errorf("load settings: section %s: %s: %w", f.Section, f.Path, err)
		}
	}
	s.settle(platform)
	return s, clamps, nil
}

// seal puts a secret into its place as it is stored.
func (f *Field) seal(s *Settings, r resolved) error {
	text, _ := r.value.(string)
	sealed, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return errors.New("it is not sealed")
	}
	*f.place(s).(*Sealed) = Sealed{sealed: sealed, path: f.Path, owner: r.owner} //nolint:forcetypeassert // The kind says so.
	return nil
}

// From is the layer that a value comes from.
type From string

// The layers, from the weakest to the strongest.
const (
	FromDefault  From = "default"
	FromPlatform From = "platform"
	FromTenant   From = "tenant"
)

// resolved is where the value of a setting comes from and what became of it.
type resolved struct {
	value   any
	layer   From
	owner   uuid.UUID
	clamped bool
	set     any // what the tenant had set, when clamped
}

// resolve decides between the layers. It is the only place that does.
func (f *Field) resolve(platform, own Layer) (resolved, error) {
	r := resolved{value: f.Default, layer: FromDefault}
	for _, from := range []struct {
		layer Layer
		name  From
	}{{platform, FromPlatform}, {own, FromTenant}} {
		if err := wellFormed(from.layer.sections[f.Section].value, f.Path); err != nil {
			return resolved{}, err
		}
		value, said := from.layer.value(f)
		if !said || f.PlatformOnly && from.name == FromTenant || !f.fits(value) {
			continue
		}
		base := r
		r = resolved{value: value, layer: from.name, owner: from.layer.Owner}
		if from.name == FromTenant && f.beyond(value, base) {
			r = resolved{value: base.value, layer: base.layer, owner: base.owner, clamped: true, set: value}
			if r.layer == FromDefault {
				r.layer = FromPlatform // The limit is what wins, and the platform answers for its defaults.
			}
		}
	}
	if r.layer == FromPlatform && f.withheld(own) {
		return resolved{value: f.Default, layer: FromDefault}, nil
	}
	return r, nil
}

// withheld reports whether the tenant has what the setting goes with set itself, so that it must not inherit the platform's: a
// password is for one server, and whoever names another one must not be sent it.
func (f *Field) withheld(own Layer) bool {
	if f.With == "" {
		return false
	}
	_, said := own.value(byPath[f.With])
	return said
}

// demanded reports whether tenants must not turn the switch off.
func (f *Field) demanded(platform Layer) bool {
	base, err := f.resolve(platform, Layer{})
	return err == nil && base.value == true && f.beyond(false, base)
}

// beyond reports whether a tenant's value is past what the layers below allow it.
func (f *Field) beyond(value any, base resolved) bool {
	if f.Limit == Free || f.OnlySet && base.layer == FromDefault {
		return false
	}
	switch f.Kind {
	case Boolean:
		was, now := base.value == true, value == true
		return f.Limit == Floor && was && !now || f.Limit == Ceiling && !was && now
	case Integer, Number:
		was, now := number(base.value), number(value)
		switch f.Limit {
		case Floor:
			return now < was
		case Ceiling:
			return now > was
		case Ceiling0:
			return was != 0 && (now == 0 || now > was)
		case Free:
		}
	case String:
		return slices.Index(f.Enum, text(value)) < slices.Index(f.Enum, text(base.value)) // A floor: the enum runs from weak to strong.
	case Strings, Objects, Secret:
	}
	return false
}

// fits reports whether a stored value can still be used: an earlier release may have allowed more. What does not is passed over
// as if nobody had said it.
func (f *Field) fits(value any) bool {
	switch f.Kind {
	case Integer, Number:
		n, ok := value.(json.Number)
		if !ok {
			return true // of the wrong type, which is an error and not a matter of bounds
		}
		x := number(n)
		return (f.Minimum == nil || x >= *f.Minimum) && (f.Maximum == nil || x <= *f.Maximum)
	case String:
		s, ok := value.(string)
		return !ok || f.Enum == nil || slices.Contains(f.Enum, s)
	case Boolean, Strings, Objects, Secret:
	}
	return true
}

func number(value any) float64 {
	n, _ := value.(json.Number)
	x, _ := n.Float64()
	return x
}

func text(value any) string {
	s, _ := value.(string)
	return s
}

// settle makes what the layers say together consistent: what each of them may say alone can contradict another's. What needs a switch
// that is off is off, unless the platform demands it of every tenant: then the switch is on.
func (s *Settings) settle(platform Layer) {
	for i := range all {
		f := &all[i]
		if f.Needs == "" || f.Value(s) != true || byPath[f.Needs].Value(s) == true {
			continue
		}
		if f.demanded(platform) {
			_ = byPath[f.Needs].set(s, true) // A bool can be set.
		} else {
			_ = f.set(s, false)
		}
	}
	if l := &s.Application.Locales; !slices.Contains(l.Available, l.Default) && len(l.Available) > 0 {
		l.Default = l.Available[0]
	}
	if r := &s.Security.Authentication.Roles; !slices.Contains(r.Available, r.Default) {
		r.Default = "user"
	}
}

// find looks a path up in the tree of its section.
func find(section map[string]any, path string) (any, bool) {
	var node any = section
	for _, name := range names(path) {
		object, ok := node.(map[string]any)
		if !ok {
			return nil, false
		}
		if node, ok = object[name]; !ok {
			return nil, false
		}
	}
	return node, true
}

// wellFormed reports a value in the place of an object on the way to a setting.
func wellFormed(section map[string]any, path string) error {
	var node any = section
	for _, name := range names(path) {
		object, ok := node.(map[string]any)
		if !ok {
			return fmt.Errorf("%s: %w", path, errNoObject)
		}
		if node, ok = object[name]; !ok {
			return nil
		}
	}
	return nil
}

// decode reads exactly one JSON value, whose names must all be known when strict.
func decode(document []byte, target any, strict bool) error {
	d := json.NewDecoder(bytes.NewReader(document))
	d.UseNumber()
	if strict {
		d.DisallowUnknownFields()
	}
	if err := d.Decode(target); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}

// prune leaves out the members of objects that are null.
func prune(node any) {
	object, _ := node.(map[string]any)
	maps.DeleteFunc(object, func(_ string, member any) bool { return member == nil })
	for _, member := range object {
		prune(member)
	}
}
