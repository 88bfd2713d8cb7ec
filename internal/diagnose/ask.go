package diagnose

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"triage/internal/explain"
	"triage/internal/locate"
	"triage/internal/model"
	"triage/internal/search"
	"triage/internal/store"
)

// answers is what the stores said, taken apart.
type answers struct {
	facts     explain.Facts
	impact    model.Impact
	telemetry model.Telemetry
	// rivals rules out others than facts tell of; it may be nil.
	rivals func(*explain.Case) []model.RuledOut
}

// Limits of the questions: enough for a stable mean, little enough for a verdict within a second or two.
const (
	sampleBad     = 60
	sampleNormal  = 60
	sampleHolders = 120
	spansATrace   = 150
	maxSuspects   = 4
	parallel      = 6
	maxStats      = 2000

	reasonTemplates = 4
	reasonLines     = 20
)

// asker runs questions side by side. A question that fails is logged and its evidence is missing.
type asker struct {
	*errgroup.Group
	ctx context.Context
	d   *Diagnoser
}

func (d *Diagnoser) asker(ctx context.Context) *asker {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	return &asker{g, ctx, d}
}

// question asks what a verdict can do without.
func (a *asker) question(name string, ask func(context.Context) error) {
	a.Go(func() error {
		err := ask(a.ctx)
		if err != nil && a.ctx.Err() == nil {
			a.d.log.Warn("question unanswered", "question", name, "error", err)
			return nil
		}
		return err
	})
}

func (d *Diagnoser) ask(ctx context.Context, tenant string, s *scope) (*answers, error) {
	out := &answers{}
	f := &out.facts
	*f = explain.Facts{Onset: s.onset, Bad: s.bad, Normal: s.normal, Service: s.service, Operation: s.operation, Kind: s.kind,
		Slow: s.slow, Failing: s.failing, Shifts: s.related(), Holders: map[string][]explain.Holder{},
		Statements: map[string][]explain.Statement{}}
	var (
		bad, normal []locate.Trace
		counts      []store.TemplateCount
		difference  store.Difference
	)
	entry := []model.SpanKind{model.SpanServer, model.SpanConsumer}
	q := d.asker(ctx)
	// Without these there is no verdict.
	q.Go(func() (err error) {
		bad, err = d.traces(q.ctx, tenant, s.badSelection(tenant, s.settled), sampleBad)
		return err
	})
	q.Go(func() (err error) {
		normal, err = d.traces(q.ctx, tenant, s.entrySelection(tenant, s.normal), sampleNormal)
		return err
	})
	q.Go(func() (err error) {
		f.OpsNow, err = d.events.Operations(q.ctx, store.Selection{Tenant: tenant, Window: s.bad, Kinds: entry}, maxStats)
		return err
	})
	q.Go(func() (err error) {
		f.OpsUsual, err = d.events.Operations(q.ctx, store.Selection{Tenant: tenant, Window: s.normal, Kinds: entry}, maxStats)
		return err
	})
	q.Go(func() (err error) {
		f.EdgesNow, err = d.events.Edges(q.ctx, tenant, s.bad, maxStats)
		return err
	})
	q.Go(func() (err error) {
		f.EdgesUsual, err = d.events.Edges(q.ctx, tenant, s.normal, maxStats)
		return err
	})
	q.question("templates", func(ctx context.Context) (err error) {
		counts, err = d.events.TemplateCounts(ctx, tenant, s.bad, s.normal, maxStats)
		return err
	})
	if s.slow > 0 || s.failing > 0 {
		q.question("attributes", func(ctx context.Context) (err error) {
			a, b := s.badSelection(tenant, s.settled), s.badSelection(tenant, store.Window{From: s.normal.From, To: s.settled.To})
			b.Bad, b.Good = false, true
			difference, err = d.events.AttributeDifference(ctx, store.DifferenceQuery{A: a, B: b, FromTrace: true, Limit: 200})
			return err
		})
	}
	if s.slow > 0 || s.failing > 0 {
		q.question("keys", func(ctx context.Context) error {
			keys, err := d.events.AttributeDifference(ctx, store.DifferenceQuery{A: s.entrySelection(tenant, s.settled),
				B: s.entrySelection(tenant, s.normal), Keys: explain.HotKeys, Limit: 100})
			f.Keys = explain.Shares(keys)
			return err
		})
	}
	q.question("impact", func(ctx context.Context) (err error) {
		out.impact, err = d.events.Impact(ctx, s.badSelection(tenant, s.whole), explain.UserKeys)
		return err
	})
	q.question("health", func(ctx context.Context) (err error) {
		out.telemetry, err = d.events.Health(ctx, tenant, store.Window{From: maxTime(s.normal.From, s.bad.From.Add(-time.Minute)), To: s.settled.To})
		return err
	})
	if err := q.Wait(); err != nil {
		return nil, err
	}

	out.telemetry.SkewS = round(locate.Skew(bad, normal).Seconds())
	if kept := locate.Kept(bad, normal); kept < 1 {
		out.telemetry.Sampling = round(kept)
	}
	// The normal period is as long as there is data: rates must not be diluted by time before anything ran.
	f.Normal.From = history0(f.Normal, normal, s)
	f.Unheard = s.unheard(f.Normal)
	peers := locate.Learn(bad, normal)
	d.untraced(ctx, tenant, s, f, counts, locate.Unanswered(bad, normal), peers)
	badProfiles, normalProfiles := locate.Profiles(bad, peers), locate.Profiles(normal, peers)
	f.Where = locate.Sum(badProfiles, normalProfiles)
	f.Origins = locate.Origins(badProfiles)
	if out.telemetry.OrphanSpans > holed {
		f.Where = locate.Pool(f.Where, bad, normal, peers, s.service)
		f.MoveLost()
	}
	f.MoveUnreached()
	f.MoveImpatient()
	f.Sampled = len(badProfiles)
	for _, p := range badProfiles {
		if p.Failed {
			f.Failed++
		}
	}
	f.BadShare = 1
	if n := s.now.count; n > 0 && s.badSelection(tenant, s.bad).Bad {
		f.BadShare = min(1, float64(difference.A)/float64(n))
	}
	f.Templates = explain.Templates(counts, f.OpsNow, f.OpsUsual, f.Bad, f.Normal, f.EdgesNow)
	f.Attributes = explain.Attributes(difference)
	d.reasons(ctx, tenant, f)
	return out, d.suspects(ctx, tenant, s, f, bad, normal)
}

