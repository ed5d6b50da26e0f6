package uploads

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"go.uber.org/goleak"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	ann = httpapi.Caller{UserID: "11111111-aaaa", Email: "ann@example.com"}
	bob = httpapi.Caller{UserID: "22222222-bbbb", Email: "bob@example.com"}
)

func newStore(tb testing.TB, change ...func(*Config)) (*Store, string) {
	tb.Helper()
	dir := tb.TempDir()
	c := Config{
		DataDir: dir, TmpDir: filepath.Join(dir, "tmp"), MaxBytes: 1 << 20, MaxUserBytes: 10 << 20, MaxUserFiles: 100,
		EmailOf: func(_ context.Context, id string) (string, error) {
			for _, c := range []httpapi.Caller{ann, bob} {
				if c.UserID == id {
					return c.Email, nil
				}
			}
			return "", fault.New(fault.NotFound, "there is no user %q", id)
		},
	}
	for _, f := range change {
		f(&c)
	}
	s, err := New(c)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s, dir
}

func save(t *testing.T, s *Store, c httpapi.Caller, kind, name, content string) httpapi.Upload {
	t.Helper()
	u, err := s.Save(t.Context(), c, kind, name, strings.NewReader(content))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return u
}

func content(t *testing.T, s *Store, c httpapi.Caller, kind, name string) string {
	t.Helper()
	f, _, err := s.Open(t.Context(), c.UserID, kind, name)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// left lists every file under the folder but the lock of the scratch space.
func left(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !strings.HasSuffix(path, ".lock") {
			relative, _ := filepath.Rel(dir, path)
			files = append(files, filepath.ToSlash(relative))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestTrap_D13_NamesStayInTheirFolder(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"notes.md": "notes.md", "../../etc/passwd": "passwd", "/etc/passwd": "passwd", `C:\Users\ann\x.txt`: "x.txt", `..\..\x`: "x",
		"a\x00b": "ab", "a\nb\tc.txt": "abc.txt", "  spaced  name.txt  ": "spaced  name.txt", "trailing...": "trailing", "CON": "_CON",
		"nul.txt": "_nul.txt", "com1.tar.gz": "_com1.tar.gz", "console.txt": "console.txt", "a:b?.txt": "a_b_.txt", "e\u0301.md": "é.md",
		"\u202etxt.exe": "txt.exe", "a\xffb": "a_b", "ünïcode–名前.jsonl": "ünïcode–名前.jsonl", "a..b": "a..b", "%2e%2e%2fx": "%2e%2e%2fx",
	} {
		if got := Name(given); got != want {
			t.Errorf("%q becomes %q, not %q", given, got, want)
		}
	}
	for _, given := range []string{"", ".", "..", ".bashrc", "a/", "/", "...", " ", "\x00", "a/..", "\u200b.ssh", `x\.env`} {
		if got := Name(given); len(got) != len("upload_")+8 || !strings.HasPrefix(got, "upload_") {
			t.Errorf("%q becomes %q", given, got)
		}
	}
	long := strings.Repeat("ä", 300)
	one, two := Name(long+"1.jsonl"), Name(long+"2.jsonl")
	if len(one) > maxName || !utf8.ValidString(one) || !strings.HasSuffix(one, ".jsonl") || one == two || one != Name(long+"1.jsonl") {
		t.Errorf("long names become %q and %q", one, two)
	}
}

func FuzzName(f *testing.F) {
	for _, seed := range []string{"a", "../a", `..\a`, "\x00", ".a", "com1", strings.Repeat("x", 300) + ".md", "e\u0301", "\xff/\xfe"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, given string) {
		name := Name(given)
		if !plain(name) || len(name) > maxName || !utf8.ValidString(name) || filepath.Base(name) != name || !filepath.IsLocal(name) {
			t.Errorf("%q becomes %q", given, name)
		}
		if again := Name(name); again != name {
			t.Errorf("%q becomes %q and then %q", given, name, again)
		}
	})
}

func TestAFileComesBackAsItWent(t *testing.T) {
	t.Parallel()
	s, dir := newStore(t)
	text := strings.Repeat("line\n", 100_000)
	u := save(t, s, ann, Sessions, "2026-01-02.jsonl", text)
	sum := sha256.Sum256([]byte(text))
	if u.Size != int64(len(text)) || u.SHA256 != hex.EncodeToString(sum[:]) || u.Kind != Sessions || u.Filename != "2026-01-02.jsonl" {
		t.Errorf("got %+v", u)
	}
	if content(t, s, ann, Sessions, u.Filename) != text {
		t.Error("other bytes came back")
	}
	save(t, s, ann, Sessions, "2026-01-02.jsonl", "shorter")
	save(t, s, ann, Artifacts, "empty", "")
	if content(t, s, ann, Sessions, u.Filename) != "shorter" || content(t, s, ann, Artifacts, "empty") != "" {
		t.Error("the second upload of a name does not take the place of the first")
	}
	save(t, s, bob, Sessions, "2026-01-02.jsonl", "of bob")
	list, quota, err := s.List(t.Context(), ann.UserID)
	if err != nil || len(list) != 2 || quota.Files != 2 || quota.Bytes != 7 {
		t.Errorf("%+v %+v %v", list, quota, err)
	}
	if err := s.Delete(t.Context(), ann.UserID, Sessions, u.Filename); err != nil {
		t.Error(err)
	}
	if err := s.Delete(t.Context(), ann.UserID, Sessions, u.Filename); !fault.Is(err, fault.NotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	want := []string{"user_artifacts/11111111-aaaa/empty", "user_sessions/22222222-bbbb/2026-01-02.jsonl"}
	if got := left(t, dir); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("on disk: %v", got)
	}
}

func TestNotesAreTheirUsersAlone(t *testing.T) {
	t.Parallel()
	s, dir := newStore(t)
	// What the predecessor wrote is read as it stands.
	if err := os.MkdirAll(filepath.Join(dir, "user_local_md"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "user_local_md", "ann@example.com.md"), []byte("old notes"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := content(t, s, ann, LocalMD, "ann@example.com.md"); got != "old notes" {
		t.Errorf("got %q", got)
	}
	save(t, s, bob, LocalMD, "", "of bob")
	if _, _, err := s.Open(t.Context(), ann.UserID, LocalMD, "bob@example.com.md"); !fault.Is(err, fault.NotFound) {
		t.Errorf("notes of another user: %v", err)
	}
	if err := s.Delete(t.Context(), ann.UserID, LocalMD, "bob@example.com.md"); !fault.Is(err, fault.NotFound) {
		t.Errorf("notes of another user: %v", err)
	}
	if list, _, err := s.List(t.Context(), ann.UserID); err != nil || len(list) != 1 || list[0].Filename != "ann@example.com.md" {
		t.Errorf("%+v %v", list, err)
	}
	for email, want := range map[string]string{
		"../../x@example.com": "%2E.%2F..%2Fx@example.com.md", "a%2Fb@example.com": "a%252Fb@example.com.md", "o'neil+x@example.com": "o%27neil+x@example.com.md",
	} {
		if got := notesName(email); got != want || !plain(got) {
			t.Errorf("%s: %s, want %s", email, got, want)
		}
	}
}

func TestTrap_D13_NothingOutsideIsOpened(t *testing.T) {
	t.Parallel()
	s, dir := newStore(t)
	save(t, s, ann, Sessions, "mine", "mine")
	secret := filepath.Join(dir, "state", ".jwt_secret")
	if err := os.MkdirAll(filepath.Dir(secret), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(dir, "user_sessions", ann.UserID)
	for link, target := range map[string]string{"absolute": secret, "relative": "../../state/.jwt_secret", "inside": "mine"} {
		if err := os.Symlink(target, filepath.Join(folder, link)); err != nil {
			t.Skip("no symbolic links here")
		}
	}
	for _, name := range []string{"../mine", "../../state/.jwt_secret", secret, "..", ".", "", "mine\x00", "absolute", "relative", "inside", `..\mine`} {
		if f, _, err := s.Open(t.Context(), ann.UserID, Sessions, name); !fault.Is(err, fault.NotFound) {
			if f != nil {
				_ = f.Close()
			}
			t.Errorf("%q opens: %v", name, err)
		}
	}
	for _, id := range []string{"..", ".", "", "../" + ann.UserID, ann.UserID + "/..", "a\x00"} {
		if _, err := s.Save(t.Context(), httpapi.Caller{UserID: id}, Sessions, "x", strings.NewReader("x")); !fault.Is(err, fault.NotFound) {
			t.Errorf("user %q: %v", id, err)
		}
	}
	if _, err := s.Save(t.Context(), ann, "../state", "x", strings.NewReader("x")); !fault.Is(err, fault.NotFound) {
		t.Errorf("kind: %v", err)
	}
}

// failing gives some bytes and then an error.
type failing struct {
	n   int
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	if f.n <= 0 {
		return 0, f.err
	}
	n := min(f.n, len(p))
	f.n -= n
	return n, nil
}

func TestWhatDoesNotComeWholeLeavesNothing(t *testing.T) {
	t.Parallel()
	s, dir := newStore(t)
	save(t, s, ann, Sessions, "kept", "as it was")
	cut := errors.New("cut")
	if _, err := s.Save(t.Context(), ann, Sessions, "kept", &failing{n: 300_000, err: cut}); !errors.Is(err, cut) {
		t.Errorf("got %v", err)
	}
	if _, err := s.Save(t.Context(), ann, Sessions, "large", &failing{n: 1<<20 + 1, err: io.EOF}); !fault.Is(err, fault.TooLarge) || !strings.Contains(fault.Message(err), "1 MiB") {
		t.Errorf("got %v", err)
	}
	if _, err := s.Save(t.Context(), ann, Sessions, "just", &failing{n: 1 << 20, err: io.EOF}); err != nil {
		t.Errorf("the largest file: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Save(ctx, ann, Sessions, "gone", strings.NewReader("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if content(t, s, ann, Sessions, "kept") != "as it was" {
		t.Error("a cut upload changed the file of its name")
	}
	if got := left(t, dir); len(got) != 2 {
		t.Errorf("on disk: %v", got)
	}
	if len(s.quotas.byUser) != 0 {
		t.Errorf("%d users are still counted", len(s.quotas.byUser))
	}
}

func TestAFullDiskIsSaid(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full here")
	}
	f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	s, _ := newStore(t)
	room, err := s.quotas.enter("x", func() (taken, error) { return taken{}, nil }, filepath.Join(t.TempDir(), "x"))
	if err != nil {
		t.Fatal(err)
	}
	defer room.leave()
	_, err = s.copy(t.Context(), f, strings.NewReader("x"), room)
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(fault.Message(err), "disk of the server is full") {
		t.Errorf("got %v", err)
	}
}

func TestQuotasHoldForUploadsAtOnce(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t, func(c *Config) { c.MaxUserBytes, c.MaxUserFiles = 1<<20, 8 })
	var stored, refused atomic.Int64
	var wait sync.WaitGroup
	for n := range 40 {
		wait.Go(func() {
			_, err := s.Save(t.Context(), ann, Artifacts, fmt.Sprint("file", n), bytes.NewReader(make([]byte, 200<<10)))
			switch {
			case err == nil:
				stored.Add(1)
			case fault.Is(err, fault.TooLarge):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wait.Wait()
	_, quota, err := s.List(t.Context(), ann.UserID)
	if err != nil || quota.Bytes > 1<<20 || quota.Files > 8 || int64(quota.Files) != stored.Load() || refused.Load() == 0 {
		t.Errorf("%+v, %d stored, %d refused, %v", quota, stored.Load(), refused.Load(), err)
	}
	save(t, s, bob, Artifacts, "of another user", strings.Repeat("x", 500<<10))
}

func TestAFullQuotaStillTakesAnotherVersion(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t, func(c *Config) { c.MaxUserBytes, c.MaxUserFiles = 1000, 2 })
	save(t, s, ann, Sessions, "a", strings.Repeat("a", 600))
	save(t, s, ann, Sessions, "b", strings.Repeat("b", 400))
	save(t, s, ann, Sessions, "a", strings.Repeat("c", 600))
	for name, size := range map[string]int{"a": 601, "c": 0, "b": 401} {
		if _, err := s.Save(t.Context(), ann, Sessions, name, &failing{n: size, err: io.EOF}); !fault.Is(err, fault.TooLarge) {
			t.Errorf("%s with %d bytes: %v", name, size, err)
		}
	}
	if err := s.Delete(t.Context(), ann.UserID, Sessions, "b"); err != nil {
		t.Fatal(err)
	}
	save(t, s, ann, Sessions, "c", strings.Repeat("c", 400))
}

func TestOneNameAtOnceIsOneOfTheVersions(t *testing.T) {
	t.Parallel()
	s, dir := newStore(t)
	var wait sync.WaitGroup
	for n := range 16 {
		wait.Go(func() {
			if _, err := s.Save(t.Context(), ann, Sessions, "same", strings.NewReader(strings.Repeat(string(rune('a'+n)), 50_000+n))); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	got := content(t, s, ann, Sessions, "same")
	if n := int(got[0] - 'a'); got != strings.Repeat(string(got[0]), 50_000+n) {
		t.Error("two versions are mixed")
	}
	if files := left(t, dir); len(files) != 1 {
		t.Errorf("on disk: %v", files)
	}
}
