package api

import (
	"context"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/service"
	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
	"github.com/agnes-platform/agnes/services/api/internal/identity"
	"github.com/agnes-platform/agnes/services/api/internal/mail"
)

// WaysIn are the settings of signing in by other means than a password.
type WaysIn struct {
	SessionMax time.Duration `envconfig:"AGNES_SESSION_MAX" default:"720h" desc:"how long after the sign-in a session can be refreshed"`

	SMTPHost     string `envconfig:"SMTP_HOST" desc:"the server that takes mails; empty: none are sent"`
	SMTPPort     int    `envconfig:"SMTP_PORT" default:"587" desc:"its port"`
	SMTPUser     string `envconfig:"SMTP_USER" desc:"the account at the mail server"`
	SMTPPassword string `envconfig:"SMTP_PASSWORD" desc:"its password, which is sent over TLS only"`
	SMTPFrom     string `envconfig:"SMTP_FROM" desc:"the sender of mails, such as Agnes <agnes@example.com>"`
	SMTPFromOld  string `envconfig:"EMAIL_FROM_ADDRESS" desc:"the sender of mails where SMTP_FROM is empty"`
	SMTPTLS      string `envconfig:"SMTP_USE_TLS" default:"true" desc:"true: STARTTLS or no mail; implicit: TLS from the start, as on port 465; false: in the clear"`

	GoogleID     string `envconfig:"GOOGLE_CLIENT_ID" desc:"signing in with Google: the client id"`
	GoogleSecret string `envconfig:"GOOGLE_CLIENT_SECRET" desc:"signing in with Google: the client secret"`

	OIDCIssuer  string `envconfig:"AGNES_OIDC_ISSUER" desc:"the issuer of an OpenID provider, such as https://id.example.com"`
	OIDCID      string `envconfig:"AGNES_OIDC_CLIENT_ID" desc:"the client id at the OpenID provider"`
	OIDCSecret  string `envconfig:"AGNES_OIDC_CLIENT_SECRET" desc:"the client secret at the OpenID provider"`
	OIDCName    string `envconfig:"AGNES_OIDC_NAME" default:"sso" desc:"the name of the OpenID provider in paths"`
	OIDCLabel   string `envconfig:"AGNES_OIDC_LABEL" desc:"what the button of the OpenID provider says"`
	OIDCScopes  string `envconfig:"AGNES_OIDC_SCOPES" default:"openid email profile" desc:"the scopes that are asked for at the OpenID provider"`
	OIDCDomains string `envconfig:"AGNES_OIDC_LINK_DOMAINS" desc:"domains of addresses on which the OpenID provider's word is taken; empty: all"`

	AllowedDomains string `envconfig:"AGNES_ALLOWED_DOMAINS" desc:"domains of addresses that may sign up by a provider, instead of auth.allowed_domain of instance.yaml"`
	OpenSignup     bool   `envconfig:"AGNES_OPEN_SIGNUP" default:"false" desc:"true: everybody may sign up by a provider where no domain is named"`
	SignupRole     string `envconfig:"AGNES_SIGNUP_ROLE" default:"analyst" desc:"the role of who signs up: viewer or analyst"`
}

// mailer gives the queue of mails; nil where none are sent.
func (w WaysIn) mailer() (*mail.Queue, error) {
	if w.SMTPHost == "" {
		return nil, nil //nolint:nilnil // no mail is a way to run
	}
	from := w.SMTPFrom
	if from == "" {
		from = w.SMTPFromOld
	}
	return mail.New(mail.Config{Host: w.SMTPHost, Port: w.SMTPPort, User: w.SMTPUser, Password: w.SMTPPassword, From: from, TLS: w.SMTPTLS})
}

