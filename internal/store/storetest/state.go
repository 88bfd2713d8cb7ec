package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"triage/internal/model"
	"triage/internal/store"
)

// OpenState opens the state kept under dir, empty the first time. Opening it again after close finds what was saved.
type OpenState func(t *testing.T, dir string) (s store.State, close func() error)

// stateStart is when the suite's stories begin. It has nanoseconds, because engines must keep them.
var stateStart = time.Date(2030, 3, 4, 5, 6, 7, 123456789, time.UTC)

// State checks an engine against the contract of store.State.
func State(t *testing.T, open OpenState) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, s store.State)
	}{
		{"changes", stateChanges},
		{"alarms and transitions", stateAlarms},
		{"incidents", stateIncidents},
		{"journal", stateJournal},
		{"verdicts", stateVerdicts},
		{"documents", stateDocuments},
		{"templates", stateTemplates},
		{"concurrent use", stateConcurrent},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, closeState := open(t, t.TempDir())
			c.run(t, s)
			if err := closeState(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
	t.Run("closed", func(t *testing.T) {
		s, closeState := open(t, t.TempDir())
		if err := closeState(); err != nil {
			t.Fatalf("close: %v", err)
		}
		if _, err := s.NextIncident(t.Context(), "a"); !errors.Is(err, store.ErrClosed) {
			t.Errorf("write to a closed store: %v, want ErrClosed", err)
		}
		if _, err := s.Alarms(t.Context(), "a"); !errors.Is(err, store.ErrClosed) {
			t.Errorf("read of a closed store: %v, want ErrClosed", err)
		}
	})
	t.Run("survives reopening", func(t *testing.T) { stateReopen(t, open) })
}

// same fails the test unless got equals want.
func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// ok fails the test at once if err is not nil.
func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func stateChanges(t *testing.T, s store.State) {
	ctx := t.Context()
	deploy := model.Change{
		ID: "c1", At: stateStart, Kind: "deployment", Service: "billing", Version: "7", By: "release job",
		Attrs: map[string]string{"git.commit": "abc"}, Source: "api",
	}
	flag := model.Change{ID: "c2", At: stateStart.Add(time.Minute), Kind: "flag", Key: "new-prices", From: "off", To: "on"}
	ok(t, s.AddChange(ctx, "a", flag))
	ok(t, s.AddChange(ctx, "a", deploy))
	again := deploy
	again.Version = "8"
	ok(t, s.AddChange(ctx, "a", again))
	ok(t, s.AddChange(ctx, "b", model.Change{ID: "c1", At: stateStart, Kind: "scaling"}))

	all, err := s.Changes(ctx, "a", store.Window{From: stateStart, To: stateStart.Add(time.Hour)})
	ok(t, err)
	same(t, "changes come oldest first, as they were added first", all, []model.Change{deploy, flag})
	some, err := s.Changes(ctx, "a", store.Window{From: stateStart.Add(time.Nanosecond), To: flag.At})
	ok(t, err)
	same(t, "a window includes its start and excludes its end", some, []model.Change{})
	ever, err := s.Changes(ctx, "a", store.Window{To: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)})
	ok(t, err)
	same(t, "a window may be wider than time", len(ever), 2)
}

// sampleAlarm is an alarm with every field set.
func sampleAlarm(id string, since time.Time) model.Alarm {
	return model.Alarm{
		ID: id, Tenant: "a", Rule: "slow", Labels: map[string]string{"service_name": "cart"}, State: model.StateAlarm,
		Reason: "3 of 4 datapoints", Since: since, Updated: since.Add(time.Second), Onset: since.Add(-15 * time.Second),
		Signal: model.SignalDuration, Service: "cart", Operation: "GET /cart", Value: 0.1 + 0.2, Usual: 1.0 / 3,
		Threshold: math.SmallestNonzeroFloat64, Unit: "s", Datapoints: []float64{0.5, 1e300},
	}
}

