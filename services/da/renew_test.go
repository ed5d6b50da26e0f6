package da_test

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agnes-platform/agnes/pkg/clienttest"
	"github.com/agnes-platform/agnes/services/da"
)

// Several commands at once find one ageing session: it is exchanged once, and none of them is signed out.
func TestOneSessionIsRenewedOnceByManyCommands(t *testing.T) {
	t.Parallel()
	api := clienttest.New()
	defer api.Close()
	dir := t.TempDir()
	raw, err := json.Marshal(map[string]string{
		"access_token": api.Session("u-1", time.Now().Add(-20*time.Hour), time.Now().Add(4*time.Hour)), "email": "ann@example.com", "role": "admin", "server": api.URL,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "token.json"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	env := func(name string) string {
		return map[string]string{"DA_CONFIG_DIR": dir, "DA_SERVER": api.URL}[name]
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			var told strings.Builder
			if err := da.Run(t.Context(), da.Config{Args: []string{"sessions", "list"}, Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: &told, Env: env}); err != nil {
				t.Errorf("%v: %s", err, told.String())
			}
		})
	}
	all.Wait()
	renewals := 0
	for _, r := range api.Requests() {
		if strings.HasPrefix(r, "POST /auth/refresh") {
			renewals++
		}
	}
	if renewals != 1 {
		t.Errorf("the session was exchanged %d times", renewals)
	}
}