// holed is the share of spans without their parent from which traces say less than the means of their spans.
const holed = 0.1

// reasons reads some lines of the strongest templates: the text of a line is often constant, and what went wrong stands
// in a field.
func (d *Diagnoser) reasons(ctx context.Context, tenant string, f *explain.Facts) {
	q := d.asker(ctx)
	for i, t := range explain.ByTemplate(f.Templates) {
		if i == reasonTemplates {
			break
		}
		q.question("log lines", func(ctx context.Context) error {
			page, err := d.events.Logs(ctx, store.Query{Tenant: tenant, Window: f.Bad, Limit: reasonLines, Where: search.And{
				search.Match{Field: "service", Op: search.Equal, Value: t.Service},
				search.Match{Field: "template", Op: search.Equal, Value: fmt.Sprintf("%016x", t.Template)},
			}})
			if reason := explain.Reason(page.Rows); reason != "" {
				for k := range f.Templates { // each question has its own template, so that none writes another's
					if f.Templates[k].Same(&t) {
						f.Templates[k].Reason = reason
					}
				}
			}
			return err
		})
	}
	_ = q.Wait() // a question that fails was logged, and leaves its evidence as it is
}

// stoppedBefore is how long before the onset a service must have stopped sending spans for that to be its way.
const stoppedBefore = 15 * time.Second

// maxCalls bounds the hosts and RPC services, each, that are looked up among the services that send no spans.
const maxCalls = 8

