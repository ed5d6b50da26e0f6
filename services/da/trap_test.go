package da_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agnes-platform/agnes/pkg/clienttest"
)

func TestTrap_D7_StatusCountsTablesNotFiles(t *testing.T) {
	t.Parallel()
	a := newAnalyst(t)
	a.api.Publish(a.versioned("orders", 1, 3), a.versioned("customers", 1, 2))
	a.must("sync", "--quiet")
	for _, args := range [][]string{{"status", "--json"}, {"status", "--local", "--json"}} {
		var report struct {
			Workspace struct{ Tables int }
			Tables    []struct{ Table string }
		}
		if err := json.Unmarshal([]byte(a.must(args...)), &report); err != nil {
			t.Fatal(err)
		}
		if report.Workspace.Tables != 2 || len(report.Tables) != 2 {
			t.Errorf("%v: %+v", args, report)
		}
	}
}

func TestTrap_D12_TheExitCodeIsZeroOnlyWhenAllIsDone(t *testing.T) {
	t.Parallel()
	a := newAnalyst(t)
	a.api.Publish(a.versioned("orders", 1, 1), a.versioned("customers", 1, 1))
	a.api.Inject(clienttest.Fault{Path: "/data/orders", Status: 403})
	cmd, out := a.start("sync")
	_ = cmd.Wait()
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(out.String(), "Downloaded: 1 table ") || !strings.Contains(out.String(), "Errors: 1\n") {
		t.Errorf("exit %d\n%s", cmd.ProcessState.ExitCode(), out)
	}
}

func TestTrap_O8_NoSecretInOutputOrInOpenFiles(t *testing.T) {
	t.Parallel()
	a := newAnalyst(t)
	a.api.Publish(a.versioned("orders", 1, 1))
	secret := a.api.Token("u-1", "session")
	a.env = append(a.env, "DA_TOKEN="+secret, "DA_STREAM_RETRIES=0")
	a.must("login", "--email", "ann@example.com", "--password", "password")
	a.must("sync", "--quiet")
	for _, fault := range []clienttest.Fault{
		{}, {Status: 401}, {Status: 500}, {Page: true}, {Cut: clienttest.Bytes(0)}, {Cut: clienttest.Bytes(10)},
	} {
		a.api.Heal()
		a.api.Inject(fault)
		for _, args := range [][]string{
			{"whoami"}, {"status"}, {"diagnose"}, {"sync"}, {"sync", "--json"}, {"query", "--remote", "SELECT 1"}, {"admin", "list"},
			{"token", "create", "--name", "x", "--json", "--nonsense"}, {"login", "--email", "ann@example.com", "--password", "hunter2-wrong"},
			{"login", "--token", secret + "-wrong"}, {"whoami", "--server", "https://ann:hunter2@example.com"},
		} {
			cmd, out := a.start(args...)
			_ = cmd.Wait()
			for _, text := range []string{secret, "hunter2"} {
				if strings.Contains(out.String(), text) {
					t.Errorf("da %s tells a secret:\n%s", strings.Join(args, " "), out)
				}
			}
		}
	}
	err := filepath.WalkDir(a.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if strings.Contains(string(raw), "secret-") && (filepath.Base(path) != "token.json" || info.Mode().Perm() != 0o600) {
			t.Errorf("%s holds a secret, with mode %s", path, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
