package settings

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"parako/internal/secret"
)

// Masked stands for a secret wherever settings are shown. Written back, it keeps the secret that is there.
const Masked = "**masked**"

// maxSecret bounds a secret in bytes.
const maxSecret = 4096

// Sealed is a secret of a setting as it is stored: sealed with the data key of whoever set it. It shows itself masked.
type Sealed struct {
	sealed []byte
	path   string
	owner  uuid.UUID
}

// Set reports whether there is a secret.
func (s Sealed) Set() bool { return len(s.sealed) > 0 }

// Owner is the tenant whose data key opens it: the tenant itself, or the built-in one for what the platform has set.
func (s Sealed) Owner() uuid.UUID { return s.owner }

// Open returns the secret, given the sealer of its owner.
func (s Sealed) Open(sealer *secret.Sealer) (secret.String, error) {
	if !s.Set() {
		return secret.String{}, nil
	}
	plain, err := sealer.Open("tenant_settings", "value", s.path, s.sealed)
	if err != nil {
		return secret.String{}, fmt.Errorf("open %s: %w", s.path, err)
	}
	return secret.NewString(string(plain)), nil
}

// Equal reports whether two are the same stored secret.
func (s Sealed) Equal(other Sealed) bool {
	return string(s.sealed) == string(other.sealed) && s.path == other.path && s.owner == other.owner
}

// String implements fmt.Stringer.
func (s Sealed) String() string {
	if s.Set() {
		return Masked
	}
	return ""
}

// MarshalJSON implements json.Marshaler.
func (s Sealed) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// UnmarshalJSON implements json.Unmarshaler for what is written: it checks that there is a text, and keeps nothing of it.
func (*Sealed) UnmarshalJSON(document []byte) error {
	var plain string
	return json.Unmarshal(document, &plain)
}

// ErrNoSealer reports that a secret was written where nothing can seal it.
var ErrNoSealer = errors.New("there is no key to seal the secret with")

// seal replaces the secrets of a document by what is stored of them. The mask keeps what was there before, and an empty secret
// is none.
func seal(section string, document, before map[string]any, sealer *secret.Sealer) error {
	for i := range all {
		f := &all[i]
		if f.Section != section || f.Kind != Secret {
			continue
		}
		value, said := find(document, f.Path)
		if !said {
			continue
		}
		plain, _ := value.(string) // The document was decoded as what it is; null is no secret.
		kept, had := find(before, f.Path)
		switch {
		case plain == Masked && had:
			replace(document, f.Path, kept)
		case plain == "" || plain == Masked:
			replace(document, f.Path, nil)
		case len(plain) > maxSecret:
			return invalid(fmt.Sprintf("%s must be at most %d bytes", f.Path, maxSecret))
		case sealer == nil:
			return ErrNoSealer
		default:
			sealed, err := sealer.Seal("tenant_settings", "value", f.Path, []byte(plain))
			if err != nil {
				return err
			}
			replace(document, f.Path, base64.StdEncoding.EncodeToString(sealed))
		}
	}
	return nil
}

// Unsealed is a section as it is stored, with its secrets in plain: for a tenant that moves to where another data key seals them.
func Unsealed(section string, stored json.RawMessage, sealer *secret.Sealer) (json.RawMessage, error) {
	return exchange(section, stored, func(path, text string) (string, error) {
		sealed, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return "", fmt.Errorf("decode %s: %w", path, err)
		}
		plain, err := sealer.Open("tenant_settings", "value", path, sealed)
		if err != nil {
			return "", fmt.Errorf("open %s: %w", path, err)
		}
		return string(plain), nil
	})
}

// Resealed makes of what Unsealed returned a section as it is stored.
func Resealed(section string, plain json.RawMessage, sealer *secret.Sealer) (json.RawMessage, error) {
	return exchange(section, plain, func(path, text string) (string, error) {
		sealed, err := sealer.Seal("tenant_settings", "value", path, []byte(text))
		return base64.StdEncoding.EncodeToString(sealed), err
	})
}

// exchange replaces the secrets of a document, and nothing else.
func exchange(section string, document json.RawMessage, with func(path, text string) (string, error)) (json.RawMessage, error) {
	var tree map[string]any
	if err := decode(document, &tree, false); err != nil {
		return nil, fmt.Errorf("read section %s: %w", section, err)
	}
	changed := false
	for i := range all {
		f := &all[i]
		if f.Section != section || f.Kind != Secret {
			continue
		}
		value, _ := find(tree, f.Path)
		text, ok := value.(string)
		if !ok || text == "" {
			continue
		}
		text, err := with(f.Path, text)
		if err != nil {
			return nil, err
		}
		replace(tree, f.Path, text)
		changed = true
	}
	if !changed {
		return document, nil
	}
	return json.Marshal(tree)
}

// masked copies the tree of a section with its secrets masked.
func masked(section string, value map[string]any) map[string]any {
	copied := clone(value)
	for i := range all {
		if f := &all[i]; f.Section == section && f.Kind == Secret {
			if _, ok := find(copied, f.Path); ok {
				replace(copied, f.Path, Masked)
			}
		}
	}
	return copied
}

func clone(object map[string]any) map[string]any {
	copied := make(map[string]any, len(object))
	for name, member := range object {
		if inner, ok := member.(map[string]any); ok {
			member = clone(inner)
		}
		copied[name] = member
	}
	return copied
}

// names are the names of a path below its section.
func names(path string) []string { return strings.Split(path, ".")[1:] }

// replace sets a value at a path whose objects are there.
func replace(section map[string]any, path string, value any) {
	if object, name, ok := holder(section, path); ok {
		object[name] = value
	}
}

// holder finds the object that holds the last name of a path.
func holder(section map[string]any, path string) (object map[string]any, name string, ok bool) {
	parts := names(path)
	object = section
	for _, name := range parts[:len(parts)-1] {
		if object, ok = object[name].(map[string]any); !ok {
			return nil, "", false
		}
	}
	return object, parts[len(parts)-1], true
}
