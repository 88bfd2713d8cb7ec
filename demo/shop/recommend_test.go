package shop

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestRecommendationsAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recommendations
		had := func(want bool) {
			t.Helper()
			if got := slices.Equal(r.get(time.Now()), []string{"a"}); got != want {
				t.Errorf("the cache answers: %v, want %v", got, want)
			}
		}
		had(false)
		r.put([]string{"a"}, time.Now())
		had(true)
		time.Sleep(recommendedFor)
		had(true)
		time.Sleep(time.Nanosecond)
		had(false)
		r.put([]string{"a"}, time.Now())
		r.live(time.Millisecond)
		had(false) // what there was has expired too
		r.put([]string{"a"}, time.Now())
		time.Sleep(2 * time.Millisecond)
		had(false)
		r.live(0)
		r.put([]string{"a"}, time.Now())
		time.Sleep(2 * time.Millisecond)
		had(true)
	})
}
