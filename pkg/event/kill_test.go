package event_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/agnes-platform/agnes/pkg/event"
	"github.com/agnes-platform/agnes/pkg/event/embedded"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
)

// publishUntilKilled is a process with an embedded server: it prints the id of every event that the
// bus has acknowledged, for ever.
func publishUntilKilled(dir string) {
	ctx := context.Background()
	server, err := embedded.Start(ctx, embedded.Config{StoreDir: dir})
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "start:", err)
		return
	}
	bus, err := server.Connect(ctx, "child")
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "connect:", err)
		return
	}
	for n := 0; ; n++ {
		id := fmt.Sprintf("%d-%d", os.Getpid(), n)
		if err := event.Publish(ctx, bus, event.AuditRecorded, "", &agnesv1.AuditRecorded{Action: id}, event.ID(id)); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, "publish:", err)
			return
		}
		if _, err := bus.Bucket(event.BucketScheduler).Put(ctx, "last", []byte(id)); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, "put:", err)
			return
		}
		_, _ = fmt.Fprintln(os.Stdout, id)
	}
}

func TestAStoreThatWasKilledStartsAgainWithEverythingAcknowledged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	acknowledged := map[string]bool{}
	var last string
	for round := range 3 {
		child := exec.CommandContext(t.Context(), os.Args[0])
		child.Env = append(os.Environ(), "AGNES_TEST_STORE="+dir)
		var complaints strings.Builder
		child.Stderr = &complaints
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			last = lines.Text()
			acknowledged[last] = true
			if n == 50*(round+1) {
				if err := child.Process.Kill(); err != nil { // kill -9, in the middle of a write
					t.Fatal(err)
				}
			}
		}
		_ = child.Wait()
		if complaints.Len() > 0 {
			t.Fatalf("round %d: %s", round, complaints.String())
		}
	}
	server, err := embedded.Start(t.Context(), embedded.Config{StoreDir: dir, SyncAlways: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	stored := map[string]int{}
	stream, err := rawJetStream(t, server).Stream(t.Context(), "AGNES_AUDIT")
	if err != nil {
		t.Fatal(err)
	}
	for seq := stream.CachedInfo().State.FirstSeq; seq <= stream.CachedInfo().State.LastSeq; seq++ {
		msg, err := stream.GetMsg(t.Context(), seq, jetstream.WithGetMsgSubject("agnes.v1.>"))
		if err != nil {
			t.Fatal(err)
		}
		stored[msg.Header.Get("ce-id")]++
	}
	for id := range acknowledged {
		if stored[id] != 1 {
			t.Errorf("%s was acknowledged and is stored %d times", id, stored[id])
		}
	}
	bus, err := server.Connect(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(bus.Close)
	if e, err := bus.Bucket(event.BucketScheduler).Get(t.Context(), "last"); err != nil || len(e.Value) == 0 || len(acknowledged) < 300 {
		t.Errorf("the bucket has %q after %q, %v; %d acknowledged", e.Value, last, err, len(acknowledged))
	}
}
