package server_test

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"parako/internal/config"
	"parako/internal/directory"
	"parako/internal/oidc"
	"parako/internal/platform"
	"parako/internal/tenant"
	"parako/internal/testkit/app"
)

// The matrix sends everything that one tenant has to every route of another tenant's host, as everyone who could. It is
// generated: the routes come from the router, the names under which they read from the source (TestMatrixKnowsWhatRoutesRead),
// the ids from every column of every table that holds any. What is right is one rule:
//
//	What is another tenant's is answered like what never was, byte for byte but for what is random; it is refused or it makes no
//	difference; and it leaves no trace in any row of another tenant, nor in the answer.
//
// A new route is in the matrix as soon as it is in the router. When the generator cannot drive it, the test fails and says
// what to add here.

// caller is who sends the request. What it carries belongs to the host, or, when never is set, to somebody else: never is
// the same as it would look had it never been.
type caller struct {
	name    string
	client  oidc.Client
	person  *directory.User // of the host; a session is made for each request
	carries load
	never   load
	// registered says that it is an application that registered itself, a new one for each request.
	registered bool
	alike      bool // another caller is much the same
}

// matrix asks one tenant's host with what belongs to another.
type matrix struct {
	a             *app.App
	handler       http.Handler
	host, foreign marked
	sheet, script string // the host's
	userCode      string // the host's
	initial       string // the host's
	ward          string
	everybody     []string // the ids of all but the host and the ward
	callers       []caller
	anonymous     caller
	belongings    []belonging
	values        []value
	ids           map[string]string // of the foreign tenant, and what they are
	digest        string            // SQL: a digest of the rows of everybody but the host
	before        string            // what it was
	asked, cells  atomic.Int64
	functions     map[string]*function
	thorough      bool      // with every text at every place
	turn          int       // rises with every route, so that each has its own turns
	forms         [][]value // the values by form

	mu    sync.Mutex
	pairs [][2]string // the ids of two requests that the host's trail must not tell apart
}

func TestEveryRouteAsEveryoneWithEverythingOfAnother(t *testing.T) {
	t.Parallel()
	a := app.New(t, func(c *config.Config) { c.ClientCertificateHeader = "Client-Cert" })
	platforms, err := tenant.BySlug(t.Context(), a.Store, tenant.PlatformsSlug)
	if err != nil {
		t.Fatal(err)
	}
	tenants := []marked{mark(t, a, "okapi", 1), mark(t, a, "quetzal", 2), settle(t, a, platforms, "zorilla", 3)}
	held := make([]holdings, len(tenants))
	for i, m := range tenants {
		held[i] = hold(t, a, m)
	}
	ward := a.AddTenant(t, "ward")
	all := functions(t)
	for _, pair := range []struct {
		host, foreign, third int
		thorough             bool
	}{{2, 0, 1, false}, {0, 1, 2, true}} {
		t.Run(tenants[pair.host].Slug+" asked with what is "+tenants[pair.foreign].Slug+"'s", func(t *testing.T) {
			m := newMatrix(t, a, tenants, held, ward, pair.host, pair.foreign, pair.third)
			m.functions, m.thorough = all, pair.thorough && !raced
			if !m.thorough {
				m.callers = slices.DeleteFunc(m.callers, func(c caller) bool { return c.alike })
			}
			for _, r := range m.routes() {
				t.Run(r.Method+" "+r.Path, func(t *testing.T) { m.drive(t, r) })
			}
			m.compareTrails(t)
			held[pair.foreign].alive(t, a, tenants[pair.foreign])
			held[pair.host].carried(t, a, tenants[pair.host])
			t.Logf("%d cells, %d requests", m.cells.Load(), m.asked.Load())
		})
	}
}

