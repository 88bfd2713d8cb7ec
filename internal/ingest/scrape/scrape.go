// Package scrape fetches metrics from targets as Prometheus does, with Prometheus' own scrape manager and its own
// scrape_configs, and writes them to one tenant's metrics.
//
// It owns targets: finding them (static, file, HTTP and DNS discovery), fetching, relabelling. It refuses other kinds
// of discovery by name, because the clients they bring would double the program. Scraper is safe for concurrent use; Run
// owns every goroutine.
package scrape

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	commonmodel "github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage"
	"go.yaml.in/yaml/v3"

	// The kinds of discovery that register themselves with the configuration.
	_ "github.com/prometheus/prometheus/discovery/dns"
	_ "github.com/prometheus/prometheus/discovery/file"
	_ "github.com/prometheus/prometheus/discovery/http"
)

// discoveries are the keys of the kinds built in.
var discoveries = []string{"static_configs", "file_sd_configs", "http_sd_configs", "dns_sd_configs"}

// reloadInterval is how often news of targets is passed on.
const reloadInterval = time.Second

// defaultBodySize is how much one target may answer where its job does not say; Prometheus has no limit. A target of
// this size has half a million series.
const defaultBodySize = 64 << 20

// Options wires a Scraper.
type Options struct {
	// Appendable is where samples go.
	Appendable storage.AppendableV2
	// Dir is what relative paths in the configuration are relative to.
	Dir string
	// Registerer may be nil.
	Registerer prometheus.Registerer
	// Logger may be nil.
	Logger *slog.Logger
}

// Scraper scrapes while Run runs what was last applied.
type Scraper struct {
	dir     string
	log     *slog.Logger
	reg     prometheus.Registerer
	sd      *discovery.SDMetrics
	manager *scrape.Manager

	mu      sync.Mutex // guards what follows
	cfg     *config.Config
	finders *discovery.Manager // nil while Run does not run
}

// New makes a Scraper without targets.
func New(o Options) (*Scraper, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	reg := o.Registerer
	if reg == nil {
		reg = prometheus.NewRegistry() // Prometheus' packages do without none
	}
	reg = prometheus.WrapRegistererWithPrefix("triage_", reg)
	sd, err := discovery.CreateAndRegisterSDMetrics(reg)
	if err != nil {
		return nil, fmt.Errorf("register discovery metrics: %w", err)
	}
	manager, err := scrape.NewManager(&scrape.Options{
		AppendMetadata:           true,
		ParseST:                  true,
		DiscoveryReloadInterval:  commonmodel.Duration(reloadInterval),
		DiscoveryReloadOnStartup: true,
	}, o.Logger, nil, nil, o.Appendable, reg)
	if err != nil {
		return nil, fmt.Errorf("make scrape manager: %w", err)
	}
	cfg, err := Parse(nil, o.Dir)
	if err != nil {
		return nil, err
	}
	return &Scraper{dir: o.Dir, log: o.Logger, reg: reg, sd: sd, manager: manager, cfg: cfg}, nil
}

// Scrape is Prometheus' own manager, which knows the targets and how they fare; its API shows them.
func (s *Scraper) Scrape() *scrape.Manager { return s.manager }

// Config is what was applied last, with Prometheus' defaults filled in.
func (s *Scraper) Config() config.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *s.cfg
}

// Parse reads Prometheus' configuration, of which it takes global, scrape_configs and scrape_config_files.
func Parse(text []byte, dir string) (*config.Config, error) {
	cfg, err := config.Load(string(text), slog.New(slog.DiscardHandler))
	// Ours come first, because they say more of the same keys.
	if err := errors.Join(checkKeys(text), err); err != nil {
		return nil, fmt.Errorf("scrape configuration: %w", err)
	}
	if dir == "" {
		dir = "."
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("scrape configuration: %w", err)
	}
	cfg.SetDirectory(dir)
	// Files that scrape_config_files names are read here, so that their faults show here too.
	if _, err := cfg.GetScrapeConfigs(); err != nil {
		return nil, fmt.Errorf("scrape configuration: %w", err)
	}
	for _, job := range cfg.ScrapeConfigs {
		if job.BodySizeLimit == 0 {
			job.BodySizeLimit = defaultBodySize
		}
	}
	return cfg, nil
}

