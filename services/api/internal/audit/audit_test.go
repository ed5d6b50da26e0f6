package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	chain "github.com/agnes-platform/agnes/pkg/audit"
	agnesv1 "github.com/agnes-platform/agnes/proto/agnes/v1"
	"github.com/agnes-platform/agnes/services/api/internal/audit"
)

func open(tb testing.TB, c audit.Config) *audit.Store {
	tb.Helper()
	s, err := audit.Open(tb.Context(), c)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// entries makes n records, numbered from from.
func entries(from, n int) []chain.Record {
	list := make([]chain.Record, n)
	for i := range list {
		k := from + i
		list[i] = chain.Record{
			ID: fmt.Sprintf("event-%08d", k), Time: chain.Time{Time: time.Unix(1_700_000_000+int64(k), 0).UTC()}, Action: []string{"data.query", "user.create"}[k%2],
			Resource: fmt.Sprintf("table:t%d", k%10), Result: "ok", Actor: fmt.Sprintf("u%d", k%7), ActorEmail: fmt.Sprintf("u%d@example.com", k%7), IP: "192.0.2.1",
			Params: map[string]any{"sql": "SELECT count(*) FROM orders WHERE id = " + fmt.Sprint(k) + " -- \"<Straße>\"", "rows": k},
		}
	}
	return list
}

func add(tb testing.TB, s *audit.Store, list []chain.Record) {
	tb.Helper()
	if err := s.Append(tb.Context(), list); err != nil {
		tb.Fatal(err)
	}
}

func verify(tb testing.TB, dir string, o chain.Options) chain.Report {
	tb.Helper()
	r, err := chain.VerifyDir(tb.Context(), dir, o)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func TestRecordsAreChainedOnceOverRestarts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for round := range 4 {
		s := open(t, audit.Config{Dir: dir, SegmentBytes: 4000, PointRecords: 7, Window: 10})
		if s.Broken != "" {
			t.Fatal(s.Broken)
		}
		add(t, s, entries(0, round*10)) // again: also those that are no longer remembered
		add(t, s, entries(round*10, 5))
		add(t, s, entries(round*10+3, 7))
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	r := verify(t, dir, chain.Options{Closed: true})
	if !r.OK || r.Records != 40 || r.LastSeq != 40 || r.Segments < 3 || r.Checkpoints < 4 || r.Unsigned != 0 {
		t.Errorf("%+v", r)
	}
}

func TestAnUnfinishedLineIsCutAndNothingElse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, audit.Config{Dir: dir})
	add(t, s, entries(0, 5))
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, chain.SegmentsDir, chain.SegmentName(1))
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = f.WriteString(`{"seq":6,"id":"half`)
	_ = f.Close()
	s = open(t, audit.Config{Dir: dir})
	add(t, s, entries(5, 1))
	if err := s.Close(t.Context()); err != nil || s.Broken != "" {
		t.Fatal(err, s.Broken)
	}
	if r := verify(t, dir, chain.Options{Closed: true}); !r.OK || r.Records != 6 {
		t.Errorf("%+v", r)
	}
}

type kept struct{ head chain.Head }

func (k *kept) Head(context.Context) (chain.Head, error) { return k.head, nil }

func (k *kept) Keep(_ context.Context, h chain.Head) error {
	k.head = h
	return nil
}

