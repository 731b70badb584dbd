package pages

import (
	"bytes"
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"

	"parako/internal/directory"
	"parako/internal/factor"
	"parako/internal/oidc"
	"parako/internal/platform"
	"parako/internal/signin"
)

// founder is a visitor with the first account of the platform. Everybody else has been here. done: the answer is written.
func (h *Handler) founder(c echo.Context) (v visit, done bool, err error) {
	v, done, err = h.visitor(c)
	if err == nil && !done && v.s.User.BootstrapUntil == nil {
		return v, true, redirect(c, tenantsPath)
	}
	return v, done, err
}

func (h *Handler) setupView(c echo.Context, v visit) SetupView {
	rules := v.p.Settings.Security.Authentication.PasswordPolicy
	return SetupView{
		PlatformShell: h.platformShell(c, v), Action: setupPath, MinLength: max(rules.MinLength, factor.MinPasswordLength),
		MaxLength: factor.MaxPasswordLength, Uppercase: rules.RequireUppercase, Lowercase: rules.RequireLowercase, Number: rules.RequireNumbers,
		Symbol: rules.RequireSymbols,
	}
}

func (h *Handler) showSetup(c echo.Context, status int, view SetupView) error {
	return respond(c, status, func(b *bytes.Buffer, v SetupView) error { return h.renderer.Setup(b, v) }, view)
}

// platformSetup shows the form for the permanent administrator.
func (h *Handler) platformSetup(c echo.Context) error {
	v, done, err := h.founder(c)
	if err != nil || done {
		return err
	}
	return h.showSetup(c, http.StatusOK, h.setupView(c, v))
}

// platformReplace makes the permanent administrator, who signs in then.
func (h *Handler) platformReplace(c echo.Context) error {
	if err := c.Request().ParseForm(); err != nil {
		return formError(err)
	}
	v, done, err := h.founder(c)
	if err != nil || done {
		return err
	}
	form := c.Request().PostForm
	view := h.setupView(c, v)
	view.Email, view.Name = form.Get("email"), form.Get("name")
	err = platform.Replacement{
		Store: h.platform.Store, Passwords: h.platform.Passwords, Home: v.p.Tenant.ID, By: v.s, Email: view.Email, Name: view.Name,
		Password: form.Get("password"), Company: v.p.CompanyName(), Rules: signin.PasswordPolicy(v.p.Settings.Security.Authentication.PasswordPolicy), Policy: v.p.SessionPolicy(),
		Origin: oidc.Origin(c),
	}.Run(c.Request().Context())
	for _, fault := range []struct {
		of    []error
		field *FormError
		is    FormError
	}{
		{[]error{directory.ErrEmailFormat, platform.ErrEmailMissing}, &view.EmailError, FormEmail},
		{[]error{directory.ErrTaken}, &view.EmailError, FormEmailTaken},
		{[]error{directory.ErrProfileFormat}, &view.NameError, FormPerson},
		{[]error{factor.ErrPasswordLength, factor.ErrPasswordPolicy}, &view.PasswordError, FormPassword},
		{[]error{factor.ErrPasswordObvious}, &view.PasswordError, FormObvious},
		{[]error{platform.ErrPasswordReused}, &view.PasswordError, FormReused},
	} {
		for _, known := range fault.of {
			if errors.Is(err, known) {
				*fault.field = fault.is
			}
		}
	}
	if view.EmailError != "" || view.NameError != "" || view.PasswordError != "" {
		return h.showSetup(c, http.StatusUnprocessableEntity, view)
	}
	if err != nil {
		return err
	}
	h.cookies.ClearToken(c.Response())
	return h.signInFor(c, v.p, platformPath, view.Email)
}
