package alarm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/prometheus/alertmanager/timeinterval"
	prom "github.com/prometheus/common/model"

	"triage/internal/metricmath"
	"triage/internal/model"
)

// Rule says what is watched and when it is wrong. One rule makes one alarm for each label set that Expr yields: its
// contributors.
type Rule struct {
	Name        string       `json:"name" yaml:"name"`
	Description string       `json:"description,omitempty" yaml:"description,omitempty"`
	Signal      model.Signal `json:"signal,omitempty" yaml:"signal,omitempty"`
	// One of the next five gives the datapoints, one for each contributor every Period.
	//
	// Expr is PromQL.
	Expr string `json:"expr,omitempty" yaml:"expr,omitempty"`
	// Math is CloudWatch's metric math over PromQL.
	Math *Math `json:"math,omitempty" yaml:"math,omitempty"`
	// Logs and Spans count what a search finds.
	Logs  *Search `json:"logs,omitempty" yaml:"logs,omitempty"`
	Spans *Search `json:"spans,omitempty" yaml:"spans,omitempty"`
	// Composite is made of the states of other rules' alarms, as CloudWatch writes it: ALARM("a") AND NOT OK("b"). It has
	// no datapoints, and is evaluated as often as any other rule.
	Composite string `json:"composite,omitempty" yaml:"composite,omitempty"`
	// Samples is PromQL with the same label sets: how many samples a datapoint rests on. A datapoint that rests on fewer
	// than MinSamples is missing.
	Samples    string  `json:"samples,omitempty" yaml:"samples,omitempty"`
	MinSamples float64 `json:"min_samples,omitempty" yaml:"min_samples,omitempty"`
	// Percentile says that the datapoints are a percentile, 0.99 say, and LowSamples what to do when they rest on too few
	// samples for it.
	Percentile float64    `json:"percentile,omitempty" yaml:"percentile,omitempty"`
	LowSamples LowSamples `json:"low_samples,omitempty" yaml:"low_samples,omitempty"`
	// Compare and Usual say when a datapoint is breaching. With both, both must hold.
	Compare *Compare `json:"compare,omitempty" yaml:"compare,omitempty"`
	Usual   *Usual   `json:"usual,omitempty" yaml:"usual,omitempty"`
	// Period is the time between datapoints.
	Period Duration `json:"period,omitempty" yaml:"period,omitempty"`
	// The alarm goes off when DatapointsToAlarm of EvaluationPeriods datapoints are breaching.
	EvaluationPeriods int     `json:"evaluation_periods,omitempty" yaml:"evaluation_periods,omitempty"`
	DatapointsToAlarm int     `json:"datapoints_to_alarm,omitempty" yaml:"datapoints_to_alarm,omitempty"`
	TreatMissingData  Missing `json:"treat_missing_data,omitempty" yaml:"treat_missing_data,omitempty"`
	// Suppressor and Mute say when nobody is to be told of its alarms. They are evaluated and shown all the same.
	Suppressor *Suppressor  `json:"suppressor,omitempty" yaml:"suppressor,omitempty"`
	Mute       []MuteWindow `json:"mute,omitempty" yaml:"mute,omitempty"`
	// Quiet alarms open no incident: composite alarms are made of them.
	Quiet bool `json:"quiet,omitempty" yaml:"quiet,omitempty"`
	// Unit is of the datapoints: "s", "ratio", "1/s" or the metric's own.
	Unit string `json:"unit,omitempty" yaml:"unit,omitempty"`
}

// Math is an expression of CloudWatch's metric math. Metrics gives each of its names a PromQL expression. The expression is
// computed for each label set by itself; what has no labels is the same for all of them. It sees the last
// EvaluationPeriods+2 periods, which is what functions over time are over.
type Math struct {
	Expr    string            `json:"expr" yaml:"expr"`
	Metrics map[string]string `json:"metrics" yaml:"metrics"`
}

