package telemetry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// logged returns the JSON object that log writes, without its time.
func logged(t *testing.T, level string, log func(*slog.Logger)) map[string]any {
	t.Helper()
	var out bytes.Buffer
	log(NewLogger(&out, level, false))
	record := map[string]any{}
	if out.Len() == 0 {
		return record
	}
	if err := json.Unmarshal(out.Bytes(), &record); err != nil {
		t.Fatalf("log line %q: %v", out.String(), err)
	}
	delete(record, "time")
	return record
}

func TestLoggerAddsWhatTheContextKnows(t *testing.T) {
	t.Parallel()
	ctx := WithTenant(WithRequestID(t.Context(), "req-1"), "acme")
	tests := map[string]struct {
		log  func(*slog.Logger)
		want map[string]any
	}{
		"nothing known": {
			func(l *slog.Logger) { l.InfoContext(t.Context(), "m", "a", 1) },
			map[string]any{"level": "INFO", "msg": "m", "a": 1.0},
		},
		"both": {
			func(l *slog.Logger) { l.ErrorContext(ctx, "m", "a", 1) },
			map[string]any{"level": "ERROR", "msg": "m", "a": 1.0, "request_id": "req-1", "tenant": "acme"},
		},
		"top level although a group is open": {
			func(l *slog.Logger) {
				l.With("x", "y").WithGroup("g").With("b", 2).InfoContext(ctx, "m", "a", 1)
			},
			map[string]any{
				"level": "INFO", "msg": "m", "x": "y", "request_id": "req-1", "tenant": "acme",
				"g": map[string]any{"a": 1.0, "b": 2.0},
			},
		},
		"siblings do not mix": {
			func(l *slog.Logger) {
				base := l.With("x", 1).With("y", 2).With("z", 3)
				first := base.With("first", true)
				base.With("second", true)
				first.InfoContext(ctx, "m")
			},
			map[string]any{
				"level": "INFO", "msg": "m", "x": 1.0, "y": 2.0, "z": 3.0, "first": true,
				"request_id": "req-1", "tenant": "acme",
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, logged(t, "info", tt.log)); diff != "" {
				t.Errorf("record mismatch (-want +got)\n%s", diff)
			}
		})
	}
	if RequestID(ctx) != "req-1" || RequestID(t.Context()) != "" {
		t.Error("RequestID does not return what WithRequestID stored")
	}
}

func TestLoggerLevel(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ debug, info, warn bool }{
		"debug": {true, true, true}, "INFO": {false, true, true}, "warn": {false, false, true}, "error": {},
		"": {false, true, true}, "chatty": {false, true, true},
	}
	for level, want := range tests {
		for at, written := range map[slog.Level]bool{slog.LevelDebug: want.debug, slog.LevelInfo: want.info, slog.LevelWarn: want.warn} {
			record := logged(t, level, func(l *slog.Logger) { l.Log(t.Context(), at, "m") })
			if got := len(record) > 0; got != written {
				t.Errorf("level %q writes %s: %t, want %t", level, at, got, written)
			}
		}
	}
}

// hush is in every value of the corpus that must not be printed.
const hush = "hunter2hunter2"

type credentials struct {
	User     string `json:"user"`
	Password string `json:"password"`
	Inner    any    `json:"inner"`
}

