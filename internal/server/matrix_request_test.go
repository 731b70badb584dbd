package server_test

import (
	"cmp"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"
	"golang.org/x/oauth2"

	"parako/internal/oidc"
)

// own is what the host's own request is made of. It is new for every request, so that none disturbs the next.
type own struct {
	host   marked
	client oidc.Client
	shape  shape
	// session is the token of the person's session; empty: nobody is signed in.
	session string
	// interaction waits for whoever holds flow.
	interaction   uuid.UUID
	flow          string
	sheet, script string
	userCode      string
	// registered is an application that registered itself, and registration its token.
	registered, registration string
	// ward is the slug of a tenant that the platform may do as it likes with.
	ward string
}

// shape is what the parameters say that choose between the ways through one route.
type shape struct{ grant, scope, prompt string }

var shapes = []shape{
	{grant: "authorization_code", scope: "openid offline_access", prompt: "none"},
	{grant: "refresh_token", scope: "openid", prompt: "login"},
	{grant: "client_credentials"},
}

func say(text string) func(own) string { return func(own) string { return text } }

// parameters are the names under which routes read out of queries and forms, and what the host's own request says there;
// nil: nothing. What can be used once is of the right form and unknown, so that the request stops short of using it.
var parameters = map[string]func(own) string{
	"access_token":             nil,
	"acr_values":               nil,
	"alg":                      nil,
	"archive":                  nil,
	"after":                    nil,
	"before":                   nil,
	"assertion":                nil,
	"audience":                 nil,
	"claims":                   nil,
	"client_assertion":         nil,
	"client_assertion_type":    nil,
	"client_id":                func(o own) string { return o.client.ID },
	"client_secret":            nil,
	"code":                     say("parako_ac_" + strings.Repeat("x", 43) + "." + strings.Repeat("y", 43)),
	"code_challenge":           say(oauth2.S256ChallengeFromVerifier(verifier)),
	"code_challenge_method":    say("S256"),
	"code_verifier":            say(verifier),
	"confirm":                  nil,
	"days":                     nil,
	"deep":                     say("true"),
	"do":                       nil,
	"domain":                   say("acme.localhost"), // of the other listener, which knows no tenant
	"device_code":              nil,
	"display_name":             nil,
	"dpop_jkt":                 nil,
	"error":                    nil,
	"from":                     say("1"),
	"grace_days":               nil,
	"grant_type":               func(o own) string { return o.shape.grant },
	"email":                    nil,
	"id_token_hint":            nil,
	"iss":                      nil,
	"issuer_url":               nil,
	"identifier":               nil,
	"include_count":            nil,
	"key":                      say("oidc.token_ttl.access_token"),
	"kid":                      nil,
	"limit":                    nil,
	"login_hint":               func(o own) string { return o.host.Email },
	"logout_hint":              nil,
	"max_age":                  nil,
	"name":                     nil,
	"nonce":                    say("the-nonce"),
	"password":                 nil,
	"post_logout_redirect_uri": func(o own) string { return o.host.after },
	"prompt":                   func(o own) string { return o.shape.prompt },
	"reason":                   nil,
	"redirect_uri":             func(o own) string { return o.host.callback },
	"refresh_token":            say("parako_rt_" + strings.Repeat("x", 43) + "." + strings.Repeat("y", 43)),
	"registration":             nil,
	"request":                  nil,
	"request_uri":              nil,
	"resource":                 nil,
	"response_mode":            nil,
	"revision":                 nil,
	"saved":                    nil,
	"seen":                     nil,
	"version":                  nil,
	"response_type":            say("code"),
	"scope":                    func(o own) string { return o.shape.scope },
	"slug":                     nil,
	"state":                    say("the-state"),
	"status":                   nil,
	"subject_token":            nil,
	"to":                       say("1"),
	"token":                    say("parako_at_" + strings.Repeat("x", 43) + "." + strings.Repeat("y", 43)),
	"token_type_hint":          nil,
	"ui_locales":               say("en"),
	"user_code":                func(o own) string { return o.userCode },
	"username":                 nil,
}

// costly parameters stand in a request together, and only where it is about one of them: hashing a password takes its time.
var costly = map[string]func(own) string{
	"identifier": func(o own) string { return o.host.Email },
	"password":   func(o own) string { return o.host.password },
}

// pathParameters are the parameters of paths, and what the host's own are.
var pathParameters = map[string]func(own) string{
	"id":        func(o own) string { return o.interaction.String() },
	"hash":      func(o own) string { return o.sheet },
	"digest":    func(o own) string { return strings.Split(o.script, "/")[0] },
	"client_id": func(o own) string { return cmp.Or(o.registered, o.host.Web.ID) },
	"name":      func(o own) string { return strings.Split(o.script, "/")[1] },
	"domain":    say("login.ward.example"),
	"kid":       say("no-such-key"),
	"section":   say("application"),
	"slug":      func(o own) string { return o.ward },
}

var (
	headers = []string{
		"Accept", "Accept-Encoding", "Accept-Language", "Authorization", "Client-Cert", "Content-Type", "DPoP", "If-Match", "If-None-Match", "Origin", "X-Forwarded-For", "X-Forwarded-Host", "X-Request-Id", "X-Tenant-Id",
	}
	cookies = []string{"application_session", "lang", "locale", "parako_flow_", "parako_social_"}
)

