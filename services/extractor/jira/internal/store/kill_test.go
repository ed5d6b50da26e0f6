package store

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"
)

// victim writes one change after the other, and says which of them Write answered. A change is two
// documents with the same text, a cursor and a sighting.
func victim(dir string) error {
	ctx := context.Background()
	s, err := Open(ctx, dir)
	if err != nil {
		return err
	}
	text, err := s.Cursor(ctx, "round")
	if err != nil {
		return err
	}
	start, _ := strconv.ParseInt(text, 10, 64)
	for n := start + 1; ; n++ {
		err := s.Write(ctx, func(tx *Tx) error {
			for _, id := range []int64{1, 2, n + 10} {
				d := doc(id, "2026-01")
				d.JSON = bytes.Repeat(fmt.Appendf(nil, "%d ", n), 2000)
				if err := tx.Put(ctx, d, 1, ""); err != nil {
					return err
				}
			}
			if err := tx.Sight(ctx, 1, n, []Entity{{KindUser, strconv.FormatInt(n, 10), "x"}}); err != nil {
				return err
			}
			return tx.SetCursor(ctx, "round", strconv.FormatInt(n, 10))
		})
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(os.Stdout, n); err != nil {
			return err
		}
	}
}

// A process is killed in the middle of its writing, again and again: what Write answered is there after
// it, and of the change that was under way either all or nothing.
func TestAKillInTheMiddleOfAWriteLosesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // repeatable on purpose
	answered := int64(0)
	for round := range 12 {
		cmd := exec.CommandContext(t.Context(), binary)
		cmd.Env = append(os.Environ(), victimDir+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		first := make(chan struct{})
		told := make(chan int64)
		go func() {
			last, once := int64(0), sync.OnceFunc(func() { close(first) })
			defer func() { once(); told <- last }()
			for {
				var n int64
				if _, err := fmt.Fscan(out, &n); err != nil {
					return
				}
				last = n
				once()
			}
		}()
		<-first
		pause := time.NewTimer(time.Duration(rng.Int64N(int64(60 * time.Millisecond))))
		<-pause.C
		_ = cmd.Process.Kill()
		answered = max(answered, <-told)
		_ = cmd.Wait()
		answered = checkAfterKill(t, dir, round, answered)
	}
}

func checkAfterKill(t *testing.T, dir string, round int, answered int64) int64 {
	t.Helper()
	s, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatalf("round %d: %v", round, err)
	}
	defer func() { _ = s.Close() }()
	text, err := s.Cursor(t.Context(), "round")
	if err != nil {
		t.Fatal(err)
	}
	n, _ := strconv.ParseInt(text, 10, 64)
	if n < answered {
		t.Fatalf("round %d: the last change is %d, but %d was answered", round, n, answered)
	}
	seq, _ := s.Seq(t.Context())
	counts, _ := s.Count(t.Context())
	if seq != n || counts.Issues != n+2 {
		t.Fatalf("round %d: change %d has the number %d and %d documents", round, n, seq, counts.Issues)
	}
	want := string(bytes.Repeat(fmt.Appendf(nil, "%d ", n), 2000))
	for _, id := range []int64{1, 2, n + 10} {
		if d, found, err := s.Get(t.Context(), id); err != nil || !found || string(d.JSON) != want {
			t.Fatalf("round %d: the document %d is not that of change %d: %v %v", round, id, n, found, err)
		}
	}
	if got := entities(t, s, KindUser); got != text+"=x" {
		t.Fatalf("round %d: entities %q", round, got)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Fatalf("round %d: %v", round, err)
	}
	return n
}
