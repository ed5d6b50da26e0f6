package federation

import (
	"context"
	"sync"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// Spending is what one statement of a user takes of the budget: what its parts reserve counts together against the
// limit of a query. It is safe for concurrent use.
type Spending struct {
	ledger *Ledger
	user   string

	mu       sync.Mutex
	reserved int64
}

// Spend begins a statement of the user.
func (l *Ledger) Spend(user string) *Spending { return &Spending{ledger: l, user: user} }

// Reserve is Ledger.Reserve of a part of the statement.
func (s *Spending) Reserve(ctx context.Context, bytes int64) (settle func(billed int64), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if limit := s.ledger.limits.Query; bytes > 0 && over(limit, s.reserved, bytes) {
		return nil, fault.New(fault.TooLarge, "the statement would read %s, and one may read %s: filter more, or select fewer columns", Size(sum(s.reserved, bytes)), Size(limit))
	}
	settle, err = s.ledger.Reserve(ctx, s.user, bytes)
	if err == nil {
		s.reserved = sum(s.reserved, bytes)
	}
	return settle, err
}
