package catalog

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

func source(name string, tables ...string) Source {
	s := Source{Name: name, Generation: 1, PublishedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	for _, t := range tables {
		tab := Table{
			Name: t, QueryMode: ModeLocal, Columns: []Column{{Name: "id", Type: "BIGINT"}},
			Parts: []Part{{Path: "extracts/" + name + "/data/" + t + "/ab.parquet", SHA256: "ab", SizeBytes: 3, Rows: 1}},
		}
		tab.Fingerprint = Fingerprint(tab)
		s.Tables = append(s.Tables, tab)
	}
	s.Version = VersionOf(s.Tables)
	return s
}

func TestSaveAndLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, s := range []Source{source("shop", "orders", "order"), source("crm", "contacts")} {
		if err := SaveSource(dir, s); err != nil {
			t.Fatal(err)
		}
	}
	got, problems, err := LoadSources(dir)
	if err != nil || len(problems) != 0 {
		t.Fatalf("LoadSources: %v, problems %v", err, problems)
	}
	want := []Source{source("crm", "contacts"), source("shop", "orders", "order")}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("LoadSources = %+v, want %+v", got, want)
	}
	left, err := os.ReadDir(filepath.Join(dir, "tmp"))
	if err != nil || len(left) != 0 {
		t.Errorf("tmp holds %v (%v), want nothing", left, err)
	}
	if err := RemoveSource(dir, "crm"); err != nil {
		t.Fatal(err)
	}
	if err := RemoveSource(dir, "crm"); err != nil {
		t.Errorf("removing it again: %v", err)
	}
	if _, err := LoadSource(dir, "crm"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("LoadSource of a removed source: %v, want fs.ErrNotExist", err)
	}
}

func TestLoadSourcesKeepsErrorAndEmptyApart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if got, problems, err := LoadSources(dir); err != nil || len(got)+len(problems) != 0 {
		t.Errorf("a new data directory: %v, %v, %v", got, problems, err)
	}
	if _, _, err := LoadSources(filepath.Join(dir, "absent")); err == nil {
		t.Error("a data directory that is not there was listed as empty")
	}
	if err := os.MkdirAll(filepath.Join(dir, "analytics"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(SourcesDir(dir), []byte("a file, not a folder"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := LoadSources(dir); err == nil {
		t.Error("a listing that failed was taken for an empty one")
	}
}

func TestTrap_E11_OneBrokenDocumentHidesNoOther(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := SaveSource(dir, source("good", "orders")); err != nil {
		t.Fatal(err)
	}
	outside := strings.ReplaceAll(readDoc(t, dir, "good"), "extracts/good/", "../../etc/")
	for name, content := range map[string]string{
		"half": `{"name":"half","tables":[`, "other": `{"name":"somebody"}`, "1bad": `{"name":"1bad"}`,
		"outside": strings.ReplaceAll(outside, `"good"`, `"outside"`),
	} {
		if err := os.WriteFile(filepath.Join(SourcesDir(dir), name+".json"), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, problems, err := LoadSources(dir)
	if err != nil || len(got) != 1 || got[0].Name != "good" {
		t.Errorf("LoadSources = %v, %v; want good alone", got, err)
	}
	if len(problems) != 4 {
		t.Errorf("problems = %v, want one for each of four documents", problems)
	}
}

func readDoc(t *testing.T, dir, name string) string {
	t.Helper()
	raw, err := os.ReadFile(SourcePath(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestTrap_D13_NamesAndPathsStayInside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"", ".", "..", "../x", "a/b", "/etc/passwd", "a*", "main", "x\n"} {
		if _, err := LoadSource(dir, name); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("LoadSource(%q): %v, want the name refused", name, err)
		}
		if err := SaveSource(dir, Source{Name: name}); err == nil {
			t.Errorf("SaveSource(%q) was accepted", name)
		}
		if err := RemoveSource(dir, name); err == nil {
			t.Errorf("RemoveSource(%q) was accepted", name)
		}
	}
	for p, want := range map[string]bool{
		"extracts/a/data/t/x.parquet": true, "a b/ü.parquet": true, "": false, ".": false, "../x": false,
		"/abs": false, "a/../../x": false, "a//b": false, "a/./b": false, `a\b`: false, "a\x00b": false,
	} {
		if got := ValidPartPath(p); got != want {
			t.Errorf("ValidPartPath(%q) = %v, want %v", p, got, want)
		}
	}
	s := source("a", "t")
	s.Tables[0].Parts[0].Path = "../outside.parquet"
	if err := SaveSource(dir, s); err == nil {
		t.Error("a part outside the data directory was published")
	}
}

func TestReadersSeeWholeDocuments(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	small, large := source("s", "t"), source("s")
	for range 400 {
		large.Tables = append(large.Tables, small.Tables[0])
	}
	if err := SaveSource(dir, small); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for {
			select {
			case <-done:
				return
			default:
			}
			if s, err := LoadSource(dir, "s"); err != nil || (len(s.Tables) != 1 && len(s.Tables) != 400) {
				t.Errorf("a reader saw %d tables, %v", len(s.Tables), err)
				return
			}
		}
	}()
	for i := range 100 {
		s := small
		if i%2 == 0 {
			s = large
		}
		if err := SaveSource(dir, s); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	wg.Wait()
}
