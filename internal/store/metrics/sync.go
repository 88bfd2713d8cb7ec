package metrics

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// syncEvery bounds what a power failure takes.
const syncEvery = time.Second

// Run syncs the write-ahead logs every second until ctx ends, and once more then. The TSDB itself syncs a segment only
// when it is full, and gives no handle on the present one, so it is opened by path: that syncs the same file.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(syncEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.syncAll()
		case <-ctx.Done():
			s.syncAll()
			return nil
		}
	}
}

func (s *Store) syncAll() {
	for _, t := range s.opened() {
		if !t.written.Swap(false) {
			continue
		}
		if err := t.sync(); err != nil {
			t.written.Store(true) // try again
			s.counts.syncFailures.Inc()
			s.log.Error("metrics not synced", "tenant", t.name, "err", err)
			continue
		}
		s.counts.syncs.Inc()
	}
}

// sync makes durable what was committed before it was called: the newest segment of each log, and those that came
// after the one synced last.
func (t *tenant) sync() error {
	for _, log := range []string{"wal", "wbl"} {
		dir := filepath.Join(t.dir, log)
		entries, err := os.ReadDir(dir) // sorted by name, which is the order of segments
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		last := t.synced[log]
		created := false
		for _, e := range entries {
			if e.IsDir() || strings.Contains(e.Name(), ".") || e.Name() < last {
				continue
			}
			if err := syncPath(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
			created = created || e.Name() > t.synced[log]
			t.synced[log] = e.Name()
		}
		if created {
			if err := syncPath(dir); err != nil {
				return err
			}
		}
	}
	if err := t.meta.save(); err != nil {
		return fmt.Errorf("save metadata: %w", err)
	}
	return nil
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // truncated meanwhile, because blocks hold its samples
	}
	if err != nil {
		return err
	}
	err = f.Sync()
	return errors.Join(err, f.Close())
}
