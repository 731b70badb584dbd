package pages

import (
	"bytes"
	"errors"
	"net/http"
	"net/url"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"parako/internal/directory"
	"parako/internal/oidc"
	"parako/internal/session"
	"parako/internal/signin"
)

// waiting loads the interaction that the request's path and cookies name.
func (h *Handler) waiting(c echo.Context, token string) (*oidc.Provider, oidc.Waiting, error) {
	p, err := h.protocol.Provider(c)
	if err != nil {
		return nil, oidc.Waiting{}, err
	}
	id, err := uuid.Parse(c.Param("id"))
	if err != nil {
		return p, oidc.Waiting{}, signin.ErrUnknown
	}
	if token == "" {
		token, _ = h.cookies.Token(c.Request(), p.Tenant.Slug)
	}
	w, err := p.Waiting(c.Request().Context(), id, h.cookies.Flow(c.Request(), id), token)
	return p, w, err
}

// interaction shows the next step of an interaction, or answers it when nothing is left to ask.
func (h *Handler) interaction(c echo.Context) error {
	p, w, err := h.waiting(c, "")
	if err != nil {
		return err
	}
	switch w.Step {
	case signin.StepLogin:
		return h.showLogin(c, p, w, http.StatusOK, w.Request.Get("login_hint"), "")
	case signin.StepRegister:
		return redirect(c, p.URL("/interaction/"+w.ID.String()+"/register"))
	case signin.StepSelect:
		return h.showSelect(c, p, w)
	case signin.StepConsent:
		return h.showConsent(c, p, w)
	case signin.StepDone:
	}
	return h.complete(c, p, w, false)
}

func (h *Handler) showLogin(c echo.Context, p *oidc.Provider, w oidc.Waiting, status int, identifier string, fault LoginError) error {
	action, register := p.URL("/interaction/"+w.ID.String()), ""
	if w.MayRegister {
		register = action + "/register"
	}
	return respond(c, status, func(b *bytes.Buffer, v LoginView) error { return h.renderer.Login(b, v) }, LoginView{
		Shell: h.shell(c, p, w.Request.Get("ui_locales")), Action: action + "/login", CancelAction: action + "/abort", RegisterURL: register,
		ClientName: w.Client.ClientName, ClientLogoURL: webLink(w.Client.LogoURI), Identifier: identifier, Error: fault,
	}, w.RedirectURI)
}

func (h *Handler) showSelect(c echo.Context, p *oidc.Provider, w oidc.Waiting) error {
	action := p.URL("/interaction/" + w.ID.String())
	return respond(c, http.StatusOK, func(b *bytes.Buffer, v SelectView) error { return h.renderer.Select(b, v) }, SelectView{
		Shell: h.shell(c, p, w.Request.Get("ui_locales")), Action: action + "/select", SwitchAction: action + "/switch", CancelAction: action + "/abort",
		ClientName: w.Client.ClientName, ClientLogoURL: webLink(w.Client.LogoURI), Account: accountLabel(*w.Session),
	}, w.RedirectURI)
}

func (h *Handler) showConsent(c echo.Context, p *oidc.Provider, w oidc.Waiting) error {
	action := p.URL("/interaction/" + w.ID.String())
	return respond(c, http.StatusOK, func(b *bytes.Buffer, v ConsentView) error { return h.renderer.Consent(b, v) }, ConsentView{
		Shell: h.shell(c, p, w.Request.Get("ui_locales")), Action: action + "/confirm", DenyAction: action + "/abort",
		SwitchAction: action + "/switch", ClientName: w.Client.ClientName, ClientLogoURL: webLink(w.Client.LogoURI),
		ClientPolicyURL: webLink(w.Client.PolicyURI), ClientTermsURL: webLink(w.Client.TosURI), RedirectHost: redirectHost(w.RedirectURI),
		Account: accountLabel(*w.Session), Scopes: w.Scopes, Device: w.DeviceID != nil, DeviceIP: w.DeviceIP,
		Unverified: w.Client.RegistrationPolicy != nil,
	}, w.RedirectURI)
}

// loginPage shows the login page to someone who was sent to the registration and has an account.
func (h *Handler) loginPage(c echo.Context) error {
	p, w, err := h.waiting(c, "")
	if err != nil {
		return err
	}
	if w.Step != signin.StepLogin && w.Step != signin.StepRegister {
		return redirect(c, p.URL("/interaction/"+w.ID.String()))
	}
	return h.showLogin(c, p, w, http.StatusOK, w.Request.Get("login_hint"), "")
}

