package server_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"parako/internal/oidc"
	"parako/internal/testkit/app"
)

// TestDeviceConsent holds that nothing but the person's own yes lets a device in.
func TestDeviceConsent(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	t.Run("a link does nothing by itself", func(t *testing.T) {
		p := newDevice(t, a, a.AddTenant(t, "hooli"))
		p.approve(t, p.begin(t).text("user_code"))
		begun := p.begin(t)
		before := rowsOf(t, a, p.tenant)
		page := app.Get(t, p.browser, begun.text("verification_uri_complete"))
		if page.StatusCode != http.StatusOK || !strings.Contains(page.Text, `value="`+begun.text("user_code")+`"`) || !strings.Contains(page.Text, `id="device-warning"`) ||
			!strings.Contains(page.Text, "Compare this code") {
			t.Errorf("the page: %d\n%s", page.StatusCode, page.Text)
		}
		wrong := app.Get(t, p.browser, p.tenant.Issuer+"/device?user_code=BCDF-GHJK")
		if strings.ReplaceAll(wrong.Text, "BCDF-GHJK", begun.text("user_code")) != page.Text {
			t.Error("the page tells a right code from a wrong one before anybody has pressed the button")
		}
		if rowsOf(t, a, p.tenant) != before {
			t.Error("a link has changed rows")
		}
		expect(t, p.poll(t, begun), http.StatusBadRequest, "authorization_pending")
	})
	for name, change := range map[string]func(*oidc.NewClient){
		"who agreed before is asked again":  func(*oidc.NewClient) {},
		"the tenant's own client asks, too": func(n *oidc.NewClient) { n.Internal = true },
	} {
		t.Run(name, func(t *testing.T) {
			p := newDevice(t, a, a.Acme, change, func(n *oidc.NewClient) { n.Name = "The <TV>" })
			for range 2 {
				begun := p.begin(t, "scope", "openid email")
				page := p.toConsent(t, begun.text("user_code"))
				for _, want := range []string{"The &lt;TV&gt;", `id="consent-device"`, "<bdi>127.0.0.1</bdi>", "See your email address", a.Acme.Email} {
					if !strings.Contains(page.Text, want) {
						t.Errorf("the page lacks %q:\n%s", want, page.Text)
					}
				}
				expect(t, p.poll(t, begun), http.StatusBadRequest, "authorization_pending")
				app.Post(t, p.browser, page.Request.URL.String()+"/confirm", nil)
				expect(t, p.poll(t, begun), http.StatusOK, "")
			}
		})
	}
	t.Run("other consents have no warning", func(t *testing.T) {
		p := newParty(t, a, a.Acme, a.Acme.Web)
		p.code(t)
		if page := p.shows(t, "consent-form", "prompt", "consent"); strings.Contains(page.Text, "consent-device") {
			t.Error("an application in the browser is called a device")
		}
	})
	t.Run("no", func(t *testing.T) {
		p := newDevice(t, a, a.Acme)
		for _, at := range []string{"login", "consent"} {
			begun := p.begin(t)
			page := p.enter(t, begun.text("user_code"))
			if at == "consent" {
				page = p.toConsent(t, begun.text("user_code"))
			}
			page = app.Post(t, p.browser, page.Request.URL.String()+"/abort", nil)
			if page.StatusCode != http.StatusOK || !strings.Contains(page.Text, `id="device-denied"`) {
				t.Errorf("%s: %d\n%s", at, page.StatusCode, page.Text)
			}
			expect(t, p.poll(t, begun), http.StatusBadRequest, "access_denied")
			expect(t, p.poll(t, begun), http.StatusBadRequest, "access_denied")
			a.Superuser(t, "UPDATE parako.device_codes SET expires_at = now() WHERE id = $1", rowID(begun.text("device_code")))
			expect(t, p.poll(t, begun), http.StatusBadRequest, "access_denied")
		}
	})
	t.Run("another account", func(t *testing.T) {
		p := newDevice(t, a, a.Acme)
		page := p.toConsent(t, p.begin(t).text("user_code"))
		if page = app.Post(t, p.browser, page.Request.URL.String()+"/switch", nil); !strings.Contains(page.Text, `id="login-form"`) {
			t.Errorf("switching the account: %d\n%s", page.StatusCode, page.Text)
		}
	})
	t.Run("too late", func(t *testing.T) {
		p := newDevice(t, a, a.Acme)
		begun := p.begin(t)
		page := p.toConsent(t, begun.text("user_code"))
		a.Superuser(t, "UPDATE parako.device_codes SET expires_at = now() WHERE id = $1", rowID(begun.text("device_code")))
		for _, path := range []string{"/confirm", "/abort"} {
			if got := app.Post(t, p.step, page.Request.URL.String()+path, nil); got.StatusCode != http.StatusBadRequest || got.Header.Get("Location") != "" {
				t.Errorf("%s: %d to %q", path, got.StatusCode, got.Header.Get("Location"))
			}
		}
		if granted := a.DB.Ask(t, a.Acme.ID, "SELECT id::text FROM parako.grants WHERE client_id = $1", p.client.ID); len(granted) != 0 {
			t.Errorf("%d grants", len(granted))
		}
	})
	t.Run("without a login", func(t *testing.T) {
		p := newDevice(t, a, a.Acme)
		begun := p.begin(t)
		page := p.enter(t, begun.text("user_code"))
		if got := app.Post(t, p.browser, page.Request.URL.String()+"/confirm", nil); !strings.Contains(got.Text, `id="login-form"`) {
			t.Errorf("nobody agrees: %d\n%s", got.StatusCode, got.Text)
		}
		expect(t, p.poll(t, begun), http.StatusBadRequest, "authorization_pending")
	})
	t.Run("from another browser", func(t *testing.T) {
		p := newDevice(t, a, a.Acme)
		begun := p.begin(t)
		page := p.toConsent(t, begun.text("user_code"))
		stranger := newParty(t, a, a.Acme, p.client)
		if got := app.Post(t, stranger.browser, page.Request.URL.String()+"/confirm", nil); got.StatusCode != http.StatusBadRequest {
			t.Errorf("a stranger agrees: %d", got.StatusCode)
		}
		expect(t, p.poll(t, begun), http.StatusBadRequest, "authorization_pending")
	})
	t.Run("an old login is not enough", func(t *testing.T) {
		age := int32(60)
		p := newDevice(t, a, a.Acme, func(n *oidc.NewClient) { n.DefaultMaxAge = &age })
		first := p.verified(t, "JWT", p.connect(t).text("id_token"))
		a.Superuser(t, "UPDATE parako.sessions SET auth_time = auth_time - interval '2 minutes' WHERE id = $1", first["sid"])
		if page := p.enter(t, p.begin(t).text("user_code")); !strings.Contains(page.Text, `id="login-form"`) {
			t.Errorf("after two minutes of one: %d\n%s", page.StatusCode, page.Text)
		}
	})
}

