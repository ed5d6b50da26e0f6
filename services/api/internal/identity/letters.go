package identity

import (
	"fmt"
	"html/template"
	"strings"
	"time"

	"github.com/agnes-platform/agnes/services/api/internal/mail"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// wording is what a mail of one purpose says.
type wording struct{ subject, opening, action, closing string }

var wordings = map[string]wording{
	state.PurposeMagic: {
		"Sign in to %s", "Somebody, probably you, asked for a link to sign in to %s.", "Sign in",
		"If it was not you, do nothing: without the link nobody gets in.",
	},
	state.PurposeReset: {
		"Choose a new password for %s", "Somebody, probably you or an administrator, asked for a new password for your account at %s.", "Choose a new password",
		"If it was not you, do nothing: your password stays as it is.",
	},
	state.PurposeSetup: {
		"Your account at %s", "There is an account for you at %s. Choose a password to use it.", "Choose a password",
		"If you do not know what this is about, do nothing.",
	},
}

var page = template.Must(template.New("mail").Parse(`<!doctype html>
<html><body style="font-family: sans-serif; line-height: 1.5">
<p>{{.Opening}}</p>
<p><a href="{{.URL}}">{{.Action}}</a></p>
<p>The link works once, and for {{.Lasts}}. {{.Closing}}</p>
</body></html>
`))

// letter writes the mail that brings a link.
func (s *Service) letter(k linkKind, u state.User, l Link) mail.Message {
	w := wordings[k.purpose]
	name := s.instanceName()
	opening, lasts := fmt.Sprintf(w.opening, name), span(k.ttl)
	var html strings.Builder
	if err := page.Execute(&html, map[string]string{"Opening": opening, "URL": l.URL, "Action": w.action, "Lasts": lasts, "Closing": w.closing}); err != nil {
		html.Reset() // the text alone will do
	}
	return mail.Message{
		To: state.DNSAddress(u.Email), Subject: fmt.Sprintf(w.subject, name), Kind: k.purpose, ForUser: u.ID, NotAfter: l.ExpiresAt, HTML: html.String(),
		Text: fmt.Sprintf("%s\n\n%s:\n%s\n\nThe link works once, and for %s. %s\n", opening, w.action, l.URL, lasts, w.closing),
	}
}

func (s *Service) instanceName() string {
	if s.cfg.InstanceName != nil {
		if name := strings.TrimSpace(s.cfg.InstanceName()); name != "" {
			return name
		}
	}
	return "Agnes"
}

func span(d time.Duration) string {
	switch hours := int(d.Hours()); {
	case hours == 1:
		return "an hour"
	case hours > 24:
		return fmt.Sprintf("%d days", hours/24)
	default:
		return fmt.Sprintf("%d hours", hours)
	}
}
