package simtest

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"triage/internal/model"
	"triage/internal/store"
)

// Fault says what goes wrong at the onset. Zero fields do nothing.
type Fault struct {
	// GreedyUser sends GreedyRate checkouts a second, each holding a connection of cart for GreedyHold; with GreedyQuery
	// the database works for that time, else cart does between two queries.
	GreedyUser  string
	GreedyRate  float64
	GreedyHold  time.Duration
	GreedyQuery bool
	// UserLatency makes the requests of one user alone slow, in catalog.
	SlowUser    string
	UserLatency time.Duration
	// HotItem is what HotRate more users a second browse, one of them at a time for 30 ms; usually they browse anything.
	HotItem string
	HotRate float64
	// QueryFactor multiplies the time of queries to cartdb.
	QueryFactor float64
	// LockHold is how long somebody keeps each row of cartdb locked, over and over: seven updates in ten wait for a part.
	LockHold time.Duration
	// CartCode is added to cart's own work in Reserve, CartFactor multiplies its own work in all operations.
	CartCode   time.Duration
	CartFactor float64
	// BillingCode is added to billing's own work; BillingErrors of its calls fail with an exception.
	BillingCode   time.Duration
	BillingErrors float64
	// BillingSays is the exception's message, instead of one that speaks of a bug.
	BillingSays string
	// BillingDelay is added to each call from frontend to billing, on the way.
	BillingDelay time.Duration
	// EdgeDelay is added to each call from frontend to cart, EdgeLoss of them break with EdgeSays as the error, EdgeStall of
	// them take two seconds.
	EdgeDelay           time.Duration
	EdgeLoss, EdgeStall float64
	EdgeSays            string
	// FloodFactor multiplies the messages that newsletter sends to cart.
	FloodFactor float64
	// PoolSize is the size of cart's pool after the onset.
	PoolSize int
	// BankRetries is how often billing repeats a call that bank.example refused, in vain.
	BankRetries int
	// CacheLost leaves catalog without its cache, which answers nine requests in ten.
	CacheLost bool
	// MessageWork is added to what cart does with each message, one at a time.
	MessageWork time.Duration
	// BankDown breaks the calls to bank.example with BankSays as the error, BankDelay slows them down.
	BankDown  bool
	BankSays  string
	BankDelay time.Duration
	// CartCPU is cart's CPU utilization, CartMemory its memory's growth a second as a factor of its usual.
	CartCPU    float64
	CartMemory float64
	// Surge multiplies the requests of everybody.
	Surge float64
	// Version is billing's new version, Changes what was recorded (At relative to the onset by ChangeAt).
	Version string
	Changes []model.Change
}

// World is when it all happens.
type World struct {
	Start  time.Time
	Normal time.Duration // before the onset
	Bad    time.Duration // from the onset to the verdict
	Rate   float64       // checkouts a second; as many browse
	Seed   uint64
	Fault  Fault
	// What the telemetry suffers from. Delay is the longest time from a span's end to its arrival, Skew is how far
	// cart's clock runs ahead, Earlier that cart was slow for a while and recovered a minute before the onset.
	Delay            time.Duration
	Skew             time.Duration
	NoSeries, NoLogs bool
	Earlier          bool
	// Untraced is a service whose spans nobody sees.
	Untraced string
	// ByAddress lets callers know billing by an address that names nobody.
	ByAddress bool
	// AlarmsOf keeps only the alarms of one service.
	AlarmsOf string
}

// Onset is when the fault begins, At when the verdict is made.
func (w World) Onset() time.Time { return w.Start.Add(w.Normal) }
func (w World) At() time.Time    { return w.Onset().Add(w.Bad) }

const poolSize = 8

type pool struct {
	free []int64 // when each connection becomes free
	used [][2]int64
	wait [][2]int64
}

// take gives the time at which a connection is had; give returns it.
func (p *pool) take(at int64, size int) (int64, int) {
	best := 0
	for i := range min(size, len(p.free)) {
		if p.free[i] < p.free[best] {
			best = i
		}
	}
	got := max(at, p.free[best])
	if got > at {
		p.wait = append(p.wait, [2]int64{at, got})
	}
	return got, best
}

func (p *pool) give(i int, from, to int64) {
	p.free[i] = to
	p.used = append(p.used, [2]int64{from, to})
}