// TestOneUserCodeManyAnswers has one code open in many tabs, and says yes in half of them and no in the others, all at once. One
// answer counts.
func TestOneUserCodeManyAnswers(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newDevice(t, a, a.Acme)
	begun := p.begin(t)
	var tabs []string
	for range racers {
		tabs = append(tabs, p.toConsent(t, begun.text("user_code")).Request.URL.String())
	}
	var mu sync.Mutex
	var places []string
	var all sync.WaitGroup
	for i, tab := range tabs {
		all.Go(func() {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, tab+[]string{"/confirm", "/abort"}[i%2], nil)
			if err != nil {
				t.Error(err)
				return
			}
			status, header, _, err := send(p.step, r)
			switch {
			case err != nil:
				t.Error(err)
			case status == http.StatusSeeOther:
				mu.Lock()
				places = append(places, strings.TrimPrefix(header.Get("Location"), a.Acme.Issuer))
				mu.Unlock()
			case status != http.StatusBadRequest:
				t.Errorf("an answer got %d", status)
			}
		})
	}
	all.Wait()
	if len(places) != 1 {
		t.Fatalf("%d answers counted: %v", len(places), places)
	}
	grants := len(a.DB.Ask(t, a.Acme.ID, "SELECT id::text FROM parako.grants WHERE client_id = $1", p.client.ID))
	switch got := p.poll(t, begun); places[0] {
	case "/device/done":
		expect(t, got, http.StatusOK, "")
		if grants != 1 {
			t.Errorf("%d grants", grants)
		}
	case "/device/denied":
		expect(t, got, http.StatusBadRequest, "access_denied")
		if grants != 0 {
			t.Errorf("%d grants", grants)
		}
	default:
		t.Errorf("the answer leads to %s", places[0])
	}
}

