// Package secret owns what must not leak: random tokens and their digests, secrets at rest, password hashes, and a
// string type that does not print itself.
//
// It keeps nothing: keys and hashes are stored by the packages that use them. It offers no choice of algorithm; a
// change of algorithm is a new version byte (sealed values, wrapped keys), a new purpose (derived keys) or a new PHC
// prefix (passwords), so that old values stay readable while new ones are written.
//
// Start reading at [MasterKey], which protects every tenant's data key, then [Sealer], which uses that data key, then
// [Hasher]. Random tokens need neither: they are stored as their [Digest].
package secret

import (
	"crypto/subtle"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// String is a secret that redacts itself wherever a value is printed: fmt, slog, JSON, text. Only [String.Reveal]
// returns the content. The zero value is the empty secret. It is immutable and safe for concurrent use, and it cannot
// be compared with ==; use [String.Equal].
type String struct {
	// A closure because fmt prints the unexported fields of a foreign struct without calling any method of theirs, and
	// follows pointers for some verbs: of a function it can show only the address.
	content func() string
}

// NewString wraps s. The caller should not keep s.
func NewString(s string) String { return String{content: func() string { return s }} }

// Reveal returns the content. Every call is a place where the secret can leak; keep it next to the use.
func (s String) Reveal() string {
	if s.content == nil {
		return ""
	}
	return s.content()
}

// Empty reports whether the secret has no content.
func (s String) Empty() bool { return s.Reveal() == "" }

// Equal reports in constant time whether both secrets have the same content.
func (s String) Equal(other String) bool {
	return Equal([]byte(s.Reveal()), []byte(other.Reveal()))
}

// UnmarshalText takes the content from an environment variable, a flag or a JSON string. It never fails.
func (s *String) UnmarshalText(text []byte) error {
	*s = NewString(string(text))
	return nil
}

// String implements [fmt.Stringer] and returns a placeholder.
func (String) String() string { return redacted }

// Format implements [fmt.Formatter] and writes a placeholder whatever the verb: %x and %d leak as well as %s.
func (String) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue implements [slog.LogValuer] and returns a placeholder.
func (String) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements [encoding.TextMarshaler] and returns a placeholder, so a String does not survive a round trip.
func (String) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON implements [json.Marshaler] and returns a placeholder.
func (String) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// Value implements [driver.Valuer] and always fails. Without it a database driver would store the placeholder, or a
// secret would reach a column without being sealed or digested.
func (String) Value() (driver.Value, error) {
	return nil, errors.New("secret.String is not a database value: seal, digest or reveal it first")
}

// Equal reports whether a and b are the same bytes, without telling through time where they differ or how long the
// other one is: both lengths may be under the control of the caller, so digests are compared.
func Equal(a, b []byte) bool {
	return subtle.ConstantTimeCompare(Digest(string(a)), Digest(string(b))) == 1
}
