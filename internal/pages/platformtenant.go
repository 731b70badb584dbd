package pages

import (
	"bytes"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"parako/internal/oidc"
	"parako/internal/platform"
	"parako/internal/problem"
	"parako/internal/tenant"
)

// tenantPages are the other pages about a tenant. The platform's own is changed there as little as elsewhere.
func tenantPages(t tenant.Tenant, mayChange bool) []TenantPage {
	own := t.Slug == tenant.PlatformsSlug
	var list []TenantPage
	for _, name := range []string{"edit", "config", "quota", "domains", "keys", "deletion"} {
		if own && (name == "edit" || name == "quota" || name == "deletion") || name == "edit" && !mayChange {
			continue
		}
		list = append(list, TenantPage{Name: name, URL: tenantURL(t.Slug) + "/" + name})
	}
	return list
}

// platformEdit shows the form with which a tenant is changed.
func (h *Handler) platformEdit(c echo.Context) error {
	v, t, done, err := h.aboutChangeable(c, h.writer)
	if err != nil || done {
		return err
	}
	// Another issuer needs it. Asked before anything is typed, nothing that was typed is lost.
	if done, err = h.fresh(c, v, tenantURL(t.Slug)+"/edit"); err != nil || done {
		return err
	}
	return h.showEdit(c, http.StatusOK, t, EditTenantView{PlatformShell: h.platformShell(c, v), Name: t.DisplayName, Issuer: t.IssuerURL})
}

// aboutChangeable is [Handler.about] for what the platform's own tenant is spared.
func (h *Handler) aboutChangeable(c echo.Context, who visitors) (v visit, t tenant.Tenant, done bool, err error) {
	v, t, done, err = h.about(c, who)
	if err == nil && !done && t.Slug == tenant.PlatformsSlug {
		err = errProtected
	}
	return v, t, done, err
}

func (h *Handler) showEdit(c echo.Context, status int, t tenant.Tenant, view EditTenantView) error {
	view.Action, view.CancelURL, view.Slug, view.Title, view.Revision = tenantURL(t.Slug)+"/edit", tenantURL(t.Slug), t.Slug, t.DisplayName, t.Revision
	computed := t
	computed.IssuerURL = ""
	view.Computed = computed.Issuer(h.platform.Base, oidc.Mount)
	return respond(c, status, func(b *bytes.Buffer, v EditTenantView) error { return h.renderer.EditTenant(b, v) }, view)
}

// platformUpdate takes the form with which a tenant is changed.
func (h *Handler) platformUpdate(c echo.Context) error {
	if err := c.Request().ParseForm(); err != nil {
		return formError(err)
	}
	v, t, done, err := h.aboutChangeable(c, h.writer)
	if err != nil || done {
		return err
	}
	form := c.Request().PostForm
	view := EditTenantView{PlatformShell: h.platformShell(c, v), Name: form.Get("display_name"), Issuer: form.Get("issuer_url")}
	seen, err := strconv.ParseInt(form.Get("revision"), 10, 64)
	if err != nil {
		seen = -1 // It is out of date, whatever it is.
	}
	changes := tenant.Changes{DisplayName: &view.Name, Base: h.platform.Base, Revision: &seen, Operator: v.operator()}
	if view.Issuer != t.IssuerURL {
		if done, err = h.fresh(c, v, tenantURL(t.Slug)+"/edit"); err != nil || done {
			return err
		}
		changes.IssuerURL = &view.Issuer
	}
	_, err = tenant.Update(c.Request().Context(), h.platform.Store, t.Slug, changes)
	switch {
	case errors.Is(err, tenant.ErrRevision):
		if t, err = h.tenantOf(c); err != nil {
			return err
		}
		view.Stale, view.NowName, view.NowIssuer = true, t.DisplayName, t.IssuerURL
		return h.showEdit(c, http.StatusConflict, t, view)
	case errors.Is(err, tenant.ErrDisplayName):
		view.NameError = FormName
	case errors.Is(err, tenant.ErrIssuerFormat):
		view.IssuerError = FormIssuer
	case errors.Is(err, tenant.ErrIssuerTaken):
		view.IssuerError = FormIssuerTaken
	case err != nil:
		return err
	default:
		return redirect(c, tenantURL(t.Slug))
	}
	t.Revision = seen
	return h.showEdit(c, http.StatusUnprocessableEntity, t, view)
}

