// Package app wires everything together and owns its life cycle: what starts after what, and what stops before what.
// It is the only package that imports all others, and it decides nothing that a user of triage would notice, save for
// the configuration, which is its own.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/prometheus/tsdb/fileutil"
	"google.golang.org/grpc"

	"triage/internal/alarm"
	"triage/internal/api"
	"triage/internal/blackbox"
	"triage/internal/compat"
	"triage/internal/dashboard"
	"triage/internal/derive"
	"triage/internal/diagnose"
	"triage/internal/incident"
	"triage/internal/ingest"
	"triage/internal/ingest/hostmetrics"
	"triage/internal/ingest/otlp"
	"triage/internal/ingest/promwrite"
	"triage/internal/ingest/scrape"
	"triage/internal/model"
	"triage/internal/notify"
	"triage/internal/promrules"
	"triage/internal/record"
	"triage/internal/runbook"
	"triage/internal/slo"
	"triage/internal/store/events"
	"triage/internal/store/metrics"
	"triage/internal/store/state"
	"triage/web"
)

// How long things may take, and how often they happen.
const (
	stopTimeout  = 20 * time.Second
	deriveEvery  = 5 * time.Second
	headerTime   = 10 * time.Second
	idleTime     = 2 * time.Minute
	queryTime    = 60 * time.Second
	outOfOrder   = 25 * time.Hour // what a sender kept over a night, and what is counted of the day before an objective
	alarmDelay   = watchDelay     // after its end a period's series can be read
	queryMemory  = 1 << 30
	queryThreads = 2
)

// Options is what Run needs besides the configuration.
type Options struct {
	Config  Config
	Version string
	Logger  *slog.Logger
	// Reload receives a value each time the configuration should be read again by Load.
	Reload <-chan os.Signal
	Load   func() (Config, error)
	// Listening, if not nil, is called once with the address of each open port, when the server is ready.
	Listening func(map[string]net.Addr)
}

// Run serves until ctx ends, then stops everything in order. It returns an error if the start failed or something
// broke that cannot be mended while running.
func Run(ctx context.Context, o Options) (err error) {
	tuneGC()
	a := &app{Options: o, now: time.Now, started: time.Now(), failed: make(chan error, 1)}
	defer func() { err = errors.Join(err, a.stop()) }()
	if err := a.start(ctx); err != nil {
		return err
	}
	a.ready.Store(true)
	if o.Listening != nil {
		o.Listening(a.addrs)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-a.failed:
			return err
		case <-o.Reload:
			a.reload()
		}
	}
}

// app is a running server.
type app struct {
	Options
	now func() time.Time // the clock of everything that has one
	// replaying tells that the stores are for one replay: they need not survive a power failure, and must give the same
	// answers each time.
	replaying bool

	started time.Time
	ready   atomic.Bool
	failed  chan error
	addrs   map[string]net.Addr
	steps   []step // what to stop, in order of start

	registry  *prometheus.Registry
	reloadOK  prometheus.Gauge
	reloaded  atomic.Pointer[api.ConfigStatus]
	events    *events.Store
	metrics   *metrics.Store
	state     *state.Store
	pipeline  *ingest.Pipeline
	tap       *record.Tap
	sink      ingest.Sink // the pipeline, and the tap behind it
	scrape    *scrape.Scraper
	sources   *alarm.Sources // nil where no alarms are judged
	alarms    *alarm.Evaluator
	incidents *incident.Manager
	diagnose  *diagnose.Diagnoser
	notify    *notify.Manager
	slos      *slo.Manager
	runbooks  *runbook.Manager
	// dashboards keeps what people look at.
	dashboards *dashboard.Keeper
	// configured tells that the configuration says who is told, so that nobody else may.
	configured atomic.Bool
	secrets    atomic.Pointer[[]string] // see learnSecrets
	rules      *promrules.Manager
}

type step struct {
	name string
	stop func(context.Context) error
}

func (a *app) onStop(name string, stop func(context.Context) error) {
	a.steps = append(a.steps, step{name, stop})
}

// fail stops the server with an error that cannot be mended while running.
func (a *app) fail(err error) {
	select {
	case a.failed <- err:
	default: // another failure is already stopping us
	}
}

// background runs fn until its turn to stop comes. If it ends with an error before that, the whole server stops.
func (a *app) background(name string, fn func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := fn(ctx); err != nil && ctx.Err() == nil {
			a.fail(fmt.Errorf("%s: %w", name, err))
		}
	}()
	a.onStop(name, func(stop context.Context) error {
		cancel()
		select {
		case <-done:
			return nil
		case <-stop.Done():
			return stop.Err()
		}
	})
}