// untraced finds the hosts and RPC services that are called and behind which a service is known, though it sends no spans:
// by its log lines or by its metrics. Peers learn of them.
func (d *Diagnoser) untraced(ctx context.Context, tenant string, s *scope, f *explain.Facts, counts []store.TemplateCount, rpcs []locate.Call, peers locate.Peers) {
	traced := map[string]bool{}
	for _, o := range f.OpsNow {
		traced[o.Service] = true
	}
	lately := store.Window{From: s.onset.Add(-stoppedBefore).Add(time.Nanosecond), To: s.onset}
	for service, steps := range s.heard {
		// One that fell silent at the onset is out of reach, or down.
		traced[service] = traced[service] || slices.ContainsFunc(steps, lately.Contains)
	}
	logs := map[string]bool{}
	for _, c := range counts {
		logs[c.Service] = true
	}
	var calls []locate.Call
	for _, e := range slices.Concat(f.EdgesNow, f.EdgesUsual) {
		if c := (locate.Call{Host: e.To}); e.Kind == store.EdgeRemote && !slices.Contains(calls, c) && len(calls) < maxCalls {
			calls = append(calls, c)
		}
	}
	calls = append(calls, rpcs[:min(len(rpcs), maxCalls)]...)
	found := make([]struct {
		name string
		explain.Untraced
	}, len(calls))
	span := store.Window{From: maxTime(f.Normal.From, s.onset.Add(-5*time.Minute)), To: s.whole.To}
	q := d.asker(ctx)
	for i, call := range calls {
		q.question("untraced services", func(ctx context.Context) error {
			// Who serves what changes seldom, and is known from before a service fell silent.
			names, err := d.behind(ctx, tenant, call, store.Window{From: s.onset.Add(-time.Hour), To: span.To})
			if err != nil {
				return err
			}
			for _, name := range names {
				if traced[name] {
					return nil
				}
				var lines []store.Line
				if d.metrics != nil {
					lines, err = d.metrics.ServiceSeries(ctx, tenant, name, span, 5*time.Second, 1000)
				}
				if len(lines) > 0 || logs[name] {
					found[i].name, found[i].Untraced = name, explain.NewUntraced(call.Host, lines, s.onset)
					return err
				}
			}
			return err
		})
	}
	_ = q.Wait() // a question that fails was logged, and leaves its evidence as it is
	for i, u := range found {
		if u.name == "" {
			continue
		}
		if f.Untraced == nil {
			f.Untraced = map[string]explain.Untraced{}
		}
		f.Untraced[u.name] = u.Untraced
		peers.Untraced(calls[i], u.name)
	}
}

// behind lists the names that the service which answers a call may go by. Of an RPC that several services say they serve,
// none is taken.
func (d *Diagnoser) behind(ctx context.Context, tenant string, call locate.Call, w store.Window) ([]string, error) {
	if call.RPC == "" {
		return explain.HostServices(call.Host), nil
	}
	if d.metrics == nil {
		return nil, nil
	}
	names, err := d.metrics.RPCServers(ctx, tenant, call.RPC, w)
	if err != nil || len(names) > 1 {
		return nil, err
	}
	return names, nil
}

// history0 is where the normal period really begins.
func history0(w store.Window, normal []locate.Trace, s *scope) time.Time {
	first := w.To
	for _, t := range normal {
		for i := range t.Spans {
			if at := time.Unix(0, t.Spans[i].Start).UTC(); at.Before(first) {
				first = at
			}
		}
	}
	// A sample doesn't contain the first request; half a gap between samples is about how much is missed.
	first = first.Add(-w.To.Sub(first) / time.Duration(2*max(1, len(normal))))
	if first.Before(w.From) || len(normal) == 0 {
		return w.From
	}
	return first
}

// related are the shifts of services that take part in the operation's work, or send messages to those that do.
func (s *scope) related() []locate.Shift {
	reach := s.reach()
	for _, e := range s.edges {
		if e.Kind == store.EdgeMessage && reach[e.To] {
			reach[e.From] = true
		}
	}
	var out []locate.Shift
	for _, x := range s.shifts {
		if reach[x.Service] && !x.At.Before(s.onset.Add(-time.Minute)) {
			out = append(out, x)
		}
	}
	return out
}

// traces samples requests and fetches their traces.
func (d *Diagnoser) traces(ctx context.Context, tenant string, sel store.Selection, limit int) ([]locate.Trace, error) {
	refs, err := d.events.SampleTraces(ctx, sel, store.Random, limit)
	if err != nil || len(refs) == 0 {
		return nil, err
	}
	ids := make([]model.TraceID, len(refs))
	for i, r := range refs {
		ids[i] = r.ID
	}
	w := store.Window{From: sel.From.Add(-time.Minute), To: sel.To.Add(time.Minute)}
	spans, err := d.events.Traces(ctx, tenant, ids, w, limit*spansATrace)
	if err != nil {
		return nil, err
	}
	byTrace := map[model.TraceID][]model.Span{}
	for i := range spans {
		byTrace[spans[i].TraceID] = append(byTrace[spans[i].TraceID], spans[i])
	}
	out := make([]locate.Trace, 0, len(refs))
	for _, r := range refs {
		if t := byTrace[r.ID]; len(t) > 0 {
			out = append(out, locate.Trace{Spans: t, Entry: r.Span})
		}
	}
	return out, nil
}

