package slo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// SLO is a service level objective as OpenSLO v1 writes it, with what of that format can be measured here: one indicator, that
// stands in the SLO or is referred to, of metrics that PromQL gives or of what searches find in logs and spans.
type SLO struct {
	APIVersion string   `json:"apiVersion" yaml:"apiVersion"`
	Kind       string   `json:"kind" yaml:"kind"`
	Metadata   Metadata `json:"metadata" yaml:"metadata"`
	Spec       Spec     `json:"spec" yaml:"spec"`

	// Broken is why what it refers to is not in it: then nothing is measured.
	Broken error `json:"-" yaml:"-"`
}

// Metadata names an object of OpenSLO.
type Metadata struct {
	Name        string         `json:"name" yaml:"name"`
	DisplayName string         `json:"displayName,omitempty" yaml:"displayName,omitempty"`
	Labels      map[string]any `json:"labels,omitempty" yaml:"labels,omitempty"`
	Annotations map[string]any `json:"annotations,omitempty" yaml:"annotations,omitempty"`
}

// Spec says what is measured and how good it is to be.
type Spec struct {
	Description     string        `json:"description,omitempty" yaml:"description,omitempty"`
	Service         string        `json:"service" yaml:"service"`
	Indicator       *Indicator    `json:"indicator,omitempty" yaml:"indicator,omitempty"`
	IndicatorRef    string        `json:"indicatorRef,omitempty" yaml:"indicatorRef,omitempty"`
	TimeWindow      []TimeWindow  `json:"timeWindow" yaml:"timeWindow"`
	BudgetingMethod string        `json:"budgetingMethod" yaml:"budgetingMethod"`
	Objectives      []Objective   `json:"objectives" yaml:"objectives"`
	AlertPolicies   []AlertPolicy `json:"alertPolicies,omitempty" yaml:"alertPolicies,omitempty"`
}

// Indicator is what is measured.
type Indicator struct {
	Metadata Metadata      `json:"metadata,omitzero" yaml:"metadata,omitempty"`
	Spec     IndicatorSpec `json:"spec" yaml:"spec"`
}

// IndicatorSpec has one of two kinds of metrics.
type IndicatorSpec struct {
	Description     string  `json:"description,omitempty" yaml:"description,omitempty"`
	RatioMetric     *Ratio  `json:"ratioMetric,omitempty" yaml:"ratioMetric,omitempty"`
	ThresholdMetric *Metric `json:"thresholdMetric,omitempty" yaml:"thresholdMetric,omitempty"`
}

// Ratio is good or bad events of all events, or a share that is a metric already.
type Ratio struct {
	Counter bool    `json:"counter,omitempty" yaml:"counter,omitempty"`
	Good    *Metric `json:"good,omitempty" yaml:"good,omitempty"`
	Bad     *Metric `json:"bad,omitempty" yaml:"bad,omitempty"`
	Total   *Metric `json:"total,omitempty" yaml:"total,omitempty"`
	RawType string  `json:"rawType,omitempty" yaml:"rawType,omitempty"`
	Raw     *Metric `json:"raw,omitempty" yaml:"raw,omitempty"`
}

// Metric is a query: PromQL, or a search whose rows are counted.
type Metric struct {
	MetricSource struct {
		MetricSourceRef string `json:"metricSourceRef,omitempty" yaml:"metricSourceRef,omitempty"`
		Type            string `json:"type,omitempty" yaml:"type,omitempty"`
		Spec            struct {
			Query string `json:"query" yaml:"query"`
			// By are attributes of rows; each combination of their values is a label set of its own.
			By []string `json:"by,omitempty" yaml:"by,omitempty"`
		} `json:"spec" yaml:"spec"`
	} `json:"metricSource" yaml:"metricSource"`
}

// The types of metric sources.
const (
	SourcePrometheus = "Prometheus"
	SourceLogs       = "TriageLogs"
	SourceSpans      = "TriageSpans"
)

// kind is the type of a metric's source.
func (m *Metric) kind() string {
	for _, k := range []string{SourceLogs, SourceSpans} {
		if m != nil && strings.EqualFold(m.MetricSource.Type, k) {
			return k
		}
	}
	return SourcePrometheus
}

func (m *Metric) query() string { return m.MetricSource.Spec.Query }

// TimeWindow is the time for which the budget is.
type TimeWindow struct {
	Duration  Duration  `json:"duration" yaml:"duration"`
	IsRolling bool      `json:"isRolling" yaml:"isRolling"`
	Calendar  *Calendar `json:"calendar,omitempty" yaml:"calendar,omitempty"`
}

