package api

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/fault"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/api/internal/access"
	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// notifier brings a notice to a user outside of Agnes, such as by mail; link may be empty.
type notifier interface {
	Notify(ctx context.Context, userID, title, text, link string) error
}

// requests are the wishes to read tables.
type requests struct {
	state    *state.Store
	granting *granting
	bus      *event.Bus
	// mail is nil where none is configured: notices are raised on the bus either way.
	mail notifier
	// background runs what need not be waited for.
	background func(func())

	mu     sync.Mutex
	mailed map[string]time.Time // who asked → when administrators were last sent a mail about it
}

// mailEvery is how often one user's requests are worth a mail to the administrators. What comes between
// is in the list that the mail names.
const mailEvery = 10 * time.Minute

func requestView(q state.AccessRequest) httpapi.Request {
	return httpapi.Request{
		ID: q.ID, UserID: q.UserID, UserEmail: q.UserEmail, TableID: q.TableID, Reason: q.Reason, Status: q.Status, ReviewedBy: q.ReviewedBy,
		ReviewedAt: stamped(q.ReviewedAt), DecisionReason: q.DecisionReason, CreatedAt: stamped(q.CreatedAt),
	}
}

// Create asks for a table. Whether it exists, where the caller cannot read it, makes no difference.
func (r *requests) Create(ctx context.Context, by httpapi.Caller, tableID, reason string) (httpapi.Request, error) {
	tableID = strings.TrimSpace(tableID)
	if err := state.ValidDataset(tableID); err != nil {
		return httpapi.Request{}, err
	}
	if strings.Contains(tableID, "*") {
		return httpapi.Request{}, fault.New(fault.Invalid, "ask for one table by its name")
	}
	_, readable, err := r.granting.readable(ctx, by, tableID)
	if err != nil {
		return httpapi.Request{}, err
	}
	if readable {
		return httpapi.Request{}, fault.New(fault.Conflict, "you can read %q already", tableID)
	}
	made, err := r.state.Requests.Create(ctx, state.AccessRequest{UserID: by.UserID, UserEmail: by.Email, TableID: tableID, Reason: strings.TrimSpace(reason)})
	if err != nil {
		return httpapi.Request{}, err
	}
	r.tellAdmins(ctx, made)
	return requestView(made), nil
}

// List gives requests, newest first.
func (r *requests) List(ctx context.Context, f httpapi.RequestFilter) ([]httpapi.Request, int, error) {
	rows, total, err := r.state.Requests.List(ctx, state.RequestFilter{
		UserID: f.UserID, Status: f.Status, TableID: f.TableID, Page: state.Page{Limit: f.Limit, Offset: f.Offset},
	})
	if err != nil {
		return nil, 0, err
	}
	list := make([]httpapi.Request, len(rows))
	for i, q := range rows {
		list[i] = requestView(q)
	}
	if !f.WithTables {
		return list, total, nil
	}
	known, err := r.granting.datasets(ctx)
	for i := range list {
		_, exists := r.grantable(known, list[i].TableID)
		list[i].TableExists = &exists
	}
	return list, total, err
}

// grantable finds what to grant for the name that somebody asked for.
func (r *requests) grantable(known access.Datasets, tableID string) (dataset string, exists bool) {
	if t, ok := r.granting.published.Current().Lookup(tableID); ok {
		return datasetOf(t), true
	}
	return tableID, known.Has(tableID) && !strings.HasSuffix(tableID, ".*")
}

// Decide approves or denies a pending request, and tells who asked.
func (r *requests) Decide(ctx context.Context, by httpapi.Caller, id string, approve bool, reason string) (httpapi.Request, error) {
	d := state.Decision{Approve: approve, Reason: strings.TrimSpace(reason), By: by.UserID, ByEmail: by.Email}
	if approve {
		pending, err := r.state.Requests.Pending(ctx, id)
		if err != nil {
			return httpapi.Request{}, err
		}
		known, err := r.granting.datasets(ctx)
		if err != nil {
			return httpapi.Request{}, err
		}
		dataset, exists := r.grantable(known, pending.TableID)
		if !exists {
			return httpapi.Request{}, fault.New(fault.NotFound, "there is no table %q: deny the request, or register the table first", pending.TableID)
		}
		d.Dataset = dataset
		if d.While, err = r.granting.registered(ctx, dataset); err != nil {
			return httpapi.Request{}, err
		}
	}
	decided, err := r.state.Requests.Decide(ctx, id, d)
	if err != nil {
		return httpapi.Request{}, err
	}
	r.tellUser(ctx, decided)
	return requestView(decided), nil
}

// Cancel takes back one's own.
func (r *requests) Cancel(ctx context.Context, by httpapi.Caller, id string) error {
	_, err := r.state.Requests.Cancel(ctx, by.UserID, id)
	return err
}

// tellAdmins raises a notice for each active administrator. Without a user a notice is for everybody,
// who must not learn who asks for what.
func (r *requests) tellAdmins(ctx context.Context, q state.AccessRequest) {
	users, err := r.state.Users.List(ctx)
	if err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("administrators are not told of an access request; it is in the list")
		return
	}
	text := fmt.Sprintf("%s asks to read %s.", q.UserEmail, q.TableID)
	if q.Reason != "" {
		text += " " + q.Reason
	}
	mail := r.worthMail(q.UserID)
	for _, u := range users {
		if u.Admin() && u.Active {
			r.tell(ctx, u.ID, "access_request.created", "A request for access", text, q, mail)
		}
	}
}

// worthMail tells whether a mail about a user's requests is due, and counts it.
func (r *requests) worthMail(userID string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if now.Sub(r.mailed[userID]) < mailEvery {
		return false
	}
	if r.mailed == nil {
		r.mailed = map[string]time.Time{}
	}
	r.mailed[userID] = now
	return true
}

// tellUser raises a notice for who asked.
func (r *requests) tellUser(ctx context.Context, q state.AccessRequest) {
	text := fmt.Sprintf("Your request to read %s was %s.", q.TableID, q.Status)
	if q.DecisionReason != "" {
		text += " " + q.DecisionReason
	}
	r.tell(ctx, q.UserID, "access_request."+q.Status, "Your request for access was "+q.Status, text, q, true)
}

// tell brings a notice to one user: over the bus, and by mail. The request stands either way.
func (r *requests) tell(ctx context.Context, userID, kind, title, text string, q state.AccessRequest, mail bool) {
	ctx = context.WithoutCancel(ctx)
	data, err := structpb.NewStruct(map[string]any{"request_id": q.ID, "table_id": q.TableID, "status": q.Status})
	if err != nil {
		data = nil // a name that is no UTF-8
	}
	notice := &agnesv1.NotificationRaised{
		UserId: userID, Kind: kind, Severity: "info", Title: title, Message: strings.ToValidUTF8(text, "?"), Data: data, RaisedAt: timestamppb.Now(),
	}
	r.background(func() {
		ctx, cancel := context.WithTimeout(ctx, announceTimeout)
		defer cancel()
		if err := event.Publish(ctx, r.bus, event.NotificationRaised, name, notice); err != nil {
			zerolog.Ctx(ctx).Warn().Err(err).Str("user_id", userID).Msg("a notice about an access request could not be raised; the request stands")
		}
		if !mail || r.mail == nil {
			return
		}
		if err := r.mail.Notify(ctx, userID, title, text, ""); err != nil {
			zerolog.Ctx(ctx).Warn().Err(err).Str("user_id", userID).Msg("a notice about an access request could not be mailed; the request stands")
		}
	})
}
