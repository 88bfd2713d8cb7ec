package load

import (
	"math"
	"sync/atomic"
	"time"
)

// histogram counts durations in buckets that are 2 % wide, from a microsecond to an hour and more. It is safe for
// concurrent use and never grows.
type histogram struct {
	counts  [1200]atomic.Int64
	largest atomic.Int64
}

const growth = 1.02

func (h *histogram) add(d time.Duration) {
	i := 0
	if us := float64(d) / 1e3; us > 1 {
		i = min(int(math.Log(us)/math.Log(growth)), len(h.counts)-1)
	}
	h.counts[i].Add(1)
	for {
		old := h.largest.Load()
		if int64(d) <= old || h.largest.CompareAndSwap(old, int64(d)) {
			return
		}
	}
}

// quantile is in seconds, at most 2 % too large; 0 of an empty histogram.
func (h *histogram) quantile(q float64) float64 {
	var total int64
	for i := range h.counts {
		total += h.counts[i].Load()
	}
	rank := int64(math.Ceil(q * float64(total)))
	var seen int64
	for i := range h.counts {
		seen += h.counts[i].Load()
		if seen >= rank && rank > 0 {
			return min(math.Pow(growth, float64(i+1))/1e6, h.max())
		}
	}
	return 0
}

func (h *histogram) max() float64 { return float64(h.largest.Load()) / 1e9 }
