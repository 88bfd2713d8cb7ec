package accuracy

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

type petshopLabel struct {
	Case   string `json:"case"`
	Target struct {
		Metric string `json:"metric"`
	} `json:"target"`
	Root struct {
		Node string `json:"node"`
	} `json:"root_cause"`
}

// Petshop scores root-cause recall as Hardt et al. do (CLeaR 2024): the labelled node is among the first k. A case without
// an answer is a miss. Predictions are {"case", "ranked": [node or {"node"}]} a line.
func Petshop(w io.Writer, dirs []string, predictions io.Reader) (Figures, error) {
	cases := map[string]petshopLabel{}
	if err := labels(dirs, func(l petshopLabel) { cases[l.Case] = l }); err != nil {
		return nil, err
	}
	type line struct {
		Case   string            `json:"case"`
		Ranked []json.RawMessage `json:"ranked"`
	}
	ranked := map[string][]string{}
	err := eachLine(predictions, func(l line) {
		names := make([]string, len(l.Ranked))
		for i, raw := range l.Ranked {
			var node struct{ Node string }
			if json.Unmarshal(raw, &names[i]) != nil && json.Unmarshal(raw, &node) == nil {
				names[i] = node.Node
			}
		}
		ranked[l.Case] = names
	})
	if err != nil {
		return nil, err
	}
	type group struct {
		scenario, metric string
		k                int
	}
	counts := map[group]*share{}
	add := func(g group, hit bool) {
		if counts[g] == nil {
			counts[g] = &share{}
		}
		counts[g].add(hit)
	}
	unanswered := 0
	for _, id := range slices.Sorted(maps.Keys(cases)) {
		l, names := cases[id], ranked[id]
		if len(names) == 0 {
			unanswered++
		}
		scenario, _, _ := strings.Cut(id, "/")
		if strings.HasPrefix(scenario, "temporal") {
			scenario = "temporal"
		} else {
			scenario, _, _ = strings.Cut(scenario, "_")
		}
		for _, k := range []int{1, 3} {
			hit := slices.Contains(names[:min(k, len(names))], l.Root.Node)
			add(group{scenario, l.Target.Metric, k}, hit)
			add(group{"all", "", k}, hit)
			if scenario != "temporal" {
				add(group{"low+high", "", k}, hit)
			}
		}
	}
	r := newReport(w)
	r.put("cases", float64(len(cases)), 0, "")
	r.put("cases_without_answer", float64(unanswered), 0, "")
	put := func(name string, g group) {
		if s := counts[g]; s != nil {
			r.put(name, s.value(), 4, fmt.Sprintf(" (%d/%d)", s.hits, s.all))
		}
	}
	for _, scenario := range []string{"low", "high", "temporal"} {
		for _, metric := range []string{"latency", "availability"} {
			for _, k := range []int{1, 3} {
				put(fmt.Sprintf("%s/%s_top%d", scenario, metric, k), group{scenario, metric, k})
			}
		}
	}
	for _, k := range []int{3, 1} {
		put(fmt.Sprintf("low+high_top%d", k), group{"low+high", "", k})
	}
	for _, k := range []int{3, 1} {
		var all share
		if s := counts[group{"all", "", k}]; s != nil {
			all = *s
		}
		r.put(fmt.Sprintf("top%d_recall", k), all.value(), 4, "")
	}
	return r.figures, r.err
}
