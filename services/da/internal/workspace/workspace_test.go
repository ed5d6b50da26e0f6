package workspace_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/da/internal/workspace"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T) *workspace.Workspace {
	t.Helper()
	w, err := workspace.Find(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Create(); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestTrap_D13_AFolderIsAPlainNameForEveryID(t *testing.T) {
	t.Parallel()
	plain := regexp.MustCompile(`\A[a-z0-9_][a-z0-9_.-]*\z`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.String().Draw(t, "a"), rapid.String().Draw(t, "b")
		folder := workspace.FolderOf(a)
		if !plain.MatchString(folder) || len(folder) > 100 || strings.HasSuffix(folder, ".") {
			t.Fatalf("%q: %q", a, folder)
		}
		if a != b && folder == workspace.FolderOf(b) {
			t.Fatalf("%q and %q share %q", a, b, folder)
		}
	})
	for id, want := range map[string]string{"orders": "orders", "shop.orders": "shop.orders", "in_c-crm_deals": "in_c-crm_deals"} {
		if got := workspace.FolderOf(id); got != want {
			t.Errorf("%s: %s", id, got)
		}
	}
	for _, id := range []string{"..", ".", "", "/etc", "a/b", `a\b`, "CON", "con", "nul.txt", "lpt1", "*", "a?", "[x]", "x.", "Orders", "ORDERS", "a b", "é", "e\u0301"} {
		if got := workspace.FolderOf(id); got == id || strings.EqualFold(got, id) {
			t.Errorf("%q is used as it is", id)
		}
	}
}

func TestFindLooksUpwards(t *testing.T) {
	w := open(t)
	below := filepath.Join(w.Root, "user", "artifacts")
	t.Chdir(below)
	found, err := workspace.Find("")
	if err != nil || found.Root != w.Root {
		t.Errorf("found %v, %v; want %s", found, err, w.Root)
	}
	t.Chdir(t.TempDir())
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	here, _ = filepath.EvalSymlinks(here)
	if found, err = workspace.Find(""); err != nil || found.Root != here {
		t.Errorf("found %v, %v; want the present folder", found, err)
	}
}

func TestStateSurvives(t *testing.T) {
	t.Parallel()
	w := open(t)
	hash := strings.Repeat("a", 64)
	in := &workspace.State{
		Server: "https://a.example", Root: w.Root, ManifestETag: `W/"1"`,
		Tables: map[string]workspace.Table{"orders": {Source: "shop", Name: "orders", Updated: time.Unix(1, 0).UTC(), Parts: []workspace.Part{{SHA256: hash, SizeBytes: 3}}}},
	}
	if err := w.SaveState(in); err != nil {
		t.Fatal(err)
	}
	out, damaged, err := w.LoadState()
	if err != nil || damaged || out.Server != in.Server || out.Tables["orders"].Parts[0].SHA256 != hash {
		t.Errorf("got %+v, %t, %v", out, damaged, err)
	}
	for name, content := range map[string]string{
		"cut":     `{"format": 1, "tab`,
		"old":     `{"tables": {"orders": {"hash": "x", "rows": 1}}, "last_sync": "2026"}`,
		"hostile": `{"format": 1, "tables": {"orders": {"parts": [{"sha256": "../../x"}]}}}`,
	} {
		if err := os.WriteFile(w.StateFile(), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, damaged, err = w.LoadState(); err != nil || !damaged || len(out.Tables) != 0 {
			t.Errorf("%s: %+v, %t, %v", name, out, damaged, err)
		}
	}
	if err := os.WriteFile(w.StateFile(), []byte(`{"format": 99}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err = w.LoadState(); !fault.Is(err, fault.Invalid) || !strings.Contains(fault.Message(err), "newer da") {
		t.Errorf("a newer format: %v", err)
	}
}

func TestSweepDeletesOnlyWhatIsOurs(t *testing.T) {
	t.Parallel()
	w := open(t)
	kept, gone := strings.Repeat("a", 64), strings.Repeat("b", 64)
	write := func(parts ...string) {
		path := filepath.Join(append([]string{w.Parquet()}, parts...)...)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("123"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("orders", kept+".parquet")
	write("orders", gone+".parquet")
	write("orders", gone+".parquet.partial")
	write("old", gone+".parquet")
	write("orders", "mine.parquet")
	write("mine", "notes.txt")
	write("loose.parquet")
	inv, err := w.Take()
	if err != nil || !inv.Has("orders", kept, 3) || inv.Has("orders", kept, 4) || inv.Has("customers", kept, 3) {
		t.Fatalf("%v, %v", inv, err)
	}
	if freed := w.Sweep(inv, func(_, file string) bool { return file == kept+".parquet" }); freed != 9 {
		t.Errorf("freed %d", freed)
	}
	var left []string
	err = filepath.WalkDir(w.Parquet(), func(path string, d os.DirEntry, err error) error {
		if rel, _ := filepath.Rel(w.Parquet(), path); err == nil && rel != "." {
			left = append(left, filepath.ToSlash(rel))
		}
		return err
	})
	want := []string{"loose.parquet", "mine", "mine/notes.txt", "orders", "orders/" + kept + ".parquet", "orders/mine.parquet"}
	if err != nil || !slices.Equal(left, want) {
		t.Errorf("left %v, %v", left, err)
	}
}
