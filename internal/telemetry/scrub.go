package telemetry

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"strings"
)

const (
	masked      = "[redacted]"
	maskedInURL = "redacted" // brackets would be escaped
)

// secretWords mask the value of any key that contains one of them.
var secretWords = [...]string{"password", "secret", "token", "authorization", "cookie", "credential", "private"}

// secretParameters mask further parameters of URLs and forms: those of OAuth that grant something or bind a browser.
var secretParameters = map[string]bool{
	"code": true, "state": true, "password": true, "access_token": true, "id_token": true, "refresh_token": true,
	"client_secret": true, "client_assertion": true, "assertion": true, "code_verifier": true, "device_code": true,
	"user_code": true, "request": true, "samlresponse": true, "ref": true, "sid": true, "otp": true,
}

// scrub is the ReplaceAttr of the handlers, which call it for the message and for every attribute that is not itself a
// group, with its LogValue already resolved.
func scrub(groups []string, a slog.Attr) slog.Attr {
	key := strings.ToLower(a.Key)
	if k := a.Value.Kind(); k == slog.KindBool || k == slog.KindDuration || k == slog.KindTime {
		return a // says nothing secret under any name
	}
	if _, level := a.Value.Any().(slog.Level); level && len(groups) == 0 {
		return a
	}
	if secretKey(key) || inSecretGroup(groups) {
		return slog.String(a.Key, masked)
	}
	switch a.Value.Kind() {
	case slog.KindString:
		if key == "url" || key == "uri" || key == "target" {
			return slog.String(a.Key, RedactURL(a.Value.String()))
		}
		return slog.String(a.Key, scrubText(a.Value.String()))
	case slog.KindAny:
		return slog.Attr{Key: a.Key, Value: scrubAny(a.Value.Any())}
	default:
		return a
	}
}

// secretKey reports whether whatever stands under the lower-case key is masked. Codes are masked only under the exact
// name: status_code and error_code are what logs are read for.
func secretKey(key string) bool {
	if key == "code" {
		return true
	}
	for _, word := range secretWords {
		if strings.Contains(key, word) {
			return true
		}
	}
	return false
}

func inSecretGroup(groups []string) bool {
	for _, group := range groups {
		if secretKey(strings.ToLower(group)) {
			return true
		}
	}
	return false
}

// scrubAny sees values as the JSON they are about to become, so that a map of headers or a struct is masked by its
// inner keys too.
func scrubAny(v any) slog.Value {
	switch v := v.(type) {
	case error:
		return slog.StringValue(scrubText(v.Error()))
	case *url.URL:
		return slog.StringValue(RedactURL(v.String()))
	case []byte:
		return slog.StringValue(scrubText(string(v)))
	}
	text, err := json.Marshal(v)
	if err != nil {
		return slog.StringValue(scrubText(fmt.Sprint(v)))
	}
	var tree any
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber()
	if err := decoder.Decode(&tree); err != nil {
		return slog.StringValue(masked)
	}
	text, err = json.Marshal(scrubTree("", tree))
	if err != nil {
		return slog.StringValue(masked)
	}
	return slog.AnyValue(json.RawMessage(text))
}

func scrubTree(key string, node any) any {
	switch node := node.(type) {
	case map[string]any:
		for k, child := range node {
			node[k] = scrubTree(strings.ToLower(k), child)
		}
		return node
	case []any:
		for i, child := range node {
			node[i] = scrubTree(key, child)
		}
		return node
	case string:
		if secretKey(key) {
			return masked
		}
		return scrubText(node)
	case json.Number:
		if secretKey(key) {
			return masked
		}
	}
	return node
}