func newMatrix(t *testing.T, a *app.App, tenants []marked, held []holdings, ward app.Tenant, host, foreign, third int) *matrix {
	t.Helper()
	h, f := tenants[host], tenants[foreign]
	m := &matrix{
		a: a, handler: a.Server.Handler(), host: h, foreign: f, sheet: held[host].sheet, script: held[host].script, userCode: held[host].userCode, initial: held[host].initial,
		anonymous: caller{name: "anonymous", client: h.SPA}, belongings: held[foreign].belongings(t, f, h),
		values: held[foreign].values(t, a, f, h), ids: map[string]string{}, ward: ward.Slug,
		everybody: a.DB.AskAbove(t, "SELECT id::text FROM parako.tenants WHERE id <> $1 AND id <> $2", h.ID, ward.ID),
	}
	kinds := map[string]int{}
	for _, v := range m.values {
		m.ids[v.text] = v.name
		n, met := kinds[kindOf(v.text)]
		if !met {
			n = len(m.forms)
			kinds[kindOf(v.text)] = n
			m.forms = append(m.forms, nil)
		}
		m.forms[n] = append(m.forms[n], v)
	}
	m.callers = []caller{
		m.anonymous,
		{name: "person", client: h.SPA, person: &h.User, alike: true},
		{name: "administrator", client: h.SPA, person: &h.admin},
		{name: "web application", client: h.Web, carries: load{authorization: basic(h.Web.ID, h.Web.Secret)}, alike: true},
		{name: "device", client: h.box, carries: load{{inFields, "client_id"}: h.box.ID, {inFields, "client_secret"}: h.box.Secret}},
		{name: "service", client: h.M2M, carries: load{authorization: basic(h.M2M.ID, h.M2M.Secret)}},
		{name: "person's token", client: h.SPA, carries: load{authorization: "Bearer " + held[host].access}},
		{name: "application to be", client: h.SPA, carries: load{authorization: "Bearer " + held[host].initial}},
		{name: "application that registered itself", client: h.SPA, registered: true},
		{name: "service's token", client: h.SPA, carries: load{authorization: "Bearer " + held[host].service}, alike: true},
		{name: keeper, client: h.SPA, carries: load{authorization: "Bearer " + held[host].api}},
	}
	theirs := func(who string, other int, at place, text string, alike bool) caller {
		never := neverWas(text)
		if at == authorization {
			text, never = "Bearer "+text, "Bearer "+never
		}
		return caller{name: who + " of " + tenants[other].Slug, client: h.SPA, carries: load{at: text}, never: load{at: never}, alike: alike}
	}
	id, password := neverWas(f.Web.ID), neverWas(f.Web.Secret)
	m.callers = append(m.callers,
		theirs("person", foreign, sessionCookie, held[foreign].cookie, true),
		theirs("administrator", foreign, sessionCookie, held[foreign].adminCookie, false),
		theirs("person's token", foreign, authorization, held[foreign].access, true),
		theirs("service's token", foreign, authorization, held[foreign].service, false),
		theirs(keeper, foreign, authorization, held[foreign].api, false),
		caller{
			name: "web application of " + f.Slug, client: h.SPA,
			carries: load{authorization: basic(f.Web.ID, f.Web.Secret), {inFields, "client_id"}: f.Web.ID},
			never:   load{authorization: basic(id, password), {inFields, "client_id"}: id},
		},
		theirs("administrator", third, sessionCookie, held[third].adminCookie, false),
		theirs("person's token", third, authorization, held[third].access, true),
	)
	m.digest = digestOfOthers(t, a)
	m.before = m.others(t)
	return m
}

// basic is the header with which a client authenticates (RFC 6749 section 2.3.1).
func basic(id, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(secret)))
}

// keeper is the caller with a token for the Management API.
const keeper = "program"

// administersTenants reports whether the route is one of the platform's, by which it reads and changes other tenants.
func administersTenants(r *echo.Route) bool {
	return strings.HasPrefix(r.Path, "/api/v1/tenants") || strings.HasPrefix(r.Path, "/api/v1/config/")
}

// digestOfOthers is a query for a digest of every row of the tenants ($1), in every table.
func digestOfOthers(t *testing.T, a *app.App) string {
	t.Helper()
	parts := a.DB.AskAbove(t, `
		SELECT format('SELECT %1$L || x::text AS r FROM parako.%1$I AS x %2$s', relname,
		              CASE relname WHEN 'tenants' THEN 'WHERE id = ANY ($1::text[]::uuid[])' WHEN 'audit_drops' THEN '' ELSE 'WHERE tenant_id = ANY ($1::text[]::uuid[])' END)
		  FROM pg_class
		 WHERE relnamespace = 'parako'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
		   AND relname NOT IN ('audit_seals', 'audit_leaves') -- they come in the background`)
	return "SELECT sum(('x' || left(md5(r), 15))::bit(60)::bigint)::text FROM (" + strings.Join(parts, " UNION ALL ") + ") AS every"
}

