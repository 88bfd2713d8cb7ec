package alarm

import (
	"time"

	"triage/internal/model"
)

// Automatic are the rules that need no one to write them: errors, durations and rates of every operation that receives
// work, by the series that are derived from spans. Their alarms carry service_name and span_name.
//
// The derived series get a sample every 5 s, and two of them lie in 10 s: so each datapoint is what arrived in 5 s of its
// own. What happened at one moment arrives within some 3 s, which touches two datapoints at most, and three are asked
// for: no single hiccup makes an alarm, and a fault makes one about 20 s after it began.
func Automatic() []Rule {
	const entry = `span_kind=~"SPAN_KIND_SERVER|SPAN_KIND_CONSUMER"`
	calls := func(window string) string {
		return `sum by (service_name, span_name) (rate(traces_span_metrics_calls_total{` + entry + `}[` + window + `]))`
	}
	// The share of errors; 0 where there never was one.
	share := func(window string) string {
		return `(sum by (service_name, span_name) (rate(traces_span_metrics_calls_total{` + entry +
			`, status_code="STATUS_CODE_ERROR"}[` + window + `])) or 0 * ` + calls(window) + `) / ` + calls(window)
	}
	// How many calls the datapoint rests on. increase would extrapolate to 10 s and count twice too many.
	count := `5 * ` + calls("10s")
	return []Rule{
		{
			Name:        "errors",
			Description: "More of an operation's requests fail than is usual and tolerable.",
			Signal:      model.SignalErrors,
			// Of fewer than four calls a second, 5 s hold too few to tell a share: then it is that of 10 s.
			Expr:       `(` + share("10s") + ` and ` + calls("10s") + ` >= 4) or (` + share("15s") + `)`,
			Samples:    count + ` >= 20 or 10 * ` + calls("15s"),
			MinSamples: 1.5, // two, when the rate is a little off
			Compare:    &Compare{Op: Above, Threshold: 0.05},
			Usual: &Usual{
				Direction: Up, Factor: 2, MinDelta: 0.03, Deviations: 3, Noise: NoiseShare, MinDatapoints: 6,
			},
			Period: Duration(5 * time.Second), EvaluationPeriods: 4, DatapointsToAlarm: 3,
			TreatMissingData: TreatNotBreaching, Unit: "ratio",
		},
		{
			Name:        "duration",
			Description: "An operation's requests take at least twice as long as is usual.",
			Signal:      model.SignalDuration,
			// The mean and not a percentile: of few requests it is the steadier, and it feels a fault that hits one
			// request in five.
			Expr:       `histogram_avg(sum by (service_name, span_name) (rate(traces_span_metrics_duration_seconds{` + entry + `}[10s])))`,
			Samples:    count,
			MinSamples: 1.5,
			Usual: &Usual{
				Direction: Up, Factor: 2, MinDelta: 0.05, Deviations: 3, Noise: NoiseRatio, MinDatapoints: 6,
			},
			Period: Duration(5 * time.Second), EvaluationPeriods: 4, DatapointsToAlarm: 3,
			TreatMissingData: TreatNotBreaching, Unit: "s",
		},
		{
			Name:        "rate",
			Description: "An operation is asked four times as often as is usual, or less than a quarter as often.",
			Signal:      model.SignalRate,
			Expr:        calls("10s"),
			Samples:     count,
			Usual: &Usual{
				// It takes two minutes to know a rate: load that begins ramps up.
				Direction: Both, Factor: 4, MinDelta: 2, Deviations: 4, Noise: NoiseCount, MinDatapoints: 24,
			},
			Period: Duration(5 * time.Second), EvaluationPeriods: 4, DatapointsToAlarm: 4,
			TreatMissingData: TreatMissing, Unit: "1/s",
		},
	}
}
