//go:build !linux

package events

import "os"

// killLarge only waits: where there is no /proc, DuckDB's own limit has to do.
func killLarge(_ *os.Process, _ int64, stop <-chan struct{}) bool {
	<-stop
	return false
}
