package oidc

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"
	"github.com/ory/fosite"

	"parako/internal/audit"
	"parako/internal/dbsqlc"
	"parako/internal/problem"
	"parako/internal/ratelimit"
	"parako/internal/secret"
	"parako/internal/settings"
	"parako/internal/signin"
	"parako/internal/store"
)

// pollInterval is how long a device waits between two requests for its tokens, at first (RFC 8628 section 3.5).
const pollInterval = 5 * time.Second

// deviceResponse is the answer to a device authorization request (RFC 8628 section 3.2).
type deviceResponse struct {
	DeviceCode string `json:"device_code"`
	UserCode   string `json:"user_code"`
	URI        string `json:"verification_uri"`
	Complete   string `json:"verification_uri_complete"`
	ExpiresIn  int64  `json:"expires_in"`
	Interval   int64  `json:"interval"`
}

// device is the device authorization endpoint (RFC 8628 section 3.1): what has no browser gets a code here that a person
// types elsewhere. What may be asked for is what the authorization endpoint would allow.
func (h *Handler) device(c echo.Context) error {
	p, err := h.Provider(c)
	if err != nil {
		return err
	}
	if !p.Settings.Features.OIDC.DeviceFlow.Enabled {
		return errOff
	}
	form, caller, err := authenticated(c, p)
	if err != nil {
		return h.writeError(c, err)
	}
	request, err := p.checkDevice(form, caller)
	if err != nil {
		return h.writeError(c, err)
	}
	answer, err := p.beginDevice(c.Request().Context(), request, Origin(c))
	if err != nil {
		return h.writeError(c, err)
	}
	noStore(c)
	return c.JSON(http.StatusOK, answer)
}

// checkDevice checks the request of a device. It is an authorization request without a browser: of its parameters the scope and
// the resources count.
func (p *Provider) checkDevice(form url.Values, who client) (*authRequest, error) {
	if !p.Settings.Features.OIDC.DeviceFlow.Enabled || !slices.Contains(who.GrantTypes, grantDevice) {
		return nil, fosite.ErrUnauthorizedClient.WithHint("The client may not use the device authorization grant.")
	}
	r := &authRequest{client: who, form: url.Values{"scope": {form.Get("scope")}}, fosit: fosite.NewAuthorizeRequest()}
	asking := who
	if resources := form["resource"]; len(resources) > 0 {
		r.form["resource"] = resources
		asking.Scope += " " + asking.ResourcesScopes
	}
	if err := p.checkResources(r); err != nil {
		return nil, err
	}
	scopes := strings.Fields(form.Get("scope"))
	for _, scope := range scopes {
		if !asking.GetScopes().Has(scope) {
			return nil, fosite.ErrInvalidScope.WithHint("The client may not ask for one of the scopes.")
		}
	}
	r.fosit.SetRequestedScopes(scopes)
	r.fosit.SetRequestedAudience(r.form["resource"])
	return r, p.checkParameters(r)
}

// userCodeTries is how often a user code may be taken before something else must be wrong.
const userCodeTries = 10

// beginDevice stores the request under the digests of two new codes.
func (p *Provider) beginDevice(ctx context.Context, r *authRequest, from audit.Origin) (deviceResponse, error) {
	life := r.client.GetEffectiveLifespan(fosite.GrantTypeDeviceCode, fosite.DeviceCode, settings.Seconds(p.ttl().DeviceCode))
	code, sig := p.tokens.mint(devicePrefix, secret.Token())
	for range userCodeTries {
		typed, err := newUserCode(p.Settings.Features.OIDC.DeviceFlow)
		if err != nil {
			return deviceResponse{}, err
		}
		var n int64
		err = p.inTenant(ctx, func(ctx context.Context, tx *store.Tx) (err error) {
			n, err = tx.DeviceCodeCreate(ctx, dbsqlc.DeviceCodeCreateParams{
				ID: tokenID(sig), UserCodeDigest: p.userCodeDigest(plainUserCode(typed)), ClientID: r.client.ID, Request: r.form.Encode(),
				IP: from.IP, IntervalSeconds: int32(pollInterval / time.Second), ExpiresAt: tx.Now().Add(life),
			})
			return err
		})
		if err != nil {
			return deviceResponse{}, fmt.Errorf("store device code: %w", err)
		}
		if n == 1 {
			uri := p.URL("/device")
			return deviceResponse{
				DeviceCode: code, UserCode: typed, URI: uri, Complete: uri + "?" + url.Values{"user_code": {typed}}.Encode(),
				ExpiresIn: int64(life / time.Second), Interval: int64(pollInterval / time.Second),
			}, nil
		}
	}
	return deviceResponse{}, errors.New("no user code is free")
}