// Calendar says when a window that does not roll began for the first time.
type Calendar struct {
	StartTime string `json:"startTime" yaml:"startTime"` // 2026-01-01 00:00:00
	TimeZone  string `json:"timeZone" yaml:"timeZone"`
}

// The budgeting methods: what counts are events, slices of time that were good enough, or the mean of the slices' shares.
const (
	Occurrences     = "Occurrences"
	Timeslices      = "Timeslices"
	RatioTimeslices = "RatioTimeslices"
)

// Objective is how good it is to be.
type Objective struct {
	DisplayName string `json:"displayName,omitempty" yaml:"displayName,omitempty"`
	// Op and Value say which values of a threshold metric are good.
	Op            string   `json:"op,omitempty" yaml:"op,omitempty"`
	Value         *float64 `json:"value,omitempty" yaml:"value,omitempty"`
	Target        float64  `json:"target,omitempty" yaml:"target,omitempty"`
	TargetPercent float64  `json:"targetPercent,omitempty" yaml:"targetPercent,omitempty"`
	// TimeSliceTarget is the share of good events that makes a slice of TimeSliceWindow good.
	TimeSliceTarget float64  `json:"timeSliceTarget,omitempty" yaml:"timeSliceTarget,omitempty"`
	TimeSliceWindow Duration `json:"timeSliceWindow,omitempty" yaml:"timeSliceWindow,omitempty"`
	// Of objectives that are made of several, which are refused.
	Indicator       any     `json:"indicator,omitempty" yaml:"indicator,omitempty"`
	IndicatorRef    string  `json:"indicatorRef,omitempty" yaml:"indicatorRef,omitempty"`
	CompositeWeight float64 `json:"compositeWeight,omitempty" yaml:"compositeWeight,omitempty"`
}

// target is the share of good events there is to be.
func (o Objective) target() float64 {
	if o.TargetPercent != 0 {
		return math.Round(o.TargetPercent*1e10) / 1e12
	}
	return o.Target
}

// AlertPolicy says when somebody is to be told, in place of what is built in. In an SLO it may be the name of one instead.
type AlertPolicy struct {
	APIVersion string          `json:"apiVersion,omitempty" yaml:"apiVersion,omitempty"`
	Kind       string          `json:"kind,omitempty" yaml:"kind,omitempty"`
	Metadata   Metadata        `json:"metadata,omitzero" yaml:"metadata,omitempty"`
	Spec       AlertPolicySpec `json:"spec,omitzero" yaml:"spec,omitempty"`
	Ref        string          `json:"alertPolicyRef,omitempty" yaml:"alertPolicyRef,omitempty"`
}

// AlertPolicySpec is its conditions. Of the rest of the format what is set otherwise than triage does it is refused.
type AlertPolicySpec struct {
	Description         string           `json:"description,omitempty" yaml:"description,omitempty"`
	AlertWhenNoData     bool             `json:"alertWhenNoData,omitempty" yaml:"alertWhenNoData,omitempty"`
	AlertWhenResolved   *bool            `json:"alertWhenResolved,omitempty" yaml:"alertWhenResolved,omitempty"`
	AlertWhenBreaching  *bool            `json:"alertWhenBreaching,omitempty" yaml:"alertWhenBreaching,omitempty"`
	Conditions          []AlertCondition `json:"conditions" yaml:"conditions"`
	NotificationTargets []any            `json:"notificationTargets,omitempty" yaml:"notificationTargets,omitempty"`
}

// AlertCondition is a burn rate that is too high. In an AlertPolicy it may be the name of one instead.
type AlertCondition struct {
	APIVersion string             `json:"apiVersion,omitempty" yaml:"apiVersion,omitempty"`
	Kind       string             `json:"kind,omitempty" yaml:"kind,omitempty"`
	Metadata   Metadata           `json:"metadata,omitzero" yaml:"metadata,omitempty"`
	Spec       AlertConditionSpec `json:"spec,omitzero" yaml:"spec,omitempty"`
	Ref        string             `json:"conditionRef,omitempty" yaml:"conditionRef,omitempty"`
}

// AlertConditionSpec says which burn rate.
type AlertConditionSpec struct {
	Description string   `json:"description,omitempty" yaml:"description,omitempty"`
	Severity    string   `json:"severity" yaml:"severity"`
	Condition   BurnRate `json:"condition" yaml:"condition"`
}

