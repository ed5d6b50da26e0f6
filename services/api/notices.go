package api

import (
	"context"
	"html"

	"github.com/agnes-platform/agnes/services/api/internal/mail"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// letters brings notices to users by mail.
type letters struct {
	queue    *mail.Queue
	users    *state.Users
	instance func() string // what the installation is called
}

// mailNotices gives the way of notices by mail; nil where no mail is sent.
func (h *house) mailNotices() notifier {
	if h.mail == nil {
		return nil
	}
	return letters{queue: h.mail, users: h.state.Users, instance: func() string { return h.live.Load().Name }}
}

// Notify hands a mail to an active user over to be sent; link may be empty.
func (l letters) Notify(ctx context.Context, userID, title, text, link string) error {
	u, err := l.users.Get(ctx, userID)
	if err != nil || !u.Active {
		return err
	}
	plain, rich := text, "<p>"+html.EscapeString(text)+"</p>"
	if link != "" {
		plain += "\n\n" + link
		rich += `<p><a href="` + html.EscapeString(link) + `">` + html.EscapeString(link) + "</a></p>"
	}
	return l.queue.Enqueue(mail.Message{
		To: u.Email, Subject: l.instance() + ": " + title, Text: plain + "\n", HTML: rich, Kind: "notice", ForUser: u.ID,
	})
}
