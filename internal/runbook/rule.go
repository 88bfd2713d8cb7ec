package runbook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"triage/internal/alarm"
	"triage/internal/model"
)

// Runbook says what is to be done when something is wrong.
type Runbook struct {
	Name        string `json:"name" yaml:"name,omitempty"`
	Description string `json:"description,omitempty" yaml:"description,omitempty"`
	When        When   `json:"when" yaml:"when"`
	Do          Action `json:"do" yaml:"do"`
	// Undo takes back what Do did, when somebody asks for it.
	Undo *Action `json:"undo,omitempty" yaml:"undo,omitempty"`
	// Approval is required (the default): it waits until somebody approves; or none.
	Approval Approval `json:"approval,omitempty" yaml:"approval,omitempty"`
	// DryRun says what would be done, and does nothing.
	DryRun bool `json:"dry_run,omitempty" yaml:"dry_run,omitempty"`
	// CoolDown is how long after one run no other is begun, and PerHour how many may begin in an hour.
	CoolDown alarm.Duration `json:"cool_down,omitempty" yaml:"cool_down,omitempty"`
	PerHour  int            `json:"per_hour,omitempty" yaml:"per_hour,omitempty"`
}

// Approval says whether somebody has to approve.
type Approval string

// The approvals.
const (
	ApprovalRequired Approval = "required"
	ApprovalNone     Approval = "none"
)

// When is the condition of a runbook: of an alarm that is in ALARM, of the newest verdict, or both.
type When struct {
	Alarm   *OnAlarm   `json:"alarm,omitempty" yaml:"alarm,omitempty"`
	Verdict *OnVerdict `json:"verdict,omitempty" yaml:"verdict,omitempty"`
}

// OnAlarm matches an alarm. Empty fields match all; * in the others stands for anything.
type OnAlarm struct {
	Rule    string            `json:"rule,omitempty" yaml:"rule,omitempty"`
	Service string            `json:"service,omitempty" yaml:"service,omitempty"`
	Labels  map[string]string `json:"labels,omitempty" yaml:"labels,omitempty"`
}

// OnVerdict matches the cause that a verdict names, likewise.
type OnVerdict struct {
	Class      model.Class     `json:"class,omitempty" yaml:"class,omitempty"`
	Mechanism  model.Mechanism `json:"mechanism,omitempty" yaml:"mechanism,omitempty"`
	Entity     string          `json:"entity,omitempty" yaml:"entity,omitempty"`
	Confidence float64         `json:"confidence,omitempty" yaml:"confidence,omitempty"` // at least
}

// Action is one of a command, a webhook and the restart of a systemd unit.
type Action struct {
	// Command is a program and its arguments; no shell reads them. What it is about stands in its environment: TRIAGE_INCIDENT,
	// TRIAGE_RUNBOOK, TRIAGE_RUN, TRIAGE_SERVICE, TRIAGE_CLASS, TRIAGE_MECHANISM, TRIAGE_ENTITY.
	Command []string `json:"command,omitempty" yaml:"command,omitempty"`
	Webhook *Webhook `json:"webhook,omitempty" yaml:"webhook,omitempty"`
	// RestartUnit is a unit that systemctl restarts.
	RestartUnit string `json:"restart_unit,omitempty" yaml:"restart_unit,omitempty"`
	// Timeout is after what time it is stopped, a minute where nothing is said.
	Timeout alarm.Duration `json:"timeout,omitempty" yaml:"timeout,omitempty"`
}

// Webhook posts JSON: the run, and the incident with its verdict.
type Webhook struct {
	URL     string            `json:"url" yaml:"url"`
	Headers map[string]string `json:"headers,omitempty" yaml:"headers,omitempty"`
}

// The defaults and bounds of runbooks.
const (
	defaultTimeout  = time.Minute
	maxTimeout      = time.Hour
	defaultCoolDown = 10 * time.Minute
	defaultPerHour  = 3
	maxName         = 200
)

// Parse reads one runbook as JSON, strictly, completes and validates it.
func Parse(b []byte) (Runbook, error) {
	var r Runbook
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return Runbook{}, fmt.Errorf("runbook: %w", err)
	}
	r = r.WithDefaults()
	return r, r.Validate()
}

// WithDefaults fills in what was left out.
func (r Runbook) WithDefaults() Runbook {
	if r.Approval == "" {
		r.Approval = ApprovalRequired
	}
	if r.CoolDown == 0 {
		r.CoolDown = alarm.Duration(defaultCoolDown)
	}
	if r.PerHour == 0 {
		r.PerHour = defaultPerHour
	}
	if r.Do.Timeout == 0 {
		r.Do.Timeout = alarm.Duration(defaultTimeout)
	}
	if r.Undo != nil {
		u := *r.Undo
		if u.Timeout == 0 {
			u.Timeout = alarm.Duration(defaultTimeout)
		}
		r.Undo = &u
	}
	return r
}

var unitPattern = regexp.MustCompile(`^[A-Za-z0-9:_.@\\][A-Za-z0-9:_.@\\-]*$`)