func stateAlarms(t *testing.T, s store.State) {
	ctx := t.Context()
	x, y := sampleAlarm("x", stateStart), sampleAlarm("y", stateStart.Add(time.Minute))
	tx := model.Transition{ID: "t1", From: model.StateOK, Alarm: x}
	ty := model.Transition{ID: "t2", From: model.StateInsufficient, Alarm: y}
	ok(t, s.SaveAlarms(ctx, "a", nil, nil))
	ok(t, s.SaveAlarms(ctx, "a", []model.Alarm{y, x}, []model.Transition{tx, ty}))
	alarms, err := s.Alarms(ctx, "a")
	ok(t, err)
	same(t, "alarms", alarms, []model.Alarm{x, y})

	okAgain := x
	okAgain.State, okAgain.Since, okAgain.Onset, okAgain.Datapoints = model.StateOK, stateStart.Add(time.Hour), time.Time{}, nil
	tx2 := model.Transition{ID: "t3", From: model.StateAlarm, Alarm: okAgain}
	ok(t, s.SaveAlarms(ctx, "a", []model.Alarm{okAgain}, []model.Transition{tx2}))
	ok(t, s.SaveAlarms(ctx, "a", []model.Alarm{okAgain}, []model.Transition{tx2})) // a repeated save doubles nothing

	always := store.Window{From: stateStart, To: stateStart.Add(24 * time.Hour)}
	for _, c := range []struct {
		name, alarm string
		w           store.Window
		limit       int
		want        []model.Transition
	}{
		{"all", "", always, 10, []model.Transition{tx, ty, tx2}},
		{"one alarm's", "x", always, 10, []model.Transition{tx, tx2}},
		{"limited", "", always, 2, []model.Transition{tx, ty}},
		{"half-open", "", store.Window{From: x.Since, To: y.Since}, 10, []model.Transition{tx}},
		{"unknown alarm", "z", always, 10, []model.Transition{}},
	} {
		got, err := s.Transitions(ctx, "a", c.alarm, c.w, c.limit)
		ok(t, err)
		same(t, "transitions: "+c.name, got, c.want)
	}

	// A save is whole or not at all: JSON has no NaN.
	bad := y
	bad.Value = math.NaN()
	tz := model.Transition{ID: "t4", From: model.StateOK, Alarm: bad}
	if err := s.SaveAlarms(ctx, "a", []model.Alarm{sampleAlarm("z", stateStart)}, []model.Transition{tz}); err == nil {
		t.Error("saving a NaN went well")
	}
	alarms, err = s.Alarms(ctx, "a")
	ok(t, err)
	same(t, "alarms after a save that went wrong", alarms, []model.Alarm{okAgain, y})

	ok(t, s.DeleteAlarms(ctx, "b", []string{"x"}))
	ok(t, s.DeleteAlarms(ctx, "a", []string{"y", "never was"}))
	alarms, err = s.Alarms(ctx, "a")
	ok(t, err)
	same(t, "alarms after deletion", alarms, []model.Alarm{okAgain})
	kept, err := s.Transitions(ctx, "a", "y", always, 10)
	ok(t, err)
	same(t, "a deleted alarm's history stays", len(kept), 1)
	none, err := s.Alarms(ctx, "b")
	ok(t, err)
	same(t, "another tenant's alarms", none, []model.Alarm{})
}

func sampleIncident(id string, opened time.Time) model.Incident {
	return model.Incident{
		ID: id, Tenant: "a", Status: model.IncidentOpen, Title: "GET /cart in cart: latency 3.0x its usual", OpenedAt: opened,
		UpdatedAt: opened.Add(time.Second), Onset: opened.Add(-time.Minute), Alarms: []model.Alarm{sampleAlarm("x", opened)},
	}
}

func stateIncidents(t *testing.T, s store.State) {
	ctx := t.Context()
	for i, want := range []string{"INC-1", "INC-2", "INC-3"} {
		id, err := s.NextIncident(ctx, "a")
		ok(t, err)
		same(t, fmt.Sprintf("ID %d", i), id, want)
	}
	id, err := s.NextIncident(ctx, "b")
	ok(t, err)
	same(t, "each tenant counts for itself", id, "INC-1")

	one, two := sampleIncident("INC-1", stateStart), sampleIncident("INC-2", stateStart.Add(time.Minute))
	ok(t, s.SaveIncidents(ctx, one.Tenant, []model.Incident{one}, nil))
	ok(t, s.SaveIncidents(ctx, two.Tenant, []model.Incident{two}, nil))
	got, err := s.Incident(ctx, "a", "INC-1")
	ok(t, err)
	same(t, "incident", got, one)
	if _, err := s.Incident(ctx, "b", "INC-1"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another tenant's incident: %v, want ErrNotFound", err)
	}

	one.Status, one.ResolvedAt = model.IncidentResolved, stateStart.Add(time.Hour)
	stored := one
	stored.Verdict = &model.Verdict{ID: "not to be stored"}
	ok(t, s.SaveIncidents(ctx, stored.Tenant, []model.Incident{stored}, nil))
	for _, c := range []struct {
		name   string
		status model.IncidentStatus
		limit  int
		want   []model.Incident
	}{
		{"all, newest first", "", 10, []model.Incident{two, one}},
		{"open", model.IncidentOpen, 10, []model.Incident{two}},
		{"resolved", model.IncidentResolved, 10, []model.Incident{one}},
		{"limited", "", 1, []model.Incident{two}},
	} {
		got, err := s.Incidents(ctx, "a", c.status, c.limit)
		ok(t, err)
		same(t, "incidents: "+c.name, got, c.want)
	}
	none, err := s.Incidents(ctx, "nobody", "", 10)
	ok(t, err)
	same(t, "incidents of nobody", none, []model.Incident{})
}

