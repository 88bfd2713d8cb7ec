package shop

import (
	"crypto/sha256"
	"math"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

// memoryLimit is what a process of the shop may use, as a container's limit would have it.
const memoryLimit = 128 << 20

// limitProcess gives this process one processor and memoryLimit, as a container would.
func limitProcess() {
	runtime.GOMAXPROCS(1)
	debug.SetMemoryLimit(memoryLimit)
}

// The faults by which every process can take a resource from itself.
const (
	cpuHog     = "cpu-hog"     // Strength is the number of goroutines that compute without end
	memoryLeak = "memory-leak" // Strength is in MiB a second
)

// equip adds to u the faults that every process of the shop's own has, and takes them back when it closes.
func (o *own) equip(u *unit) {
	if u.faults == nil {
		u.faults = map[string]func(Fault){}
	}
	var hog, leak task
	u.faults[slowCode] = o.set
	u.faults[errorsIn] = o.set
	u.faults[unresolved] = o.set
	u.faults[cpuHog] = func(f Fault) {
		n := int(min(f.Strength, 64))
		hog.restart(n > 0, func(stop <-chan struct{}) { compute(n, stop) })
	}
	u.faults[memoryLeak] = func(f Fault) {
		rate := f.Strength * (1 << 20)
		leak.restart(rate > 0, func(stop <-chan struct{}) { o.cache.hoard(rate, stop) })
	}
	last := u.close
	u.close = func() {
		hog.restart(false, nil)
		leak.restart(false, nil)
		if last != nil {
			last()
		}
	}
}

// task is something that goes on until it is told to stop. The zero value does nothing.
type task struct {
	mu   sync.Mutex
	stop chan struct{} // Guarded by mu; nil while nothing goes on.
	done chan struct{}
}

// restart stops what goes on, waits for it, and, if on, begins f.
func (t *task) restart(on bool, f func(stop <-chan struct{})) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stop != nil {
		close(t.stop)
		<-t.done
		t.stop = nil
	}
	if !on {
		return
	}
	stop, done := make(chan struct{}), make(chan struct{})
	t.stop, t.done = stop, done
	go func() {
		defer close(done)
		f(stop)
	}()
}

// compute keeps n goroutines busy. A process that has one processor does so on the machine's last core, so that it
// starves itself and not its neighbours.
func compute(n int, stop <-chan struct{}) {
	if runtime.GOMAXPROCS(0) == 1 {
		unpin := pin()
		defer unpin()
	}
	var busy sync.WaitGroup
	for i := range n {
		busy.Go(func() {
			sum := sha256.Sum256([]byte{byte(i)})
			for {
				select {
				case <-stop:
					return
				default:
					for range 1000 {
						sum = sha256.Sum256(sum[:])
					}
				}
			}
		})
	}
	busy.Wait()
}

// cache is what a process remembers of its requests. It is meant to be small, so whoever looks into it, or looks for
// something to forget, has it to themselves.
type cache struct {
	mu     sync.Mutex
	head   *entry   // Guarded by mu.
	recent []*entry // Guarded by mu.
}

// entry is small, and full of pointers.
type entry struct {
	next, near, far *entry
	used            [3]uint64
}

// see is a request that looks into the cache.
func (c *cache) see() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.head != nil {
		c.head.used[0]++
	}
}

// grow adds n entries that nobody will forget.
func (c *cache) grow(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.recent == nil {
		c.recent = make([]*entry, 1<<18)
	}
	for range n {
		i, k := rand.IntN(len(c.recent)), rand.IntN(len(c.recent))
		c.head = &entry{next: c.head, near: c.recent[i], far: c.recent[k]}
		c.recent[i] = c.head
	}
}

// evictFor bounds a search for entries to forget.
const evictFor = 400 * time.Millisecond

// evict looks for entries that were not used for long, and finds none: that is the bug.
func (c *cache) evict() (old int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	began, n := time.Now(), 0
	for e := c.head; e != nil; e = e.next {
		if e.near != nil && e.near.used[1] > e.used[1] || e.far != nil && e.far.used[2] > e.used[2] {
			old++
		}
		if n++; n%4096 == 0 && time.Since(began) > evictFor {
			break
		}
	}
	return old
}

// empty forgets everything.
func (c *cache) empty() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.head, c.recent = nil, nil // the garbage collector is at work already
}

// hoard fills the cache by rate bytes a second until stop. Near the process' limit memory is short: the garbage
// collector works without a break, and so does the search for what could be forgotten, behind which requests wait. It
// ends a seventh above the limit, for the machine's sake.
func (c *cache) hoard(rate float64, stop <-chan struct{}) {
	const every, size = 50 * time.Millisecond, 48
	limit := debug.SetMemoryLimit(-1)
	if limit == math.MaxInt64 {
		limit = memoryLimit
	}
	used := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	tick := time.NewTicker(every)
	defer tick.Stop()
	defer c.empty()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		metrics.Read(used)
		share := float64(used[0].Value.Uint64()-used[1].Value.Uint64()) / float64(limit)
		if share < 1.15 {
			c.grow(int(rate * every.Seconds() / size))
		}
		if share > 0.9 {
			c.evict()
		}
	}
}