// quotaField is what a tenant can be bounded in, by the name of the form's field.
type quotaField struct {
	name        string
	least, most uint64
	of          func(*tenant.Quota) **int32
	// used is nil for a rate, which nobody has.
	used func(tenant.Usage) int64
}

var quotas = []quotaField{
	{"users", 0, math.MaxInt32, func(q *tenant.Quota) **int32 { return &q.Users }, func(u tenant.Usage) int64 { return u.Users }},
	{"clients", 0, math.MaxInt32, func(q *tenant.Quota) **int32 { return &q.Clients }, func(u tenant.Usage) int64 { return u.Clients }},
	{"sessions", 0, math.MaxInt32, func(q *tenant.Quota) **int32 { return &q.Sessions }, func(u tenant.Usage) int64 { return u.Sessions }},
	{"requests_per_second", 1, tenant.MaxRequestsPerSecond, func(q *tenant.Quota) **int32 { return &q.RequestsPerSecond }, nil},
	{"mails_per_hour", 0, math.MaxInt32, func(q *tenant.Quota) **int32 { return &q.MailsPerHour }, nil},
}

// platformQuota shows what a tenant may have, and what it has.
func (h *Handler) platformQuota(c echo.Context) error {
	v, t, done, err := h.aboutChangeable(c, h.reader)
	if err != nil || done {
		return err
	}
	return h.showQuota(c, http.StatusOK, v, t, nil)
}

// showQuota shows what is typed instead of what is so, when something is.
func (h *Handler) showQuota(c echo.Context, status int, v visit, t tenant.Tenant, typed map[string]string) error {
	used, err := platform.Usage(c.Request().Context(), h.platform.Store, t.ID)
	if err != nil {
		return err
	}
	view := QuotaView{
		PlatformShell: h.platformShell(c, v), Name: t.DisplayName, Action: tenantURL(t.Slug) + "/quota", BackURL: tenantURL(t.Slug), Revision: t.Revision,
		Stale: status == http.StatusConflict,
	}
	for _, q := range quotas {
		item := QuotaItem{Name: q.name, Rate: q.used == nil, LeastValue: q.least, MostValue: q.most}
		if !item.Rate {
			item.Used = q.used(used)
		}
		if most := *q.of(&t.Quota); most != nil {
			item.Most = strconv.Itoa(int(*most))
		}
		if view.Stale {
			item.Now = item.Most
		}
		if text, sent := typed[q.name]; sent {
			_, ok := q.read(text)
			item.Most, item.Wrong = text, !ok
		}
		view.Wrong = view.Wrong || item.Wrong
		view.Quotas = append(view.Quotas, item)
	}
	return respond(c, status, func(b *bytes.Buffer, v QuotaView) error { return h.renderer.Quota(b, v) }, view)
}

// read reads a bound; empty is none.
func (q quotaField) read(text string) (int32, bool) {
	if text = strings.TrimSpace(text); text == "" {
		return tenant.Unlimited, true
	}
	n, err := strconv.ParseUint(text, 10, 31)
	return int32(min(n, math.MaxInt32)), err == nil && n >= q.least && n <= q.most
}

// platformSetQuota bounds what a tenant may have.
func (h *Handler) platformSetQuota(c echo.Context) error {
	if err := c.Request().ParseForm(); err != nil {
		return formError(err)
	}
	v, t, done, err := h.aboutChangeable(c, h.writer)
	if err != nil || done {
		return err
	}
	typed := posted(c)
	seen, err := strconv.ParseInt(typed["revision"], 10, 64)
	if err != nil {
		seen = -1 // It is out of date, whatever it is.
	}
	var change tenant.Quota
	for _, q := range quotas {
		text, sent := typed[q.name]
		most, ok := q.read(text)
		if !ok {
			t.Revision = seen
			return h.showQuota(c, http.StatusUnprocessableEntity, v, t, typed)
		}
		is := int32(tenant.Unlimited)
		if now := *q.of(&t.Quota); now != nil {
			is = *now
		}
		if sent && most != is {
			*q.of(&change) = &most
		}
	}
	if change == (tenant.Quota{}) {
		return redirect(c, tenantURL(t.Slug)+"/quota")
	}
	_, err = tenant.SetQuota(c.Request().Context(), h.platform.Store, t.Slug, change, &seen, v.operator())
	if errors.Is(err, tenant.ErrRevision) {
		if t, err = h.tenantOf(c); err != nil {
			return err
		}
		return h.showQuota(c, http.StatusConflict, v, t, typed)
	}
	if err != nil {
		return err
	}
	return redirect(c, tenantURL(t.Slug)+"/quota")
}