func stateJournal(t *testing.T, s store.State) {
	ctx := t.Context()
	one, two := sampleIncident("INC-1", stateStart), sampleIncident("INC-2", stateStart)
	one.Acknowledged, one.Assignee = &model.Acknowledgement{By: "ann", At: stateStart.Add(time.Second)}, "bob"
	two.MergedInto, two.RegroupedAt = "INC-1", stateStart.Add(time.Minute)
	entry := func(id, incident string, kind model.EntryKind, after time.Duration) model.Entry {
		return model.Entry{ID: id, At: stateStart.Add(after), Incident: incident, Kind: kind, By: "ann", Text: "because", Ref: "INC-9"}
	}
	ack, merged, none := entry("e1", "INC-1", model.EntryAcknowledged, 0), entry("e3", "INC-2", model.EntryMergedInto, time.Minute), entry("e2", "", model.EntryNote, 0)
	ok(t, s.SaveIncidents(ctx, "a", []model.Incident{one, two}, []model.Entry{merged, ack}))
	ok(t, s.SaveIncidents(ctx, "a", nil, []model.Entry{none}))
	again := ack
	again.Text = "otherwise"
	ok(t, s.SaveIncidents(ctx, "a", nil, []model.Entry{again}))
	ok(t, s.SaveIncidents(ctx, "b", nil, []model.Entry{entry("e1", "INC-1", model.EntryNote, 0)}))
	for _, inc := range []model.Incident{one, two} {
		got, err := s.Incident(ctx, "a", inc.ID)
		ok(t, err)
		same(t, "what people did with "+inc.ID, got, inc)
	}
	for _, c := range []struct {
		name, incident string
		from, to       time.Duration
		limit          int
		want           []model.Entry
	}{
		{"all, oldest first, those of one instant as they were saved", "", 0, time.Hour, 10, []model.Entry{ack, none, merged}},
		{"of an incident", "INC-1", 0, time.Hour, 10, []model.Entry{ack}},
		{"the start is included and the end is not", "", 0, time.Minute, 10, []model.Entry{ack, none}},
		{"the newest of too many", "", 0, time.Hour, 1, []model.Entry{merged}},
		{"of nobody", "INC-9", 0, time.Hour, 10, []model.Entry{}},
	} {
		got, err := s.Journal(ctx, "a", c.incident, store.Window{From: stateStart.Add(c.from), To: stateStart.Add(c.to)}, c.limit)
		ok(t, err)
		same(t, "journal: "+c.name, got, c.want)
	}
}

func stateVerdicts(t *testing.T, s store.State) {
	ctx := t.Context()
	inc := sampleIncident("INC-1", stateStart)
	ok(t, s.SaveIncidents(ctx, inc.Tenant, []model.Incident{inc}, nil))
	first := model.Verdict{
		ID: "v", Incident: "INC-1", Revision: 1, At: stateStart, What: model.What{Alarm: "x", Since: stateStart},
		Why:  &model.Cause{Class: model.ClassNetwork, Entity: model.EdgeEntity("cart", "ledger"), Confidence: 0.75},
		Text: map[string]string{"en": "slow", "ko": "느림"},
	}
	second := first
	second.Revision, second.At, second.Why = 2, stateStart.Add(time.Minute), nil
	answers := bytes.Repeat([]byte(`{"question":"edges","answer":[1,2,3]}`), 1000)
	ok(t, s.SaveVerdict(ctx, "a", second, nil))
	ok(t, s.SaveVerdict(ctx, "a", first, answers))
	ok(t, s.SaveVerdict(ctx, "a", model.Verdict{ID: "asked", Revision: 1, At: stateStart}, []byte{}))
	if err := s.SaveVerdict(ctx, "a", first, nil); err == nil {
		t.Error("saving a revision again went well")
	}

	all, err := s.Verdicts(ctx, "a", "INC-1")
	ok(t, err)
	same(t, "verdicts", all, []model.Verdict{first, second})
	got, err := s.Incident(ctx, "a", "INC-1")
	ok(t, err)
	inc.Verdict = &second
	same(t, "an incident carries its newest verdict", got, inc)
	several, err := s.Incidents(ctx, "a", "", 10)
	ok(t, err)
	same(t, "so do all", several, []model.Incident{inc})

	kept, err := s.Answers(ctx, "a", "v", 1)
	ok(t, err)
	same(t, "answers", kept, answers)
	empty, err := s.Answers(ctx, "a", "asked", 1)
	ok(t, err)
	same(t, "answers that are empty", empty, []byte{})
	for _, revision := range []int{2, 3} { // saved without answers, never saved
		if _, err := s.Answers(ctx, "a", "v", revision); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("answers of revision %d: %v, want ErrNotFound", revision, err)
		}
	}
	none, err := s.Verdicts(ctx, "b", "INC-1")
	ok(t, err)
	same(t, "another tenant's verdicts", none, []model.Verdict{})
}

