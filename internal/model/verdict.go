package model

import (
	"strings"
	"time"
)

// Entity names a thing that can be at fault, as "kind:name". Entities compare exactly.
type Entity string

// The entities a verdict may name.
func ServiceEntity(name string) Entity  { return Entity("service:" + name) }
func EdgeEntity(from, to string) Entity { return Entity("edge:" + from + "->" + to) }
func DatabaseEntity(name string) Entity { return Entity("database:" + name) }
func QueueEntity(name string) Entity    { return Entity("queue:" + name) }
func RemoteEntity(name string) Entity   { return Entity("remote:" + name) }
func UserEntity(id string) Entity       { return Entity("user:" + id) }
func PoolEntity(name string) Entity     { return Entity("pool:" + name) }
func KeyEntity(value string) Entity     { return Entity("key:" + value) }
func HostEntity(name string) Entity     { return Entity("host:" + name) }

// Kind is what stands before the colon.
func (e Entity) Kind() string { k, _, _ := strings.Cut(string(e), ":"); return k }

// Name is what stands behind the first colon.
func (e Entity) Name() string { _, n, _ := strings.Cut(string(e), ":"); return n }

// Ends are the two services of an edge.
func (e Entity) Ends() (from, to string) { from, to, _ = strings.Cut(e.Name(), "->"); return from, to }

// Class is one of the seven kinds of fault.
type Class string

// The seven classes.
const (
	ClassSelf       Class = "self"       // the service's own code
	ClassDependency Class = "dependency" // something it calls
	ClassNetwork    Class = "network"    // what lies between two
	ClassEvent      Class = "event"      // an event from a third service
	ClassCaller     Class = "caller"     // one caller's or user's abnormal requests
	ClassChange     Class = "change"     // a deployment, flag or setting
	ClassResource   Class = "resource"   // a resource that ran out
)

// Mechanism is how a cause does its harm.
type Mechanism string

// The mechanisms the catalogue knows.
const (
	PoolExhaustion Mechanism = "pool-exhaustion"
	SlowQuery      Mechanism = "slow-query"
	SlowCode       Mechanism = "slow-code"
	FailingCode    Mechanism = "failing-code"
	NetworkDelay   Mechanism = "network-delay"
	NetworkLoss    Mechanism = "network-loss"
	EventFlood     Mechanism = "event-flood"
	BadDeployment  Mechanism = "bad-deployment"
	Configuration  Mechanism = "configuration"
	CPUSaturation  Mechanism = "cpu-saturation"
	MemoryPressure Mechanism = "memory-pressure"
	DependencyDown Mechanism = "dependency-down"
	SlowDependency Mechanism = "slow-dependency"
	TrafficSurge   Mechanism = "traffic-surge"

	AbnormalRequests     Mechanism = "abnormal-requests"     // of one caller, who alone suffers
	DescriptorExhaustion Mechanism = "descriptor-exhaustion" // open files and sockets at their limit
	LockWait             Mechanism = "lock-wait"             // statements that wait for locks of somebody else
	DiskFull             Mechanism = "disk-full"             // nothing more can be written
	DNSFailure           Mechanism = "dns-failure"           // a name cannot be resolved
	HotKey               Mechanism = "hot-key"               // everybody wants the same
	RetryStorm           Mechanism = "retry-storm"           // repeated calls keep overloaded what they call
	CacheStampede        Mechanism = "cache-stampede"        // each works out what a cache held for all
	SlowConsumer         Mechanism = "slow-consumer"         // messages pile up before who takes them
)

// Cause is one answer to "why".
type Cause struct {
	Class      Class     `json:"class"`
	Entity     Entity    `json:"entity"`
	Mechanism  Mechanism `json:"mechanism"`
	Confidence float64   `json:"confidence"` // 0 to 1, rounded to 1e-6
	// Onset is when the state changed; zero where it is unknown.
	Onset time.Time `json:"onset,omitzero"`
	// Resource is what ran out, where the cause is whoever exhausted it.
	Resource Entity `json:"resource,omitempty"`
}