// BurnRate is how fast a budget may be used up, over which time.
type BurnRate struct {
	Kind           string   `json:"kind" yaml:"kind"`
	Op             string   `json:"op,omitempty" yaml:"op,omitempty"`
	Threshold      float64  `json:"threshold" yaml:"threshold"`
	LookbackWindow Duration `json:"lookbackWindow" yaml:"lookbackWindow"`
	AlertAfter     Duration `json:"alertAfter,omitempty" yaml:"alertAfter,omitempty"`
}

// Duration is OpenSLO's short form: a number and one of m, h, d, w, M (30 days), Q (90 days), Y (365 days).
type Duration string

var durationPattern = regexp.MustCompile(`^([1-9]\d{0,5})([mhdwMQY])$`)

var durationUnits = map[string]time.Duration{
	"m": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour,
	"M": 30 * 24 * time.Hour, "Q": 90 * 24 * time.Hour, "Y": 365 * 24 * time.Hour,
}

// length is how long it is, 0 if it cannot be read.
func (d Duration) length() time.Duration {
	m := durationPattern.FindStringSubmatch(string(d))
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1]) // digits always parse
	return time.Duration(n) * durationUnits[m[2]]
}

// Parse reads one SLO as JSON, strictly, and validates it.
func Parse(b []byte) (SLO, error) {
	var s SLO
	if err := strict(b, &s); err != nil {
		return SLO{}, fmt.Errorf("SLO: %w", err)
	}
	return s, s.Validate()
}

// strict reads one value as JSON.
func strict(b []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more after it")
	}
	return nil
}

// The bounds of what can be asked for.
const (
	maxName       = 100
	maxWindow     = 366 * 24 * time.Hour
	maxObjectives = 20
)

var namePattern = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)

// Validate reports everything that is wrong, each by its path.
func (s SLO) Validate() error {
	var errs []error
	bad := func(path, format string, args ...any) { errs = append(errs, fmt.Errorf(path+": "+format, args...)) }
	errs = append(errs, identityProblems(s.APIVersion, s.Kind, "SLO", s.Metadata.Name)...)
	if s.Spec.Service == "" {
		bad("spec.service", "is missing")
	}
	switch {
	case s.Spec.IndicatorRef != "" && s.Spec.Indicator != nil:
		bad("spec.indicatorRef", "is one indicator too many beside indicator")
	case s.Spec.IndicatorRef != "":
	case s.Spec.Indicator == nil:
		bad("spec.indicator", "is missing")
	default:
		errs = append(errs, s.Spec.Indicator.Spec.problems("spec.indicator.spec.")...)
	}
	if n := len(s.Spec.TimeWindow); n != 1 {
		bad("spec.timeWindow", "%d windows are given, and one is needed", n)
	}
	for i, w := range s.Spec.TimeWindow {
		at := fmt.Sprintf("spec.timeWindow[%d].", i)
		if d := w.Duration.length(); d < time.Hour || d > maxWindow {
			bad(at+"duration", "%q is not between 1h and 1Y, as in 28d", w.Duration)
		}
		switch {
		case w.IsRolling && w.Calendar != nil:
			bad(at+"calendar", "a window that rolls has none")
		case !w.IsRolling && w.Calendar == nil:
			bad(at+"calendar", "a window that does not roll needs one")
		case w.Calendar != nil:
			if _, err := w.Calendar.start(); err != nil {
				bad(at+"calendar", "%w", err)
			}
		}
	}
	if !slices.Contains([]string{Occurrences, Timeslices, RatioTimeslices}, s.Spec.BudgetingMethod) {
		bad("spec.budgetingMethod", "%q is none of Occurrences, Timeslices, RatioTimeslices", s.Spec.BudgetingMethod)
	}
	if n := len(s.Spec.Objectives); n == 0 || n > maxObjectives {
		bad("spec.objectives", "%d are given, and 1 to %d can be", n, maxObjectives)
	}
	for i, o := range s.Spec.Objectives {
		errs = append(errs, s.objectiveProblems(fmt.Sprintf("spec.objectives[%d].", i), o)...)
	}
	for i, p := range s.Spec.AlertPolicies {
		errs = append(errs, p.problems(fmt.Sprintf("spec.alertPolicies[%d].", i))...)
	}
	return errors.Join(errs...)
}

func identityProblems(version, kind, want, name string) (errs []error) {
	if version != "openslo/v1" {
		errs = append(errs, fmt.Errorf("apiVersion: %q is not openslo/v1", version))
	}
	if kind != want {
		errs = append(errs, fmt.Errorf("kind: %q is not %s", kind, want))
	}
	if !namePattern.MatchString(name) || len(name) > maxName {
		errs = append(errs, fmt.Errorf("metadata.name: %q is not lower-case letters, digits, - and ., %d at most", name, maxName))
	}
	return errs
}

