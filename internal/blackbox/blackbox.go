// Package blackbox looks at services from outside, as the Prometheus blackbox exporter does and with its probers: HTTP and
// TCP, with TLS. Each check gives the exporter's series (probe_success, probe_duration_seconds, probe_http_status_code,
// probe_ssl_earliest_cert_expiry, ...), labelled with job, the check's name, and instance, its target; and two alarm rules.
// It judges nothing itself.
//
//	checks:
//	- name: shop
//	  target: https://shop.example/health
//	  every: 30s
//	  module:            # as in blackbox.yml; prober http or tcp by the target without it
//	    http:
//	      valid_status_codes: [200]
package blackbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	exporter "github.com/prometheus/blackbox_exporter/config"
	"github.com/prometheus/blackbox_exporter/prober"
	"github.com/prometheus/client_golang/prometheus"
	prom "github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	dto "github.com/prometheus/client_model/go"

	"triage/internal/alarm"
	"triage/internal/model"
)

// Bounds and defaults of checks.
const (
	DefaultEvery       = 30 * time.Second
	DefaultCertificate = 14 * 24 * time.Hour
	minEvery           = time.Second
	maxTimeout         = 10 * time.Second
	maxChecks          = 1000
	// atOnce bounds the checks that run at a time.
	atOnce = 20
)

// Check is one thing to look at.
type Check struct {
	Name string `yaml:"name"`
	// Target is a URL (http, https) or host:port (tcp).
	Target string         `yaml:"target"`
	Every  alarm.Duration `yaml:"every"`
	// Certificate is how long before its end a certificate raises an alarm.
	Certificate alarm.Duration `yaml:"certificate"`
	// Module is the exporter's.
	Module *exporter.Module `yaml:"module"`
	// Labels go onto the series, and with them onto the alarms: service, say.
	Labels map[string]string `yaml:"labels"`
}

var number = regexp.MustCompile(`^[0-9]{1,5}$`)

var probers = map[string]prober.ProbeFn{"http": prober.ProbeHTTP, "tcp": prober.ProbeTCP}

// WithDefaults fills in what was left out.
func (c Check) WithDefaults() Check {
	if c.Every == 0 {
		c.Every = alarm.Duration(DefaultEvery)
	}
	if c.Certificate == 0 {
		c.Certificate = alarm.Duration(DefaultCertificate)
	}
	m := exporter.DefaultModule
	if c.Module != nil {
		m = *c.Module
	}
	if m.Prober == "" {
		m.Prober = "tcp"
		if strings.HasPrefix(c.Target, "http://") || strings.HasPrefix(c.Target, "https://") {
			m.Prober = "http"
		}
	}
	if m.Timeout == 0 {
		m.Timeout = min(maxTimeout, time.Duration(c.Every))
	}
	c.Module = &m
	return c
}

// Validate reports everything that is wrong with a list of checks, by path.
func Validate(path string, checks []Check) (errs []error) {
	if len(checks) > maxChecks {
		errs = append(errs, fmt.Errorf("%s: %d checks are more than %d", path, len(checks), maxChecks))
	}
	first := make(map[string]int)
	for i, c := range checks {
		c = c.WithDefaults()
		bad := func(field, format string, args ...any) {
			errs = append(errs, fmt.Errorf("%s[%d].%s: %w", path, i, field, fmt.Errorf(format, args...)))
		}
		if c.Name == "" {
			bad("name", "is missing")
		} else if j, twice := first[c.Name]; twice {
			bad("name", "%q is also the name of %s[%d]", c.Name, path, j)
		} else {
			first[c.Name] = i
		}
		switch c.Module.Prober {
		case "http":
			if u, err := url.Parse(c.Target); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
				bad("target", "%q is not a URL such as https://shop.example/health", c.Target)
			}
		case "tcp":
			if _, port, err := net.SplitHostPort(c.Target); err != nil || !number.MatchString(port) {
				bad("target", "%q is not host:port", c.Target)
			}
		default:
			bad("module.prober", "%q is neither http nor tcp", c.Module.Prober)
		}
		if time.Duration(c.Every) < minEvery {
			bad("every", "%s is shorter than %s", c.Every, alarm.Duration(minEvery))
		}
		if c.Module.Timeout > time.Duration(c.Every) {
			bad("module.timeout", "%s is longer than every (%s)", c.Module.Timeout, c.Every)
		}
		for name := range c.Labels {
			if !prom.UTF8Validation.IsValidLabelName(name) || name == "job" || name == "instance" || strings.HasPrefix(name, "__") {
				bad("labels", "%q cannot be a label of a check", name)
			}
		}
	}
	return errs
}

