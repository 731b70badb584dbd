package pages

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"parako/internal/dbsqlc"
	"parako/internal/directory"
	"parako/internal/factor"
	"parako/internal/oidc"
	"parako/internal/platform"
	"parako/internal/problem"
	"parako/internal/session"
	"parako/internal/store"
	"parako/internal/tenant"
)

// Platform is what the platform's own pages work with, besides what all pages do. They are served by its own tenant alone.
type Platform struct {
	Store     *store.Store
	Vault     tenant.Vault
	Passwords factor.Passwords
	Domains   *tenant.Registrar
	Base      *url.URL // DEPLOYMENT_URL
	Now       func() time.Time
}

const (
	platformPath   = "/platform"
	tenantsPath    = platformPath + "/tenants"
	newTenantPath  = tenantsPath + "/new"
	setupPath      = platformPath + "/setup"
	platformPage   = 25
	countedTenants = 1000
	// freshFor is how long after a login somebody may stop a tenant without proving once more who they are.
	freshFor = 15 * time.Minute
)

func (h *Handler) mountPlatform(e *echo.Echo) {
	own := h.ownForms
	e.GET(platformPath, h.platformHome)
	e.GET(tenantsPath, h.platformTenants)
	e.GET(newTenantPath, h.platformNew)
	e.POST(newTenantPath, h.platformCreate, own)
	e.GET(tenantsPath+"/:slug", h.platformTenant)
	e.GET(tenantsPath+"/:slug/status", h.platformStatus)
	e.POST(tenantsPath+"/:slug/status", h.platformSetStatus, own)
	e.GET(tenantsPath+"/:slug/edit", h.platformEdit)
	e.POST(tenantsPath+"/:slug/edit", h.platformUpdate, own)
	e.GET(tenantsPath+"/:slug/config", h.platformConfig)
	e.GET(tenantsPath+"/:slug/config/:section", h.platformSection)
	e.POST(tenantsPath+"/:slug/config/:section", h.platformSaveSection, own)
	e.GET(tenantsPath+"/:slug/config/:section/history", h.platformHistory)
	e.POST(tenantsPath+"/:slug/config/:section/history", h.platformRollback, own)
	e.GET(tenantsPath+"/:slug/quota", h.platformQuota)
	e.POST(tenantsPath+"/:slug/quota", h.platformSetQuota, own)
	e.GET(tenantsPath+"/:slug/domains", h.platformDomains)
	e.POST(tenantsPath+"/:slug/domains", h.platformDomain, own)
	e.GET(tenantsPath+"/:slug/domains/primary", h.platformAskPrimary)
	e.POST(tenantsPath+"/:slug/domains/primary", h.platformSetPrimary, own)
	e.GET(tenantsPath+"/:slug/domains/release", h.platformAskRelease)
	e.POST(tenantsPath+"/:slug/domains/release", h.platformRelease, own)
	e.GET(tenantsPath+"/:slug/keys", h.platformKeys)
	e.POST(tenantsPath+"/:slug/keys", h.platformRotate, own)
	e.GET(tenantsPath+"/:slug/keys/revoke", h.platformAskRevoke)
	e.POST(tenantsPath+"/:slug/keys/revoke", h.platformRevoke, own)
	e.GET(tenantsPath+"/:slug/deletion", h.platformDeletion)
	e.POST(tenantsPath+"/:slug/deletion", h.platformDelete, own)
	e.GET(setupPath, h.platformSetup)
	e.POST(setupPath, h.platformReplace, own)
}

var (
	errPlatformRole = problem.New(problem.Forbidden, "platform_role_required", "Platform role required.")
	errReadOnly     = problem.New(problem.Forbidden, "platform_read_only", "Write access requires platform_admin.")
)

// visit is a request to the platform's pages by somebody who may make it.
type visit struct {
	p    *oidc.Provider
	s    session.Session
	role platform.Role
}

// visitor finds out who visits one of the platform's pages: what they may do is read with their session, so that a change of roles
// counts from the next request on. Nobody leads to the sign-in and back to this page, or to the one with the form that was posted.
// done: the answer is written.
func (h *Handler) visitor(c echo.Context) (v visit, done bool, err error) {
	if tenant.From(c.Request().Context()).Slug != tenant.PlatformsSlug {
		return visit{}, false, errNotFound
	}
	p, err := h.protocol.Provider(c)
	if err != nil {
		return visit{}, false, err
	}
	token, bound := h.cookies.Token(c.Request(), p.Tenant.Slug)
	if !bound {
		h.cookies.ClearToken(c.Response())
	}
	s, err := p.Session(c.Request().Context(), token)
	if err != nil {
		return visit{}, false, err
	}
	if s == nil {
		target := c.Request().URL.EscapedPath()
		if c.Request().Method == http.MethodGet {
			target = c.Request().URL.RequestURI()
		}
		return visit{}, true, h.signInFor(c, p, target, "")
	}
	return visit{p: p, s: *s, role: platform.RoleOf(s.User)}, false, nil
}