// Verdict is the answer to an incident: what is wrong, where, and why.
type Verdict struct {
	ID       string    `json:"id"`
	Incident string    `json:"incident,omitempty"`
	Revision int       `json:"revision"` // from 1
	At       time.Time `json:"at"`
	What     What      `json:"what"`
	// Where is ordered by exclusive time now, longest first.
	Where []Where `json:"where"`
	// Why is nil when no cause was found.
	Why          *Cause            `json:"why"`
	Candidates   []Cause           `json:"candidates"`
	FirstFailure *Failure          `json:"first_failure"`
	Impact       Impact            `json:"impact"`
	Evidence     []Evidence        `json:"evidence"`
	RuledOut     []RuledOut        `json:"ruled_out"`
	Telemetry    Telemetry         `json:"telemetry"`
	Text         map[string]string `json:"text"` // by language: "en", "ko"
}

// What says which alarm began it.
type What struct {
	Alarm     string    `json:"alarm"`
	Service   string    `json:"service"`
	Operation string    `json:"operation"`
	Signal    Signal    `json:"signal"`
	Value     float64   `json:"value"`
	Usual     float64   `json:"usual"`
	Unit      string    `json:"unit"` // "s", "ratio", "1/s" or a metric's own
	Since     time.Time `json:"since"`
}

// Where is one row of the table of times: the mean exclusive time an affected request spends in the entity.
type Where struct {
	Entity     Entity  `json:"entity"`
	ExclusiveS float64 `json:"exclusive_s"`
	UsualS     float64 `json:"usual_s"`
	// Share is the entity's part of the request's time now, 0 to 1.
	Share float64 `json:"share"`
	// Errors is the share of its spans that failed now, 0 to 1.
	Errors float64 `json:"errors,omitempty"`
	// BadTrace and NormalTrace are examples.
	BadTrace    string `json:"bad_trace,omitempty"`
	NormalTrace string `json:"normal_trace,omitempty"`
}

// Failure is the first symptom: where and when the trouble was first seen.
type Failure struct {
	Entity    Entity    `json:"entity"`
	Operation string    `json:"operation,omitempty"`
	At        time.Time `json:"at"`
	Symptom   string    `json:"symptom"`
}

// Impact counts who felt it since the onset.
type Impact struct {
	Requests int64 `json:"requests"`
	Users    int64 `json:"users"`
}

// Evidence is one claim with its number and a link to the query that gives it.
type Evidence struct {
	// Kind is "trace", "log", "attribute", "metric", "change" or "edge".
	Kind   string  `json:"kind"`
	Entity Entity  `json:"entity,omitempty"`
	Claim  string  `json:"claim"` // English
	Value  float64 `json:"value"`
	Usual  float64 `json:"usual"`
	Unit   string  `json:"unit,omitempty"`
	// Link is a path of the HTTP API, from / on.
	Link string `json:"link"`
	// Key and Args are the claim without its language: the key of a sentence and what fills it.
	Key  string   `json:"key"`
	Args []string `json:"args,omitempty"`
}

// RuledOut is a rival and the number that speaks against it.
type RuledOut struct {
	Class  Class    `json:"class"`
	Entity Entity   `json:"entity,omitempty"`
	Reason string   `json:"reason"` // English
	Value  float64  `json:"value"`
	Key    string   `json:"key"`
	Args   []string `json:"args,omitempty"`
}

// Telemetry is the health of the data the verdict rests on.
type Telemetry struct {
	Spans           int64   `json:"spans"`
	Logs            int64   `json:"logs"`
	OrphanSpans     float64 `json:"orphan_spans"`       // share of spans whose parent is missing
	LogsWithoutSpan float64 `json:"logs_without_trace"` // share of log lines that name no trace
	LagS            float64 `json:"lag_s"`              // age of the newest span when the verdict was made
	SkewS           float64 `json:"skew_s,omitzero"`    // how far the clocks of callers and callees differ, in seconds
	// Sampling is the share of requests whose traces the senders keep, as far as they say; 0 if they don't.
	Sampling float64 `json:"sampling,omitzero"`
	// Missing says why rows may be missing from what was asked, if any may (a damaged file that was set aside).
	Missing string `json:"missing,omitempty"`
}

