package pages

import (
	"bytes"
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"

	"parako/internal/oidc"
	"parako/internal/settings"
	"parako/internal/signin"
)

// devices is the provider of a request about a device, where the tenant has any.
func (h *Handler) devices(c echo.Context) (*oidc.Provider, error) {
	p, err := h.protocol.Provider(c)
	if err == nil && !p.Settings.Features.OIDC.DeviceFlow.Enabled {
		err = errNotFound
	}
	return p, err
}

// device asks for the code that a device shows (RFC 8628 section 3.3). A code that comes with the link is only filled in: nothing
// is looked up before somebody has compared it and pressed the button (section 5.4).
func (h *Handler) device(c echo.Context) error {
	p, err := h.devices(c)
	if err != nil {
		return err
	}
	code := p.UserCode(c.QueryParam("user_code"))
	return h.showDevice(c, p, http.StatusOK, DeviceView{UserCode: code, Linked: code != ""})
}

func (h *Handler) showDevice(c echo.Context, p *oidc.Provider, status int, view DeviceView) error {
	view.Shell, view.Action = h.shell(c, p, c.QueryParam("ui_locales")), p.URL("/device")
	view.Digits = p.Settings.Features.OIDC.DeviceFlow.Charset == settings.CharsetDigits
	return respond(c, status, func(b *bytes.Buffer, v DeviceView) error { return h.renderer.Device(b, v) }, view)
}

// enterDevice takes the code, and goes on to the sign-in.
func (h *Handler) enterDevice(c echo.Context) error {
	p, err := h.devices(c)
	if err != nil {
		return err
	}
	if err := c.Request().ParseForm(); err != nil {
		return formError(err)
	}
	typed := c.Request().PostForm.Get("user_code")
	token, bound := h.cookies.Token(c.Request(), p.Tenant.Slug)
	if !bound {
		h.cookies.ClearToken(c.Response())
	}
	answer, err := p.EnterUserCode(c.Request().Context(), typed, token, oidc.Origin(c))
	view := DeviceView{UserCode: p.UserCode(typed)}
	switch throttled, _ := errors.AsType[*signin.Throttled](err); {
	case throttled != nil:
		c.Response().Header().Set("Retry-After", seconds(throttled.RetryAfter))
		view.Error = DeviceTooMany
		return h.showDevice(c, p, http.StatusTooManyRequests, view)
	case errors.Is(err, oidc.ErrUserCode):
		view.Error = DeviceInvalid
		return h.showDevice(c, p, http.StatusBadRequest, view)
	case err != nil:
		return err
	}
	h.cookies.SetFlow(c.Response(), answer.Interaction, answer.Flow, answer.FlowLife)
	return h.answer(c, p, answer, "")
}

// deviceDone and deviceDenied are where the browser is left when the device has its answer.
func (h *Handler) deviceDone(c echo.Context) error { return h.showDeviceDone(c, false) }

func (h *Handler) deviceDenied(c echo.Context) error { return h.showDeviceDone(c, true) }

func (h *Handler) showDeviceDone(c echo.Context, denied bool) error {
	p, err := h.devices(c)
	if err != nil {
		return err
	}
	view := DeviceDoneView{Shell: h.shell(c, p, ""), Denied: denied}
	return respond(c, http.StatusOK, func(b *bytes.Buffer, v DeviceDoneView) error { return h.renderer.DeviceDone(b, v) }, view)
}
