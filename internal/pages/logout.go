package pages

import (
	"bytes"
	"errors"
	"net/http"
	"net/url"
	"slices"

	"github.com/labstack/echo/v4"

	"parako/internal/oidc"
	"parako/internal/problem"
)

// logout answers a request to end the session: it asks first, and goes on at once when nobody is signed in.
func (h *Handler) logout(c echo.Context) error {
	p, err := h.protocol.Provider(c)
	if err != nil {
		return err
	}
	request, err := p.ParseLogout(c.Request().Context(), c.QueryParams())
	if err != nil {
		return err
	}
	token, bound := h.cookies.Token(c.Request(), p.Tenant.Slug)
	if !bound {
		h.cookies.ClearToken(c.Response())
	}
	s, err := p.Session(c.Request().Context(), token)
	if err != nil {
		return err
	}
	if s == nil {
		return h.loggedOut(c, p, request, nil)
	}
	view := LogoutView{
		Shell: h.shell(c, p, request.Fields.Get("ui_locales")), Action: p.URL("/session/end/confirm"), CancelURL: "/", Account: accountLabel(*s),
		Hidden: hidden(request.Fields),
	}
	return respond(c, http.StatusOK, func(b *bytes.Buffer, v LogoutView) error { return h.renderer.Logout(b, v) }, view, request.Location)
}

// logoutByPost takes the request from a form of the client's site, to which the browser gives none of our cookies; the
// redirect to ourselves brings them.
func (h *Handler) logoutByPost(c echo.Context) error {
	p, err := h.protocol.Provider(c)
	if err != nil {
		return err
	}
	if err := c.Request().ParseForm(); err != nil {
		return formError(err)
	}
	return redirect(c, p.URL("/session/end")+"?"+c.Request().PostForm.Encode())
}

// logoutConfirmed takes the answer yes.
func (h *Handler) logoutConfirmed(c echo.Context) error {
	p, err := h.protocol.Provider(c)
	if err != nil {
		return err
	}
	if err := c.Request().ParseForm(); err != nil {
		return formError(err)
	}
	request, err := p.ParseLogout(c.Request().Context(), c.Request().PostForm)
	if err != nil {
		return err
	}
	token, _ := h.cookies.Token(c.Request(), p.Tenant.Slug)
	frames, err := p.Logout(c.Request().Context(), token, request.ClientID, oidc.Origin(c))
	if err != nil {
		return err
	}
	h.cookies.ClearToken(c.Response())
	if p.Settings.Features.OIDC.SessionManagement.Enabled {
		h.cookies.SetState(c.Response(), "", 0)
	}
	return h.loggedOut(c, p, request, frames)
}

// loggedOut leads back to the application, or says that this is the end. With frames to load first it shows a page that goes on
// by itself.
func (h *Handler) loggedOut(c echo.Context, p *oidc.Provider, request oidc.LogoutRequest, frames []string) error {
	if request.Location != "" && len(frames) == 0 {
		return redirect(c, request.Location)
	}
	view := LoggedOutView{
		Shell: h.shell(c, p, request.Fields.Get("ui_locales")), ReturnURL: request.Location, ClientName: request.ClientName, Frames: frames,
	}
	var page bytes.Buffer
	if err := h.renderer.LoggedOut(&page, view); err != nil {
		return err
	}
	SecurityHeaders(c.Response().Header())
	AllowFrames(c.Response().Header(), frames)
	if view.GoesOn() {
		AllowScripts(c.Response().Header())
	}
	return c.HTMLBlob(http.StatusOK, page.Bytes())
}

// hidden are the request's parameters as form fields, in a stable order.
func hidden(values url.Values) []Field {
	var fields []Field
	for name := range values {
		fields = append(fields, Field{Name: name, Value: values.Get(name)})
	}
	slices.SortFunc(fields, func(a, b Field) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return fields
}

// formError tells a form that is too large from one that cannot be read.
func formError(err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return problem.New(problem.TooLarge, "body_too_large", "The form is too large.")
	}
	return problem.New(problem.Invalid, "malformed_form", "The form could not be read. Go back and try again.").Because(err)
}
