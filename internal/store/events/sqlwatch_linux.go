package events

import (
	"bytes"
	"os"
	"strconv"
	"time"
)

// killLarge kills a process whose resident memory passes limit, and tells whether it did. DuckDB's own limit leaves out
// what some of its functions hold.
func killLarge(p *os.Process, limit int64, stop <-chan struct{}) bool {
	path := "/proc/" + strconv.Itoa(p.Pid) + "/statm"
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return false
		case <-tick.C:
		}
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended, or is about to
		}
		fields := bytes.Fields(text)
		if len(fields) < 2 {
			continue
		}
		if pages, err := strconv.ParseInt(string(fields[1]), 10, 64); err == nil && pages*int64(os.Getpagesize()) > limit {
			return p.Kill() == nil
		}
	}
}
