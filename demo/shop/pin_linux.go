package shop

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// pin moves the process to the last of the cores that it may use, until the function that it returns is called. It is
// left where it is if there is no other core, or the kernel does not let it.
func pin() (unpin func()) {
	var all, last unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil || all.Count() < 2 {
		return func() {}
	}
	for core := range 64 * len(all) {
		if all.IsSet(core) {
			last.Zero()
			last.Set(core)
		}
	}
	move(&last)
	return func() { move(&all) }
}

// move gives every thread of the process a set of cores. A thread that is made meanwhile has that of the one that
// makes it, so a second look finds those of the first.
func move(to *unix.CPUSet) {
	for range 2 {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return
		}
		for _, t := range threads {
			if id, err := strconv.Atoi(t.Name()); err == nil {
				_ = unix.SchedSetaffinity(id, to) // it may have ended
			}
		}
	}
}
