package httpapi_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/services/api/internal/httpapi"
	"github.com/agnes-platform/agnes/services/api/internal/uploads"
)

const largest = 6 << 20 // over what other routes take

// withUploads gives a house that keeps uploads on disk, and the folder.
func withUploads(t *testing.T) (*house, string) {
	t.Helper()
	dir := t.TempDir()
	store, err := uploads.New(uploads.Config{
		DataDir: dir, TmpDir: filepath.Join(dir, "tmp"), MaxBytes: largest, MaxUserBytes: 100 << 20, MaxUserFiles: 100,
		EmailOf: func(context.Context, string) (string, error) { return "ann@example.com", nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return newHouse(t, func(c *httpapi.Config) { c.Uploads = store }), dir
}

// form writes fields of a multipart form: name, file name ("" for none), content.
func form(t *testing.T, fields ...[3]string) (contentType, body string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, f := range fields {
		open := func() (io.Writer, error) { return w.CreateFormField(f[0]) }
		if f[1] != "" {
			open = func() (io.Writer, error) { return w.CreateFormFile(f[0], f[1]) }
		}
		part, err := open()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(part, f[2])
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), b.String()
}

func filesIn(t *testing.T, dir string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !strings.HasSuffix(path, ".lock") {
			files = append(files, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestUploadsComeBack(t *testing.T) {
	t.Parallel()
	h, dir := withUploads(t)
	text := strings.Repeat("0123456789abcdef", largest/16)
	for kind, name := range map[string]string{"sessions": "a session.jsonl", "artifacts": "ünïcode.bin"} {
		contentType, body := form(t, [3]string{"note", "", "first"}, [3]string{"file", "../" + name, text}, [3]string{"more", "", "behind"})
		got := h.ask("POST", "/api/upload/"+kind, "ann", body, "Content-Type: "+contentType)
		var u httpapi.Uploaded
		if err := json.Unmarshal([]byte(got.body), &u); err != nil || got.status != 200 || u.Filename != name || u.Size != largest || len(u.SHA256) != 64 || u.Status != "ok" {
			t.Fatalf("%d %s", got.status, got.body)
		}
		if strings.Contains(got.body, dir) {
			t.Errorf("the answer names a path of the server: %s", got.body)
		}
		back := h.ask("GET", "/api/uploads/"+kind+"/"+strings.ReplaceAll(name, " ", "%20"), "ann", "")
		if back.status != 200 || back.body != text || !strings.HasPrefix(back.header.Get("Content-Disposition"), "attachment") ||
			back.header.Get("X-Content-Type-Options") != "nosniff" || back.header.Get("Content-Type") != "application/octet-stream" {
			t.Errorf("%s: %d, %d bytes, %v", name, back.status, len(back.body), back.header)
		}
	}
	if got := h.ask("POST", "/api/upload/local-md", "ann", `{"content":"# Nötes"}`); got.status != 200 || !strings.Contains(got.body, `"size":7`) || !strings.Contains(got.body, `"user":"ann@example.com"`) {
		t.Errorf("%d %s", got.status, got.body)
	}
	var list httpapi.UploadList
	if err := json.Unmarshal([]byte(h.ask("GET", "/api/admin/uploads/2", "admin", "").body), &list); err != nil || len(list.Uploads) != 3 || list.Quota.Files != 3 {
		t.Errorf("%+v %v", list, err)
	}
	for path, want := range map[string]int{
		"/api/uploads/sessions/..%2Fx": 404, "/api/uploads/sessions/nothing": 404, "/api/uploads/others/x": 422, "/api/uploads/local-md/bob@example.com.md": 404,
	} {
		if got := h.ask("GET", path, "ann", ""); got.status != want {
			t.Errorf("%s: %d, not %d", path, got.status, want)
		}
	}
	if got := h.ask("DELETE", "/api/uploads/sessions/a%20session.jsonl", "ann", ""); got.status != 204 {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := h.ask("GET", "/api/admin/uploads/2", "ann", ""); got.status != 403 {
		t.Errorf("an analyst lists uploads of others: %d", got.status)
	}
}

func TestWrongFormsAreRefusedAndLeaveNothing(t *testing.T) {
	t.Parallel()
	h, dir := withUploads(t)
	good, body := form(t, [3]string{"file", "x", strings.Repeat("x", 1000)})
	two, both := form(t, [3]string{"file", "x", "one"}, [3]string{"file", "y", "two"})
	noFile, none := form(t, [3]string{"other", "x", "x"})
	for name, c := range map[string]struct {
		contentType, body string
		want              int
	}{
		"JSON":            {"application/json", `{}`, 400},
		"no boundary":     {"multipart/form-data", body, 400},
		"other boundary":  {"multipart/form-data; boundary=zzz", body, 422},
		"cut in the file": {good, body[:500], 400},
		"cut behind it":   {good, body[:len(body)-10], 400},
		"two files":       {two, both, 400},
		"no file":         {noFile, none, 422},
		"empty":           {good, "", 422},
	} {
		if got := h.ask("POST", "/api/upload/sessions", "ann", c.body, "Content-Type: "+c.contentType); got.status != c.want {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	if files := filesIn(t, dir); len(files) != 0 {
		t.Errorf("on disk: %v", files)
	}
}

// talk opens a connection to write a request by hand.
func (h *house) talk(t *testing.T) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", h.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn, bufio.NewReader(conn)
}

func TestSlowUploadsArriveAndStalledOnesAreCut(t *testing.T) {
	t.Parallel()
	h, dir := withUploads(t)
	contentType, body := form(t, [3]string{"file", "slow", strings.Repeat("x", 40)})
	send := func(pieces int, pause time.Duration) int {
		conn, answers := h.talk(t)
		_, _ = fmt.Fprintf(conn, "POST /api/upload/sessions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ann\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", contentType, len(body))
		size := (len(body) + 9) / 10
		for n := range pieces {
			_, _ = io.WriteString(conn, body[min(len(body), n*size):min(len(body), (n+1)*size)])
			time.Sleep(pause) // the slowness is what is tested
		}
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	// Bodies of other routes have 300 ms here; this one takes three times as long, and bytes keep coming.
	if got := send(10, 90*time.Millisecond); got != 200 {
		t.Errorf("a slow upload: %d", got)
	}
	if got := send(5, 0); got != 408 {
		t.Errorf("a stalled upload: %d", got)
	}
	if files := filesIn(t, dir); len(files) != 1 {
		t.Errorf("on disk: %v", files)
	}
}

// A client that writes all before it reads must learn why its upload was refused, and not only that the
// connection broke.
func TestARefusalReachesWhoSendsEverythingFirst(t *testing.T) {
	t.Parallel()
	h, dir := withUploads(t)
	contentType, body := form(t, [3]string{"file", "x", "one"}, [3]string{"file", "y", strings.Repeat("x", 5<<20)})
	conn, answers := h.talk(t)
	_, err := fmt.Fprintf(conn, "POST /api/upload/sessions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ann\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", contentType, len(body))
	for len(body) > 0 && err == nil {
		n := min(len(body), 256<<10)
		_, err = io.WriteString(conn, body[:n])
		body = body[n:]
		time.Sleep(50 * time.Millisecond) // a line that is slower than what closes the connection
	}
	if err != nil {
		t.Fatalf("the rest could not be sent: %v", err)
	}
	resp, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest || len(filesIn(t, dir)) != 0 {
		t.Errorf("%d, and on disk %v", resp.StatusCode, filesIn(t, dir))
	}
}

// inBraces finds the parameters of a path as the router writes them.
var inBraces = regexp.MustCompile(`:([a-z_]+)`)

// endless is a body that counts how much of it was taken.
type endless struct{ taken atomic.Int64 }

func (e *endless) Read(p []byte) (int, error) {
	if e.taken.Add(int64(len(p))) > 256<<20 {
		return 0, io.EOF
	}
	return len(p), nil
}

// TestNoRouteReadsMoreThanItTakes asks every route that may have a body with one that is far too long,
// once announced and once not.
func TestNoRouteReadsMoreThanItTakes(t *testing.T) {
	t.Parallel()
	h, _ := withUploads(t)
	documented := specOf(t, h)
	for route := range httpapi.RoutesOf(t, t.TempDir()) {
		method, path, _ := strings.Cut(route, " ")
		if (method != "POST" && method != "PUT" && method != "PATCH") || strings.Contains(path, "*") {
			continue
		}
		t.Run(route, func(t *testing.T) {
			t.Parallel()
			segments := strings.Split(path, "/")
			for n, s := range segments {
				if strings.HasPrefix(s, ":") {
					segments[n] = "1"
				}
			}
			concrete, contentType := strings.Join(segments, "/"), "application/json"
			prefix := `{"content":"`
			if strings.HasPrefix(path, "/api/upload/") && !strings.HasSuffix(path, "local-md") {
				contentType = "multipart/form-data; boundary=b"
				prefix = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\n"
			}
			conn, answers := h.talk(t)
			_, _ = fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer admin\r\nContent-Type: %s\r\nContent-Length: 10000000000\r\n\r\n", method, concrete, contentType)
			resp, err := http.ReadResponse(answers, nil) // not a byte of the body was sent
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusRequestEntityTooLarge {
				t.Errorf("announced: %d", resp.StatusCode)
			}
			body := &endless{}
			r, err := http.NewRequestWithContext(t.Context(), method, h.URL+concrete, io.MultiReader(strings.NewReader(prefix), body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer admin")
			r.Header.Set("Content-Type", contentType)
			client := &http.Client{Transport: &http.Transport{}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
			defer client.CloseIdleConnections()
			if resp, err := client.Do(r); err == nil {
				_ = resp.Body.Close()
				if o := documented.Paths[inBraces.ReplaceAllString(path, "{$1}")][strings.ToLower(method)]; o.RequestBody != nil && resp.StatusCode != http.StatusRequestEntityTooLarge {
					t.Errorf("chunked: %d", resp.StatusCode)
				}
			}
			if taken := body.taken.Load(); taken > largest+16<<20 { // what the kernel's buffers take comes on top
				t.Errorf("chunked: %d bytes were taken", taken)
			}
		})
	}
}
