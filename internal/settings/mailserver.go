package settings

import (
	"context"

	"parako/internal/message"
	"parako/internal/secret"
	"parako/internal/store"
	"parako/internal/tenant"
)

// SendsMail reports whether mail is on and there is a server to hand it to.
func (s *Settings) SendsMail() bool {
	return s.Notifications.Channels.Email.Enabled && s.Integrations.Email.SMTPHost != "" && s.Integrations.Email.From != ""
}

// TellsOfSessions reports whether people get a mail about a new session of theirs.
func (s *Settings) TellsOfSessions() bool {
	return s.SendsMail() && (s.Notifications.Defaults.NewSessionAlerts || s.Security.Authentication.Session.NotifyNewSession)
}

// Server is where the mail of a tenant is handed in. The password is opened with the data key of whoever has set it: the tenant,
// or the platform for all of them.
func (e *Email) Server(ctx context.Context, s *store.Store, vault tenant.Vault) (message.Server, error) {
	server := message.Server{
		Host: e.SMTPHost, Port: e.SMTPPort, Username: e.SMTPUsername, From: e.From, AnyCertificate: !e.TLSRejectUnauthorized,
	}
	var err error
	server.Password, err = e.SMTPPassword.Reveal(ctx, s, vault)
	return server, err
}

// Reveal opens the secret in a transaction of its owner.
func (s Sealed) Reveal(ctx context.Context, st *store.Store, vault tenant.Vault) (plain secret.String, err error) {
	if !s.Set() {
		return plain, nil
	}
	err = st.ViewTenant(ctx, s.Owner(), func(ctx context.Context, tx *store.Tx) error {
		sealer, err := vault.Sealer(ctx, tx)
		if err != nil {
			return err
		}
		plain, err = s.Open(sealer)
		return err
	})
	return plain, err
}

// mailColor is the accent of the hosted pages.
const mailColor = "#2656a8"

// MailBrand is what mail looks like that comes from the organisation.
func (s *Settings) MailBrand(company string) message.Brand {
	color := s.Branding.Colors.Light["primary"]
	if color == "" {
		color = mailColor
	}
	u := s.Integrations.URLs
	return message.Brand{
		Company: company, LogoURL: s.Branding.Logo, Color: color, PrivacyURL: u.PrivacyPolicy, TermsURL: u.TermsOfService, ContactURL: u.Contact,
		Locales: s.Application.Locales.Available, Locale: s.Application.Locales.Default,
	}
}
