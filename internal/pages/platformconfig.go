package pages

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"parako/internal/audit"
	"parako/internal/directory"
	"parako/internal/i18n"
	"parako/internal/oidc"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/tenant"
)

func configURL(slug string) string { return tenantURL(slug) + "/config" }

func sectionURL(slug, section string) string { return configURL(slug) + "/" + section }

// foreign reports whether the page speaks another language than the declarations of the settings.
func foreign(s PlatformShell) bool { return s.Locale != i18n.Fallback }

// layers are what the platform has set and what the tenant has.
func (h *Handler) layers(ctx context.Context, t tenant.Tenant) (platform, own settings.Layer, err error) {
	if platform, err = settings.Platform(ctx, h.platform.Store); err != nil {
		return platform, own, err
	}
	err = h.platform.Store.ViewTenant(ctx, t.ID, func(ctx context.Context, tx *store.Tx) error {
		own, err = settings.Read(ctx, tx)
		return err
	})
	return platform, own, err
}

// platformConfig lists the sections of a tenant's settings.
func (h *Handler) platformConfig(c echo.Context) error {
	v, t, done, err := h.about(c, h.reader)
	if err != nil || done {
		return err
	}
	_, own, err := h.layers(c.Request().Context(), t)
	if err != nil {
		return err
	}
	all := map[string]int{}
	for _, f := range settings.Fields() {
		all[f.Section]++
	}
	view := ConfigView{PlatformShell: h.platformShell(c, v), Slug: t.Slug, Name: t.DisplayName, BackURL: tenantURL(t.Slug)}
	view.Foreign = foreign(view.PlatformShell)
	for _, section := range settings.Sections {
		view.Sections = append(view.Sections, SectionItem{
			Title: title(section), URL: sectionURL(t.Slug, section), Set: own.Set(section), All: all[section],
		})
	}
	return respond(c, http.StatusOK, func(b *bytes.Buffer, v ConfigView) error { return h.renderer.Config(b, v) }, view)
}

// aboutSection is [Handler.about] for a page about a section of the tenant's settings.
func (h *Handler) aboutSection(c echo.Context, who visitors) (v visit, t tenant.Tenant, section string, done bool, err error) {
	v, t, done, err = h.about(c, who)
	if section = c.Param("section"); err == nil && !done && !slices.Contains(settings.Sections, section) {
		err = errNotFound
	}
	return v, t, section, done, err
}

// platformSection shows the settings of a section.
func (h *Handler) platformSection(c echo.Context) error {
	v, t, section, done, err := h.aboutSection(c, h.reader)
	if err != nil || done {
		return err
	}
	platform, own, err := h.layers(c.Request().Context(), t)
	if err != nil {
		return err
	}
	form, err := newSectionForm(platform, own, section)
	if err != nil {
		return err
	}
	return h.showSection(c, http.StatusOK, v, t, form)
}

func (h *Handler) showSection(c echo.Context, status int, v visit, t tenant.Tenant, form *sectionForm) error {
	view := SectionView{
		PlatformShell: h.platformShell(c, v), Slug: t.Slug, Name: t.DisplayName, Section: form.section, Title: title(form.section),
		Action: sectionURL(t.Slug, form.section), BackURL: configURL(t.Slug), HistoryURL: sectionURL(t.Slug, form.section) + "/history",
		Version: form.version, Reason: form.reason, Saved: status == http.StatusOK && c.QueryParam("saved") != "", Stale: form.stale, Wrong: !form.stale && form.wrong(),
		TooLong: !reasonFits(form.reason), Faults: form.faults,
	}
	view.Foreign = foreign(view.PlatformShell)
	view.Groups = form.groups(view.MayChange, view.Foreign)
	return respondPacked(c, status, func(b *bytes.Buffer, v SectionView) error { return h.renderer.Section(b, v) }, view)
}

// errKept ends a transaction in which nothing is to change, because the form comes back.
var errKept = errors.New("the form comes back")

