package federation

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"

	"parako/internal/tenant"
)

const (
	stateVersion = 1
	purposeState = "social-relay-state-v1"
	macBytes     = sha256.Size
	// maxState is the longest state in characters: providers carry at least as many. It has room for the longest host and provider.
	maxState = 512
	// skew is how far the clock of another instance may be ahead.
	skew = 30 * time.Second
)

// state is what travels through the provider: whose sign-in this is. It is signed and not secret. In a request it is base64url of
//
//	version (1 byte), tenant (16), end in seconds since 1970 (8), digest of the browser's secret (32),
//	length of the provider's name (1), the name, the host to return to, HMAC-SHA-256 of all that (32)
//
// and each state has one spelling.
type state struct {
	tenant   uuid.UUID
	provider string
	expires  time.Time
	// browser is the digest of a random secret that only the browser's cookie holds. It tells one sign-in from any other.
	browser [32]byte
	host    string
}

// cookie is the id of the cookie that ties the sign-in to its browser.
func (s state) cookie() string { return hex.EncodeToString(s.browser[:4]) }

// sign returns the state as it travels.
func (r *Relay) sign(s state) string {
	body := append([]byte{stateVersion}, s.tenant[:]...)
	body = binary.BigEndian.AppendUint64(body, uint64(s.expires.Unix()))
	body = append(body, s.browser[:]...)
	body = append(body, byte(len(s.provider)))
	body = append(body, s.provider...)
	body = append(body, s.host...)
	return base64.RawURLEncoding.EncodeToString(append(body, mac(r.Keys[0].Derive(s.tenant, purposeState, 32), body)...))
}

// verify reads a state that an instance has signed with one of the keys. It fails with ErrState for anything else, and with
// ErrStateAge when its time is over.
func (r *Relay) verify(text string) (state, error) {
	s, body, tag, err := parseState(text)
	if err != nil {
		return state{}, ErrState.Because(err)
	}
	ours := false
	for _, key := range r.Keys {
		// Constant time: the caller controls the tag.
		ours = hmac.Equal(tag, mac(key.Derive(s.tenant, purposeState, 32), body)) || ours
	}
	switch left := s.expires.Sub(r.Now()); {
	case !ours:
		return state{}, ErrState.Because(errors.New("not our signature"))
	case left <= 0:
		return state{}, ErrStateAge
	case left > stateLife+skew:
		return state{}, ErrState.Because(errors.New("from the future"))
	case !r.reachable(s):
		return state{}, ErrState.Because(errors.New("back to a host that no tenant has"))
	}
	return s, nil
}

func mac(key, body []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(body)
	return h.Sum(nil)
}

var errStateForm = errors.New("not in the form of a state")

// parseState takes a state apart and believes nothing of it. body is what tag signs.
func parseState(text string) (s state, body, tag []byte, err error) {
	const fixed = 1 + 16 + 8 + 32 + 1
	if len(text) > maxState {
		return state{}, nil, nil, errStateForm
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	// The decoder passes over line breaks and spare bits: a state has one spelling.
	if err != nil || base64.RawURLEncoding.EncodeToString(raw) != text || len(raw) < fixed+macBytes || raw[0] != stateVersion {
		return state{}, nil, nil, errStateForm
	}
	body, tag = raw[:len(raw)-macBytes], raw[len(raw)-macBytes:]
	s.tenant = uuid.UUID(body[1:17])
	s.expires = time.Unix(int64(binary.BigEndian.Uint64(body[17:25])), 0)
	s.browser = [32]byte(body[25:57])
	name, rest := int(body[57]), body[fixed:]
	if s.tenant == uuid.Nil || name > len(rest) {
		return state{}, nil, nil, errStateForm
	}
	s.provider, s.host = string(rest[:name]), string(rest[name:])
	if !providerFormat.MatchString(s.provider) || s.host == "" {
		return state{}, nil, nil, errStateForm
	}
	return s, body, tag, nil
}

var domainFormat = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// reachable reports whether the host to return to can be the tenant's: one label under the base domain, or a domain elsewhere. What
// we signed is; should a fault or an old key say otherwise, no code is sent to where it says.
func (r *Relay) reachable(s state) bool {
	if s.host == r.Base.Host {
		return s.tenant == tenant.DefaultID
	}
	if label, under := strings.CutSuffix(s.host, "."+r.Base.Host); under {
		return tenant.ValidSlug(label) && label != tenant.OpsSlug && label != tenant.DefaultSlug
	}
	domain := s.host
	if port := r.Base.Port(); port != "" {
		domain = strings.TrimSuffix(domain, ":"+port)
	}
	_, err := netip.ParseAddr(domain)
	base := r.Base.Hostname()
	return err != nil && len(domain) <= 253 && domainFormat.MatchString(domain) && domain != base && !strings.HasSuffix(domain, "."+base)
}
