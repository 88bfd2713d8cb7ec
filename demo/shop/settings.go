package shop

import (
	"fmt"
	"strconv"
	"sync/atomic"
	"time"
)

// duration is a setting that is read whenever it is used.
type duration struct {
	standard time.Duration
	now      atomic.Int64 // 0 is the standard
}

func (d *duration) get() time.Duration {
	if now := d.now.Load(); now > 0 {
		return time.Duration(now)
	}
	return d.standard
}

// set takes "1.5s" and the like; nothing is the standard again.
func (d *duration) set(value string) error {
	if value == "" {
		d.now.Store(0)
		return nil
	}
	v, err := time.ParseDuration(value)
	if err != nil {
		return err
	}
	if v <= 0 || v > time.Hour {
		return fmt.Errorf("%s is outside of (0s, 1h]", value)
	}
	d.now.Store(int64(v))
	return nil
}

// count is a setting that is handed on when it changes.
func count(standard, most int, apply func(int)) func(value string) error {
	return func(value string) error {
		if value == "" {
			apply(standard)
			return nil
		}
		n, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("%q is no number", value)
		}
		if n < 1 || n > most {
			return fmt.Errorf("%d is outside of [1, %d]", n, most)
		}
		apply(n)
		return nil
	}
}
