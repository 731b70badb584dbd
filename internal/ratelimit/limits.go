package ratelimit

import (
	"encoding/base64"
	"fmt"
	"math"
	"net/netip"
	"time"

	"parako/internal/secret"
)

// Limit is how many attempts (Burst, at least 1) a subject has in a Period (at least Burst microseconds). All Burst
// may come at once; they return evenly, one each Period/Burst. Name is stable and appears in Redis keys and metrics.
type Limit struct {
	Name   string
	Burst  int
	Period time.Duration
}

// interval is how many microseconds one attempt takes to return.
func (l Limit) interval() int64 {
	if l.Name == "" || l.Burst < 1 || l.Period.Microseconds() < int64(l.Burst) {
		panic("ratelimit: limit without name, burst or period")
	}
	return l.Period.Microseconds() / int64(l.Burst)
}

// Headers are the values of RateLimit-Policy and RateLimit for the state that d has found (draft-ietf-httpapi-ratelimit-headers-07).
func (l Limit) Headers(d Decision) (policy, state string) {
	whole := time.Duration(l.Burst-d.Remaining) * (l.Period / time.Duration(l.Burst))
	return fmt.Sprintf("%d;w=%d", l.Burst, Seconds(l.Period)), fmt.Sprintf("limit=%d, remaining=%d, reset=%d", l.Burst, d.Remaining, Seconds(whole))
}

// Seconds are whole ones, the last begun one included.
func Seconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }

// Requests bounds all requests of one address to one tenant, by the tenant's settings. Subject: [IP]. It is counted in the process
// ([Limiter.AllowHere]).
func Requests(most int, window time.Duration) Limit {
	return Limit{Name: "requests", Burst: most, Period: window}
}

// leastBurst is how many requests may come at once however small the quota is: a browser asks for several things at a time.
const leastBurst = 10

// QuotaRequests is a tenant's quota of requests in a second, 1 to a million: those of a second may come at once, and at least ten. It
// is counted in the process. Subject: none.
func QuotaRequests(perSecond int32) Limit {
	burst := max(int(perSecond), leastBurst)
	return Limit{Name: "quota-requests", Burst: burst, Period: time.Duration(burst) * time.Second / time.Duration(perSecond)}
}

// QuotaMails is a tenant's quota of mails in an hour, at least 1; [Limiter.AllowMail] knows what is less. Subject: none.
func QuotaMails(perHour int32) Limit {
	return Limit{Name: "quota-mails", Burst: int(perHour), Period: time.Hour}
}

// LoginIP bounds failed logins from one address, whoever they are for. Subject: [IP].
func LoginIP() Limit { return Limit{Name: "login-ip", Burst: 5, Period: 15 * time.Minute} }

// LoginIdentifier bounds failed logins for one account from one address. Subject: [IdentifierFrom], which contains
// the address: were it the account alone, anyone who knows a name could lock its owner out.
func LoginIdentifier() Limit { return Limit{Name: "login-identifier", Burst: 5, Period: time.Hour} }

// LoginBruteIP bounds failed logins from one address over a day, for the patient who stay below [LoginIP].
// Subject: [IP].
func LoginBruteIP() Limit { return Limit{Name: "login-brute-ip", Burst: 100, Period: 24 * time.Hour} }

// Register bounds how many accounts are tried to be made from one address, whether they come to be or not. Subject: [IP].
func Register() Limit { return Limit{Name: "register", Burst: 3, Period: time.Hour} }

// RegisterRefused bounds how many registrations with a taken identifier a tenant answers, wherever they come from: each tells
// who has an account. Those that succeed do not count. Subject: one for all.
func RegisterRefused() Limit {
	return Limit{Name: "register-refused", Burst: 100, Period: time.Hour}
}

// TokenRefused bounds how many refused token requests from one address are worth a row of the audit trail. Those beyond
// are answered alike and only logged: otherwise anyone could fill the trail. Subject: [IP].
func TokenRefused() Limit { return Limit{Name: "token-refused", Burst: 120, Period: time.Minute} }

