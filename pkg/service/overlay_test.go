package service_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/agnes-platform/agnes/pkg/service"
)

func TestOverlayIsSetWhereTheEnvironmentSaysNothing(t *testing.T) {
	dir := t.TempDir()
	if names, err := service.ApplyOverlay(dir); err != nil || len(names) != 0 {
		t.Errorf("without a file: %v %v", names, err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	const text = "# a comment\n\nAGNES_TEST_SET=overlay\nAGNES_TEST_EMPTY=a=b #c\r\n AGNES_TEST_NEW = $x \"y\" \nno line\n1X=2\nAGNES_TEST_NOTHING=\n"
	if err := os.WriteFile(filepath.Join(dir, "state", service.OverlayFile), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AGNES_TEST_SET", "environment")
	t.Setenv("AGNES_TEST_EMPTY", "")
	t.Setenv("AGNES_TEST_NEW", "") // so that it is taken back when the test ends
	names, err := service.ApplyOverlay(dir)
	if err != nil || fmt.Sprint(names) != "[AGNES_TEST_EMPTY AGNES_TEST_NEW]" {
		t.Errorf("%v %v", names, err)
	}
	for name, want := range map[string]string{"AGNES_TEST_SET": "environment", "AGNES_TEST_EMPTY": "a=b #c", "AGNES_TEST_NEW": `$x "y"`} {
		if got := os.Getenv(name); got != want {
			t.Errorf("%s is %q, not %q", name, got, want)
		}
	}
}
