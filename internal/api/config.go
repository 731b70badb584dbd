package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/ratelimit"
	"parako/internal/settings"
	"parako/internal/store"
	"parako/internal/tenant"
)

// The configuration of the tenants, for clients of the platform's own tenant.

const (
	crossRead  = "parako:cross-tenant:read"
	crossWrite = "parako:cross-tenant:write"

	versionsList = "versions"
)

// ConfigSection is one section of a tenant's configuration. Secrets are masked.
type ConfigSection struct {
	Section   string         `json:"section" example:"oidc"`
	Version   int64          `json:"version" doc:"Rises with every change; 0: nothing was ever set."`
	Override  map[string]any `json:"override" doc:"What the tenant has set."`
	Effective any            `json:"effective" doc:"What holds: the defaults, under what the platform has set, under the override, held to the limits."`
}

func (h *Handler) mountConfig(a huma.API) {
	missing := newProblem(http.StatusNotFound, "tenant-not-found", tenant.ErrUnknown.Message)
	section := refuse(settings.ErrSection)
	stale := newProblem(http.StatusPreconditionFailed, "precondition-failed", errStaleSection.Detail)
	wrong := invalid(FieldError{Field: "oidc.token_ttl.access_token", Message: "must be between 1 and 86400"})
	beyond := newProblem(http.StatusUnprocessableEntity, "constraint-violation", messageConstraint)
	beyond.Errors = []FieldError{{Field: "oidc.token_ttl.access_token", Message: "must not be above 3600", Limit: 3600}}
	read := func(o operation) operation {
		o.method, o.scope, o.limit, o.status = http.MethodGet, crossRead, ratelimit.APIRead(), http.StatusOK
		o.refusals = append(o.refusals, missing)
		return o
	}
	write := func(o operation) operation {
		o.scope, o.limit, o.status = crossWrite, ratelimit.APIWrite(), http.StatusOK
		o.refusals = append(o.refusals, missing, section, refuse(settings.ErrChanged), stale, wrong, beyond)
		return o
	}
	register(h, a, operation{
		id: "getConfigSchema", method: http.MethodGet, path: "/config/schema/{section}", scope: crossRead, limit: ratelimit.APIRead(), status: http.StatusOK,
		summary:     "Read the JSON Schema of a section",
		description: "Says what may be written there (draft 2020-12). x-limit, x-scope, x-secret, x-unit and x-awaits say what a schema cannot.",
		refusals:    []*Problem{section},
	}, getSchema)
	const one = "/tenants/{slug}/config/{section}"
	register(h, a, read(operation{
		id: "getTenantConfig", path: "/tenants/{slug}/config", summary: "Read what a tenant has set",
		description: "Answers with every section that the tenant has set something in; null when there is none.",
	}), h.getConfig)
	register(h, a, read(operation{
		id: "getTenantConfigSection", path: one, summary: "Read a section of a tenant's configuration", refusals: []*Problem{section},
		description: "Answers with what the tenant has set, with what holds, and, as ETag, with the version.",
	}), h.getSection)
	register(h, a, write(operation{
		id: "putTenantConfigSection", method: http.MethodPut, path: one, summary: "Replace a section of a tenant's configuration",
		description: "The body is what the tenant sets from now on; what it leaves out, or says null of, is inherited.",
	}), h.putSection)
	register(h, a, write(operation{
		id: "patchTenantConfigSection", method: http.MethodPatch, path: one, summary: "Change a section of a tenant's configuration",
		description: "The body is merged into what the tenant sets (RFC 7396): what it leaves out stays, and null is inherited.",
	}), h.patchSection)
	register(h, a, read(operation{
		id: "listTenantConfigVersions", path: one + "/history", summary: "List the versions of a section", paged: true,
		description: "The newest come first. The newest hundred are kept.", refusals: []*Problem{section, invalid(FieldError{Field: "after", Message: messageCursor})},
	}), h.listVersions)
	register(h, a, read(operation{
		id: "diffTenantConfigVersions", path: one + "/diff", summary: "Compare two versions of a section",
		description: "Lists the settings that the two set differently. Of a secret it tells only that it changed.",
		refusals:    []*Problem{section, refuse(settings.ErrVersion), invalid(FieldError{Field: "to", Message: messageMissing})},
	}), h.diffVersions)
	register(h, a, write(operation{
		id: "rollbackTenantConfigSection", method: http.MethodPost, path: one + "/rollback", summary: "Set a section to what it was",
		description: "Makes a new version of what an old one set. What the platform does not allow any more is refused.", refusals: []*Problem{refuse(settings.ErrVersion)},
	}), h.rollbackSection)
	register(h, a, read(operation{
		id: "explainTenantConfig", path: "/tenants/{slug}/explain", summary: "Explain a setting",
		description: "Says where the value that holds comes from, whether it was held to a limit, and who set it when.",
		refusals:    []*Problem{refuse(settings.ErrKey), invalid(FieldError{Field: "key", Message: messageMissing})},
	}), h.explain)
}

