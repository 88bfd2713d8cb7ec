package alarm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	prom "github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"

	"triage/internal/model"
)

// Rule says what is watched and when it is wrong. One rule makes one alarm for each label set that Expr yields: its
// contributors.
type Rule struct {
	Name        string       `json:"name" yaml:"name"`
	Description string       `json:"description,omitempty" yaml:"description,omitempty"`
	Signal      model.Signal `json:"signal,omitempty" yaml:"signal,omitempty"`
	// Expr is PromQL; it is evaluated once every Period and yields one datapoint for each contributor.
	Expr string `json:"expr" yaml:"expr"`
	// Samples is PromQL with the same label sets: how many samples a datapoint rests on. A datapoint that rests on fewer
	// than MinSamples is missing.
	Samples    string  `json:"samples,omitempty" yaml:"samples,omitempty"`
	MinSamples float64 `json:"min_samples,omitempty" yaml:"min_samples,omitempty"`
	// Compare and Usual say when a datapoint is breaching. With both, both must hold.
	Compare *Compare `json:"compare,omitempty" yaml:"compare,omitempty"`
	Usual   *Usual   `json:"usual,omitempty" yaml:"usual,omitempty"`
	// Period is the time between datapoints.
	Period Duration `json:"period,omitempty" yaml:"period,omitempty"`
	// The alarm goes off when DatapointsToAlarm of EvaluationPeriods datapoints are breaching.
	EvaluationPeriods int     `json:"evaluation_periods,omitempty" yaml:"evaluation_periods,omitempty"`
	DatapointsToAlarm int     `json:"datapoints_to_alarm,omitempty" yaml:"datapoints_to_alarm,omitempty"`
	TreatMissingData  Missing `json:"treat_missing_data,omitempty" yaml:"treat_missing_data,omitempty"`
	// Unit is of the datapoints: "s", "ratio", "1/s" or the metric's own.
	Unit string `json:"unit,omitempty" yaml:"unit,omitempty"`
}

// Compare breaches on one side of a fixed threshold.
type Compare struct {
	Op        Op      `json:"op" yaml:"op"`
	Threshold float64 `json:"threshold" yaml:"threshold"`
}

// Op compares a datapoint with a threshold.
type Op string

// The comparisons.
const (
	Above   Op = ">"
	AtLeast Op = ">="
	Below   Op = "<"
	AtMost  Op = "<="
)

// Usual breaches when a datapoint is unlike the contributor's own past. All conditions that are set must hold.
type Usual struct {
	Direction Direction `json:"direction,omitempty" yaml:"direction,omitempty"`
	// Factor is how many times the usual is too much (or one such part of it too little). 2 is twice.
	Factor float64 `json:"factor,omitempty" yaml:"factor,omitempty"`
	// MinDelta is how far from the usual it must be at least, in the datapoint's unit.
	MinDelta float64 `json:"min_delta,omitempty" yaml:"min_delta,omitempty"`
	// Deviations is how many standard deviations of the usual noise it must be away.
	Deviations float64 `json:"deviations,omitempty" yaml:"deviations,omitempty"`
	// Noise says where the noise comes from.
	Noise Noise `json:"noise,omitempty" yaml:"noise,omitempty"`
	// MinDatapoints is how many datapoints must be known before any can breach.
	MinDatapoints int `json:"min_datapoints,omitempty" yaml:"min_datapoints,omitempty"`
}

// Direction is the side on which a datapoint is unusual.
type Direction string

// The directions.
const (
	Up   Direction = "up"
	Down Direction = "down"
	Both Direction = "both"
)

// Noise is how datapoints vary while nothing is wrong.
type Noise string

// The kinds of noise.
const (
	// NoiseSpread is measured: the median absolute deviation of past datapoints.
	NoiseSpread Noise = "spread"
	// NoiseRatio is NoiseSpread of the logarithms, for what varies by factors: durations.
	NoiseRatio Noise = "ratio"
	// NoiseShare is that of a share between 0 and 1 of Samples: binomial, and NoiseSpread besides.
	NoiseShare Noise = "share"
	// NoiseCount is that of events counted by Samples: Poisson, NoiseSpread besides, and unlike 19 of 20 past datapoints.
	NoiseCount Noise = "count"
)