// Signal is what an alarm watches.
type Signal string

// The signals. A rule of a user's own that names none has SignalMetric.
const (
	SignalErrors   Signal = "errors"
	SignalDuration Signal = "duration"
	SignalRate     Signal = "rate"
	SignalMetric   Signal = "metric"
)

// AlarmState is CloudWatch's.
type AlarmState string

// The alarm states.
const (
	StateOK           AlarmState = "OK"
	StateAlarm        AlarmState = "ALARM"
	StateInsufficient AlarmState = "INSUFFICIENT_DATA"
)

// Alarm is the present state of one contributor of one rule.
type Alarm struct {
	// ID is the rule's name and the contributor's labels, stable across restarts.
	ID     string            `json:"id"`
	Tenant string            `json:"tenant,omitempty"`
	Rule   string            `json:"rule"`
	Labels map[string]string `json:"labels,omitempty"`
	State  AlarmState        `json:"state"`
	// Reason says in words why the state is what it is.
	Reason string `json:"reason"`
	// Since is when the state was entered, Updated when it was last evaluated.
	Since   time.Time `json:"since"`
	Updated time.Time `json:"updated"`
	// Onset is the start of the first breaching datapoint of the present ALARM.
	Onset     time.Time `json:"onset,omitzero"`
	Signal    Signal    `json:"signal"`
	Service   string    `json:"service,omitempty"`
	Operation string    `json:"operation,omitempty"`
	Value     float64   `json:"value"`
	Usual     float64   `json:"usual"`
	Threshold float64   `json:"threshold"`
	Unit      string    `json:"unit,omitempty"`
	// Datapoints are the values last judged, oldest first.
	Datapoints []float64 `json:"datapoints,omitempty"`
	// Ended is when it last left ALARM; zero if it never was in ALARM.
	Ended time.Time `json:"ended,omitzero"`
	// Suppressed, if not empty, says why nobody is to be told of the present ALARM.
	Suppressed string `json:"suppressed,omitempty"`
	// Source says who judges it where no rule of ours does: "prometheus" of rules in Prometheus rule files, "triage" of alarms
	// on what is received.
	Source string `json:"source,omitempty"`
	// Quiet alarms open no incident; they are there for others to be made of.
	Quiet bool `json:"quiet,omitempty"`
}

// Transition is one change of an alarm's state. It is the only thing that incidents, notifications and the APIs read
// of alarms' history.
type Transition struct {
	ID   string     `json:"id"`
	From AlarmState `json:"from"`
	// Alarm is the alarm after the transition; Alarm.Since is its time.
	Alarm Alarm `json:"alarm"`
}

// IncidentStatus is where an incident stands.
type IncidentStatus string

// The statuses of an incident.
const (
	IncidentOpen     IncidentStatus = "open"
	IncidentResolved IncidentStatus = "resolved"
)

// Incident is alarms that fired together, with the verdict on them.
type Incident struct {
	ID     string         `json:"id"` // INC-1, INC-2, ...
	Tenant string         `json:"tenant,omitempty"`
	Status IncidentStatus `json:"status"`
	Title  string         `json:"title"`
	// Titles says the same in other languages than English, by their codes.
	Titles    map[string]string `json:"titles,omitempty"`
	OpenedAt  time.Time         `json:"opened_at"`
	UpdatedAt time.Time         `json:"updated_at"`
	// ReopenedAt is when it was opened again, the last time. It is zero if it never was.
	ReopenedAt time.Time `json:"reopened_at,omitzero"`
	ResolvedAt time.Time `json:"resolved_at,omitzero"`
	// Onset is the earliest onset among the alarms.
	Onset time.Time `json:"onset"`
	// Alarms are those that joined, as they last stood, earliest first.
	Alarms []Alarm `json:"alarms"`
	// Acknowledged is who said last that they look after it, nil if nobody did since it was opened (again).
	Acknowledged *Acknowledgement `json:"acknowledged,omitempty"`
	Assignee     string           `json:"assignee,omitempty"`
	// MergedInto is the incident that goes on in place of this one, which is then resolved.
	MergedInto string `json:"merged_into,omitempty"`
	// RegroupedAt is when a person last moved alarms into it or out of it, by a merge or a split.
	RegroupedAt time.Time `json:"regrouped_at,omitzero"`
	// Verdict is the newest revision, nil until one was made.
	Verdict *Verdict `json:"verdict,omitempty"`
}

