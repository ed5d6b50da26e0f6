package query

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// place is one query in the queue.
type place struct {
	leave chan struct{}
	gone  chan struct{}
}

// enterAll puts n queries of a user into the queue, and sends the user's name to admitted for each
// that is let in.
func enterAll(t *testing.T, q *queue, user string, n int, admitted chan<- string) []place {
	t.Helper()
	places := make([]place, n)
	for i := range places {
		p := place{leave: make(chan struct{}), gone: make(chan struct{})}
		places[i] = p
		before := q.waitingOf(user)
		go func() {
			defer close(p.gone)
			ticket, err := q.enter(context.Background(), user)
			if err != nil {
				t.Error(err)
				return
			}
			admitted <- user
			<-p.leave
			ticket.leave()
			ticket.leave()
		}()
		for q.waitingOf(user) == before {
			time.Sleep(100 * time.Microsecond)
		}
	}
	return places
}

// waitingOf counts the queries of a user that wait or run.
func (q *queue) waitingOf(user string) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if l := q.users[user]; l != nil {
		return len(l.waiting) + l.running
	}
	return 0
}

func TestQueueIsFairBetweenUsers(t *testing.T) {
	t.Parallel()
	q := newQueue(3, 2, 100)
	admitted := make(chan string, 100)
	first := enterAll(t, q, "ann", 6, admitted)
	bob := enterAll(t, q, "bob", 2, admitted)
	eve := enterAll(t, q, "eve", 1, admitted)
	got := []string{<-admitted, <-admitted, <-admitted}
	slices.Sort(got)
	if !slices.Equal(got, []string{"ann", "ann", "bob"}) {
		t.Errorf("first come %v", got)
	}
	close(first[0].leave)
	<-first[0].gone
	if next := <-admitted; next != "eve" {
		t.Errorf("%s came before eve, who has none running", next)
	}
	for _, p := range slices.Concat(first[1:], bob, eve) {
		close(p.leave)
		<-p.gone
	}
	if q.running != 0 || len(q.users) != 0 || len(q.turns) != 0 {
		t.Errorf("left behind: %d running, %d users, %d turns", q.running, len(q.users), len(q.turns))
	}
}

func TestQueueForgetsWhoGivesUp(t *testing.T) {
	t.Parallel()
	q := newQueue(1, 1, 2)
	ticket, err := q.enter(t.Context(), "ann")
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	for range 2 {
		wait.Go(func() {
			if _, err := q.enter(ctx, "ann"); err == nil {
				t.Error("admitted beside another")
			}
		})
	}
	for q.waitingOf("ann") < 3 {
		time.Sleep(100 * time.Microsecond)
	}
	if _, err := q.enter(t.Context(), "ann"); !fault.Is(err, fault.Busy) || fault.RetryAfter(err) == 0 {
		t.Errorf("a full queue gave %v", err)
	}
	cancel()
	wait.Wait()
	ticket.leave()
	if ticket, err = q.enter(t.Context(), "ann"); err != nil {
		t.Fatal(err)
	}
	ticket.leave()
	if len(q.users) != 0 || len(q.turns) != 0 {
		t.Error("left behind")
	}
}

// TestQueueUnderLoad enters and gives up at random; nothing may leak, and the bounds hold.
func TestQueueUnderLoad(t *testing.T) {
	t.Parallel()
	q := newQueue(4, 2, 1000)
	var mu sync.Mutex
	running, most := map[string]int{}, 0
	var wait sync.WaitGroup
	for _, user := range []string{"a", "b", "c", "d", "e"} {
		for i := range 200 {
			wait.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%7+1)*time.Millisecond)
				defer cancel()
				ticket, err := q.enter(ctx, user)
				if err != nil {
					return
				}
				mu.Lock()
				running[user]++
				running[""]++
				most = max(most, running[""])
				if running[user] > 2 || running[""] > 4 {
					t.Errorf("%d of %s, %d at once", running[user], user, running[""])
				}
				mu.Unlock()
				time.Sleep(100 * time.Microsecond)
				mu.Lock()
				running[user]--
				running[""]--
				mu.Unlock()
				ticket.leave()
			})
		}
	}
	wait.Wait()
	if q.running != 0 || len(q.users) != 0 || len(q.turns) != 0 || most == 0 {
		t.Errorf("left behind: %d running, %d users, %d turns", q.running, len(q.users), len(q.turns))
	}
}

// blockedWriter blocks until it may go on.
type blockedWriter struct{ entered, goOn chan struct{} }

func (w *blockedWriter) Write(p []byte) (int, error) {
	select {
	case w.entered <- struct{}{}:
	default:
	}
	<-w.goOn
	return len(p), nil
}

func TestTrap_R2_AClientThatDoesNotReadStallsNobody(t *testing.T) {
	t.Parallel()
	e, scope := engine(t, Config{Running: 1, PerUser: 1}), smallScope(t)
	w := &blockedWriter{entered: make(chan struct{}, 1), goOn: make(chan struct{})}
	done := make(chan Summary)
	go func() {
		s, err := e.Run(context.Background(), Request{User: "slow", Scope: scope, SQL: "FROM range(1000000)", MediaType: TypeCSV}, func() io.Writer { return w })
		if err != nil {
			t.Error(err)
		}
		done <- s
	}()
	<-w.entered
	for _, user := range []string{"ann", "slow"} {
		if _, err := e.Run(t.Context(), Request{User: user, Scope: scope, SQL: "SELECT 1", MediaType: TypeCSV}, func() io.Writer { return io.Discard }); err != nil {
			t.Error(err)
		}
	}
	close(w.goOn)
	if s := <-done; s.Rows != 1_000_000 {
		t.Errorf("%d rows", s.Rows)
	}
	if q := e.queue; q.running != 0 || q.stalled != 0 || len(q.users) != 0 {
		t.Errorf("left behind: %d running, %d stalled, %d users", q.running, q.stalled, len(q.users))
	}
}

func TestAClientThatNeverReadsIsCutOff(t *testing.T) {
	t.Parallel()
	e, scope := engine(t, Config{WriteTimeout: 100 * time.Millisecond}), smallScope(t)
	ended := make(chan error, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := e.Run(r.Context(), Request{User: "ann", Scope: scope, SQL: "FROM range(100000000000)", MediaType: TypeCSV}, func() io.Writer { return w })
		ended <- err
		panic(http.ErrAbortHandler)
	}))
	defer server.Close()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if !fault.Is(err, fault.Unavailable) {
			t.Errorf("%v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the query is still under way")
	}
}

func TestSessionsAreSharedAndBounded(t *testing.T) {
	t.Parallel()
	e := engine(t, Config{PerUser: 1, Running: 1, Sessions: 2})
	scope := smallScope(t)
	var wait sync.WaitGroup
	for _, table := range []string{"orders", "people", "nothing", "orders"} {
		for range 4 {
			wait.Go(func() {
				_, err := e.Run(context.Background(), Request{User: table, Scope: scope, SQL: "FROM " + table, MediaType: TypeCSV}, func() io.Writer { return io.Discard })
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
	wait.Wait()
	if n := e.local.Open(); n == 0 || n > 3 {
		t.Errorf("%d sessions are open", n)
	}
}