type simulation struct {
	World
	r         *rand.Rand
	onset     int64
	pool      *pool
	spans     []model.Span
	logs      []model.LogRecord
	resources map[string]*model.Resource
	ids       uint64
	// taken is when cart is done with the message before, where it takes one at a time.
	taken int64
	// hot is when the last request for HotItem is done.
	hot int64
}

// Run simulates the world and returns what its telemetry would be at World.At, a second of export delay included, and
// the incident that alarms on it would have opened.
func (w World) Run() (*Store, model.Incident) {
	s := &simulation{World: w, r: rand.New(rand.NewPCG(w.Seed, 7)), onset: w.Onset().UnixNano(),
		pool: &pool{free: make([]int64, poolSize)}, resources: map[string]*model.Resource{}}
	type arrival struct {
		at   int64
		kind string
		user string
	}
	var arrivals []arrival
	poisson := func(from, to time.Time, rate float64, kind string, user func() string) {
		if rate <= 0 {
			return
		}
		for at := from.UnixNano(); ; {
			at += int64(s.r.ExpFloat64() / rate * 1e9)
			if at >= to.UnixNano() {
				return
			}
			arrivals = append(arrivals, arrival{at, kind, user()})
		}
	}
	anybody := func() string { return fmt.Sprintf("u-%d", s.r.IntN(300)) }
	f, onset, at := w.Fault, w.Onset(), w.At()
	surge := cmp.Or(f.Surge, 1)
	for _, kind := range []string{"checkout", "browse"} {
		poisson(w.Start, onset, w.Rate, kind, anybody)
		poisson(onset, at, w.Rate*surge, kind, anybody)
	}
	poisson(w.Start, onset, 2, "message", anybody)
	poisson(onset, at, 2*cmp.Or(f.FloodFactor, 1), "message", anybody)
	poisson(onset, at, f.GreedyRate, "checkout", func() string { return f.GreedyUser })
	if f.SlowUser != "" {
		poisson(w.Start, at, 1, "browse", func() string { return f.SlowUser })
	}
	if f.HotItem != "" {
		poisson(onset, at, f.HotRate, "hot", anybody)
	}
	slices.SortFunc(arrivals, func(a, b arrival) int { return cmp.Compare(a.at, b.at) })
	for _, a := range arrivals {
		switch a.kind {
		case "checkout":
			s.checkout(a.at, a.user)
		case "browse":
			s.browse(a.at, a.user, fmt.Sprintf("/browse/%d", s.ids%40))
		case "hot":
			s.browse(a.at, a.user, f.HotItem)
		default:
			s.message(a.at)
		}
	}
	st := &Store{Series: s.series(), Altered: f.Changes}
	seen := at.Add(-time.Second).UnixNano()
	for _, sp := range s.spans {
		if w.Untraced != "" && sp.Service() == w.Untraced {
			continue
		}
		if sp.End()+int64(s.r.Float64()*float64(w.Delay)) <= seen {
			if sp.Service() == "cart" {
				sp.Start += int64(w.Skew)
			}
			st.Spans = append(st.Spans, sp)
		}
	}
	for _, l := range s.logs {
		if l.Time <= seen {
			st.Lines = append(st.Lines, l)
		}
	}
	if w.NoSeries {
		st.Series = nil
	}
	if w.NoLogs {
		st.Lines = nil
	}
	st.Index()
	inc := s.incident(st)
	if w.AlarmsOf != "" {
		inc.Alarms = slices.DeleteFunc(inc.Alarms, func(a model.Alarm) bool { return a.Service != w.AlarmsOf })
	}
	return st, inc
}

func (s *simulation) bad(at int64) bool { return at >= s.onset }

// ms draws a duration around a mean of milliseconds.
func (s *simulation) ms(mean float64) int64 {
	return int64(mean * math.Exp(0.25*s.r.NormFloat64()) * 1e6)
}

func (s *simulation) resource(service, version string) *model.Resource {
	key := service + version
	if s.resources[key] == nil {
		s.resources[key] = &model.Resource{Service: service, Attrs: model.Attrs{
			{Key: "service.name", Value: model.String(service)}, {Key: "service.version", Value: model.String(version)},
			{Key: "host.name", Value: model.String("host-" + service)}}}
	}
	return s.resources[key]
}

func (s *simulation) trace() (t model.TraceID) {
	binary.BigEndian.PutUint64(t[:8], s.r.Uint64())
	binary.BigEndian.PutUint64(t[8:], s.r.Uint64())
	return t
}