func TestARecordCutBackWithItsCheckpointsIsNoticedAtTheStart(t *testing.T) {
	t.Parallel()
	dir, k := t.TempDir(), &kept{}
	s := open(t, audit.Config{Dir: dir, Heads: k, PointRecords: 5})
	add(t, s, entries(0, 5))
	add(t, s, entries(5, 5))
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	cut := func(name string, lines int) {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), bytes.Join(bytes.SplitAfter(raw, []byte("\n"))[:lines], nil), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cut(filepath.Join(chain.SegmentsDir, chain.SegmentName(1)), 5)
	cut(chain.CheckpointsFile, 1)
	if r := verify(t, dir, chain.Options{Closed: true}); !r.OK {
		t.Fatalf("what was cut back to a checkpoint is whole by itself: %+v", r)
	}
	if r := verify(t, dir, chain.Options{Expect: &k.head}); r.OK {
		t.Error("the head that was seen before is not missed")
	}
	s = open(t, audit.Config{Dir: dir, Heads: k})
	if !strings.Contains(s.Broken, "10") {
		t.Errorf("not noticed: %q", s.Broken)
	}
	add(t, s, entries(20, 1))
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, dir, chain.Options{}); r.OK || r.LastSeq != 11 {
		t.Errorf("the gap is hidden: %+v", r)
	}
}

