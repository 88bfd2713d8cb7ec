package explain_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"triage/internal/explain"
	"triage/internal/locate"
	"triage/internal/model"
	"triage/internal/store"
)

var (
	onset  = time.Date(2026, 3, 2, 14, 0, 0, 0, time.UTC)
	bad    = store.Window{From: onset, To: onset.Add(20 * time.Second)}
	normal = store.Window{From: onset.Add(-time.Minute), To: onset}
)

func ops(service, operation string, n int64) store.OperationStat {
	return store.OperationStat{Service: service, Operation: operation, Kind: model.SpanServer, Count: n}
}

func TestTemplates(t *testing.T) {
	// The work shifts from reads to writes; writes have always logged. Then one line per write really is new, and
	// frontend complains of it.
	now := []store.OperationStat{ops("cart", "read", 50), ops("cart", "write", 500), ops("frontend", "buy", 500)}
	usual := []store.OperationStat{ops("cart", "read", 1000), ops("cart", "write", 20), ops("frontend", "buy", 20)}
	counts := []store.TemplateCount{
		{Service: "cart", Operation: "write", Template: 1, A: 500, B: 20, Sample: "written"},
		{Service: "cart", Operation: "read", Template: 2, A: 50, B: 1000, Sample: "read"},
		{Service: "cart", Operation: "write", Template: 3, Severity: 17, A: 400, Sample: "disk quota exceeded"},
		{Service: "frontend", Operation: "buy", Template: 4, Severity: 17, A: 400, Sample: "cart failed"},
		{Service: "cart", Operation: "admin", Template: 5, A: 30, Sample: "an operation never seen before"},
	}
	got := explain.Templates(counts, now, usual, bad, normal, []store.EdgeStat{{From: "frontend", To: "cart", Kind: store.EdgeCall}})
	var ids []uint64
	for _, s := range got {
		ids = append(ids, s.Template)
	}
	// The caller's line loses most of its weight, and may be gone altogether.
	if len(ids) == 0 || ids[0] != 3 || len(ids) > 2 {
		t.Errorf("shifted: %v", ids)
	}
}

func TestAttributes(t *testing.T) {
	d := store.Difference{A: 40, B: 2000, Values: []store.DifferenceValue{
		{Key: "user.id", Value: "u-1", A: 36, B: 4},
		{Key: "request.id", Value: "r-1", A: 1},
		{Key: "host.name", Value: "h-1", A: 20, B: 990},
		{Key: "error.type", Value: "timeout", A: 40},
		{Key: "http.route", Value: "/x", A: 25, B: 1100},
		{Key: "network.peer.port", Value: "51272", A: 20},
	}}
	got := explain.Attributes(d)
	if len(got) != 1 || got[0].Value != "u-1" {
		t.Errorf("got %+v", got)
	}
	// Among many values of chance none stands out.
	r := rand.New(rand.NewPCG(3, 3))
	found := 0
	for range 200 {
		d := store.Difference{A: 30, B: 600}
		values := map[int]*store.DifferenceValue{}
		for i := range 630 {
			k := r.IntN(300)
			if values[k] == nil {
				values[k] = &store.DifferenceValue{Key: "user.id", Value: fmt.Sprint(k)}
			}
			if i < 30 {
				values[k].A++
			} else {
				values[k].B++
			}
		}
		for k := range 300 {
			if values[k] != nil {
				d.Values = append(d.Values, *values[k])
			}
		}
		found += len(explain.Attributes(d))
	}
	if found > 4 {
		t.Errorf("%d values of chance in 200 differences", found)
	}
}

func usage(users map[string]explain.Used) explain.Usage {
	u := explain.Usage{By: map[string]map[string]explain.Used{"user.id": users}}
	for _, x := range users {
		u.Requests += x.Requests
		u.Seconds += x.Seconds
	}
	return u
}

