package query

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/agnes-platform/agnes/services/api/internal/query/worker"
)

// TestMain is also what a process for queries runs: see children.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == worker.Argument {
		os.Exit(worker.Main(os.Stderr)) //nolint:forbidigo // here the test binary is the process of queries
	}
	goleak.VerifyTestMain(m)
}
