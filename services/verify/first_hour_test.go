//go:build verify

package verify_test

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// commandsOf gives what a page tells to type: its indented blocks, in their order.
func commandsOf(t *testing.T, page string) string {
	t.Helper()
	raw, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, line := range strings.Split(string(raw), "\n") {
		if typed, found := strings.CutPrefix(line, "    "); found {
			b.WriteString(typed + "\n")
		}
	}
	return b.String()
}

// TestTheFirstHourRunsAsItIsWritten types what docs/first-hour.md says, on a machine where nothing is set up.
func TestTheFirstHourRunsAsItIsWritten(t *testing.T) {
	t.Parallel()
	addr, home := freeAddr(t), t.TempDir()
	typed := commandsOf(t, "../../docs/first-hour.md")
	for _, built := range []string{"make build\n", "export PATH=\"$PWD/bin:$PATH\"\n"} {
		if !strings.Contains(typed, built) {
			t.Fatalf("the page no longer says %q", built)
		}
		typed = strings.ReplaceAll(typed, built, "")
	}
	typed = strings.ReplaceAll(typed, "127.0.0.1:8000", addr)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	shell := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", "trap 'kill $(jobs -p)' EXIT\n"+typed)
	shell.Dir = home
	shell.Env = []string{"PATH=" + binaries + ":" + os.Getenv("PATH"), "HOME=" + home, "TZ=UTC", "AGNES_API_ADDR=" + addr}
	shell.WaitDelay = 20 * time.Second
	out, err := shell.CombinedOutput()
	text := string(out)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for _, want := range []string{
		"Signed in to http://" + addr + " as admin@example.com (admin).",
		"http://" + addr + "/auth/password/setup?", // Ann's invitation
		"group support: support_tickets",
		"not orders, as it should be",
		"Signed in to http://" + addr + " as cid@example.com (analyst).",
		"there are no orders for Cid",
		"cid@example.com │", // who asked
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	for _, secret := range []string{"choose something longer", "something else, longer"} {
		if strings.Contains(text, secret) {
			t.Errorf("a password was shown:\n%s", text)
		}
	}
}
