// Package transfer moves a whole tenant as one file: into another deployment, or into another tenant of the same one. [Export] writes
// the file from one snapshot that row-level security bounds; [Import] makes a tenant of it, whole or not at all.
//
// The file is encrypted with a passphrase (age, scrypt), because it holds what nobody may read: password hashes, mail addresses,
// secrets of clients and private keys. It refuses to move what ends by itself, such as sessions and tokens, and the audit trail, whose
// seals belong to the original. Start reading at moved, which says what of a tenant is in the file.
package transfer

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"parako/internal/problem"
	"parako/internal/secret"
	"parako/internal/settings"
	"parako/internal/store"
)

// What moving a tenant can answer besides what creating one can.
var (
	ErrBuiltIn         = problem.New(problem.Forbidden, "tenant_built_in", "The built-in tenant cannot be exported: its settings are the platform's.")
	ErrEnding          = problem.New(problem.Conflict, "tenant_ending", "The tenant is being removed: there is nothing whole to export any more.")
	ErrPassphraseShort = problem.New(problem.Invalid, "passphrase_short", "A passphrase has at least 12 characters. Whoever has it and the file has the tenant.")
	ErrPassphrase      = problem.New(problem.Invalid, "passphrase_wrong", "The passphrase does not open this file.")
	ErrNoExport        = problem.New(problem.Invalid, "file_unknown", "This is no export of a tenant. Give a file that `parako tenant export` has written.")
	ErrDamaged         = problem.New(problem.Invalid, "file_damaged", "The file is not whole, or was changed on the way. Nothing is left of it here. Fetch it again.")
)

// minPassphrase is in characters. The cost of a guess is scrypt's.
const minPassphrase = 12

// part is a table whose rows move.
type part struct {
	table string
	// turn changes what is sealed in a row to plain text, or back; nil: nothing is.
	turn func(row, hand) error
	// bytes are its columns of bytes. Each is sealed, and turned, or is a digest.
	sealed, digests []string
	// take puts rows into the new tenant; nil: as they are.
	take func(context.Context, *filling, part, []json.RawMessage) error
}

// moved is what of a tenant is in the file, and in which order: whoever refers to others comes after them.
var moved = []part{
	{table: "users"},
	{table: "user_passwords"},
	{
		table: "clients", sealed: []string{"secret_sealed", "previous_secret_sealed"},
		digests: []string{"secret_digest", "previous_secret_digest", "registration_digest"},
		turn: func(r row, h hand) error {
			id, err := r.text("id")
			if err != nil {
				return err
			}
			// The secret that was is sealed as the one it has been.
			return errors.Join(h.bytes(r, "secret_sealed", "clients", "secret_sealed", id), h.bytes(r, "previous_secret_sealed", "clients", "secret_sealed", id))
		},
	},
	{table: "consents"},
	{table: "registration_tokens", digests: []string{"token_digest"}},
	{table: "tenant_settings", turn: turnSettings},
	{table: "tenant_settings_history", turn: turnSettings},
	{
		table: "signing_keys", sealed: []string{"private_key"},
		turn: func(r row, h hand) error {
			kid, err := r.text("kid")
			if err != nil {
				return err
			}
			return h.bytes(r, "private_key", "signing_keys", "private_key", kid)
		},
		take: takeKeys,
	},
	{table: "tenant_domains", take: takeDomains},
}

// left is what stays, and why.
var left = map[string]string{
	"tenants":           "its own row is made of the header",
	"data_keys":         "the new tenant has its own; what has to outlive it is in the header",
	"sessions":          "people sign in again",
	"interactions":      "a sign-in that is under way begins again",
	"grants":            "applications ask again; what people have agreed to moves",
	"codes":             "it lives for a minute",
	"access_tokens":     "applications get new ones",
	"refresh_tokens":    "its grant stays",
	"revoked_tokens":    "the new tenant takes no token from before it was there",
	"pushed_requests":   "it lives for minutes",
	"device_codes":      "it lives for minutes",
	"client_assertions": "it lives for minutes",
	"logout_deliveries": "the session it tells of is none of the new tenant",
	"mails":             "what was about to be told was told by the old tenant, or is late",
	"audit_events":      "the trail and its seals belong to the original: `parako audit export` hands it out, to be kept",
	"audit_seals":       "as audit_events",
	"audit_leaves":      "as audit_events",
}

// planned compares what there is with moved and left. A table that nobody has decided about is an error: it would be lost in silence.
func planned(tables []store.Table) error {
	var undecided []string
	for _, t := range tables {
		_, stays := left[t.Name]
		if moves := slices.ContainsFunc(moved, func(p part) bool { return p.table == t.Name }); moves == stays {
			undecided = append(undecided, t.Name)
		}
	}
	if len(undecided) > 0 {
		return fmt.Errorf("it is not decided whether these tables move with their tenant: %s", strings.Join(undecided, ", "))
	}
	return nil
}

// described finds a table in the catalog.
func described(tables []store.Table, name string) (store.Table, error) {
	i := slices.IndexFunc(tables, func(t store.Table) bool { return t.Name == name })
	if i < 0 {
		return store.Table{}, fmt.Errorf("there is no table %s", name)
	}
	return tables[i], nil
}

// statementLimit is the patience with one statement, which is the export of a table.
const statementLimit = 2 * time.Hour

// row is a row as PostgreSQL writes it as JSON: bytes are \x and hexadecimal digits.
type row map[string]json.RawMessage

// text is the value of a column of text.
func (r row) text(column string) (s string, err error) {
	if err := json.Unmarshal(r[column], &s); err != nil {
		return "", fmt.Errorf("read %s: %w", column, err)
	}
	return s, nil
}

// present reports whether a column is not NULL.
func (r row) present(column string) bool { return len(r[column]) > 0 && string(r[column]) != "null" }

// hand opens what is sealed on the way out, and seals it on the way in.
type hand struct {
	sealer *secret.Sealer
	opens  bool
}

var errNoDataKey = errors.New("something is sealed and there is no data key")

// bytes turns a column that holds a value of a place. What is empty, or not there, stays so.
func (h hand) bytes(r row, name, table, column, key string) error {
	if !r.present(name) {
		return nil
	}
	text, err := r.text(name)
	if err != nil {
		return err
	}
	digits, ok := strings.CutPrefix(text, `\x`)
	value, err := hex.DecodeString(digits)
	switch {
	case !ok || err != nil:
		return fmt.Errorf("%s is not hexadecimal", name) // The decoder's own message quotes its input.
	case len(value) == 0:
		return nil
	case h.sealer == nil:
		return errNoDataKey
	case h.opens:
		value, err = h.sealer.Open(table, column, key, value)
	default:
		value, err = h.sealer.Seal(table, column, key, value)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	r[name], err = json.Marshal(`\x` + hex.EncodeToString(value))
	return err
}

// turnSettings turns the secrets of a section.
func turnSettings(r row, h hand) error {
	section, err := r.text("section")
	if err != nil {
		return err
	}
	switch {
	case h.sealer == nil: // Without a data key nothing could be sealed.
	case h.opens:
		r["value"], err = settings.Unsealed(section, r["value"], h.sealer)
	default:
		r["value"], err = settings.Resealed(section, r["value"], h.sealer)
	}
	return err
}