// Rules are the alarms of checks: two of three failed in a row, and a certificate that ends soon.
func Rules(checks []Check) (rules []alarm.Rule) {
	for _, c := range checks {
		c = c.WithDefaults()
		job := fmt.Sprintf("{job=%q}", c.Name)
		rules = append(rules, alarm.Rule{
			Name:        "check " + c.Name,
			Description: c.Target + " does not answer as it should.",
			Expr:        "probe_success" + job,
			Compare:     &alarm.Compare{Op: alarm.Below, Threshold: 1},
			Period:      c.Every, EvaluationPeriods: 3, DatapointsToAlarm: 2,
		}, alarm.Rule{
			Name:        "certificate of " + c.Name,
			Description: "A certificate of " + c.Target + " ends soon.",
			Expr:        "(probe_ssl_earliest_cert_expiry" + job + " - time()) / 86400",
			Compare:     &alarm.Compare{Op: alarm.Below, Threshold: time.Duration(c.Certificate).Hours() / 24},
			Period:      max(c.Every, alarm.Duration(time.Minute)), TreatMissingData: alarm.TreatIgnore, Unit: "d",
		})
	}
	return rules
}

// Options wire a Prober.
type Options struct {
	Checks []Check
	// Append stores series.
	Append func(context.Context, []model.Series) error
	Logger *slog.Logger
}

// Prober runs checks.
type Prober struct {
	opts Options
	log  *slog.Logger
	room chan struct{}
}

// New makes a Prober, or says what is wrong with the checks.
func New(o Options) (*Prober, error) {
	if err := errors.Join(Validate("checks", o.Checks)...); err != nil {
		return nil, err
	}
	o.Checks = slices.Clone(o.Checks)
	for i := range o.Checks {
		o.Checks[i] = o.Checks[i].WithDefaults()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Prober{opts: o, log: o.Logger, room: make(chan struct{}, atOnce)}, nil
}

// Run checks until ctx ends: each at once, and then every so often.
func (p *Prober) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, c := range p.opts.Checks {
		wg.Go(func() {
			ticker := time.NewTicker(time.Duration(c.Every))
			defer ticker.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case p.room <- struct{}{}: // a check waits while too many run
				}
				if err := p.check(ctx, c); err != nil && ctx.Err() == nil {
					p.log.Error("result of a check is lost", "check", c.Name, "error", err)
				}
				<-p.room
				select {
				case <-ctx.Done():
					return
				case <-ticker.C:
				}
			}
		})
	}
	wg.Wait()
	return nil
}

// check looks once and stores what it saw.
func (p *Prober) check(ctx context.Context, c Check) error {
	probing, cancel := context.WithTimeout(ctx, c.Module.Timeout)
	defer cancel()
	registry := prometheus.NewRegistry()
	begun := time.Now()
	ok := probers[c.Module.Prober](probing, c.Target, *c.Module, registry, p.log.With("check", c.Name))
	if ctx.Err() != nil {
		return nil // it failed because we stop
	}
	now := time.Now()
	families, err := registry.Gather()
	if err != nil {
		return err
	}
	made := func(name, unit, help string, v float64) model.Series {
		return c.series(name, nil, "gauge", unit, help, now, v)
	}
	success := 0.0
	if ok {
		success = 1
	}
	out := []model.Series{
		made("probe_success", "", "Displays whether or not the probe was a success", success),
		made("probe_duration_seconds", "seconds", "Returns how long the probe took to complete in seconds", now.Sub(begun).Seconds()),
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var v float64
			typ := "gauge"
			switch f.GetType() {
			case dto.MetricType_GAUGE:
				v = m.GetGauge().GetValue()
			case dto.MetricType_COUNTER:
				v, typ = m.GetCounter().GetValue(), "counter"
			default:
				continue // no prober has others
			}
			out = append(out, c.series(f.GetName(), m.GetLabel(), typ, f.GetUnit(), f.GetHelp(), now, v))
		}
	}
	return p.opts.Append(ctx, out)
}

func (c Check) series(name string, own []*dto.LabelPair, typ, unit, help string, at time.Time, v float64) model.Series {
	b := labels.NewBuilder(labels.FromMap(c.Labels))
	for _, l := range own {
		b.Set(l.GetName(), l.GetValue())
	}
	b.Set(prom.MetricNameLabel, name)
	b.Set("job", c.Name)
	b.Set("instance", c.Target)
	return model.Series{Labels: b.Labels(), Samples: []model.Sample{{T: at.UnixMilli(), V: v}}, Type: typ, Unit: unit, Help: help}
}