func (m *matrix) others(t *testing.T) string {
	t.Helper()
	return m.a.DB.AskAbove(t, m.digest, m.everybody)[0]
}

// routes are the routes of the router, in an order. Those of the platform are on the host of its own tenant alone
// (TestPlatformIsServedOnItsOwnHostAlone).
func (m *matrix) routes() []*echo.Route {
	return slices.SortedFunc(func(yield func(*echo.Route) bool) {
		for _, r := range m.a.Server.Routes() {
			if (!ofPlatform(r) || m.host.Slug == tenant.PlatformsSlug) && !yield(r) {
				return
			}
		}
	}, func(a, b *echo.Route) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Method, b.Method))
	})
}

// ofPlatform reports whether a route is one of the platform's pages. Its administrators see every tenant there, and nobody else does.
func ofPlatform(r *echo.Route) bool {
	return r.Path == "/platform" || strings.HasPrefix(r.Path, "/platform/")
}

// cell is one question: a caller puts a belonging into a request.
type cell struct {
	who   caller
	shape shape
	puts  belonging
	key   string // what the answer to puts.never depends on
}

func (m *matrix) drive(t *testing.T, r *echo.Route) {
	t.Helper()
	for _, name := range pathNames(r) {
		if pathParameters[name] == nil {
			t.Fatalf("the path parameter %q is new: say in pathParameters what the host's own is, so that the matrix reaches what is behind it", name)
		}
	}
	everyone := m.callers
	defer func() { m.callers = everyone }()
	if ofPlatform(r) {
		m.callers = slices.DeleteFunc(slices.Clone(m.callers), func(c caller) bool { return c.person != nil && platform.RoleOf(*c.person) != "" })
	}
	ways := m.ways(t, r)
	cells := map[string][]cell{}
	for i, who := range m.callers {
		all := m.cellsOf(t, r, ways, i)
		for n, c := range all {
			if !raced || (n+i+m.turn)%10 == 0 { // The race detector looks for something else, and a part will do for that.
				cells[who.name] = append(cells[who.name], c)
			}
		}
	}
	m.turn++
	t.Run("as", func(t *testing.T) {
		for _, who := range m.callers {
			t.Run(who.name, func(t *testing.T) {
				known := notes{answers: map[string]answer{}, searched: map[string]bool{}}
				for _, c := range cells[who.name] {
					if m.check(t, r, c, known); t.Failed() {
						break // The rest would say the same in other words.
					}
				}
			})
		}
	})
	before := m.before
	if m.before = m.others(t); m.before == before {
		return
	}
	t.Errorf("rows of other tenants than %s have changed", m.host.Slug)
	for _, who := range m.callers {
		for _, c := range cells[who.name] {
			m.ask(t, r, c.who, c.shape, c.puts.there, false)
			if before, m.before = m.before, m.others(t); m.before != before {
				t.Fatalf("they change when %s sends %s", who.name, c.puts.name)
			}
		}
	}
}

// ways are the shapes that lead to different answers of the route. A route that has nothing but refusals for its own tenant
// fails the test: behind it, nothing would be tried.
func (m *matrix) ways(t *testing.T, r *echo.Route) []shape {
	t.Helper()
	var ways []shape
	if administersTenants(r) {
		m.a.Redis.FlushAll() // where the rates of the program are counted, which the routes before have used up
	}
	seen, reached := map[string]bool{}, false
	for _, s := range shapes {
		var answers string
		for _, who := range m.callers {
			if who.never != nil {
				continue
			}
			got := m.ask(t, r, who, s, nil, false)
			answers += strip(got.text) + "\n"
			if !reached && got.refused() { // Perhaps it wants to know who this is.
				got = m.ask(t, r, who, s, load{{inFields, "identifier"}: m.host.Email, {inFields, "email"}: uuid.NewString() + "@" + m.host.word + ".example"}, false)
			}
			reached = reached || got.status < http.StatusBadRequest
		}
		if !seen[answers] {
			seen[answers] = true
			ways = append(ways, s)
		}
	}
	if administersTenants(r) {
		ways = shapes[:1]
		foreigners := m.host.Slug != tenant.PlatformsSlug
		if name := r.Method + " " + r.Path; reached == foreigners && (reached || reachedBy[name] == "") {
			t.Fatalf("a program of %s reaches what the platform's own administer tenants with: %t", m.host.Slug, reached)
		}
		return ways
	}
	if !reached {
		t.Fatal("nobody gets more than a refusal: teach parameters, pathParameters and shapes in matrix_request_test.go what a valid request of this route has (a path parameter that is another kind of thing wants a name of its own)")
	}
	return ways
}

