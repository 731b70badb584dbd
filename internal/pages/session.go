package pages

import (
	"net/http"

	"github.com/labstack/echo/v4"
)

// checkSession is the page that clients put into a frame of their own to ask whether the session of the browser is still the one they
// know (OpenID Connect Session Management section 3.2). It is the same for everybody, so that anybody may frame it; the answers come
// from its script, and depend on who asks.
func (h *Handler) checkSession(c echo.Context) error {
	p, err := h.protocol.Provider(c)
	if err != nil {
		return err
	}
	if !p.Settings.Features.OIDC.SessionManagement.Enabled {
		return errNotFound
	}
	script, err := h.renderer.scripts.path("session.js")
	if err != nil {
		return err
	}
	header := c.Response().Header()
	header.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; form-action 'none'; base-uri 'none'")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cache-Control", "public, max-age=300")
	return c.HTML(http.StatusOK, `<!doctype html><html lang="en"><meta charset="utf-8"><title>Session</title><script src="`+script+`"></script>`)
}
