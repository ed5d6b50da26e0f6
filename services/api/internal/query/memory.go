package query

import (
	"os"
	"strconv"
	"strings"
)

const (
	// fallbackMemory is the budget where nothing tells how much memory there is.
	fallbackMemory = 2 << 30
	// memoryShare of the machine's memory is the budget of queries where none is configured.
	memoryShare = 4
)

// defaultMemory is a quarter of what the machine, or the container, has.
func defaultMemory() int64 {
	total := int64(0)
	if raw, err := os.ReadFile("/proc/meminfo"); err == nil {
		total = memTotal(string(raw))
	}
	if raw, err := os.ReadFile("/sys/fs/cgroup/memory.max"); err == nil {
		limit, err := strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64)
		if err == nil && limit > 0 && (total == 0 || limit < total) {
			total = limit
		}
	}
	if total == 0 {
		return fallbackMemory
	}
	return total / memoryShare
}

// memTotal reads the line "MemTotal: 16384000 kB".
func memTotal(meminfo string) int64 {
	for line := range strings.Lines(meminfo) {
		fields := strings.Fields(line)
		if len(fields) >= 2 && fields[0] == "MemTotal:" {
			kilobytes, err := strconv.ParseInt(fields[1], 10, 64)
			if err == nil {
				return kilobytes << 10
			}
		}
	}
	return 0
}