// TestScrubberCorpus pushes secrets through every way a record can carry them.
func TestScrubberCorpus(t *testing.T) {
	t.Parallel()
	jwt := "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIxIn0." + hush
	corpus := map[string]slog.Attr{
		"password":                 slog.String("password", hush),
		"upper case":               slog.String("NEW_PASSWORD", hush),
		"client secret":            slog.String("client_secret", hush),
		"camel case":               slog.String("refreshToken", hush),
		"header name":              slog.String("Authorization", hush),
		"set-cookie":               slog.String("Set-Cookie", hush),
		"credential":               slog.String("credential_id", hush),
		"private key":              slog.String("private_key", hush),
		"authorization code":       slog.String("code", hush),
		"bytes":                    slog.Any("token", []byte(hush)),
		"any value":                slog.Any("secret", credentials{User: hush}),
		"in a group":               slog.Group("request", slog.String("token", hush)),
		"in a secret group":        slog.Group("cookie", slog.String("value", hush)),
		"deep in a secret group":   slog.Group("credentials", slog.Group("x", slog.Any("y", hush))),
		"struct":                   slog.Any("form", credentials{User: "ann", Password: hush}),
		"nested":                   slog.Any("form", &credentials{Inner: map[string]any{"x": []any{map[string]string{"api_token": hush}}}}),
		"headers":                  slog.Any("headers", http.Header{"Authorization": {"Bearer " + hush}, "Cookie": {hush}}),
		"form":                     slog.Any("form", url.Values{"password": {hush, hush}}),
		"bytes of a form":          slog.Any("body", []byte("password="+hush)),
		"url":                      slog.String("url", "https://idp.example/cb?code="+hush+"&state="+hush),
		"uri":                      slog.String("uri", "/auth/reset-password?token="+hush),
		"target that is no url":    slog.String("target", "/%zz?code="+hush),
		"parsed url":               slog.Any("to", &url.URL{Scheme: "https", Host: "h", RawQuery: "code=" + hush}),
		"url elsewhere":            slog.String("redirect", "https://idp.example/cb#access_token="+hush+"&token_type=Bearer"),
		"error with a url":         slog.Any("error", &url.Error{Op: "Get", URL: "https://h/?access_token=" + hush, Err: errors.New("refused")}),
		"wrapped error":            slog.Any("error", fmt.Errorf("send: %w", errors.New("body password="+hush))),
		"joined errors":            slog.Any("error", errors.Join(errors.New("a"), errors.New("client_secret="+hush))),
		"data source name":         slog.String("dsn", "postgres://parako_app:"+hush+"@db/parako?sslmode=require"),
		"password not escaped":     slog.String("dsn", "postgres://parako_app:a/b?c@"+hush+"@db/parako"),
		"keyword data source name": slog.Any("error", errors.New("connect to `host=db user=app password="+hush+"`")),
		"quoted keyword":           slog.Any("error", errors.New(`connect: password="a `+hush+`"`)),
		"redis":                    slog.String("redis", "redis://:"+hush+"@cache:6379/0"),
		"bearer":                   slog.String("detail", "got Bearer "+hush),
		"basic":                    slog.String("detail", "header basic "+hush+"=="),
		"raw header":               slog.String("dump", "GET / HTTP/1.1\r\nCookie: a="+hush+"; b=c\r\nHost: h"),
		"raw response":             slog.String("dump", "200\nSet-Cookie: __Host-sid="+hush+"; Path=/"),
		"token anywhere":           slog.String("detail", "cannot verify "+jwt+" now"),
		"json in text":             slog.String("detail", `body {"user":"ann","password" : "`+hush+`"}`),
		"escaped json in text":     slog.String("detail", `body {"password":"a\"`+hush+`"}`),
		"SQL error":                slog.Any("error", fmt.Errorf("ERROR: duplicate key (SQLSTATE 23505): (token=%s) exists", hush)),
		"panic":                    slog.Any("panic", fmt.Sprintf("runtime error: %v", errors.New("https://h/?client_assertion="+hush))),
		"TOTP enrolment":           slog.String("qr", "otpauth://totp/Acme:ann?secret="+hush+"&issuer=Acme"),
		"verifier":                 slog.String("body", "grant_type=authorization_code&code_verifier="+hush),
		"user code":                slog.String("link", "https://h/device?user_code="+hush),
		"log valuer":               slog.Any("request", valuer{}),
	}
	for name, attr := range corpus {
		for _, pretty := range []bool{false, true} {
			var out bytes.Buffer
			log := NewLogger(&out, "debug", pretty)
			log.LogAttrs(t.Context(), slog.LevelError, "m", attr)
			log.With(attr).WithGroup("g").With(attr).Error("m")
			if attr.Value.Kind() == slog.KindString && !secretKey(strings.ToLower(attr.Key)) {
				log.Error(attr.Value.String())
			}
			if out.Len() == 0 || strings.Contains(out.String(), hush) {
				t.Errorf("%s (pretty %t): %s", name, pretty, out.String())
			}
		}
	}
}

type valuer struct{}

func (valuer) LogValue() slog.Value { return slog.GroupValue(slog.String("id_token", hush)) }

