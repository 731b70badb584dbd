package secret

import (
	"crypto/rand"
	"encoding/base64"
)

// tokenBytes is 256 bits: guessing one of 2^40 live tokens stays hopeless, and so does finding two alike.
const tokenBytes = 32

// Token returns 256 random bits as 43 characters of base64url without padding (RFC 4648 §5), fit for a URL, a cookie
// or a header. Store its [Digest], never the token. It cannot fail: the runtime aborts when the kernel has no entropy.
func Token() string {
	b := make([]byte, tokenBytes)
	_, _ = rand.Read(b) // documented never to return an error
	return base64.RawURLEncoding.EncodeToString(b)
}
