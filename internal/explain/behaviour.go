package explain

import (
	"bytes"
	"cmp"
	"regexp"
	"slices"

	"triage/internal/model"
)

// Behaviour is how services handled the requests of one window: for each request to an operation, which log templates,
// inner operations and calls occurred while it was handled, how long it took, and whether it failed.
type Behaviour struct {
	Handled map[Operation][]Handling
	// Waits are the seconds that calls spent between two services, sorted.
	Waits map[[2]string][]float64
	// Lines are samples of log templates, and Traces of requests, by what they show.
	Lines map[Trait]Line
}

// Operation is an operation of a service.
type Operation struct{ Service, Name string }

// Handling is one request as one service handled it.
type Handling struct {
	Trace  model.TraceID
	Failed bool
	// Root tells that nobody within the system sent it.
	Root bool
	// Seconds is how long it took, Own that without calls to other services.
	Seconds, Own float64
	Traits       map[Trait]bool
}

// TraitKind says what a Trait is.
type TraitKind string

// The kinds of traits.
const (
	TraitLog   TraitKind = "log"   // a log template
	TraitInner TraitKind = "inner" // an inner operation
	TraitCall  TraitKind = "call"  // an operation of another service
	TraitFails TraitKind = "fails" // the request fails
)

// Trait is one thing that can occur while a request is handled. A log line is known by the place in the code that wrote
// it (Name) where it tells, else by its template: a statement stays the same whatever it prints.
type Trait struct {
	Kind      TraitKind
	Operation // the one that handles, or of TraitCall the one that is called
	Name      string
	Template  uint64
}

// Line is an example of a log template.
type Line struct {
	Text     string
	Template uint64
	// Before and After are the lines that the same request wrote next to it, "" at its ends: they say where in the code it
	// stands.
	Before, After string
}

// Observe takes the spans and log lines of a window apart. A request belongs to the window if it began in it; spans whose
// chain of parents is broken belong to no request and are left out, as are lines without a span among those given.
func Observe(spans []model.Span, logs []model.LogRecord) *Behaviour {
	b := &Behaviour{Handled: map[Operation][]Handling{}, Waits: map[[2]string][]float64{}, Lines: map[Trait]Line{}}
	o := observer{byID: make(map[spanKey]int, len(spans)), entry: make([]int, len(spans)), spans: spans}
	for i := range spans {
		o.byID[spanKey{spans[i].TraceID, spans[i].SpanID}] = i
		o.entry[i] = unknown
	}
	handled := map[int]*Handling{}
	of := func(i int) *Handling {
		h := handled[i]
		if h == nil {
			s := &spans[i]
			h = &Handling{Trace: s.TraceID, Failed: s.Status == model.StatusError, Root: s.ParentID.IsZero(),
				Seconds: float64(s.Duration) / 1e9, Own: float64(s.Duration) / 1e9, Traits: map[Trait]bool{}}
			handled[i] = h
		}
		return h
	}
	for i := range spans {
		s := &spans[i]
		e := o.entryOf(i)
		if e < 0 {
			continue
		}
		if e != i {
			of(e).Traits[Trait{Kind: TraitInner, Operation: o.operation(e), Name: s.Name}] = true
			continue
		}
		of(e)
		p, ok := o.parent(i)
		if !ok {
			continue
		}
		caller := &spans[p]
		if s.Kind != model.SpanConsumer {
			key := [2]string{caller.Service(), s.Service()}
			b.Waits[key] = append(b.Waits[key], max(0, float64(caller.Duration-s.Duration)/1e9))
		}
		if from := o.entryOf(p); from >= 0 {
			h := of(from)
			h.Traits[Trait{Kind: TraitCall, Operation: o.operation(i)}] = true
			if s.Kind != model.SpanConsumer {
				h.Own -= float64(caller.Duration) / 1e9
			}
		}
	}
	o.read(logs, of, b.Lines)
	for _, i := range sortedKeys(handled) {
		op := o.operation(i)
		b.Handled[op] = append(b.Handled[op], *handled[i])
	}
	for _, w := range b.Waits {
		slices.Sort(w)
	}
	return b
}