type schemaInput struct {
	Section string `path:"section" doc:"application, branding, security, features, oidc, integrations or notifications." example:"oidc"`
}

type sectionSchema struct {
	Body struct {
		Data map[string]any `json:"data"`
	}
}

func getSchema(_ context.Context, in *schemaInput) (out *sectionSchema, err error) {
	out = &sectionSchema{}
	out.Body.Data, err = settings.Schema(in.Section)
	return out, err
}

// OneSectionInput names a section of a tenant in the path.
type OneSectionInput struct {
	OneTenantInput
	Section string `path:"section" doc:"application, branding, security, features, oidc, integrations or notifications." example:"oidc"`
}

type writeConfigInput struct {
	OneSectionInput
	Conditional
	Reason string `query:"reason" maxLength:"500" doc:"Why, for the history and the audit trail."`
	Body   map[string]any
}

// errStaleSection is what If-Match of a section refuses with.
var errStaleSection = newProblem(http.StatusPreconditionFailed, "precondition-failed", "The section has changed since it was read. Read it again and repeat the change.")

// configured is a tenant with what it and the platform have set.
type configured struct {
	tenant        tenant.Tenant
	platform, own settings.Layer
}

func (h *Handler) configured(ctx context.Context, slug string) (c configured, err error) {
	if c.tenant, err = tenant.BySlug(ctx, h.deps.Store, strings.ToLower(slug)); err != nil {
		return c, err
	}
	if c.platform, err = settings.Platform(ctx, h.deps.Store); err != nil {
		return c, err
	}
	err = h.deps.Store.AskTenant(ctx, c.tenant.ID, func(ctx context.Context, tx *store.Tx) (err error) {
		c.own, err = settings.Read(ctx, tx)
		return err
	})
	return c, err
}

// show answers with a section.
func (c configured) show(section string) (*Single[ConfigSection], error) {
	set, _, err := settings.Effective(c.platform, c.own)
	if err != nil {
		return nil, err
	}
	effective := set.Section(section)
	if effective == nil {
		return nil, settings.ErrSection
	}
	out := &Single[ConfigSection]{ETag: c.etag(section)}
	out.Body.Data = ConfigSection{Section: section, Version: c.own.Version(section), Override: c.own.Override(section), Effective: effective}
	return out, nil
}

// etag names the version of a section.
func (c configured) etag(section string) string {
	return etag(uuid.NewSHA1(c.tenant.ID, []byte(section)), c.own.Version(section))
}

type tenantConfig struct {
	Body struct {
		Data map[string]map[string]any `json:"data" nullable:"true"`
	}
}

func (h *Handler) getConfig(ctx context.Context, in *OneTenantInput) (*tenantConfig, error) {
	c, err := h.configured(ctx, in.Slug)
	if err != nil {
		return nil, err
	}
	out := &tenantConfig{}
	if all := c.own.Export().Sections; len(all) > 0 {
		out.Body.Data = all
	}
	return out, nil
}

func (h *Handler) getSection(ctx context.Context, in *OneSectionInput) (*Single[ConfigSection], error) {
	c, err := h.configured(ctx, in.Slug)
	if err != nil {
		return nil, err
	}
	return c.show(in.Section)
}

func (h *Handler) putSection(ctx context.Context, in *writeConfigInput) (*Single[ConfigSection], error) {
	return h.writeSection(ctx, in, false)
}

func (h *Handler) patchSection(ctx context.Context, in *writeConfigInput) (*Single[ConfigSection], error) {
	return h.writeSection(ctx, in, true)
}

func (h *Handler) writeSection(ctx context.Context, in *writeConfigInput, patch bool) (*Single[ConfigSection], error) {
	document, err := json.Marshal(in.Body)
	if err != nil {
		return nil, err
	}
	return h.change(ctx, in.OneSectionInput, in.Conditional, in.Reason, func(ctx context.Context, tx *store.Tx, c configured, change settings.Change) error {
		sealer, err := h.deps.Vault.Sealer(ctx, tx)
		if err != nil {
			return err
		}
		change.Document, change.Patch, change.Sealer = document, patch, sealer
		_, err = settings.Write(ctx, tx, c.platform, change)
		return err
	})
}

// change does something to a section that is still as the caller has seen it, and answers with what it has become.
func (h *Handler) change(
	ctx context.Context, in OneSectionInput, seen Conditional, reason string, do func(context.Context, *store.Tx, configured, settings.Change) error,
) (*Single[ConfigSection], error) {
	who := callerOf(ctx)
	if !slices.Contains(settings.Sections, in.Section) {
		return nil, settings.ErrSection
	}
	c, err := h.configured(ctx, in.Slug)
	if err != nil {
		return nil, err
	}
	if !seen.matches(c.etag(in.Section)) {
		return nil, errStaleSection
	}
	change := settings.Change{
		Section: in.Section, By: audit.Operator(who.operator()), Reason: reason, Origin: audit.OriginOf(ctx), Match: seen.at(c.own.Version(in.Section)),
	}
	err = h.deps.Store.InTenant(ctx, c.tenant.ID, func(ctx context.Context, tx *store.Tx) error {
		if err := do(ctx, tx, c, change); err != nil {
			return err
		}
		c.own, err = settings.Read(ctx, tx)
		return err
	})
	if errors.Is(err, settings.ErrChanged) && change.Match != nil {
		return nil, errStaleSection
	}
	if err != nil {
		return nil, err
	}
	tell(who, c.tenant, map[string]string{"section": in.Section})
	return c.show(in.Section)
}

