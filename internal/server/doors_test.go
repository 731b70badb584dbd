package server_test

import (
	"go/types"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// doors are what the server is built of besides the standard library, and who searches what leaves the process there; empty:
// nothing does.
var doors = map[string]string{
	"github.com/jackc/pgx/v5":             "rows in PostgreSQL: searchRows",
	"github.com/pressly/goose/v3":         "the schema alone",
	"github.com/riverqueue/river":         "jobs, which are rows: searchRows",
	"github.com/redis/rueidis":            "keys, values and messages in Redis: searchRedis",
	"github.com/labstack/echo/v4":         "answers: searchAnswers",
	"github.com/danielgtaylor/huma/v2":    "answers, through echo: searchAnswers",
	"github.com/prometheus/client_golang": "metrics: searchMetrics",
	"github.com/ory/fosite":               "nothing: it is given no HTTP client, and its answers go through echo",
	"github.com/wneessen/go-mail":         "mail, through package outbound: TestNewSessionIsTold reads it",
	"github.com/BurntSushi/toml":          "",
	"github.com/caarlos0/env/v11":         "",
	"github.com/go-crypt/crypt":           "",
	"github.com/go-jose/go-jose/v4":       "",
	"github.com/google/uuid":              "",
	"github.com/mileusna/useragent":       "",
	"github.com/nicksnyder/go-i18n/v2":    "",
	"golang.org/x/net/idna":               "",
	"golang.org/x/net/publicsuffix":       "",
	"golang.org/x/sync":                   "",
	"golang.org/x/text":                   "",
}

// closedDoors are packages of the standard library that let something out and that the server does without.
var closedDoors = []string{"log", "log/syslog", "net/rpc", "net/smtp", "os/exec", "plugin"}

// outward are the functions by which one reaches out with the packages that the server does use.
var outward = regexp.MustCompile(`^(\(\*?net\.\w+\)|net)\.(Dial|Listen|Lookup)|^net/http\.(Get|Head|Post|ListenAndServe|Serve)|^\(\*net/http\.(Client|Transport)\)|^fmt\.Print|^os\.|^syscall\.`)

// searched are the ways out that are taken all the same, by file and function.
var searched = map[string]string{
	"internal/outbound/outbound.go (*net.Dialer).DialContext":               "requests to addresses that tenants name: searchCalls",
	"internal/outbound/dns.go (*net.Dialer).DialContext":                    "the operator's resolver, and what the line below says",
	"internal/outbound/dns.go (*net.Resolver).LookupTXT":                    "the name of a domain that the tenant has claimed, which the DNS is to know: nothing else",
	"internal/outbound/outbound.go (*net/http.Client).Do":                   "the same",
	"internal/outbound/outbound.go (*net/http.Client).CloseIdleConnections": "nothing",
	"internal/server/certificate.go os.ReadFile":                            "nothing: it reads the operator's authorities",
}

// TestEveryWayOutIsSearched fails when the server opens another way out of the process than those whose output the canary test
// searches: the listeners it is given, the log it is given, PostgreSQL and Redis.
func TestEveryWayOutIsSearched(t *testing.T) {
	t.Parallel()
	packages, err := source()
	if err != nil {
		t.Fatal(err)
	}
	used, met := map[string]bool{}, map[string]bool{}
	for _, p := range packages {
		if !ours(p.path) {
			continue
		}
		for _, file := range p.files {
			for _, spec := range file.Imports {
				path := strings.Trim(spec.Path.Value, `"`)
				if slices.Contains(closedDoors, path) {
					t.Errorf("%s imports %s: have the canary test search what leaves there", p.set.Position(spec.Pos()), path)
				}
				if !strings.Contains(path, ".") {
					continue // ours, or the standard library
				}
				known := false
				for door := range doors {
					if path == door || strings.HasPrefix(path, door+"/") {
						known, used[door] = true, true
					}
				}
				if !known {
					t.Errorf("%s imports %s: say in doors what leaves the process there, and have the canary test search it", p.set.Position(spec.Pos()), path)
				}
			}
		}
		for name, object := range p.Uses {
			f, ok := object.(*types.Func)
			if !ok || !outward.MatchString(f.FullName()) {
				continue
			}
			file := p.set.Position(name.Pos()).Filename
			at := strings.TrimPrefix(p.path, "parako/") + "/" + filepath.Base(file) + " " + f.FullName()
			if met[at] = true; searched[at] == "" {
				t.Errorf("%s uses %s: have the canary test search what leaves there", p.set.Position(name.Pos()), f.FullName())
			}
		}
	}
	for way := range searched {
		if !met[way] {
			t.Errorf("nothing goes out by %s: take it out of searched", way)
		}
	}
	for door := range doors {
		if !used[door] {
			t.Errorf("nothing imports %s: take it out of doors", door)
		}
	}
}
