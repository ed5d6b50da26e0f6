// Package mail sends mails over SMTP (RFC 5321): from a bounded queue in the background, so that the
// time of an answer does not tell whether there was somebody to write to, and again after a temporary
// failure.
package mail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/mail"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	gomail "github.com/wneessen/go-mail"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// TLS says how the connection to the server is protected.
const (
	TLSStart    = "true"     // STARTTLS, or no mail at all
	TLSImplicit = "implicit" // TLS from the first byte, as on port 465
	TLSNone     = "false"    // in the clear: for a relay on the same machine
)

// Config says which server takes the mails. Host and From are required.
type Config struct {
	Host           string
	Port           int // zero means 587
	User, Password string
	From           string // an address, with or without a name: Agnes <agnes@example.com>
	TLS            string // one of the TLS constants; empty means TLSStart
	// Timeout bounds one attempt; zero means 30 seconds.
	Timeout time.Duration
	// Waits are the pauses before further attempts after a temporary failure; nil means 10 s, 1 min and
	// 5 min.
	Waits []time.Duration
	// Roots are the authorities that the server's certificate is checked against; nil means the system's.
	Roots *x509.CertPool
}

// Message is one mail to one person.
type Message struct {
	To            string
	Subject       string
	Text, HTML    string
	NotAfter      time.Time // when there is no use in sending it any more; zero for never
	Kind, ForUser string    // for the log, which names no address
}

const (
	queued   = 256 // mails that wait, at most
	senders  = 2   // mails that are sent at once
	retrying = 256 // mails that wait for another attempt, at most
)

// Queue sends mails. It is safe for concurrent use.
type Queue struct {
	cfg    Config
	client func() (*gomail.Client, error)
	from   string

	waiting chan attempt
	again   atomic.Int64 // mails that wait for another attempt
	timers  sync.WaitGroup
	closed  chan struct{}
}

type attempt struct {
	Message
	tries int
}

// New checks the configuration. It does not connect: a server that is away delays mails, and nothing
// else.
func New(cfg Config) (*Queue, error) {
	if cfg.Host == "" {
		return nil, fault.New(fault.Invalid, "SMTP_HOST is not set")
	}
	from, err := mail.ParseAddress(cfg.From)
	if err != nil {
		return nil, fault.New(fault.Invalid, "SMTP_FROM is not an e-mail address: mails need a sender, such as agnes@example.com")
	}
	if cfg.Port == 0 {
		cfg.Port = 587
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 30 * time.Second
	}
	if cfg.Waits == nil {
		cfg.Waits = []time.Duration{10 * time.Second, time.Minute, 5 * time.Minute}
	}
	options, err := options(cfg)
	if err != nil {
		return nil, err
	}
	q := &Queue{
		cfg: cfg, from: from.String(), waiting: make(chan attempt, queued), closed: make(chan struct{}),
		client: func() (*gomail.Client, error) { return gomail.NewClient(cfg.Host, options...) },
	}
	if _, err := q.client(); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the settings SMTP_* cannot be used")
	}
	return q, nil
}

func options(cfg Config) ([]gomail.Option, error) {
	list := []gomail.Option{
		gomail.WithTimeout(cfg.Timeout), gomail.WithoutNoop(),
		gomail.WithTLSConfig(&tls.Config{ServerName: cfg.Host, RootCAs: cfg.Roots, MinVersion: tls.VersionTLS12}),
	}
	switch strings.ToLower(cfg.TLS) {
	case "", TLSStart, "1", "yes", "starttls":
		list = append(list, gomail.WithTLSPolicy(gomail.TLSMandatory))
	case TLSImplicit:
		list = append(list, gomail.WithSSL())
	case TLSNone, "0", "no":
		if cfg.Password != "" {
			return nil, fault.New(fault.Invalid, "SMTP_PASSWORD is not sent in the clear: set SMTP_USE_TLS to true or implicit")
		}
		list = append(list, gomail.WithTLSPolicy(gomail.NoTLS))
	default:
		return nil, fault.New(fault.Invalid, "SMTP_USE_TLS is neither true, implicit nor false")
	}
	if cfg.User != "" {
		list = append(list, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(cfg.User), gomail.WithPassword(cfg.Password))
	}
	return append(list, gomail.WithPort(cfg.Port)), nil
}

// Enqueue hands a mail over to be sent in the background; fault.Busy where too many wait.
func (q *Queue) Enqueue(m Message) error {
	select {
	case q.waiting <- attempt{Message: m}:
		return nil
	default:
		return fault.New(fault.Busy, "too many mails wait to be sent; try again later").After(time.Minute)
	}
}