func (s *simulation) span(t model.TraceID, parent model.SpanID, service, name string, kind model.SpanKind, start int64, attrs ...string) int {
	s.ids++
	sp := model.Span{TraceID: t, SpanID: model.SpanIDFrom(s.ids), ParentID: parent, Name: name, Kind: kind, Start: start, Resource: s.resource(service, "1")}
	for i := 0; i+1 < len(attrs); i += 2 {
		sp.Attrs = append(sp.Attrs, model.Attr{Key: attrs[i], Value: model.String(attrs[i+1])})
	}
	s.spans = append(s.spans, sp)
	return len(s.spans) - 1
}

func (s *simulation) end(i int, at int64) int64 {
	s.spans[i].Duration = max(0, at-s.spans[i].Start)
	return at
}

func (s *simulation) fail(i int, message string) {
	s.spans[i].Status, s.spans[i].StatusMessage = model.StatusError, message
}

func (s *simulation) say(i int, at int64, severity model.Severity, template, body string) {
	sp := &s.spans[i]
	h := fnv.New64a()
	h.Write([]byte(template))
	s.logs = append(s.logs, model.LogRecord{Time: at, TraceID: sp.TraceID, SpanID: sp.SpanID, Severity: severity,
		Body: model.String(body), Template: h.Sum64(), Resource: sp.Resource})
}

// deadline is what frontend gives cart.
const deadline = int64(4e9)

func (s *simulation) checkout(at int64, user string) {
	f := s.Fault
	t := s.trace()
	root := s.span(t, model.SpanID{}, "frontend", "POST /checkout", model.SpanServer, at, "user.id", user, "http.route", "/checkout")
	now := at + s.ms(3)
	failed := ""

	call := s.span(t, s.spans[root].SpanID, "frontend", "cart/Reserve", model.SpanClient, now, "server.address", "cart.internal", "server.port", "9000", "rpc.service", "cart")
	wire := s.ms(0.5)
	switch {
	case s.bad(now) && s.r.Float64() < f.EdgeLoss:
		now = s.end(call, now+s.ms(2))
		failed = cmp.Or(f.EdgeSays, "connection reset by peer")
		s.fail(call, failed)
	default:
		sent := now
		if s.bad(now) {
			wire += int64(f.EdgeDelay) / 2
			if s.r.Float64() < f.EdgeStall {
				wire += 1e9
			}
		}
		done := s.reserve(t, s.spans[call].SpanID, now+wire, user, sent+deadline) + wire
		if done-sent >= deadline {
			done = sent + deadline
			s.fail(call, "context deadline exceeded")
			failed = "context deadline exceeded"
		}
		now = s.end(call, done)
	}
	if failed == "" {
		host := "billing.internal"
		if s.ByAddress {
			host = "10.0.0.7"
		}
		pay := s.span(t, s.spans[root].SpanID, "frontend", "billing/Charge", model.SpanClient, now, "server.address", host, "server.port", "9000", "rpc.service", "billing")
		wire := s.ms(0.5)
		if s.bad(now) {
			wire += int64(f.BillingDelay) / 2
		}
		end, broken := s.charge(t, s.spans[pay].SpanID, now+wire)
		now = s.end(pay, end+wire)
		if broken {
			s.fail(pay, "charge failed")
			s.spans[pay].Attrs = append(s.spans[pay].Attrs, model.Attr{Key: "rpc.grpc.status_code", Value: model.Int(13)})
			failed = "charge failed"
		}
	}
	now = s.end(root, now+s.ms(2))
	if failed != "" {
		s.fail(root, failed)
		s.say(root, now, 17, "checkout failed: <*>", "checkout failed: "+failed)
	}
	s.say(root, now, 9, "checkout done in <*>", "checkout done in 1 ms")
}

func (s *simulation) cartWork(at int64, mean float64) int64 {
	d := s.ms(mean)
	if s.bad(at) && s.Fault.CartFactor > 0 {
		d = int64(float64(d) * s.Fault.CartFactor)
	}
	return d
}

func (s *simulation) query(t model.TraceID, parent model.SpanID, service, database, name string, at int64, mean float64) int64 {
	q := s.span(t, parent, service, name, model.SpanClient, at, "db.system.name", "postgresql", "db.namespace", database,
		"db.query.summary", name)
	d := s.ms(mean)
	if s.bad(at) && database == "cartdb" && s.Fault.QueryFactor > 0 {
		d = int64(float64(d) * s.Fault.QueryFactor)
	}
	return s.end(q, at+d)
}