func (a *app) stop() error {
	a.ready.Store(false)
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	var errs []error
	for _, s := range slices.Backward(a.steps) { // edges first, stores last: requests must not outlive them
		if err := s.stop(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", s.name, err))
		}
	}
	return errors.Join(errs...)
}

func (a *app) start(ctx context.Context) error {
	listeners, err := a.listen()
	if err != nil {
		return err
	}
	if err := a.openStores(ctx); err != nil {
		return err
	}
	a.background("metrics upkeep", a.metrics.Run)
	a.background("events upkeep", a.events.Run)
	if err := a.startJudges(ctx); err != nil {
		return err
	}
	return a.startEdges(listeners)
}

// listen opens the ports first: the likeliest mistake is found before anything is touched.
func (a *app) listen() (map[string]net.Listener, error) {
	listeners := map[string]net.Listener{}
	a.addrs = map[string]net.Addr{}
	a.onStop("listeners", func(context.Context) error {
		for _, l := range listeners {
			_ = l.Close() // closed already when its server was stopped
		}
		return nil
	})
	var errs []error
	for _, p := range a.Config.Listen.ports() {
		if p.addr == off {
			continue
		}
		l, err := net.Listen("tcp", p.addr)
		if err != nil {
			s := setting{path: "listen." + p.name}
			errs = append(errs, fmt.Errorf("listen on %s: %w; move it with --%s HOST:PORT or %s, or close it with off",
				p.addr, err, s.flag(), s.env()))
			continue
		}
		listeners[p.name], a.addrs[p.name] = l, l.Addr()
	}
	return listeners, errors.Join(errs...)
}

func (a *app) openStores(ctx context.Context) error {
	c := a.Config
	if err := os.MkdirAll(c.Data, 0o755); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	lock, _, err := fileutil.Flock(filepath.Join(c.Data, "lock"))
	if err != nil {
		return fmt.Errorf("lock data directory %s: %w; is another triage running on it?", c.Data, err)
	}
	a.onStop("lock", func(context.Context) error { return lock.Release() })

	a.registry = prometheus.NewRegistry()
	a.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "triage_build_info", Help: "1, labelled with the version."}, []string{"version"})
	build.WithLabelValues(a.Version).Set(1)
	a.reloadOK = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "triage_config_last_reload_successful",
		Help: "1 if the configuration was taken over when it was last read, else 0.",
	})
	a.reloadOK.Set(1)
	a.reloaded.Store(&api.ConfigStatus{At: a.started.UTC()})
	a.registry.MustRegister(build, a.reloadOK)

	if a.state, err = state.Open(ctx, filepath.Join(c.Data, "state.db")); err != nil {
		return fmt.Errorf("open state: %w", err)
	}
	a.onStop("state", func(context.Context) error { return a.state.Close() })
	a.metrics, err = metrics.Open(metrics.Options{
		Dir: filepath.Join(c.Data, "metrics"), Retention: time.Duration(c.Retention.Metrics.Age),
		MaxBytes: int64(c.Retention.Metrics.Size), OutOfOrder: outOfOrder, Now: a.now, Registerer: a.registry, Logger: a.Logger,
	})
	if err != nil {
		return fmt.Errorf("open metrics: %w", err)
	}
	a.onStop("metrics", func(context.Context) error { return a.metrics.Close() })
	opts := events.Options{
		Dir: filepath.Join(c.Data, "events"), Retention: time.Duration(c.Retention.Events.Age),
		MaxBytes: int64(c.Retention.Events.Size), MemoryLimit: queryMemory, Threads: queryThreads,
		Now: a.now, Registerer: a.registry, Logger: a.Logger,
	}
	if a.replaying {
		opts.FS, opts.Threads = events.Unsynced(), 1 // two threads add up in whatever order they come
	}
	a.events, err = events.Open(ctx, opts)
	if err != nil {
		return fmt.Errorf("open events: %w", err)
	}
	a.onStop("events", func(context.Context) error { return a.events.Close() })
	return nil
}

