package audit_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"parako/internal/audit"
	"parako/internal/store"
	"parako/internal/testkit"
)

func TestMain(m *testing.M) { os.Exit(testkit.Main(m)) }

// trail shows every column that an event decides.
const trail = `
SELECT concat_ws(' | ', type, status, actor_type, actor_id, target_type, target_id, client_id, request_id, ip, user_agent, detail)
  FROM parako.audit_events
 WHERE type <> 'tenant.created'
 ORDER BY id`

func TestRecord(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	user := uuid.MustParse("0190b0a0-0000-4000-8000-000000000001")
	tests := map[string]struct {
		event audit.Event
		want  string
	}{
		"everything is kept": {
			audit.Event{
				Type: audit.LoginSucceeded, Status: audit.Success, Actor: audit.User(user),
				Target: audit.Thing("session", "s1"), ClientID: "shop",
				Origin: audit.Origin{RequestID: "r1", IP: "192.0.2.1", UserAgent: "Firefox"},
				Detail: map[string]string{"amr": "pwd"},
			},
			`login.succeeded | success | user | ` + user.String() + ` | session | s1 | shop | r1 | 192.0.2.1 | Firefox | {"amr": "pwd"}`,
		},
		"nobody in particular is anonymous": {
			audit.Event{Type: audit.LoginFailed, Status: audit.Failed, Target: audit.Client("shop")},
			`login.failed | failed | anonymous |  | client | shop |  |  |  |  | {}`,
		},
		"the process itself is the system": {
			audit.Event{Type: audit.KeyCreated, Status: audit.Info, Actor: audit.System()},
			`key.created | info | system |  |  |  |  |  |  |  | {}`,
		},
		"an operator": {
			audit.Event{Type: audit.ClientCreated, Status: audit.Warning, Actor: audit.Operator("ada")},
			`client.created | warning | operator | ada |  |  |  |  |  |  | {}`,
		},
		// PostgreSQL takes neither a zero byte nor invalid UTF-8: an attacker who could send one would not be recorded.
		"what PostgreSQL does not hold is replaced wherever a caller can put it": {
			audit.Event{
				Type: audit.LoginFailed, Status: audit.Failed, Actor: audit.Client("a\x00"), Target: audit.Thing("user", "\xff"),
				ClientID: "c\x00", Origin: audit.Origin{RequestID: "\x00", IP: "\xc3", UserAgent: "x\x00\xff"},
				Detail: map[string]string{"rea\x00son": "\x00\xf0\x9f"},
			},
			`login.failed | failed | client | a? | user | ? | c? | ? | ? | x?? | {"rea?son": "???"}`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			org := testkit.Tenant(t, s, "t"+strings.ReplaceAll(uuid.NewString(), "-", ""))
			if err := s.InTenant(t.Context(), org.ID, func(ctx context.Context, tx *store.Tx) error {
				return audit.Record(ctx, tx, tt.event)
			}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{tt.want}, db.Ask(t, org.ID, trail)); diff != "" {
				t.Errorf("trail mismatch (-want +got)\n%s", diff)
			}
		})
	}
}

func TestRecordStandsAndFallsWithItsTransaction(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	org, other := testkit.Tenant(t, s, "acme"), testkit.Tenant(t, s, "other")
	undo := errors.New("undo")
	record := func(requestID string, then func(context.Context, *store.Tx) error) error {
		return s.InTenant(t.Context(), org.ID, func(ctx context.Context, tx *store.Tx) error {
			e := audit.Event{Type: audit.LoggedOut, Status: audit.Success, Origin: audit.Origin{RequestID: requestID}}
			if err := audit.Record(ctx, tx, e); err != nil {
				return err
			}
			return then(ctx, tx)
		})
	}
	ask := func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.TenantByID(ctx, org.ID)
		return err
	}

	if err := record("committed", ask); err != nil {
		t.Fatal(err)
	}
	if err := record("alone", func(context.Context, *store.Tx) error { return nil }); err != nil {
		t.Fatal(err)
	}
	err := record("rolled back", func(ctx context.Context, tx *store.Tx) error { return errors.Join(ask(ctx, tx), undo) })
	if !errors.Is(err, undo) {
		t.Fatalf("got %v, want %v", err, undo)
	}

	const requests = "SELECT request_id FROM parako.audit_events WHERE type = 'logout' ORDER BY id"
	if diff := cmp.Diff([]string{"committed", "alone"}, db.Ask(t, org.ID, requests)); diff != "" {
		t.Errorf("trail mismatch (-want +got)\n%s", diff)
	}
	if got := db.Ask(t, other.ID, requests); len(got) != 0 {
		t.Errorf("another tenant reads %q", got)
	}
}