// cellsOf are the questions of the i-th caller. Everybody asks with the belongings that stand where the route reads, and with
// everything in the path. For the rest the callers take turns: every text where the route reads something called like an id, one
// of each form elsewhere where it reads, and some where it reads nothing, should the source be misunderstood.
func (m *matrix) cellsOf(t *testing.T, r *echo.Route, ways []shape, i int) []cell {
	t.Helper()
	who, read := m.callers[i], readBy(t, m.functions, r.Name)
	if who.name == keeper && administersTenants(r) && m.host.Slug == tenant.PlatformsSlug {
		return nil // What is another tenant's is what it asks for here: TestAPITenants.
	}
	var cells []cell
	for _, s := range ways {
		cells = append(cells, cell{who, s, belonging{name: "nothing"}, "nothing"})
	}
	for turn, b := range m.belongings {
		mine := (turn+m.turn)%len(m.callers) == i
		if b.costs() {
			mine = i < 2
		} else if b.read(read) {
			mine = true
		}
		if mine && b.fits(r) {
			cells = append(cells, cell{who, ways[turn%len(ways)], b, fmt.Sprint(b.never)})
		}
	}
	put := func(v value, at place, s shape) {
		there, never := v.text, v.never
		switch at {
		case authorization:
			there, never = "Bearer "+there, "Bearer "+never
		case sessionCookie:
			there, never = m.host.Slug+"."+there, m.host.Slug+"."+never
		}
		cells = append(cells, cell{
			who, s, belonging{v.name + " in the " + at.in + " as " + at.name, load{at: there}, load{at: never}}, at.in + at.name + kindOf(v.text),
		})
	}
	for _, name := range pathNames(r) {
		turn := 0
		for _, group := range m.forms {
			for nth, v := range group {
				turn++
				// Where not every text is tried by everybody, one of each form is, and of the others each route has its part.
				if m.thorough || turn%len(m.callers) == i && (nth == 0 || (turn/len(m.callers)+m.turn)%4 == 0) {
					put(v, place{inPath, name}, ways[0])
				}
			}
		}
	}
	if !m.thorough {
		return cells
	}
	for turn, at := range places(r) {
		likeID := at.name == "id" || strings.HasSuffix(at.name, "_id")
		for n, group := range m.forms {
			s := ways[(turn+n)%len(ways)]
			some := (turn+n+m.turn)%6 == 0 || at.readIn(read) && costly[at.name] == nil
			for nth, v := range group {
				if some && (nth == 0 || likeID) && (turn+n+nth)%len(m.callers) == i {
					put(v, at, s)
				}
			}
		}
	}
	return cells
}

func (b belonging) read(read map[[2]string]bool) bool {
	return slices.ContainsFunc(slices.Collect(maps.Keys(b.there)), func(at place) bool { return at.readIn(read) && at != grantType && at != prompt })
}

// costs reports whether a password is hashed for the belonging.
func (b belonging) costs() bool {
	return slices.ContainsFunc(slices.Collect(maps.Keys(b.there)), func(at place) bool { return costly[at.name] != nil })
}

// fits reports whether the route has the places in its path that the belonging wants.
func (b belonging) fits(r *echo.Route) bool {
	for at := range b.there {
		if at.in == inPath && !slices.Contains(pathNames(r), at.name) {
			return false
		}
	}
	return true
}

// notes are what the cells of one caller at one route share: answers by what they depend on, and the answers that have been
// searched.
type notes struct {
	answers  map[string]answer
	searched map[string]bool
}

