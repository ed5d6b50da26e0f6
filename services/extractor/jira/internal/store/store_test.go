package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/agnes-platform/agnes/pkg/fault"
)

// victimDir names the folder in which this program, started anew, writes until it is killed.
const victimDir = "AGNES_STORE_VICTIM"

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimDir); dir != "" {
		fmt.Fprintln(os.Stderr, victim(dir))
		return
	}
	goleak.VerifyTestMain(m)
}

func open(tb testing.TB, dir string) *Store {
	tb.Helper()
	s, err := Open(tb.Context(), dir)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

func write(tb testing.TB, s *Store, do func(tx *Tx) error) {
	tb.Helper()
	if err := s.Write(tb.Context(), do); err != nil {
		tb.Fatal(err)
	}
}

func doc(id int64, month string) Document {
	return Document{ID: id, Key: fmt.Sprintf("SUP-%d", id), Project: "SUP", Month: month, Open: true, JSON: fmt.Appendf(nil, `{"id":"%d"}`, id)}
}

func put(tb testing.TB, s *Store, d Document, tables Tables, before string) {
	tb.Helper()
	write(tb, s, func(tx *Tx) error { return tx.Put(tb.Context(), d, tables, before) })
}

func since(tb testing.TB, s *Store, table int, after int64) (Touched, bool) {
	tb.Helper()
	upto, err := s.Seq(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	touched, known, err := s.Since(tb.Context(), table, after, upto)
	if err != nil {
		tb.Fatal(err)
	}
	return touched, known
}

func TestADocumentComesBackAsItWasPut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	at := time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)
	want := Document{
		ID: 7, Key: "SUP-7", Project: "SUP", Month: "2026-03", Created: at, Updated: at.Add(time.Hour), Synced: at.Add(2 * time.Hour), Deleted: at.Add(3 * time.Hour),
		Open: true, Partial: true, JSON: bytes.Repeat([]byte("čeština "), 100_000),
	}
	put(t, s, want, Tables(0).With(1), "")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	for what, get := range map[string]func() (Document, bool, error){
		"by id":  func() (Document, bool, error) { return s.Get(t.Context(), 7) },
		"by key": func() (Document, bool, error) { return s.ByKey(t.Context(), "SUP-7") },
	} {
		if got, found, err := get(); err != nil || !found || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v %v %v", what, got.Key, found, err)
		}
	}
	if _, found, err := s.Get(t.Context(), 8); found || err != nil {
		t.Errorf("one that is not there: %v %v", found, err)
	}
}

// A key leads to the issue that has it: one that is there before one that is gone, then the newest.
func TestAKeyLeadsToTheIssueThatHasIt(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	base := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	gone, old, now := doc(3, "2026-03"), doc(1, "2026-03"), doc(2, "2026-03")
	gone.Deleted, gone.Updated = base, base.Add(9*time.Hour)
	old.Updated, now.Updated = base, base.Add(time.Hour)
	for _, d := range []Document{gone, old, now} {
		d.Key = "SUP-1"
		put(t, s, d, 1, "")
	}
	if d, found, err := s.ByKey(t.Context(), "SUP-1"); err != nil || !found || d.ID != 2 {
		t.Errorf("SUP-1 leads to %d, %v, %v", d.ID, found, err)
	}
}

func TestWhatChangedIsToldByTableAndMonth(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	put(t, s, doc(1, "2026-01"), Tables(0).With(0).With(3), "")
	first, err := s.Seq(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, doc(2, "2026-02"), Tables(0).With(0), "")
	put(t, s, doc(1, "2026-04"), Tables(0).With(3), "2026-01") // it wandered
	put(t, s, doc(5, "2026-04"), 0, "")                        // nothing that any table shows
	for _, c := range []struct {
		table int
		after int64
		want  Touched
	}{
		{0, 0, Touched{"2026-01": {1}, "2026-02": {2}}},
		{0, first, Touched{"2026-02": {2}}},
		{3, 0, Touched{"2026-01": {1}, "2026-04": {1}}},
		{3, first, Touched{"2026-01": {1}, "2026-04": {1}}},
		{9, 0, Touched{}},
	} {
		if got, known := since(t, s, c.table, c.after); !known || !reflect.DeepEqual(got, c.want) {
			t.Errorf("table %d after %d: %v %v, want %v", c.table, c.after, got, known, c.want)
		}
	}
	// A run includes changes up to one moment: later ones belong to the next run.
	if got, known, err := s.Since(t.Context(), 0, 0, first); err != nil || !known || !reflect.DeepEqual(got, Touched{"2026-01": {1}}) {
		t.Errorf("up to %d: %v %v %v", first, got, known, err)
	}
	// A store from a backup stands at an earlier change than what was published.
	if _, known := since(t, s, 0, 99); known {
		t.Error("changes after one that never was are known")
	}
	if all, err := s.ChangedTables(t.Context(), first); err != nil || all != Tables(0).With(0).With(3) {
		t.Errorf("changed tables %b %v", all, err)
	}
}

