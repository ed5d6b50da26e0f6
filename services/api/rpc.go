package api

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/fault"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
	"github.com/agnes-platform/agnes/services/api/internal/state"
)

// rpc answers what other services ask over the bus.
type rpc struct {
	registry *registry
	identity httpapi.Identity
	granting *granting
	tickets  *tickets
	audit    *auditing
}

// serve starts to answer. The caller stops the subscriptions, also those that come with an error.
func (a *rpc) serve(ctx context.Context, bus *event.Bus) ([]*event.Subscription, error) {
	list, err := event.Serve(ctx, bus, event.ListRegistry, a.listRegistry)
	if err != nil {
		return nil, err
	}
	register, err := event.Serve(ctx, bus, event.RegisterTables, a.registerTables)
	if err != nil {
		return []*event.Subscription{list}, err
	}
	check, err := event.Serve(ctx, bus, event.CheckToken, a.checkToken)
	if err != nil {
		return []*event.Subscription{list, register}, err
	}
	reach, err := event.Serve(ctx, bus, event.CheckAccess, a.checkAccess)
	if err != nil {
		return []*event.Subscription{list, register, check}, err
	}
	return []*event.Subscription{list, register, check, reach}, nil
}

func (a *rpc) listRegistry(ctx context.Context, q *agnesv1.ListRegistryRequest) (*agnesv1.ListRegistryResponse, error) {
	rows, err := a.registry.state.Registry.List(ctx, q.GetSource())
	if err != nil {
		return nil, err
	}
	answer := &agnesv1.ListRegistryResponse{Tables: make([]*agnesv1.RegisteredTable, len(rows))}
	for i, t := range rows {
		answer.Tables[i] = &agnesv1.RegisteredTable{
			Id: t.ID, Name: t.Name, Source: t.Source, SourceType: t.SourceType, Bucket: t.Bucket, SourceTable: t.SourceTable,
			SyncStrategy: t.SyncStrategy, QueryMode: t.QueryMode, SyncSchedule: t.SyncSchedule, ProfileAfterSync: t.ProfileAfterSync,
			PrimaryKey: t.PrimaryKey, Description: t.Description, IsPublic: t.IsPublic, Folder: t.Folder, OptionsJson: string(t.Options),
		}
	}
	return answer, nil
}

func (a *rpc) registerTables(ctx context.Context, q *agnesv1.RegisterTablesRequest) (*agnesv1.RegisterTablesResponse, error) {
	rows := make([]state.NewTable, 0, len(q.GetTables()))
	for _, t := range q.GetTables() {
		row := state.NewTable{
			Name: t.GetName(), Source: t.GetSource(), SourceType: t.GetSourceType(), Bucket: t.GetBucket(), SourceTable: t.GetSourceTable(),
			SyncStrategy: t.GetSyncStrategy(), QueryMode: t.GetQueryMode(), SyncSchedule: t.GetSyncSchedule(),
			PrimaryKey: t.GetPrimaryKey(), Folder: t.GetFolder(), Description: t.GetDescription(), Options: []byte(t.GetOptionsJson()), Found: true,
		}
		if row.Source == "" {
			row.Source = q.GetSource()
		}
		if len(row.Options) == 0 {
			row.Options = nil
		}
		rows = append(rows, row)
	}
	by := q.GetRequestedBy()
	if by == "" {
		by = "connector"
	}
	done, err := a.registry.registerRows(ctx, rows, by)
	if lost := a.audit.registered(ctx, q.GetSource(), by, done, err); lost != nil && err == nil {
		err = fault.Wrap(lost, fault.Unavailable, "the tables were registered, but that could not be recorded")
	}
	if err != nil {
		return nil, err
	}
	answer := &agnesv1.RegisterTablesResponse{Skipped: done.Skipped}
	for _, t := range done.Registered {
		answer.Registered = append(answer.Registered, t.ID)
	}
	if len(done.Refused) > 0 && len(done.Registered) == 0 && len(done.Skipped) == 0 {
		return nil, fault.Wrap(done.Refused[0].Err, fault.KindOf(done.Refused[0].Err), "table %q: %s", done.Refused[0].Name, fault.Message(done.Refused[0].Err))
	}
	return answer, nil
}

func (a *rpc) checkToken(ctx context.Context, q *agnesv1.CheckTokenRequest) (*agnesv1.CheckTokenResponse, error) {
	c, err := a.identity.Authenticate(ctx, q.GetToken(), "")
	if err != nil {
		return nil, err
	}
	return tokenView(c), nil
}

func tokenView(c httpapi.Caller) *agnesv1.CheckTokenResponse {
	answer := &agnesv1.CheckTokenResponse{UserId: c.UserID, Email: c.Email, Role: c.Role}
	for _, scope := range httpapi.Scopes {
		if c.May(scope) {
			answer.Scopes = append(answer.Scopes, string(scope))
		}
	}
	if c.ExpiresAt != nil {
		answer.ExpiresAt = timestamppb.New(*c.ExpiresAt)
	}
	return answer
}

// checkAccess is for a service that passes events on. Who publishes a source swaps its catalog before it says so:
// what the caller asks about is read before the answer is given.
func (a *rpc) checkAccess(ctx context.Context, q *agnesv1.CheckAccessRequest) (*agnesv1.CheckAccessResponse, error) {
	token, redeemed := q.GetToken(), ""
	if q.GetTicket() != "" {
		var err error
		if redeemed, err = a.tickets.redeem(ctx, q.GetTicket()); err != nil {
			return nil, err
		}
		token = redeemed
	}
	c, err := a.identity.Authenticate(ctx, token, "")
	if err != nil {
		return nil, err
	}
	if q.GetSource() != "" {
		if _, err := a.granting.published.Refresh(ctx, q.GetSource()); err != nil {
			return nil, err
		}
	}
	set, err := a.granting.rules.Readable(ctx, callerOf(c), a.granting.tablesOf(a.granting.published.Current()))
	if err != nil {
		return nil, err
	}
	answer := &agnesv1.CheckAccessResponse{Token: redeemed, Who: tokenView(c), Everything: callerOf(c).Admin(), Fingerprint: set.Fingerprint()}
	switch {
	case answer.GetEverything():
		answer.Fingerprint = "" // it is that of whatever comes
	case answer.GetFingerprint() == q.GetFingerprint():
		answer.Unchanged = true
	default:
		for _, t := range set.Tables() { // ordered by source
			if last := len(answer.GetReadable()) - 1; last < 0 || answer.GetReadable()[last].GetSource() != t.Source {
				answer.Readable = append(answer.Readable, &agnesv1.ReadableTables{Source: t.Source})
			}
			of := answer.GetReadable()[len(answer.GetReadable())-1]
			of.Tables = append(of.Tables, t.Table)
		}
	}
	return answer, nil
}
