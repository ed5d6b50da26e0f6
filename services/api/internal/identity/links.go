package identity

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"net/url"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/mail"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// How long links are good.
const (
	MagicTTL = time.Hour
	ResetTTL = 24 * time.Hour
	SetupTTL = 7 * 24 * time.Hour
)

// Mailer sends mails.
type Mailer interface {
	// Enqueue sends a mail in the background.
	Enqueue(m mail.Message) error
	// Send sends a mail now.
	Send(ctx context.Context, m mail.Message) error
}

// Link is a one-time link that was just made. Token is kept nowhere else.
type Link struct {
	Token string
	// URL is empty where the public address of the server is not configured.
	URL       string
	EmailSent bool
	ExpiresAt time.Time
}

// Mails tells whether links can be sent: mail is configured, and so is the address that links go to.
func (s *Service) Mails() bool { return s.cfg.Mail != nil && s.cfg.PublicURL != "" }

// linkKind is what differs between the purposes.
type linkKind struct {
	purpose, path string
	ttl           time.Duration
}

var (
	magicLink = linkKind{state.PurposeMagic, "/auth/email/verify", MagicTTL}
	resetLink = linkKind{state.PurposeReset, "/auth/password/reset", ResetTTL}
	setupLink = linkKind{state.PurposeSetup, "/auth/password/setup", SetupTTL}
)

// SendLink mails a link to sign in, where an active user has the address. next is the path to go to
// after it. The work is done in the background: neither the answer nor its time tells whether somebody
// has the address.
func (s *Service) SendLink(ctx context.Context, email, next string, from From) error {
	return s.request(ctx, magicLink, email, next, from)
}

// RequestReset mails a link to choose a new password, like SendLink.
func (s *Service) RequestReset(ctx context.Context, email string, from From) error {
	return s.request(ctx, resetLink, email, "", from)
}

// RequestSetup mails a link to choose the first password, to an active user who has none, like SendLink.
func (s *Service) RequestSetup(ctx context.Context, email string, from From) error {
	return s.request(ctx, setupLink, email, "", from)
}

func (s *Service) request(ctx context.Context, k linkKind, email, next string, from From) error {
	email, err := checkEmail(email)
	if err != nil {
		return err
	}
	if !s.Mails() {
		zerolog.Ctx(ctx).Warn().Str("mail", k.purpose).Msg("no link can be sent: set SMTP_HOST, SMTP_FROM and AGNES_PUBLIC_URL")
		return nil // as for an address that nobody has
	}
	return s.later(func(ctx context.Context) {
		if err := s.mailTo(ctx, k, email, next, from); err != nil && !quiet(err) {
			zerolog.Ctx(ctx).Warn().Err(err).Str("mail", k.purpose).Msg("a link could not be sent")
		}
	})
}

// quiet are the errors that only say that there is nobody to write to.
func quiet(err error) bool { return fault.Is(err, fault.NotFound) || fault.Is(err, fault.Conflict) }

func (s *Service) mailTo(ctx context.Context, k linkKind, email, next string, from From) error {
	u, err := s.store.Users.ByEmail(ctx, email)
	if err != nil {
		return err
	}
	link, err := s.makeLink(ctx, k, u, next, "", from.IP)
	if err != nil {
		return err
	}
	return s.cfg.Mail.Enqueue(s.letter(k, u, link))
}

// makeLink makes and keeps a one-time token.
func (s *Service) makeLink(ctx context.Context, k linkKind, u state.User, next, by, ip string) (Link, error) {
	token, err := newSecret()
	if err != nil {
		return Link{}, err
	}
	link := Link{Token: token, ExpiresAt: s.now().Add(k.ttl)}
	err = s.store.OneTimes.Create(ctx, state.OneTime{Purpose: k.purpose, UserID: u.ID, Hash: hashToken(token), ExpiresAt: link.ExpiresAt, CreatedBy: by, IP: ip})
	if err != nil {
		return Link{}, err
	}
	if s.cfg.PublicURL != "" {
		query := url.Values{"email": {u.Email}, "token": {token}}
		if next = localPath(next); next != "/" {
			query.Set("next", next)
		}
		link.URL = s.cfg.PublicURL + k.path + "?" + query.Encode()
	}
	return link, nil
}

