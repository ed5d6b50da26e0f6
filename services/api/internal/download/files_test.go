package download_test

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/pkg/fault"
	"github.com/agnes-platform/agnes/services/api/internal/download"
)

// Trap D13: the id of a file is no path.
func TestTrap_D13_FilesAreFoundByIDsThatAreNoPaths(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	folder := filepath.Join(extract.FilesDir(dir, "jira", "attachments"), "10001")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "a b.txt"), []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := download.NewWholes(t.Context(), dir, filepath.Join(dir, "cache"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	c, err := w.File(t.Context(), "jira", "attachments", "10001")
	if err != nil || c.Name != "a b.txt" || c.Size != 5 {
		t.Fatalf("%+v %v", c, err)
	}
	file, err := c.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if text, err := io.ReadAll(file); err != nil || string(text) != "hello" {
		t.Errorf("%q %v", text, err)
	}
	for _, id := range []string{"", ".", "..", "../attachments/10001", "10001/a b.txt", "1000?", "*", "10002", "10001\x00"} {
		if _, err := w.File(t.Context(), "jira", "attachments", id); !fault.Is(err, fault.NotFound) {
			t.Errorf("%q: %v", id, err)
		}
	}
}