func (a *app) startJudges(ctx context.Context) error {
	a.sources = alarm.NewSources()
	if err := a.sources.Load(ctx, a.state, model.DefaultTenant, a.now()); err != nil {
		return fmt.Errorf("restore sources: %w", err)
	}
	w, err := a.makeJudges(ctx)
	if err != nil {
		return err
	}
	who, err := a.who(ctx, a.Config)
	if err != nil {
		return err
	}
	a.notify = notify.New(notify.Options{
		Config: who, State: a.state, URL: a.Config.publicURL(), Suppressed: a.suppressed, Registerer: a.registry, Logger: a.Logger,
	})
	a.learnSecrets(ctx, a.Config)
	a.runbooks = runbook.New(runbook.Options{State: a.state, Secrets: func() []string { return *a.secrets.Load() }, Registerer: a.registry, Logger: a.Logger})
	w.tell = func(inc model.Incident) {
		a.notify.Observe(inc)
		a.runbooks.Observe(inc)
	}
	a.background("notifications", a.notify.Run)
	a.background("runbooks", a.runbooks.Run)
	if err := a.startRules(); err != nil {
		return err
	}
	a.slos = slo.New(slo.Options{Metrics: a.metrics, Events: a.events, State: a.state, Rules: a.alarms.SetDerived, Logger: a.Logger})
	if err := a.slos.Reload(ctx, model.DefaultTenant); err != nil {
		return fmt.Errorf("load service level objectives: %w", err)
	}
	a.dashboards = dashboard.New(dashboard.Options{State: a.state, Now: time.Now})
	if err := a.dashboards.Reload(ctx, model.DefaultTenant); err != nil {
		return fmt.Errorf("load dashboards: %w", err)
	}
	a.background("objectives", func(ctx context.Context) error { return a.slos.Run(ctx, model.DefaultTenant) })
	a.background("alarms", w.run)
	return nil
}

// startRules evaluates Prometheus rule files. Their alarms take the way of all others from the evaluator on.
func (a *app) startRules() error {
	queryable, err := a.metrics.Queryable(model.DefaultTenant)
	if err != nil {
		return err
	}
	appendable, err := a.metrics.Appendable(model.DefaultTenant)
	if err != nil {
		return err
	}
	a.rules = promrules.New(promrules.Options{
		Engine: a.metrics.Engine(), Queryable: queryable, Appendable: appendable, Registerer: a.registry, Logger: a.Logger,
		Report: func(list []alarm.Reported) { a.alarms.Report(model.DefaultTenant, list) },
	})
	if err := a.loadRules(a.Config); err != nil {
		return err
	}
	a.background("rule files", a.rules.Run)
	return nil
}

func (a *app) loadRules(c Config) error {
	if err := a.rules.Load(c.RuleFiles, time.Duration(c.EvaluationInterval)); err != nil {
		return fmt.Errorf("rule_files: %w", err)
	}
	return nil
}

// suppressed says why nobody is to be told of an alarm, as it stands now.
func (a *app) suppressed(tenant, id string) string {
	for _, al := range a.alarms.Alarms(tenant) {
		if al.ID == id {
			return al.Suppressed
		}
	}
	return ""
}

// makeJudges makes everything between series and verdicts; time comes in with the watch's ticks.
func (a *app) makeJudges(ctx context.Context) (w *watch, err error) {
	a.alarms, err = alarm.New(alarm.Options{
		Metrics: a.metrics, Events: a.events, State: a.state, Selects: a.metrics.Selects, Rules: a.Config.Alarms.Rules, Automatic: automatic(a.Config),
		Delay: alarmDelay, Sources: a.sources, Registerer: a.registry, Logger: a.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("restore alarms: %w", err)
	}
	calls := &topology{metrics: a.metrics, now: a.now, log: a.Logger, parts: map[string]part{}}
	a.incidents = incident.New(incident.Options{State: a.state, Apart: calls.apart, Logger: a.Logger})
	a.diagnose = diagnose.New(diagnose.Options{
		Events: a.events, Metrics: a.metrics, State: a.state, Rows: a.events, Templates: a.state, Aggregates: a.metrics, Logger: a.Logger,
	})
	w, err = newWatch(ctx, watch{alarms: a.alarms, incidents: a.incidents, diagnose: a.diagnose, state: a.state, log: a.Logger}, time.Now())
	if err != nil {
		return nil, fmt.Errorf("restore verdicts: %w", err)
	}
	return w, nil
}

func automatic(c Config) []alarm.Rule {
	rules := blackbox.Rules(c.Checks)
	if c.Alarms.Automatic {
		rules = append(alarm.Automatic(), rules...)
	}
	return rules
}

func (a *app) startEdges(listeners map[string]net.Listener) error {
	c := a.Config
	instance, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("name this host: %w", err)
	}
	processes := newProcesses(instance)
	deriver, err := a.makePipeline(instance, processes)
	if err != nil {
		return err
	}
	a.background("derive", func(ctx context.Context) error { return deriver.Run(ctx, deriveEvery, a.writeDerived) })
	a.tap = record.NewTap(record.TapOptions{Host: instance, Version: a.Version, Registerer: a.registry, Logger: a.Logger})
	a.sink = recorded{a.pipeline, a.tap}
	if c.HostMetrics.Enabled {
		host := hostmetrics.New(hostmetrics.Options{
			Interval: time.Duration(c.HostMetrics.Interval), Services: processes.services, Logger: a.Logger,
			Append: func(ctx context.Context, s []model.Series) error {
				_, err := a.sink.Accept(ctx, &model.Batch{Tenant: model.DefaultTenant, Source: "hostmetrics", Series: s})
				return err
			},
		})
		a.background("host metrics", host.Run)
	}
	prober, err := blackbox.New(blackbox.Options{
		Checks: c.Checks, Logger: a.Logger,
		Append: func(ctx context.Context, s []model.Series) error {
			_, err := a.sink.Accept(ctx, &model.Batch{Tenant: model.DefaultTenant, Source: "checks", Series: s})
			return err
		},
	})
	if err != nil {
		return err
	}
	a.background("checks", prober.Run)
	if err := a.startScrape(); err != nil {
		return err
	}
	return a.serve(listeners)
}