func TestHolders(t *testing.T) {
	even := map[string]explain.Used{}
	for i := range 100 {
		even[fmt.Sprint(i)] = explain.Used{Requests: 4, Seconds: 0.04}
	}
	slower := map[string]explain.Used{}
	for i := range 100 {
		slower[fmt.Sprint(i)] = explain.Used{Requests: 4, Seconds: 4}
	}
	with := func(m map[string]explain.Used, id string, requests int64, seconds float64) map[string]explain.Used {
		c := map[string]explain.Used{id: {Requests: requests, Seconds: seconds}}
		for k, v := range m {
			if k != id {
				c[k] = v
			}
		}
		return c
	}
	for _, c := range []struct {
		name       string
		now, usual map[string]explain.Used
		want       string
	}{
		{"as usual", even, even, ""},
		{"everybody slower", slower, even, ""},
		{"one holds long", with(even, "7", 6, 30), even, "7"},
		{"a stranger holds long", with(even, "x", 6, 30), even, "x"},
		{"one sends many", with(even, "7", 800, 8), even, "7"},
		{"always the largest", with(even, "7", 800, 8), with(even, "7", 800, 8), ""},
		{"one long request by chance", with(even, "7", 1, 0.5), even, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ""
			if h := explain.Holders(explain.HeldSeconds, usage(c.now), usage(c.usual)); len(h) > 0 && h[0].Strength > 0.3 {
				got = h[0].Value
			}
			if got != c.want {
				t.Errorf("holder %q, want %q", got, c.want)
			}
		})
	}
}

func TestHoldersPreferTheExactName(t *testing.T) {
	u := usage(map[string]explain.Used{"7": {Requests: 10, Seconds: 30}, "8": {Requests: 40, Seconds: 1}})
	u.By["tenant.id"] = map[string]explain.Used{"acme": {Requests: 11, Seconds: 30.1}, "other": {Requests: 39, Seconds: 0.9}}
	before := usage(map[string]explain.Used{"7": {Requests: 1, Seconds: 0.01}, "8": {Requests: 40, Seconds: 1}})
	got := explain.Holders(explain.HeldSeconds, u, before)
	if len(got) == 0 || got[0].Key != "user.id" {
		t.Errorf("got %+v", got)
	}
}

func TestHeld(t *testing.T) {
	cart := &model.Resource{Service: "cart"}
	front := &model.Resource{Service: "frontend"}
	span := func(id, parent uint64, r *model.Resource, kind model.SpanKind, from, to int64, attrs ...model.Attr) model.Span {
		return model.Span{SpanID: model.SpanIDFrom(id), ParentID: model.SpanIDFrom(parent), Resource: r, Kind: kind, Start: from * 1e9, Duration: (to - from) * 1e9, Attrs: attrs}
	}
	db := model.Attr{Key: "db.system", Value: model.String("x")}
	user := model.Attr{Key: "user.id", Value: model.String("u")}
	spans := []model.Span{
		span(1, 0, front, model.SpanServer, 0, 20, user),
		span(2, 1, cart, model.SpanServer, 1, 18),
		span(3, 2, cart, model.SpanInternal, 2, 17),
		span(4, 3, cart, model.SpanClient, 5, 6, db), // waited until 5
		span(5, 3, cart, model.SpanClient, 14, 15, db),
		span(6, 9, cart, model.SpanClient, 7, 8, db), // its request has not ended
	}
	u := explain.Held([]locate.Trace{{Spans: spans}}, "cart", time.Unix(30, 0))
	if u.Requests != 2 || u.Seconds != 10+23 || u.By["user.id"]["u"].Seconds != 33 {
		t.Errorf("got %+v", u)
	}
	if u := explain.Held([]locate.Trace{{Spans: spans}}, "cart", time.Time{}); u.Seconds != 10+1 {
		t.Errorf("without a guess: %+v", u)
	}
}

