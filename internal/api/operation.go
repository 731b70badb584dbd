package api

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"parako/internal/oidc"
	"parako/internal/problem"
	"parako/internal/ratelimit"
	"parako/internal/tenant"
)

// maxBody is the largest body of a request.
const maxBody = 10 << 10

// security is what the OpenAPI document calls the way to authenticate.
const security = "client_credentials"

// operation describes one call.
type operation struct {
	id, method, path     string
	summary, description string
	// scope is what the token must say.
	scope string
	limit ratelimit.Limit
	// status is that of success.
	status int
	// refusals are what it answers besides those that every operation can.
	refusals []*Problem
	paged    bool
}

// What refusals say that are answered in more than one place, or answered and documented.
const (
	messageScope    = "The access token lacks a scope that this call needs."
	messageRate     = "The client has called too often. Wait before the next call."
	messageJSON     = "The body of the request must be one JSON document."
	messageTooLarge = "The request body is too large."
	messageCursor   = "is not a cursor of this list"
	messageMissing  = "required query parameter is missing"
	messageMedia    = "The body of the request must be application/json."
)

// register adds an operation to the router and to the document. handle must be a method or a function with a name.
func register[I, O any](h *Handler, a huma.API, o operation, handle func(context.Context, *I) (*O, error)) {
	op := huma.Operation{
		OperationID: o.id, Method: o.method, Path: o.path, Summary: o.summary, Description: o.description, DefaultStatus: o.status,
		MaxBodyBytes: maxBody + 1, // huma refuses what reaches the limit
		Security:     []map[string][]string{{security: {o.scope}}},
		Middlewares:  huma.Middlewares{h.permit(o.scope), h.slow(o.limit)},
	}
	if o.paged {
		op.Parameters = []*huma.Param{limitParameter()}
	}
	op.Responses = map[string]*huma.Response{}
	for _, status := range o.everyRefusal() {
		op.Responses[strconv.Itoa(status)] = &huma.Response{Ref: "#/components/responses/" + refusalName(status)}
	}
	for _, example := range o.refusals {
		describe(a, op.Responses, strconv.Itoa(example.Status), example, Mount+o.path)
	}
	huma.Register(a, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := handle(ctx, in)
		if err != nil {
			late := problem.Late(ctx, err)
			p := refuse(late)
			if p.Status == http.StatusInternalServerError || errors.Is(late, problem.ErrLate) {
				h.deps.Log.ErrorContext(ctx, "request_failed", "error", err.Error())
			}
			return nil, p
		}
		return out, nil
	})
	h.handlers[o.method+" "+echoPath(Mount+o.path)] = handlerName(handle)
}

// everyRefusal are the statuses of refusals that do not depend on the operation.
func (o operation) everyRefusal() []int {
	all := []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable}
	if o.method == http.MethodPost || o.method == http.MethodPut || o.method == http.MethodPatch {
		all = append(all, http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	return all
}

// refusalName is what the document calls the answer of a status that many operations have.
func refusalName(status int) string { return strings.ReplaceAll(http.StatusText(status), " ", "") }

// describeRefusals puts into the document, once, what operations refuse with alike.
func describeRefusals(a huma.API) {
	scope := newProblem(http.StatusForbidden, "scope-insufficient", messageScope)
	scope.RequiredScopes = []string{tenantsWrite}
	rate := newProblem(http.StatusTooManyRequests, "rate-limit-exceeded", messageRate)
	quota, busy, late := refuse(tenant.ErrQuotaRequests), refuse(ratelimit.ErrBusy), refuse(problem.ErrLate)
	rate.RetryAfter, quota.RetryAfter, busy.RetryAfter = 2, 1, 1
	responses := map[string]*huma.Response{}
	for _, example := range []*Problem{
		newProblem(http.StatusUnauthorized, "unauthorized", oidc.ErrAPITokenMissing.Message),
		newProblem(http.StatusUnauthorized, "token-invalid", oidc.ErrAPITokenInvalid.Message),
		newProblem(http.StatusUnauthorized, "token-expired", oidc.ErrAPITokenExpired.Message),
		newProblem(http.StatusForbidden, "forbidden", oidc.ErrPlatformScope.Message), scope, rate, quota, busy, late,
		newProblem(http.StatusInternalServerError, "internal", problem.From(nil).Message),
		newProblem(http.StatusBadRequest, "validation", messageJSON),
		newProblem(http.StatusRequestEntityTooLarge, "body-too-large", messageTooLarge),
		newProblem(http.StatusUnsupportedMediaType, "unsupported-media-type", messageMedia),
	} {
		describe(a, responses, refusalName(example.Status), example, Mount+"/tenants")
	}
	responses[refusalName(http.StatusUnauthorized)].Headers["WWW-Authenticate"] = &huma.Param{
		Description: "What to authenticate with.", Schema: &huma.Schema{Type: huma.TypeString},
	}
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		responses[refusalName(status)].Headers["Retry-After"] = &huma.Param{
			Description: "In how many seconds to try again.", Schema: &huma.Schema{Type: huma.TypeInteger},
		}
	}
	a.OpenAPI().Components.Responses = responses
}

