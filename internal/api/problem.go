package api

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"

	"parako/internal/problem"
	"parako/internal/settings"
	"parako/internal/telemetry"
	"parako/internal/tenant"
)

// mediaProblem is the media type of errors (RFC 9457 section 3).
const mediaProblem = "application/problem+json"

// Problem is an error of the API (RFC 9457).
type Problem struct {
	Type      string `json:"type" doc:"What kind of error it is: urn:parako:error: and a code. Programs branch on this."`
	Title     string `json:"title" doc:"The kind in words."`
	Status    int    `json:"status" doc:"The HTTP status."`
	Detail    string `json:"detail" doc:"What went wrong here, for people."`
	Instance  string `json:"instance" doc:"The path of the request, as a URI reference."`
	RequestID string `json:"request_id" doc:"The id under which logs and the audit trail know the request."`

	RequiredScopes []string     `json:"required_scopes,omitempty" doc:"With scope-insufficient: the scopes that the call needs."`
	Errors         []FieldError `json:"errors,omitempty" doc:"With validation and constraint-violation: what is wrong with the request."`
	RetryAfter     int          `json:"retry_after,omitempty" doc:"With rate-limit-exceeded, quota-requests, tenant-busy and answer-late: in how many seconds to try again."`
}

// FieldError says what is wrong with one part of a request.
type FieldError struct {
	Field   string `json:"field" doc:"The member, the parameter, or (root)."`
	Message string `json:"message"`
	Limit   any    `json:"limit,omitempty" doc:"With constraint-violation: what the platform allows."`
}

// Error implements error, and with GetStatus huma.StatusError.
func (p *Problem) Error() string { return p.Type + ": " + p.Detail }

// GetStatus is described at Error.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders implements huma.HeadersError.
func (p *Problem) GetHeaders() http.Header {
	if p.RetryAfter == 0 {
		return nil
	}
	return http.Header{"Retry-After": {strconv.Itoa(p.RetryAfter)}}
}

// ContentType implements huma.ContentTypeFilter.
func (*Problem) ContentType(string) string { return mediaProblem }

// urn begins the types of errors.
const urn = "urn:parako:error:"

// titles are the types that have a title of their own.
var titles = map[string]string{
	"unauthorized":         "Unauthorized",
	"token-expired":        "Token Expired",
	"token-invalid":        "Invalid Token",
	"forbidden":            "Insufficient Scope",
	"scope-insufficient":   "Required Scope Missing",
	"not-found":            "Resource Not Found",
	"tenant-not-found":     "Tenant Not Found",
	"conflict":             "Resource Conflict",
	"body-too-large":       "Request Body Too Large",
	"validation":           "Validation Error",
	"section-not-allowed":  "Configuration Section Not Allowed",
	"constraint-violation": "Floor/Ceiling Constraint Violation",
	"rate-limit-exceeded":  "Rate Limit Exceeded",
	"internal":             "Internal Server Error",
}

func newProblem(status int, code, detail string) *Problem {
	title := titles[code]
	if title == "" {
		title = http.StatusText(status)
	}
	if code == "validation" && status == http.StatusBadRequest {
		title = "Malformed JSON"
	}
	return &Problem{Type: urn + code, Title: title, Status: status, Detail: detail}
}

// invalid refuses a request that is well formed and means nothing.
func invalid(faults ...FieldError) *Problem {
	p := newProblem(http.StatusUnprocessableEntity, "validation", "The request is not valid.")
	p.Errors = faults
	return p
}

// at is the problem of this request.
func (p *Problem) at(c echo.Context) *Problem {
	there := *p
	there.Instance, there.RequestID = c.Request().URL.EscapedPath(), telemetry.RequestID(c.Request().Context())
	return &there
}

// write answers with the problem.
func (p *Problem) write(c echo.Context) error {
	c.Response().Header().Set(echo.HeaderContentType, mediaProblem)
	c.Response().WriteHeader(p.Status)
	return c.Echo().JSONSerializer.Serialize(c, p.at(c), "")
}

// WriteProblem answers a request below /api with an error that no operation has answered. retryAfter is in how many seconds to try
// again; 0: that helps nobody.
func WriteProblem(c echo.Context, trouble *problem.Error, retryAfter int) error {
	p := newProblem(trouble.Kind.Status(), strings.ReplaceAll(trouble.Code, "_", "-"), trouble.Message)
	p.RetryAfter = retryAfter
	return p.write(c)
}

