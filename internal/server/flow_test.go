package server_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	parako "parako/internal/oidc"
	"parako/internal/testkit"
	"parako/internal/testkit/app"
)

func TestMain(m *testing.M) { os.Exit(testkit.Main(m)) }

// TestCodeFlowWithGoOIDC signs a person of each tenant in with a stock client library, both at the same server.
func TestCodeFlowWithGoOIDC(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	for _, tt := range []struct {
		tenant app.Tenant
		public bool
	}{{a.Acme, false}, {a.Acme, true}, {a.Globex, false}, {a.Globex, true}} {
		name, registered := tt.tenant.Slug+" confidential", tt.tenant.Web
		if tt.public {
			name, registered = tt.tenant.Slug+" public", tt.tenant.SPA
		}
		t.Run(name, func(t *testing.T) {
			ctx := oidc.ClientContext(t.Context(), a.Client(t))
			provider, err := oidc.NewProvider(ctx, tt.tenant.Issuer)
			if err != nil {
				t.Fatal(err)
			}
			config := oauth2.Config{
				ClientID: registered.ID, ClientSecret: registered.Secret, Endpoint: provider.Endpoint(), RedirectURL: app.Callback,
				Scopes: []string{"openid", "profile", "email", "offline_access"},
			}
			verifier := oauth2.GenerateVerifier()
			authorize := config.AuthCodeURL("the-state", oauth2.S256ChallengeOption(verifier), oidc.Nonce("the-nonce"))
			back := a.SignIn(t, a.Browser(t), authorize, tt.tenant.Email, app.Password)
			if got := back.Query().Get("state"); got != "the-state" {
				t.Errorf("state = %q in %s", got, back)
			}
			if got := back.Query().Get("iss"); got != tt.tenant.Issuer {
				t.Errorf("iss = %q, want %q", got, tt.tenant.Issuer)
			}
			token, err := config.Exchange(ctx, back.Query().Get("code"), oauth2.VerifierOption(verifier))
			if err != nil {
				t.Fatal(err)
			}
			checkTokens(ctx, t, provider, config, token, tt.tenant)

			// The refresh token rotates, and the old access token's owner stays the same.
			expired := *token
			expired.AccessToken = ""
			fresh, err := config.TokenSource(ctx, &expired).Token()
			if err != nil {
				t.Fatal(err)
			}
			if fresh.RefreshToken == token.RefreshToken || fresh.AccessToken == token.AccessToken {
				t.Error("a refresh did not rotate the tokens")
			}
			checkTokens(ctx, t, provider, config, fresh, tt.tenant)
		})
	}
}

func checkTokens(ctx context.Context, t *testing.T, provider *oidc.Provider, config oauth2.Config, token *oauth2.Token, owner app.Tenant) {
	t.Helper()
	raw, _ := token.Extra("id_token").(string)
	id, err := provider.Verifier(&oidc.Config{ClientID: config.ClientID}).Verify(ctx, raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := id.VerifyAccessToken(token.AccessToken); err != nil {
		t.Errorf("at_hash: %v", err)
	}
	if id.Subject != owner.User.ID.String() || id.Nonce != "the-nonce" {
		t.Errorf("ID token is for sub %q, nonce %q", id.Subject, id.Nonce)
	}
	info, err := provider.UserInfo(ctx, oauth2.StaticTokenSource(token))
	if err != nil {
		t.Fatal(err)
	}
	if info.Subject != id.Subject || info.Email != owner.Email || !info.EmailVerified {
		t.Errorf("userinfo = %+v", info)
	}
	if !strings.HasPrefix(token.RefreshToken, "parako_rt_") {
		t.Errorf("refresh token %q", token.RefreshToken)
	}
}

// TestDeviceFlowWithOAuth2 connects devices with a stock client library. It does not authenticate confidential clients at the
// device authorization endpoint by itself (RFC 8628 section 3.1), and is told to.
func TestDeviceFlowWithOAuth2(t *testing.T) {
	t.Parallel()
	a := app.New(t)
	for _, tenant := range []app.Tenant{a.Acme, a.Globex} {
		for name, change := range map[string][]func(*parako.NewClient){"confidential": nil, "public": {public}} {
			t.Run(tenant.Slug+" "+name, func(t *testing.T) {
				p := newDevice(t, a, tenant, change...)
				ctx := oidc.ClientContext(t.Context(), p.direct)
				provider, err := oidc.NewProvider(ctx, tenant.Issuer)
				if err != nil {
					t.Fatal(err)
				}
				conf := oauth2.Config{
					ClientID: p.client.ID, ClientSecret: p.client.Secret, Endpoint: provider.Endpoint(), Scopes: []string{"openid", "email", "offline_access"},
				}
				conf.Endpoint.AuthStyle = oauth2.AuthStyleInParams
				var options []oauth2.AuthCodeOption
				if p.client.Secret != "" {
					options = append(options, oauth2.SetAuthURLParam("client_secret", p.client.Secret))
				}
				begun, err := conf.DeviceAuth(ctx, options...)
				if err != nil {
					t.Fatal(err)
				}
				if begun.Interval != 5 {
					t.Errorf("interval = %d", begun.Interval)
				}
				p.approve(t, begun.UserCode)
				begun.Interval = 1 // The library waits before it asks; the person has answered already.
				token, err := conf.DeviceAccessToken(ctx, begun)
				if err != nil {
					t.Fatal(err)
				}
				raw, _ := token.Extra("id_token").(string)
				id, err := provider.Verifier(&oidc.Config{ClientID: p.client.ID}).Verify(ctx, raw)
				if err != nil {
					t.Fatal(err)
				}
				if err := id.VerifyAccessToken(token.AccessToken); err != nil || id.Subject != tenant.User.ID.String() {
					t.Errorf("the ID token is about %s, at_hash: %v", id.Subject, err)
				}
				expired := *token
				expired.AccessToken = ""
				fresh, err := conf.TokenSource(ctx, &expired).Token()
				if err != nil || fresh.RefreshToken == token.RefreshToken {
					t.Errorf("refresh: %v", err)
				}
			})
		}
	}
}
