package api

import (
	"os"
	"runtime"
	"slices"

	"github.com/agnes-platform/agnes/pkg/service"
	"github.com/agnes-platform/agnes/services/api/internal/query/attach"
	"github.com/agnes-platform/agnes/services/api/internal/query/worker"
)

// WorkerArgument and FetcherArgument are the one argument with which a binary that serves the api is a process that
// answers queries, or one that fetches a remote table: it does what Processes says, and nothing else.
const (
	WorkerArgument  = worker.Argument
	FetcherArgument = attach.Argument
)

// Processes are what the api starts of its own binary.
func Processes() []service.Subcommand {
	return []service.Subcommand{
		{Name: WorkerArgument, Run: func() int { return worker.Main(os.Stderr) }},
		{Name: FetcherArgument, Run: func() int { return attach.Main(os.Stdin, os.Stdout, os.Stderr) }},
	}
}

// Own is the command for Config.Own in a binary that has Processes, and in no other: one that ignores the arguments
// would start itself without end. It is empty where processes for queries are not to be had.
func Own() []string {
	if runtime.GOOS != "linux" {
		return nil
	}
	return []string{"/proc/self/exe"} // also where the file was replaced since
}

// process is the command line of one of Processes; empty where there are none.
func (c Config) process(argument string) []string {
	if len(c.Own) == 0 {
		return nil
	}
	return append(slices.Clone(c.Own), argument)
}