func line(name, kind string, labels map[string]string, before, after float64) store.Line {
	l := store.Line{Name: name, Type: kind, Labels: labels, Start: normal.From, Step: 5 * time.Second}
	for at := l.Start; at.Before(bad.To); at = at.Add(l.Step) {
		v := before
		if !at.Before(onset) {
			v = after
		}
		l.Values = append(l.Values, v)
	}
	return l
}

func TestResources(t *testing.T) {
	used, idle := map[string]string{"state": "used"}, map[string]string{"state": "idle"}
	for _, c := range []struct {
		name  string
		lines []store.Line
		kind  explain.ResourceKind
		want  bool
	}{
		{"otelsql", []store.Line{line("db_sql_connection_max_open", "gauge", nil, 10, 10), line("db_sql_connection_open", "gauge", map[string]string{"status": "inuse"}, 1, 10),
			line("db_sql_connection_open", "gauge", map[string]string{"status": "idle"}, 9, 0), line("db_sql_connection_wait_total", "rate", nil, 0, 30)}, explain.Pool, true},
		{"dotted names", []store.Line{line("db.client.connection.max", "gauge", nil, 10, 10), line("db.client.connection.count", "gauge", used, 1, 10), line("db.client.connection.count", "gauge", idle, 9, 0)}, explain.Pool, true},
		{"hikari", []store.Line{line("hikaricp_connections_max", "gauge", nil, 10, 10), line("hikaricp_connections_active", "gauge", nil, 2, 10), line("hikaricp_connections_pending", "gauge", nil, 0, 12)}, explain.Pool, true},
		{"pgxpool", []store.Line{line("pgxpool_max_conns", "gauge", nil, 10, 10), line("pgxpool_acquired_conns", "gauge", nil, 2, 10)}, explain.Pool, true},
		{"busier but not full", []store.Line{line("hikaricp_connections_max", "gauge", nil, 10, 10), line("hikaricp_connections_active", "gauge", nil, 2, 5), line("hikaricp_connections_pending", "gauge", nil, 0, 1)}, explain.Pool, false},
		{"always full", []store.Line{line("hikaricp_connections_max", "gauge", nil, 10, 10), line("hikaricp_connections_active", "gauge", nil, 10, 10)}, explain.Pool, false},
		{"another library's limit", []store.Line{line("db_sql_connection_max_open", "gauge", nil, 10, 10), line("nats_connections_active", "gauge", nil, 10, 10)}, explain.Pool, false},
		{"cpu utilization", []store.Line{line("process_cpu_utilization", "gauge", nil, 0.2, 0.97)}, explain.CPU, true},
		{"cpu in per cent", []store.Line{line("container_cpu_utilization", "gauge", nil, 20, 97)}, explain.CPU, true},
		{"cpu time by state", []store.Line{line("process_cpu_time_seconds_total", "rate", map[string]string{"state": "user"}, 0.3, 1.5), line("process_cpu_time_seconds_total", "rate", map[string]string{"state": "system"}, 0.1, 0.45),
			line("go_processor_limit", "gauge", nil, 2, 2)}, explain.CPU, true},
		{"throttled", []store.Line{line("container_cpu_cfs_throttled_seconds_total", "rate", nil, 0, 0.6)}, explain.CPU, true},
		{"cpu as usual", []store.Line{line("process_cpu_utilization", "gauge", nil, 0.3, 0.4)}, explain.CPU, false},
		{"memory at its limit", []store.Line{line("container_memory_working_set_bytes", "gauge", nil, 2e8, 5e8), line("container_memory_limit_bytes", "gauge", nil, 5.1e8, 5.1e8)}, explain.Memory, true},
		{"memory without a limit", []store.Line{line("process_resident_memory_bytes", "gauge", nil, 2e8, 2.1e8), line("go_memory_limit_bytes", "gauge", nil, 9.2e18, 9.2e18)}, explain.Memory, false},
		{"descriptors", []store.Line{line("process_open_fds", "gauge", nil, 50, 1023), line("process_max_fds", "gauge", nil, 1024, 1024)}, explain.Descriptors, true},
		{"descriptors far from their limit", []store.Line{line("process_open_file_descriptor_count", "gauge", nil, 50, 60),
			line("process_open_file_descriptor_limit", "gauge", nil, 20000, 20000)}, explain.Descriptors, false},
		{"file system by state", []store.Line{line("system.filesystem.usage", "gauge", map[string]string{"state": "used", "mountpoint": "/data"}, 6e10, 9.99e10),
			line("system.filesystem.usage", "gauge", map[string]string{"state": "free", "mountpoint": "/data"}, 4e10, 1e8),
			line("system.filesystem.usage", "gauge", map[string]string{"state": "free", "mountpoint": "/"}, 4e10, 4e10)}, explain.Disk, true},
		{"file system's room", []store.Line{line("node_filesystem_avail_bytes", "gauge", nil, 4e9, 0), line("node_filesystem_size_bytes", "gauge", nil, 1e10, 1e10)}, explain.Disk, true},
		{"volume", []store.Line{line("kubelet_volume_stats_used_bytes", "gauge", nil, 4e9, 1e10), line("kubelet_volume_stats_capacity_bytes", "gauge", nil, 1e10, 1e10)}, explain.Disk, true},
		{"file system fuller, with room", []store.Line{line("system.filesystem.utilization", "gauge", nil, 0.4, 0.9)}, explain.Disk, false},
		{"file system as full as before", []store.Line{line("system.filesystem.utilization", "gauge", nil, 0.999, 0.999)}, explain.Disk, false},
		{"disk traffic", []store.Line{line("system.disk.io", "rate", nil, 1e3, 1e7)}, explain.Disk, false},
		{"descriptors as full as before", []store.Line{line("process_open_fds", "gauge", nil, 1023, 1023), line("process_max_fds", "gauge", nil, 1024, 1024)}, explain.Descriptors, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := 0.0
			for _, r := range explain.Resources("cart", c.lines, onset) {
				if r.Kind == c.kind {
					got = r.Strength
				}
			}
			if (got >= 0.4) != c.want {
				t.Errorf("strength %v, want exhausted %v", got, c.want)
			}
		})
	}
}