// checkKeys says what Prometheus takes and we don't, all of it at once and by the place it stands at.
func checkKeys(text []byte) error {
	var root yaml.Node
	if yaml.Unmarshal(text, &root) != nil {
		return nil // Prometheus says so
	}
	if len(root.Content) == 0 {
		return nil
	}
	var errs []error
	for key, value := range pairs(root.Content[0]) {
		switch key.Value {
		case "global", "scrape_config_files":
		case "scrape_configs":
			for i, job := range value.Content {
				errs = append(errs, checkJob(fmt.Sprintf("scrape_configs[%d]", i), job)...)
			}
		default:
			errs = append(errs, fmt.Errorf("line %d: %s is not for here; global, scrape_configs and scrape_config_files are", key.Line, key.Value))
		}
	}
	return errors.Join(errs...)
}

func checkJob(path string, job *yaml.Node) (errs []error) {
	for key, value := range pairs(job) {
		if key.Value == "job_name" {
			path += " (" + value.Value + ")"
		}
		if strings.HasSuffix(key.Value, "_sd_configs") && !slices.Contains(discoveries, key.Value) {
			errs = append(errs, fmt.Errorf("line %d: %s: %s is not built in; %s are", key.Line, path, key.Value, strings.Join(discoveries, ", ")))
		}
	}
	return errs
}

// pairs are the keys and values of a mapping in order.
func pairs(n *yaml.Node) func(yield func(key, value *yaml.Node) bool) {
	return func(yield func(key, value *yaml.Node) bool) {
		if n.Kind != yaml.MappingNode {
			return
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if !yield(n.Content[i], n.Content[i+1]) {
				return
			}
		}
	}
}

// Apply makes text the configuration, at once if Run runs and else when it does. On an error the present one stays.
func (s *Scraper) Apply(text []byte) error {
	cfg, err := Parse(text, s.dir)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.finders != nil {
		if err := s.apply(cfg); err != nil {
			return errors.Join(err, s.apply(s.cfg))
		}
	}
	s.cfg = cfg
	return nil
}

// apply wants mu held.
func (s *Scraper) apply(cfg *config.Config) error {
	jobs, err := cfg.GetScrapeConfigs()
	if err != nil {
		return fmt.Errorf("apply scrape configuration: %w", err)
	}
	finders := make(map[string]discovery.Configs, len(jobs))
	for _, job := range jobs {
		finders[job.JobName] = job.ServiceDiscoveryConfigs
	}
	// The scrape manager must know a job before its targets come.
	if err := s.manager.ApplyConfig(cfg); err != nil {
		return fmt.Errorf("apply scrape configuration: %w", err)
	}
	if err := s.finders.ApplyConfig(finders); err != nil {
		return fmt.Errorf("apply scrape configuration: %w", err)
	}
	return nil
}

// Run scrapes until ctx ends. It runs once.
func (s *Scraper) Run(ctx context.Context) error {
	finding, stop := context.WithCancel(ctx)
	defer stop()
	finders := discovery.NewManager(finding, s.log, s.reg, s.sd, discovery.Updatert(reloadInterval))
	if finders == nil {
		return errors.New("make discovery manager: its metrics are registered already")
	}
	defer finders.UnregisterMetrics()

	s.mu.Lock()
	s.finders = finders
	err := s.apply(s.cfg)
	s.mu.Unlock()
	if err != nil {
		return err
	}

	var wg sync.WaitGroup
	wg.Go(func() { _ = finders.Run() }) // ends with its context, and says only that
	wg.Go(func() {
		if err := s.manager.Run(finders.SyncCh()); err != nil {
			s.log.Error("scraping ended", "err", err)
		}
	})
	<-ctx.Done()
	s.mu.Lock()
	s.finders = nil
	s.mu.Unlock()
	s.manager.Stop()
	wg.Wait()
	return nil
}
