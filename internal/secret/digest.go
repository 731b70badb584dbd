package secret

import "crypto/sha256"

// Digest returns the 32 bytes of SHA-256 under which a secret of high entropy (a [Token]) is stored and looked up. It
// is neither salted nor slow, hence unfit for anything a person chose or can type: passwords go to [Hasher].
func Digest(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:]
}