// newUserCode makes a code that people type. Each of its characters is equally likely.
func newUserCode(f settings.DeviceFlow) (string, error) {
	characters := "BCDFGHJKLMNPQRSTVWXZ" // base-20: no vowels, so no words, and nothing that looks like a digit
	if f.Charset == settings.CharsetDigits {
		characters = "0123456789"
	}
	code := []byte(f.Mask)
	for i, place := range code {
		if place != '*' {
			continue
		}
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(characters))))
		if err != nil {
			return "", err
		}
		code[i] = characters[n.Int64()]
	}
	return string(code), nil
}

// maxUserCode is longer than any user code.
const maxUserCode = 32

// plainUserCode is what counts of a code that somebody typed: letters, in capitals, and digits (RFC 8628 section 6.1). It is
// empty for what cannot be a code.
func plainUserCode(typed string) string {
	plain := strings.Map(func(r rune) rune {
		switch {
		case '0' <= r && r <= '9', 'A' <= r && r <= 'Z':
			return r
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		}
		return -1
	}, typed)
	if len(plain) > maxUserCode {
		return ""
	}
	return plain
}

// UserCode is a code that came with a link as the device shows it; as far as it does not look like one, without hyphens.
func (p *Provider) UserCode(typed string) string {
	plain, mask := plainUserCode(typed), p.Settings.Features.OIDC.DeviceFlow.Mask
	if len(plain) != strings.Count(mask, "*") {
		return plain
	}
	return strings.Map(func(r rune) rune {
		if r == '*' {
			r, plain = rune(plain[0]), plain[1:]
		}
		return r
	}, mask)
}

// userCodeDigest is under which a user code is stored: a code that people can type has so few bits that a plain digest would
// give it away, so the tenant's key is in it.
func (p *Provider) userCodeDigest(plain string) []byte {
	return tokenID(p.tokens.mac(userCodePrefix, plain))
}

// ErrUserCode is the one answer to a user code that never was, has expired or was answered.
var ErrUserCode = problem.New(problem.Invalid, "invalid_user_code", "This code is not valid. Check what your device shows, or start again there.")

// EnterUserCode takes a code that somebody typed and begins the interaction in which they answer for the device: it always asks,
// whoever is signed in and whatever was agreed to before (RFC 8628 section 5.4). ErrUserCode: the code leads nowhere;
// signin.ErrTooMany: too many did.
func (p *Provider) EnterUserCode(ctx context.Context, typed, token string, from audit.Origin) (Answer, error) {
	plain := plainUserCode(typed)
	if plain == "" {
		return Answer{}, ErrUserCode
	}
	refund, err := p.admitUserCode(ctx, from)
	if err != nil {
		return Answer{}, err
	}
	var answer Answer
	err = p.inTenant(ctx, func(ctx context.Context, tx *store.Tx) error {
		row, request, err := p.deviceBehind(ctx, tx, plain)
		if isNotFound(err) {
			return audit.Record(ctx, tx, audit.Event{Type: audit.UserCodeRefused, Status: audit.Failed, Origin: from})
		}
		if err != nil {
			return err
		}
		s, err := p.clientSession(ctx, tx, token)
		if err != nil {
			return err
		}
		waiting := signin.Interaction{
			ClientID: row.ClientID, Request: request.form, LoginRequired: p.needsLogin(request, s, tx.Now()), ConsentPrompt: true, DeviceID: row.ID,
		}
		if !waiting.LoginRequired {
			waiting.SessionID = &s.ID
		}
		answer, err = p.wait(ctx, tx, waiting)
		return err
	})
	if err != nil {
		return Answer{}, err
	}
	if answer.Flow == "" {
		return Answer{}, ErrUserCode
	}
	refund()
	return answer, nil
}