// maxTarget bounds the address that a sign-in leads back to.
const maxTarget = 2048

// signInFor has the person sign in, whoever they are, on the way to one of our own pages.
func (h *Handler) signInFor(c echo.Context, p *oidc.Provider, target, hint string) error {
	if len(target) > maxTarget {
		target = platformPath
	}
	answer, err := p.SignIn(c.Request().Context(), target, hint)
	if err != nil {
		return err
	}
	h.cookies.SetFlow(c.Response(), answer.Interaction, answer.Flow, answer.FlowLife)
	return redirect(c, answer.Location)
}

// reader is a visitor who may see the platform. The first account has to be replaced before it sees anything.
func (h *Handler) reader(c echo.Context) (v visit, done bool, err error) {
	v, done, err = h.visitor(c)
	switch {
	case err != nil || done:
		return v, done, err
	case v.s.User.BootstrapUntil != nil:
		return v, true, redirect(c, setupPath)
	case v.role == "":
		return v, false, errPlatformRole
	}
	return v, false, nil
}

// writer is a visitor who may change the platform.
func (h *Handler) writer(c echo.Context) (v visit, done bool, err error) {
	v, done, err = h.reader(c)
	if err == nil && !done && !v.mayChange() {
		err = errReadOnly
	}
	return v, done, err
}

// fresh has a visitor prove once more who they are, on the way to target, when the last time is long ago. done: the answer is written.
func (h *Handler) fresh(c echo.Context, v visit, target string) (done bool, err error) {
	if h.platform.Now().Sub(v.s.AuthTime) <= freshFor {
		return false, nil
	}
	return true, h.signInFor(c, v.p, target, accountLabel(v.s))
}

func (v visit) mayChange() bool { return v.role == platform.Admin }

// operator is who changes a tenant, for its audit trail: a user of the platform's own tenant.
func (v visit) operator() string { return operatorPrefix + v.s.User.ID.String() }

const operatorPrefix = "user:"

func (h *Handler) platformShell(c echo.Context, v visit) PlatformShell {
	return PlatformShell{
		Shell: h.shell(c, v.p, ""), Account: accountLabel(v.s), MayChange: v.mayChange(), LogoutAction: v.p.URL("/session/end"),
	}
}

// platformHome leads to what there is.
func (h *Handler) platformHome(c echo.Context) error {
	if _, done, err := h.reader(c); err != nil || done {
		return err
	}
	return redirect(c, tenantsPath)
}

var listedStatuses = []tenant.Status{tenant.Active, tenant.Suspended, tenant.Archived}

// platformTenants lists the tenants, a page at a time.
func (h *Handler) platformTenants(c echo.Context) error {
	v, done, err := h.reader(c)
	if err != nil || done {
		return err
	}
	filter := tenant.Filter{Prefix: strings.ToLower(strings.TrimSpace(c.QueryParam("slug")))}
	for _, s := range listedStatuses {
		if string(s) == c.QueryParam("status") {
			filter.Status = s
		}
	}
	ctx := c.Request().Context()
	list, err := tenant.Search(ctx, h.platform.Store, filter, c.QueryParam("after"), platformPage+1)
	if err != nil {
		return err
	}
	counts, err := tenant.Count(ctx, h.platform.Store, listedStatuses, countedTenants+1)
	if err != nil {
		return err
	}
	view := TenantsView{PlatformShell: h.platformShell(c, v), Action: tenantsPath, Prefix: filter.Prefix, Status: string(filter.Status)}
	if view.MayChange {
		view.NewURL = newTenantPath
	}
	view.Filters = append(view.Filters, TenantFilter{URL: tenantsURL(filter.Prefix, "", ""), Current: filter.Status == ""})
	for _, s := range listedStatuses {
		view.Filters = append(view.Filters, TenantFilter{
			Status: string(s), Count: counted(counts[s]), URL: tenantsURL(filter.Prefix, s, ""), Current: filter.Status == s,
		})
	}
	if len(list) > platformPage {
		list = list[:platformPage]
		view.NextURL = tenantsURL(filter.Prefix, filter.Status, list[len(list)-1].Slug)
	}
	for _, t := range list {
		view.Tenants = append(view.Tenants, TenantItem{Slug: t.Slug, Name: t.DisplayName, Status: string(t.Status), URL: tenantURL(t.Slug)})
	}
	return respond(c, http.StatusOK, func(b *bytes.Buffer, v TenantsView) error { return h.renderer.Tenants(b, v) }, view)
}