// providers are the configured OpenID providers. Half a configuration is refused: somebody meant it.
func (w WaysIn) providers() ([]identity.ProviderConfig, error) {
	var list []identity.ProviderConfig
	if w.GoogleID != "" || w.GoogleSecret != "" {
		if w.GoogleID == "" || w.GoogleSecret == "" {
			return nil, fault.New(fault.Invalid, "signing in with Google needs both GOOGLE_CLIENT_ID and GOOGLE_CLIENT_SECRET")
		}
		list = append(list, identity.ProviderConfig{Name: "google", Label: "Google", Issuer: identity.GoogleIssuer, ClientID: w.GoogleID, ClientSecret: w.GoogleSecret})
	}
	if w.OIDCIssuer == "" && w.OIDCID == "" && w.OIDCSecret == "" {
		return list, nil
	}
	if w.OIDCIssuer == "" || w.OIDCID == "" || w.OIDCSecret == "" {
		return nil, fault.New(fault.Invalid, "an OpenID provider needs AGNES_OIDC_ISSUER, AGNES_OIDC_CLIENT_ID and AGNES_OIDC_CLIENT_SECRET")
	}
	domains, err := service.ParseDomains(w.OIDCDomains)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "AGNES_OIDC_LINK_DOMAINS: %s", fault.Message(err))
	}
	scopes := strings.FieldsFunc(w.OIDCScopes, func(r rune) bool { return r == ' ' || r == ',' })
	return append(list, identity.ProviderConfig{
		Name: w.OIDCName, Label: w.OIDCLabel, Issuer: w.OIDCIssuer, ClientID: w.OIDCID, ClientSecret: w.OIDCSecret, Scopes: scopes, LinkDomains: domains,
	}), nil
}

// domains gives who may sign up: as the environment says, else as the configuration says now.
func (w WaysIn) domains(now func() []string) (func() []string, error) {
	if strings.TrimSpace(w.AllowedDomains) == "" {
		return now, nil
	}
	list, err := service.ParseDomains(w.AllowedDomains)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "AGNES_ALLOWED_DOMAINS: %s", fault.Message(err))
	}
	if len(list) == 0 {
		return nil, fault.New(fault.Invalid, "AGNES_ALLOWED_DOMAINS names no domain")
	}
	return func() []string { return list }, nil
}

// openIdentity makes the identity service with all ways to sign in that are configured.
func (h *house) openIdentity(secret []byte) (err error) {
	cfg := identity.Config{
		Store: h.state, Secret: secret, SessionTTL: h.cfg.SessionTTL, SessionMax: h.cfg.SessionMax, PublicURL: h.cfg.PublicURL,
		InstanceName: func() string { return h.live.Load().Name }, OpenSignup: h.cfg.OpenSignup, SignupRole: h.cfg.SignupRole,
		OnNewAddress: h.tokenMoved, OnSeeded: h.seeded,
	}
	if h.mail, err = h.cfg.mailer(); err != nil {
		return err
	}
	if h.mail != nil {
		cfg.Mail = h.mail
	}
	if cfg.Providers, err = h.cfg.providers(); err != nil {
		return err
	}
	if cfg.AllowedDomains, err = h.cfg.domains(func() []string { return h.live.Load().AllowedDomains }); err != nil {
		return err
	}
	h.identity, err = identity.New(cfg)
	return err
}

// seeded records what became of the administrator of the environment.
func (h *house) seeded(ctx context.Context, s identity.Seeded) error {
	action := "user.update"
	if s.Made {
		action = "user.create"
	}
	return h.audit.service(ctx, name, action, "user:"+s.UserID, map[string]any{
		"email": s.Email, "role": httpapi.RoleAdmin, "password_set": s.PasswordSet, "because": "SEED_ADMIN_EMAIL",
	}, nil)
}

// tokenMoved records that a personal access token is used from another address than before.
func (h *house) tokenMoved(ctx context.Context, c identity.Caller, ip, before string) {
	err := h.audit.Record(ctx, httpapi.Entry{
		Action: "token.first_use_new_ip", Resource: "token:" + c.CredentialID, Result: httpapi.ResultOK, Actor: callerView(c),
		Params: map[string]any{"previous_ip": before}, IP: ip, At: time.Now().UTC(),
	})
	if err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Str("token_id", c.CredentialID).Msg("the use of a token from another address is not recorded")
	}
}