// platformSaveSection takes the form. What it does not change is not written, and a form that is out of date or wrong changes nothing.
func (h *Handler) platformSaveSection(c echo.Context) error {
	if err := c.Request().ParseForm(); err != nil {
		return formError(err)
	}
	v, t, section, done, err := h.aboutSection(c, h.writer)
	if err != nil || done {
		return err
	}
	seen, err := strconv.ParseInt(c.Request().PostForm.Get("version"), 10, 64)
	if err != nil {
		seen = -1 // It is out of date, whatever it is.
	}
	ctx := c.Request().Context()
	platform, err := settings.Platform(ctx, h.platform.Store)
	if err != nil {
		return err
	}
	change := settings.Change{
		Section: section, Patch: true, Match: &seen, By: audit.Operator(v.operator()), Reason: strings.TrimSpace(c.Request().PostForm.Get("reason")), Origin: oidc.Origin(c),
	}
	var form *sectionForm
	save := func(ctx context.Context, tx *store.Tx) error {
		form, err = h.saveSection(ctx, tx, platform, change, posted(c))
		return err
	}
	err = h.platform.Store.InTenant(ctx, t.ID, save)
	if errors.Is(err, settings.ErrChanged) { // Somebody was faster in this very moment: the second time it is known.
		err = h.platform.Store.InTenant(ctx, t.ID, save)
	}
	switch {
	case errors.Is(err, errKept) && form.stale:
		return h.showSection(c, http.StatusConflict, v, t, form)
	case errors.Is(err, errKept):
		return h.showSection(c, http.StatusUnprocessableEntity, v, t, form)
	case err != nil:
		return err
	}
	return redirect(c, sectionURL(t.Slug, section)+"?saved=1")
}

// saveSection writes what was typed. errKept: the form has what is wrong.
func (h *Handler) saveSection(ctx context.Context, tx *store.Tx, platform settings.Layer, change settings.Change, typed map[string]string) (*sectionForm, error) {
	own, err := settings.Read(ctx, tx)
	if err != nil {
		return nil, err
	}
	form, err := newSectionForm(platform, own, change.Section)
	if err != nil {
		return nil, err
	}
	form.read(typed)
	form.reason = change.Reason
	if form.version != *change.Match {
		changes, err := changesSince(ctx, tx, change.Section, *change.Match, form.version)
		if err != nil {
			return nil, err
		}
		form.rebase(changes)
		form.forget()
		return form, errKept
	}
	patch, seals := form.document()
	if !reasonFits(change.Reason) {
		change.Reason = "" // The rest may be wrong besides.
	}
	if len(patch) > 0 {
		if seals {
			if change.Sealer, err = h.platform.Vault.Sealer(ctx, tx); err != nil {
				return nil, err
			}
		}
		if change.Document, err = json.Marshal(patch); err != nil {
			return nil, err
		}
		_, err = settings.Write(ctx, tx, platform, change)
		refused, ok := errors.AsType[*settings.Refused](err)
		if err != nil && !ok {
			return nil, err
		}
		if ok {
			form.refuse(refused)
		}
	}
	if form.wrong() {
		form.forget()
		return form, errKept
	}
	return form, nil
}

// changesSince are the settings that changed between two versions of a section. When the earlier one is not known any more, nobody can
// tell, and there are none.
func changesSince(ctx context.Context, tx *store.Tx, section string, from, to int64) ([]settings.Difference, error) {
	var versions [2]settings.Version
	for i, number := range []int64{from, to} {
		version, err := settings.At(ctx, tx, section, number)
		if errors.Is(err, settings.ErrVersion) && number != 0 {
			return nil, nil
		}
		if err != nil && !errors.Is(err, settings.ErrVersion) {
			return nil, err
		}
		versions[i] = version
	}
	return settings.Diff(section, versions[0], versions[1]), nil
}

const (
	versionsPage = 10
	// What a version has changed is listed up to so many settings, and each value up to so many characters.
	shownChanges = 20
	shownValue   = 120
)

// platformHistory lists the versions of a section.
func (h *Handler) platformHistory(c echo.Context) error {
	v, t, section, done, err := h.aboutSection(c, h.reader)
	if err != nil || done {
		return err
	}
	return h.showHistory(c, http.StatusOK, v, t, HistoryView{}, section)
}

