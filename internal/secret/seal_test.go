package secret

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/uuid"
)

func sealer(t *testing.T, tenant uuid.UUID, dataKey []byte) *Sealer {
	t.Helper()
	s, err := NewSealer(tenant, dataKey)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func flipped(b []byte, i int) []byte {
	b = bytes.Clone(b)
	b[i] ^= 1
	return b
}

func TestSealAndOpen(t *testing.T) {
	t.Parallel()
	s := sealer(t, tenantA, NewDataKey())
	for _, plaintext := range []string{"", "x", "\x00", hush, string(make([]byte, 1<<16))} {
		sealed, err := s.Seal("clients", "secret", "42", []byte(plaintext))
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Open("clients", "secret", "42", sealed)
		if err != nil || string(got) != plaintext {
			t.Errorf("Open(Seal(%.20q)) = %.20q, %v", plaintext, got, err)
		}
	}
}

func TestSealIsRandomised(t *testing.T) {
	t.Parallel()
	s := sealer(t, tenantA, NewDataKey())
	a, _ := s.Seal("clients", "secret", "42", []byte(hush))
	b, _ := s.Seal("clients", "secret", "42", []byte(hush))
	if bytes.Equal(a, b) || bytes.Equal(a[1:13], b[1:13]) {
		t.Error("two seals of one value share their nonce")
	}
}

func TestOpenElsewhere(t *testing.T) {
	t.Parallel()
	key := NewDataKey()
	s := sealer(t, tenantA, key)
	sealed, err := s.Seal("clients", "secret", "42", []byte(hush))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		sealer             *Sealer
		table, column, row string
	}{
		"other tenant, same key":               {sealer(t, tenantB, key), "clients", "secret", "42"},
		"other key, same tenant":               {sealer(t, tenantA, NewDataKey()), "clients", "secret", "42"},
		"other table":                          {s, "users", "secret", "42"},
		"other column":                         {s, "clients", "name", "42"},
		"other row":                            {s, "clients", "secret", "43"},
		"no table":                             {s, "", "secret", "42"},
		"table and column swapped":             {s, "secret", "clients", "42"},
		"boundary moved, table to column":      {s, "client", "ssecret", "42"},
		"boundary moved, column to row":        {s, "clients", "secre", "t42"},
		"boundary moved into an empty row":     {s, "clients", "secret42", ""},
		"length prefix smuggled into the name": {s, "clients\x00\x00\x00\x06secret", "", "42"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := tt.sealer.Open(tt.table, tt.column, tt.row, sealed); !errors.Is(err, ErrOpen) || got != nil {
				t.Errorf("Open = %q, %v, want ErrOpen", got, err)
			}
		})
	}
}

func TestOpenDamaged(t *testing.T) {
	t.Parallel()
	s := sealer(t, tenantA, NewDataKey())
	sealed, err := s.Seal("clients", "secret", "42", []byte(hush))
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed {
		if _, err := s.Open("clients", "secret", "42", flipped(sealed, i)); !errors.Is(err, ErrOpen) {
			t.Errorf("Open with byte %d changed: %v, want ErrOpen", i, err)
		}
		if _, err := s.Open("clients", "secret", "42", sealed[:i]); !errors.Is(err, ErrOpen) {
			t.Errorf("Open of the first %d bytes: %v, want ErrOpen", i, err)
		}
	}
	if _, err := s.Open("clients", "secret", "42", append(bytes.Clone(sealed), 0)); !errors.Is(err, ErrOpen) {
		t.Errorf("Open with a byte appended: %v, want ErrOpen", err)
	}
}

func TestSealRefusesForgottenParts(t *testing.T) {
	t.Parallel()
	s := sealer(t, tenantA, NewDataKey())
	for _, place := range [][3]string{{"", "c", "r"}, {"t", "", "r"}, {"t", "c", ""}} {
		if _, err := s.Seal(place[0], place[1], place[2], nil); err == nil {
			t.Errorf("Seal(%q) succeeded", place)
		}
	}
	if _, err := NewSealer(uuid.Nil, NewDataKey()); err == nil {
		t.Error("NewSealer accepted no tenant")
	}
	for _, n := range []int{0, 16, 24, 31, 33} {
		if _, err := NewSealer(tenantA, make([]byte, n)); err == nil {
			t.Errorf("NewSealer accepted a key of %d bytes", n)
		}
	}
}

func FuzzOpen(f *testing.F) {
	s, err := NewSealer(tenantA, bytes.Repeat([]byte{7}, 32))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{sealVersion})
	f.Fuzz(func(t *testing.T, sealed []byte) {
		if got, err := s.Open("clients", "secret", "42", sealed); err == nil {
			t.Errorf("Open(%x) = %x: forged", sealed, got)
		}
	})
}
