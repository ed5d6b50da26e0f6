package jira

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/agnes-platform/agnes/pkg/extract"
	"github.com/agnes-platform/agnes/services/extractor/jira/jiratest"
)

func (h *house) file(id int64) (name string, content []byte) {
	list, _ := filepath.Glob(filepath.Join(extract.FilesDir(h.dir, "jira", "attachments"), strconv.FormatInt(id, 10), "*"))
	if len(list) != 1 {
		return "", nil
	}
	content, _ = os.ReadFile(list[0])
	return filepath.Base(list[0]), content
}

func (h *house) waitFor(what string, is func() bool) {
	h.t.Helper()
	for deadline := time.Now().Add(patienceOfTests); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if is() {
			return
		}
	}
	h.t.Fatalf("%s: not in time", what)
}

// Trap J12: what an attachment is called is somebody's choice, and no address in a document is looked at.
func TestTrap_J12_AttachmentsAreKeptUnderSafeNames(t *testing.T) {
	t.Parallel()
	site := jiratest.New(jiratest.Config{})
	defer site.Close()
	h := newHouse(t, site)
	h.options["attachments"] = map[string]any{"content": true, "max_mb": 1}
	site.Hook(h.deliver, jiratest.Disorder{})
	key := site.Create("SUP", jiratest.Set{"summary": "with files"})
	text := site.Attach(key, "../../../etc/passwd", "text/plain", []byte("hello"))
	large := site.Attach(key, "large.bin", "application/octet-stream", bytes.Repeat([]byte("x"), 2<<20))
	h.start()
	h.waitFor("the file", func() bool { _, c := h.file(text); return string(c) == "hello" })
	if name, _ := h.file(text); strings.ContainsAny(name, "/\\") || name == "passwd" {
		t.Errorf("the name is %q", name)
	}
	h.expect("SELECT count(*), count(local_path) FROM attachments", "2 | 2")
	if name, _ := h.file(large); name != "" {
		t.Errorf("%s is kept", name)
	}
	if s := h.status(); !s.GetAttachmentsKept() || s.GetAttachmentFiles() != 1 || s.GetAttachmentBytes() != 5 {
		t.Errorf("status %v", s)
	}
	site.DeleteAttachment(key, text)
	h.waitFor("its end", func() bool { name, _ := h.file(text); return name == "" })
}

func TestAttachmentsWithinTheQuotaAlone(t *testing.T) {
	t.Parallel()
	site := jiratest.New(jiratest.Config{})
	defer site.Close()
	h := newHouse(t, site)
	h.options["attachments"] = map[string]any{"content": true, "quota_mb": 1}
	site.Hook(h.deliver, jiratest.Disorder{})
	key := site.Create("SUP", jiratest.Set{"summary": "with files"})
	var ids []int64
	for range 3 {
		ids = append(ids, site.Attach(key, "a.bin", "application/octet-stream", bytes.Repeat([]byte("x"), 600<<10)))
	}
	h.start()
	h.waitFor("the first", func() bool { name, _ := h.file(ids[0]); return name != "" })
	h.waitFor("the tries", func() bool { return h.status().GetAttachmentFiles() == 1 })
}

func TestSafeNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"report.pdf": "report.pdf", "": "file", "..": "file", "../x": "_x", "a/b\\c:d": "a_b_c_d", " .hidden. ": "hidden", "tab\there\x00": "tabhere",
		"žluťoučký kůň.txt": "žluťoučký kůň.txt", "\u202Egnp.exe": "gnp.exe",
	} {
		if got := safeName(name); got != want {
			t.Errorf("%q is kept as %q, not %q", name, got, want)
		}
	}
	if got := safeName(strings.Repeat("ů", 300) + ".tar"); len(got) > nameBytes || !strings.HasSuffix(got, ".tar") || !utf8.ValidString(got) {
		t.Errorf("a long name is kept as %q", got)
	}
}
