// Package compat lets programs that were written for other systems talk to triage. It owns the translation of their
// APIs and nothing behind it: no data, no goroutine. Handlers are safe for concurrent use.
//
//	/prometheus/api/v1/query, query_range, series, labels, ...   Prometheus' own API over the metric store
//	/prometheus/api/v1/write                                     remote write
package compat

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strconv"

	"github.com/grafana/regexp"
	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/route"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/util/notifications"
	v1 "github.com/prometheus/prometheus/web/api/v1"

	"triage/internal/ingest"
	"triage/internal/store/metrics"
)

// prometheusVersion is what clients are told that they talk to: some choose what they ask for by it. It is the version of
// the library.
const prometheusVersion = "3.13.5"

// Remote read serves few clients and much data; these are Prometheus' defaults, the last two lowered.
const (
	readMaxSamples     = 5e7
	readMaxConcurrent  = 4
	readMaxFrame       = 1 << 20
	maxMetadataDefault = -1 // no limit
)

// PrometheusOptions wires Prometheus.
type PrometheusOptions struct {
	Metrics *metrics.Store
	// Write takes remote write; nil answers 404.
	Write http.Handler
	// Scrape knows targets; nil has none.
	Scrape *scrape.Manager
	// Rules knows rule groups and their alerts; nil has none.
	Rules v1.RulesRetriever
	// Config is what status/config shows; nil shows an empty one.
	Config func() config.Config
	// Version is triage's own.
	Version string
	// Logger may be nil.
	Logger *slog.Logger
}

// Prometheus is Prometheus' HTTP API, with paths that begin with /api/v1. The tenant is named by the header
// ingest.TenantHeader.
func Prometheus(o PrometheusOptions) (http.Handler, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Config == nil {
		empty, err := config.Load("", o.Logger)
		if err != nil {
			return nil, fmt.Errorf("make an empty configuration: %w", err)
		}
		o.Config = func() config.Config { return *empty }
	}
	mux := http.NewServeMux()
	mux.Handle("/", tenanted(prometheusAPI(o)))
	// Prometheus knows metadata of what it scrapes only; we know it of what was sent, too.
	mux.Handle("GET /api/v1/metadata", tenanted(metadata(o.Metrics)))
	if o.Write != nil {
		mux.Handle("/api/v1/write", o.Write) // finds its tenant itself
	} else {
		mux.Handle("/api/v1/write", http.NotFoundHandler())
	}
	return mux, nil
}

// prometheusAPI is the one place that knows the order of NewAPI's arguments.
func prometheusAPI(o PrometheusOptions) http.Handler {
	data := byTenant{o.Metrics}
	api := v1.NewAPI(
		o.Metrics.Engine(),
		data,     // series
		nil, nil, // appendables: writing goes through the pipeline
		data, // exemplars
		func(context.Context) v1.ScrapePoolsRetriever { return targets{o.Scrape} },
		func(context.Context) v1.TargetRetriever { return targets{o.Scrape} },
		func(context.Context) v1.AlertmanagerRetriever { return noAlertmanagers{} },
		o.Config,
		map[string]string{}, // flags
		v1.GlobalURLOptions{},
		func(next http.HandlerFunc) http.HandlerFunc { return next }, // ready: nothing is mounted before
		noAdmin{},
		"",       // directory for snapshots
		false,    // admin endpoints
		false, 0, // search endpoints
		o.Logger,
		func(context.Context) v1.RulesRetriever {
			if o.Rules == nil {
				return noRules{}
			}
			return o.Rules
		},
		readMaxSamples, readMaxConcurrent, readMaxFrame,
		false,                    // agent
		regexp.MustCompile(`^$`), // CORS: no other origin
		func() (v1.RuntimeInfo, error) {
			return v1.RuntimeInfo{GoroutineCount: runtime.NumGoroutine(), GOMAXPROCS: runtime.GOMAXPROCS(0), ReloadConfigSuccess: true}, nil
		},
		&v1.PrometheusVersion{Version: prometheusVersion, Revision: o.Version, Branch: "triage", GoVersion: runtime.Version()},
		func() []notifications.Notification { return nil },
		func() (<-chan notifications.Notification, func(), bool) { return nil, func() {}, false },
		prometheus.NewRegistry(), // self_metrics: /metrics has them
		nil,                      // registerer
		nil,                      // statistics renderer
		false, remoteapi.MessageTypes{},
		false, false, false, // OTLP
		false, // start timestamps as zeros
		0,     // look-back of delta conversion
		false, // type and unit labels
		false, // append metadata
		nil,   // error codes
		nil,   // features
		v1.OpenAPIOptions{Version: prometheusVersion},
		parser.NewParser(parser.Options{}),
	)
	r := route.New()
	api.Register(r.WithPrefix("/api/v1"))
	return r
}