// Validate reports everything that is wrong with a runbook that WithDefaults completed, each by its path.
func (r Runbook) Validate() error {
	var errs []error
	bad := func(path, format string, args ...any) { errs = append(errs, fmt.Errorf(path+": "+format, args...)) }
	if r.Name == "" || len(r.Name) > maxName {
		bad("name", "has %d bytes, and 1 to %d are needed", len(r.Name), maxName)
	}
	if r.When.Alarm == nil && r.When.Verdict == nil {
		bad("when", "neither alarm nor verdict is given")
	}
	if v := r.When.Verdict; v != nil {
		if !(v.Confidence >= 0 && v.Confidence <= 1) {
			bad("when.verdict.confidence", "%v is not between 0 and 1", v.Confidence)
		}
		classes := []model.Class{"", model.ClassSelf, model.ClassDependency, model.ClassNetwork, model.ClassEvent, model.ClassCaller, model.ClassChange, model.ClassResource}
		if !slices.Contains(classes, v.Class) {
			bad("when.verdict.class", "%q is none of self, dependency, network, event, caller, change, resource", v.Class)
		}
		if v.Entity != "" && !strings.Contains(v.Entity, ":") && v.Entity != "*" {
			bad("when.verdict.entity", "%q is not kind:name, as in service:cart", v.Entity)
		}
	}
	errs = append(errs, r.Do.problems("do")...)
	if r.Undo != nil {
		errs = append(errs, r.Undo.problems("undo")...)
	}
	if r.Approval != ApprovalRequired && r.Approval != ApprovalNone {
		bad("approval", "%q is neither required nor none", r.Approval)
	}
	if r.CoolDown < 0 {
		bad("cool_down", "%s is negative", r.CoolDown)
	}
	if r.PerHour < 0 {
		bad("per_hour", "%d is negative", r.PerHour)
	}
	return errors.Join(errs...)
}

func (a Action) problems(at string) (errs []error) {
	bad := func(path, format string, args ...any) { errs = append(errs, fmt.Errorf(at+path+": "+format, args...)) }
	n := 0
	if len(a.Command) > 0 {
		n++
		if a.Command[0] == "" {
			bad(".command[0]", "is empty")
		}
	}
	if a.Webhook != nil {
		n++
		if u, err := url.Parse(a.Webhook.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			bad(".webhook.url", "%q is not a URL", a.Webhook.URL)
		}
	}
	if a.RestartUnit != "" {
		n++
		if !unitPattern.MatchString(a.RestartUnit) {
			bad(".restart_unit", "%q is not the name of a unit", a.RestartUnit)
		}
	}
	if n != 1 {
		bad("", "%d of command, webhook and restart_unit are given, and one is needed", n)
	}
	if t := time.Duration(a.Timeout); t <= 0 || t > maxTimeout {
		bad(".timeout", "%s is not between 0s and %s", a.Timeout, alarm.Duration(maxTimeout))
	}
	return errs
}

// String says what an action does.
func (a Action) String() string {
	switch {
	case a.Webhook != nil:
		return "POST " + a.Webhook.URL
	case a.RestartUnit != "":
		return "systemctl restart " + a.RestartUnit
	}
	var parts []string
	for _, p := range a.Command {
		if p == "" || strings.ContainsAny(p, " \t\n'\"\\$") {
			p = fmt.Sprintf("%q", p)
		}
		parts = append(parts, p)
	}
	return strings.Join(parts, " ")
}

// matches says why a runbook is to run for an incident as it stands, "" if it is not.
func (w When) matches(inc *model.Incident) string {
	since, alarms := inc.Episode()
	var reasons []string
	if on := w.Alarm; on != nil {
		i := slices.IndexFunc(alarms, func(a model.Alarm) bool { return a.State == model.StateAlarm && a.Suppressed == "" && on.matches(a) })
		if i < 0 {
			return ""
		}
		reasons = append(reasons, "alarm "+alarms[i].ID)
	}
	if on := w.Verdict; on != nil {
		v := inc.Verdict
		if v == nil || v.At.Before(since) || v.Why == nil || !on.matches(*v.Why) {
			return ""
		}
		reasons = append(reasons, fmt.Sprintf("verdict %s: %s at %s (%s, confidence %.2f)", v.ID, v.Why.Mechanism, v.Why.Entity, v.Why.Class, v.Why.Confidence))
	}
	return strings.Join(reasons, "; ")
}

func (o OnAlarm) matches(a model.Alarm) bool {
	ok := like(o.Rule, a.Rule) && like(o.Service, a.Service)
	for k, v := range o.Labels {
		ok = ok && v != "" && like(v, a.Labels[k])
	}
	return ok
}

func (o OnVerdict) matches(c model.Cause) bool {
	return like(string(o.Class), string(c.Class)) && like(string(o.Mechanism), string(c.Mechanism)) && like(o.Entity, string(c.Entity)) &&
		c.Confidence >= o.Confidence
}

// like tells whether text is what a pattern says, in which * stands for anything. An empty pattern is anything.
func like(pattern, text string) bool {
	if pattern == "" {
		return true
	}
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == text
	}
	if !strings.HasPrefix(text, parts[0]) {
		return false
	}
	text = text[len(parts[0]):]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(text, p)
		if i < 0 {
			return false
		}
		text = text[i+len(p):]
	}
	return strings.HasSuffix(text, parts[len(parts)-1])
}