// UserCodeIP bounds wrong user codes of devices from one address. A code of the default form is one of 20^8, about 2^34.6, and
// RFC 8628 section 5.1 allows five tries at it, so that one guess in 2^32 hits. These are five at once, and a sixth after twelve
// minutes, when a code of the default lifetime has expired. Subject: [IP].
func UserCodeIP() Limit { return Limit{Name: "user-code-ip", Burst: 5, Period: time.Hour} }

// UserCodeTenant bounds wrong user codes of a tenant, from however many addresses. Somebody with thousands of them who goes on
// all the time, while a thousand devices wait, hits one of the devices after 20^8 / (1000 × 1000) hours: three years; a certain
// one after three thousand. With the shortest codes that the settings allow, one of 10^9, it takes six weeks and a hundred years.
// It takes two hundred addresses to use the limit up, and to keep people from connecting devices by that. Subject: none.
func UserCodeTenant() Limit { return Limit{Name: "user-code-tenant", Burst: 1000, Period: time.Hour} }

// ClientRegistrationRefused bounds refused requests of applications that register or manage themselves from one address. Subject: [IP].
func ClientRegistrationRefused() Limit {
	return Limit{Name: "client-registration-refused", Burst: 60, Period: 15 * time.Minute}
}

// SocialLogin bounds how often a sign-in at an upstream provider is begun from one address: each leads to a request to the
// provider in the platform's name. Subject: [IP].
func SocialLogin() Limit { return Limit{Name: "social-login", Burst: 10, Period: 5 * time.Minute} }

// SocialCallback bounds how many answers of upstream providers the gateway keeps for a tenant from one address; one that began
// elsewhere has no valid state and is not kept at all. Twice [SocialLogin], for people who reload. Subject: [IP].
func SocialCallback() Limit {
	return Limit{Name: "social-callback", Burst: 20, Period: 5 * time.Minute}
}

// APIRead bounds the calls of the Management API that change nothing. Subject, as for the three below: the client_id.
func APIRead() Limit { return Limit{Name: "api-read", Burst: 100, Period: time.Minute} }

// APIWrite bounds calls that create or change something.
func APIWrite() Limit { return Limit{Name: "api-write", Burst: 30, Period: time.Minute} }

// APIDelete bounds calls that remove something.
func APIDelete() Limit { return Limit{Name: "api-delete", Burst: 10, Period: time.Minute} }

// APISensitive bounds calls that replace secrets or keys.
func APISensitive() Limit { return Limit{Name: "api-sensitive", Burst: 3, Period: time.Minute} }

// APIRefused bounds how many refused calls of a client are worth a row of the audit trail. Subject: the client_id.
func APIRefused() Limit { return Limit{Name: "api-refused", Burst: 60, Period: time.Minute} }

// All returns every limit there is, for documentation and for the label values of metrics.
func All() []Limit {
	return []Limit{
		Requests(100, 15*time.Minute), QuotaRequests(1), QuotaMails(1), LoginIP(), LoginIdentifier(), LoginBruteIP(), Register(), RegisterRefused(), TokenRefused(), UserCodeIP(), UserCodeTenant(),
		ClientRegistrationRefused(), SocialLogin(), SocialCallback(),
		APIRead(), APIWrite(), APIDelete(), APISensitive(), APIRefused(),
	}
}

// IP is the subject of an address: an IPv4 address as it is, an IPv6 address cut to its /64, because every host owns
// that many addresses and would otherwise own that many counters. addr is the peer's, after trusted proxies.
func IP(addr netip.Addr) string {
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		return netip.PrefixFrom(addr, 64).Masked().String()
	}
	return addr.String()
}

// IdentifierFrom is the subject of an account as seen from one address: what was typed, after folding, known or not,
// and [IP].
func IdentifierFrom(identifier string, addr netip.Addr) string {
	return IP(addr) + " " + base64.RawURLEncoding.EncodeToString(secret.Digest(identifier))
}
