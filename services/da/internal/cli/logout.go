package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/da/internal/settings"
)

func (a *app) logoutCommand() *cobra.Command {
	var everywhere bool
	cmd := &cobra.Command{
		Use: "logout", Short: "Sign out", GroupID: groupAccount, Args: noArgs,
		Long: `End the session on the server and forget the credential. Where the server cannot
be reached, the credential is forgotten all the same, and the session ends by
itself. A personal access token is only forgotten: it stays valid until it is
revoked with ` + "`da token revoke`" + `.

With --everywhere all your sessions end, in browsers and on other machines too.`,
		Example: "  da logout\n  da logout --everywhere",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if everywhere {
				return a.logoutEverywhere(cmd.Context())
			}
			return a.logout(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&everywhere, "everywhere", false, "end all your sessions")
	return cmd
}

func (a *app) logout(ctx context.Context) error {
	s, loadErr := a.settings()
	var endErr error
	stored := loadErr == nil && s.TokenFrom == settings.FromFile
	if stored {
		endErr = endSession(ctx, s)
	}
	was, err := settings.DropCredential(a.Env) // damaged files must not keep anybody signed in
	if err != nil {
		return err
	}
	if a.Env(settings.EnvToken) != "" {
		a.note("%s is still set: da goes on using it until you unset it.", settings.EnvToken)
	}
	if endErr != nil {
		a.note("The server could not be told (%s); the session ends there by itself when it expires.", fault.Message(endErr))
	}
	return a.give(map[string]bool{"signed_out": was, "server_told": stored && endErr == nil}, func() {
		if was {
			a.print("Signed out.")
			return
		}
		a.print("You were not signed in.")
	})
}

// endSession ends the session on the server. A token that the server no longer knows has ended.
func endSession(ctx context.Context, s *settings.Settings) error {
	opts := options(s)
	opts.Retries, opts.Renewed = -1, s.Newer
	c, err := client.New(opts)
	if err != nil {
		return err
	}
	defer c.Close()
	me, err := c.Me(ctx)
	if err == nil && me.Credential.Kind == "session" {
		err = c.Logout(ctx)
	}
	if fault.Is(err, fault.Unauthenticated) {
		return nil
	}
	return err
}

// logoutEverywhere ends all sessions. Where the server does not do it nothing is forgotten, so that it
// can be tried again.
func (a *app) logoutEverywhere(ctx context.Context) error {
	c, s, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.LogoutAll(ctx, false); err != nil {
		return hinted{err, "You are still signed in. Try again, or end sessions one by one with `da sessions revoke`."}
	}
	if s.TokenFrom == settings.FromFile {
		if _, err := settings.DropCredential(a.Env); err != nil {
			return err
		}
	}
	return a.give(map[string]bool{"signed_out": true, "everywhere": true}, func() { a.print("Signed out everywhere.") })
}

func (a *app) whoamiCommand() *cobra.Command {
	var offline bool
	cmd := &cobra.Command{
		Use: "whoami", Short: "Show who you are signed in as", GroupID: groupAccount, Args: noArgs,
		Long: `Ask the server who the credential belongs to, until when it is good, and what it
may be used for. With --offline, show what the credential says of itself.`,
		Example: "  da whoami --json\n  da whoami --offline",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if offline {
				return a.whoamiOffline()
			}
			return a.whoami(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&offline, "offline", false, "do not ask the server")
	return cmd
}

// identity is the answer of whoami.
type identity struct {
	client.Me
	Server    string `json:"server"`
	TokenFrom string `json:"token_from"`
	// Verified: the server said it.
	Verified bool `json:"verified"`
}

func (a *app) whoami(ctx context.Context) error {
	c, s, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	me, err := c.Me(ctx)
	if err != nil {
		return err
	}
	return a.showIdentity(identity{me, s.Server, s.TokenFrom, true})
}

func (a *app) whoamiOffline() error {
	s, err := a.settings()
	if err != nil {
		return err
	}
	if s.Token == "" {
		return signedOut(s)
	}
	who := identity{client.Me{Email: s.Email, Role: s.Role}, s.Server, s.TokenFrom, false}
	claims, ok := client.ReadClaims(s.Token)
	switch {
	case ok:
		who.UserID, who.Credential = claims.Subject, client.Credential{Kind: claims.Type, ID: claims.ID}
		if claims.Email != "" {
			who.Email, who.Role = claims.Email, claims.Role
		}
		if !claims.ExpiresAt.IsZero() {
			who.Credential.ExpiresAt = &claims.ExpiresAt
		}
	case who.Email == "":
		return fault.New(fault.Invalid, "the token does not say whose it is: ask the server with `da whoami`")
	case !s.Stored.ExpiresAt.IsZero():
		who.Credential.ExpiresAt = &s.Stored.ExpiresAt
	}
	a.note("This is what the credential says; only the server knows whether it is still good.")
	return a.showIdentity(who)
}

func (a *app) showIdentity(who identity) error {
	return a.give(who, func() {
		a.print("Email:   %s", who.Email)
		a.print("Role:    %s", who.Role)
		a.print("Server:  %s", who.Server)
		a.print("Signed in by %s", credential(who.Credential, who.TokenFrom))
		if len(who.Credential.Scopes) > 0 {
			a.print("Good for: %s", joined(who.Credential.Scopes))
		}
		if at := who.Credential.ExpiresAt; at != nil && at.Before(time.Now()) {
			a.note("It has ended: sign in again with `da login`.")
		}
	})
}