// Missing is CloudWatch's treatment of missing data.
type Missing string

// The treatments of missing data.
const (
	TreatMissing      Missing = "missing"
	TreatNotBreaching Missing = "notBreaching"
	TreatBreaching    Missing = "breaching"
	TreatIgnore       Missing = "ignore"
)

// Duration is a time.Duration written "10s", "1m30s" or "1d".
type Duration time.Duration

// UnmarshalText reads what Go and Prometheus write.
func (d *Duration) UnmarshalText(text []byte) error {
	if v, err := time.ParseDuration(string(text)); err == nil {
		*d = Duration(v)
		return nil
	}
	v, err := prom.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a duration such as 10s or 1m30s", text)
	}
	*d = Duration(v)
	return nil
}

// MarshalText writes String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String is the duration as both read it, "1m" rather than "1m0s".
func (d Duration) String() string {
	if d > 0 && time.Duration(d)%time.Millisecond == 0 {
		return prom.Duration(d).String()
	}
	return time.Duration(d).String()
}

// Bounds of what a rule may ask for.
const (
	maxName    = 255
	maxPeriods = 1000
	minPeriod  = time.Second
	maxPeriod  = 7 * 24 * time.Hour
)

// ParseRule reads one rule as JSON, strictly, completes and validates it.
func ParseRule(b []byte) (Rule, error) {
	var r Rule
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return Rule{}, fmt.Errorf("alarm rule: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Rule{}, errors.New("alarm rule: there is more after the rule")
	}
	r = r.WithDefaults()
	return r, r.Validate()
}

// WithDefaults fills in what was left out.
func (r Rule) WithDefaults() Rule {
	def(&r.Signal, model.SignalMetric)
	def(&r.Period, Duration(time.Minute))
	def(&r.EvaluationPeriods, 1)
	def(&r.DatapointsToAlarm, r.EvaluationPeriods)
	def(&r.TreatMissingData, TreatMissing)
	if r.Usual != nil {
		u := *r.Usual
		def(&u.Direction, Up)
		def(&u.Noise, NoiseSpread)
		def(&u.MinDatapoints, 6)
		r.Usual = &u
	}
	return r
}

func def[T comparable](p *T, v T) {
	if *p == *new(T) {
		*p = v
	}
}

// Validate reports everything that is wrong with a rule that WithDefaults completed.
func (r Rule) Validate() error { return errors.Join(r.problems("")...) }

// ValidateRules reports everything that is wrong with a list of rules, by path: path "alarm.rules" gives
// "alarm.rules[2].period: ...".
func ValidateRules(path string, rules []Rule) error {
	var errs []error
	first := make(map[string]int, len(rules))
	for i, r := range rules {
		at := fmt.Sprintf("%s[%d].", path, i)
		errs = append(errs, r.WithDefaults().problems(at)...)
		if j, twice := first[r.Name]; twice && r.Name != "" {
			errs = append(errs, fmt.Errorf("%sname: %q is also the name of %s[%d]", at, r.Name, path, j))
			continue
		}
		first[r.Name] = i
	}
	return errors.Join(errs...)
}