// TestDeviceAudit reads the trail of devices that were let in, refused and guessed, and looks for the codes where they must not be.
func TestDeviceAudit(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newDevice(t, a, a.Acme)
	yes, no := p.begin(t), p.begin(t)
	app.Get(t, p.browser, yes.text("verification_uri_complete"))
	const guess = "ZZZZ-XXXX"
	p.enter(t, guess)
	aborted := p.enter(t, no.text("user_code"))
	app.Post(t, p.browser, aborted.Request.URL.String()+"/abort", nil)
	for range 3 {
		p.poll(t, yes)
	}
	p.approve(t, yes.text("user_code"))
	tokens := p.poll(t, yes)
	expect(t, tokens, http.StatusOK, "")
	expect(t, p.poll(t, no), http.StatusBadRequest, "access_denied")
	expect(t, p.poll(t, yes), http.StatusBadRequest, "invalid_grant")

	person := a.Acme.User.ID.String()
	count := map[string]int{}
	for _, e := range events(t, a, a.Acme) {
		count[e.Type]++
		if strings.HasPrefix(e.Type, "device.") && (e.RequestID == "" || e.IP != "127.0.0.1") {
			t.Errorf("%s does not say where it came from: %s", e.Type, e.Text)
		}
		want := map[string]string{"device.authorized": "success user " + person, "device.denied": "failed anonymous ", "device.code_refused": "failed anonymous "}[e.Type]
		if got := e.Status + " " + e.ActorType + " " + e.ActorID; want != "" && got != want {
			t.Errorf("%s: %s, want %s", e.Type, got, want)
		}
		if e.Type == "token.issued" && (!strings.Contains(e.Text, deviceGrant) || e.ActorID != p.client.ID) {
			t.Errorf("token.issued: %s", e.Text)
		}
	}
	for name, want := range map[string]int{
		"device.authorized": 1, "device.denied": 1, "device.code_refused": 1, "consent.given": 1, "token.issued": 1, "token.refused": 2, "token.reuse_detected": 1,
	} {
		if count[name] != want {
			t.Errorf("%d × %s, want %d", count[name], name, want)
		}
	}
	stored := strings.Join(a.DB.Ask(t, a.Acme.ID, `SELECT d::text FROM parako.device_codes AS d UNION ALL SELECT i::text FROM parako.interactions AS i
		UNION ALL SELECT e::text FROM parako.audit_events AS e`), "\n")
	for name, secret := range map[string]string{
		"a device code": yes.text("device_code"), "a user code": yes.text("user_code"), "the other user code": no.text("user_code"), "a guess": guess,
		"a plain user code": strings.ReplaceAll(yes.text("user_code"), "-", ""),
	} {
		if strings.Contains(stored, secret) {
			t.Errorf("the database holds %s", name)
		}
		if strings.Contains(a.Logs.String(), secret) {
			t.Errorf("the log holds %s", name)
		}
	}
}