// counted is a number of things that were counted up to one more than countedTenants.
func counted(n int64) string {
	if n > countedTenants {
		return strconv.Itoa(countedTenants) + "+"
	}
	return strconv.FormatInt(n, 10)
}

func tenantsURL(prefix string, status tenant.Status, after string) string {
	query := url.Values{}
	for name, value := range map[string]string{"slug": prefix, "status": string(status), "after": after} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if len(query) == 0 {
		return tenantsPath
	}
	return tenantsPath + "?" + query.Encode()
}

func tenantURL(slug string) string { return tenantsPath + "/" + url.PathEscape(slug) }

// tenantOf is the tenant that the path names.
func (h *Handler) tenantOf(c echo.Context) (tenant.Tenant, error) {
	slug := c.Param("slug")
	if !tenant.ValidSlug(slug) {
		return tenant.Tenant{}, errNotFound
	}
	t, err := tenant.BySlug(c.Request().Context(), h.platform.Store, slug)
	if errors.Is(err, tenant.ErrUnknown) {
		return tenant.Tenant{}, errNotFound
	}
	return t, err
}

// visitors let in whoever may visit a page: [Handler.reader] or [Handler.writer].
type visitors func(echo.Context) (v visit, done bool, err error)

// about finds who visits a page about a tenant, and the tenant. done: the answer is written.
func (h *Handler) about(c echo.Context, who visitors) (v visit, t tenant.Tenant, done bool, err error) {
	if v, done, err = who(c); err != nil || done {
		return v, t, done, err
	}
	t, err = h.tenantOf(c)
	return v, t, false, err
}

// platformTenant shows a tenant and its people, whom it reads in that tenant's own transaction.
func (h *Handler) platformTenant(c echo.Context) error {
	v, done, err := h.reader(c)
	if err != nil || done {
		return err
	}
	t, err := h.tenantOf(c)
	if err != nil {
		return err
	}
	after := c.QueryParam("after")
	if !utf8.ValidString(after) || strings.ContainsRune(after, 0) {
		after = ""
	}
	var people []directory.User
	var clients int64
	err = h.platform.Store.ViewTenant(c.Request().Context(), t.ID, func(ctx context.Context, tx *store.Tx) error {
		if people, err = directory.List(ctx, tx, after, platformPage+1); err != nil {
			return err
		}
		clients, err = tx.ClientCount(ctx, dbsqlc.ClientCountParams{TenantID: t.ID, Bound: countedTenants + 1})
		return err
	})
	if err != nil {
		return err
	}
	view := TenantView{
		PlatformShell: h.platformShell(c, v), Slug: t.Slug, Name: t.DisplayName, Status: string(t.Status), Issuer: t.Issuer(h.platform.Base, oidc.Mount),
		Domain: t.Domain, Created: t.CreatedAt.UTC().Format("2006-01-02 15:04 MST"), Revision: t.Revision, Clients: counted(clients),
	}
	if t.DeleteAfter != nil {
		view.DeleteAfter = t.DeleteAfter.UTC().Format("2006-01-02 15:04 MST")
	}
	view.Pages = tenantPages(t, view.MayChange)
	if view.MayChange {
		for _, s := range t.Next() {
			view.Changes = append(view.Changes, StatusChange{Status: string(s), URL: statusURL(t.Slug, s)})
		}
	}
	if len(people) > platformPage {
		people = people[:platformPage]
		view.NextURL = tenantURL(t.Slug) + "?" + url.Values{"after": {people[len(people)-1].UsernameNorm}}.Encode() + "#people"
	}
	for _, u := range people {
		view.People = append(view.People, Person{Label: directory.Label(u), Roles: strings.Join(u.Roles, ", "), Disabled: !u.AccountEnabled})
	}
	return respond(c, http.StatusOK, func(b *bytes.Buffer, v TenantView) error { return h.renderer.Tenant(b, v) }, view)
}