var (
	urlInText    = regexp.MustCompile(`[a-zA-Z][a-zA-Z0-9+.-]*://[^\s"'<>]+`)
	headerInText = regexp.MustCompile(`(?im)\b((?:set-|proxy-)?(?:cookie|authorization)):[^\r\n]*`)
	schemeInText = regexp.MustCompile(`(?i)\b(?:bearer|basic|dpop) +[a-z0-9._~+/-]{8,}=*`)
	pairInText   = regexp.MustCompile(`([A-Za-z0-9_.-]+)=("[^"]*"|'[^']*'|[^\s&;,"'<>]+)`)
	memberInText = regexp.MustCompile(`"([^"\\]+)"(\s*:\s*)("(?:[^"\\]|\\.)*"|[0-9]+)`)
	jwtInText    = regexp.MustCompile(`\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\.[A-Za-z0-9_.-]*`)
)

// scrubText masks what looks like a credential inside a sentence: error messages quote URLs, headers, forms and JSON
// that nobody meant to log. Each pattern is tried only when its plainest sign is there, because every string of every
// record comes here.
func scrubText(s string) string {
	if strings.Contains(s, "://") {
		s = urlInText.ReplaceAllStringFunc(s, RedactURL)
	}
	if strings.ContainsRune(s, ':') {
		s = headerInText.ReplaceAllString(s, "$1: "+masked)
	}
	if strings.ContainsRune(s, ' ') {
		s = schemeInText.ReplaceAllStringFunc(s, func(credentials string) string {
			scheme, value, _ := strings.Cut(credentials, " ")
			if strings.ToLower(value) == value && !strings.ContainsAny(value, "0123456789=") {
				return credentials // "a basic principle": no base64 is all lower case
			}
			return scheme + " " + masked
		})
	}
	if strings.ContainsRune(s, '=') {
		s = pairInText.ReplaceAllStringFunc(s, func(pair string) string {
			name, value, _ := strings.Cut(pair, "=")
			if value == maskedInURL || !secretParameter(name) {
				return pair
			}
			return name + "=" + masked
		})
	}
	if strings.Contains(s, `":`) || strings.Contains(s, `" :`) {
		s = memberInText.ReplaceAllStringFunc(s, func(member string) string {
			parts := memberInText.FindStringSubmatch(member)
			if !secretParameter(parts[1]) {
				return member
			}
			return `"` + parts[1] + `"` + parts[2] + `"` + masked + `"`
		})
	}
	if strings.Contains(s, "eyJ") {
		s = jwtInText.ReplaceAllString(s, masked)
	}
	return s
}

func secretParameter(name string) bool {
	name = strings.ToLower(name)
	return secretParameters[name] || secretKey(name)
}

// RedactURL returns s with the password of its authority and the values of secret parameters, in query and fragment,
// replaced by "redacted"; everything else stays byte for byte. It accepts absolute URLs, request targets and data
// source names, and never fails: what an attacker sends need not parse.
func RedactURL(s string) string {
	s = redactUserinfo(s)
	s, fragment, hasFragment := strings.Cut(s, "#")
	s, query, hasQuery := strings.Cut(s, "?")
	if hasQuery {
		s += "?" + redactPairs(query)
	}
	if hasFragment { // response_mode=fragment puts tokens here
		s += "#" + redactPairs(fragment)
	}
	return s
}

func redactUserinfo(s string) string {
	scheme, rest, found := strings.Cut(s, "//")
	if !found || scheme != "" && !strings.HasSuffix(scheme, ":") {
		return s
	}
	authority := rest
	if scheme == "" || strings.HasPrefix(strings.ToLower(scheme), "http") {
		if end := strings.IndexAny(rest, "/?#"); end >= 0 {
			authority = rest[:end] // an @ in a path is no password
		}
	}
	at := strings.LastIndexByte(authority, '@') // in a data source name, passwords are often not escaped
	if at < 0 {
		return s
	}
	user, _, hasPassword := strings.Cut(authority[:at], ":")
	if !hasPassword {
		return s
	}
	return scheme + "//" + user + ":" + maskedInURL + rest[at:]
}

func redactPairs(query string) string {
	pairs := strings.Split(query, "&")
	for i, pair := range pairs {
		name, _, hasValue := strings.Cut(pair, "=")
		plain, err := url.QueryUnescape(name)
		if hasValue && (err != nil || secretParameter(plain)) {
			pairs[i] = name + "=" + maskedInURL
		}
	}
	return strings.Join(pairs, "&")
}
