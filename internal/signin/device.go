package signin

import (
	"regexp"
	"strings"

	"github.com/mileusna/useragent"
)

// plainName is what browsers and systems are called. Whoever signs in writes the header, and what is read from it stands in a mail to
// somebody else: nothing there may look like an address or a sentence.
var plainName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]*(?: [A-Za-z0-9]+){0,2}$`)

const maxName = 32

// device names the browser and the system that a User-Agent header claims, such as Firefox, Linux; empty: it claims none.
func device(userAgent string) string {
	claims := useragent.Parse(userAgent)
	var parts []string
	for _, part := range []string{claims.Name, claims.OS} {
		if len(part) <= maxName && plainName.MatchString(part) {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ", ")
}
