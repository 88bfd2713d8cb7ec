package app

import (
	"os"
	"runtime/debug"
)

// gcPercent is how much garbage may come before it is collected, in percent of what is in use. Ingest makes two kilobytes of
// garbage a span and has 100 to 250 MB in use, most of it the slice that is being flushed. In single runs of BenchmarkIngest a
// span took 27 us of processor time at Go's usual 100 and 22 at 300, which took much more memory; 200 lies between them.
const gcPercent = 200

// tuneGC sets the pace of garbage collection, unless the user did by Go's own variable.
func tuneGC() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
