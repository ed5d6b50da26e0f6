package state

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Values of a request's status.
const (
	RequestPending   = "pending"
	RequestApproved  = "approved"
	RequestDenied    = "denied"
	RequestCancelled = "cancelled"
)

// MaxPendingRequests is how many requests of one user may wait at once.
const MaxPendingRequests = 50

// AccessRequest is a wish to read a table.
type AccessRequest struct {
	ID        string
	UserID    string
	UserEmail string
	// TableID is what was asked for, as it was written; there need be no such table.
	TableID   string
	Reason    string
	Status    string
	CreatedAt time.Time
	// ReviewedBy is the e-mail address of who decided.
	ReviewedBy     string
	ReviewedAt     time.Time
	DecisionReason string
}

// RequestFilter narrows a listing of requests; empty fields match all.
type RequestFilter struct {
	UserID, Status, TableID string
	Page
}

// Decision is what becomes of a request.
type Decision struct {
	Approve bool
	Reason  string
	// Dataset is what is granted with the approval, and While as in Permission.
	Dataset, While string
	// By and ByEmail are who decides.
	By, ByEmail string
}

// Requests are the wishes to read tables.
type Requests struct{ s *Store }

const (
	requestColumns  = `SELECT r.id, r.user_id, r.user_email, r.table_id, r.reason, r.status, r.created_at, r.reviewed_by, r.reviewed_at, r.decision_reason`
	selectRequests  = requestColumns + ` FROM access_requests r`
	requestMatching = ` FROM access_requests r WHERE ($1 = '' OR r.user_id = $1) AND ($2 = '' OR r.status = $2) AND ($3 = '' OR r.table_id = $3)`
)

func scanRequest(r *sql.Rows) (AccessRequest, error) {
	var q AccessRequest
	return q, r.Scan(&q.ID, &q.UserID, text{&q.UserEmail}, &q.TableID, text{&q.Reason}, text{&q.Status}, moment{&q.CreatedAt},
		text{&q.ReviewedBy}, moment{&q.ReviewedAt}, text{&q.DecisionReason})
}

var errNoRequest = fault.New(fault.NotFound, "there is no such request that waits for a decision")

// Create adds a pending request. fault.Conflict where the user has a pending one for the table, or too
// many that wait.
func (r *Requests) Create(ctx context.Context, q AccessRequest) (AccessRequest, error) {
	q.ID, q.TableID, q.Status, q.CreatedAt = uuid.NewString(), strings.TrimSpace(q.TableID), RequestPending, r.s.now()
	return q, r.s.write(ctx, touchesNothing, func(ctx context.Context, tx *sql.Tx) error {
		waiting, err := collect(ctx, tx, scanRequest, selectRequests+" WHERE r.user_id = $1 AND r.status = $2", q.UserID, RequestPending)
		if err != nil {
			return err
		}
		for _, w := range waiting {
			if w.TableID == q.TableID {
				return fault.New(fault.Conflict, "you have asked for %q already; the request waits for a decision", q.TableID)
			}
		}
		if len(waiting) >= MaxPendingRequests {
			return fault.New(fault.Conflict, "%d of your requests wait for a decision: cancel some first", len(waiting))
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO access_requests (id, user_id, user_email, table_id, reason, status, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
			q.ID, q.UserID, q.UserEmail, q.TableID, orNull(q.Reason), q.Status, q.CreatedAt)
		return err
	})
}

// List gives requests, newest first, and how many match beyond the page.
func (r *Requests) List(ctx context.Context, f RequestFilter) (list []AccessRequest, total int, err error) {
	return page(ctx, r.s, f.Page, scanRequest, requestColumns, requestMatching, " ORDER BY r.created_at DESC, r.id", f.UserID, f.Status, f.TableID)
}

// Pending gives one that waits for a decision; fault.NotFound where there is none.
func (r *Requests) Pending(ctx context.Context, id string) (AccessRequest, error) {
	return readOne(ctx, r.s, errNoRequest, scanRequest, selectRequests+" WHERE r.id = $1 AND r.status = $2", id, RequestPending)
}

// Decide approves or denies a pending request; an approval grants in the same transaction.
func (r *Requests) Decide(ctx context.Context, id string, d Decision) (AccessRequest, error) {
	what := touchesNothing
	if d.Approve {
		if err := ValidDataset(d.Dataset); err != nil {
			return AccessRequest{}, err
		}
		what = touchesAccess
	}
	var q AccessRequest
	err := r.s.write(ctx, what, func(ctx context.Context, tx *sql.Tx) (err error) {
		if q, err = one(ctx, tx, errNoRequest, scanRequest, selectRequests+" WHERE r.id = $1 AND r.status = $2", id, RequestPending); err != nil {
			return err
		}
		q.Status, q.ReviewedBy, q.ReviewedAt, q.DecisionReason = RequestDenied, d.ByEmail, r.s.now(), d.Reason
		if d.Approve {
			q.Status = RequestApproved
			p := Permission{UserID: q.UserID, Dataset: d.Dataset, Access: AccessRead, GrantedBy: d.By, While: d.While}
			if _, err := grant(ctx, tx, p, q.ReviewedAt); err != nil {
				return err
			}
		}
		return q.close(ctx, tx)
	})
	return q, err
}

// close writes what became of a request.
func (q AccessRequest) close(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, "UPDATE access_requests SET status = $1, reviewed_by = $2, reviewed_at = $3, decision_reason = $4 WHERE id = $5",
		q.Status, orNull(q.ReviewedBy), timeOrNull(q.ReviewedAt), orNull(q.DecisionReason), q.ID)
	return err
}

// Cancel takes a user's own pending request back.
func (r *Requests) Cancel(ctx context.Context, userID, id string) (AccessRequest, error) {
	var q AccessRequest
	err := r.s.write(ctx, touchesNothing, func(ctx context.Context, tx *sql.Tx) (err error) {
		q, err = one(ctx, tx, errNoRequest, scanRequest, selectRequests+" WHERE r.id = $1 AND r.user_id = $2 AND r.status = $3", id, userID, RequestPending)
		if err != nil {
			return err
		}
		q.Status = RequestCancelled
		return q.close(ctx, tx)
	})
	return q, err
}
