package da_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/agnes-platform/agnes/services/da"
)

// Who follows the record is recorded with each look; what is shown is what others do.
func TestFollowingTheRecordDoesNotShowItself(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	type entry = map[string]any
	record := []entry{{"seq": 1, "action": "server.start", "result": "ok"}}
	looks := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		after, err := strconv.Atoi(r.URL.Query().Get("after"))
		if err != nil { // the newest
			_ = json.NewEncoder(w).Encode(entry{"records": record[len(record)-1:], "more": true})
			return
		}
		found := record[after:]
		switch looks++; looks {
		case 1:
			record = append(record, entry{"seq": len(record) + 1, "action": "user.create", "result": "ok"}, entry{"seq": len(record) + 2, "action": "audit.read", "result": "ok", "params": entry{"text": "ann"}})
		case 3:
			cancel()
		}
		record = append(record, entry{"seq": len(record) + 1, "action": "audit.read", "result": "ok", "params": entry{"after": after}})
		_ = json.NewEncoder(w).Encode(entry{"records": found})
	}))
	defer server.Close()
	var out strings.Builder
	env := func(name string) string {
		return map[string]string{"DA_CONFIG_DIR": t.TempDir(), "DA_SERVER": server.URL, "DA_TOKEN": "agnes_pat_x"}[name]
	}
	if err := da.Run(ctx, da.Config{Args: []string{"admin", "audit", "--follow"}, Stdin: strings.NewReader(""), Stdout: &out, Stderr: io.Discard, Env: env}); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "user.create") || strings.Count(got, "audit.read") != 1 {
		t.Errorf("shown: %s", got)
	}
}
