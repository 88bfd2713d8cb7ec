package notify

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	prom "github.com/prometheus/common/model"

	"triage/internal/model"
)

// topEvidence is how many claims a message carries, maxText how much of the verdict's text.
const (
	topEvidence = 3
	maxText     = 1500
)

// Alert is one alarm of an incident as receivers get it. Its times are those of the alarm.
type Alert struct {
	Alarm       string            `json:"alarm"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Starts      time.Time         `json:"starts"`
	Ends        time.Time         `json:"ends,omitzero"` // zero while in ALARM
}

// labelsOf are what routes, silences and inhibition match: alertname is the alarm's rule, incident its incident, service,
// operation and signal what they say; the rest are the alarm's own.
func labelsOf(inc *model.Incident, a *model.Alarm) map[string]string {
	out := make(map[string]string, len(a.Labels)+5)
	for k, v := range a.Labels {
		out[k] = v
	}
	set := func(k, v string) {
		if v != "" {
			out[k] = v
		}
	}
	set(prom.AlertNameLabel, a.Rule)
	set(IncidentLabel, inc.ID)
	set("service", a.Service)
	set("operation", a.Operation)
	set("signal", string(a.Signal))
	return out
}

func newAlert(inc *model.Incident, a *model.Alarm) Alert {
	out := Alert{Alarm: a.ID, Labels: labelsOf(inc, a), Starts: a.Onset, Annotations: map[string]string{"reason": a.Reason}}
	if out.Starts.IsZero() {
		out.Starts = a.Since
	}
	switch {
	case inc.MergedInto != "": // it is told of from now on as part of the other one
		out.Ends = inc.ResolvedAt
	case a.State != model.StateAlarm:
		out.Ends = a.Since
	}
	return out
}

// describe adds what a message says of the incident as a whole.
func describe(alerts []Alert, inc *model.Incident, id, publicURL string) {
	about := map[string]string{
		"summary": inc.Title, "incident_id": inc.ID, "message_id": id, "incident_url": publicURL + "/incidents/" + inc.ID,
	}
	if inc.MergedInto != "" {
		about["summary"] = "merged into " + inc.MergedInto + ": " + inc.Title
		about["incident_url"] = publicURL + "/incidents/" + inc.MergedInto
	}
	if v := inc.Verdict; v != nil {
		about["cause"] = "not found"
		if w := v.Why; w != nil {
			about["cause"] = fmt.Sprintf("%s: %s (%s, confidence %s)", w.Entity, w.Mechanism, w.Class, strconv.FormatFloat(w.Confidence, 'f', 2, 64))
		}
		about["description"] = shorten(v.Text["en"], maxText)
		var lines []string
		for _, e := range v.Evidence[:min(topEvidence, len(v.Evidence))] {
			line := "- " + e.Claim
			if e.Link != "" {
				line += "\n  " + publicURL + e.Link
			}
			lines = append(lines, line)
		}
		about["evidence"] = strings.Join(lines, "\n")
	}
	for i := range alerts {
		for k, v := range about {
			if v != "" {
				alerts[i].Annotations[k] = v
			}
		}
	}
}

func shorten(s string, n int) string {
	runes := []rune(s)
	if len(runes) <= n {
		return s
	}
	return string(runes[:n-1]) + "…"
}

// forAlertmanager gives alerts as Alertmanager's integrations take them. One that lasts ends in some time to come.
func forAlertmanager(alerts []Alert, at time.Time) []*amalert.Alert {
	out := make([]*amalert.Alert, len(alerts))
	for i, a := range alerts {
		out[i] = &amalert.Alert{
			Alert: prom.Alert{
				Labels: labelSet(a.Labels), Annotations: labelSet(a.Annotations), StartsAt: a.Starts, EndsAt: a.Ends,
				GeneratorURL: a.Annotations["incident_url"],
			},
			UpdatedAt: at,
		}
	}
	return out
}

func labelSet(m map[string]string) prom.LabelSet {
	out := make(prom.LabelSet, len(m))
	for k, v := range m {
		out[prom.LabelName(k)] = prom.LabelValue(v)
	}
	return out
}
