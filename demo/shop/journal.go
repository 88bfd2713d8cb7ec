package shop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// volumeSize is how much a process' volume holds, as a container's would.
const volumeSize = 64 << 20

// journal is what a service writes down before it acts, on a volume of the process' own. It is safe for concurrent use.
type journal struct {
	// name is the file's, for errors.
	name string

	mu sync.Mutex
	// lines is the journal and debris what else lies on the volume; used is how much both take. Guarded by mu.
	lines, debris *os.File
	used          int64
}

// openJournal opens a process' journal, which an earlier process of the same name may have begun.
func openJournal(e *env, name string) (*journal, error) {
	dir := filepath.Join(e.cfg.Dir, "volume-"+e.cfg.Process)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the volume: %w", err)
	}
	j := &journal{name: name}
	var err error
	if j.lines, err = os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	if j.debris, err = os.CreateTemp(dir, "core-"); err != nil {
		_ = j.lines.Close()
		return nil, fmt.Errorf("use the volume: %w", err)
	}
	info, err := j.lines.Stat()
	if err != nil {
		j.close()
		return nil, fmt.Errorf("measure the volume: %w", err)
	}
	j.used = info.Size()
	return j, nil
}

// add writes a line, or says why not, as the operating system does. The error is recorded on the request's span.
func (j *journal) add(ctx context.Context, v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.used+int64(len(line)) > volumeSize {
		err = &fs.PathError{Op: "write", Path: "/var/journal/" + j.name, Err: syscall.ENOSPC}
	} else {
		var n int
		n, err = j.lines.Write(line)
		j.used += int64(n)
	}
	if err != nil {
		return recorded(ctx, fmt.Errorf("write journal: %w", err))
	}
	return nil
}

// diskFill is something that leaves ever more on the volume. Strength is in MiB a second.
const diskFill = "disk-fill"

// fill leaves perSecond bytes a second on the volume, until there is no room left or stop, and then clears them away.
// The file has that length and no blocks, for the machine's sake.
func (j *journal) fill(perSecond float64, stop <-chan struct{}) {
	const every = 50 * time.Millisecond
	tick := time.NewTicker(every)
	defer tick.Stop()
	var left int64
	defer func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		if err := j.debris.Truncate(0); err == nil || errors.Is(err, os.ErrClosed) {
			j.used -= left
		}
	}()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		j.mu.Lock()
		if more := min(int64(perSecond*every.Seconds()), volumeSize-j.used); j.debris.Truncate(left+more) == nil {
			left += more
			j.used += more
		}
		j.mu.Unlock()
	}
}

// equip gives a unit the fault that fills the volume, and closes the journal after everything else.
func (j *journal) equip(u *unit) {
	if u.faults == nil {
		u.faults = map[string]func(Fault){}
	}
	var filling task
	u.faults[diskFill] = func(f Fault) {
		filling.restart(f.Strength > 0, func(stop <-chan struct{}) { j.fill(f.Strength*(1<<20), stop) })
	}
	last := u.close
	u.close = func() {
		filling.restart(false, nil)
		if last != nil {
			last()
		}
		j.close()
	}
}

func (j *journal) close() {
	_ = j.lines.Close()
	name := j.debris.Name()
	_ = j.debris.Close()
	_ = os.Remove(name)
}