func (s *simulation) reserve(t model.TraceID, parent model.SpanID, at int64, user string, until int64) int64 {
	f := s.Fault
	server := s.span(t, parent, "cart", "cart/Reserve", model.SpanServer, at, "rpc.method", "Reserve")
	id := s.spans[server].SpanID
	now := at + s.cartWork(at, 4)
	if s.bad(at) {
		now += int64(f.CartCode)
	}
	if s.Earlier && at > s.onset-100e9 && at < s.onset-60e9 {
		now += 300e6
	}
	size := poolSize
	if s.bad(now) && f.PoolSize > 0 {
		size = f.PoolSize
	}
	got, slot := s.pool.take(now, size)
	if got-now > 500e6 {
		s.say(server, min(got, until), 13, "connection pool exhausted, waited <*> ms", fmt.Sprintf("connection pool exhausted, waited %d ms", (got-now)/1e6))
	}
	if got >= until {
		s.fail(server, "context deadline exceeded")
		return s.end(server, until)
	}
	now = s.query(t, id, "cart", "cartdb", "SELECT stock", got, 4)
	if user == f.GreedyUser && user != "" && s.bad(at) {
		if f.GreedyQuery {
			now = s.query(t, id, "cart", "cartdb", "SELECT FOR UPDATE", now, float64(f.GreedyHold.Milliseconds()))
		} else {
			now += s.ms(float64(f.GreedyHold.Milliseconds()))
		}
	}
	now += s.cartWork(now, 1)
	locked := 0.0
	if s.bad(now) && f.LockHold > 0 && s.r.Float64() < 0.7 {
		locked = s.r.Float64() * float64(f.LockHold.Milliseconds())
	}
	now = s.query(t, id, "cart", "cartdb", "UPDATE stock", now, 6+locked)
	s.pool.give(slot, got, now)
	s.say(server, now, 9, "reserved <*> items", "reserved 3 items")
	return s.end(server, now+s.cartWork(now, 1))
}

func (s *simulation) charge(t model.TraceID, parent model.SpanID, at int64) (int64, bool) {
	f := s.Fault
	server := s.span(t, parent, "billing", "billing/Charge", model.SpanServer, at, "rpc.method", "Charge")
	if s.bad(at) && f.Version != "" {
		s.spans[server].Resource = s.resource("billing", f.Version)
	}
	now := at + s.ms(8)
	if s.bad(at) {
		now += int64(f.BillingCode)
		if s.r.Float64() < f.BillingErrors {
			said := cmp.Or(f.BillingSays, "nil pointer in rate table")
			s.fail(server, said)
			s.spans[server].Events = []model.SpanEvent{{Time: now, Name: "exception", Attrs: model.Attrs{
				{Key: "exception.type", Value: model.String("NilError")}, {Key: "exception.message", Value: model.String(said)}}}}
			s.say(server, now, 17, "charge panicked: <*>", "charge panicked: "+said)
			return s.end(server, now), true
		}
	}
	if s.bad(at) && f.BankRetries > 0 {
		for range f.BankRetries {
			call := s.span(t, s.spans[server].SpanID, "billing", "POST /transfer", model.SpanClient, now, "server.address", "bank.example")
			now = s.end(call, now+s.ms(3))
			s.fail(call, "503")
			s.spans[call].Attrs = append(s.spans[call].Attrs, model.Attr{Key: "http.response.status_code", Value: model.Int(503)})
			s.say(server, now, 13, "transfer repeated: <*>", "transfer repeated: too many requests")
			now += s.ms(10)
		}
		s.fail(server, "bank: too many requests")
		return s.end(server, now), true
	}
	call := s.span(t, s.spans[server].SpanID, "billing", "POST /transfer", model.SpanClient, now, "server.address", "bank.example")
	if s.bad(at) && f.BankDown {
		now = s.end(call, now+s.ms(3))
		said := cmp.Or(f.BankSays, "connection refused")
		s.fail(call, said)
		s.fail(server, "bank: "+said)
		s.say(server, now, 17, "bank unreachable: <*>", "bank unreachable: "+said)
		return s.end(server, now), true
	}
	d := s.ms(40)
	if s.bad(at) {
		d += int64(f.BankDelay)
	}
	now = s.end(call, now+d)
	return s.end(server, now+s.ms(2)), false
}

