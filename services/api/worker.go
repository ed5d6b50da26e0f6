package api

import (
	"os"
	"runtime"

	"github.com/agnes-platform/agnes/services/api/internal/query/worker"
)

// WorkerArgument is the one argument with which a binary that serves the api has to call QueryWorker
// and nothing else.
const WorkerArgument = worker.Argument

// QueryWorker answers the queries that the service that started this process sends it, and gives the
// exit code.
func QueryWorker() int { return worker.Main(os.Stderr) }

// OwnWorker is the command line for Config.Worker in a binary that calls QueryWorker for
// WorkerArgument, and in no other: one that ignores the argument would start itself without end. It is
// empty where processes for queries are not to be had.
func OwnWorker() []string {
	if runtime.GOOS != "linux" {
		return nil
	}
	return []string{"/proc/self/exe", WorkerArgument} // also where the file was replaced since
}
