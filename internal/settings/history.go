package settings

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/dbsqlc"
	"parako/internal/problem"
	"parako/internal/secret"
	"parako/internal/store"
	"parako/internal/tenant"
)

// Version is a section as it was set once.
type Version struct {
	Version int64          `json:"version"`
	By      audit.Party    `json:"-"`
	Actor   string         `json:"by"` // type and id
	Reason  string         `json:"reason,omitempty"`
	At      time.Time      `json:"at"`
	Value   map[string]any `json:"value"` // secrets are masked

	stored map[string]any
}

func versionOf(section string, row dbsqlc.SettingsVersionRow) (Version, error) {
	value, err := readable(dbsqlc.SettingsListRow{Section: section, Value: row.Value})
	if err != nil {
		return Version{}, fmt.Errorf("load version %d of section %s: %w", row.Version, section, err)
	}
	by := audit.Party{Type: row.ActorType, ID: row.ActorID}
	return Version{
		Version: row.Version, By: by, Actor: by.String(), Reason: row.Reason, At: row.CreatedAt, Value: masked(section, value), stored: value,
	}, nil
}

// History pages through the versions of a section of tx's tenant, the newest first: at most limit before the one given, or from
// the newest when that is 0. The newest hundred are kept.
func History(ctx context.Context, tx *store.Tx, section string, before int64, limit int32) ([]Version, error) {
	if !slices.Contains(Sections, section) {
		return nil, ErrSection
	}
	if before == 0 {
		before = math.MaxInt64
	}
	rows, err := tx.SettingsHistory(ctx, dbsqlc.SettingsHistoryParams{TenantID: tx.Tenant(), Section: section, Before: before, PageSize: limit})
	if err != nil {
		return nil, fmt.Errorf("load history: %w", err)
	}
	list := make([]Version, len(rows))
	for i, r := range rows {
		if list[i], err = versionOf(section, dbsqlc.SettingsVersionRow(r)); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// At reads one version of a section. ErrVersion: it is not there.
func At(ctx context.Context, tx *store.Tx, section string, version int64) (Version, error) {
	if !slices.Contains(Sections, section) {
		return Version{}, ErrSection
	}
	row, err := tx.SettingsVersion(ctx, dbsqlc.SettingsVersionParams{TenantID: tx.Tenant(), Section: section, Version: version})
	if errors.Is(err, store.ErrNotFound) {
		return Version{}, ErrVersion
	}
	if err != nil {
		return Version{}, fmt.Errorf("load version: %w", err)
	}
	return versionOf(section, row)
}

// Difference is a setting that two versions say different things about. A side that says nothing is nil.
type Difference struct {
	Path   string `json:"path"`
	Before any    `json:"before"`
	After  any    `json:"after"`
}

// Diff lists the settings that changed between two versions of a section, in the order of the declaration. Of a secret it tells
// only that it changed.
func Diff(section string, before, after Version) []Difference {
	var list []Difference
	for i := range all {
		f := &all[i]
		if f.Section != section {
			continue
		}
		old, was := find(before.stored, f.Path)
		now, is := find(after.stored, f.Path)
		if was == is && sameJSON(old, now) {
			continue
		}
		list = append(list, Difference{Path: f.Path, Before: f.shown(old), After: f.shown(now)})
	}
	return list
}

func sameJSON(a, b any) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return bytes.Equal(x, y)
}

// Rollback sets a section to what it was at a version, as a new version. It is refused like any other change when the platform
// does not allow it any more; Document and Patch of c do not count.
func Rollback(ctx context.Context, tx *store.Tx, platform Layer, version int64, c Change) (Written, error) {
	if !line(c.Reason, maxReason) {
		return Written{}, errReason
	}
	old, err := At(ctx, tx, c.Section, version)
	if err != nil {
		return Written{}, err
	}
	own, err := Read(ctx, tx)
	if err != nil {
		return Written{}, err
	}
	if c.Match != nil && *c.Match != own.Version(c.Section) {
		return Written{}, ErrChanged
	}
	if c.Reason == "" {
		c.Reason = fmt.Sprintf("rollback to version %d", version)
	}
	return put(ctx, tx, platform, own, c, old.stored)
}

// Document is everything a layer sets, for keeping elsewhere and for [Import].
type Document struct {
	Format   string                    `json:"format"`
	Sections map[string]map[string]any `json:"sections"`
}

// documentFormat names what [Export] makes.
const documentFormat = "parako-settings-1"

// Export is everything the layer sets. Secrets are masked.
func (l Layer) Export() Document {
	d := Document{Format: documentFormat, Sections: map[string]map[string]any{}}
	for _, section := range Sections {
		if value := l.Override(section); len(value) > 0 {
			d.Sections[section] = value
		}
	}
	return d
}

// Import replaces every section of tx's tenant by what the document says, all or nothing. Masked secrets stay as they are where
// there are any; a section that is not in the document is emptied.
func Import(ctx context.Context, tx *store.Tx, platform Layer, d Document, by audit.Party, reason string, sealer *secret.Sealer) (Written, error) {
	if d.Format != documentFormat {
		return Written{}, problem.New(problem.Invalid, "document_format", "This is no export of settings: its format is not "+documentFormat+".")
	}
	for section := range d.Sections {
		if !slices.Contains(Sections, section) {
			return Written{}, ErrSection
		}
	}
	own, err := Read(ctx, tx)
	if err != nil {
		return Written{}, err
	}
	var changes []Change
	for _, section := range Sections {
		value := d.Sections[section]
		before := own.sections[section].value
		if value == nil && len(before) == 0 {
			continue
		}
		document, err := json.Marshal(value)
		if err != nil {
			return Written{}, fmt.Errorf("import settings: %w", err)
		}
		c := Change{Section: section, Document: document, By: by, Reason: reason, Sealer: sealer}
		if _, err := c.parse(before); err != nil {
			return Written{}, err // Before anything is written: without a sealer the caller comes again with one.
		}
		changes = append(changes, c)
	}
	var last Written
	for _, c := range changes {
		if last, err = Write(ctx, tx, platform, c); err != nil {
			return Written{}, err
		}
	}
	return last, nil
}

// Explanation says where the value of a setting comes from. Secrets are masked.
type Explanation struct {
	Key   string `json:"key"`
	Value any    `json:"value"`
	// Layer is what the value comes from.
	Layer From `json:"layer"`
	// Default, Platform and Tenant are what each layer says; nil: nothing.
	Default  any `json:"default"`
	Platform any `json:"platform"`
	Tenant   any `json:"tenant"`
	// Clamped: the tenant has set something that the platform does not allow, and Limit holds instead.
	Clamped bool `json:"clamped"`
	// Adjusted says why the value is not what the layer set, when another setting contradicts it.
	Adjusted string `json:"adjusted,omitempty"`
	// Limit is the rule that the setting has, Bound what it means here; nil: the tenant is free.
	Limit Limit `json:"limit,omitempty"`
	Bound any   `json:"bound"`
	// PlatformOnly: tenants cannot set it.
	PlatformOnly bool `json:"platform_only,omitempty"`
	// Set tells who gave the winning layer this value, nil for a default, and for what was set before the history begins.
	Set *SetBy `json:"set,omitempty"`
	Doc string `json:"description"`
}

// SetBy is who set a value, when, why, and with which version of the section.
type SetBy struct {
	By      string    `json:"by"`
	At      time.Time `json:"at"`
	Reason  string    `json:"reason,omitempty"`
	Version int64     `json:"version"`
}

// ErrKey reports a setting that is not there.
var ErrKey = problem.New(problem.NotFound, "setting_unknown", "There is no such setting.")

// Explain says where the value of a setting of a tenant comes from, except for who set it, which [Setter] tells.
func Explain(platform, own Layer, path string) (Explanation, error) {
	f, ok := byPath[path]
	if !ok {
		return Explanation{}, ErrKey
	}
	if own.Owner == tenant.DefaultID {
		platform, own = own, Layer{}
	}
	s, _, err := Effective(platform, own)
	if err != nil {
		return Explanation{}, err
	}
	e, _, err := f.explain(&s, platform, own)
	return e, err
}

// explain is [Explain] when the effective settings are known. It returns besides what would hold without the tenant's own layer.
func (f *Field) explain(s *Settings, platform, own Layer) (Explanation, resolved, error) {
	r, err := f.resolve(platform, own)
	if err != nil {
		return Explanation{}, resolved{}, err
	}
	base, err := f.resolve(platform, Layer{})
	if err != nil {
		return Explanation{}, resolved{}, err
	}
	if f.withheld(own) {
		base = resolved{value: f.Default, layer: FromDefault}
	}
	e := Explanation{
		Key: f.Path, Value: f.Value(s), Layer: r.layer, Default: f.shown(f.Default), Clamped: r.clamped, Limit: f.Limit,
		PlatformOnly: f.PlatformOnly, Doc: f.Doc,
	}
	if value := f.shown(r.value); f.Kind != Secret && !sameJSON(value, e.Value) {
		e.Adjusted = "it is not one of those available"
		if f.Kind == Boolean {
			e.Adjusted = f.Needs + " is off"
		}
		for i := range all {
			if by := &all[i]; by.Needs == f.Path && by.demanded(platform) {
				e.Adjusted = "the platform demands " + by.Path
			}
		}
	}
	if value, said := platform.value(f); said {
		e.Platform = f.shown(value)
		if r.layer == FromDefault && f.withheld(own) {
			e.Adjusted = "the platform's goes with its own " + f.With
		}
	}
	if value, said := own.value(f); said {
		e.Tenant = f.shown(value)
	}
	if f.Limit != Free && (!f.OnlySet || base.layer == FromPlatform) {
		e.Bound = base.value
	}
	return e, base, nil
}

// Setter finds who gave a setting the value that tx's tenant has set. It reads the history backwards until the value was another.
func Setter(ctx context.Context, tx *store.Tx, path string) (*SetBy, error) {
	f, ok := byPath[path]
	if !ok {
		return nil, ErrKey
	}
	list, err := History(ctx, tx, f.Section, 0, keepVersions)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	value, said := find(list[0].stored, path)
	var by *SetBy
	for _, v := range list {
		now, is := find(v.stored, path)
		if is != said || !sameJSON(now, value) {
			return by, nil
		}
		by = &SetBy{By: v.Actor, At: v.At, Reason: v.Reason, Version: v.Version}
	}
	if by != nil && by.Version > 1 {
		return nil, nil //nolint:nilnil // The version that set it is not kept any more: nobody can tell.
	}
	return by, nil
}

// ExplainFor is [Explain] for a tenant as the database has it, with who set the value.
func ExplainFor(ctx context.Context, s *store.Store, id uuid.UUID, path string) (Explanation, error) {
	var platform, own Layer
	setters := map[From]*SetBy{}
	for _, from := range []struct {
		name  From
		layer *Layer
		owner uuid.UUID
	}{{FromPlatform, &platform, tenant.DefaultID}, {FromTenant, &own, id}} {
		err := s.ViewTenant(ctx, from.owner, func(ctx context.Context, tx *store.Tx) (err error) {
			if *from.layer, err = Read(ctx, tx); err != nil {
				return err
			}
			setters[from.name], err = Setter(ctx, tx, path)
			return err
		})
		if err != nil {
			return Explanation{}, err
		}
	}
	e, err := Explain(platform, own, path)
	e.Set = setters[e.Layer]
	return e, err
}