func (r Rule) problems(at string) (errs []error) {
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf(at+field+": "+format, args...))
	}
	switch {
	case r.Name == "":
		bad("name", "is missing")
	case len(r.Name) > maxName:
		bad("name", "is %d bytes long, at most %d are allowed", len(r.Name), maxName)
	}
	switch r.Signal {
	case model.SignalErrors, model.SignalDuration, model.SignalRate, model.SignalMetric:
	default:
		bad("signal", "%q is none of errors, duration, rate, metric", r.Signal)
	}
	if r.Expr == "" {
		bad("expr", "is missing")
	} else if err := checkPromQL(r.Expr); err != nil {
		bad("expr", "%w", err)
	}
	if r.Samples != "" {
		if err := checkPromQL(r.Samples); err != nil {
			bad("samples", "%w", err)
		}
	}
	if r.MinSamples < 0 || math.IsNaN(r.MinSamples) {
		bad("min_samples", "%v is negative", r.MinSamples)
	}
	if r.MinSamples > 0 && r.Samples == "" {
		bad("min_samples", "%v needs samples to count", r.MinSamples)
	}
	if r.Compare == nil && r.Usual == nil {
		bad("compare", "neither compare nor usual is given")
	}
	if p := time.Duration(r.Period); p < minPeriod || p > maxPeriod {
		bad("period", "%s is not between %s and %s", r.Period, Duration(minPeriod), Duration(maxPeriod))
	}
	if r.EvaluationPeriods < 1 || r.EvaluationPeriods > maxPeriods {
		bad("evaluation_periods", "%d is not between 1 and %d", r.EvaluationPeriods, maxPeriods)
	}
	switch {
	case r.DatapointsToAlarm < 1:
		bad("datapoints_to_alarm", "%d is less than 1", r.DatapointsToAlarm)
	case r.DatapointsToAlarm > r.EvaluationPeriods:
		bad("datapoints_to_alarm", "%d is more than evaluation_periods (%d)", r.DatapointsToAlarm, r.EvaluationPeriods)
	}
	switch r.TreatMissingData {
	case TreatMissing, TreatNotBreaching, TreatBreaching, TreatIgnore:
	default:
		bad("treat_missing_data", "%q is none of missing, notBreaching, breaching, ignore", r.TreatMissingData)
	}
	if c := r.Compare; c != nil {
		switch c.Op {
		case Above, AtLeast, Below, AtMost:
		default:
			bad("compare.op", "%q is none of >, >=, <, <=", c.Op)
		}
		if math.IsNaN(c.Threshold) || math.IsInf(c.Threshold, 0) {
			bad("compare.threshold", "%v is not a number that values can cross", c.Threshold)
		}
	}
	if u := r.Usual; u != nil {
		errs = append(errs, u.problems(at+"usual.", r.Samples != "")...)
	}
	return errs
}

func (u Usual) problems(at string, samples bool) (errs []error) {
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf(at+field+": "+format, args...))
	}
	switch u.Direction {
	case Up, Down, Both:
	default:
		bad("direction", "%q is none of up, down, both", u.Direction)
	}
	switch u.Noise {
	case NoiseSpread, NoiseRatio:
	case NoiseShare, NoiseCount:
		if !samples {
			bad("noise", "%q needs samples to count", u.Noise)
		}
	default:
		bad("noise", "%q is none of spread, ratio, share, count", u.Noise)
	}
	if u.Factor != 0 && !(u.Factor > 1) {
		bad("factor", "%v is not more than 1", u.Factor)
	}
	if !(u.MinDelta >= 0) {
		bad("min_delta", "%v is negative", u.MinDelta)
	}
	if !(u.Deviations >= 0) {
		bad("deviations", "%v is negative", u.Deviations)
	}
	if u.Factor == 0 && u.Deviations == 0 && u.MinDelta == 0 {
		bad("factor", "none of factor, min_delta, deviations is given")
	}
	if u.MinDatapoints < 1 || u.MinDatapoints > usualLen {
		bad("min_datapoints", "%d is not between 1 and %d", u.MinDatapoints, usualLen)
	}
	return errs
}

// checkPromQL says where and why an expression cannot be read, or that it yields no numbers by label set.
func checkPromQL(expr string) error {
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		return err // begins with line:column
	}
	switch t := parsed.Type(); t {
	case parser.ValueTypeVector, parser.ValueTypeScalar:
		return nil
	default:
		return fmt.Errorf("1:1: it yields a %s, not an instant vector", parser.DocumentedType(t))
	}
}