// fields are the members of requests that what a domain refuses is about, by its code.
var fields = map[string]string{
	"slug_format": "slug", "domain_format": "domain", "display_name_length": "display_name", "status_unknown": "status",
	"reason_length": "reason", "domain_refused": "domain", "issuer_format": "issuer_url", "grace_range": "grace_days", "quota_range": "requests_per_second",
}

// refuse is the answer to an error of an operation. What a domain finds invalid is said of the member it is about, and what it
// does not allow in the present state is a conflict.
func refuse(err error) *Problem {
	if p, ok := err.(*Problem); ok { //nolint:errorlint // Operations return it as it is.
		return p
	}
	if refused, ok := errors.AsType[*settings.Refused](err); ok {
		return refuseSettings(refused)
	}
	trouble := problem.From(err)
	if errors.Is(err, settings.ErrSection) {
		return newProblem(http.StatusBadRequest, "section-not-allowed", trouble.Message)
	}
	switch trouble.Kind {
	case problem.Invalid:
		field := fields[trouble.Code]
		if field == "" {
			field = "(root)"
		}
		return invalid(FieldError{Field: field, Message: trouble.Message})
	case problem.NotFound:
		code := "not-found"
		if errors.Is(err, tenant.ErrUnknown) {
			code = "tenant-not-found"
		}
		return newProblem(http.StatusNotFound, code, trouble.Message)
	case problem.Conflict, problem.Forbidden:
		return newProblem(http.StatusConflict, "conflict", trouble.Message)
	case problem.Unavailable:
		p := newProblem(trouble.Kind.Status(), strings.ReplaceAll(trouble.Code, "_", "-"), trouble.Message)
		p.RetryAfter = problem.LateRetry
		return p
	default:
		return newProblem(trouble.Kind.Status(), strings.ReplaceAll(trouble.Code, "_", "-"), trouble.Message)
	}
}

// messageConstraint is the detail of constraint-violation.
const messageConstraint = "The platform does not allow these values."

// refuseSettings lists what is wrong with a change of settings, each value by its path.
func refuseSettings(r *settings.Refused) *Problem {
	p := invalid()
	for _, fault := range r.Faults {
		path, want, _ := strings.Cut(fault, " ")
		p.Errors = append(p.Errors, FieldError{Field: strings.TrimSuffix(path, ":"), Message: want})
	}
	if len(r.Violations) == 0 {
		return p
	}
	p = newProblem(http.StatusUnprocessableEntity, "constraint-violation", messageConstraint)
	for _, v := range r.Violations {
		p.Errors = append(p.Errors, FieldError{Field: v.Path, Message: strings.TrimPrefix(v.Message, v.Path+" "), Limit: v.Limit})
	}
	return p
}

// translate puts the errors that huma finds in a request into the form of ours. The value that was wrong is not repeated.
func translate(ctx huma.Context, _ string, v any) (any, error) {
	switch v := v.(type) {
	case *Problem:
		return v.at(echoOf(ctx)), nil
	case *huma.ErrorModel:
		return fromHuma(v).at(echoOf(ctx)), nil
	}
	return v, nil
}

func fromHuma(m *huma.ErrorModel) *Problem {
	switch m.Status {
	case http.StatusUnprocessableEntity:
		p := invalid()
		for _, d := range m.Errors {
			p.Errors = append(p.Errors, fieldError(d))
		}
		return p
	case http.StatusBadRequest:
		return newProblem(m.Status, "validation", messageJSON)
	case http.StatusRequestEntityTooLarge:
		return newProblem(m.Status, "body-too-large", messageTooLarge)
	case http.StatusUnsupportedMediaType:
		return newProblem(m.Status, "unsupported-media-type", messageMedia)
	case http.StatusRequestTimeout:
		return newProblem(m.Status, "request-timeout", "The body of the request did not arrive in time.")
	}
	return newProblem(http.StatusInternalServerError, "internal", problem.From(m).Message)
}

// fieldError names the member as a caller knows it. huma says "body.slug", and of a member that is missing where it should be.
func fieldError(d *huma.ErrorDetail) FieldError {
	f := FieldError{Field: d.Location, Message: d.Message}
	for _, where := range []string{"body", "query", "path", "header"} {
		if rest, ok := strings.CutPrefix(f.Field, where); ok {
			f.Field = strings.TrimPrefix(rest, ".")
			break
		}
	}
	if name, ok := strings.CutPrefix(d.Message, "expected required property "); ok {
		f.Field, f.Message = strings.TrimPrefix(f.Field+"."+strings.TrimSuffix(name, " to be present"), "."), "is required"
	}
	if d.Message == "unexpected property" {
		f.Message = "is unknown"
	}
	if f.Field == "" {
		f.Field = "(root)"
	}
	return f
}
