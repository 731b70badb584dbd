package secret

import (
	"encoding/base64"
	"strings"
	"testing"
)

// TestSCRAMVerifier takes password, salt and iterations from the example of RFC 7677 section 3, and the keys from
// PostgreSQL 15: its own verifier for them.
func TestSCRAMVerifier(t *testing.T) {
	t.Parallel()
	salt, err := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	if err != nil {
		t.Fatal(err)
	}
	got, err := scramVerifier(NewString("pencil"), salt)
	const want = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
	if err != nil || got != want {
		t.Errorf("scramVerifier = %q, %v\nwant %q", got, err, want)
	}
	one, _ := SCRAMVerifier(NewString("pencil"))
	other, _ := SCRAMVerifier(NewString("pencil"))
	if one == other || !strings.HasPrefix(one, "SCRAM-SHA-256$4096:") || strings.Contains(one, "pencil") {
		t.Errorf("two verifiers of one password: %q, %q", one, other)
	}
}