// suspects asks about the services in which the trouble lies: their resources, who holds them, and their versions.
func (d *Diagnoser) suspects(ctx context.Context, tenant string, s *scope, f *explain.Facts, bad, normal []locate.Trace) error {
	services := f.Suspects(maxSuspects)
	known := slices.Concat(bad, normal)
	changes := slices.Clone(s.changes)
	series := make([][]explain.Resource, len(services))
	holders := make([][3][]explain.Holder, len(services))
	versions := make([][2][]store.ValueStat, len(services))
	calling := make([][]locate.Trace, len(services))
	statements := make([]store.Difference, len(services))
	span := store.Window{From: maxTime(f.Normal.From, s.onset.Add(-5*time.Minute)), To: s.whole.To}
	step := max(5*time.Second, (span.Len() / 240).Truncate(time.Second))
	q := d.asker(ctx)
	for i, service := range services {
		if d.metrics != nil {
			q.question("series", func(ctx context.Context) error {
				lines, err := d.metrics.ServiceSeries(ctx, tenant, service, span, step, 1000)
				series[i] = explain.Resources(service, lines, s.onset)
				return err
			})
		}
		for k, w := range []store.Window{s.bad, f.Normal} {
			q.question("versions", func(ctx context.Context) (err error) {
				versions[i][k], err = d.events.Values(ctx, store.Selection{Tenant: tenant, Window: w, Service: service}, "service.version", 10)
				return err
			})
		}
		if f.Blame(model.ServiceEntity(service))+f.Beneath(service, "database") < 0.1 {
			continue
		}
		if key, value := databaseOf(known, service); key != "" {
			calls := store.Selection{Tenant: tenant, Service: service, Kinds: []model.SpanKind{model.SpanClient},
				Attrs: []store.AttrMatch{{Key: key, Value: value}}}
			q.question("held connections", func(ctx context.Context) error {
				now, usual := calls, calls
				now.Window, usual.Window = s.settled, f.Normal
				bad, err := d.traces(ctx, tenant, now, sampleHolders)
				if err != nil {
					return err
				}
				calling[i] = bad
				normal, err := d.traces(ctx, tenant, usual, sampleHolders)
				holders[i][0] = explain.Holders(explain.HeldSeconds, explain.Held(bad, service, s.settled.To), explain.Held(normal, service, time.Time{}))
				return err
			})
			q.question("statements", func(ctx context.Context) (err error) {
				now, usual := calls, calls
				now.Window, usual.Window = s.settled, f.Normal
				statements[i], err = d.events.AttributeDifference(ctx, store.DifferenceQuery{A: now, B: usual, Keys: explain.StatementKeys, Limit: 200})
				return err
			})
			q.question("database time", func(ctx context.Context) (err error) {
				holders[i][1], err = d.holders(ctx, tenant, s, explain.DatabaseSeconds, calls)
				return err
			})
		}
		q.question("busy time", func(ctx context.Context) (err error) {
			holders[i][2], err = d.holders(ctx, tenant, s, explain.BusySeconds, store.Selection{Tenant: tenant, Service: service,
				Kinds: []model.SpanKind{model.SpanServer, model.SpanConsumer}})
			return err
		})
	}
	if err := q.Wait(); err != nil {
		return err
	}
	for i, service := range services {
		f.Resources = append(f.Resources, series[i]...)
		if h := explain.Rank(holders[i][0], holders[i][1], holders[i][2]); len(h) > 0 {
			f.Holders[service] = h
		}
		if st := explain.Statements(statements[i], calling[i], bad, service); len(st) > 0 {
			f.Statements[service] = st
		}
		changes = append(changes, explain.NewVersions(service, versions[i][0], versions[i][1], s.changes)...)
	}
	f.AddPoolLogs(services)
	// What was under way when the fault began started before it, so the onset may be dated too early by that much.
	slack := 3*time.Second + time.Duration(min(s.now.mean(), 10)*float64(time.Second))
	f.Changes = explain.Changes(changes, firstServed(services, versions, f.Normal.From), s.onset, slack)
	return d.splits(ctx, tenant, s, f)
}

