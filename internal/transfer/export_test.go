package transfer

import (
	"encoding/json"

	"parako/internal/store"
)

// Planned is planned, for a catalog with a table that nobody has decided about.
var Planned = planned

// Left are the tables that stay.
var Left = left

// Moved are the tables that move, each with its columns of bytes.
func Moved() map[string][]string {
	tables := map[string][]string{}
	for _, p := range moved {
		tables[p.table] = append(append([]string{}, p.sealed...), p.digests...)
	}
	return tables
}

// Sealed are the columns of bytes that are turned.
func Sealed() map[string][]string {
	tables := map[string][]string{}
	for _, p := range moved {
		if len(p.sealed) > 0 {
			tables[p.table] = p.sealed
		}
	}
	return tables
}

// Line is a line of a file.
type Line = line

// Table makes a table of a name.
func Table(name string) store.Table { return store.Table{Name: name} }

// Text makes a row of a JSON object.
func Text(s string) json.RawMessage { return json.RawMessage(s) }
