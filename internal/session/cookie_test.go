package session_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"parako/internal/secret"
	"parako/internal/session"
)

// written is the Set-Cookie header that a call makes.
func written(t *testing.T, call func(http.ResponseWriter)) string {
	t.Helper()
	w := httptest.NewRecorder()
	call(w)
	headers := w.Result().Header.Values("Set-Cookie")
	if len(headers) != 1 {
		t.Fatalf("%d cookies were set, want 1: %q", len(headers), headers)
	}
	return headers[0]
}

// request is what a browser sends after it was given the cookies.
func request(t *testing.T, headers ...string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
	for _, header := range headers {
		pair, _, _ := strings.Cut(header, ";")
		r.Header.Add("Cookie", pair)
	}
	return r
}

// The header is compared as a whole: one attribute more, such as Domain, is as wrong as one less.
func TestCookiesAsSet(t *testing.T) {
	t.Parallel()
	id := uuid.MustParse("0190b0a0-1234-4000-8000-000000000001")
	secure, plain := session.Cookies{Secure: true}, session.Cookies{}
	tests := map[string]struct {
		call func(http.ResponseWriter)
		want string
	}{
		"session": {
			func(w http.ResponseWriter) { secure.SetToken(w, "acme", "t0ken", 24*time.Hour) },
			"__Host-application_session=acme.t0ken; Path=/; Max-Age=86400; HttpOnly; Secure; SameSite=Lax",
		},
		"session that ends with the browser": {
			func(w http.ResponseWriter) { secure.SetToken(w, "acme", "t0ken", 0) },
			"__Host-application_session=acme.t0ken; Path=/; HttpOnly; Secure; SameSite=Lax",
		},
		"session without https": {
			func(w http.ResponseWriter) { plain.SetToken(w, "acme", "t0ken", time.Hour) },
			"application_session=acme.t0ken; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax",
		},
		"session of a special tenant": {
			func(w http.ResponseWriter) { secure.SetToken(w, "_platforms", "t0ken", 0) },
			"__Host-application_session=_platforms.t0ken; Path=/; HttpOnly; Secure; SameSite=Lax",
		},
		"session taken away": {
			secure.ClearToken,
			"__Host-application_session=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax",
		},
		"session without https taken away": {
			plain.ClearToken,
			"application_session=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax",
		},
		"flow": {
			func(w http.ResponseWriter) { secure.SetFlow(w, id, "s3cret", 10*time.Minute) },
			"__Host-parako_flow_0190b0a0=s3cret; Path=/; Max-Age=600; HttpOnly; Secure; SameSite=Lax",
		},
		"sign-in at a provider": {
			func(w http.ResponseWriter) { secure.SetSocial(w, "0190b0a0", "s3aled", 12*time.Minute) },
			"__Host-parako_social_0190b0a0=s3aled; Path=/; Max-Age=720; HttpOnly; Secure; SameSite=Lax",
		},
		"sign-in at a provider taken away": {
			func(w http.ResponseWriter) { plain.SetSocial(w, "0190b0a0", "", 0) },
			"parako_social_0190b0a0=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax",
		},
		"flow without https": {
			func(w http.ResponseWriter) { plain.SetFlow(w, id, "s3cret", 10*time.Minute) },
			"parako_flow_0190b0a0=s3cret; Path=/; Max-Age=600; HttpOnly; SameSite=Lax",
		},
		"flow forgotten": {
			func(w http.ResponseWriter) { secure.ClearFlow(w, id) },
			"__Host-parako_flow_0190b0a0=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, written(t, tt.call)); diff != "" {
				t.Errorf("Set-Cookie mismatch (-want +got)\n%s", diff)
			}
		})
	}
}

