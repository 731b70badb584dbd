package secret

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/uuid"
)

const goodKey = "8f1d3a5c7e9b02d4f6a8c0e2143657798badcf10325476e8fa0c1e2d3b4f5a69"

var (
	tenantA = uuid.MustParse("018f0000-0000-7000-8000-00000000000a")
	tenantB = uuid.MustParse("018f0000-0000-7000-8000-00000000000b")
)

func masterKey(t *testing.T, s string) MasterKey {
	t.Helper()
	m, err := ParseMasterKey(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestParseMasterKey(t *testing.T) {
	t.Parallel()
	raw, _ := hex.DecodeString(goodKey)
	tests := map[string]struct {
		in   string
		want error
	}{
		"hex":                           {goodKey, nil},
		"upper-case hex":                {strings.ToUpper(goodKey), nil},
		"hex read from a file":          {goodKey + "\n", nil},
		"base64":                        {base64.StdEncoding.EncodeToString(raw), nil},
		"base64url":                     {base64.URLEncoding.EncodeToString(raw), nil},
		"empty":                         {"", ErrKeyFormat},
		"too short":                     {goodKey[2:], ErrKeyFormat},
		"not hex":                       {strings.Repeat("g", 64), ErrKeyFormat},
		"not base64":                    {strings.Repeat("!", 44), ErrKeyFormat},
		"base64 of 33 bytes":            {strings.Repeat("A1b2", 11), ErrKeyFormat},
		"a passphrase":                  {"please change me", ErrKeyFormat},
		"all zero":                      {strings.Repeat("0", 64), ErrWeakKey},
		"one byte repeated":             {strings.Repeat("ab", 32), ErrWeakKey},
		"one pattern repeated":          {strings.Repeat("0123456789abcdef", 4), ErrWeakKey},
		"two halves alike":              {goodKey[:32] + goodKey[:32], ErrWeakKey},
		"counting up":                   {"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", ErrWeakKey},
		"counting down":                 {"201f1e1d1c1b1a191817161514131211100f0e0d0c0b0a090807060504030201", ErrWeakKey},
		"base64 of a sentence":          {base64.StdEncoding.EncodeToString([]byte("change-me-in-production-32bytes!")), ErrWeakKey},
		"base64 of zeroes":              {base64.StdEncoding.EncodeToString(make([]byte, 32)), ErrWeakKey},
		"hex digits encoded once more":  {hex.EncodeToString([]byte(goodKey[:32])), ErrWeakKey},
		"few different bytes, shuffled": {strings.Repeat("07", 13) + "0901020304050607" + strings.Repeat("09", 11), ErrWeakKey},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := ParseMasterKey(tt.in)
			if !errors.Is(err, tt.want) {
				t.Fatalf("ParseMasterKey = %v, want %v", err, tt.want)
			}
			if err == nil {
				return
			}
			if !strings.Contains(err.Error(), "openssl rand -hex 32") {
				t.Errorf("error %q does not say how to make a key", err)
			}
			if tt.in != "" && strings.Contains(err.Error(), tt.in) {
				t.Errorf("error %q contains the value", err)
			}
		})
	}
}

func TestParseMasterKeyAcceptsRandomKeys(t *testing.T) {
	t.Parallel()
	for range 10_000 {
		if key := NewDataKey(); predictable(key) {
			t.Fatalf("random key %x is called predictable", key)
		}
	}
}

// TestKnownAnswers holds what must never change: every token secret and every wrapped data key of every installation
// depends on these bytes.
func TestKnownAnswers(t *testing.T) {
	t.Parallel()
	m := masterKey(t, goodKey)
	if got, want := m.ID(), "e39e7b9c"; got != want {
		t.Errorf("ID() = %s, want %s", got, want)
	}
	tests := map[string]struct {
		tenant  uuid.UUID
		purpose string
		n       int
		want    string
	}{
		"token secret of A": {tenantA, "oauth-hmac-v1", 32, "d8f531c176d219982e27379c0b5af0fc6040d98fd4ee15540149448fc7fb4239"},
		"token secret of B": {tenantB, "oauth-hmac-v1", 32, "fcb4048dbca16e3bd904b8749dfcd52e15b3efe7208a4c5b31195a2517161257"},
		"other purpose":     {tenantA, purposeWrap, 32, "da7322d0175b45590ad7f06e062230f142afb9cba7c046c7c0b01275af44a4f6"},
		"longer":            {tenantA, "oauth-hmac-v1", 40, "d8f531c176d219982e27379c0b5af0fc6040d98fd4ee15540149448fc7fb42390b4af960c717a97b"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := hex.EncodeToString(m.Derive(tt.tenant, tt.purpose, tt.n)); got != tt.want {
				t.Errorf("Derive(%s, %q, %d) = %s, want %s", tt.tenant, tt.purpose, tt.n, got, tt.want)
			}
		})
	}
	t.Run("wrapped data key", func(t *testing.T) {
		t.Parallel()
		wrapped, _ := hex.DecodeString("011c395050ef8978708e7fc1e27e14e3713d8571222093c6d3bc4826f289c4052538a5a9880dade63ebb522a27ff184cd9bcde6a6125aa1107e5ca38d4")
		got, err := m.Unwrap(tenantA, wrapped)
		if want := bytes.Repeat([]byte{7}, 32); err != nil || !bytes.Equal(got, want) {
			t.Errorf("Unwrap = %x, %v, want %x", got, err, want)
		}
	})
	for tenant, want := range map[uuid.UUID]string{
		tenantA: "257b7ee0d2db459fd816b2d34e6dc5e61ecce443559c04dcd8a0b0fdbf3eb651",
		tenantB: "95388fe44e4e9213f3e3ef56154d09360f295db9dea7fdada8e89c0afc2b2cf0",
	} {
		t.Run("token secret of the data key of "+tenant.String(), func(t *testing.T) {
			t.Parallel()
			if got := hex.EncodeToString(sealer(t, tenant, bytes.Repeat([]byte{7}, 32)).Derive("oauth-hmac-v1", 32)); got != want {
				t.Errorf("Derive = %s, want %s", got, want)
			}
		})
	}
	t.Run("sealed value", func(t *testing.T) {
		t.Parallel()
		sealed, _ := hex.DecodeString("0144cd5151ea84f763c71d3124c27d2cdba486a6bec28fcafe27de0e0647e70f046a8034e04e32a26c5153c9570f55a453f9ad44d21bd7aa44")
		got, err := sealer(t, tenantA, bytes.Repeat([]byte{7}, 32)).Open("clients", "secret", "42", sealed)
		if err != nil || string(got) != hush {
			t.Errorf("Open = %q, %v, want %q", got, err, hush)
		}
	})
}