// makePipeline makes everything between an edge and the stores. What is derived is written by the caller's clock.
func (a *app) makePipeline(instance string, p *processes) (*derive.Deriver, error) {
	opts := derive.Options{Instance: instance, Templates: a.state, Registerer: a.registry, Logger: a.Logger, Now: a.now}
	if a.sources != nil {
		opts.Answered = func(tenant string, told []derive.Answer) {
			now := a.now()
			for _, t := range told {
				a.sources.Answered(tenant, t.Service, alarm.Answers{Likely: t.Likely, Calls: t.Calls, Failed: t.Failed}, now)
			}
		}
	}
	deriver := derive.New(opts)
	if err := deriver.Load(context.Background()); err != nil {
		return nil, fmt.Errorf("load log templates: %w", err)
	}
	a.pipeline = ingest.NewPipeline(ingest.Options{
		Events: a.events, Metrics: a.metrics, State: a.state, Deriver: watched{deriver, p, a.sources, a.now},
		MaxInFlight: int64(a.Config.Ingest.MaxInFlight), Registerer: a.registry, Logger: a.Logger,
	})
	return deriver, nil
}

func (a *app) writeDerived(ctx context.Context, tenant string, s []model.Series) error {
	_, err := a.metrics.Append(ctx, tenant, s)
	return err
}

func (a *app) startScrape() error {
	appendable, err := a.metrics.Appendable(model.DefaultTenant)
	if err != nil {
		return err
	}
	if a.scrape, err = scrape.New(scrape.Options{Appendable: a.tap.Appendable(appendable, model.DefaultTenant, "scrape"), Registerer: a.registry, Logger: a.Logger}); err != nil {
		return fmt.Errorf("scrape: %w", err)
	}
	if err := a.applyScrape(a.Config); err != nil {
		return err
	}
	a.sources.Scraped(func() []alarm.Target { return targets(a.scrape.Scrape()) })
	a.background("scrape", a.scrape.Run)
	return nil
}

func (a *app) applyScrape(c Config) error {
	text, err := c.scrapeYAML()
	if err != nil {
		return err
	}
	return a.scrape.Apply(text)
}

func (a *app) serve(listeners map[string]net.Listener) error {
	c := a.Config
	collector := otlp.New(otlp.Options{
		Sink: a.sink, MaxBody: int64(c.Ingest.MaxBody), AllowedOrigins: c.AllowedOrigins,
		Registerer: a.registry, Logger: a.Logger,
	})
	prom, err := compat.Prometheus(compat.PrometheusOptions{
		Metrics: a.metrics, Write: promwrite.New(promwrite.Options{Sink: a.sink, MaxBody: int64(c.Ingest.MaxBody), Registerer: a.registry, Logger: a.Logger}),
		Scrape: a.scrape.Scrape(), Rules: a.rules, Version: a.Version, Logger: a.Logger,
	})
	if err != nil {
		return fmt.Errorf("prometheus API: %w", err)
	}
	token, err := a.token()
	if err != nil {
		return err
	}
	page, err := api.New(api.Options{
		Manifests: a.declared(), Runbooks: a.runbooks, Dashboards: a.dashboards, Token: token,
		Events: a.events, Metrics: a.metrics, State: a.state, Alarms: a.alarms, Incidents: a.incidents, SLOs: a.slos, Notify: a.notify,
		Record: func(ctx context.Context, tenant string, c model.Change) error {
			_, err := a.sink.Accept(ctx, &model.Batch{Tenant: tenant, Source: "api", Changes: []model.Change{c}})
			return err
		},
		Diagnose: func(ctx context.Context, r diagnose.Request) (model.Verdict, error) {
			v, _, err := a.diagnose.Diagnose(ctx, r, time.Now())
			return v, err
		},
		SQL: func(ctx context.Context, tenant, query string) (events.SQLResult, error) {
			return a.events.SQL(ctx, tenant, query, events.SQLLimits{})
		},
		Tap: a.tap, Received: a.pipeline.Status, Storage: a.storage, Config: func() api.ConfigStatus { return *a.reloaded.Load() }, Ready: a.ready.Load, Version: a.Version, Started: a.started, Now: time.Now,
		Logger: a.Logger, AllowedHosts: c.AllowedHosts, Prometheus: prom,
		SelfMetrics: promhttp.HandlerFor(a.registry, promhttp.HandlerOpts{}), Page: web.Files(),
	})
	if err != nil {
		return err
	}
	a.serveHTTP("page and API", listeners["http"], page)
	a.onStop("recordings", func(context.Context) error { a.tap.Close(); return nil }) // before the page: they have no end by themselves
	a.serveHTTP("OTLP over HTTP", listeners["otlp_http"], api.GuardHost(c.AllowedHosts, collector.Handler()))
	a.serveGRPC(listeners["otlp_grpc"], collector.GRPC())
	return nil
}

