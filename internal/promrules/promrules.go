// Package promrules evaluates Prometheus rule files, unchanged, in Prometheus' own rule manager: recording rules write
// their series, alerting rules report their alarms. It judges nothing itself, and sends nothing: what it reports becomes
// transitions in the one history of alarms, and from there incidents and messages.
package promrules

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	prom "github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"

	"triage/internal/alarm"
)

// Prometheus' own defaults.
const (
	outageTolerance = time.Hour
	forGrace        = 10 * time.Minute
	resendDelay     = time.Minute
	evaluations     = 4 // at a time
)

// Options wire a Manager.
type Options struct {
	Engine     *promql.Engine
	Queryable  storage.Queryable
	Appendable storage.Appendable
	// Report is told how alerts stand.
	Report     func([]alarm.Reported)
	Registerer prometheus.Registerer
	Logger     *slog.Logger
}

// Manager evaluates rule files.
type Manager struct {
	*rules.Manager
	cancel context.CancelFunc
}

// New makes a Manager without files.
func New(o Options) *Manager {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	// It is ended by Run's end, not by the caller's context alone: groups write stale markers when they stop.
	ctx, cancel := context.WithCancel(context.Background())
	m := rules.NewManager(&rules.ManagerOptions{
		QueryFunc: rules.EngineQueryFunc(o.Engine, o.Queryable), NotifyFunc: report(o.Report), Context: ctx,
		Appendable: o.Appendable, Queryable: o.Queryable, Logger: o.Logger, Registerer: o.Registerer,
		OutageTolerance: outageTolerance, ForGracePeriod: forGrace, ResendDelay: resendDelay,
		MaxConcurrentEvals: evaluations, ConcurrentEvalsEnabled: true, RestoreNewRuleGroups: true,
		Parser: parser.NewParser(parser.Options{}),
	})
	return &Manager{m, cancel}
}

// Run evaluates until ctx ends.
func (m *Manager) Run(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Manager.Run()
	}()
	<-ctx.Done()
	m.Manager.Stop()
	<-done
	m.cancel()
	return nil
}

// Files finds the files that patterns name and says what is wrong with them. A pattern may match none, as in Prometheus.
func Files(patterns []string) (files []string, errs []error) {
	for _, p := range patterns {
		found, err := filepath.Glob(p)
		if err != nil {
			errs = append(errs, fmt.Errorf("%q: %w", p, err))
		}
		files = append(files, found...)
	}
	slices.Sort(files)
	files = slices.Compact(files)
	for _, f := range files {
		_, problems := rulefmt.ParseFile(f, false, prom.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
		errs = append(errs, problems...)
	}
	return files, errs
}

// Load evaluates the files that patterns name from now on, in place of those before. When one is wrong, all stay as they
// were.
func (m *Manager) Load(patterns []string, every time.Duration) error {
	files, errs := Files(patterns)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return m.Update(every, files, labels.EmptyLabels(), "", nil)
}

// report turns Prometheus' alerts into alarms. The label alertname is the rule's name; the annotations give the reason.
func report(to func([]alarm.Reported)) rules.NotifyFunc {
	return func(_ context.Context, expr string, alerts ...*rules.Alert) {
		var out []alarm.Reported
		for _, a := range alerts {
			r := alarm.Reported{
				Rule: a.Labels.Get(labels.AlertName), Labels: a.Labels.Map(), Firing: a.ResolvedAt.IsZero(),
				At: a.FiredAt, Onset: a.ActiveAt, Value: a.Value, Until: a.ValidUntil, Reason: reason(expr, a),
			}
			delete(r.Labels, labels.AlertName)
			if !r.Firing {
				r.At = a.ResolvedAt
			}
			if math.IsNaN(r.Value) || math.IsInf(r.Value, 0) { // which JSON cannot say
				r.Value = 0
			}
			out = append(out, r)
		}
		if len(out) > 0 {
			to(out)
		}
	}
}

func reason(expr string, a *rules.Alert) string {
	for _, name := range []string{"summary", "description", "message"} {
		if text := a.Annotations.Get(name); text != "" {
			return text
		}
	}
	return strings.Join(strings.Fields(expr), " ") + " is " + strconv.FormatFloat(a.Value, 'g', 4, 64)
}