// Search is a condition on log records or spans, in the language of searches.
type Search struct {
	Query string `json:"query,omitempty" yaml:"query,omitempty"`
	// By are attributes; each combination of their values is a contributor.
	By []string `json:"by,omitempty" yaml:"by,omitempty"`
	// Value is what a datapoint tells of the rows found in a period: count (the default) or rate, of spans also errors (the
	// share that failed), mean, or a percentile such as p99 (of durations, in seconds).
	Value string `json:"value,omitempty" yaml:"value,omitempty"`
}

// LowSamples is CloudWatch's EvaluateLowSampleCountPercentile.
type LowSamples string

// What to do with percentiles of few samples: judge them all the same, or leave the state as it is.
const (
	LowSamplesEvaluate LowSamples = "evaluate"
	LowSamplesIgnore   LowSamples = "ignore"
)

// Suppressor keeps alarms from being told while another rule's alarm is in ALARM. Wait is how long an alarm waits for it to
// begin, Extension how long after its end it goes on.
type Suppressor struct {
	// Alarm is the name of a rule, or the ID of one alarm.
	Alarm     string   `json:"alarm" yaml:"alarm"`
	Wait      Duration `json:"wait,omitempty" yaml:"wait,omitempty"`
	Extension Duration `json:"extension,omitempty" yaml:"extension,omitempty"`
}

// MuteWindow is a time in which alarms are not told: from From to To, or at hours, weekdays, days and months as
// Alertmanager's time intervals name them.
type MuteWindow struct {
	From                      time.Time `json:"from,omitzero" yaml:"from,omitempty"`
	To                        time.Time `json:"to,omitzero" yaml:"to,omitempty"`
	timeinterval.TimeInterval `yaml:",inline"`
}

// Compare breaches on one side of a fixed threshold, or outside of a band.
type Compare struct {
	Op        Op      `json:"op" yaml:"op"`
	Threshold float64 `json:"threshold" yaml:"threshold"`
	// Band is CloudWatch's ANOMALY_DETECTION_BAND(expression, deviations) over the expression of the rule's Math, for the
	// comparisons with a band.
	Band string `json:"band,omitempty" yaml:"band,omitempty"`
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

// The comparisons with a band, as CloudWatch names them.
const (
	OutsideBand Op = "LessThanLowerOrGreaterThanUpperThreshold"
	AboveBand   Op = "GreaterThanUpperThreshold"
	BelowBand   Op = "LessThanLowerThreshold"
)

var bandSides = map[Op]Direction{OutsideBand: Both, AboveBand: Up, BelowBand: Down}

// judged is the rule as datapoints are judged by it: those that are compared with a band are judged by what is usual.
func (r Rule) judged() Rule {
	if r.Compare == nil || r.Compare.Band == "" {
		return r
	}
	_, deviations, _ := metricmath.ParseBand(r.Compare.Band) // which was validated
	r.Usual = &Usual{Direction: bandSides[r.Compare.Op], Deviations: deviations}
	r.Compare = nil
	return r.WithDefaults()
}

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
	// Exclude are times that are no example of what is usual: a migration, a load test.
	Exclude []Span `json:"exclude,omitempty" yaml:"exclude,omitempty"`
	// Record, if not empty, is the name under which what is usual is stored as series, for other rules and charts: NAME:usual,
	// NAME:lower and NAME:upper, with the labels of the contributor.
	Record string `json:"record,omitempty" yaml:"record,omitempty"`
}

// Span is a time range, To not included.
type Span struct {
	From time.Time `json:"from" yaml:"from"`
	To   time.Time `json:"to" yaml:"to"`
}

func (s Span) contains(at time.Time) bool { return !at.Before(s.From) && at.Before(s.To) }

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
	if r.Percentile != 0 {
		def(&r.LowSamples, LowSamplesEvaluate)
	}
	for _, s := range []**Search{&r.Logs, &r.Spans} {
		if *s != nil {
			c := **s
			def(&c.Value, "count")
			*s = &c
		}
	}
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
