package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/agnes-platform/agnes/pkg/client"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/pkg/service"
	"github.com/agnes-platform/agnes/services/da/internal/settings"
	"github.com/agnes-platform/agnes/services/da/internal/show"
)

// options are those of a client for what the settings say.
func options(s *settings.Settings) client.Options {
	return client.Options{Server: s.Server, Token: s.Token, Retries: s.Retries, UserAgent: "da/" + service.ReadBuild().Version}
}

// dial gives a client for what the settings say, signed in or not. A stored session that nears its end
// is renewed first.
func (a *app) dial(ctx context.Context, s *settings.Settings) (*client.Client, error) {
	opts := options(s)
	if s.TokenFrom == settings.FromFile {
		if s.Stored.Ageing(time.Now()) {
			a.renew(ctx, s)
			opts.Token = s.Token
		}
		opts.Renewed = s.Newer
	}
	return client.New(opts)
}

// renewTimeout is how long a command is held up at most by the renewal of its session.
const renewTimeout = 10 * time.Second

// renew exchanges the stored session for a new one. One process does it at a time: the server ends a
// session that was exchanged, so that two would sign each other out. Whatever fails here leaves the
// session as it was, which is good for a while yet.
func (a *app) renew(ctx context.Context, s *settings.Settings) {
	waiting, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	unlock, err := s.Lock(waiting)
	if err != nil {
		return
	}
	defer unlock()
	stored := s.Reload()
	if !stored.Ageing(time.Now()) {
		return // somebody else renewed it
	}
	if s.SaveCredential(stored) != nil {
		return // nor could the new one be stored
	}
	opts := options(s)
	opts.Retries, opts.Timeout = -1, renewTimeout
	c, err := client.New(opts)
	if err != nil {
		return
	}
	defer c.Close()
	// An interrupt must not fall between the exchange and the file.
	session, err := c.Refresh(context.WithoutCancel(ctx))
	if err != nil {
		return
	}
	if err := a.store(s, session); err != nil {
		a.note("da: the renewed session could not be stored, sign in again after this: %s", fault.Message(err))
	}
}

// store remembers a session, and uses it from now on.
func (a *app) store(s *settings.Settings, session client.Session) error {
	c := settings.Credential{
		AccessToken: session.AccessToken, Email: session.Email, Role: session.Role, Server: s.Server, IssuedAt: time.Now().UTC(), ExpiresAt: session.ExpiresAt,
	}
	s.Token, s.Stored = c.AccessToken, c
	return s.SaveCredential(c)
}

func (a *app) sessionsCommand() *cobra.Command {
	cmd := group("sessions", "See where you are signed in, and sign out there", `  da sessions list
  da sessions revoke 5f2a5e8f`,
		&cobra.Command{
			Use: "list", Short: "List your sessions", Args: noArgs, Example: "  da sessions list --json",
			RunE: func(cmd *cobra.Command, _ []string) error {
				return a.signedIn(cmd.Context(), func(c *client.Client) error {
					list, err := c.Sessions(cmd.Context())
					if err != nil {
						return err
					}
					return a.give(orEmpty(list), func() { a.showSessions(list, false) })
				})
			},
		},
		&cobra.Command{
			Use: "revoke ID…", Short: "End some of your sessions, at once", Args: someArgs(1, "the ids of sessions, or their beginnings"),
			Example: "  da sessions revoke 5f2a5e8f",
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.signedIn(cmd.Context(), func(c *client.Client) error {
					list, err := c.Sessions(cmd.Context())
					if err != nil {
						return err
					}
					return a.endSessions(cmd.Context(), list, args, c.EndSession)
				})
			},
		},
		&cobra.Command{
			Use: "refresh", Short: "Exchange your session for a new one", Args: noArgs,
			Long: `Exchange the stored session for a new one with a whole life ahead. da does it by
itself when less than a quarter of the life is left.`,
			Example: "  da sessions refresh",
			RunE:    func(cmd *cobra.Command, _ []string) error { return a.refresh(cmd.Context()) },
		})
	cmd.GroupID = groupAccount
	cmd.Aliases = []string{"session"}
	return cmd
}

// signedIn connects and calls do.
func (a *app) signedIn(ctx context.Context, do func(c *client.Client) error) error {
	c, _, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return do(c)
}