// firstServed is when each version of the services was first seen, by its change, if it was not there from the beginning.
func firstServed(services []string, versions [][2][]store.ValueStat, from time.Time) map[model.Entity]time.Time {
	out := map[model.Entity]time.Time{}
	for i, service := range services {
		for _, v := range slices.Concat(versions[i][0], versions[i][1]) {
			e := (&model.Change{Service: service, Version: v.Value}).Entity()
			if t := out[e]; t.IsZero() || v.First.Before(t) {
				out[e] = v.First
			}
			// One that comes as soon as its other requests let expect may have been there before.
			if gap := v.Last.Sub(v.First) / time.Duration(max(1, v.Count-1)); v.First.Sub(from) < 5*gap {
				out[e] = from
			}
		}
	}
	for e, t := range out {
		if t.Equal(from) {
			delete(out, e)
		}
	}
	return out
}

func (d *Diagnoser) holders(ctx context.Context, tenant string, s *scope, m explain.Measure, sel store.Selection) ([]explain.Holder, error) {
	a, b := sel, sel
	a.Window, b.Window = s.settled, s.normal
	diff, err := d.events.AttributeDifference(ctx, store.DifferenceQuery{A: a, B: b, Keys: explain.CallerKeys, FromTrace: true, Limit: 500})
	if err != nil {
		return nil, err
	}
	now, usual := explain.UsageOf(diff)
	return explain.Holders(m, now, usual), nil
}

// databaseOf is the attribute by which a service's calls to its database can be selected.
func databaseOf(traces []locate.Trace, service string) (key, value string) {
	counts := map[[2]string]int{}
	for _, t := range traces {
		for i := range t.Spans {
			if s := &t.Spans[i]; s.Kind == model.SpanClient && s.Service() == service {
				for _, k := range []string{"db.system.name", "db.system"} {
					if v := s.Attrs.Str(k); v != "" {
						counts[[2]string{k, v}]++
						break
					}
				}
			}
		}
	}
	best := 0
	for kv, n := range counts {
		if n > best || n == best && cmp.Or(cmp.Compare(kv[0], key), cmp.Compare(kv[1], value)) < 0 {
			key, value, best = kv[0], kv[1], n
		}
	}
	return key, value
}

// splits asks, for each deployment that may matter, whether the requests that its new version served are worse than
// those that others served at the same time.
func (d *Diagnoser) splits(ctx context.Context, tenant string, s *scope, f *explain.Facts) error {
	q := d.asker(ctx)
	for i := range f.Changes {
		c := &f.Changes[i]
		if c.Version == "" || c.Service == "" {
			continue
		}
		now, usual := meanOf(f.OpsNow, c.Service), meanOf(f.OpsUsual, c.Service)
		sel := store.Selection{Tenant: tenant, Window: s.settled, Service: c.Service, Kinds: []model.SpanKind{model.SpanServer, model.SpanConsumer}, Bad: true}
		if now > 1.2*usual && usual > 0 {
			sel.BadDuration = time.Duration(math.Sqrt(now*usual) * float64(time.Second))
		}
		rest := sel
		rest.Bad, rest.Good = false, true
		q.question("version", func(ctx context.Context) error {
			diff, err := d.events.AttributeDifference(ctx, store.DifferenceQuery{A: sel, B: rest, Keys: []string{"service.version"}, Limit: 20})
			if err != nil {
				return err
			}
			var bad, good int64
			for _, v := range diff.Values {
				if v.Value == c.Version {
					bad, good = v.A, v.B
				}
			}
			if n, m := bad+good, diff.A+diff.B-bad-good; n >= 5 && m >= 5 {
				c.Split = true
				c.Affected = math.Round(float64(bad)/float64(n)*1e6) / 1e6
				c.Others = math.Round(float64(diff.A-bad)/float64(m)*1e6) / 1e6
			}
			return nil
		})
	}
	return q.Wait()
}

func meanOf(stats []store.OperationStat, service string) float64 {
	var seconds float64
	var n int64
	for _, o := range stats {
		if o.Service == service {
			seconds += o.Mean * float64(o.Count)
			n += o.Count
		}
	}
	return seconds / float64(max(1, n))
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