// Run sends what is handed over until ctx ends, and then tries once what still waits, for at most a few
// seconds. It runs once.
func (q *Queue) Run(ctx context.Context) error {
	var work sync.WaitGroup
	for range senders {
		work.Go(func() { q.loop(ctx) })
	}
	<-ctx.Done()
	close(q.closed)
	work.Wait()
	q.timers.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastBudget)
	defer cancel()
	for {
		select {
		case a := <-q.waiting:
			if err := q.Send(last, a.Message); err != nil {
				zerolog.Ctx(ctx).Warn().Str("mail", a.Kind).Str("user_id", a.ForUser).Str("reason", reason(err)).Msg("a mail was not sent before the end")
			}
		default:
			return nil
		}
	}
}

const lastBudget = 5 * time.Second

func (q *Queue) loop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case a := <-q.waiting:
			q.try(ctx, a)
		}
	}
}

// try sends a mail, and puts it back for later after a temporary failure.
func (q *Queue) try(ctx context.Context, a attempt) {
	if !a.NotAfter.IsZero() && time.Now().After(a.NotAfter) {
		return // its link has expired
	}
	err := q.Send(ctx, a.Message)
	if err == nil {
		return
	}
	log := zerolog.Ctx(ctx).With().Str("mail", a.Kind).Str("user_id", a.ForUser).Str("reason", reason(err)).Int("attempt", a.tries+1).Logger()
	if !fault.Is(err, fault.Unavailable) || a.tries >= len(q.cfg.Waits) || q.again.Add(1) > retrying {
		log.Error().Msg("a mail cannot be sent")
		return
	}
	log.Warn().Msg("a mail could not be sent; it is tried again")
	wait := q.cfg.Waits[a.tries]
	a.tries++
	q.timers.Go(func() {
		defer q.again.Add(-1)
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-q.closed:
		case <-timer.C:
		}
		select {
		case q.waiting <- a:
		default:
			log.Error().Msg("a mail is given up: too many wait")
		}
	})
}

// Send sends a mail now: fault.Unavailable where another attempt may help, fault.Permanent where not. The
// error names no address.
func (q *Queue) Send(ctx context.Context, m Message) error {
	msg, err := q.message(m)
	if err != nil {
		return err
	}
	client, err := q.client()
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "the settings SMTP_* cannot be used")
	}
	ctx, cancel := context.WithTimeout(ctx, q.cfg.Timeout)
	defer cancel()
	conn, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return failed(err)
	}
	defer func() { _ = client.CloseWithSMTPClient(conn) }() // a mail that was accepted was sent, however the connection ends
	return failed(client.SendWithSMTPClient(conn, msg))
}

func failed(err error) error {
	switch {
	case err == nil:
		return nil
	case lasting(err):
		return fault.Wrap(err, fault.Permanent, "the mail server refuses the mail")
	}
	return fault.Wrap(err, fault.Unavailable, "the mail server cannot be reached or asks to come back later")
}

func (q *Queue) message(m Message) (*gomail.Msg, error) {
	msg := gomail.NewMsg()
	if err := msg.From(q.from); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "SMTP_FROM is not an e-mail address")
	}
	to, err := mail.ParseAddress(m.To)
	if err != nil || to.Name != "" || !strings.EqualFold(to.Address, strings.TrimSpace(m.To)) {
		return nil, fault.New(fault.Permanent, "no mail can be sent to this address")
	}
	if err := msg.To(to.Address); err != nil {
		return nil, fault.New(fault.Permanent, "no mail can be sent to this address")
	}
	msg.Subject(oneLine(m.Subject))
	msg.SetMessageID()
	msg.SetDate()
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: no absence note, please
	msg.SetBodyString(gomail.TypeTextPlain, m.Text)
	if m.HTML != "" {
		msg.AddAlternativeString(gomail.TypeTextHTML, m.HTML)
	}
	return msg, nil
}

// oneLine makes a header of a text: what would begin another one becomes a space.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f || r == ' ' }), " ")
}

// lasting tells whether the server said no for good: a 5xx answer, or a certificate or a password that
// will be as wrong the next time.
func lasting(err error) bool {
	var refused *gomail.SendError
	if errors.As(err, &refused) {
		return !refused.IsTemp() && refused.ErrorCode() >= 500
	}
	var certificate *tls.CertificateVerificationError
	return errors.As(err, &certificate)
}

// reason says in a word why a mail was not sent, without the texts of the server, which name addresses.
func reason(err error) string {
	var refused *gomail.SendError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &certificate):
		return "the certificate of the mail server is not trusted"
	case errors.As(err, &refused) && refused.ErrorCode() > 0:
		return "the mail server answers " + strings.TrimSpace(codeText(refused))
	case errors.Is(err, context.DeadlineExceeded):
		return "the mail server takes too long"
	}
	return fault.Message(err)
}

func codeText(e *gomail.SendError) string {
	code := e.ErrorCode()
	digits := []byte{byte('0' + code/100%10), byte('0' + code/10%10), byte('0' + code%10)}
	return string(digits) + " " + e.EnhancedStatusCode()
}