// admitUserCode counts the attempt against its limits before the code is looked at, so that attempts in parallel cannot overtake
// the count. refund takes it back when the code was right.
func (p *Provider) admitUserCode(ctx context.Context, from audit.Origin) (refund func(), err error) {
	addr, err := netip.ParseAddr(from.IP)
	if err != nil {
		addr = netip.IPv6Unspecified() // All callers without an address share one count.
	}
	own, all := ratelimit.UserCodeIP(), ratelimit.UserCodeTenant()
	subject := ratelimit.IP(addr)
	if d := p.deps.Limiter.Allow(ctx, p.Tenant.ID, own, subject); !d.Allowed {
		p.deps.Metrics.RateLimited(own.Name)
		return nil, &signin.Throttled{RetryAfter: d.RetryAfter}
	}
	if d := p.deps.Limiter.Allow(ctx, p.Tenant.ID, all, ""); !d.Allowed {
		p.deps.Limiter.Refund(ctx, p.Tenant.ID, own, subject)
		p.deps.Metrics.RateLimited(all.Name)
		return nil, &signin.Throttled{RetryAfter: d.RetryAfter}
	}
	return func() {
		p.deps.Limiter.Refund(ctx, p.Tenant.ID, own, subject)
		p.deps.Limiter.Refund(ctx, p.Tenant.ID, all, "")
	}, nil
}

// deviceBehind finds the request that waits under a user code. store.ErrNotFound: there is none that could still be answered.
func (p *Provider) deviceBehind(ctx context.Context, tx *store.Tx, plain string) (dbsqlc.DeviceCode, *authRequest, error) {
	row, err := tx.DeviceCodeByUserCode(ctx, dbsqlc.DeviceCodeByUserCodeParams{TenantID: tx.Tenant(), UserCodeDigest: p.userCodeDigest(plain)})
	if err != nil {
		return row, nil, err
	}
	who, err := p.clientIn(ctx, tx, row.ClientID)
	if err != nil {
		return row, nil, err
	}
	form, err := url.ParseQuery(row.Request)
	if err != nil {
		return row, nil, fmt.Errorf("parse device request: %w", err)
	}
	request, err := p.checkDevice(form, who)
	if err != nil { // It was valid when it began; what the client may do has changed since.
		return row, nil, store.ErrNotFound
	}
	return row, request, nil
}

// waitingDevice is the address from which the device asked. signin.ErrExpired: it waits no more.
func waitingDevice(ctx context.Context, tx *store.Tx, id []byte) (string, error) {
	row, err := tx.DeviceCodeWaiting(ctx, dbsqlc.DeviceCodeWaitingParams{TenantID: tx.Tenant(), ID: id})
	if errors.Is(err, store.ErrNotFound) {
		return "", signin.ErrExpired
	}
	return row.IP, err
}

// admitDevice lets the device have what it asked for.
func (p *Provider) admitDevice(ctx context.Context, tx *store.Tx, w Waiting, from audit.Origin) (Answer, error) {
	w.request.grantAll()
	g := newGrantSession()
	g.authorizedBy(*w.Session, "")
	if err := createGrant(ctx, tx, w.request, g); err != nil {
		return Answer{}, err
	}
	id, err := uuid.Parse(w.request.fosit.GetID())
	if err != nil {
		return Answer{}, err
	}
	return Answer{Location: p.URL("/device/done")}, answerDevice(ctx, tx, w, &id, from)
}

// refuseDevice tells the device no.
func (p *Provider) refuseDevice(ctx context.Context, tx *store.Tx, w Waiting, from audit.Origin) (Answer, error) {
	return Answer{Location: p.URL("/device/denied")}, answerDevice(ctx, tx, w, nil, from)
}

// answerDevice ends the wait of a device; without a grant it is a refusal. signin.ErrExpired: somebody else was first, or the
// time is over.
func answerDevice(ctx context.Context, tx *store.Tx, w Waiting, grant *uuid.UUID, from audit.Origin) error {
	n, err := tx.DeviceCodeAnswer(ctx, dbsqlc.DeviceCodeAnswerParams{TenantID: tx.Tenant(), ID: w.DeviceID, GrantID: grant})
	if err != nil {
		return fmt.Errorf("answer device: %w", err)
	}
	if n == 0 {
		return signin.ErrExpired
	}
	e := audit.Event{
		Type: audit.DeviceAuthorized, Status: audit.Success, Target: audit.Client(w.ClientID), ClientID: w.ClientID, Origin: from,
		Detail: map[string]string{"device_ip": w.DeviceIP},
	}
	if grant == nil {
		e.Type, e.Status = audit.DeviceDenied, audit.Failed
	}
	if w.Session != nil {
		e.Actor = audit.User(w.Session.User.ID)
	}
	return audit.Record(ctx, tx, e)
}
