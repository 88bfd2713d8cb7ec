package notify

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/alertmanager/dispatch"
	prom "github.com/prometheus/common/model"

	"triage/internal/model"
)

// VerdictWait is how long the first message of an incident waits for its verdict.
const VerdictWait = 5 * time.Second

// The reasons of a message.
const (
	ReasonFirst    = "first"
	ReasonNew      = "new alarms"
	ReasonRepeat   = "repeat"
	ReasonResolved = "resolved"
	ReasonTest     = "test"
)

// group is the alerts of one incident that one receiver is told of together, and what it was told.
type group struct {
	Incident string            `json:"incident"`
	Receiver string            `json:"receiver"`
	Key      string            `json:"key"`
	Labels   map[string]string `json:"labels,omitempty"`
	// Told are the alarms that were in ALARM in the last message, Sent when that was made. Over: it said that all is over.
	Told []string  `json:"told"`
	Sent time.Time `json:"sent"`
	Over bool      `json:"over,omitempty"`
}

// name is the name of a group's document.
func (g *group) name() string { return g.Incident + "/" + hash(g.Receiver, g.Key) }

func hash(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:12])
}

// routed is a group with what is to be told of it now.
type routed struct {
	group
	opts             *dispatch.RouteOpts
	firing, resolved []Alert
}

// route puts alerts into groups by the routing tree.
func (c *Config) groups(incident string, alerts []Alert) []*routed {
	byKey := make(map[string]*routed)
	var order []*routed
	for _, a := range alerts {
		ls := labelSet(a.Labels)
		for _, r := range c.route.Match(ls) {
			labels := make(map[string]string)
			for k, v := range ls {
				if _, by := r.RouteOpts.GroupBy[k]; by || r.RouteOpts.GroupByAll {
					labels[string(k)] = string(v)
				}
			}
			key := fmt.Sprintf("%s:%s:%s", r.Key(), labelSet(labels), incident)
			g := byKey[r.RouteOpts.Receiver+"\x00"+key]
			if g == nil {
				g = &routed{group: group{Incident: incident, Receiver: r.RouteOpts.Receiver, Key: key, Labels: labels}, opts: &r.RouteOpts}
				byKey[r.RouteOpts.Receiver+"\x00"+key] = g
				order = append(order, g)
			}
			if a.Ends.IsZero() {
				g.firing = append(g.firing, a)
			} else {
				g.resolved = append(g.resolved, a)
			}
		}
	}
	return order
}

// decide says why a receiver is to be told of a group now, "" if it is not. Since is when the incident began, or was opened
// again; ready that its verdict is there; seen that somebody looks after it.
func (g *routed) decide(was *group, since time.Time, ready, seen bool, at time.Time) string {
	told := was != nil && !was.Over
	switch {
	case len(g.firing) == 0:
		if told {
			return ReasonResolved
		}
		return ""
	case !told:
		if wait := at.Sub(since); wait < g.opts.GroupWait || !ready && wait < VerdictWait {
			return ""
		}
		return ReasonFirst
	case at.Sub(was.Sent) < g.opts.GroupInterval:
		return ""
	}
	for _, a := range g.firing {
		if !slices.Contains(was.Told, a.Alarm) {
			return ReasonNew
		}
	}
	if !seen && at.Sub(was.Sent) >= g.opts.RepeatInterval {
		return ReasonRepeat
	}
	return ""
}

// alertsOf are an incident's alarms of its present episode as alerts, but for those that nobody is to be told of. Why gives
// the reason for these.
func alertsOf(inc *model.Incident, why func(a *model.Alarm, ls prom.LabelSet, firing []Alert) string) (alerts []Alert) {
	_, alarms := inc.Episode()
	var firing []Alert
	for i := range alarms {
		if a := newAlert(inc, &alarms[i]); a.Ends.IsZero() {
			firing = append(firing, a)
		}
	}
	for i := range alarms {
		a := newAlert(inc, &alarms[i])
		if a.Ends.IsZero() && why(&alarms[i], labelSet(a.Labels), firing) != "" {
			continue
		}
		alerts = append(alerts, a)
	}
	return alerts
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