func statusURL(slug string, to tenant.Status) string {
	return tenantURL(slug) + "/status?" + url.Values{"status": {string(to)}}.Encode()
}

// platformNew shows the form for a new tenant.
func (h *Handler) platformNew(c echo.Context) error {
	v, done, err := h.writer(c)
	if err != nil || done {
		return err
	}
	return h.showNew(c, http.StatusOK, NewTenantView{PlatformShell: h.platformShell(c, v)})
}

func (h *Handler) showNew(c echo.Context, status int, view NewTenantView) error {
	view.Action, view.CancelURL = newTenantPath, tenantsPath
	return respond(c, status, func(b *bytes.Buffer, v NewTenantView) error { return h.renderer.NewTenant(b, v) }, view)
}

// platformCreate takes the form for a new tenant.
func (h *Handler) platformCreate(c echo.Context) error {
	if err := c.Request().ParseForm(); err != nil {
		return formError(err)
	}
	v, done, err := h.writer(c)
	if err != nil || done {
		return err
	}
	form := c.Request().PostForm
	view := NewTenantView{
		PlatformShell: h.platformShell(c, v), Slug: form.Get("slug"), Name: form.Get("display_name"), Domain: form.Get("domain"),
	}
	t, err := tenant.Create(c.Request().Context(), h.platform.Store, tenant.New{
		Slug: view.Slug, DisplayName: view.Name, Domain: view.Domain, Base: h.platform.Base, Operator: v.operator(),
	})
	switch {
	case errors.Is(err, tenant.ErrSlugFormat):
		view.SlugError = FormSlug
	case errors.Is(err, tenant.ErrSlugReserved):
		view.SlugError = FormReserved
	case errors.Is(err, tenant.ErrSlugTaken):
		view.SlugError = FormTaken
	case errors.Is(err, tenant.ErrDisplayName):
		view.NameError = FormName
	case errors.Is(err, tenant.ErrDomainFormat):
		view.DomainError = FormDomain
	case errors.Is(err, tenant.ErrDomainRefused):
		view.DomainError = FormDomainRefused
	case errors.Is(err, tenant.ErrDomainTaken):
		view.DomainError = FormDomainTaken
	case err != nil:
		return err
	default:
		return redirect(c, tenantURL(t.Slug))
	}
	return h.showNew(c, http.StatusUnprocessableEntity, view)
}

var errProtected = problem.New(problem.Forbidden, "tenant_protected", "The platform's own tenant cannot be changed.")

// statusChange is what somebody who may wants to make of the tenant that the path names. done: the answer is written.
func (h *Handler) statusChange(c echo.Context, status string) (v visit, t tenant.Tenant, to tenant.Status, done bool, err error) {
	if v, done, err = h.writer(c); err != nil || done {
		return v, t, to, done, err
	}
	if t, err = h.tenantOf(c); err != nil {
		return v, t, to, false, err
	}
	if t.Slug == tenant.PlatformsSlug {
		return v, t, to, false, errProtected
	}
	for _, s := range listedStatuses {
		if string(s) == status {
			to = s
		}
	}
	if to == "" {
		return v, t, to, true, redirect(c, tenantURL(t.Slug))
	}
	done, err = h.fresh(c, v, statusURL(t.Slug, to))
	return v, t, to, done, err
}

// platformStatus says what a change of a tenant's status does, and asks.
func (h *Handler) platformStatus(c echo.Context) error {
	v, t, to, done, err := h.statusChange(c, c.QueryParam("status"))
	if err != nil || done {
		return err
	}
	view := TenantStatusView{
		PlatformShell: h.platformShell(c, v), Action: tenantURL(t.Slug) + "/status", CancelURL: tenantURL(t.Slug), Slug: t.Slug, Name: t.DisplayName, To: string(to),
	}
	return respond(c, http.StatusOK, func(b *bytes.Buffer, v TenantStatusView) error { return h.renderer.TenantStatus(b, v) }, view)
}

// platformSetStatus takes the answer yes.
func (h *Handler) platformSetStatus(c echo.Context) error {
	if err := c.Request().ParseForm(); err != nil {
		return formError(err)
	}
	v, t, to, done, err := h.statusChange(c, c.Request().PostForm.Get("status"))
	if err != nil || done {
		return err
	}
	if to != t.Status { // Sent twice, it happens once.
		if _, err = tenant.SetStatus(c.Request().Context(), h.platform.Store, t.Slug, to, v.operator()); err != nil {
			return err
		}
	}
	return redirect(c, tenantURL(t.Slug))
}
