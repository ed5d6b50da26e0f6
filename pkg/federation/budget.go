package federation

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// BudgetLimits bound billed bytes. Negative ones bound nothing; a zero refuses everything, so that limits
// which nobody filled in are never free: service.RemoteQuery puts defaults in place of zeros.
type BudgetLimits struct {
	// Query bounds one reservation, UserDay those of one user in a day of UTC, and Day those of all.
	Query, UserDay, Day int64
}

// BudgetStore keeps the accounts of days. It must be shared by all that spend from one budget.
type BudgetStore interface {
	// Load gives the account of a day and its revision; nothing and revision 0 where there is none.
	Load(ctx context.Context, day string) (account []byte, revision uint64, err error)
	// Save replaces the account that has the revision, or makes it where that is 0; fault.Conflict where
	// somebody else did before.
	Save(ctx context.Context, day string, account []byte, revision uint64) error
}

// Ledger counts what remote queries are billed for, across processes. What is reserved counts as spent until
// it is settled: a process that dies leaves its reservation counted for that day.
type Ledger struct {
	store  BudgetStore
	limits BudgetLimits
	now    func() time.Time
}

// NewLedger counts in the store within the limits.
func NewLedger(store BudgetStore, limits BudgetLimits) *Ledger {
	return &Ledger{store: store, limits: limits, now: time.Now}
}

// account is what one day was billed for.
type account struct {
	Total int64            `json:"total"`
	Users map[string]int64 `json:"users"`
}

// Reserve takes bytes of the budgets of the query, of the user and of the day, or of none of them. The error
// is fault.TooLarge above the limit of a query, fault.Busy above one of the day, and that of the store where
// it does not answer: what cannot be counted is not spent. settle puts what was billed in the place of what
// was reserved, once, whatever became of ctx.
func (l *Ledger) Reserve(ctx context.Context, user string, bytes int64) (settle func(billed int64), err error) {
	if bytes < 0 {
		return nil, fault.New(fault.Permanent, "the size of the query is not known, and what is not known is not paid for")
	}
	if over(l.limits.Query, 0, bytes) {
		return nil, fault.New(fault.TooLarge, "the query would read %s, and one query may read %s: select fewer columns or partitions", Size(bytes), Size(l.limits.Query))
	}
	now := l.now().UTC()
	day := now.Format(time.DateOnly)
	err = l.change(ctx, day, func(a *account) error {
		if over(l.limits.UserDay, a.Users[user], bytes) {
			return spent("your budget", now, a.Users[user], l.limits.UserDay, bytes)
		}
		if over(l.limits.Day, a.Total, bytes) {
			return spent("the budget of this installation", now, a.Total, l.limits.Day, bytes)
		}
		a.add(user, bytes)
		return nil
	})
	if err != nil {
		return nil, err
	}
	var once sync.Once
	return func(billed int64) {
		once.Do(func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleWithin)
			defer cancel()
			err := l.change(ctx, day, func(a *account) error {
				a.add(user, -bytes)
				a.add(user, max(billed, 0))
				return nil
			})
			if err != nil {
				zerolog.Ctx(ctx).Warn().Err(err).Int64("reserved", bytes).Int64("billed", billed).
					Msg("a remote query is not settled: what it reserved stays counted for the day")
			}
		})
	}, nil
}

// settleWithin is how long settling may take.
const settleWithin = 30 * time.Second

// over tells whether bytes are more than a limit leaves.
func over(limit, used, bytes int64) bool { return limit >= 0 && bytes > limit-used }

func spent(whose string, now time.Time, used, limit, bytes int64) error {
	midnight := now.Truncate(24 * time.Hour).Add(24 * time.Hour)
	return fault.New(fault.Busy, "the query would read %s, and %s for the day is at %s of %s; it begins anew at 00:00 UTC",
		Size(bytes), whose, Size(used), Size(limit)).After(midnight.Sub(now))
}

// add counts bytes, within what an int64 holds and not below zero.
func (a *account) add(user string, bytes int64) {
	a.Total, a.Users[user] = sum(a.Total, bytes), sum(a.Users[user], bytes)
}

func sum(a, b int64) int64 {
	if b > 0 && a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return max(a+b, 0)
}

// change changes the account of a day, again where somebody else was faster, until ctx ends.
func (l *Ledger) change(ctx context.Context, day string, do func(*account) error) error {
	for try := 0; ; try++ {
		a, revision, err := l.load(ctx, day)
		if err != nil {
			return err
		}
		if err := do(&a); err != nil {
			return err
		}
		raw, err := json.Marshal(a)
		if err != nil {
			return fmt.Errorf("write the budget of %s: %w", day, err)
		}
		err = l.store.Save(ctx, day, raw, revision)
		if !fault.Is(err, fault.Conflict) {
			return err
		}
		// Whoever is refused waits for a while of its own, so that many do not meet again and again.
		wait := time.NewTimer(rand.N(time.Millisecond << min(try, 6))) //nolint:gosec // not a secret
		select {
		case <-ctx.Done():
			wait.Stop()
			return fault.Wrap(context.Cause(ctx), fault.Unavailable, "the budget could not be written in time; try again")
		case <-wait.C:
		}
	}
}

func (l *Ledger) load(ctx context.Context, day string) (account, uint64, error) {
	a := account{}
	raw, revision, err := l.store.Load(ctx, day)
	if err != nil {
		return a, 0, err
	}
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &a); err != nil {
			return a, 0, fault.Wrap(err, fault.Internal, "the budget of %s cannot be read, and what cannot be counted is not spent", day)
		}
	}
	if a.Users == nil {
		a.Users = map[string]int64{}
	}
	return a, revision, nil
}

// BudgetUse is what was billed or reserved today.
type BudgetUse struct {
	// Day is one of UTC, such as 2026-01-31.
	Day       string
	User, All int64
	Limits    BudgetLimits
}

// Left is how many bytes the user may still be billed for today; negative for no bound.
func (u BudgetUse) Left() int64 {
	left := int64(-1)
	for _, l := range [][2]int64{{u.Limits.UserDay, u.User}, {u.Limits.Day, u.All}} {
		if rest := max(l[0]-l[1], 0); l[0] >= 0 && (left < 0 || rest < left) {
			left = rest
		}
	}
	return left
}

// Use tells what the user, and what all, used today.
func (l *Ledger) Use(ctx context.Context, user string) (BudgetUse, error) {
	day := l.now().UTC().Format(time.DateOnly)
	a, _, err := l.load(ctx, day)
	return BudgetUse{Day: day, User: a.Users[user], All: a.Total, Limits: l.limits}, err
}

// Size writes bytes for people, such as "1.5 GiB".
func Size(bytes int64) string {
	const unit = 1024
	if bytes < unit {
		return fmt.Sprintf("%d B", bytes)
	}
	n, at := float64(bytes), -1
	for n >= unit && at < len("KMGTPE")-1 {
		n /= unit
		at++
	}
	return fmt.Sprintf("%.1f %ciB", n, "KMGTPE"[at])
}