func (s SLO) objectiveProblems(at string, o Objective) (errs []error) {
	bad := func(path, format string, args ...any) { errs = append(errs, fmt.Errorf(at+path+": "+format, args...)) }
	switch {
	case o.Target != 0 && o.TargetPercent != 0:
		bad("targetPercent", "is one target too many beside target")
	case !(o.target() > 0 && o.target() < 1):
		bad("target", "%v is not between 0 and 1: there would be no budget", o.target())
	}
	if o.Indicator != nil || o.IndicatorRef != "" || o.CompositeWeight != 0 {
		bad("indicator", "objectives of several indicators are not measured: write an SLO for each")
	}
	threshold := s.Spec.Indicator != nil && s.Spec.Indicator.Spec.ThresholdMetric != nil
	switch {
	case s.Spec.Indicator == nil: // it is referred to, and not known here
	case threshold && promOps[o.Op] == "":
		bad("op", "%q is none of lte, gte, lt, gt", o.Op)
	case threshold && o.Value == nil:
		bad("value", "is missing")
	case !threshold && (o.Op != "" || o.Value != nil):
		bad("op", "op and value are for threshold metrics")
	}
	sliced := s.Spec.BudgetingMethod == Timeslices || s.Spec.BudgetingMethod == RatioTimeslices
	if d := o.TimeSliceWindow.length(); sliced && (d < time.Minute || d > time.Hour) {
		bad("timeSliceWindow", "%q is not between 1m and 1h", o.TimeSliceWindow)
	}
	if s.Spec.BudgetingMethod == Timeslices && !(o.TimeSliceTarget > 0 && o.TimeSliceTarget <= 1) {
		bad("timeSliceTarget", "%v is not between 0 and 1", o.TimeSliceTarget)
	}
	return errs
}

func (i IndicatorSpec) problems(at string) (errs []error) {
	bad := func(path, format string, args ...any) { errs = append(errs, fmt.Errorf(at+path+": "+format, args...)) }
	source := func(path string, m *Metric, counted bool) bool {
		src := m.MetricSource
		if src.MetricSourceRef != "" {
			bad(path+".metricSource.metricSourceRef", "%q: triage measures what it has stored itself: leave it out", src.MetricSourceRef)
		}
		switch kind := m.kind(); {
		case kind != SourcePrometheus && !counted:
			bad(path+".metricSource.type", "the rows that a search finds are counted: write %s for good, bad or total of a ratioMetric", kind)
			return false
		case kind != SourcePrometheus:
			if err := countable(src.Spec.Query, src.Spec.By); err != nil {
				bad(path+".metricSource.spec", "%w", err)
			}
			return false
		case src.Type != "" && !strings.EqualFold(src.Type, SourcePrometheus):
			bad(path+".metricSource.type", "%q is none of %s, %s, %s: send the metrics to triage, and write their PromQL", src.Type, SourcePrometheus, SourceLogs, SourceSpans)
			return false
		case len(src.Spec.By) > 0:
			bad(path+".metricSource.spec.by", "is for searches; PromQL has sum by (...)")
		}
		return true
	}
	metric := func(path string, m *Metric, counter bool) {
		if !source(path, m, true) {
			return
		}
		if _, err := over(m.query(), "5m", counter); err != nil {
			bad(path+".metricSource.spec.query", "%w", err)
		}
	}
	value := func(path string, m *Metric) {
		if !source(path, m, false) {
			return
		}
		if err := instant(m.query()); err != nil {
			bad(path+".metricSource.spec.query", "%w", err)
		}
	}
	r := i.RatioMetric
	switch {
	case r != nil && i.ThresholdMetric != nil:
		bad("thresholdMetric", "is one metric too many beside ratioMetric")
	case i.ThresholdMetric != nil:
		value("thresholdMetric", i.ThresholdMetric)
	case r == nil:
		bad("ratioMetric", "is missing")
	case r.Raw != nil:
		if r.Good != nil || r.Bad != nil || r.Total != nil {
			bad("ratioMetric.raw", "is one metric too many beside good, bad and total")
		}
		if r.RawType != "success" && r.RawType != "failure" {
			bad("ratioMetric.rawType", "%q is neither success nor failure", r.RawType)
		}
		value("ratioMetric.raw", r.Raw)
	case (r.Good == nil) == (r.Bad == nil):
		bad("ratioMetric", "one of good and bad is needed")
	case r.Total == nil:
		bad("ratioMetric.total", "is missing")
	default:
		if r.Good != nil {
			metric("ratioMetric.good", r.Good, r.Counter)
		} else {
			metric("ratioMetric.bad", r.Bad, r.Counter)
		}
		metric("ratioMetric.total", r.Total, r.Counter)
	}
	return errs
}

