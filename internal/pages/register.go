package pages

import (
	"bytes"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"parako/internal/directory"
	"parako/internal/factor"
	"parako/internal/oidc"
	"parako/internal/settings"
	"parako/internal/signin"
)

// registering loads the interaction of someone who wants to make an account. The page is not there where no
// account can be made, and leads back where the interaction does not wait for a login. done: the answer is written.
func (h *Handler) registering(c echo.Context) (p *oidc.Provider, w oidc.Waiting, done bool, err error) {
	p, w, err = h.waiting(c, "")
	if err != nil {
		return p, w, false, err
	}
	if !w.MayRegister {
		return p, w, false, errNotFound
	}
	if w.Step != signin.StepLogin && w.Step != signin.StepRegister {
		return p, w, true, redirect(c, p.URL("/interaction/"+w.ID.String()))
	}
	return p, w, false, nil
}

// registerPage shows the form for a new account, with the login_hint in the field that it fits.
func (h *Handler) registerPage(c echo.Context) error {
	p, w, done, err := h.registering(c)
	if err != nil || done {
		return err
	}
	v := h.registerView(c, p, w)
	switch hint := w.Request.Get("login_hint"); {
	case strings.Contains(hint, "@") && v.WithEmail:
		v.Email = hint
	case !strings.Contains(hint, "@") && v.WithUsername:
		v.Username = hint
	}
	return h.showRegister(c, w, http.StatusOK, v)
}

func (h *Handler) registerView(c echo.Context, p *oidc.Provider, w oidc.Waiting) RegisterView {
	action, rules := p.URL("/interaction/"+w.ID.String()), p.Settings.Security.Authentication
	return RegisterView{
		Shell: h.shell(c, p, w.Request.Get("ui_locales")), Action: action + "/register", CancelAction: action + "/abort", LoginURL: action + "/login",
		ClientName: w.Client.ClientName, ClientLogoURL: webLink(w.Client.LogoURI),
		WithEmail: slices.Contains(rules.Signup.Methods, settings.SignupEmail), WithUsername: slices.Contains(rules.Signup.Methods, settings.SignupUsername),
		MinLength: rules.PasswordPolicy.MinLength, MaxLength: factor.MaxPasswordLength, Uppercase: rules.PasswordPolicy.RequireUppercase,
		Lowercase: rules.PasswordPolicy.RequireLowercase, Number: rules.PasswordPolicy.RequireNumbers, Symbol: rules.PasswordPolicy.RequireSymbols,
	}
}

func (h *Handler) showRegister(c echo.Context, w oidc.Waiting, status int, v RegisterView) error {
	return respond(c, status, func(b *bytes.Buffer, v RegisterView) error { return h.renderer.Register(b, v) }, v, w.RedirectURI)
}

// register takes the form of the registration page.
func (h *Handler) register(c echo.Context) error {
	if err := c.Request().ParseForm(); err != nil {
		return formError(err)
	}
	p, w, done, err := h.registering(c)
	if err != nil || done {
		return err
	}
	form := c.Request().PostForm
	old, _ := h.cookies.Token(c.Request(), p.Tenant.Slug)
	policy := p.SessionPolicy()
	token, err := h.logins.Register(c.Request().Context(), signin.Registration{
		Tenant: p.Tenant.ID, Interaction: w.Interaction, Email: form.Get("email"), Username: form.Get("username"), Name: form.Get("name"),
		Password: form.Get("password"), Company: p.CompanyName(), Rules: p.Settings.Security.Authentication, Token: old, Policy: policy,
		Origin: oidc.Origin(c),
	})
	if err != nil {
		return h.registerFailed(c, p, w, err)
	}
	return h.signedIn(c, p, token, policy)
}

// registerFailed shows the registration page again when the person can do something about it there, with what was typed but
// the password.
func (h *Handler) registerFailed(c echo.Context, p *oidc.Provider, w oidc.Waiting, err error) error {
	v, form := h.registerView(c, p, w), c.Request().PostForm
	v.Email, v.Username, v.Name = form.Get("email"), form.Get("username"), form.Get("name")
	switch {
	case errors.Is(err, signin.ErrTooMany):
		v.Error = RegisterTooMany
		if t, ok := errors.AsType[*signin.Throttled](err); ok {
			c.Response().Header().Set("Retry-After", seconds(t.RetryAfter))
		}
		return h.showRegister(c, w, http.StatusTooManyRequests, v)
	case errors.Is(err, signin.ErrApproval):
		v.Error = RegisterApproval
		return h.showRegister(c, w, http.StatusForbidden, v)
	case errors.Is(err, signin.ErrRegistrationRefused):
		v.Error = RegisterRefused
		return h.showRegister(c, w, http.StatusConflict, v)
	}
	known := false
	for _, fault := range []struct {
		is    error
		shown RegisterError
		field *RegisterError
	}{
		{signin.ErrIdentifierMissing, RegisterMissing, &v.Error},
		{directory.ErrEmailFormat, RegisterEmail, &v.EmailError},
		{directory.ErrUsernameFormat, RegisterUsername, &v.UsernameError},
		{directory.ErrProfileFormat, RegisterName, &v.NameError},
		{factor.ErrPasswordLength, RegisterPassword, &v.PasswordError},
		{factor.ErrPasswordPolicy, RegisterPassword, &v.PasswordError},
		{factor.ErrPasswordObvious, RegisterObvious, &v.PasswordError},
	} {
		if errors.Is(err, fault.is) {
			*fault.field, known = fault.shown, true
		}
	}
	if !known {
		return err
	}
	if v.Error == RegisterMissing && !(v.WithEmail && v.WithUsername) {
		// There is one field, so it is that one.
		v.Error, v.EmailError, v.UsernameError = "", RegisterEmail, RegisterUsername
	}
	return h.showRegister(c, w, http.StatusBadRequest, v)
}