// Trap J4: what is not remembered any more is everything, never nothing.
func TestTrap_J4_ForgottenChangesAreNoSilence(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	for i := range int64(10) {
		put(t, s, doc(i+1, "2026-01"), 1, "")
	}
	write(t, s, func(tx *Tx) error { // many issues in one change
		for i := range int64(5) {
			if err := tx.Put(t.Context(), doc(100+i, "2026-02"), 1, ""); err != nil {
				return err
			}
		}
		return nil
	})
	if err := s.prune(t.Context(), 100); err != nil {
		t.Fatal(err)
	}
	if got, known := since(t, s, 0, 0); !known || len(got["2026-01"]) != 10 {
		t.Fatalf("before anything is forgotten: %v %v", got, known)
	}
	if err := s.prune(t.Context(), 7); err != nil { // the five of change 11, and 10 and 9
		t.Fatal(err)
	}
	for after := range int64(8) {
		if _, known := since(t, s, 0, after); known {
			t.Errorf("after %d: changes are said to be known that were forgotten", after)
		}
	}
	if got, known := since(t, s, 0, 8); !known || !reflect.DeepEqual(got, Touched{"2026-01": {9, 10}, "2026-02": {100, 101, 102, 103, 104}}) {
		t.Errorf("after the last one forgotten: %v %v", got, known)
	}
	if c, err := s.Count(t.Context()); err != nil || c.Issues != 15 {
		t.Errorf("documents were forgotten: %v %v", c, err)
	}
	if err := s.prune(t.Context(), 2); err != nil { // in the middle of a change: it is forgotten whole
		t.Fatal(err)
	}
	if _, known := since(t, s, 0, 10); known {
		t.Error("half of a change is said to be known")
	}
	if got, known := since(t, s, 0, 11); !known || len(got) != 0 {
		t.Errorf("after the last change: %v %v", got, known)
	}
	put(t, s, doc(200, "2026-03"), 1, "")
	if got, known := since(t, s, 0, 11); !known || !reflect.DeepEqual(got, Touched{"2026-03": {200}}) {
		t.Errorf("after forgetting all: %v %v", got, known)
	}
}