// showHistory fills a view with the versions of a section.
func (h *Handler) showHistory(c echo.Context, status int, v visit, t tenant.Tenant, view HistoryView, section string) error {
	before, err := strconv.ParseInt(c.QueryParam("before"), 10, 64)
	if err != nil || before < 1 {
		before = 0
	}
	address := sectionURL(t.Slug, section)
	view.PlatformShell, view.Slug, view.Name, view.Title = h.platformShell(c, v), t.Slug, t.DisplayName, title(section)
	view.Action, view.BackURL = address+"/history", address
	var list []settings.Version
	err = h.platform.Store.ViewTenant(c.Request().Context(), t.ID, func(ctx context.Context, tx *store.Tx) error {
		own, err := settings.Read(ctx, tx)
		if err != nil {
			return err
		}
		view.Version = own.Version(section)
		list, err = settings.History(ctx, tx, section, before, versionsPage+1)
		return err
	})
	if err != nil {
		return err
	}
	names, err := h.authors(c.Request().Context(), v, list)
	if err != nil {
		return err
	}
	for i, version := range list[:min(len(list), versionsPage)] {
		item := VersionItem{
			Number: version.Version, At: version.At.UTC().Format("2006-01-02 15:04 MST"), By: names[version.By], Reason: version.Reason, Current: version.Version == view.Version,
		}
		var earlier settings.Version
		if i+1 < len(list) {
			earlier = list[i+1]
		}
		if earlier.Version == version.Version-1 {
			item.list(settings.Diff(section, earlier, version))
		}
		view.Versions = append(view.Versions, item)
	}
	if len(list) > versionsPage {
		view.NextURL = view.Action + "?before=" + strconv.FormatInt(list[versionsPage-1].Version, 10)
	}
	return respondPacked(c, status, func(b *bytes.Buffer, v HistoryView) error { return h.renderer.History(b, v) }, view)
}

// list notes what the version has changed.
func (i *VersionItem) list(changes []settings.Difference) {
	if i.More = len(changes) > shownChanges; i.More {
		changes = changes[:shownChanges]
	}
	for _, d := range changes {
		f, _ := settings.Lookup(d.Path)
		i.Changes = append(i.Changes, ChangeItem{Path: d.Path, Before: brief(f, d.Before), After: brief(f, d.After)})
	}
}

// brief is a value on one line, nothing as "".
func brief(f settings.Field, value any) string {
	if value == nil {
		return ""
	}
	text := []rune(strings.Join(strings.Fields(display(f, value)), " "))
	switch {
	case len(text) == 0:
		return `""`
	case len(text) > shownValue:
		return string(text[:shownValue]) + "…"
	}
	return string(text)
}

// authors are the names of those who made the versions: people of the platform's own tenant by their accounts, others as they are kept.
func (h *Handler) authors(ctx context.Context, v visit, list []settings.Version) (map[audit.Party]string, error) {
	names := map[audit.Party]string{}
	for _, version := range list {
		names[version.By] = version.By.String()
	}
	err := h.platform.Store.ViewTenant(ctx, v.p.Tenant.ID, func(ctx context.Context, tx *store.Tx) error {
		for by := range names {
			id, err := uuid.Parse(strings.TrimPrefix(by.ID, operatorPrefix))
			if err != nil || !strings.HasPrefix(by.ID, operatorPrefix) {
				continue
			}
			u, err := directory.ByID(ctx, tx, id)
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			names[by] = directory.Label(u)
		}
		return nil
	})
	return names, err
}

// platformRollback sets a section to what it was.
func (h *Handler) platformRollback(c echo.Context) error {
	if err := c.Request().ParseForm(); err != nil {
		return formError(err)
	}
	v, t, section, done, err := h.aboutSection(c, h.writer)
	if err != nil || done {
		return err
	}
	form := c.Request().PostForm
	version, err := strconv.ParseInt(form.Get("version"), 10, 64)
	seen, invalid := strconv.ParseInt(form.Get("seen"), 10, 64)
	if err != nil || invalid != nil {
		return settings.ErrVersion
	}
	ctx := c.Request().Context()
	platform, err := settings.Platform(ctx, h.platform.Store)
	if err != nil {
		return err
	}
	change := settings.Change{Section: section, Match: &seen, By: audit.Operator(v.operator()), Origin: oidc.Origin(c)}
	err = h.platform.Store.InTenant(ctx, t.ID, func(ctx context.Context, tx *store.Tx) error {
		_, err := settings.Rollback(ctx, tx, platform, version, change)
		return err
	})
	refused, ok := errors.AsType[*settings.Refused](err)
	switch {
	case ok:
		view := HistoryView{Faults: slices.Clone(refused.Faults)}
		for _, violation := range refused.Violations {
			view.Faults = append(view.Faults, violation.Message)
		}
		return h.showHistory(c, http.StatusUnprocessableEntity, v, t, view, section)
	case errors.Is(err, settings.ErrChanged):
		return h.showHistory(c, http.StatusConflict, v, t, HistoryView{Stale: true}, section)
	case err != nil:
		return err
	}
	return redirect(c, sectionURL(t.Slug, section)+"?saved=1")
}