func TestToken(t *testing.T) {
	t.Parallel()
	type answer struct {
		Token string
		Bound bool
	}
	const name = "__Host-application_session"
	tests := map[string]struct {
		cookies session.Cookies
		cookie  string
		slug    string
		want    answer
	}{
		"its own tenant":                      {session.Cookies{Secure: true}, name + "=acme.t0ken", "acme", answer{"t0ken", true}},
		"no cookie":                           {session.Cookies{Secure: true}, "", "acme", answer{"", true}},
		"another tenant":                      {session.Cookies{Secure: true}, name + "=other.t0ken", "acme", answer{"", false}},
		"a tenant whose name begins the same": {session.Cookies{Secure: true}, name + "=acme2.t0ken", "acme", answer{"", false}},
		"no tenant":                           {session.Cookies{Secure: true}, name + "=.t0ken", "acme", answer{"", false}},
		"not made by us":                      {session.Cookies{Secure: true}, name + "=t0ken", "acme", answer{"", false}},
		"empty":                               {session.Cookies{Secure: true}, name + "=", "acme", answer{"", false}},
		"a sibling host's, over https":        {session.Cookies{Secure: true}, "application_session=acme.t0ken", "acme", answer{"", true}},
		"without https":                       {session.Cookies{}, "application_session=acme.t0ken", "acme", answer{"t0ken", true}},
		"another name, without https":         {session.Cookies{}, name + "=acme.t0ken", "acme", answer{"", true}},
		"whatever follows is the token's":     {session.Cookies{Secure: true}, name + "=acme.a.b", "acme", answer{"a.b", true}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			token, bound := tt.cookies.Token(request(t, tt.cookie), tt.slug)
			if diff := cmp.Diff(tt.want, answer{token, bound}); diff != "" {
				t.Errorf("Token mismatch (-want +got)\n%s", diff)
			}
		})
	}
}

func TestTokenSurvivesTheBrowser(t *testing.T) {
	t.Parallel()
	for _, cookies := range []session.Cookies{{Secure: true}, {}} {
		want := secret.Token()
		header := written(t, func(w http.ResponseWriter) { cookies.SetToken(w, "a-b_c", want, time.Hour) })
		if got, bound := cookies.Token(request(t, header), "a-b_c"); got != want || !bound {
			t.Errorf("Token = %q, %t, want %q", got, bound, want)
		}
	}
}

func TestEachInteractionHasItsOwnCookie(t *testing.T) {
	t.Parallel()
	for _, cookies := range []session.Cookies{{Secure: true}, {}} {
		one, other, third := uuid.New(), uuid.New(), uuid.New()
		set := func(id uuid.UUID, secret string) string {
			return written(t, func(w http.ResponseWriter) { cookies.SetFlow(w, id, secret, time.Hour) })
		}
		r := request(t, set(one, "first"), set(other, "second"))
		got := []string{cookies.Flow(r, one), cookies.Flow(r, other), cookies.Flow(r, third)}
		if diff := cmp.Diff([]string{"first", "second", ""}, got); diff != "" {
			t.Errorf("secrets mismatch (-want +got)\n%s", diff)
		}
	}
}

func TestLocale(t *testing.T) {
	t.Parallel()
	secure, plain := session.Cookies{Secure: true}, session.Cookies{}
	got := []string{
		secure.Locale(request(t, "__Host-locale=fr")), secure.Locale(request(t, "locale=fr")), secure.Locale(request(t)),
		plain.Locale(request(t, "locale=fr")),
	}
	if diff := cmp.Diff([]string{"fr", "", "", "fr"}, got); diff != "" {
		t.Errorf("locales mismatch (-want +got)\n%s", diff)
	}
}

func TestSocial(t *testing.T) {
	t.Parallel()
	for _, cookies := range []session.Cookies{{Secure: true}, {}} {
		set := written(t, func(w http.ResponseWriter) { cookies.SetSocial(w, "0190b0a0", "s3aled", time.Minute) })
		if got := cookies.Social(request(t, set), "0190b0a0"); got != "s3aled" {
			t.Errorf("Social = %q", got)
		}
		if got := cookies.Social(request(t, set), "0190b0a1"); got != "" {
			t.Errorf("Social of another sign-in = %q", got)
		}
	}
}