func TestSearchAndPaging(t *testing.T) {
	t.Parallel()
	s := open(t, audit.Config{Dir: t.TempDir(), SegmentBytes: 20_000})
	defer func() { _ = s.Close(context.WithoutCancel(t.Context())) }()
	all := entries(0, 1000)
	for len(all) > 0 {
		add(t, s, all[:50])
		all = all[50:]
	}
	count := func(f audit.Filter) int {
		t.Helper()
		seen, total := map[int64]bool{}, 0
		for {
			f.Limit = 64
			found, more, err := s.Search(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			for i, r := range found {
				if seen[r.Seq] || i > 0 && r.Seq >= found[i-1].Seq {
					t.Fatalf("%d comes twice or out of order", r.Seq)
				}
				seen[r.Seq] = true
				f.Before = r.Seq
			}
			if total += len(found); !more {
				return total
			}
		}
	}
	for name, c := range map[string]struct {
		f    audit.Filter
		want int
	}{
		"all":            {audit.Filter{}, 1000},
		"action":         {audit.Filter{Action: "user.create"}, 500},
		"noun":           {audit.Filter{Action: "user.*"}, 500},
		"part of a noun": {audit.Filter{Action: "use"}, 0},
		"actor":          {audit.Filter{Actor: "u3"}, 143},
		"email":          {audit.Filter{Actor: "U3@example.com"}, 143},
		"resource":       {audit.Filter{Resource: "table:t4"}, 100},
		"text":           {audit.Filter{Text: "ORDERS where id = 77 --"}, 1},
		"text in signs":  {audit.Filter{Text: `"<straße>"`}, 1000},
		"number":         {audit.Filter{Text: "999"}, 1},
		"not in names":   {audit.Filter{Text: "192.0.2.1"}, 0},
		"from":           {audit.Filter{From: time.Unix(1_700_000_990, 0)}, 10},
		"until":          {audit.Filter{Until: time.Unix(1_700_000_010, 0)}, 10},
		"after":          {audit.Filter{After: 990}, 10},
		"ip":             {audit.Filter{IP: "192.0.2.2"}, 0},
	} {
		if name == "after" {
			found, more, err := s.Search(t.Context(), audit.Filter{After: 990, Limit: 4})
			if err != nil || !more || len(found) != 4 || found[0].Seq != 994 || found[3].Seq != 991 {
				t.Errorf("after: %v %v %v", len(found), more, err)
			}
			continue
		}
		if got := count(c.f); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestExportsGuardFormulas(t *testing.T) {
	t.Parallel()
	s := open(t, audit.Config{Dir: t.TempDir()})
	defer func() { _ = s.Close(context.WithoutCancel(t.Context())) }()
	list := entries(0, 3)
	list[1].UserAgent = `=HYPERLINK("http://198.51.100.1")`
	add(t, s, list)
	var csv, lines bytes.Buffer
	n, err := s.ExportCSV(t.Context(), audit.Filter{}, &csv)
	if err != nil || n != 3 || !strings.Contains(csv.String(), `"'=HYPERLINK(""`) {
		t.Errorf("%d %v %s", n, err, csv.String())
	}
	if _, err := s.ExportNDJSON(t.Context(), audit.Filter{Action: "user.*"}, &lines); err != nil || strings.Count(lines.String(), "\n") != 1 {
		t.Errorf("%v %s", err, lines.String())
	}
	for in, want := range map[string]string{"": "", "a": "a", "=1": "'=1", "+1": "'+1", "-1": "'-1", "@x": "'@x", "\tx": "'\tx"} {
		if got := audit.Guard(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

func TestTheArchiveIsWholeWhileOthersRecord(t *testing.T) {
	t.Parallel()
	s := open(t, audit.Config{Dir: t.TempDir(), SegmentBytes: 10_000})
	defer func() { _ = s.Close(context.WithoutCancel(t.Context())) }()
	add(t, s, entries(0, 10))
	var wait sync.WaitGroup
	wait.Go(func() {
		for i := 10; i < 600; i += 10 {
			if err := s.Append(t.Context(), entries(i, 10)); err != nil {
				t.Error(err)
			}
		}
	})
	for range 10 {
		var out bytes.Buffer
		if err := s.Archive(t.Context(), &out); err != nil {
			t.Fatal(err)
		}
		r, err := chain.VerifyArchive(t.Context(), &out, t.TempDir(), chain.Options{PublicKey: s.PublicKey()})
		if err != nil || !r.OK || r.Records < 10 {
			t.Fatalf("%v %+v", err, r)
		}
	}
	wait.Wait()
}

func TestOldSegmentsGoAndTheRestIsProven(t *testing.T) {
	t.Parallel()
	dir, now := t.TempDir(), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c := audit.Config{Dir: dir, SegmentBytes: 2000, Keep: 10 * 24 * time.Hour, Now: func() time.Time { return now }}
	s := open(t, c)
	for day := range 30 {
		now = time.Date(2026, 1, 1+day, 0, 0, 0, 0, time.UTC)
		add(t, s, entries(day*10, 10))
	}
	head := s.Head()
	if _, err := s.Sweep(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := verify(t, dir, chain.Options{Closed: true, Expect: &head})
	if !r.OK || r.Base == 0 || r.FirstSeq != r.Base+1 || r.Records >= 200 || r.LastSeq != 300 {
		t.Errorf("%+v", r)
	}
	s = open(t, c)
	if s.Broken != "" {
		t.Error(s.Broken)
	}
	add(t, s, entries(300, 1))
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, dir, chain.Options{Closed: true}); !r.OK || r.LastSeq != 301 {
		t.Errorf("%+v", r)
	}
	if err := os.Remove(filepath.Join(dir, chain.BaseFile)); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, dir, chain.Options{Closed: true}); r.OK {
		t.Error("a record without its beginning is whole")
	}
}

// bus is a Publish that can be away.
type bus struct {
	mu    sync.Mutex
	away  bool
	heard map[string]chain.Record
	again int
}

func (b *bus) publish(_ context.Context, _ string, entries []string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.away {
		return errors.New("away")
	}
	for _, text := range entries {
		r, err := chain.Parse([]byte(text))
		if err != nil {
			return err
		}
		if _, ok := b.heard[r.ID]; ok {
			b.again++
		}
		b.heard[r.ID] = r
	}
	return nil
}

func (b *bus) set(away bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.away = away
}

func (b *bus) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.heard)
}

func recorder(t *testing.T, c audit.RecorderConfig) *audit.Recorder {
	t.Helper()
	r, err := audit.NewRecorder(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestEntriesSurviveAnAbsentBusAndARestart(t *testing.T) {
	t.Parallel()
	b := &bus{away: true, heard: map[string]chain.Record{}}
	c := audit.RecorderConfig{Dir: t.TempDir(), Publish: b.publish}
	r := recorder(t, c)
	var wait sync.WaitGroup
	for i := range 50 {
		wait.Go(func() {
			// What is synced and what is not share writes.
			m := &agnesv1.AuditRecorded{Action: []string{"user.create", "data.query"}[i%2], Resource: fmt.Sprint(i), RecordedAt: timestamppb.Now()}
			if err := r.Record(t.Context(), m); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait() // no Close: the process is killed
	r2 := recorder(t, c)
	b.set(false)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { r2.Run(ctx); close(ended) }()
	for deadline := time.Now().Add(10 * time.Second); b.count() < 50 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	cancel()
	<-ended
	if b.count() != 50 {
		t.Errorf("%d of 50 came", b.count())
	}
	if err := errors.Join(r.Close(), r2.Close()); err != nil {
		t.Error(err)
	}
}

func TestWhatNeitherBusNorDiskTakesIsAnError(t *testing.T) {
	t.Parallel()
	b := &bus{away: true}
	r := recorder(t, audit.RecorderConfig{Dir: t.TempDir(), Publish: b.publish, SpoolBytes: 10})
	defer func() { _ = r.Close() }()
	if err := r.Record(t.Context(), &agnesv1.AuditRecorded{Action: "user.create"}); err == nil {
		t.Error("an entry that is nowhere was confirmed")
	}
}

func TestMassesOfRefusalsAreFolded(t *testing.T) {
	t.Parallel()
	b := &bus{heard: map[string]chain.Record{}}
	r := recorder(t, audit.RecorderConfig{Dir: t.TempDir(), Publish: b.publish})
	defer func() { _ = r.Close() }()
	refuse := func(email, ip string) {
		p, _ := structpb.NewStruct(map[string]any{"email": email, "error": "unauthenticated"})
		if err := r.Record(t.Context(), &agnesv1.AuditRecorded{Action: "signin.password", Result: "refused", RemoteAddress: ip, Params: p, RecordedAt: timestamppb.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	for range 1000 {
		refuse("ann@example.com", "192.0.2.1")
	}
	if err := r.Forward(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := b.count(); got != 5 {
		t.Errorf("%d entries for one account", got)
	}
	for i := range 2000 {
		refuse(fmt.Sprintf("a%d@example.com", i), fmt.Sprintf("198.51.100.%d", i%200))
	}
	r.Flush(t.Context())
	if err := r.Forward(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := b.count(); got > 520 {
		t.Errorf("%d entries", got)
	}
	var folded, single float64
	for _, m := range b.heard {
		if n, ok := m.Params["count"].(float64); ok {
			folded += n
		} else {
			single++
		}
	}
	if folded+single != 3000 {
		t.Errorf("%v single and %v folded of 3000", single, folded)
	}
}

func TestTrap_O8_NoSecretInTheRecord(t *testing.T) {
	t.Parallel()
	const secret = "hunter2hunter2hunter2"
	jwt := "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0." + secret
	for _, text := range []string{
		"Authorization: Bearer " + jwt, "x " + jwt + " y", "password=" + secret, "PASSWORD := '" + secret + " it''s'", `{"client_secret": "` + secret + `"}`,
		"postgres://ann:" + secret + "@db.example.com/x", "https://" + secret + "@example.com", "CREATE SECRET (TYPE s3, KEY_ID 'a', SECRET '" + secret + "')",
		"-----BEGIN RSA PRIVATE KEY-----\n" + secret + "\n-----END RSA PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----\n" + secret, "https://x.example.com/?X-Amz-Signature=" + secret + "&a=1",
		"api_key: " + secret, "ghp_" + secret, "Basic " + secret, "agnes_pat_" + secret, "SELECT 1 WHERE token = $$" + secret + "$$", "--password " + "'" + secret + "'",
	} {
		if got := audit.Scrub(text); strings.Contains(got, secret) {
			t.Errorf("%q stays as %q", text, got)
		}
	}
	for _, text := range []string{
		// names that are written together, or say what kind of secret it is
		"PGPASSWORD=X psql", `{"accessToken":"X"}`, `{"clientSecret": "X"}`, "AccountKey=X==;x", "smtp_pass=X", "credentials='X'", "password_hash='X'", "MYSQL_PWD=X", "passwords: ['a','X']",
		"CREATE SECRET (TYPE azure, CONNECTION_STRING 'AccountName=a;AccountKey=X')", "CREATE USER ann IDENTIFIED BY 'X'",
		// the ways of SQL to write and to compare
		"password = E'X'", "ALTER USER ann PASSWORD E'X'", "PASSWORD $x$X$x$", "password=$x$X$x$", `password="a""X"`, "password LIKE 'X'", "password NOT IN ('x', 'X')", "password <> 'X'",
		"'X' = password", `'it''s X' = u."password"`, "password = upper('X')", "password = 'a' || 'X'", "password /* x */ = 'X'", "lower(password) = 'X'", "INSERT INTO u (name, password) VALUES ('ann', 'X')",
		"set_secret('x','X')", `{\"password\":\"X\"}`, "password = 'X",
		"Authorization: Token X", "MAP {'Authorization': 'Token X'}", "https://ann:a@X@example.com/",
		// what gives itself away
		"glpat-X", "github_pat_X", "ya29.X", "hf_X", "SG.X.X", "ATATTX", "xapp-1-X", "12-34567-XX", "12345678:AAX", "https://hooks.slack.com/services/T0/B0/X",
	} {
		if got := audit.Scrub(strings.ReplaceAll(text, "X", secret)); strings.Contains(got, secret) {
			t.Errorf("%q stays as %q", text, got)
		}
	}
	for _, text := range []string{
		"SELECT password_changed_at, tokens FROM users", "SELECT count(*) FROM orders WHERE key = 5", "user:0d0f3c1e", "https://example.com/a?b=c", "SELECT token, 'x' FROM t WHERE a = 'b'",
		"SELECT 'a', password FROM users WHERE x = 'y'", "status = 'passed' AND bypass = 'x'", "https://example.com/?to=ann@example.com", "secret IS NULL AND a = 'b'", "'a' AS token",
		"01a21a16-b573-78f7-b8ab-51cd9737f92f",
	} {
		if got := audit.Scrub(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
	p, err := audit.Params(map[string]any{"password": secret, "nested": map[string]any{"access_token": secret}, "list": []string{"token=" + secret}})
	if err != nil {
		t.Fatal(err)
	}
	r := audit.RecordOf("1", &agnesv1.AuditRecorded{Action: "x", UserAgent: "curl token=" + secret, Params: p}, time.Now())
	line, _, err := chain.Line(chain.Head{}, r)
	if err != nil || bytes.Contains(line, []byte(secret)) {
		t.Errorf("%v %s", err, line)
	}
	// What a token is called is no secret.
	r = audit.RecordOf("2", &agnesv1.AuditRecorded{Action: "token.create", Resource: "token:b24db403-9659-4c74-988d-43d05e88d779"}, time.Now())
	if line, _, err = chain.Line(chain.Head{}, r); err != nil || !bytes.Contains(line, []byte(`"token:b24db403-9659-4c74-988d-43d05e88d779"`)) {
		t.Errorf("%v %s", err, line)
	}
}

func TestParseKeep(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{"": 0, "0": 0, "365d": 365 * 24 * time.Hour, "48h": 48 * time.Hour} {
		if got, err := audit.ParseKeep(text); err != nil || got != want {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
	if _, err := audit.ParseKeep("a year"); err == nil {
		t.Error("a year is taken")
	}
}

// BenchmarkSearch looks for what stands at the far end of a million records.
func BenchmarkSearch(b *testing.B) {
	s := open(b, audit.Config{Dir: b.TempDir(), PointRecords: 1 << 40})
	defer func() { _ = s.Close(context.WithoutCancel(b.Context())) }()
	for i := 0; i < 1_000_000; i += 5000 {
		add(b, s, entries(i, 5000))
	}
	for name, f := range map[string]audit.Filter{
		"action": {Action: "nothing.here"}, "text": {Text: "nothing like it"}, "request": {RequestID: "r"}, "newest": {Action: "user.*", Limit: 100},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := s.Search(b.Context(), f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
