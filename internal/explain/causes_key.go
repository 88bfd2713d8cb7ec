package explain

import (
	"cmp"
	"slices"

	"triage/internal/model"
	"triage/internal/store"
)

// HotKeys are attributes that say what a request is about: an article, a file, a partition's key. By OpenTelemetry's
// names, older ones included.
var HotKeys = []string{"url.path", "http.target", "url.full", "http.url", "url.query", "cache.key", "messaging.kafka.message.key",
	"db.query.parameter.0", "db.operation.parameter.0"}

// KeyShare is one value of a hot key, as the requests of the affected operation have it now and usually.
type KeyShare struct {
	Key, Value   string
	Share, Usual float64 // of the requests
	// Seconds is how long its requests take, Others how long the rest takes.
	Seconds, Others float64
	Requests        int64
}

// Shares makes KeyShares of an answer about requests now (A) and before (B), of the largest growth first.
func Shares(d store.Difference) (out []KeyShare) {
	for _, v := range d.Values {
		if !slices.Contains(HotKeys, v.Key) || v.A < 5 || d.A == 0 {
			continue
		}
		s := KeyShare{Key: v.Key, Value: v.Value, Requests: v.A, Share: round(float64(v.A) / float64(d.A)),
			Seconds: round(v.SecondsA / float64(v.A)), Others: round((d.SecondsA - v.SecondsA) / float64(max(1, d.A-v.A)))}
		if d.B > 0 {
			s.Usual = round(float64(v.B) / float64(d.B))
		}
		if s.Share > s.Usual {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b KeyShare) int {
		return cmp.Or(cmp.Compare(b.Share-b.Usual, a.Share-a.Usual), cmp.Compare(slices.Index(HotKeys, a.Key), slices.Index(HotKeys, b.Key)),
			cmp.Compare(a.Value, b.Value))
	})
	return out[:min(len(out), 5)]
}

// hotKeys accuses the demand for one thing: what belongs to a key lies in one place, however many places there are, so
// that those who want it wait for each other. Required: one value has a dominant share of the requests that it did not
// have before, and its requests are those that suffer. Supporting: requests became more altogether; what is about other
// things is as quick as usual. Contradicting: one caller sends them; then it is the caller.
func hotKeys(f *Facts) []Case {
	c := f.wanted()
	if len(c.Required) == 0 {
		return nil
	}
	c.Contradicting = append(c.Contradicting, Sign{"change", 0.5 * f.changed(f.Service), nil})
	return []Case{c}
}

// wanted is the case against the key whose share grew the most; others are the same by another name, or less. Changes
// are not weighed here, because they in turn are weighed against the load.
func (f *Facts) wanted() Case {
	if len(f.Keys) == 0 {
		return Case{}
	}
	k := f.Keys[0]
	now, usual := f.asked(f.Service, f.Operation)
	grown, _, _ := f.surge(f.Service, now, usual)
	apart := ramp(ratio(k.Seconds, k.Others, 1e-3), 1.3, 2.5)
	one := max(f.userSuffers(), f.Holder(f.Service).Strength)
	for _, a := range f.Attributes {
		// Where nearly all ask for it, or fail rather than wait, the others of the same time tell nothing. Those of before do,
		// but in them is all that began when the crowd came.
		if a.Key == k.Key && a.Value == k.Value && (f.Slow == 0 || k.Share > 0.9) {
			apart = max(apart, ramp(a.Score, 0.3, 0.6))
		}
		if slices.Contains(CallerKeys, a.Key) {
			one = max(one, ramp(a.Score, 0.45, 0.8))
		}
	}
	e := model.KeyEntity(k.Value)
	c := Case{Cause: model.Cause{Class: model.ClassCaller, Entity: e}}
	c.Required = []Sign{
		{"share", ramp(k.Share-k.Usual, 0.2, 0.5) * ramp(ratio(k.Share, k.Usual, 0.01), 2.5, 6), f.keyEvidence(k)},
		{"set apart", apart, f.compare("key_slower", "trace", e, k.Seconds, k.Others, "s", k.Value, Seconds(k.Seconds), Seconds(k.Others))},
		{"trouble", max(f.Slow, f.Failing), nil},
	}
	c.Supporting = []Sign{{"more of them", grown, nil}, {"by far", ramp(k.Share, 0.5, 0.8), nil}}
	c.Contradicting = []Sign{{"one caller", 0.9 * one, nil}}
	return c
}

func (f *Facts) keyEvidence(k KeyShare) *model.Evidence {
	return &model.Evidence{Kind: "attribute", Entity: model.KeyEntity(k.Value), Key: "key_share",
		Args: []string{k.Key, k.Value, Percent(k.Share), Percent(k.Usual)}, Value: k.Share, Usual: k.Usual, Unit: "ratio",
		Link: SpansLink(f.Bad, Field(k.Key, k.Value))}
}

// hotKey is how surely one key is what all want.
func (f *Facts) hotKey() float64 { return score(f.wanted()) }