func TestChanges(t *testing.T) {
	at := func(before time.Duration) model.Change {
		return model.Change{ID: before.String(), At: onset.Add(-before), Service: before.String()}
	}
	slow := at(15 * time.Minute)
	slow.Version = "2"
	got := explain.Changes([]model.Change{at(time.Hour), at(10 * time.Minute), at(-3 * time.Second), at(20 * time.Second), at(-time.Minute), slow},
		map[model.Entity]time.Time{slow.Entity(): onset.Add(-time.Minute)}, onset, 5*time.Second)
	var order []string
	for _, c := range got {
		order = append(order, c.ID)
	}
	if d := cmp.Diff([]string{"-3s", "20s", "15m0s", "10m0s"}, order); d != "" {
		t.Error(d)
	}
}

// TestMoveImpatient holds that a call which was given up, though nothing is slow, is the failure of whoever gave up.
func TestMoveImpatient(t *testing.T) {
	bank := locate.OriginCount{Entity: "remote:bank", Count: 9, GaveUp: 8, Unanswered: 9, By: "billing"}
	own := locate.OriginCount{Entity: "service:billing", Count: 2}
	for _, c := range []struct {
		name string
		slow float64
		want []locate.OriginCount
	}{
		{"nothing slow", 0, []locate.OriginCount{{Entity: "service:billing", Count: 11, GaveUp: 8, By: "billing"}}},
		{"slow", 1, []locate.OriginCount{bank, own}},
		{"slow, and given up as late as ever", 1, []locate.OriginCount{waited(bank, 8*3), own}},
		{"slow, but given up before it usually answers", 1, []locate.OriginCount{{Entity: "service:billing", Count: 11, By: "billing",
			Waited: 8 * 0.01, AwaitedOf: "remote:bank"}}},
	} {
		f := explain.Facts{Slow: c.slow, Origins: []locate.OriginCount{bank, own},
			EdgesUsual: []store.EdgeStat{{From: "billing", To: "bank", Kind: store.EdgeRemote, Count: 100, ClientMean: 0.025}}}
		for _, o := range c.want {
			if o.Waited > 0 {
				f.Origins[0] = waited(bank, o.Waited)
			}
		}
		f.MoveImpatient()
		if d := cmp.Diff(c.want, f.Origins); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

// TestMoveLost holds that failures belong to the deepest place at which enough of them are seen to begin.
func TestMoveLost(t *testing.T) {
	f := explain.Facts{
		Origins: []locate.OriginCount{{Entity: "edge:web->cart", Count: 9}, {Entity: "service:web", Count: 6}, {Entity: "service:cart", Count: 4},
			{Entity: "database:cartdb", Count: 1}, {Entity: "service:mail", Count: 1}},
		EdgesNow: []store.EdgeStat{{From: "web", To: "cart", Kind: store.EdgeCall}, {From: "cart", To: "cartdb", Kind: store.EdgeDatabase}},
	}
	f.MoveLost()
	want := []locate.OriginCount{{Entity: "service:cart", Count: 19}, {Entity: "database:cartdb", Count: 1}, {Entity: "service:mail", Count: 1}}
	if d := cmp.Diff(want, f.Origins); d != "" {
		t.Error(d)
	}
}

func waited(o locate.OriginCount, seconds float64) locate.OriginCount {
	o.Waited, o.AwaitedOf = seconds, o.Entity
	return o
}

// TestUndone holds that a change which was taken back before the onset is no suspect, unless what replaced it was not at
// work yet.
func TestUndone(t *testing.T) {
	c := func(before time.Duration, from, to string) model.Change {
		return model.Change{ID: from + "-" + to, At: onset.Add(-before), Kind: "deployment", Service: "cart", Version: to, From: from, To: to}
	}
	changes := []model.Change{c(3*time.Minute, "1", "2"), c(time.Minute, "2", "1")}
	back := changes[1]
	for _, test := range []struct {
		name   string
		served map[model.Entity]time.Time
		want   []string
	}{
		{"taken back", nil, []string{"2-1"}},
		{"not back yet", map[model.Entity]time.Time{back.Entity(): onset.Add(time.Minute)}, []string{"1-2"}},
	} {
		var got []string
		for _, n := range explain.Changes(changes, test.served, onset, 0) {
			got = append(got, n.ID)
		}
		if d := cmp.Diff(test.want, got); d != "" {
			t.Errorf("%s: %s", test.name, d)
		}
	}
}

func TestReverts(t *testing.T) {
	c := func(before time.Duration, from, to string) model.Change {
		return model.Change{ID: from + "-" + to, At: onset.Add(-before), Kind: "flag", Service: "cart", Key: "k", From: from, To: to}
	}
	for _, n := range explain.Changes([]model.Change{c(3*time.Minute, "a", "b"), c(2*time.Minute, "b", "a"), c(time.Minute, "a", "c")}, nil, onset, 0) {
		if n.Reverts != (n.ID == "b-a") {
			t.Errorf("%s reverts: %v", n.ID, n.Reverts)
		}
	}
}

func TestNumbers(t *testing.T) {
	for want, got := range map[string]string{
		"2.5 s": explain.Seconds(2.5), "12.3 ms": explain.Seconds(0.012345), "450 µs": explain.Seconds(0.00045), "1 s": explain.Seconds(0.9999),
		"30 min": explain.Seconds(1800), "91 %": explain.Percent(0.91), "0.4 %": explain.Percent(0.004), "4,210": explain.Digits(4210),
		"12,346": explain.Digits(12345.6), "-0.5": explain.Digits(-0.5), "41 k/s": explain.Rate(41000), "2 GiB": explain.Size(2 << 30),
		"0.93": explain.Digits2(0.9312), "43": explain.Digits2(43.4),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestLinks(t *testing.T) {
	got := explain.MetricLink(bad, "db_sql_connection_open", map[string]string{"status": "inuse", "service_name": "cart"})
	want := "/prometheus/api/v1/query_range?end=1772460020&query=%7B%22db_sql_connection_open%22%2C%22service_name%22%3D%22cart%22%2C%22status%22%3D%22inuse%22%7D&start=1772460000&step=5"
	if got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := explain.Field("user.id", `a"b`), `user.id:"a\"b"`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// A database that is gone leaves no failing calls behind: clients make a call's span after they have connected.
func TestWhatCannotBeReachedIsAccused(t *testing.T) {
	facts := func(message string, unreached int, callsNow int64) *explain.Facts {
		return &explain.Facts{Onset: onset, Bad: bad, Normal: normal, Service: "frontend", Operation: "buy", Kind: model.SpanServer,
			Failing: 1, BadShare: 1, Sampled: 50, Failed: 50,
			Where: []model.Where{{Entity: "service:cart", ExclusiveS: 0.001, UsualS: 0.001, Errors: 1}, {Entity: "database:cartdb", UsualS: 0.004}},
			Origins: []locate.OriginCount{
				{Entity: "service:cart", Operation: "reserve", Count: 48, Unreached: unreached, Message: message},
				{Entity: "service:frontend", Operation: "buy", Count: 2},
			},
			OpsNow:   []store.OperationStat{ops("frontend", "buy", 50), ops("cart", "reserve", 50)},
			OpsUsual: []store.OperationStat{ops("frontend", "buy", 150), ops("cart", "reserve", 150)},
			EdgesNow: []store.EdgeStat{{From: "frontend", To: "cart", Kind: store.EdgeCall, Count: 50, Errors: 48},
				{From: "cart", To: "cartdb", Kind: store.EdgeDatabase, Count: callsNow}},
			EdgesUsual: []store.EdgeStat{{From: "frontend", To: "cart", Kind: store.EdgeCall, Count: 150},
				{From: "cart", To: "cartdb", Kind: store.EdgeDatabase, Count: 600}},
		}
	}
	for _, c := range []struct {
		name  string
		facts *explain.Facts
		want  model.Cause
	}{
		{"gone", facts("dial tcp 10.0.0.7:5432: connect: connection refused", 47, 0),
			model.Cause{Class: model.ClassDependency, Entity: "database:cartdb", Mechanism: model.DependencyDown}},
		{"complains of a connection, but the database answers", facts("failed to connect to the printer", 47, 200),
			model.Cause{Class: model.ClassSelf, Entity: "service:cart", Mechanism: model.FailingCode}},
		{"fails before it asks the database", facts("index out of range", 0, 0),
			model.Cause{Class: model.ClassSelf, Entity: "service:cart", Mechanism: model.FailingCode}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.facts.MoveUnreached()
			cases := explain.Judge(c.facts)
			if len(cases) == 0 {
				t.Fatal("nobody is accused")
			}
			got := model.Cause{Class: cases[0].Cause.Class, Entity: cases[0].Cause.Entity, Mechanism: cases[0].Cause.Mechanism}
			if got != c.want || cases[0].Cause.Confidence < 0.35 {
				t.Errorf("got %+v, want %+v", cases[0].Cause, c.want)
			}
		})
	}
}

// call is a request to cart and what it asks of its database.
func call(n uint64, calls map[string]float64) locate.Trace {
	id := model.TraceID{15: byte(n)}
	res := &model.Resource{Service: "cart"}
	spans := []model.Span{{TraceID: id, SpanID: model.SpanIDFrom(1), Name: "Reserve", Kind: model.SpanServer, Start: 1, Duration: 9e9, Resource: res}}
	k := uint64(2)
	for text, seconds := range calls {
		spans = append(spans, model.Span{TraceID: id, SpanID: model.SpanIDFrom(k), ParentID: model.SpanIDFrom(1), Name: "sql", Kind: model.SpanClient,
			Start: 2, Duration: int64(seconds * 1e9), Resource: res, Attrs: model.Attrs{{Key: "db.query.text", Value: model.String(text)}}})
		k++
	}
	return locate.Trace{Spans: spans}
}

// TestLockWait holds what sets waiting for a lock apart from slow work: the quickest calls are as quick as ever, and so
// are statements that need no lock.
func TestLockWait(t *testing.T) {
	const write, read = "UPDATE stock SET n = $1", "SELECT n FROM stock"
	value := func(text string, a int64, meanA float64, b int64, meanB float64) store.DifferenceValue {
		return store.DifferenceValue{Key: "db.query.text", Value: text, A: a, B: b, SecondsA: float64(a) * meanA, SecondsB: float64(b) * meanB}
	}
	for _, c := range []struct {
		name    string
		write   []float64 // its calls since the onset
		message string
		want    model.Mechanism
	}{
		{"some wait", []float64{0.002, 0.003, 0.4, 0.5, 0.002, 0.3, 0.6, 0.2}, "", model.LockWait},
		{"all are slow", []float64{0.2, 0.25, 0.22, 0.3, 0.26, 0.21, 0.2, 0.24}, "", model.SlowQuery},
		{"everybody waits, some far less than others", []float64{0.2, 0.9, 0.5, 0.7, 0.85, 0.6, 0.25, 0.8}, "", model.LockWait},
		{"all wait too long", []float64{3, 3, 3, 3, 3, 3, 3, 3}, "canceling statement due to lock timeout", model.LockWait},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := explain.Facts{Onset: onset, Bad: bad, Normal: normal, Service: "cart", Operation: "Reserve", Kind: model.SpanServer, Slow: 1, BadShare: 0.6}
			var traces []locate.Trace
			mean := 0.0
			for i, seconds := range c.write {
				traces = append(traces, call(uint64(i+1), map[string]float64{write: seconds, read: 0.002}))
				mean += seconds / float64(len(c.write))
			}
			d := store.Difference{A: 100, B: 500, Values: []store.DifferenceValue{value(write, 50, mean, 250, 0.003), value(read, 50, 0.002, 250, 0.002)}}
			f.Statements = map[string][]explain.Statement{"cart": explain.Statements(d, nil, traces, "cart")}
			f.Where = []model.Where{{Entity: "database:cartdb", ExclusiveS: mean, UsualS: 0.005}, {Entity: "service:cart", ExclusiveS: 0.004, UsualS: 0.004}}
			edge := store.EdgeStat{From: "cart", To: "cartdb", Kind: store.EdgeDatabase, Count: 500, ClientMean: 0.0025}
			f.EdgesUsual = []store.EdgeStat{edge}
			edge.Count, edge.ClientMean = 100, (mean+0.002)/2
			f.EdgesNow = []store.EdgeStat{edge}
			if c.message != "" {
				f.Failing, f.Sampled, f.Failed = 1, 8, 8
				f.Origins = []locate.OriginCount{{Entity: "database:cartdb", Count: 8, Message: c.message}}
			}
			got := explain.Judge(&f)
			if len(got) == 0 || got[0].Mechanism != c.want || got[0].Entity != "database:cartdb" {
				t.Errorf("got %+v, want %s", got, c.want)
			}
			if s := f.Statements["cart"][0]; s.Text != write || s.Operation != "Reserve" || s.Sampled != len(c.write) {
				t.Errorf("the first statement is %+v", s)
			}
		})
	}
}
