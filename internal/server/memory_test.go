package server_test

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"parako/internal/server"
	"parako/internal/tenant"
)

// searchMemory follows every pointer from a stopped server and looks for the tenants' marks in every text it meets. What it
// finds must lie under something that is that tenant's: an entry of a map or a struct with the tenant's id. So a cache that
// mixes tenants is found wherever it is, and one without a tenant too. It cannot look into closures, nor at package
// variables, which the conventions forbid, and passes over what opaque lists.
func searchMemory(t *testing.T, s *server.Server, tenants []marked) {
	t.Helper()
	m := memory{t: t, tenants: tenants, met: map[visit]bool{}, found: map[string]int{}}
	m.follow(reflect.ValueOf(s), "server", uuid.Nil)
	for _, each := range tenants {
		if m.found[each.word] == 0 {
			t.Errorf("memory holds nothing of %s: the search is blind", each.word)
		}
	}
}

type memory struct {
	t       *testing.T
	tenants []marked
	met     map[visit]bool
	found   map[string]int
}

// visit is a place that was met as part of something of a tenant, or of nobody.
type visit struct {
	at    uintptr
	typ   reflect.Type
	size  int // of a list
	owner uuid.UUID
}

// opaque are packages whose values are passed over, with the reason.
var opaque = map[string]string{
	"sync":                          "locks; pools hand out what is overwritten before use",
	"sync/atomic":                   "numbers",
	"time":                          "clocks",
	"crypto":                        "key material",
	"math/big":                      "key material",
	"log/slog":                      "the log is searched as it is written",
	"github.com/prometheus":         "the metrics are searched as they are scraped",
	"github.com/jackc/pgx":          "connections, whose buffers hold the last messages; the rows are searched",
	"github.com/redis/rueidis":      "a connection; the keys are searched",
	"github.com/labstack/echo":      "the router: handlers, and a pool of contexts that are reset before use",
	"github.com/nicksnyder/go-i18n": "the catalogues of messages",
	"text/template":                 "parsed templates",
	"html/template":                 "parsed templates",
	"golang.org/x/text":             "tables",
	"net/http":                      "the protection against cross-origin requests",
}

func isOpaque(typ reflect.Type) bool {
	for path := range opaque {
		if typ.PkgPath() == path || strings.HasPrefix(typ.PkgPath(), path+"/") {
			return true
		}
	}
	return false
}

func (m *memory) follow(v reflect.Value, path string, owner uuid.UUID) {
	if v.IsValid() && v.Type() == reflect.TypeFor[sync.Map]() {
		(*sync.Map)(v.Addr().UnsafePointer()).Range(func(key, value any) bool {
			m.follow(reflect.ValueOf(key), path+"[key]", owner)
			m.follow(reflect.ValueOf(value), path+"["+fmt.Sprint(key)+"]", owner)
			return true
		})
		return
	}
	if !v.IsValid() || isOpaque(v.Type()) {
		return
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice:
		if v.IsNil() {
			return
		}
		at := visit{at: v.Pointer(), typ: v.Type(), owner: owner}
		if v.Kind() == reflect.Slice {
			at.size = v.Len()
		}
		if m.met[at] {
			return
		}
		m.met[at] = true
	default:
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		m.follow(v.Elem(), path, owner)
	case reflect.Struct:
		if of := m.ownerOf(v); of != uuid.Nil {
			owner = of
		}
		for field, value := range v.Fields() {
			m.follow(value, path+"."+field.Name, owner)
		}
	case reflect.Map:
		for entry := v.MapRange(); entry.Next(); {
			of := owner
			for _, part := range []reflect.Value{entry.Key(), entry.Value()} {
				if id := m.ownerOf(part); id != uuid.Nil {
					of = id
				}
			}
			m.follow(entry.Key(), path+"[key]", of)
			m.follow(entry.Value(), path+"["+fmt.Sprint(entry.Key())+"]", of)
		}
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			text := make([]byte, v.Len())
			for i := range text {
				text[i] = byte(v.Index(i).Uint())
			}
			m.look(string(text), path, owner)
			return
		}
		for i := range v.Len() {
			m.follow(v.Index(i), fmt.Sprintf("%s[%d]", path, i), owner)
		}
	case reflect.String:
		m.look(v.String(), path, owner)
	default: // numbers, channels, functions
	}
}

func (m *memory) look(text, path string, owner uuid.UUID) {
	for _, each := range found(text, m.tenants) {
		m.found[each.word]++
		if owner != each.ID {
			m.t.Errorf("memory of %s holds something of %s: %s = %.200q", owner, each.word, path, text)
		}
	}
}

// ownerOf is the tenant whose id a value is, or directly has.
func (m *memory) ownerOf(v reflect.Value) uuid.UUID {
	if v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	if !v.IsValid() {
		return uuid.Nil
	}
	if v.Type() == reflect.TypeFor[uuid.UUID]() {
		var id uuid.UUID
		for i := range id {
			id[i] = byte(v.Index(i).Uint())
		}
		for _, each := range m.tenants {
			if each.ID == id {
				return id
			}
		}
		return uuid.Nil
	}
	if v.Kind() == reflect.Struct {
		for _, f := range v.Fields() {
			if f.Type() == reflect.TypeFor[uuid.UUID]() || f.Type() == reflect.TypeFor[tenant.Tenant]() {
				if id := m.ownerOf(f); id != uuid.Nil {
					return id
				}
			}
		}
	}
	return uuid.Nil
}