// login takes the form of the login page.
func (h *Handler) login(c echo.Context) error {
	if err := c.Request().ParseForm(); err != nil {
		return formError(err)
	}
	p, w, err := h.waiting(c, "")
	if err != nil {
		return err
	}
	form := c.Request().PostForm
	old, _ := h.cookies.Token(c.Request(), p.Tenant.Slug)
	policy := p.SessionPolicy()
	token, err := h.logins.Login(c.Request().Context(), signin.Attempt{
		Tenant: p.Tenant.ID, Interaction: w.Interaction, Identifier: form.Get("identifier"), Password: form.Get("password"),
		Methods: p.Settings.Security.Authentication.Login.LoginMethods, Token: old, Policy: policy,
		Tell: p.Settings.TellsOfSessions(), Origin: oidc.Origin(c),
	})
	if err != nil {
		return h.loginFailed(c, p, w, form.Get("identifier"), err)
	}
	return h.signedIn(c, p, token, policy)
}

// signedIn goes on with whoever has just proved who they are.
func (h *Handler) signedIn(c echo.Context, p *oidc.Provider, token string, policy session.Policy) error {
	h.cookies.SetToken(c.Response(), p.Tenant.Slug, token, policy.Absolute)
	p, w, err := h.waiting(c, token)
	if err != nil {
		return err
	}
	if state := p.BrowserState(w.Session); state != "" {
		h.cookies.SetState(c.Response(), state, policy.Absolute)
	}
	if w.Step == signin.StepDone {
		return h.complete(c, p, w, false)
	}
	return redirect(c, p.URL("/interaction/"+w.ID.String()))
}

// loginFailed shows the login page again when the person can do something about it there.
func (h *Handler) loginFailed(c echo.Context, p *oidc.Provider, w oidc.Waiting, identifier string, err error) error {
	var fault LoginError
	status := http.StatusUnauthorized
	switch {
	case errors.Is(err, signin.ErrMissing):
		fault, status = LoginMissing, http.StatusBadRequest
	case errors.Is(err, signin.ErrCredentials):
		fault = LoginInvalid
	case errors.Is(err, signin.ErrDisabled):
		fault, status = LoginDisabled, http.StatusForbidden
	case errors.Is(err, signin.ErrTooMany):
		fault, status = LoginTooMany, http.StatusTooManyRequests
		if t, ok := errors.AsType[*signin.Throttled](err); ok {
			c.Response().Header().Set("Retry-After", seconds(t.RetryAfter))
		}
	default:
		return err
	}
	return h.showLogin(c, p, w, status, identifier, fault)
}

// consent takes the answer yes.
func (h *Handler) consent(c echo.Context) error {
	p, w, err := h.waiting(c, "")
	if err != nil {
		return err
	}
	if w.Step != signin.StepConsent {
		return redirect(c, p.URL("/interaction/"+w.ID.String()))
	}
	return h.complete(c, p, w, true)
}

// complete sends the person back to the application with what it asked for.
func (h *Handler) complete(c echo.Context, p *oidc.Provider, w oidc.Waiting, agreed bool) error {
	answer, err := p.Complete(c.Request().Context(), w, agreed, oidc.Origin(c))
	if err != nil {
		return err
	}
	return h.leave(c, p, w, answer)
}

// abort takes the answer no, from whichever page.
func (h *Handler) abort(c echo.Context) error {
	p, w, err := h.waiting(c, "")
	if err != nil {
		return err
	}
	answer, err := p.Deny(c.Request().Context(), w, oidc.Origin(c))
	if err != nil {
		return err
	}
	return h.leave(c, p, w, answer)
}

// selectAccount goes on with the account that is signed in.
func (h *Handler) selectAccount(c echo.Context) error {
	p, w, err := h.waiting(c, "")
	if err != nil {
		return err
	}
	if w.Step == signin.StepSelect {
		if err := p.Choose(c.Request().Context(), w); err != nil {
			return err
		}
	}
	return redirect(c, p.URL("/interaction/"+w.ID.String()))
}

// switchAccount asks for a login although someone is signed in.
func (h *Handler) switchAccount(c echo.Context) error {
	p, w, err := h.waiting(c, "")
	if err != nil {
		return err
	}
	if err := p.Switch(c.Request().Context(), w); err != nil {
		return err
	}
	return redirect(c, p.URL("/interaction/"+w.ID.String()))
}

func (h *Handler) leave(c echo.Context, p *oidc.Provider, w oidc.Waiting, answer oidc.Answer) error {
	h.cookies.ClearFlow(c.Response(), w.ID)
	return h.answer(c, p, answer, w.Request.Get("ui_locales"))
}

// accountLabel is how the person is shown to themselves.
func accountLabel(s session.Session) string { return directory.Label(s.User) }

// webLink is a client's link when it is https, and nothing otherwise: clients register what they like.
func webLink(link *string) string {
	if link == nil {
		return ""
	}
	u, err := url.Parse(*link)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return ""
	}
	return *link
}

// redirectHost is what the consent page says about where the answer goes.
func redirectHost(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return ""
	}
	if u.Host != "" {
		return u.Host
	}
	return u.Scheme
}