// place is where something stands in a request.
type place struct{ in, name string }

const (
	inPath   = "path"
	inFields = "fields" // the form of a request that has a body, the query of one that has none
	inQuery  = "query"
	inHeader = "header"
	inCookie = "cookie"
	// inProxied is a header of a trusted proxy.
	inProxied = "proxy's header"
)

var (
	authorization = place{inHeader, "Authorization"}
	sessionCookie = place{inCookie, "application_session"}
	grantType     = place{inFields, "grant_type"}
	prompt        = place{inFields, "prompt"}
)

// load is what stands where.
type load map[place]string

func pathNames(r *echo.Route) []string {
	var names []string
	for part := range strings.SplitSeq(r.Path, "/") {
		if name, ok := strings.CutPrefix(part, ":"); ok {
			names = append(names, name)
		} else if strings.Contains(part, "*") {
			names = append(names, part)
		}
	}
	return names
}

// readIn reports whether what stands here is read, given all that is. A request with a body is read there, not in its query.
func (p place) readIn(read map[[2]string]bool) bool {
	kind := map[string]string{inPath: "path", inFields: "parameter", inHeader: "header", inProxied: "header", inCookie: "cookie"}[p.in]
	return read[[2]string{kind, p.name}]
}

// places are all places of a request to the route apart from its path.
func places(r *echo.Route) []place {
	var all []place
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		all = append(all, place{inFields, name})
		if hasBody(r) {
			all = append(all, place{inQuery, name})
		}
	}
	if isJSON(r) && !isAPI(r) {
		for _, field := range reflect.VisibleFields(reflect.TypeFor[oidc.ClientMetadata]()) {
			if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" && parameters[name] == nil && name != "sector_identifier_uri" { // which would be called
				all = append(all, place{inFields, name})
			}
		}
	}
	for _, name := range headers {
		if name != "Content-Type" {
			all = append(all, place{inHeader, name})
		}
	}
	for _, name := range cookies {
		all = append(all, place{inCookie, name})
	}
	return all
}

func hasBody(r *echo.Route) bool {
	return slices.Contains([]string{http.MethodPost, http.MethodPut, http.MethodPatch}, r.Method)
}

// isJSON reports whether the route reads what an application says of itself (RFC 7591), or is one of the Management API.
func isJSON(r *echo.Route) bool {
	return hasBody(r) && (strings.Contains(r.Path, "/register-rp") || isAPI(r))
}

func isAPI(r *echo.Route) bool { return strings.HasPrefix(r.Path, "/api/") }

// bodies are the members of a valid body of a route of the Management API.
var bodies = map[string]func(own) map[string]string{
	"POST /api/v1/tenants": func(own) map[string]string {
		return map[string]string{"slug": "made-" + uuid.NewString()[:13], "display_name": "Made"}
	},
	"PATCH /api/v1/tenants/:slug":                         func(own) map[string]string { return map[string]string{"display_name": "Ward"} },
	"PUT /api/v1/tenants/:slug/status":                    func(own) map[string]string { return map[string]string{"status": "active", "reason": "a reason"} },
	"PUT /api/v1/tenants/:slug/config/:section":           func(own) map[string]string { return map[string]string{"title": "Ward"} },
	"PATCH /api/v1/tenants/:slug/config/:section":         func(own) map[string]string { return map[string]string{"description": "A ward"} },
	"POST /api/v1/tenants/:slug/config/:section/rollback": func(own) map[string]string { return map[string]string{"version": rawJSON + "1"} },
	"POST /api/v1/tenants/:slug/restore":                  func(own) map[string]string { return nil },
	"PUT /api/v1/tenants/:slug/quota":                     func(own) map[string]string { return map[string]string{"users": rawJSON + "1000"} },
	"PATCH /api/v1/tenants/:slug/quota":                   func(own) map[string]string { return map[string]string{"clients": rawJSON + "null"} },
	"POST /api/v1/tenants/:slug/domains":                  func(own) map[string]string { return map[string]string{"domain": "login.ward.example"} },
	"POST /api/v1/tenants/:slug/domains/:domain/check":    func(own) map[string]string { return nil },
	"PUT /api/v1/tenants/:slug/primary-domain":            func(own) map[string]string { return map[string]string{"domain": rawJSON + "null"} },
	"POST /api/v1/tenants/:slug/jwks/rotate":              func(own) map[string]string { return nil },
}

// reachedBy are routes of the platform that its program gets nothing but refusals from here, and the tests in which it gets more.
var reachedBy = map[string]string{
	"DELETE /api/v1/tenants/:slug":                     "TestAPIDeletion",
	"POST /api/v1/tenants/:slug/restore":               "TestAPIDeletion",
	"GET /api/v1/tenants/:slug/certificate":            "TestAPIDeletion",
	"POST /api/v1/tenants/:slug/domains/:domain/check": "TestAPIDomains",
	"DELETE /api/v1/tenants/:slug/jwks/:kid":           "TestAPIKeys",
	"POST /api/v1/tenants/:slug/jwks/rotate":           "TestAPIKeys", // The call before has used up the rate.
}

// rawJSON begins what stands in a body as it is, and not as a text.
const rawJSON = "JSON "
