package secret

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
)

// scramIterations is PostgreSQL's own default for scram-sha-256.
const scramIterations = 4096

// SCRAMVerifier is what PostgreSQL stores instead of a password: SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>
// (RFC 5802 section 3, RFC 7677). Sent with CREATE ROLE in the password's place it keeps the password out of the server's
// log and of every statement. password must be ASCII, which SASLprep leaves as it is; [Token] gives such.
func SCRAMVerifier(password String) (string, error) {
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // It never fails.
	return scramVerifier(password, salt)
}

func scramVerifier(password String, salt []byte) (string, error) {
	salted, err := pbkdf2.Key(sha256.New, password.Reveal(), salt, scramIterations, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("derive SCRAM keys: %w", err)
	}
	sign := func(label string) []byte {
		mac := hmac.New(sha256.New, salted)
		mac.Write([]byte(label))
		return mac.Sum(nil)
	}
	stored := sha256.Sum256(sign("Client Key"))
	encode := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", scramIterations, encode(salt), encode(stored[:]), encode(sign("Server Key"))), nil
}