func (a *app) refresh(ctx context.Context) error {
	s, err := a.settings()
	switch {
	case err != nil:
		return err
	case s.TokenFrom == settings.FromEnv:
		return fault.New(fault.Conflict, "%s is set, and what is in the environment cannot be exchanged: unset it first", settings.EnvToken)
	case s.Token == "":
		return signedOut(s)
	}
	unlock, err := s.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	s.Reload()
	c, err := client.New(options(s))
	if err != nil {
		return err
	}
	defer c.Close()
	session, err := c.Refresh(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	if err := a.store(s, session); err != nil {
		return err
	}
	return a.give(map[string]any{"email": session.Email, "expires_at": session.ExpiresAt}, func() {
		a.print("Your session is good until %s.", day(&session.ExpiresAt, "revoked"))
	})
}

// endSessions ends those that are named by their ids or the beginnings of them, out of a list.
func (a *app) endSessions(ctx context.Context, list []client.SessionView, names []string, end func(context.Context, string) error) error {
	ended := []string{}
	for _, name := range names {
		id, err := pick(name, "session", list, func(s client.SessionView) (string, bool) { return s.ID, s.RevokedAt == nil })
		if err != nil {
			return err
		}
		if err := end(ctx, id); err != nil {
			return err
		}
		ended = append(ended, id)
	}
	return a.give(map[string][]string{"ended": ended}, func() {
		for _, id := range ended {
			a.print("Ended session %s.", id)
		}
	})
}

// shortID is the least of an id that may stand for all of it.
const shortID = 4

// pick finds the one entry that a name means: by its id, or the beginning of it where that is only one.
func pick[T any](name, noun string, list []T, of func(T) (id string, usable bool)) (string, error) {
	var found []string
	for _, entry := range list {
		id, usable := of(entry)
		if id == name {
			return id, nil
		}
		if usable && len(name) >= shortID && len(id) > len(name) && id[:len(name)] == name {
			found = append(found, id)
		}
	}
	switch len(found) {
	case 0:
		return "", fault.New(fault.NotFound, "there is no %s %q", noun, name)
	case 1:
		return found[0], nil
	}
	return "", fault.New(fault.Conflict, "%q can be any of %s: name one by its id", name, joined(found))
}

func (a *app) showSessions(list []client.SessionView, owners bool) {
	now := time.Now()
	t := show.Table{Columns: []string{"id", "signed in by", "last seen", "ends", "from", "program", "status"}}
	if owners {
		t.Columns = append([]string{"user"}, t.Columns...)
	}
	for _, s := range list {
		status := "active"
		switch {
		case s.RevokedAt != nil:
			status = "revoked"
		case s.ExpiresAt != nil && s.ExpiresAt.Before(now):
			status = "expired"
		case s.Current:
			status = "this one"
		}
		var seen time.Time
		if s.LastSeen != nil {
			seen = *s.LastSeen
		}
		row := cells(s.ID, s.Method, show.Ago(seen, now), day(s.ExpiresAt, "never"), s.IP, s.UserAgent, status)
		if owners {
			row = append(cells(s.UserEmail), row...)
		}
		t.Rows = append(t.Rows, row)
	}
	a.table(t)
}

func (a *app) passwordCommand() *cobra.Command {
	var stdin bool
	cmd := &cobra.Command{
		Use: "password", Short: "Change your password", GroupID: groupAccount, Args: noArgs,
		Long: `Change your own password. Your other sessions end. With --password-stdin the
present password is the first line of standard input and the new one the second.`,
		Example: "  da password",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.signedIn(cmd.Context(), func(c *client.Client) error {
				old, err := a.secret("Present password: ", stdin, "--password-stdin")
				if err != nil {
					return err
				}
				password, err := a.newPassword(stdin)
				if err != nil {
					return err
				}
				if err := c.ChangePassword(cmd.Context(), old, password); err != nil {
					return err
				}
				return a.give(map[string]bool{"changed": true}, func() { a.print("Your password is changed; your other sessions have ended.") })
			})
		},
	}
	cmd.Flags().BoolVar(&stdin, "password-stdin", false, "read both passwords from standard input")
	return cmd
}
