// Package api is the Management API: what programs administer a tenant with, under [Mount] on the tenant's own host. Its
// operations are typed functions; from them huma makes the checks of requests and the OpenAPI document, which is served and is
// the contract.
//
// A call goes through the same steps, whatever it is: the access token (package oidc checks it), the record of what was changed
// or refused, the scope of the operation, the client's rate, the body, and last the operation itself. Nothing below Mount but
// the document is answered without a token, an unknown path neither. There is one file per resource. The package keeps no state
// of a tenant. Start reading at [Handler.Mount].
package api

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"runtime"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"
	"github.com/labstack/echo/v4"

	"parako/internal/audit"
	"parako/internal/oidc"
	"parako/internal/ratelimit"
	"parako/internal/store"
	"parako/internal/telemetry"
	"parako/internal/tenant"
)

// Mount is the path under which the API lives, on every tenant's host.
const Mount = "/api/v1"

// document is the path of the OpenAPI document, below Mount. It says the same to everybody.
const document = "/openapi.json"

// Deps are what the API is made of.
type Deps struct {
	Protocol *oidc.Handler
	Store    *store.Store
	Vault    tenant.Vault
	Domains  *tenant.Registrar
	Base     *url.URL // DEPLOYMENT_URL
	Limiter  *ratelimit.Limiter
	Metrics  *telemetry.Metrics
	Log      *slog.Logger
	// MultiTenant: there are tenants to administer.
	MultiTenant bool
}

// Handler serves the API, of whichever tenant the request belongs to.
type Handler struct {
	deps     Deps
	openapi  []byte
	handlers map[string]string // what handles a route, by method and path
}

// New makes a Handler.
func New(deps Deps) *Handler {
	return &Handler{deps: deps, handlers: map[string]string{}}
}

// Mount adds the routes to e, and in front of all that is below [Mount] the check of the token. The tenant must be known by then.
func (h *Handler) Mount(e *echo.Echo) error {
	e.Use(h.admit)
	g := e.Group(Mount)
	g.GET(document, h.serveDocument)
	a := humaecho.NewWithGroup(e, g, h.config())
	describeRefusals(a)
	if h.deps.MultiTenant {
		h.mountTenants(a)
		h.mountLife(a)
		h.mountQuota(a)
		h.mountDomains(a)
		h.mountKeys(a)
		h.mountConfig(a)
	}
	for _, r := range e.Routes() {
		if name := h.handlers[r.Method+" "+r.Path]; name != "" {
			r.Name = name // as echo calls the routes that it makes itself
		}
	}
	text, err := json.MarshalIndent(a.OpenAPI(), "", "  ")
	if err != nil {
		return fmt.Errorf("write OpenAPI document: %w", err)
	}
	h.openapi = append(text, '\n')
	return nil
}

func (h *Handler) serveDocument(c echo.Context) error {
	c.Response().Header().Set("Cache-Control", "max-age=300")
	return c.Blob(http.StatusOK, echo.MIMEApplicationJSON, h.openapi)
}

// caller is the client that an operation runs for, and what is recorded of the call.
type caller struct {
	oidc.APIClient
	tenant tenant.Tenant
	target audit.Party
	detail map[string]string
}

type callerKey struct{}

// callerOf is the client that called. It panics when there is none: an operation that runs without one is a bug that must not
// reach data.
func callerOf(ctx context.Context) *caller {
	c, ok := ctx.Value(callerKey{}).(*caller)
	if !ok {
		panic("api: no caller in context")
	}
	return c
}

// operator is the caller in the trail of another tenant, for which it is whoever runs the deployment.
func (c *caller) operator() string { return "api:" + c.ID }

// changed says what the call has changed, for the record.
func (c *caller) changed(target audit.Party, detail map[string]string) {
	c.target, c.detail = target, detail
}

// admit lets a request below Mount pass when its token does, and records what became of it.
func (h *Handler) admit(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if r.URL.Path != Mount && !strings.HasPrefix(r.URL.Path, Mount+"/") || c.Path() == Mount+document && r.Method == http.MethodGet {
			return next(c)
		}
		c.Response().Header().Set("Cache-Control", "no-store")
		p, err := h.deps.Protocol.Provider(c)
		if err != nil {
			return err
		}
		client, err := p.APIClient(c)
		if err != nil {
			return err
		}
		who := &caller{APIClient: client, tenant: p.Tenant}
		c.SetRequest(r.WithContext(context.WithValue(r.Context(), callerKey{}, who)))
		if err := next(c); err != nil {
			c.Error(err) // Here, so that the record says how it was answered.
		}
		h.record(c, who)
		return nil
	}
}

// recordTimeout bounds the record of a call whose own time may be over.
const recordTimeout = 5 * time.Second

// record adds a call that changed something, or was refused, to the trail of the caller's tenant. What it changed in other rows
// was recorded with the change; this says who called. A flood of refused calls is cut.
func (h *Handler) record(c echo.Context, who *caller) {
	r, status := c.Request(), c.Response().Status
	refused := status >= http.StatusBadRequest
	if !refused && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		return
	}
	// Whoever hangs up does not get out of the record. The answer leaves after it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), recordTimeout)
	defer cancel()
	if refused && !h.deps.Limiter.Allow(ctx, who.tenant.ID, ratelimit.APIRefused(), who.ID).Allowed {
		h.deps.Metrics.RateLimited(ratelimit.APIRefused().Name)
		return
	}
	e := audit.Event{
		Type: audit.APIRequest, Status: audit.Success, Actor: audit.Client(who.ID), Target: who.target, ClientID: who.ID, Origin: oidc.Origin(c),
		Detail: map[string]string{"method": r.Method, "route": route(c), "status_code": fmt.Sprint(status)},
	}
	if refused {
		e.Status = audit.Failed
	}
	maps.Copy(e.Detail, who.detail)
	err := h.deps.Store.InTenant(ctx, who.tenant.ID, func(ctx context.Context, tx *store.Tx) error { return audit.Record(ctx, tx, e) })
	if err != nil {
		h.deps.Log.ErrorContext(ctx, "audit_failed", "error", err.Error())
	}
}

// route is the path of the operation with the names of its parameters; what a caller invents is "unknown".
func route(c echo.Context) string {
	path, known := strings.CutPrefix(c.Path(), Mount+"/")
	if !known {
		return "unknown"
	}
	return "/" + path
}

// handlerName is how the router calls a function.
func handlerName(handler any) string {
	return runtime.FuncForPC(reflect.ValueOf(handler).Pointer()).Name()
}

// echoOf is the request of an operation as the router has it.
func echoOf(ctx huma.Context) echo.Context { return humaecho.Unwrap(ctx) }
