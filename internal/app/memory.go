package app

import (
	"os"
	"runtime/debug"
)

// gcPercent is how much garbage may come before it is collected, in percent of what is in use. Ingest makes two kilobytes of
// garbage a span and has little in use, so that Go's usual 100 would spend a fifth of the processors' time on collecting.
const gcPercent = 200

// tuneGC sets the pace of garbage collection, unless the user did by Go's own variable.
func tuneGC() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
