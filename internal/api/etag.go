package api

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// etag names a state of a thing (RFC 9110 section 8.8.3). That of another thing at the same revision has another name.
func etag(id uuid.UUID, revision int64) string {
	sum := sha256.Sum256([]byte(id.String() + " " + strconv.FormatInt(revision, 10)))
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
}

// Conditional is what a caller says of the state that it means to change.
type Conditional struct {
	IfMatch string `header:"If-Match" doc:"Change it only if its ETag is still one of these; * means any."`
}

// matches reports whether the change may be made to what is in the state of the ETag. Entity tags are compared strongly (RFC 9110
// section 13.1.1): a weak one never matches.
func (c Conditional) matches(current string) bool {
	if c.IfMatch == "" || strings.TrimSpace(c.IfMatch) == "*" {
		return true
	}
	return slices.ContainsFunc(strings.Split(c.IfMatch, ","), func(tag string) bool { return strings.TrimSpace(tag) == current })
}

// at is the number of the state on which the change depends, given that which matched; nil: it depends on none.
func (c Conditional) at(matched int64) *int64 {
	if c.IfMatch == "" || strings.TrimSpace(c.IfMatch) == "*" {
		return nil
	}
	return &matched
}
