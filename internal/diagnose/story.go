package diagnose

import (
	"triage/internal/explain"
	"triage/internal/model"
)

// Story is a verdict's sentences in one language, for those who lay it out themselves. Lists run parallel to the
// verdict's lists of the same name.
type Story struct {
	// Subject is what is wrong: operation, signal, value.
	Subject string `json:"subject"`
	// Headline is the verdict in one sentence, also if no cause was found.
	Headline string `json:"headline"`
	// Evidence and RuledOut are the claims; the first of Evidence carries the headline.
	Evidence []string `json:"evidence"`
	RuledOut []string `json:"ruled_out"`
	// Candidates are headlines, too.
	Candidates []string `json:"candidates"`
	// First says where the trouble was first seen, "" if that is unknown.
	First string `json:"first,omitempty"`
}

// Tell writes a verdict's sentences in "en" or "ko".
func Tell(v model.Verdict, lang string) Story {
	s := Story{Subject: subject(v, lang), Headline: Headline(v, lang),
		Evidence: make([]string, len(v.Evidence)), RuledOut: make([]string, len(v.RuledOut)), Candidates: make([]string, len(v.Candidates))}
	for i, e := range v.Evidence {
		s.Evidence[i] = claim(e, lang)
	}
	for i, r := range v.RuledOut {
		s.RuledOut[i] = sentence(lang, r.Key, r.Args)
	}
	for i := range v.Candidates {
		w := v
		w.Why = &v.Candidates[i]
		s.Candidates[i] = Headline(w, lang)
	}
	if f := v.FirstFailure; f != nil {
		s.First = explain.Name(f.Entity) + " " + f.Operation + ": " + symptom(f.Symptom, lang)
	}
	return s
}