func TestMonthsAndListingsLeaveOutNothing(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	if months, err := s.Months(t.Context()); err != nil || len(months) != 0 {
		t.Fatalf("an empty store: %v %v", months, err)
	}
	const n = 1203 // more than one statement asks for
	var ids []int64
	write(t, s, func(tx *Tx) error {
		for i := range int64(n) {
			d := doc(i+1, fmt.Sprintf("2026-%02d", i%12+1))
			d.Open, d.Partial = i%2 == 0, i%3 == 0
			if i%5 == 0 {
				d.Deleted = time.Unix(1, 0)
			}
			if err := tx.Put(t.Context(), d, 1, ""); err != nil {
				return err
			}
			ids = append(ids, n-i) // whatever order they are asked for in
		}
		return nil
	})
	months, err := s.Months(t.Context())
	if err != nil || len(months) != 12 || months[0] != "2026-01" || months[11] != "2026-12" {
		t.Errorf("months %v %v", months, err)
	}
	count := func(list func(each func(Document) error) error) (n int) {
		t.Helper()
		if err := list(func(Document) error { n++; return nil }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	inMonths := 0
	for _, m := range months {
		inMonths += count(func(each func(Document) error) error { return s.Month(t.Context(), m, each) })
	}
	if some := count(func(each func(Document) error) error { return s.Documents(t.Context(), append(ids, 99_999), each) }); some != n || inMonths != n {
		t.Errorf("%d by number and %d by month, of %d", some, inMonths, n)
	}
	if heads := count(func(each func(Document) error) error { return s.Heads(t.Context(), each) }); heads != n {
		t.Errorf("%d heads of %d", heads, n)
	}
	c, err := s.Count(t.Context())
	if want := (Counts{Issues: n, Deleted: 241, Partial: 320, Open: 481}); err != nil || c != want {
		t.Errorf("counts %+v %v, want %+v", c, err, want)
	}
	if open := count(func(each func(Document) error) error { return s.OpenIssues(t.Context(), each) }); int64(open) != c.Open {
		t.Errorf("%d open, %d counted", open, c.Open)
	}
	stop := errors.New("enough")
	if err := s.Heads(t.Context(), func(Document) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the error of the caller came back as %v", err)
	}
}

func entities(tb testing.TB, s *Store, k Kind) string {
	tb.Helper()
	var out []string
	if err := s.Entities(tb.Context(), k, func(e Entity) error { out = append(out, e.ID+"="+e.Attrs); return nil }); err != nil {
		tb.Fatal(err)
	}
	return strings.Join(out, " ")
}

func usersChanged(tb testing.TB, s *Store) int64 {
	tb.Helper()
	n, err := s.EntitiesChanged(tb.Context(), KindUser)
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

func TestAnEntityIsThereWhileAnIssueNamesIt(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	ann, bob := Entity{KindUser, "a", "Ann"}, Entity{KindUser, "b", "Bob"}
	sight := func(issue, synced int64, seen ...Entity) {
		t.Helper()
		write(t, s, func(tx *Tx) error { return tx.Sight(t.Context(), issue, synced, seen) })
	}
	sight(1, 10, ann, bob)
	sight(2, 11, ann, Entity{KindSprint, "7", "Sprint"})
	at := usersChanged(t, s)
	sight(1, 12, bob, ann)
	if usersChanged(t, s) != at {
		t.Error("the same once more counts as a change")
	}
	sight(1, 13)
	if got := entities(t, s, KindUser); got != "a=Ann" || usersChanged(t, s) == at {
		t.Errorf("users %q: Bob is named by no issue any more", got)
	}
	at = usersChanged(t, s)
	sight(2, 14)
	if got := entities(t, s, KindUser) + entities(t, s, KindSprint); got != "" || usersChanged(t, s) <= at {
		t.Errorf("left: %q", got)
	}
	write(t, s, func(tx *Tx) error { return tx.Renew(t.Context(), ann, 99) })
	if got := entities(t, s, KindUser); got != "" {
		t.Errorf("an entity that nobody names was listed: %q", got)
	}
	sight(3, 20, ann)
	write(t, s, func(tx *Tx) error { return tx.Renew(t.Context(), Entity{KindUser, "a", "Anna"}, 21) })
	sight(3, 20, ann)
	if got := entities(t, s, KindUser); got != "a=Anna" {
		t.Errorf("%q: an older state took the place of a newer one", got)
	}
}

// Trap J9: that a state was confirmed later counts as well as that it changed later.
func TestTrap_J9_AnEntitysOlderStateAfterItWasConfirmedIsNoNews(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	for _, step := range []struct {
		attrs  string
		synced int64
	}{{"new", 10}, {"new", 30}, {"old", 20}} {
		write(t, s, func(tx *Tx) error {
			return tx.Sight(t.Context(), 1, step.synced, []Entity{{KindSprint, "7", step.attrs}})
		})
	}
	if got := entities(t, s, KindSprint); got != "7=new" {
		t.Errorf("%q: what was read at 20 took the place of what was read at 30", got)
	}
}

func TestLinksAreKnownFromBothEnds(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	to := func(issue int64) (ids []int64) {
		t.Helper()
		write(t, s, func(tx *Tx) (err error) { ids, err = tx.LinkedTo(t.Context(), issue); return err })
		return ids
	}
	link := func(issue int64, others ...int64) {
		t.Helper()
		var ends []End
		for _, id := range others {
			ends = append(ends, End{id, fmt.Sprintf("SUP-%d", id)})
		}
		write(t, s, func(tx *Tx) error { return tx.Link(t.Context(), issue, ends) })
	}
	link(1, 9, 8)
	link(2, 9)
	link(1, 9, 8)
	if got := to(9); !reflect.DeepEqual(got, []int64{1, 2}) {
		t.Errorf("to 9: %v", got)
	}
	link(1, 7)
	if a, b, c := to(9), to(8), to(7); !reflect.DeepEqual(a, []int64{2}) || len(b) != 0 || !reflect.DeepEqual(c, []int64{1}) {
		t.Errorf("to 9, 8, 7: %v %v %v", a, b, c)
	}
	put(t, s, doc(9, "2026-01"), 1, "")
	gone := doc(7, "2026-01")
	gone.Deleted = time.Unix(1, 0)
	put(t, s, gone, 1, "")
	link(3, 6)
	var loose []string
	if err := s.LooseLinks(t.Context(), func(issue int64, to End) { loose = append(loose, fmt.Sprint(issue, to)) }); err != nil {
		t.Fatal(err)
	}
	if want := []string{"1 {7 SUP-7}", "3 {6 SUP-6}"}; !reflect.DeepEqual(loose, want) {
		t.Errorf("loose links %v, want %v", loose, want)
	}
}

func TestWhatIsSetAsideIsListedOnce(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	aside := func(issue, key, origin, reason string) {
		t.Helper()
		write(t, s, func(tx *Tx) error {
			return tx.SetAside(t.Context(), Aside{Issue: issue, Key: key, Origin: origin, Reason: reason, At: time.Unix(5, 0), Body: []byte("body of " + reason)})
		})
	}
	aside("1", "SUP-1", "rows", "first")
	aside("1", "SUP-1", "rows", "second")
	aside("2", "SUP-2", "fetch", "third")
	aside("", "event", "webhook", "fourth")
	list, total, err := s.AsideList(t.Context(), 2)
	if err != nil || total != 3 || len(list) != 2 {
		t.Fatalf("list %v %d %v", list, total, err)
	}
	whole, _, err := s.AsideList(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range whole {
		body, found, err := s.AsideBody(t.Context(), a.Number)
		if err != nil || !found || string(body.Body) != "body of "+a.Reason {
			t.Errorf("%s: %q %v %v", a.Reason, body.Body, found, err)
		}
		if a.Issue == "1" && (a.Times != 2 || a.Reason != "second") {
			t.Errorf("set aside twice: %+v", a)
		}
	}
	write(t, s, func(tx *Tx) error { return tx.TakenIn(t.Context(), "1") })
	write(t, s, func(tx *Tx) error {
		found, err := tx.DropAside(t.Context(), whole[0].Number)
		if again, _ := tx.DropAside(t.Context(), whole[0].Number); again || !found {
			t.Errorf("dropped: %v, and again %v", found, again)
		}
		return err
	})
	if _, total, err := s.AsideList(t.Context(), 10); err != nil || total != 1 {
		t.Errorf("%d left, %v", total, err)
	}
}

func TestRefetchesComeWhenTheyAreDue(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	now := time.Unix(1000, 0)
	note := func(ref string, next time.Time, again bool) {
		t.Helper()
		write(t, s, func(tx *Tx) error {
			return tx.Refetch(t.Context(), Refetch{Ref: ref, Since: now, Reason: "why"}, next, again)
		})
	}
	note("1", now, false)
	note("2", now.Add(time.Minute), false)
	note("1", now.Add(time.Hour), false) // another webhook does not put it off
	due, next, err := s.DueRefetches(t.Context(), now, 10)
	if err != nil || len(due) != 1 || due[0].Ref != "1" || due[0].Attempts != 0 || !next.Equal(now.Add(time.Minute)) {
		t.Fatalf("due %+v, next %s, %v", due, next, err)
	}
	note("1", now.Add(time.Hour), true) // a try that failed does
	note("2", now, false)               // and a webhook brings it forward
	due, next, err = s.DueRefetches(t.Context(), now, 10)
	if err != nil || len(due) != 1 || due[0].Ref != "2" || !next.Equal(now.Add(time.Hour)) {
		t.Fatalf("due %+v, next %s, %v", due, next, err)
	}
	due, next, err = s.DueRefetches(t.Context(), now.Add(2*time.Hour), 1)
	if err != nil || len(due) != 1 || due[0].Ref != "2" || !next.IsZero() {
		t.Fatalf("due %+v, next %s, %v", due, next, err)
	}
	write(t, s, func(tx *Tx) error { return tx.Refetched(t.Context(), "", "2", "SUP-2") })
	n, oldest, err := s.CountRefetches(t.Context())
	if err != nil || n != 1 || !oldest.Equal(now) {
		t.Errorf("%d wait since %s, %v", n, oldest, err)
	}
}

func TestFilesAreThoseOfTheIssue(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	files := func(issue int64, has ...Attachment) (gone []Attachment) {
		t.Helper()
		write(t, s, func(tx *Tx) (err error) { gone, err = tx.Files(t.Context(), issue, has); return err })
		return gone
	}
	a, b := Attachment{ID: 1, Name: "a.txt", Size: 3}, Attachment{ID: 2, Name: "b.txt", Size: 5}
	files(10, a, b)
	write(t, s, func(tx *Tx) error {
		a.State = FileKept
		return tx.FileTried(t.Context(), a, time.Time{})
	})
	files(10, a, b) // the same again forgets nothing
	if wanted, err := s.WantedFiles(t.Context(), time.Now(), 10); err != nil || len(wanted) != 1 || wanted[0].ID != 2 || wanted[0].Issue != 10 {
		t.Errorf("wanted %+v %v", wanted, err)
	}
	if kept, bytes, wanted, err := s.CountFiles(t.Context()); err != nil || kept != 1 || bytes != 3 || wanted != 1 {
		t.Errorf("%d kept of %d bytes, %d wanted, %v", kept, bytes, wanted, err)
	}
	if gone := files(10, b); len(gone) != 1 || gone[0].ID != 1 || gone[0].Name != "a.txt" || gone[0].State != FileKept {
		t.Errorf("gone %+v", gone)
	}
}

func TestCursorsAreKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	write(t, s, func(tx *Tx) error { return tx.SetCursor(t.Context(), "x", "one") })
	write(t, s, func(tx *Tx) error { return tx.SetCursor(t.Context(), "x", "two") })
	_ = s.Close()
	s = open(t, dir)
	if v, err := s.Cursor(t.Context(), "x"); err != nil || v != "two" {
		t.Errorf("%q %v", v, err)
	}
	write(t, s, func(tx *Tx) error { return tx.SetCursor(t.Context(), "x", "") })
	if v, err := s.Cursor(t.Context(), "x"); err != nil || v != "" {
		t.Errorf("%q %v", v, err)
	}
}

// A change that fails, however late, leaves nothing of itself.
func TestAChangeHappensWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	put(t, s, doc(1, "2026-01"), 1, "")
	seq, _ := s.Seq(t.Context())
	broken := errors.New("broken")
	err := s.Write(t.Context(), func(tx *Tx) error {
		if err := tx.Put(t.Context(), doc(2, "2026-01"), 1, ""); err != nil {
			return err
		}
		if _, found, err := tx.Get(t.Context(), 2); err != nil || !found {
			t.Errorf("a change does not see what it did: %v %v", found, err)
		}
		return broken
	})
	if !errors.Is(err, broken) {
		t.Errorf("the error came back as %v", err)
	}
	if now, _ := s.Seq(t.Context()); now != seq {
		t.Errorf("the change counted: %d, not %d", now, seq)
	}
	if _, found, _ := s.Get(t.Context(), 2); found {
		t.Error("half of a change stayed")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Write(ctx, func(*Tx) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("after a stop: %v", err)
	}
	put(t, s, doc(3, "2026-01"), 1, "") // and the store goes on
}

func TestWhatIsNoStoreIsRefusedAndLeftAsItIs(t *testing.T) {
	t.Parallel()
	other := func(statement string) func(path string) error {
		return func(path string) error {
			db, err := sql.Open("sqlite3", path)
			if err != nil {
				return err
			}
			defer func() { _ = db.Close() }()
			_, err = db.ExecContext(context.Background(), statement)
			return err
		}
	}
	for name, c := range map[string]struct {
		make func(path string) error
		kind fault.Kind
	}{
		"a newer version":  {other("PRAGMA user_version = 99"), fault.Conflict},
		"another database": {other("CREATE TABLE people (name TEXT)"), fault.Conflict},
		"no database": {func(path string) error {
			return os.WriteFile(path, bytes.Repeat([]byte("not a database. "), 1000), 0o600)
		}, fault.Unavailable},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, File)
		if err := c.make(path); err != nil {
			t.Fatal(err)
		}
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Open(t.Context(), dir)
		if err == nil {
			_ = s.Close()
		}
		if !fault.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
		if after, err := os.ReadFile(path); err != nil || (c.kind != fault.Conflict && !bytes.Equal(before, after)) {
			t.Errorf("%s: the file was changed, %v", name, err)
		}
	}
}

// Damage of a document is told of that one; the others can be read.
func TestADamagedDocumentIsNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	put(t, s, doc(1, "2026-01"), 1, "")
	put(t, s, doc(2, "2026-01"), 1, "")
	if _, err := s.write.ExecContext(t.Context(), "UPDATE documents SET doc = x'28b52ffd0000ff' WHERE id = 1"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Get(t.Context(), 1); !fault.Is(err, fault.Internal) || !strings.Contains(fault.Message(err), "SUP-1") {
		t.Errorf("the damaged one: %v", err)
	}
	if _, found, err := s.Get(t.Context(), 2); err != nil || !found {
		t.Errorf("the other: %v %v", found, err)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Errorf("the file itself is sound: %v", err)
	}
}

func TestADamagedFileIsTold(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	write(t, s, func(tx *Tx) error {
		for i := range int64(2000) {
			if err := tx.Put(t.Context(), doc(i+1, "2026-01"), 1, ""); err != nil {
				return err
			}
		}
		return nil
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(filepath.Join(dir, File), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	size, _ := file.Seek(0, io.SeekEnd)
	for at := int64(3 * 4096); at < size; at += 4096 { // whatever pages there are but the first
		if _, err := file.WriteAt(bytes.Repeat([]byte{0xa5}, 512), at); err != nil {
			t.Fatal(err)
		}
	}
	_ = file.Close()
	s, err = Open(t.Context(), dir)
	if err != nil {
		return // it is refused at once, which tells as much
	}
	defer func() { _ = s.Close() }()
	if err := s.Check(t.Context()); err == nil {
		t.Error("a damaged file is said to be sound")
	}
}

// Two stores are told apart, and one that is opened again is the same.
func TestAStoreKnowsWhoItIs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, b := open(t, dir), open(t, t.TempDir())
	first := a.Identity()
	if first == "" || first == b.Identity() {
		t.Errorf("identities %q and %q", first, b.Identity())
	}
	_ = a.Close()
	if again := open(t, dir).Identity(); again != first {
		t.Errorf("opened again, it is %q, not %q", again, first)
	}
}

// Writers and readers at once: nothing is lost, numbers of changes are given once, readers see whole changes.
func TestWritersAndReadersAtOnce(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	const writers, each = 4, 25
	ctx, cancel := context.WithCancel(t.Context())
	var readers, work sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for ctx.Err() == nil {
				n := 0
				if err := s.Month(t.Context(), "2026-01", func(Document) error { n++; return nil }); err != nil || n%2 != 0 {
					t.Errorf("a reader sees %d documents: %v", n, err)
					return
				}
			}
		})
	}
	for w := range writers {
		work.Go(func() {
			for i := range each {
				id := int64(w*10_000 + 2*i)
				err := s.Write(t.Context(), func(tx *Tx) error {
					return errors.Join(tx.Put(t.Context(), doc(id, "2026-01"), 1, ""), tx.Put(t.Context(), doc(id+1, "2026-01"), 1, ""))
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	work.Wait()
	cancel()
	readers.Wait()
	if seq, err := s.Seq(t.Context()); err != nil || seq != writers*each {
		t.Errorf("%d changes counted of %d, %v", seq, writers*each, err)
	}
	if got, known := since(t, s, 0, 0); !known || len(got["2026-01"]) != 2*writers*each {
		t.Errorf("%d documents changed", len(got["2026-01"]))
	}
}
