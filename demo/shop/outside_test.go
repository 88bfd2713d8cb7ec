package shop

import (
	"testing"
	"time"
)

// TestQuota holds that what is refused counts, and that whoever waits is served again.
func TestQuota(t *testing.T) {
	q := quota{most: 3, within: time.Second}
	at := time.Unix(1000, 0)
	for i, c := range []struct {
		after time.Duration
		want  bool
	}{
		{0, true}, {0, true}, {0, true}, {200 * time.Millisecond, false}, {700 * time.Millisecond, false},
		{200 * time.Millisecond, true}, // the first three are forgotten, the refused ones are not
		{10 * time.Millisecond, false},
		{1100 * time.Millisecond, true},
	} {
		at = at.Add(c.after)
		if got := q.take(at); got != c.want {
			t.Errorf("request %d is within the quota: %v, want %v", i, got, c.want)
		}
	}
}