// newSecret makes a secret of 256 bits that can stand in a URL.
func newSecret() (string, error) {
	var random [32]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", fault.Wrap(err, fault.Internal, "no secret can be made")
	}
	return base64.RawURLEncoding.EncodeToString(random[:]), nil
}

// localPath gives a path of this server, or "/" for what could lead elsewhere.
func localPath(next string) string {
	if !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || len(next) > 1000 ||
		strings.ContainsFunc(next, func(r rune) bool { return r < ' ' || r == '\\' || r == 0x7f }) {
		return "/"
	}
	return next
}

// Invite makes a link by which a user chooses their first password, and mails it where mail is
// configured; fault.Conflict where they have one, or are deactivated.
func (s *Service) Invite(ctx context.Context, by Caller, userID string) (Link, error) {
	return s.handOver(ctx, setupLink, by, userID)
}

// ResetFor makes a link by which a user chooses a new password, and mails it where mail is configured.
// What stands goes on to work until they do.
func (s *Service) ResetFor(ctx context.Context, by Caller, userID string) (Link, error) {
	return s.handOver(ctx, resetLink, by, userID)
}

func (s *Service) handOver(ctx context.Context, k linkKind, by Caller, userID string) (Link, error) {
	if err := notOfItsOwner(by, userID); err != nil {
		return Link{}, err
	}
	u, err := s.store.Users.Get(ctx, userID)
	if err != nil {
		return Link{}, err
	}
	link, err := s.makeLink(ctx, k, u, "", by.UserID, "")
	if err != nil || !s.Mails() {
		return link, err
	}
	// An administrator waits, to learn whether the link has to be handed over by other means.
	if err := s.cfg.Mail.Send(ctx, s.letter(k, u, link)); err != nil {
		zerolog.Ctx(ctx).Warn().Str("mail", k.purpose).Str("user_id", u.ID).Str("reason", fault.Message(err)).Msg("a link was not mailed; the administrator has it")
		return link, nil
	}
	link.EmailSent = true
	return link, nil
}

// VerifyLink uses the token of a link to sign in up and opens a session: fault.Unauthenticated where it
// is not valid, used or expired. email may be empty; where it is not, it must be the owner's.
func (s *Service) VerifyLink(ctx context.Context, email, token string, from From) (Session, error) {
	u, err := s.store.OneTimes.Use(ctx, state.PurposeMagic, hashToken(token), email)
	if fault.Is(err, fault.Invalid) {
		return Session{}, fault.New(fault.Unauthenticated, "%s", fault.Message(err))
	}
	if err != nil {
		return Session{}, err
	}
	return s.open(ctx, u, from, MethodMagicLink)
}

// ConfirmReset uses a reset token up and sets the password. All sessions end, all links are spoilt, and a
// new session is opened. fault.Invalid where the token is not valid, used or expired.
func (s *Service) ConfirmReset(ctx context.Context, email, token, password string, from From) (Session, error) {
	return s.confirm(ctx, state.PurposeReset, email, token, password, "", from, MethodReset)
}

// ConfirmSetup uses a setup token up and sets the first password, like ConfirmReset. A name that is not
// empty becomes the user's.
func (s *Service) ConfirmSetup(ctx context.Context, email, token, password, name string, from From) (Session, error) {
	name = strings.TrimSpace(name)
	if err := checkName(name); err != nil {
		return Session{}, err
	}
	return s.confirm(ctx, state.PurposeSetup, email, token, password, name, from, MethodSetup)
}

func (s *Service) confirm(ctx context.Context, purpose, email, token, password, name string, from From, method string) (Session, error) {
	if err := CheckPassword(password); err != nil {
		return Session{}, err
	}
	key := hashToken(token)
	// Hashing is work that only whoever has a good token may order.
	if err := s.store.OneTimes.Check(ctx, purpose, key, email); err != nil {
		return Session{}, err
	}
	hash, err := s.hash(ctx, password)
	if err != nil {
		return Session{}, err
	}
	u, err := s.store.OneTimes.UseForPassword(ctx, purpose, key, email, hash, name)
	if err != nil {
		return Session{}, err
	}
	s.accounts.clear(state.EmailKey(u.Email)) // whoever proved the address need not wait for guesses of others
	return s.open(ctx, u, from, method)
}