// posted is the form of a request by the names of its fields, which are not known here. It has been parsed.
func posted(c echo.Context) map[string]string {
	fields := map[string]string{}
	for name, values := range c.Request().PostForm {
		fields[name] = values[0]
	}
	return fields
}

// platformDeletion shows what the removal of a tenant means, or when it comes.
func (h *Handler) platformDeletion(c echo.Context) error {
	v, t, done, err := h.aboutChangeable(c, h.reader)
	if err != nil || done {
		return err
	}
	if v.mayChange() && t.DeleteAfter == nil {
		if done, err = h.fresh(c, v, deletionURL(t.Slug)); err != nil || done {
			return err
		}
	}
	return h.showDeletion(c, http.StatusOK, v, t, DeletionView{Days: strconv.Itoa(int(tenant.DefaultGrace / day))})
}

const day = 24 * time.Hour

func deletionURL(slug string) string { return tenantURL(slug) + "/deletion" }

func (h *Handler) showDeletion(c echo.Context, status int, v visit, t tenant.Tenant, view DeletionView) error {
	view.PlatformShell, view.Slug, view.Name = h.platformShell(c, v), t.Slug, t.DisplayName
	view.Action, view.BackURL = deletionURL(t.Slug), tenantURL(t.Slug)
	if t.DeleteAfter != nil {
		view.Due, view.Restorable = t.DeleteAfter.UTC().Format("2006-01-02 15:04 MST"), !t.Importing
	}
	return respond(c, status, func(b *bytes.Buffer, v DeletionView) error { return h.renderer.Deletion(b, v) }, view)
}

// platformDelete has a tenant removed, or takes that back.
func (h *Handler) platformDelete(c echo.Context) error {
	if err := c.Request().ParseForm(); err != nil {
		return formError(err)
	}
	v, t, done, err := h.aboutChangeable(c, h.writer)
	if err != nil || done {
		return err
	}
	form, ctx := c.Request().PostForm, c.Request().Context()
	if form.Get("do") == "restore" {
		if _, err = tenant.Restore(ctx, h.platform.Store, t.Slug, nil, v.operator()); err == nil {
			return redirect(c, tenantURL(t.Slug))
		}
	} else {
		if done, err = h.fresh(c, v, deletionURL(t.Slug)); err != nil || done {
			return err
		}
		view := DeletionView{Typed: form.Get("confirm"), Days: form.Get("days")}
		days, wrong := strconv.ParseUint(strings.TrimSpace(view.Days), 10, 12)
		view.WrongDays, view.WrongSlug = wrong != nil || days == 0, strings.TrimSpace(view.Typed) != t.Slug
		if view.WrongDays || view.WrongSlug {
			return h.showDeletion(c, http.StatusUnprocessableEntity, v, t, view)
		}
		_, err = tenant.RequestDeletion(ctx, h.platform.Store, t.Slug, tenant.Deletion{Grace: time.Duration(days) * day, Archive: true, Operator: v.operator()})
		if errors.Is(err, tenant.ErrGrace) {
			view.WrongDays = true
			return h.showDeletion(c, http.StatusUnprocessableEntity, v, t, view)
		}
		if err == nil {
			return redirect(c, deletionURL(t.Slug))
		}
	}
	alert, status, err := refusal(err)
	if err != nil {
		return err
	}
	if t, err = h.tenantOf(c); err != nil {
		return err
	}
	return h.showDeletion(c, status, v, t, DeletionView{Days: strconv.Itoa(int(tenant.DefaultGrace / day)), Alert: alert})
}

// refusal is what to tell whoever was refused something, and the status of the answer. Other errors stay.
func refusal(err error) (string, int, error) {
	trouble, ok := errors.AsType[*problem.Error](err)
	if !ok || trouble.Kind != problem.Conflict && trouble.Kind != problem.Invalid && trouble.Kind != problem.NotFound {
		return "", 0, err
	}
	return trouble.Message, trouble.Kind.Status(), nil
}