// describe adds the example of a refusal to the responses, under the name. A response that many operations have becomes one of its
// own with what it had.
func describe(a huma.API, responses map[string]*huma.Response, name string, example *Problem, path string) {
	document := *example
	document.Instance, document.RequestID = path, "0197d6c1-6b0a-7c33-9a53-0c2f1f1a7b11"
	r := responses[name]
	if r == nil || r.Ref != "" {
		own := &huma.Response{
			Description: http.StatusText(example.Status), Headers: map[string]*huma.Param{},
			Content: map[string]*huma.MediaType{mediaProblem: {
				Schema: huma.SchemaFromType(a.OpenAPI().Components.Schemas, reflect.TypeFor[Problem]()), Examples: map[string]*huma.Example{},
			}},
		}
		if r != nil {
			shared := a.OpenAPI().Components.Responses[refusalName(example.Status)]
			maps.Copy(own.Headers, shared.Headers)
			maps.Copy(own.Content[mediaProblem].Examples, shared.Content[mediaProblem].Examples)
		}
		r = own
		responses[name] = r
	}
	r.Content[mediaProblem].Examples[example.Type[len(urn):]] = &huma.Example{Summary: example.Title, Value: &document}
}

// permit lets a call pass whose token has the scope.
func (h *Handler) permit(scope string) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		if slices.Contains(callerOf(ctx.Context()).Scopes, scope) {
			next(ctx)
			return
		}
		p := newProblem(http.StatusForbidden, "scope-insufficient", messageScope)
		p.RequiredScopes = []string{scope}
		c := echoOf(ctx)
		c.Response().Header().Set("WWW-Authenticate", `Bearer realm="parako-management-api", error="insufficient_scope", scope="`+scope+`"`)
		h.answer(ctx, p)
	}
}

// slow lets a call pass while the client keeps to its rate, and says what is left of it.
func (h *Handler) slow(limit ratelimit.Limit) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		who := callerOf(ctx.Context())
		d := h.deps.Limiter.Allow(ctx.Context(), who.tenant.ID, limit, who.ID)
		policy, state := limit.Headers(d)
		ctx.SetHeader("RateLimit-Policy", policy)
		ctx.SetHeader("RateLimit", state)
		if d.Allowed {
			next(ctx)
			return
		}
		h.deps.Metrics.RateLimited(limit.Name)
		p := newProblem(http.StatusTooManyRequests, "rate-limit-exceeded", messageRate)
		p.RetryAfter = max(ratelimit.Seconds(d.RetryAfter), 1)
		ctx.SetHeader("Retry-After", strconv.Itoa(p.RetryAfter))
		h.answer(ctx, p)
	}
}

// answer ends a call with a problem before its operation.
func (h *Handler) answer(ctx huma.Context, p *Problem) {
	c := echoOf(ctx)
	if err := p.write(c); err != nil {
		h.deps.Log.ErrorContext(c.Request().Context(), "render_error_failed", "error", err.Error())
	}
}