func TestRecordMakesNoRoundTrip(t *testing.T) {
	t.Parallel()
	s := testkit.NewDB(t).Store(t)
	org := testkit.Tenant(t, s, "acme")
	if err := s.InTenant(t.Context(), org.ID, func(ctx context.Context, tx *store.Tx) error {
		err := audit.Record(ctx, tx, audit.Event{Type: audit.LoggedOut, Status: audit.Success})
		// A transaction borrows its connection when it first has something to send.
		if _, _, acquired := s.PoolStats(); acquired != 0 {
			t.Errorf("%d connections are in use after Record, want 0", acquired)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

func TestRecordFailsTheTransactionThatCannotBeRecorded(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	s := db.Store(t)
	org := testkit.Tenant(t, s, "acme")
	err := s.InTenant(t.Context(), org.ID, func(ctx context.Context, tx *store.Tx) error {
		if _, err := tx.TenantTouch(ctx, org.ID); err != nil {
			return err
		}
		return audit.Record(ctx, tx, audit.Event{Type: audit.LoggedOut, Status: "unheard of"})
	})
	if err == nil {
		t.Error("the transaction committed without its event")
	}
	got := db.Ask(t, org.ID, "SELECT revision::text FROM parako.tenants")
	if diff := cmp.Diff([]string{"1"}, got); diff != "" {
		t.Errorf("revision mismatch (-want +got)\n%s", diff)
	}
}

func TestTrailCannotBeChanged(t *testing.T) {
	t.Parallel()
	db := testkit.NewDB(t)
	org := testkit.Tenant(t, db.Store(t), "acme")
	const insufficientPrivilege = "42501"
	for _, sql := range []string{
		"UPDATE parako.audit_events SET status = 'success' WHERE tenant_id = parako.current_tenant()",
		"DELETE FROM parako.audit_events WHERE tenant_id = parako.current_tenant()",
		"TRUNCATE parako.audit_events",
	} {
		if got := db.Refused(t, org.ID, sql); got != insufficientPrivilege {
			t.Errorf("%s: SQLSTATE %q, want %s", sql, got, insufficientPrivilege)
		}
	}
}

func TestPrintable(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		in    string
		limit int
		want  string
	}{
		"plain text passes":   {"Mozilla/5.0 (X11)", 512, "Mozilla/5.0 (X11)"},
		"every script passes": {"Ünïcödé 日本 🙂", 512, "Ünïcödé 日本 🙂"},
		"cut at the limit":    {"abcdef", 3, "abc"},
		"exactly the limit":   {"abc", 3, "abc"},
		"nothing":             {"", 3, ""},
		"no room":             {"abc", 0, ""},
		"a character that does not fit is left out": {"ab日", 4, "ab"},
		"a line break cannot forge another line":    {"a\r\nb", 512, "a??b"},
		"a terminal is not commanded":               {"\x1b[2J\u009b2J", 512, "?[2J?2J"},
		"a right-to-left override does not reorder": {"admin\u202etxt.exe", 512, "admin?txt.exe"},
		"invalid UTF-8":         {"a\xff\xfeb", 512, "a??b"},
		"a zero byte":           {"a\x00b", 512, "a?b"},
		"half a surrogate pair": {"\xed\xa0\x80", 512, "???"},
		"a replacement character counts as its mark": {"�", 1, "?"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := audit.Printable(tt.in, tt.limit); got != tt.want {
				t.Errorf("Printable(%q, %d) = %q, want %q", tt.in, tt.limit, got, tt.want)
			}
		})
	}
}

// FuzzPrintable: the result always fits, is valid, and is what the same text would be made into again.
func FuzzPrintable(f *testing.F) {
	f.Add("Mozilla/5.0", 512)
	f.Add("日本", 4)
	f.Add("\xff\x00\u202e", 2)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		got := audit.Printable(s, limit)
		if len(got) > max(limit, 0) || !utf8.ValidString(got) || strings.ContainsRune(got, 0) {
			t.Errorf("Printable(%q, %d) = %q", s, limit, got)
		}
		if again := audit.Printable(got, limit); again != got {
			t.Errorf("Printable(%q) = %q, and of that %q", s, got, again)
		}
	})
}