func stateDocuments(t *testing.T, s store.State) {
	ctx := t.Context()
	doc := func(kind, name, body string) store.Document {
		return store.Document{Kind: kind, Name: name, Body: []byte(body)}
	}
	ok(t, s.SaveDocuments(ctx, "a", []store.Document{doc("x", "2", `{}`), doc("x", "1", `[1]`), doc("y", "1", `"y"`)}))
	ok(t, s.SaveDocuments(ctx, "b", []store.Document{doc("x", "1", `"b"`)}))
	ok(t, s.SaveDocuments(ctx, "a", nil))
	list := func(tenant, kind string) []store.Document {
		t.Helper()
		got, err := s.Documents(ctx, tenant, kind)
		ok(t, err)
		return got
	}
	same(t, "documents", list("a", "x"), []store.Document{doc("x", "1", `[1]`), doc("x", "2", `{}`)})
	// One goes, one is replaced, one that is not there goes too.
	ok(t, s.SaveDocuments(ctx, "a", []store.Document{{Kind: "x", Name: "1"}, doc("x", "2", `2`), {Kind: "x", Name: "3"}}))
	same(t, "documents after a change", list("a", "x"), []store.Document{doc("x", "2", `2`)})
	same(t, "of another kind", list("a", "y"), []store.Document{doc("y", "1", `"y"`)})
	same(t, "of another tenant", list("b", "x"), []store.Document{doc("x", "1", `"b"`)})
	same(t, "of none", list("c", "x"), []store.Document{})
}

func stateTemplates(t *testing.T, s store.State) {
	ctx := t.Context()
	a := model.Template{ID: math.MaxUint64, Service: "billing", Text: "charged <*>", First: stateStart}
	b := model.Template{ID: 1, Service: "cart", Text: "cart <*> is empty", First: stateStart}
	ok(t, s.SaveTemplates(ctx, "a", []model.Template{b, a}))
	b.Text, b.Alias = "cart <*> <*>", math.MaxUint64-1
	ok(t, s.SaveTemplates(ctx, "a", []model.Template{b}))
	got, err := s.Templates(ctx, "a")
	ok(t, err)
	same(t, "templates", got, []model.Template{a, b})
	none, err := s.Templates(ctx, "b")
	ok(t, err)
	same(t, "another tenant's templates", none, []model.Template{})
}

// stateConcurrent has writers and readers in each other's way: none may see an error, and no incident's number is given
// twice.
func stateConcurrent(t *testing.T, s store.State) {
	const writers, each = 4, 10
	ctx := t.Context()
	var wg sync.WaitGroup
	var seen sync.Map
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				id, err := s.NextIncident(ctx, "a")
				if err != nil {
					t.Errorf("next incident: %v", err)
					return
				}
				if _, twice := seen.LoadOrStore(id, true); twice {
					t.Errorf("%s was given twice", id)
				}
				alarm := sampleAlarm(fmt.Sprintf("%d", w), stateStart)
				tr := model.Transition{ID: fmt.Sprintf("%d/%d", w, i), From: model.StateOK, Alarm: alarm}
				if err := s.SaveAlarms(ctx, "a", []model.Alarm{alarm}, []model.Transition{tr}); err != nil {
					t.Errorf("save alarms: %v", err)
				}
				if _, err := s.Alarms(ctx, "a"); err != nil {
					t.Errorf("alarms: %v", err)
				}
			}
		})
	}
	wg.Wait()
	all, err := s.Transitions(ctx, "a", "", store.Window{From: stateStart, To: stateStart.Add(time.Hour)}, 1000)
	ok(t, err)
	same(t, "transitions", len(all), writers*each)
}

func stateReopen(t *testing.T, open OpenState) {
	ctx, dir := t.Context(), t.TempDir()
	s, closeState := open(t, dir)
	inc := sampleIncident("INC-1", stateStart)
	alarm := sampleAlarm("x", stateStart)
	_, err := s.NextIncident(ctx, "a")
	ok(t, err)
	ok(t, s.SaveIncidents(ctx, inc.Tenant, []model.Incident{inc}, nil))
	ok(t, s.SaveAlarms(ctx, "a", []model.Alarm{alarm}, nil))
	ok(t, closeState())

	s, closeState = open(t, dir)
	got, err := s.Incident(ctx, "a", "INC-1")
	ok(t, err)
	same(t, "incident", got, inc)
	alarms, err := s.Alarms(ctx, "a")
	ok(t, err)
	same(t, "alarms", alarms, []model.Alarm{alarm})
	id, err := s.NextIncident(ctx, "a")
	ok(t, err)
	same(t, "numbers go on", id, "INC-2")
	ok(t, closeState())
}
