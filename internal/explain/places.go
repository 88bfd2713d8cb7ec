package explain

import (
	"math"

	"triage/internal/locate"
	"triage/internal/model"
	"triage/internal/store"
)

// PlaceCases turns suspects that locate found by metrics alone into accusations. Such metrics say where, and whether it
// is slow or fails; of why they say no more.
func PlaceCases(suspects []locate.Suspect, alarmed locate.Suspect, failures bool, w store.Window) (out []Case) {
	for _, s := range suspects {
		k := Case{Cause: model.Cause{Class: model.ClassSelf, Entity: placeEntity(s), Mechanism: model.SlowCode, Onset: w.From,
			Confidence: placeConfidence(s.Score)}}
		switch {
		case s.Shadow && failures:
			k.Class, k.Mechanism = model.ClassDependency, model.DependencyDown
		case s.Shadow:
			k.Class, k.Mechanism = model.ClassDependency, model.SlowDependency
		case failures:
			k.Mechanism = model.FailingCode
		}
		k.Required = []Sign{{"excess", k.Confidence, placeEvidence(s, failures, w)}}
		if s.Place != alarmed.Place {
			k.Supporting = []Sign{{"alarm", min(1, math.Abs(alarmed.Deviation)/locate.Significant), placeEvidence(alarmed, failures, w)}}
		}
		if k.Confidence >= 0.05 {
			out = append(out, k)
		}
	}
	return out
}

// placeConfidence is a half at what is just significant, and near one at twice that.
func placeConfidence(score float64) float64 {
	x := math.Pow(score/locate.Significant, 4)
	return round(x / (1 + x))
}

func placeEntity(s locate.Suspect) model.Entity {
	if s.Shadow {
		return model.RemoteEntity(s.Place)
	}
	return model.ServiceEntity(s.Place)
}

func placeEvidence(s locate.Suspect, failures bool, w store.Window) *model.Evidence {
	e := &model.Evidence{Kind: "metric", Entity: placeEntity(s), Value: round(s.Value), Usual: round(s.Level)}
	more, own := Seconds(s.Excess), Seconds(s.Own)
	number, metric := Seconds, "traces_span_metrics_duration_seconds_sum"
	e.Key, e.Unit = "place_slower", "s"
	if failures {
		e.Key, e.Unit = "place_failing", "ratio"
		more, own = Digits(s.Excess), Digits(s.Own)
		number, metric = Percent, "traces_span_metrics_calls_total"
	}
	e.Args = []string{s.Place, number(s.Value), number(s.Level), more, own, Digits(s.Deviation)}
	e.Link = MetricLink(w, metric, map[string]string{"service_name": s.Place})
	return e
}

// PlacesRuledOut lists the strongest of the other suspects that are no more than chance, with how they compare.
func PlacesRuledOut(suspects []locate.Suspect, failures bool, chosen *Case) (out []model.RuledOut) {
	number := Seconds
	if failures {
		number = Percent
	}
	for _, s := range suspects {
		if e := placeEntity(s); s.Score < locate.Significant && (chosen == nil || e != chosen.Entity) && len(out) < 6 {
			class := model.ClassSelf
			if s.Shadow {
				class = model.ClassDependency
			}
			out = append(out, model.RuledOut{Class: class, Entity: e, Value: round(s.Deviation), Key: "place_usual_s",
				Args: []string{s.Place, number(s.Value), number(s.Level), Digits(s.Deviation)}})
		}
	}
	return out
}