// storage tells what is kept. Bounds hold from the start of the server on.
func (a *app) storage() api.Storage {
	kept := func(r Retention) api.Kept {
		return api.Kept{MaxBytes: int64(r.Size), MaxAge: time.Duration(r.Age).Seconds()}
	}
	out := api.Storage{Events: kept(a.Config.Retention.Events), Metrics: kept(a.Config.Retention.Metrics)}
	if st, err := a.events.Stats(context.Background()); err == nil {
		out.Events.Bytes = st.Bytes
	}
	out.Metrics.Bytes, out.Metrics.Series = a.metrics.Size()
	return out
}

func (a *app) serveHTTP(name string, l net.Listener, h http.Handler) {
	if l == nil {
		return
	}
	base, cancel := context.WithCancel(context.Background())
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, WriteTimeout: queryTime,
		BaseContext: func(net.Listener) context.Context { return base },
		ErrorLog:    slog.NewLogLogger(a.Logger.Handler(), slog.LevelDebug),
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			a.fail(fmt.Errorf("serve %s: %w", name, err))
		}
	})
	a.onStop(name, func(ctx context.Context) error {
		defer wg.Wait()
		grace, done := context.WithTimeout(ctx, 2*time.Second)
		defer done()
		err := srv.Shutdown(grace)
		cancel() // what still runs (a tail, a long query) ends now
		if err != nil {
			err = srv.Close()
		}
		return err
	})
}

func (a *app) serveGRPC(l net.Listener, srv *grpc.Server) {
	if l == nil {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := srv.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			a.fail(fmt.Errorf("serve OTLP over gRPC: %w", err))
		}
	})
	a.onStop("OTLP over gRPC", func(ctx context.Context) error {
		force := time.AfterFunc(2*time.Second, srv.Stop)
		srv.GracefulStop()
		force.Stop()
		wg.Wait()
		return nil
	})
}

// reload takes over what can change while running; the rest needs a restart and is named.
func (a *app) reload() {
	next, err := a.Load()
	if err == nil {
		err = a.applyScrape(next)
	}
	var who *notify.Config
	if err == nil {
		who, err = a.who(context.Background(), next)
	}
	if err == nil {
		err = a.alarms.SetRules(next.Alarms.Rules)
	}
	if err == nil {
		err = a.loadRules(next)
	}
	if err == nil {
		a.notify.SetConfig(who)
		a.learnSecrets(context.Background(), next)
	}
	if err != nil {
		a.reloadOK.Set(0)
		a.reloaded.Store(&api.ConfigStatus{At: time.Now().UTC(), Error: err.Error()})
		a.Logger.Error("configuration kept as it was", "error", err)
		return
	}
	a.reloadOK.Set(1)
	a.reloaded.Store(&api.ConfigStatus{At: time.Now().UTC()})
	log, old, now := a.Logger, a.Config.settings(), next.settings()
	for i := range old {
		if a, b := fmt.Sprint(deref(old[i].value)), fmt.Sprint(deref(now[i].value)); a != b && !slices.Contains([]string{"notify.file", "evaluation_interval"}, old[i].path) {
			log.Warn("setting takes effect at the next start", "setting", old[i].path, "value", b)
		}
	}
	if !reflect.DeepEqual(a.Config.Checks, next.Checks) {
		log.Warn("setting takes effect at the next start", "setting", "checks")
	}
	a.Config = next
	a.Logger.Info("configuration reloaded")
}