// ConfigVersion is a section as it was set once. Secrets are masked.
type ConfigVersion struct {
	Version int64          `json:"version"`
	By      string         `json:"by" doc:"Who set it: a type and an id." example:"operator cli"`
	Reason  string         `json:"reason,omitempty"`
	At      time.Time      `json:"at"`
	Value   map[string]any `json:"value"`
}

type versionsInput struct {
	OneSectionInput
	Paging
}

func (h *Handler) listVersions(ctx context.Context, in *versionsInput) (*List[ConfigVersion], error) {
	who := callerOf(ctx)
	t, err := tenant.BySlug(ctx, h.deps.Store, strings.ToLower(in.Slug))
	if err != nil {
		return nil, err
	}
	list := versionsList + " " + t.ID.String() + " " + in.Section
	after, err := h.readCursor(who, list, in.After)
	if err != nil {
		return nil, err
	}
	before, _ := strconv.ParseInt(after["version"], 10, 64) // The cursor is ours. 0: from the newest.
	var rows []settings.Version
	err = h.deps.Store.AskTenant(ctx, t.ID, func(ctx context.Context, tx *store.Tx) (err error) {
		rows, err = settings.History(ctx, tx, in.Section, before, int32(in.size()+1))
		return err
	})
	if err != nil {
		return nil, err
	}
	out := &List[ConfigVersion]{}
	rows, out.Body.Pagination = cut(rows, in.size(), func(v settings.Version) string {
		return h.cursor(who, list, map[string]string{"version": strconv.FormatInt(v.Version, 10)})
	})
	out.Body.Data = make([]ConfigVersion, len(rows))
	for i, v := range rows {
		out.Body.Data[i] = ConfigVersion{Version: v.Version, By: v.Actor, Reason: v.Reason, At: v.At.UTC(), Value: v.Value}
	}
	return out, nil
}

type diffInput struct {
	OneSectionInput
	From int64 `query:"from" required:"true" minimum:"1" doc:"The version before."`
	To   int64 `query:"to" required:"true" minimum:"1" doc:"The version after."`
}

type differences struct {
	Body struct {
		Data []settings.Difference `json:"data"`
	}
}

func (h *Handler) diffVersions(ctx context.Context, in *diffInput) (*differences, error) {
	t, err := tenant.BySlug(ctx, h.deps.Store, strings.ToLower(in.Slug))
	if err != nil {
		return nil, err
	}
	out := &differences{}
	err = h.deps.Store.ViewTenant(ctx, t.ID, func(ctx context.Context, tx *store.Tx) error {
		before, err := settings.At(ctx, tx, in.Section, in.From)
		if err != nil {
			return err
		}
		after, err := settings.At(ctx, tx, in.Section, in.To)
		if err != nil {
			return err
		}
		out.Body.Data = settings.Diff(in.Section, before, after)
		return nil
	})
	if out.Body.Data == nil {
		out.Body.Data = []settings.Difference{}
	}
	return out, err
}

type rollbackInput struct {
	OneSectionInput
	Conditional
	Body struct {
		Version int64  `json:"version" minimum:"1" doc:"The version to go back to."`
		Reason  string `json:"reason,omitempty" maxLength:"500" doc:"Why, for the history and the audit trail."`
	}
}

func (h *Handler) rollbackSection(ctx context.Context, in *rollbackInput) (*Single[ConfigSection], error) {
	return h.change(ctx, in.OneSectionInput, in.Conditional, in.Body.Reason, func(ctx context.Context, tx *store.Tx, c configured, change settings.Change) error {
		_, err := settings.Rollback(ctx, tx, c.platform, in.Body.Version, change)
		return err
	})
}

type explainInput struct {
	OneTenantInput
	Key string `query:"key" required:"true" doc:"The setting." example:"oidc.token_ttl.access_token"`
}

type explanation struct {
	Body struct {
		Data settings.Explanation `json:"data"`
	}
}

func (h *Handler) explain(ctx context.Context, in *explainInput) (*explanation, error) {
	t, err := tenant.BySlug(ctx, h.deps.Store, strings.ToLower(in.Slug))
	if err != nil {
		return nil, err
	}
	out := &explanation{}
	out.Body.Data, err = settings.ExplainFor(ctx, h.deps.Store, t.ID, in.Key)
	return out, err
}