// check asks the question and applies the rule.
func (m *matrix) check(t *testing.T, r *echo.Route, c cell, known notes) {
	t.Helper()
	m.cells.Add(1)
	shared := func(key string, ask func() answer) answer {
		key = fmt.Sprint(c.shape, key)
		a, ok := known.answers[key]
		if !ok {
			a = ask()
			known.answers[key] = a
		}
		return a
	}
	got := m.ask(t, r, c.who, c.shape, c.puts.there, false)
	never := shared(c.key, func() answer { return m.ask(t, r, c.who, c.shape, c.puts.never, true) })
	if diff := difference(answer.masked, got, never); diff != "" {
		t.Errorf("%s is told from what never was (-it +what never was)\n%s", c.puts.name, diff)
	}
	plain := c.who
	if c.who.never != nil {
		plain = m.anonymous
	}
	addressed := slices.ContainsFunc(slices.Collect(maps.Keys(c.puts.there)), func(at place) bool { return at.in == inPath })
	switch {
	case addressed && got.status == http.StatusUnauthorized && isAPI(r):
		// The token comes before the path.
	case addressed && got.status < http.StatusNotFound && got.refused() && slices.Contains(pathNames(r), "client_id"):
		// Without its token nobody learns whether an application is there: 401 (RFC 7592 section 2.1), or 400 for a header that holds none.
	case addressed && ofPlatform(r) && got.status == http.StatusSeeOther:
		// Whoever is not signed in is to sign in, whatever is there.
	case addressed && got.status != http.StatusNotFound && got.status != http.StatusForbidden:
		t.Errorf("%s: status %d, want 404 or 403\n%s", c.puts.name, got.status, got.text)
	case !addressed && !got.refused():
		// As if the host's own stood there, or nothing.
		bare := func(a answer) string { return bare(a.text, c.who.carries, c.puts.there) }
		usual := shared("", func() answer { return m.ask(t, r, plain, c.shape, nil, false) })
		if difference(bare, got, usual) == "" {
			break
		}
		nothing := load{}
		for at := range c.puts.there {
			nothing[at] = ""
		}
		without := shared(fmt.Sprint(nothing), func() answer { return m.ask(t, r, plain, c.shape, nothing, false) })
		if diff := difference(bare, got, without); diff != "" {
			t.Errorf("%s makes a difference (-with it +without)\n%s", c.puts.name, diff)
		}
	}
	if !known.searched[got.text] {
		known.searched[got.text] = true
		m.search(t, c, got.masked())
	}
	m.mu.Lock()
	m.pairs = append(m.pairs, [2]string{got.id, never.id})
	m.mu.Unlock()
}

// search looks for traces of the foreign tenant in an answer from which what was sent has been taken out.
func (m *matrix) search(t *testing.T, c cell, text string) {
	t.Helper()
	low := strings.ToLower(text)
	for _, mark := range m.foreign.marks {
		if strings.Contains(low, mark) {
			t.Errorf("the answer to %s holds %q\n%s", c.puts.name, mark, text)
		}
	}
	eachWord(text, func(word string) string {
		if what := m.ids[word]; what != "" {
			t.Errorf("the answer to %s holds %s, %s\n%s", c.puts.name, word, what, text)
		}
		return word
	})
}

// compareTrails fails the test when the host's audit trail says something else of a foreign belonging than of what never was.
func (m *matrix) compareTrails(t *testing.T) {
	t.Helper()
	trail := map[string][]string{}
	for _, row := range m.a.DB.Ask(t, m.host.ID, `
		SELECT request_id || ' ' || concat_ws('|', type, status, actor_type, actor_id <> '', target_type, target_id <> '', detail::text)
		  FROM parako.audit_events ORDER BY occurred_at, type`) {
		id, event, _ := strings.Cut(row, " ")
		trail[id] = append(trail[id], event)
	}
	recorded := false
	for _, pair := range m.pairs {
		one, other := trail[pair[0]], trail[pair[1]]
		if len(one)+len(other) == 1 && strings.HasPrefix(strings.Join(slices.Concat(one, other), ""), "api.request|failed|") {
			continue // Of many refused calls of one client not each is recorded.
		}
		if recorded = recorded || len(one) > 0; !slices.Equal(one, other) {
			t.Fatalf("the trail of %s says %q of the foreign and %q of what never was", m.host.Slug, one, other)
		}
	}
	if !recorded {
		t.Error("the trail says nothing of any request: the comparison is blind")
	}
}
