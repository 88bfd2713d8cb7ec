package locate_test

import (
	"math"
	"testing"
	"time"

	"triage/internal/locate"
	"triage/internal/model"
)

func TestSkew(t *testing.T) {
	set := func(behind int64) (out []locate.Trace) {
		for range 4 {
			out = append(out, locate.Trace{Spans: []model.Span{
				span(1, 0, "web", model.SpanServer, 1000, 100), span(2, 1, "web", model.SpanClient, 1010, 80),
				span(3, 2, "cart", model.SpanServer, 1020+behind, 60)}})
		}
		return out
	}
	for behind, want := range map[int64]time.Duration{0: 0, 300: 300 * time.Millisecond, -500: 500 * time.Millisecond} {
		if got := locate.Skew(set(behind)); (got - want).Abs() > 20*time.Millisecond {
			t.Errorf("%d ms: %s, want about %s", behind, got, want)
		}
	}
	if got := locate.Skew(set(300)[:2]); got != 0 {
		t.Errorf("two calls tell %s", got)
	}
}

func TestKept(t *testing.T) {
	trace := func(state string) locate.Trace {
		s := span(1, 0, "web", model.SpanServer, 0, 10)
		s.TraceState = state
		return locate.Trace{Spans: []model.Span{s}}
	}
	for state, want := range map[string]float64{
		"": 1, "vendor=x": 1, "ot=rv:12345678901234": 1, "ot=th:0": 1, "ot=th:8": 0.5, "vendor=x, ot=rv:ab;th:c": 0.25,
		"ot=th:ffffffffffffff": 1.0 / (1 << 56), "ot=th:": 1, "ot=th:fffffffffffffff": 1, "ot=th:zz": 1,
	} {
		if got := locate.Kept([]locate.Trace{trace(state)}); math.Abs(got-want) > 1e-12 {
			t.Errorf("%q: %g, want %g", state, got, want)
		}
	}
	// One of two requests, and one of four: two traces of six.
	if got := locate.Kept([]locate.Trace{trace("ot=th:8")}, []locate.Trace{trace("ot=th:c")}); math.Abs(got-1.0/3) > 1e-12 {
		t.Errorf("together %g, want a third", got)
	}
	if got := locate.Kept(); got != 1 {
		t.Errorf("of nothing %g", got)
	}
}
