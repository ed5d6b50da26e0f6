package httpapi

import (
	"context"
	"net/url"
	"time"
)

// Ways are the ways to sign in that are open on this server.
type Ways struct {
	Password  bool       `json:"password" doc:"Whether passwords are accepted."`
	MagicLink bool       `json:"magic_link" doc:"Whether a link to sign in can be sent by mail."`
	Device    bool       `json:"device" doc:"Whether a program without a browser can sign in by a code (RFC 8628)."`
	Bootstrap bool       `json:"bootstrap" doc:"Whether the first administrator is still to be made."`
	Providers []Provider `json:"providers" doc:"OpenID providers."`
}

// Provider is one OpenID provider.
type Provider struct {
	Name  string `json:"name" doc:"Its name in paths: /auth/oidc/{name}/login." example:"google"`
	Label string `json:"label" doc:"What to write on a button." example:"Google"`
}

// Link is a one-time link that an administrator may hand over.
type Link struct {
	Token     string
	URL       string // empty where AGNES_PUBLIC_URL is not set: links come from nowhere else
	EmailSent bool
	ExpiresAt time.Time
}

// DeviceCode is what a program without a browser gets to sign in with (RFC 8628, section 3.2).
type DeviceCode struct {
	DeviceCode string
	UserCode   string // two groups of four letters
	ExpiresIn  time.Duration
	Interval   time.Duration // between two polls, at least
}

// DeviceView is a sign-in that waits for its user's decision.
type DeviceView struct {
	UserCode   string    `json:"user_code" doc:"The code that the program shows." example:"WDJB-MJHT"`
	ClientName string    `json:"client_name" doc:"What the program calls itself." example:"da on laptop"`
	IP         string    `json:"ip" doc:"Where it asked from." example:"192.0.2.10"`
	CreatedAt  time.Time `json:"created_at" doc:"When it asked."`
	ExpiresAt  time.Time `json:"expires_at" doc:"When the code ends."`
}

// SessionView is a session without its secret.
type SessionView struct {
	ID        string     `json:"id" doc:"The id of the session." example:"5f2a5e8f-6a0e-4c55-9f0a-0d0f3c1e2c11"`
	UserID    string     `json:"user_id" doc:"Whose it is."`
	UserEmail string     `json:"user_email,omitempty" doc:"In the listing of all sessions: the owner's e-mail address."`
	Method    string     `json:"method" doc:"How it was opened: password, magic_link, oidc:<provider>, device, reset, setup or bootstrap; empty for one of an earlier version." example:"password"`
	CreatedAt *time.Time `json:"created_at" doc:"When it was opened."`
	LastSeen  *time.Time `json:"last_seen" doc:"When it was last used, to the minute."`
	ExpiresAt *time.Time `json:"expires_at" doc:"When it ends by itself."`
	RevokedAt *time.Time `json:"revoked_at" doc:"When it was ended; null where it was not."`
	IP        string     `json:"ip" doc:"The address that used it last."`
	UserAgent string     `json:"user_agent" doc:"The program that opened it."`
	Current   bool       `json:"current" doc:"Whether it is the one that this request came with."`
}

// SessionFilter narrows a listing of sessions.
type SessionFilter struct {
	UserID        string // empty for everybody's
	Active        bool   // only those that still work
	Limit, Offset int
}

// DeviceError is what PollDevice gives while there is no session for a device, with a code of RFC 8628,
// section 3.5. It is an error of kind invalid (expired_token, access_denied) or busy
// (authorization_pending, slow_down).
type DeviceError struct {
	Code  string // authorization_pending, slow_down, access_denied, expired_token
	Fault error
}

// Error gives the sentence for people.
func (e *DeviceError) Error() string { return e.Fault.Error() }

// Unwrap gives the fault.
func (e *DeviceError) Unwrap() error { return e.Fault }

// RefusedError is a sign-in by a provider that came to nothing, with the code that the sign-in page has
// a sentence for: no_email, email_not_verified, domain_not_allowed, deactivated, not_configured,
// cancelled or oauth_failed. FinishOIDC and BeginOIDC may give any other fault too.
type RefusedError struct {
	Code  string
	Fault error
}

// Error gives the sentence for people.
func (e *RefusedError) Error() string { return e.Fault.Error() }

// Unwrap gives the fault.
func (e *RefusedError) Unwrap() error { return e.Fault }

// SignIn are the ways in beyond a password, and what happens to sessions. Requests for links always
// succeed alike, whether the address is known or not.
type SignIn interface {
	Ways(ctx context.Context) (Ways, error)

	// SendLink mails a magic link; next is the path to go to after it.
	SendLink(ctx context.Context, email, next string, from From) error
	// VerifyLink uses a magic link's token up. email may be empty; where it is given it must be the owner's.
	VerifyLink(ctx context.Context, email, token string, from From) (Session, error)
	// RequestReset mails a link to choose a new password, to an active user.
	RequestReset(ctx context.Context, email string, from From) error
	// ConfirmReset uses a reset token up, sets the password and ends all sessions but the new one.
	ConfirmReset(ctx context.Context, email, token, password string, from From) (Session, error)
	// RequestSetup mails a link to choose a first password, to an active user who has none.
	RequestSetup(ctx context.Context, email string, from From) error
	// ConfirmSetup uses a setup token up; an empty name leaves the user's.
	ConfirmSetup(ctx context.Context, email, token, password, name string, from From) (Session, error)
	// Invite and ResetFor make a setup or reset link for a user, and mail it where mail is configured.
	Invite(ctx context.Context, by Caller, userID string) (Link, error)
	ResetFor(ctx context.Context, by Caller, userID string) (Link, error)
	// ChangePassword replaces the caller's own password; their other sessions end.
	ChangePassword(ctx context.Context, c Caller, old, password string) error

	// BeginOIDC gives where to send the browser, and a sealed text that it must bring back as a cookie.
	BeginOIDC(ctx context.Context, provider, next string) (redirect, sealed string, err error)
	// FinishOIDC checks what the provider answered to the browser that holds the sealed text.
	FinishOIDC(ctx context.Context, provider, sealed string, query url.Values, from From) (s Session, next string, err error)

	BeginDevice(ctx context.Context, clientName string, from From) (DeviceCode, error)
	// PollDevice gives the session once its user agreed; a *DeviceError until then.
	PollDevice(ctx context.Context, deviceCode string, from From) (Session, error)
	// Device shows a code's request to whoever is to decide; fault.NotFound where there is none.
	Device(ctx context.Context, c Caller, userCode string) (DeviceView, error)
	DecideDevice(ctx context.Context, c Caller, userCode string, approve bool) error

	Sessions(ctx context.Context, c Caller, f SessionFilter) (list []SessionView, total int, err error)
	// RevokeSession ends a session: one of the user's, or anybody's where userID is empty.
	RevokeSession(ctx context.Context, userID, id string) error
	// RevokeSessions ends all sessions of a user but the one named.
	RevokeSessions(ctx context.Context, userID, except string) error
	// Refresh gives a new session for the caller's, which ends.
	Refresh(ctx context.Context, c Caller, from From) (Session, error)
}