// Acknowledgement is that somebody looks after an incident.
type Acknowledgement struct {
	By string    `json:"by"`
	At time.Time `json:"at"`
}

// EntryKind says what an entry of the journal is about.
type EntryKind string

// The kinds of entries.
const (
	EntryOpened         EntryKind = "opened"
	EntryReopened       EntryKind = "reopened"
	EntryResolved       EntryKind = "resolved"
	EntryAcknowledged   EntryKind = "acknowledged"
	EntryUnacknowledged EntryKind = "unacknowledged"
	EntryAssigned       EntryKind = "assigned" // Text is to whom, empty for nobody
	EntryNote           EntryKind = "note"
	EntryMerged         EntryKind = "merged"      // Ref was merged into the entry's incident
	EntryMergedInto     EntryKind = "merged_into" // the entry's incident was merged into Ref
	EntrySplit          EntryKind = "split"       // alarms went from the entry's incident to Ref
	EntrySplitFrom      EntryKind = "split_from"  // the entry's incident began with alarms of Ref
	EntrySilenced       EntryKind = "silenced"    // Ref is the silence
	EntryRunbook        EntryKind = "runbook"     // Ref is the run, Text how it stands
	EntryApplied        EntryKind = "applied"     // Ref is the revision of what is declared in files
)

// Entry is one line of the journal: what somebody did, or what triage did by itself. It is written once and not changed.
type Entry struct {
	ID string    `json:"id"`
	At time.Time `json:"at"`
	// Incident is the one it is about; empty if it is about none.
	Incident string    `json:"incident,omitempty"`
	Kind     EntryKind `json:"kind"`
	// By is who did it; empty where triage did it by itself.
	By   string `json:"by,omitempty"`
	Text string `json:"text,omitempty"`
	// Ref is the ID of what else it is about, as its kind says.
	Ref string `json:"ref,omitempty"`
}

// Episode is the part of an incident that lasts, or lasted last: since when, and its alarms. They are all there are
// unless the incident was opened again, which may have another cause than the first time.
func (i *Incident) Episode() (since time.Time, alarms []Alarm) {
	if i.ReopenedAt.IsZero() {
		return i.OpenedAt, i.Alarms
	}
	for _, a := range i.Alarms {
		if a.State == StateAlarm || a.Since.After(i.ReopenedAt) {
			alarms = append(alarms, a)
		}
	}
	return i.ReopenedAt, alarms
}

// RuleSourceDown is the rule of alarms on telemetry that no longer comes.
const RuleSourceDown = "source down"

// Troubled is the incident with those of its alarms alone that tell of trouble in the system, rather than of telemetry that
// no longer comes; false if it has no others.
func (i *Incident) Troubled() (Incident, bool) {
	out := *i
	out.Alarms = nil
	var onset time.Time
	for _, a := range i.Alarms {
		if a.Rule == RuleSourceDown {
			continue
		}
		out.Alarms = append(out.Alarms, a)
		if onset.IsZero() || !a.Onset.IsZero() && a.Onset.Before(onset) {
			onset = a.Onset
		}
	}
	if len(out.Alarms) < len(i.Alarms) {
		out.Onset = onset
	}
	_, alarms := out.Episode()
	return out, len(alarms) > 0
}

// Template is a form that log bodies of one service share.
type Template struct {
	// ID is the hash of the template's first form, so that it survives restarts and refinement.
	ID      uint64    `json:"id,string"`
	Service string    `json:"service"`
	Text    string    `json:"text"` // constant words and <*>
	First   time.Time `json:"first"`
	// Alias is the template this one was merged into, 0 if none.
	Alias uint64 `json:"alias,string,omitempty"`
}