type spanKey struct {
	trace model.TraceID
	span  model.SpanID
}

// What entry may say besides an index: not looked for yet, and lost.
const (
	unknown = -2
	lost    = -1
)

// observer finds the request that each span belongs to.
type observer struct {
	spans []model.Span
	byID  map[spanKey]int
	entry []int // by span, the span with which its service began to handle the request
}

func (o *observer) operation(i int) Operation {
	return Operation{o.spans[i].Service(), o.spans[i].Name}
}

func (o *observer) parent(i int) (int, bool) {
	s := &o.spans[i]
	if s.ParentID.IsZero() {
		return 0, false
	}
	p, ok := o.byID[spanKey{s.TraceID, s.ParentID}]
	return p, ok && p != i
}

// entryOf follows the parents of a span to where its service was entered.
func (o *observer) entryOf(i int) int {
	var walked []int
	found := lost
	for {
		if o.entry[i] != unknown {
			found = o.entry[i]
			break
		}
		o.entry[i] = lost // a cycle ends here
		walked = append(walked, i)
		p, ok := o.parent(i)
		if o.spans[i].ParentID.IsZero() || ok && (o.spans[p].Service() != o.spans[i].Service() || o.spans[i].Kind.Entry()) {
			found = i
			break
		}
		if !ok {
			break
		}
		i = p
	}
	for _, k := range walked {
		o.entry[k] = found
	}
	return found
}

// read gives each line to the request whose span it was written in.
func (o *observer) read(logs []model.LogRecord, of func(int) *Handling, lines map[Trait]Line) {
	byEntry := map[int][]*model.LogRecord{}
	for i := range logs {
		l := &logs[i]
		s, ok := o.byID[spanKey{l.TraceID, l.SpanID}]
		if !ok {
			continue
		}
		if e := o.entryOf(s); e >= 0 && o.spans[e].Service() == l.Service() {
			byEntry[e] = append(byEntry[e], l)
		}
	}
	for _, e := range sortedKeys(byEntry) {
		written := byEntry[e]
		slices.SortStableFunc(written, func(a, b *model.LogRecord) int {
			return cmp.Or(cmp.Compare(a.Time, b.Time), bytes.Compare(a.SpanID[:], b.SpanID[:]))
		})
		h := of(e)
		for k, l := range written {
			t := Trait{Kind: TraitLog, Operation: Operation{Service: l.Service()}, Name: codePlace(l)}
			if t.Name == "" {
				t.Template = l.Template
			}
			h.Traits[t] = true
			if _, ok := lines[t]; ok {
				continue
			}
			line := Line{Text: l.Body.String(), Template: l.Template}
			if k > 0 {
				line.Before = written[k-1].Body.String()
			}
			if k < len(written)-1 {
				line.After = written[k+1].Body.String()
			}
			lines[t] = line
		}
	}
}

// writtenAt finds a place in the code at the beginning of a line: a qualified name with a line number, as Java's loggers
// write it, or a source file with one.
var writtenAt = regexp.MustCompile(`[A-Za-z_$][\w$]*(?:\.[\w$\[\]]+)+#\d+|[\w$./\\-]+\.(?:java|kt|scala|go|py|rb|js|ts|php|rs|cs|cc|cpp|c|ex):\d+`)

// codePlace is the place in the code that wrote a line, "" if neither its attributes nor its beginning say.
func codePlace(l *model.LogRecord) string {
	number := l.Attrs.First("code.line.number", "code.lineno")
	file := l.Attrs.First("code.file.path", "code.filepath", "code.function.name", "code.function")
	if number != "" && file != "" {
		return file + ":" + number
	}
	if l.Body.Kind() != model.KindString {
		return ""
	}
	text := l.Body.Str()
	return writtenAt.FindString(text[:min(len(text), 160)])
}

func sortedKeys[V any](m map[int]V) []int {
	out := make([]int, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// Services counts the requests that each service handled.
func (b *Behaviour) Services() map[string]int {
	out := map[string]int{}
	for op, h := range b.Handled {
		out[op.Service] += len(h)
	}
	return out
}