func TestDerivePanicsOnMistakes(t *testing.T) {
	t.Parallel()
	m := masterKey(t, goodKey)
	mistakes := map[string]func(){
		"no tenant":  func() { m.Derive(uuid.Nil, "p-v1", 32) },
		"no purpose": func() { m.Derive(tenantA, "", 32) },
		"no length":  func() { m.Derive(tenantA, "p-v1", 0) },
		"too long":   func() { m.Derive(tenantA, "p-v1", 255*32+1) },
		"sealer":     func() { sealer(t, tenantA, NewDataKey()).Derive("", 32) },
		"zero key":   func() { MasterKey{}.Derive(tenantA, "p-v1", 32) },
	}
	for name, mistake := range mistakes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			defer func() {
				if recover() == nil {
					t.Error("Derive did not panic")
				}
			}()
			mistake()
		})
	}
}

func TestWrap(t *testing.T) {
	t.Parallel()
	m, other := masterKey(t, goodKey), masterKey(t, hex.EncodeToString(NewDataKey()))
	dataKey := NewDataKey()
	wrapped, err := m.Wrap(tenantA, dataKey)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := m.Unwrap(tenantA, wrapped); err != nil || !bytes.Equal(got, dataKey) {
		t.Errorf("Unwrap = %x, %v, want %x", got, err, dataKey)
	}
	if bytes.Contains(wrapped, dataKey) {
		t.Error("the wrapped key contains the key")
	}
	if _, err := m.Unwrap(tenantB, wrapped); !errors.Is(err, ErrOpen) {
		t.Errorf("Unwrap for another tenant: %v, want ErrOpen", err)
	}
	if _, err := other.Unwrap(tenantA, wrapped); !errors.Is(err, ErrOpen) {
		t.Errorf("Unwrap with another master key: %v, want ErrOpen", err)
	}
	for i := range wrapped {
		if _, err := m.Unwrap(tenantA, flipped(wrapped, i)); !errors.Is(err, ErrOpen) {
			t.Errorf("Unwrap with byte %d changed: %v, want ErrOpen", i, err)
		}
	}
	if _, err := m.Wrap(tenantA, dataKey[:16]); err == nil {
		t.Error("Wrap accepted a short data key")
	}
	if _, err := m.Wrap(uuid.Nil, dataKey); err == nil {
		t.Error("Wrap accepted no tenant")
	}
}

func TestKeysNeverPrintThemselves(t *testing.T) {
	t.Parallel()
	m := masterKey(t, goodKey)
	raw, _ := hex.DecodeString(goodKey)
	type keyring struct{ master MasterKey }
	decimal := strings.Trim(fmt.Sprint(raw[:4]), "[]")
	forms := []string{goodKey[:16], strings.ToUpper(goodKey[:16]), decimal, "0x8f, 0x1d", base64.StdEncoding.EncodeToString(raw)[:16], string(raw[:8])}
	for name, v := range map[string]any{
		"master key": m, "pointer": &m, "in a struct": keyring{m}, "pointer to struct": &keyring{m}, "sealer": sealer(t, tenantA, raw), "sealer value": *sealer(t, tenantA, raw),
	} {
		var out bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "v", v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("m", "v", v)
		_ = json.NewEncoder(&out).Encode(v)
		for _, form := range forms {
			if strings.Contains(out.String(), form) {
				t.Errorf("%s prints the key as %q: %s", name, form, out.String())
			}
		}
	}
}