func (s *simulation) browse(at int64, user, path string) {
	t := s.trace()
	root := s.span(t, model.SpanID{}, "frontend", "GET /browse", model.SpanServer, at, "user.id", user, "http.route", "/browse", "url.path", path)
	call := s.span(t, s.spans[root].SpanID, "frontend", "catalog/List", model.SpanClient, at+s.ms(2), "server.address", "catalog.internal", "server.port", "9000", "rpc.service", "catalog")
	server := s.span(t, s.spans[call].SpanID, "catalog", "catalog/List", model.SpanServer, s.spans[call].Start+s.ms(0.5))
	now := s.spans[server].Start + s.ms(2)
	switch {
	case !s.Fault.CacheLost:
		now = s.query(t, s.spans[server].SpanID, "catalog", "catalogdb", "SELECT items", now, 5)
	case s.bad(at) || s.r.IntN(10) == 0:
		now = s.query(t, s.spans[server].SpanID, "catalog", "catalogdb", "SELECT items", now, 80)
	}
	if s.Fault.HotItem != "" && path == s.Fault.HotItem {
		now = max(now, s.hot) + s.ms(30)
		s.hot = now
	}
	if s.bad(at) && user == s.Fault.SlowUser && user != "" {
		now += int64(s.Fault.UserLatency)
	}
	now = s.end(server, now+s.ms(2))
	now = s.end(call, now+s.ms(0.5))
	if s.r.IntN(2) == 0 {
		// Cart's second operation, by which a process that is slow everywhere differs from slow code.
		look := s.span(t, s.spans[root].SpanID, "frontend", "cart/Peek", model.SpanClient, now, "server.address", "cart.internal", "server.port", "9000", "rpc.service", "cart")
		peek := s.span(t, s.spans[look].SpanID, "cart", "cart/Peek", model.SpanServer, now+s.ms(0.5))
		now = s.end(peek, s.spans[peek].Start+s.cartWork(now, 5))
		now = s.end(look, now+s.ms(0.5))
	}
	s.end(root, now+s.ms(2))
}

func (s *simulation) message(at int64) {
	t := s.trace()
	send := s.span(t, model.SpanID{}, "newsletter", "send cart.updates", model.SpanProducer, at, "messaging.system", "nats", "messaging.destination.name", "cart.updates")
	s.end(send, at+s.ms(1))
	taken := s.spans[send].End() + s.ms(2)
	if s.Fault.MessageWork > 0 {
		taken = max(taken, s.taken)
	}
	take := s.span(t, s.spans[send].SpanID, "cart", "process cart.updates", model.SpanConsumer, taken, "messaging.destination.name", "cart.updates")
	now := taken + s.ms(2)
	if s.bad(at) {
		now += int64(s.Fault.MessageWork)
	}
	if s.Fault.MessageWork > 0 { // far behind, which the pool, that is asked in order of arrival, cannot tell
		now = s.query(t, s.spans[take].SpanID, "cart", "cartdb", "UPDATE prices", now, 60)
	} else {
		got, slot := s.pool.take(now, poolSize)
		now = s.query(t, s.spans[take].SpanID, "cart", "cartdb", "UPDATE prices", got, 60)
		s.pool.give(slot, got, now)
	}
	s.taken = s.end(take, now+s.ms(1))
}