// metadata answers api/v1/metadata.
func metadata(s *metrics.Store) http.Handler {
	type entry struct {
		Type string `json:"type"`
		Help string `json:"help"`
		Unit string `json:"unit"`
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		limit := maxMetadataDefault
		if text := r.FormValue("limit"); text != "" {
			var err error
			if limit, err = strconv.Atoi(text); err != nil {
				respond(w, http.StatusBadRequest, map[string]any{"status": "error", "errorType": "bad_data", "error": "limit must be a number"})
				return
			}
		}
		known, err := s.Metadata(tenantOf(r.Context()))
		if err != nil {
			respond(w, http.StatusServiceUnavailable, map[string]any{"status": "error", "errorType": "unavailable", "error": err.Error()})
			return
		}
		out := map[string][]entry{}
		for _, name := range slices.Sorted(maps.Keys(known)) {
			if m := r.FormValue("metric"); m != "" && m != name {
				continue
			}
			if limit >= 0 && len(out) >= limit {
				break
			}
			md := known[name]
			out[name] = []entry{{Type: cmp.Or(md.Type, "unknown"), Help: md.Help, Unit: md.Unit}}
		}
		respond(w, http.StatusOK, map[string]any{"status": "success", "data": out})
	})
}

func respond(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client went
}

// targets is a scrape manager or nothing.
type targets struct{ *scrape.Manager }

func (t targets) ScrapePools() []string {
	if t.Manager == nil {
		return []string{}
	}
	return t.Manager.ScrapePools()
}

func (t targets) TargetsActive() map[string][]*scrape.Target {
	if t.Manager == nil {
		return nil
	}
	return t.Manager.TargetsActive()
}

func (t targets) TargetsDropped() map[string][]*scrape.Target {
	if t.Manager == nil {
		return nil
	}
	return t.Manager.TargetsDropped()
}

func (t targets) TargetsDroppedCounts() map[string]int {
	if t.Manager == nil {
		return nil
	}
	return t.Manager.TargetsDroppedCounts()
}

func (t targets) ScrapePoolConfig(pool string) (*config.ScrapeConfig, error) {
	if t.Manager == nil {
		return nil, fmt.Errorf("unknown scrape pool %s", pool)
	}
	return t.Manager.ScrapePoolConfig(pool)
}

// noAlertmanagers: triage notifies by itself.
type noAlertmanagers struct{}

func (noAlertmanagers) Alertmanagers() []*url.URL        { return nil }
func (noAlertmanagers) DroppedAlertmanagers() []*url.URL { return nil }

type noRules struct{}

func (noRules) RuleGroups() []*rules.Group           { return nil }
func (noRules) AlertingRules() []*rules.AlertingRule { return nil }

// noAdmin refuses what would act on, or tell of, one database where each tenant has its own.
type noAdmin struct{}

var errNoAdmin = fmt.Errorf("not offered here: %w", errors.ErrUnsupported)

func (noAdmin) CleanTombstones() error { return errNoAdmin }
func (noAdmin) Delete(context.Context, int64, int64, ...*labels.Matcher) error {
	return errNoAdmin
}
func (noAdmin) Snapshot(string, bool) error                    { return errNoAdmin }
func (noAdmin) Stats(string, int) (*tsdb.Stats, error)         { return nil, errNoAdmin }
func (noAdmin) WALReplayStatus() (tsdb.WALReplayStatus, error) { return tsdb.WALReplayStatus{}, nil }
func (noAdmin) BlockMetas() ([]tsdb.BlockMeta, error)          { return nil, errNoAdmin }

// tenanted puts the tenant that the request names into its context.
func tenanted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tenant, err := ingest.ParseTenant(r.Header.Get(ingest.TenantHeader))
		if err != nil {
			respond(w, http.StatusBadRequest, map[string]any{"status": "error", "errorType": "bad_data", "error": err.Error()})
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), tenantKey{}, tenant)))
	})
}
