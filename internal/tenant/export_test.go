package tenant

import (
	"fmt"

	"github.com/google/uuid"
)

// MaxHeld is how much a registry holds of each thing.
const MaxHeld = maxHeld

// Fill makes the registry hold as much as it may.
func (g *Registry) Fill() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range maxHeld {
		id, invented := uuid.New(), name{"host", fmt.Sprintf("%d.example", i)}
		g.ids[invented], g.missing[invented], g.tenants[id] = id, unknown{}, held{Tenant: Tenant{ID: id}}
	}
}

// Held counts what the registry holds: names, names that lead nowhere, tenants but for the built-in one, which belongs to each.
func (g *Registry) Held() (names, missing, tenants int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	tenants = len(g.tenants)
	if _, held := g.tenants[DefaultID]; held {
		tenants--
	}
	return len(g.ids), len(g.missing), tenants
}

// Hold makes the registry hold t, as if it had read it.
func (g *Registry) Hold(t Tenant) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forget(t.ID)
	g.tenants[t.ID] = held{Tenant: t}
}

// Reading counts the tenants that are being read.
func (g *Registry) Reading() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.readings)
}
