package proxy

import (
	"errors"
	"fmt"
	"time"
)

// Way is a direction through a proxy.
type Way int

// The ways.
const (
	Both    Way = iota
	Request     // from the caller to the callee
	Answer      // from the callee to the caller
)

// Fault is a disturbance of the traffic through a proxy. Its parts may be combined.
type Fault struct {
	// Delay is added to all that travels, give or take Jitter, which is uniform and at most Delay.
	Delay, Jitter time.Duration
	// Bandwidth is in bytes a second, in steps of a thousand; 0 is unlimited.
	Bandwidth int64
	// Stall lets nothing arrive any more. What was sent meanwhile arrives when the fault is removed.
	Stall bool
	// Way is the direction that Delay, Bandwidth and Stall disturb.
	Way Way
	// Reset breaks a connection that long after it next carries anything, so that it breaks in use; 0 is never.
	Reset time.Duration
	// Refuse breaks open connections, and new ones as soon as they're made.
	Refuse bool
	// Share is the share of the connections that are hit, in (0, 1]; 0 means all. Lots are cast once for each
	// connection.
	Share float64
}

// validate returns all that is wrong.
func (f Fault) validate() error {
	var errs []error
	if f.Delay < 0 || f.Jitter < 0 || f.Jitter > f.Delay {
		errs = append(errs, fmt.Errorf("delay %s with jitter %s: neither may be negative, nor the jitter exceed the delay", f.Delay, f.Jitter))
	}
	if f.Bandwidth < 0 {
		errs = append(errs, fmt.Errorf("bandwidth %d: negative", f.Bandwidth))
	}
	if f.Way < Both || f.Way > Answer {
		errs = append(errs, fmt.Errorf("way %d: unknown", f.Way))
	}
	if f.Reset < 0 {
		errs = append(errs, fmt.Errorf("reset after %s: negative", f.Reset))
	}
	if !(f.Share >= 0 && f.Share <= 1) {
		errs = append(errs, fmt.Errorf("share %v: not in [0, 1]", f.Share))
	}
	if f.Delay == 0 && f.Bandwidth == 0 && !f.Stall && f.Reset == 0 && !f.Refuse {
		errs = append(errs, errors.New("nothing to disturb"))
	}
	return errors.Join(errs...)
}

// effect is what several faults together do to one connection.
type effect struct {
	ways   [2]shape // to the callee, to the caller
	reset  time.Duration
	refuse bool
}

// shape is what they do to one of its ways.
type shape struct {
	delay, jitter time.Duration
	bandwidth     int64
	stall         bool
}

// add puts one more fault on top: delays add up, and otherwise the worst counts.
func (e *effect) add(f Fault) {
	for i, way := range []Way{Request, Answer} {
		if f.Way != Both && f.Way != way {
			continue
		}
		s := &e.ways[i]
		s.delay += f.Delay
		s.jitter += f.Jitter
		s.bandwidth = least(s.bandwidth, f.Bandwidth)
		s.stall = s.stall || f.Stall
	}
	e.reset = least(e.reset, f.Reset)
	e.refuse = e.refuse || f.Refuse
}

// least is the smaller of two limits, of which 0 is none.
func least[T int64 | time.Duration](a, b T) T {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}
