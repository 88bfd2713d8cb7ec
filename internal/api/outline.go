package api

import (
	"context"
	"time"

	"triage/internal/locate"
	"triage/internal/model"
	"triage/internal/store"
)

// outlineAnswer is a trace without its details, small enough for 100,000 spans: a list for each property, all of the
// same length, in the order of a waterfall. Times are ns, Start after From.
type outlineAnswer struct {
	TraceID  model.TraceID `json:"trace_id"`
	From     time.Time     `json:"from"`
	Duration int64         `json:"duration_ns"`
	// Services and Names are what ServiceOf and NameOf count into.
	Services []string `json:"services"`
	Names    []string `json:"names"`

	ID        []model.SpanID `json:"id"`
	Depth     []int          `json:"depth"`
	Below     []int          `json:"below"`
	Start     []int64        `json:"start_ns"`
	Length    []int64        `json:"length_ns"`
	Self      []int64        `json:"self_ns"`
	Path      []int64        `json:"path_ns"` // -1 off the critical path
	ServiceOf []int          `json:"service"`
	NameOf    []int          `json:"name"`
	Kind      []int          `json:"kind"`   // OpenTelemetry's numbers
	Status    []int          `json:"status"` // OpenTelemetry's numbers
	// Skew is by how much the clocks of two services differ at most; nil where it tells nothing.
	Skew *clockSkew `json:"skew,omitempty"`
	// Partial says why spans may be missing.
	Partial string `json:"partial"`
}

// clockSkew is that the times of one service had to be moved to lie within those of its caller.
type clockSkew struct {
	Caller string `json:"caller"`
	Called string `json:"called"`
	Moved  int64  `json:"moved_ns"` // below zero if the called service's clock is ahead
}

// leastSkew is what clocks of one data centre may differ by.
const leastSkew = int64(10 * time.Millisecond)

// skewOf finds the two services of a trace whose clocks differ most, by how far spans were moved into their parents.
func skewOf(rows []locate.Row) (out *clockSkew) {
	var above []int // the last row of each depth
	moved := func(i int) int64 { return rows[i].Start - rows[i].Span.Start }
	for i, r := range rows {
		above = append(above[:min(r.Depth, len(above))], i)
		if r.Depth == 0 || r.Depth >= len(above) {
			continue
		}
		p := above[r.Depth-1]
		by := moved(i) - moved(p)
		if caller, called := rows[p].Span.Service(), r.Span.Service(); caller != called && abs(by) >= leastSkew && (out == nil || abs(by) > abs(out.Moved)) {
			out = &clockSkew{caller, called, by}
		}
	}
	return out
}

func abs(n int64) int64 { return max(n, -n) }

func (s *server) outline(ctx context.Context, in *traceParams) (*body, error) {
	id, err := model.ParseTraceID(in.ID)
	if err != nil {
		return nil, bad(err)
	}
	ctx, missing := store.AllowPartial(ctx)
	spans, err := s.Events.Trace(ctx, tenant(in.Tenant), id)
	if err != nil {
		return nil, err
	}
	rows := locate.Outline(spans)
	out := outlined(id, rows)
	out.Skew = skewOf(rows)
	out.Partial = missing.String()
	return answer(out)
}

func outlined(id model.TraceID, rows []locate.Row) outlineAnswer {
	from, to := rows[0].Start, rows[0].Start
	for i := range rows {
		from, to = min(from, rows[i].Start), max(to, rows[i].Start+rows[i].Span.Duration)
	}
	n := len(rows)
	out := outlineAnswer{TraceID: id, From: time.Unix(0, from).UTC(), Duration: to - from,
		ID: make([]model.SpanID, n), Depth: make([]int, n), Below: make([]int, n), Start: make([]int64, n), Length: make([]int64, n),
		Self: make([]int64, n), Path: make([]int64, n), ServiceOf: make([]int, n), NameOf: make([]int, n), Kind: make([]int, n), Status: make([]int, n)}
	services, names := dictionary{}, dictionary{}
	for i, r := range rows {
		out.ID[i], out.Depth[i], out.Below[i] = r.Span.SpanID, r.Depth, r.Below
		out.Start[i], out.Length[i], out.Self[i], out.Path[i] = r.Start-from, r.Span.Duration, r.Self, -1
		if r.OnPath {
			out.Path[i] = r.Path
		}
		out.ServiceOf[i], out.NameOf[i] = services.number(r.Span.Service()), names.number(r.Span.Name)
		out.Kind[i], out.Status[i] = int(r.Span.Kind), int(r.Span.Status)
	}
	out.Services, out.Names = services.words(), names.words()
	return out
}

// dictionary numbers words in the order in which they come.
type dictionary map[string]int

func (d dictionary) number(word string) int {
	n, ok := d[word]
	if !ok {
		n = len(d)
		d[word] = n
	}
	return n
}

func (d dictionary) words() []string {
	out := make([]string, len(d))
	for w, i := range d {
		out[i] = w
	}
	return out
}