func (p AlertPolicy) problems(at string) (errs []error) {
	bad := func(path, format string, args ...any) { errs = append(errs, fmt.Errorf(at+path+": "+format, args...)) }
	off := func(b *bool) bool { return b != nil && !*b }
	switch {
	case p.Ref != "" && len(p.Spec.Conditions) > 0:
		bad("alertPolicyRef", "is one policy too many beside spec")
	case p.Ref == "" && len(p.Spec.Conditions) == 0:
		bad("spec.conditions", "is missing")
	case len(p.Spec.NotificationTargets) > 0:
		bad("spec.notificationTargets", "who is told is said by routes, which match the labels slo and severity: leave it out")
	case p.Spec.AlertWhenNoData:
		bad("spec.alertWhenNoData", "where there are no events no budget is used up: write an alarm on their number, and leave it out")
	case off(p.Spec.AlertWhenBreaching):
		bad("spec.alertWhenBreaching", "false: leave the policy out")
	case off(p.Spec.AlertWhenResolved):
		bad("spec.alertWhenResolved", "false: receivers say by send_resolved whether they are told of the end: leave it out")
	}
	for i, c := range p.Spec.Conditions {
		errs = append(errs, c.problems(fmt.Sprintf("%sspec.conditions[%d].", at, i))...)
	}
	return errs
}

func (c AlertCondition) problems(at string) (errs []error) {
	bad := func(path, format string, args ...any) { errs = append(errs, fmt.Errorf(at+path+": "+format, args...)) }
	cond := c.Spec.Condition
	if c.Ref != "" {
		if c.Spec != (AlertConditionSpec{}) {
			bad("conditionRef", "is one condition too many beside spec")
		}
		return errs
	}
	if c.Spec.Severity == "" {
		bad("spec.severity", "is missing")
	}
	if cond.Kind != "burnrate" {
		bad("spec.condition.kind", "%q is not burnrate", cond.Kind)
	}
	if cond.Op != "" && cond.Op != "gt" && cond.Op != "gte" {
		bad("spec.condition.op", "%q is neither gt nor gte", cond.Op)
	}
	if !(cond.Threshold > 0) {
		bad("spec.condition.threshold", "%v is not positive", cond.Threshold)
	}
	if d := cond.LookbackWindow.length(); d < 12*time.Minute || d > maxWindow {
		bad("spec.condition.lookbackWindow", "%q is not 12m or more", cond.LookbackWindow)
	}
	if cond.AlertAfter != "" && cond.AlertAfter.length() == 0 {
		bad("spec.condition.alertAfter", "%q is not a duration such as 5m", cond.AlertAfter)
	}
	return errs
}

// start is when the first window began.
func (c Calendar) start() (time.Time, error) {
	zone, err := time.LoadLocation(c.TimeZone)
	if err != nil {
		return time.Time{}, fmt.Errorf("timeZone %q: %w", c.TimeZone, err)
	}
	t, err := time.ParseInLocation(time.DateTime, c.StartTime, zone)
	if err != nil {
		return time.Time{}, fmt.Errorf("startTime %q is not written as 2026-01-01 00:00:00", c.StartTime)
	}
	return t, nil
}

// bounds is the window that holds at at: the one that ends then if it rolls, else the one of the calendar.
func (w TimeWindow) bounds(at time.Time) (from, to time.Time) {
	length := w.Duration.length()
	if w.IsRolling || w.Calendar == nil {
		return at.Add(-length), at
	}
	from, err := w.Calendar.start()
	if err != nil || from.After(at) {
		return at.Add(-length), at
	}
	m := durationPattern.FindStringSubmatch(string(w.Duration))
	n, _ := strconv.Atoi(m[1])
	months := map[string]int{"M": 1, "Q": 3, "Y": 12}[m[2]] * n
	days := map[string]int{"d": 1, "w": 7}[m[2]] * n
	next := func(k int) time.Time {
		switch first := from; {
		case months > 0:
			return first.AddDate(0, k*months, 0)
		case days > 0:
			return first.AddDate(0, 0, k*days)
		default:
			return first.Add(time.Duration(k) * length)
		}
	}
	k := int(at.Sub(from) / length) // months differ in length, so look around
	for next(k).After(at) {
		k--
	}
	for !next(k + 1).After(at) {
		k++
	}
	return next(k).UTC(), next(k + 1).UTC()
}
