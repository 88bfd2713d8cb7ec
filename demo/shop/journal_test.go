package shop

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestJournal fills a volume, and holds that nothing can be written then, and again once it was cleared.
func TestJournal(t *testing.T) {
	e := &env{cfg: Config{Process: "order", Dir: t.TempDir()}}
	j, err := openJournal(e, "sales")
	if err != nil {
		t.Fatal(err)
	}
	var u unit
	j.equip(&u)
	add := func() error { return j.add(t.Context(), map[string]int{"line": 1}) }
	if err := add(); err != nil {
		t.Fatal(err)
	}
	u.faults[diskFill](Fault{Strength: 2000})
	eventually(t, "the volume is full", func() error {
		if err := add(); !errors.Is(err, syscall.ENOSPC) {
			return errors.Join(err, errors.New("there is room"))
		}
		return nil
	})
	u.faults[diskFill](Fault{})
	if err := add(); err != nil {
		t.Errorf("once it is cleared: %v", err)
	}
	u.close()
	left, err := filepath.Glob(filepath.Join(e.cfg.Dir, "volume-order", "*"))
	if err != nil || len(left) != 1 {
		t.Fatalf("left %v, %v; want the journal", left, err)
	}
	size := func() int64 {
		info, err := os.Stat(left[0])
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	before := size()
	if before == 0 {
		t.Error("nothing was written down")
	}
	again, err := openJournal(e, "sales")
	if err != nil {
		t.Fatal(err)
	}
	defer again.close()
	if again.used != before {
		t.Errorf("a new process counts %d bytes of %d", again.used, before)
	}
}
