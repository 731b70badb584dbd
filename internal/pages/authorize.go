package pages

import (
	"bytes"
	"net/http"
	"net/url"

	"github.com/labstack/echo/v4"

	"parako/internal/oidc"
)

// authorize is the authorization endpoint (OpenID Connect Core section 3.1.2).
func (h *Handler) authorize(c echo.Context) error {
	p, err := h.protocol.Provider(c)
	if err != nil {
		return err
	}
	form, err := url.ParseQuery(c.Request().URL.RawQuery)
	if err != nil {
		return formError(err)
	}
	token, bound := h.cookies.Token(c.Request(), p.Tenant.Slug)
	if !bound {
		// The cookie was made for another tenant on this host: nobody is signed in here (design section 4).
		h.log.WarnContext(c.Request().Context(), "tenant_session_mismatch")
		h.cookies.ClearToken(c.Response())
	}
	answer, err := p.Authorize(c.Request().Context(), form, token, oidc.Origin(c))
	if err != nil {
		return err
	}
	if answer.Flow != "" {
		h.cookies.SetFlow(c.Response(), answer.Interaction, answer.Flow, answer.FlowLife)
	}
	return h.answer(c, p, answer, form.Get("ui_locales"))
}

// authorizeByPost takes the request from a form (section 3.1.2.1). It comes from the client's site, so the browser withholds
// our cookies; the redirect to ourselves brings them.
func (h *Handler) authorizeByPost(c echo.Context) error {
	p, err := h.protocol.Provider(c)
	if err != nil {
		return err
	}
	if err := c.Request().ParseForm(); err != nil {
		return formError(err)
	}
	return redirect(c, p.URL("/authorize")+"?"+c.Request().PostForm.Encode())
}

// answer sends the browser where the answer says: by a redirect, or by a form that submits itself where scripts run and has a
// button where they do not (OAuth 2.0 Form Post Response Mode).
func (h *Handler) answer(c echo.Context, p *oidc.Provider, answer oidc.Answer, uiLocales string) error {
	if answer.BrowserState != "" {
		h.cookies.SetState(c.Response(), answer.BrowserState, p.SessionPolicy().Absolute)
	}
	if answer.Form == nil {
		header := c.Response().Header()
		header.Set("Pragma", "no-cache")
		header.Set("Referrer-Policy", "no-referrer")
		return redirect(c, answer.Location)
	}
	view := AnswerView{Shell: h.shell(c, p, uiLocales), Action: answer.Location, Hidden: hidden(answer.Form)}
	var page bytes.Buffer
	if err := h.renderer.Answer(&page, view); err != nil {
		return err
	}
	SecurityHeaders(c.Response().Header(), answer.Location)
	AllowScripts(c.Response().Header())
	return c.HTMLBlob(http.StatusOK, page.Bytes())
}
