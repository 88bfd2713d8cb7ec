package accuracy

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

type nezhaLabel struct {
	Case      string   `json:"case"`
	Service   string   `json:"service"`
	Pod       string   `json:"pod"`
	Fault     string   `json:"fault_type"`
	Inner     []string `json:"inner"`
	InnerKind string   `json:"inner_kind"`
}

type nezhaAnswer struct {
	Service  string   `json:"service"`
	Resource string   `json:"resource"`
	Events   []string `json:"events"`
}

// is tells whether a name is the faulty service's or its pod's.
func (l *nezhaLabel) is(name string) bool {
	return name == l.Service || name == l.Pod && name != ""
}

// inner tells whether an answer names the faulty service and what is wrong inside: the resource, or a log line or span
// within the labelled code. strict wants both ends of that code.
func (l *nezhaLabel) inner(a nezhaAnswer, strict bool) bool {
	if !l.is(a.Service) {
		return false
	}
	if l.InnerKind == "resource" {
		resource := strings.ToLower(a.Resource)
		if len(l.Inner) > 0 && strings.Contains(strings.ToLower(l.Inner[0]), "cpu") {
			return strings.Contains(resource, "cpu")
		}
		return strings.Contains(resource, "net")
	}
	events := strings.ToLower(strings.Join(a.Events, "\n"))
	hits := 0
	for _, end := range l.Inner {
		for _, suffix := range []string{" start", " end"} {
			end = strings.TrimSuffix(end, suffix)
		}
		if strings.Contains(events, strings.ToLower(strings.TrimSpace(end))) {
			hits++
		}
	}
	if strict {
		return hits == len(l.Inner)
	}
	return hits > 0
}

// Nezha scores services (AS@k) and inner causes (AIS@k) as Yu et al. do (FSE 2023), with a position as a rank. AS@k
// counts distinct services, AIS@k entries. Predictions are {"case", "ranked": [{"service", "resource", "events"}]} a line;
// a case without one is a miss.
func Nezha(w io.Writer, dirs []string, predictions io.Reader) (Figures, error) {
	cases := map[string]nezhaLabel{}
	if err := labels(dirs, func(l nezhaLabel) { cases[l.Case] = l }); err != nil {
		return nil, err
	}
	type line struct {
		Case   string        `json:"case"`
		Ranked []nezhaAnswer `json:"ranked"`
	}
	ranked := map[string][]nezhaAnswer{}
	if err := eachLine(predictions, func(l line) { ranked[l.Case] = l.Ranked }); err != nil {
		return nil, err
	}
	counts := map[string]map[string]*share{}
	add := func(group, figure string, hit bool) {
		if counts[group] == nil {
			counts[group] = map[string]*share{}
		}
		if counts[group][figure] == nil {
			counts[group][figure] = &share{}
		}
		counts[group][figure].add(hit)
	}
	without := 0
	for _, id := range slices.Sorted(maps.Keys(cases)) {
		l := cases[id]
		answers, ok := ranked[id]
		if !ok {
			without++
		}
		var services []string
		for _, a := range answers {
			if !slices.Contains(services, a.Service) {
				services = append(services, a.Service)
			}
		}
		for _, group := range []string{"all", l.Fault} {
			for _, k := range []int{1, 3, 5} {
				first := answers[:min(k, len(answers))]
				add(group, fmt.Sprintf("AS@%d", k), slices.ContainsFunc(services[:min(k, len(services))], l.is))
				add(group, fmt.Sprintf("AIS@%d", k), slices.ContainsFunc(first, func(a nezhaAnswer) bool { return l.inner(a, false) }))
				add(group, fmt.Sprintf("AISstrict@%d", k), slices.ContainsFunc(first, func(a nezhaAnswer) bool { return l.inner(a, true) }))
			}
		}
	}
	r := newReport(w)
	r.put("cases", float64(len(cases)), 0, "")
	r.put("cases_without_prediction", float64(without), 0, "")
	for _, group := range slices.Sorted(maps.Keys(counts)) {
		if c := counts[group]; group != "all" {
			r.line(fmt.Sprintf("%s n=%d AS@1 %.4f AS@3 %.4f AIS@1 %.4f", group, c["AS@1"].all, c["AS@1"].value(), c["AS@3"].value(), c["AIS@1"].value()))
		}
	}
	for _, figure := range []string{"AISstrict@1", "AISstrict@3", "AIS@5", "AIS@3", "AIS@1", "AS@5", "AS@3", "AS@1"} {
		var s share
		if c := counts["all"][figure]; c != nil {
			s = *c
		}
		r.put(figure, s.value(), 4, "")
	}
	return r.figures, r.err
}