// series are what cart and billing export every five seconds.
func (s *simulation) series() map[string][]store.Line {
	const step = 5 * time.Second
	out := map[string][]store.Line{}
	add := func(service, name, kind string, labels map[string]string, value func(at int64) float64) {
		l := store.Line{Name: name, Type: kind, Labels: labels, Start: s.Start, Step: step}
		for at := s.Start; !at.After(s.At()); at = at.Add(step) {
			l.Values = append(l.Values, value(at.UnixNano()))
		}
		out[service] = append(out[service], l)
	}
	size := func(at int64) float64 {
		if s.bad(at) && s.Fault.PoolSize > 0 {
			return float64(s.Fault.PoolSize)
		}
		return poolSize
	}
	inUse := func(at int64) (n float64) {
		for _, u := range s.pool.used {
			if u[0] <= at && at < u[1] {
				n++
			}
		}
		return min(n, size(at))
	}
	add("cart", "db_sql_connection_max_open", "gauge", nil, size)
	add("cart", "db_sql_connection_open", "gauge", map[string]string{"status": "inuse"}, inUse)
	add("cart", "db_sql_connection_open", "gauge", map[string]string{"status": "idle"}, func(at int64) float64 { return size(at) - inUse(at) })
	add("cart", "db_sql_connection_wait_total", "rate", nil, func(at int64) (n float64) {
		for _, w := range s.pool.wait {
			if w[0] > at-int64(step) && w[0] <= at {
				n += 1 / step.Seconds()
			}
		}
		return n
	})
	for _, service := range []string{"frontend", "cart", "billing", "catalog"} {
		add(service, "process_cpu_utilization", "gauge", nil, func(at int64) float64 {
			if service == "cart" && s.bad(at) && s.Fault.CartCPU > 0 {
				return s.Fault.CartCPU
			}
			return 0.2 + 0.05*s.r.Float64()
		})
		add(service, "process_memory_usage", "gauge", nil, func(at int64) float64 {
			m := 200e6 * (1 + 0.02*s.r.Float64())
			if service == "cart" && s.bad(at) {
				m *= 1 + s.Fault.CartMemory*float64(at-s.onset)/1e9
			}
			return m
		})
		add(service, "go_gc_duration_seconds:mean", "mean", nil, func(at int64) float64 {
			if service == "cart" && s.bad(at) && s.Fault.CartMemory > 0 {
				return 0.004
			}
			return 0.0004
		})
	}
	for _, side := range []struct {
		kind   model.SpanKind
		name   string
		labels map[string]string
	}{
		{model.SpanServer, "rpc_server_call_duration_seconds", map[string]string{"rpc_service": "billing", "rpc_method": "Charge"}},
		{model.SpanClient, "http_client_request_duration_seconds", map[string]string{"server_address": "bank.example"}},
	} {
		n, seconds := map[int64]float64{}, map[int64]float64{}
		for i := range s.spans {
			if sp := &s.spans[i]; sp.Service() == "billing" && sp.Kind == side.kind {
				slot := (sp.End() - s.Start.UnixNano()) / int64(step)
				n[slot]++
				seconds[slot] += float64(sp.Duration) / 1e9
			}
		}
		slot := func(at int64) int64 { return (at - s.Start.UnixNano()) / int64(step) }
		add("billing", side.name+":rate", "rate", side.labels, func(at int64) float64 { return n[slot(at)] / step.Seconds() })
		add("billing", side.name+":mean", "mean", side.labels, func(at int64) float64 { return seconds[slot(at)] / n[slot(at)] })
	}
	return out
}

// incident is what alarms on the mean of each operation would have opened, the onset rounded up to their step.
func (s *simulation) incident(st *Store) model.Incident {
	inc := model.Incident{ID: "INC-1", Tenant: model.DefaultTenant, Status: model.IncidentOpen, OpenedAt: s.At(), UpdatedAt: s.At()}
	type sums struct{ n, seconds, errors [2]float64 }
	all := map[[2]string]*sums{}
	for i := range st.Spans {
		sp := &st.Spans[i]
		if !sp.Kind.Entry() {
			continue
		}
		k := [2]string{sp.Service(), sp.Name}
		if all[k] == nil {
			all[k] = &sums{}
		}
		b := 0
		if s.bad(sp.Start) {
			b = 1
		}
		all[k].n[b]++
		all[k].seconds[b] += float64(sp.Duration) / 1e9
		if sp.Status == model.StatusError {
			all[k].errors[b]++
		}
	}
	keys := make([][2]string, 0, len(all))
	for k := range all {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b [2]string) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) })
	onset := s.Onset().Add(3 * time.Second)
	for _, k := range keys {
		v := all[k]
		if v.n[0] == 0 || v.n[1] == 0 {
			continue
		}
		mean, usual := v.seconds[1]/v.n[1], v.seconds[0]/v.n[0]
		if mean > 1.5*usual {
			inc.Alarms = append(inc.Alarms, model.Alarm{ID: "latency{" + k[0] + "}", Rule: "latency", State: model.StateAlarm, Onset: onset,
				Signal: model.SignalDuration, Service: k[0], Operation: k[1], Value: mean, Usual: usual, Threshold: 1.5 * usual, Unit: "s"})
		}
		if share, before := v.errors[1]/v.n[1], v.errors[0]/v.n[0]; share > before+0.05 {
			inc.Alarms = append(inc.Alarms, model.Alarm{ID: "errors{" + k[0] + "}", Rule: "errors", State: model.StateAlarm, Onset: onset,
				Signal: model.SignalErrors, Service: k[0], Operation: k[1], Value: share, Usual: before, Threshold: 0.05, Unit: "ratio"})
		}
	}
	if len(inc.Alarms) > 0 {
		inc.Onset = onset
	}
	return inc
}
