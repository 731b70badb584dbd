package server_test

import (
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
)

// searchCalls looks at what other servers were asked: a request to a tenant's address holds nothing of another.
func (s *story) searchCalls(t *testing.T) {
	t.Helper()
	if s.calls == nil {
		return
	}
	for deadline := time.After(time.Minute); !s.toldOfLogouts(); {
		select {
		case <-deadline:
			t.Fatal("not every application was told that the session has ended")
		case <-time.After(10 * time.Millisecond):
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	to := map[string]int{}
	for _, request := range s.called {
		of := found(request, s.tenants)
		if len(of) != 1 || !strings.Contains(request, " /"+of[0].word+"/") {
			t.Errorf("a request to another server holds what it should not:\n%s", request)
			continue
		}
		to[of[0].word]++
	}
	for _, m := range s.tenants {
		if to[m.word] == 0 {
			t.Errorf("nobody was called for %s: the search is blind", m.word)
		}
	}
}

// found says which of the tenants' marks are in the text.
func found(text string, tenants []marked) (of []marked) {
	low := strings.ToLower(text)
	for _, m := range tenants {
		if slices.ContainsFunc(m.marks, func(mark string) bool { return strings.Contains(low, mark) }) {
			of = append(of, m)
		}
	}
	return of
}

// searchAnswers looks for the other tenant in what this one's people and clients got, and checks that no cache on the way can
// give it to anybody else.
func searchAnswers(t *testing.T, w *witness, other marked) {
	t.Helper()
	if len(w.seen) < 50 {
		t.Errorf("%s got %d answers: it has hardly lived", w.m.word, len(w.seen))
	}
	for _, e := range w.seen {
		var all strings.Builder
		if err := e.answer.Write(&all); err != nil {
			t.Fatal(err)
		}
		if text := all.String() + e.body; len(found(text, []marked{other})) > 0 || strings.Contains(text, other.ID.String()) {
			t.Errorf("%s of %s is answered with something of %s:\n%s", e.request, w.m.word, other.word, text)
		}
		control, vary := e.answer.Get("Cache-Control"), strings.Join(e.answer.Values("Vary"), ", ")
		if !strings.HasPrefix(e.request, http.MethodGet) || strings.Contains(control, "no-store") {
			continue
		}
		if !strings.Contains(vary, "Host") && !strings.Contains(control, "immutable") {
			t.Errorf("%s of %s (%d) may be kept (%q) and given to another host (Vary: %s)", e.request, w.m.word, e.status, control, vary)
		}
		if !strings.Contains(strings.ToLower(vary), "x-tenant-id") {
			t.Errorf("%s of %s (%d) may be kept (%q) and given to another tenant of this host (Vary: %s)", e.request, w.m.word, e.status, control, vary)
		}
	}
}

// compareETags checks that two answers have one ETag only when they are the same.
func compareETags(t *testing.T, witnesses []*witness) {
	t.Helper()
	bodies := map[string]string{}
	for _, w := range witnesses {
		for _, e := range w.seen {
			tag := e.answer.Get("ETag")
			if body, met := bodies[tag]; tag != "" && met && body != e.body {
				t.Errorf("%s of %s has the ETag of something else", e.request, w.m.word)
			}
			bodies[tag] = e.body
		}
	}
}

// searchRows takes every table there is: a row with a tenant's word in it is that tenant's.
func (s *story) searchRows(t *testing.T) {
	t.Helper()
	tables := s.DB.AskAbove(t, `
		SELECT format('SELECT %L, %s, x::text FROM %I.%I AS x', c.oid::regclass,
		              coalesce((SELECT a.attname FROM pg_attribute AS a
		                         WHERE a.attrelid = c.oid AND a.attname = CASE c.relname WHEN 'tenants' THEN 'id' ELSE 'tenant_id' END)::text, 'NULL::uuid'),
		              n.nspname, c.relname)
		  FROM pg_class AS c
		  JOIN pg_namespace AS n ON n.oid = c.relnamespace
		 WHERE c.relkind IN ('r', 'p', 'm', 'f') AND NOT c.relispartition AND n.nspname NOT IN ('pg_catalog', 'information_schema')
		   AND n.nspname !~ '^pg_toast'`)
	every := "WITH every (name, owner, row) AS (" + strings.Join(tables, " UNION ALL ") + ") "
	for _, m := range s.tenants {
		for _, mark := range m.marks {
			inHex := hex.EncodeToString([]byte(mark)) // in a column of bytes
			for _, row := range s.DB.AskAbove(t, every+`SELECT name || ': ' || row FROM every
				 WHERE (lower(row) LIKE '%' || $1 || '%' OR row LIKE '%' || $2 || '%') AND owner IS DISTINCT FROM $3`, mark, inHex, m.ID) {
				t.Errorf("%q of %s is in a row that is not its own: %s", mark, m.word, row)
			}
		}
		if n := s.DB.AskAbove(t, every+"SELECT count(DISTINCT name)::text FROM every WHERE owner = $1 AND lower(row) LIKE '%' || $2 || '%'", m.ID, m.word)[0]; n < "5" && len(n) == 1 {
			t.Errorf("%s has its word in %s tables only: the search is blind", m.word, n)
		}
	}
}

// searchRedis looks at every key, every value and every message.
func (s *story) searchRedis(t *testing.T) {
	t.Helper()
	under := map[string]int{}
	entries := redisEntries(s.Redis)
	for key, value := range entries {
		scope := strings.Split(key, ":")[1]
		under[scope]++
		for _, m := range s.tenants {
			named := len(found(key+value, []marked{m})) > 0 || strings.Contains(key+value, m.ID.String())
			if named && scope != m.ID.String() {
				t.Errorf("redis holds something of %s under %s: %s", m.word, key, value)
			}
		}
		if uuid.Validate(scope) != nil && key != "parako:_ops:probe" { // the connection's own upkeep
			t.Errorf("redis key %s is nobody's", key)
		}
	}
	for _, m := range s.tenants {
		if under[m.ID.String()] == 0 && !strings.Contains(s.Journal.String(), "redis lost") {
			t.Errorf("redis holds nothing of %s: the search is blind. It has %v", m.word, slices.Collect(maps.Keys(entries)))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.heard) == 0 {
		t.Error("nothing was published: the search is blind")
	}
	// The one channel tells every instance that some tenant has changed. It says which and nothing else: the operator's business.
	hint := regexp.MustCompile(`^parako:_ops:hints [0-9a-f-]{36} [0-9]+$`)
	for _, message := range s.heard {
		if !hint.MatchString(message) || len(found(message, s.tenants)) > 0 {
			t.Errorf("redis published %q", message)
		}
	}
}

// redisEntries are all keys with their values as text, whatever their type.
func redisEntries(redis *miniredis.Miniredis) map[string]string {
	entries := map[string]string{}
	key := ""
	for line := range strings.Lines(redis.Dump()) {
		if name, ok := strings.CutPrefix(line, "- "); ok {
			key = strings.TrimSuffix(name, "\n")
			entries[key] = ""
			continue
		}
		entries[key] += line
	}
	return entries
}

// searchMetrics looks at what is scraped.
func (s *story) searchMetrics(t *testing.T) {
	t.Helper()
	w := httptest.NewRecorder()
	s.Server.Metrics().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	text := w.Body.String()
	limited := s.calls != nil || strings.Contains(text, `parako_rate_limited_total{`) // in development nobody is
	if !strings.Contains(text, "parako_token_issued_total") || !limited {
		t.Errorf("the metrics count nothing: the search is blind")
	}
	for _, m := range s.tenants {
		if len(found(text, []marked{m})) > 0 || strings.Contains(text, m.ID.String()) {
			t.Errorf("the metrics name %s", m.word)
		}
	}
	if strings.Contains(text, "tenant=") {
		t.Error("a metric has a label for the tenant")
	}
}

// operatorsOwn are log lines without a tenant, or of the gateway, that may hold what a caller says: whoever asks for the health of
// the process, or asks the gateway anything, speaks to the operator.
var operatorsOwn = regexp.MustCompile(`"msg":"request".*"url":"/(health|readyz)\b|"tenant":"_ops"`)

// searchLogs takes the log line by line. A line of one tenant holds nothing of the other, a line without a tenant nothing of
// anybody; before they are scrubbed, too, no line holds something of both.
func (s *story) searchLogs(t *testing.T) {
	t.Helper()
	lines := map[string]int{}
	for line := range strings.Lines(s.Journal.String()) {
		var record struct {
			Tenant string `json:"tenant"`
		}
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		lines[record.Tenant]++
		for _, m := range s.tenants {
			if record.Tenant != m.Slug && !operatorsOwn.MatchString(line) && (len(found(line, []marked{m})) > 0 || strings.Contains(line, m.ID.String())) {
				t.Errorf("a line of %q holds something of %s: %s", record.Tenant, m.word, line)
			}
		}
	}
	for line := range strings.Lines(s.Logs.String()) {
		if len(found(line, s.tenants)) > 1 {
			t.Errorf("a line holds something of two tenants: %s", line)
		}
	}
	for _, m := range s.tenants {
		if lines[m.Slug] < 50 {
			t.Errorf("the log has %d lines of %s: the search is blind", lines[m.Slug], m.word)
		}
	}
}
