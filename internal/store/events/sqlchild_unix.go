//go:build unix

package events

import (
	"fmt"
	"syscall"
	"time"
)

// limitProcess sets the system's limits on the child. DuckDB's own limit of memory leaves out strings and may be passed
// by as much again, so the system's is the one that holds.
func limitProcess(l SQLLimits) error {
	seconds := uint64(l.Time/time.Second+1) * uint64(max(1, l.Threads))
	for _, r := range []struct {
		resource int
		value    uint64
	}{
		{syscall.RLIMIT_DATA, 2*uint64(l.MemoryLimit) + 512<<20},
		{syscall.RLIMIT_CPU, seconds + 1},
		{syscall.RLIMIT_FSIZE, 1 << 30},
		{syscall.RLIMIT_CORE, 0},
	} {
		if err := syscall.Setrlimit(r.resource, &syscall.Rlimit{Cur: r.value, Max: r.value}); err != nil {
			return fmt.Errorf("resource %d: %w", r.resource, err)
		}
	}
	return nil
}
