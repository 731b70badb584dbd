package pages

import (
	"bytes"
	"context"
	"net/http"
	"net/url"

	"github.com/labstack/echo/v4"

	"parako/internal/audit"
	"parako/internal/oidc"
	"parako/internal/tenant"
)

func domainsURL(slug string) string { return tenantURL(slug) + "/domains" }

// platformDomains lists the host names of a tenant.
func (h *Handler) platformDomains(c echo.Context) error {
	v, t, done, err := h.about(c, h.reader)
	if err != nil || done {
		return err
	}
	return h.showDomains(c, http.StatusOK, v, t, DomainsView{})
}

func (h *Handler) showDomains(c echo.Context, status int, v visit, t tenant.Tenant, view DomainsView) error {
	list, err := h.platform.Domains.Domains(c.Request().Context(), t.ID)
	if err != nil {
		return err
	}
	view.PlatformShell, view.Name, view.Action, view.BackURL = h.platformShell(c, v), t.DisplayName, domainsURL(t.Slug), tenantURL(t.Slug)
	base := t
	base.Domain, base.IssuerURL = "", ""
	view.Base, view.BasePrimary = base.Issuer(h.platform.Base, oidc.Mount), t.Domain == ""
	ask := func(what, name string) string {
		return view.Action + "/" + what + "?" + url.Values{"domain": {name}}.Encode()
	}
	if view.MayChange && !view.BasePrimary {
		view.BaseURL = ask("primary", "")
	}
	for _, d := range list {
		item := DomainItem{Name: d.Name, State: string(d.State), Primary: d.Primary}
		if d.Unicode != d.Name {
			item.Unicode = d.Unicode
		}
		gone := d.State == tenant.DomainReleased
		if d.Record != nil && !gone {
			item.RecordName, item.RecordValue, item.MayCheck = d.Record.Name, d.Record.Value, view.MayChange
		}
		if view.MayChange && !gone && !d.Primary {
			item.ReleaseURL = ask("release", d.Name)
			if d.State != tenant.DomainPending {
				item.PrimaryURL = ask("primary", d.Name)
			}
		}
		view.Domains = append(view.Domains, item)
	}
	return respondPacked(c, status, func(b *bytes.Buffer, v DomainsView) error { return h.renderer.Domains(b, v) }, view)
}

// platformDomain claims a host name for a tenant, or looks for the record that proves a claim.
func (h *Handler) platformDomain(c echo.Context) error {
	if err := c.Request().ParseForm(); err != nil {
		return formError(err)
	}
	v, t, done, err := h.about(c, h.writer)
	if err != nil || done {
		return err
	}
	form, ctx := c.Request().PostForm, c.Request().Context()
	name, view := form.Get("domain"), DomainsView{}
	if form.Get("do") == "check" {
		_, err = h.platform.Domains.VerifyDomain(ctx, t.ID, name, audit.Operator(v.operator()))
	} else {
		view.Typed = name
		_, err = h.platform.Domains.AddDomain(ctx, t.ID, name, audit.Operator(v.operator()))
	}
	return h.domainsAfter(c, v, t, view, err)
}

// domainsAfter leads back to the list, with what was refused on it.
func (h *Handler) domainsAfter(c echo.Context, v visit, t tenant.Tenant, view DomainsView, err error) error {
	if err == nil {
		return redirect(c, domainsURL(t.Slug))
	}
	alert, status, err := refusal(err)
	if err != nil {
		return err
	}
	view.Alert = alert
	return h.showDomains(c, status, v, t, view)
}

// domainQuestion finds who wants to do something with a host name that ends what went on there, and has them prove who they are.
func (h *Handler) domainQuestion(c echo.Context, what, name string) (v visit, t tenant.Tenant, done bool, err error) {
	if v, t, done, err = h.about(c, h.writer); err != nil || done {
		return v, t, done, err
	}
	done, err = h.fresh(c, v, domainsURL(t.Slug)+"/"+what+"?"+url.Values{"domain": {name}}.Encode())
	return v, t, done, err
}

func (h *Handler) askDomain(c echo.Context, what string) error {
	name := c.QueryParam("domain")
	v, t, done, err := h.domainQuestion(c, what, name)
	if err != nil || done {
		return err
	}
	if !c.QueryParams().Has("domain") || name == "" && what == "release" { // A sign-in led here that came between the question and the answer.
		return redirect(c, domainsURL(t.Slug))
	}
	view := AskView{
		PlatformShell: h.platformShell(c, v), What: what, Name: t.DisplayName, About: name, Action: domainsURL(t.Slug) + "/" + what, CancelURL: domainsURL(t.Slug),
		Hidden: []Field{{Name: "domain", Value: name}},
	}
	if name == "" {
		base := t
		base.Domain, base.IssuerURL = "", ""
		view.About = base.Issuer(h.platform.Base, "")
	}
	return respond(c, http.StatusOK, func(b *bytes.Buffer, v AskView) error { return h.renderer.Ask(b, v) }, view)
}

// platformAskPrimary asks whether to move a tenant's issuer to a host name.
func (h *Handler) platformAskPrimary(c echo.Context) error { return h.askDomain(c, "primary") }

// platformAskRelease asks whether to give a host name up.
func (h *Handler) platformAskRelease(c echo.Context) error { return h.askDomain(c, "release") }

func (h *Handler) answerDomain(c echo.Context, what string, do func(context.Context, tenant.Tenant, string, audit.Party) error) error {
	if err := c.Request().ParseForm(); err != nil {
		return formError(err)
	}
	name := c.Request().PostForm.Get("domain")
	v, t, done, err := h.domainQuestion(c, what, name)
	if err != nil || done {
		return err
	}
	if err = do(c.Request().Context(), t, name, audit.Operator(v.operator())); err == nil {
		return redirect(c, domainsURL(t.Slug))
	}
	return h.domainsAfter(c, v, t, DomainsView{}, err)
}

// platformSetPrimary moves a tenant's issuer to a host name.
func (h *Handler) platformSetPrimary(c echo.Context) error {
	return h.answerDomain(c, "primary", func(ctx context.Context, t tenant.Tenant, name string, by audit.Party) error {
		_, err := h.platform.Domains.SetPrimaryDomain(ctx, t.ID, name, nil, by)
		return err
	})
}

// platformRelease gives a host name up.
func (h *Handler) platformRelease(c echo.Context) error {
	return h.answerDomain(c, "release", func(ctx context.Context, t tenant.Tenant, name string, by audit.Party) error {
		_, err := h.platform.Domains.ReleaseDomain(ctx, t.ID, name, by)
		return err
	})
}