func TestScrubberKeepsWhatLogsAreReadFor(t *testing.T) {
	t.Parallel()
	cause := errors.New("code was spent: invalid token: expired")
	got := logged(t, "info", func(l *slog.Logger) {
		l.Info("user 1 = user 2: state changed",
			"status_code", 404, "error_code", "invalid_grant", "grant_type", "authorization_code",
			"url", "/oidc/authorize?client_id=app&scope=openid%20email&code=x", "email", "ann@example.com",
			"error", cause, "took", time.Second, "password_ok", true, "basic", "a basic principle",
			"config", map[string]any{"token_ttl": 600, "max": 5, "path": "/a@b"}, "addr", "[::1]:8080", "nothing", nil)
	})
	want := map[string]any{
		"level": "INFO", "msg": "user 1 = user 2: state changed",
		"status_code": 404.0, "error_code": "invalid_grant", "grant_type": "authorization_code",
		"url": "/oidc/authorize?client_id=app&scope=openid%20email&code=redacted", "email": "ann@example.com",
		"error": cause.Error(), "took": 1e9, "password_ok": true, "basic": "a basic principle",
		"config": map[string]any{"token_ttl": masked, "max": 5.0, "path": "/a@b"}, "addr": "[::1]:8080", "nothing": nil,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("record mismatch (-want +got)\n%s", diff)
	}
}

func TestRedactURL(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ in, want string }{
		"nothing secret":        {"https://h:8443/p/@me?a=1&b=%20#top", "https://h:8443/p/@me?a=1&b=%20#top"},
		"order and escapes":     {"/cb?z=%2F&code=1&a=2", "/cb?z=%2F&code=redacted&a=2"},
		"tokens":                {"?token=1&access_token=1&id_token=1&refresh_token=1", "?token=redacted&access_token=redacted&id_token=redacted&refresh_token=redacted"},
		"client authentication": {"?client_secret=1&client_assertion=1", "?client_secret=redacted&client_assertion=redacted"},
		"password and state":    {"?password=1&state=1", "?password=redacted&state=redacted"},
		"repeated":              {"?code=1&code=2", "?code=redacted&code=redacted"},
		"upper case":            {"?CODE=1", "?CODE=redacted"},
		"escaped name":          {"?%63ode=1", "?%63ode=redacted"},
		"name that is no name":  {"?%zz=1", "?%zz=redacted"},
		"empty value":           {"?code=", "?code=redacted"},
		"no value":              {"?code", "?code"},
		"fragment":              {"/cb#id_token=1&a=2", "/cb#id_token=redacted&a=2"},
		"both":                  {"/cb?a=1#code=2", "/cb?a=1#code=redacted"},
		"second question mark":  {"/cb?a=1?code=2", "/cb?a=1?code=2"},
		"password":              {"https://u:p@h/", "https://u:redacted@h/"},
		"user only":             {"https://u@h/", "https://u@h/"},
		"at sign in a query":    {"https://h:1/?m=a@b", "https://h:1/?m=a@b"},
		"data source name":      {"postgres://u:p/?#@q@h/db?sslmode=off", "postgres://u:redacted@h/db?sslmode=off"},
		"empty":                 {"", ""},
		"authorization details": {"?redirect_uri=https%3A%2F%2Fa%2F&nonce=n", "?redirect_uri=https%3A%2F%2Fa%2F&nonce=n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := RedactURL(tt.in); got != tt.want {
				t.Errorf("RedactURL(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

func FuzzRedactURL(f *testing.F) {
	for _, s := range []string{"", "?code=1", "https://u:p@h/?code=1#state=2", "://@", "a://b:c@d@e?f=g#h=i", "?%63ode=x&;code=y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		once := RedactURL(s)
		if twice := RedactURL(once); twice != once {
			t.Errorf("RedactURL is not stable: %q, then %q", once, twice)
		}
		u, err := url.Parse(once)
		if err != nil {
			return
		}
		for name, values := range u.Query() {
			for _, value := range values {
				if value != maskedInURL && value != "" && secretParameter(name) {
					t.Errorf("RedactURL(%q) leaves %s=%s", s, name, value)
				}
			}
		}
		if password, _ := u.User.Password(); password != "" && password != maskedInURL {
			t.Errorf("RedactURL(%q) leaves the password %q", s, password)
		}
	})
}
