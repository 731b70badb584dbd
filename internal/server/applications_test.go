package server_test

import (
	"net/url"
	"strings"
	"testing"

	"parako/internal/oidc"
	"parako/internal/testkit/app"
)

// TestApplicationsOfTheTenant has a signed-in person look at the tenant's own page.
func TestApplicationsOfTheTenant(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	p := newParty(t, a, a.Acme, a.Acme.Web)
	started := func(name, login, page string) func(*oidc.NewClient) {
		return func(n *oidc.NewClient) { n.Name, n.InitiateLoginURI, n.ClientURI = name, login, page }
	}
	p.with(t, started("Zebra <b>", "https://zebra.example/login?keep=this", "https://zebra.example/start?a=b"))
	p.with(t, started("Apple", "https://apple.example/login", ""))
	plain := p.with(t, started("Plain", "https://plain.example/login", ""))
	a.Superuser(t, `UPDATE parako.clients SET metadata = metadata || '{"initiate_login_uri":"http://localhost:9008/login"}' WHERE id = $1`, plain.client.ID)
	sleeping := p.with(t, started("Sleeping", "https://sleeping.example/login", ""))
	a.Superuser(t, "UPDATE parako.clients SET active = false WHERE id = $1", sleeping.client.ID)
	newParty(t, a, a.Globex, a.Globex.Web).with(t, started("Foreign", "https://foreign.example/login", ""))

	home := strings.TrimSuffix(a.Acme.Issuer, "/oidc/v1") + "/"
	if anonymous := app.Get(t, p.browser, home); strings.Contains(anonymous.Text, "example/login") {
		t.Errorf("nobody is signed in and sees %s", anonymous.Text)
	}
	p.code(t)
	got := app.Get(t, p.browser, home).Text
	issuer := url.QueryEscape(a.Acme.Issuer)
	apple := strings.Index(got, `href="https://apple.example/login?iss=`+issuer+`"`)
	zebra := strings.Index(got, `href="https://zebra.example/login?keep=this&amp;iss=`+issuer+"&amp;target_link_uri="+url.QueryEscape("https://zebra.example/start?a=b")+`"`)
	if apple < 0 || zebra < apple || !strings.Contains(got, "Zebra &lt;b&gt;") {
		t.Errorf("the page lacks an application, or has them in another order:\n%s", got)
	}
	for _, absent := range []string{"Plain", "Sleeping", "Foreign", "foreign.example"} {
		if strings.Contains(got, absent) {
			t.Errorf("the page shows %s", absent)
		}
	}
}
