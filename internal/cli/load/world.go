package load

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// world is the made-up system: services on hosts, operations, users. It belongs to one worker.
type world struct {
	shape *rand.Rand // decides what happens
	ids   *rand.Rand // makes identifiers
	// Skewed choices: the first operation, user or template is by far the most frequent.
	operation, user, template, instance *rand.Zipf
	people                              []person
	routes                              [][operations]route // by service and operation

	// slowService is slower by slowBy from slowFrom on; -1 is none.
	slowService int
	slowBy      time.Duration
	slowFrom    time.Time
}

// slow notes a fault that lasts until the end.
func (w *world) slow(s Slow, end time.Time) {
	w.slowService, w.slowBy, w.slowFrom = slices.Index(services, s.Service), s.By, end.Add(-s.For)
}

// person is a user as attributes describe one. Texts are made once: printing them anew for each span would take longer
// than everything else.
type person struct{ id, session, address string }

// route is one operation of a service.
type route struct{ method, path, name, target string }

const (
	users      = 10_000
	instances  = 4 // of each service
	operations = 8 // of each service
)

// services in the order in which requests reach them: a service calls only later ones.
var services = []string{"frontend", "gateway", "session", "search", "catalog", "cart", "pricing", "billing", "ledger", "shipping",
	"recommend", "mailer"}

// functions are the names of what handles requests, by service.
var functions = func() []string {
	out := make([]string, len(services))
	for i, s := range services {
		out[i] = s + ".handle"
	}
	return out
}()

var methods = []string{"GET", "POST", "GET", "PUT", "GET", "DELETE", "GET", "PATCH"}

var nouns = []string{"items", "item", "prices", "lines", "users", "addresses", "quotes", "reports"}

var regions = []string{"eu-west-1", "eu-central-1", "ap-northeast-2"}

func newWorld(shape, ids *rand.Rand) *world {
	w := &world{
		shape: shape, ids: ids, slowService: -1,
		operation: rand.NewZipf(shape, 1.4, 1, operations-1),
		user:      rand.NewZipf(shape, 1.2, 5, users-1),
		template:  rand.NewZipf(shape, 1.3, 1, uint64(len(templates)-1)),
		instance:  rand.NewZipf(shape, 1.1, 4, instances-1),
		people:    make([]person, users),
		routes:    make([][operations]route, len(services)),
	}
	for u := range w.people {
		w.people[u] = person{fmt.Sprintf("u-%d", u), fmt.Sprintf("%016x", uint64(u)*0x9e3779b97f4a7c15), fmt.Sprintf("10.%d.%d.7", u>>8, u&255)}
	}
	for s, name := range services {
		for o := range w.routes[s] {
			path := "/api/" + name + "/" + nouns[o] + "/"
			w.routes[s][o] = route{methods[o], path + "{id}", methods[o] + " " + path + "{id}", path}
		}
	}
	return w
}

func (w *world) traceID() (id pcommon.TraceID) {
	binary.BigEndian.PutUint64(id[:8], w.ids.Uint64())
	binary.BigEndian.PutUint64(id[8:], w.ids.Uint64())
	return id
}

func (w *world) spanID() (id pcommon.SpanID) {
	binary.BigEndian.PutUint64(id[:], w.ids.Uint64()|1) // never zero, which would mean none
	return id
}

// duration is log-normal around a median, with a long tail.
func (w *world) duration(median time.Duration) time.Duration {
	return time.Duration(float64(median) * math.Exp(w.shape.NormFloat64()*0.8))
}

// chance is true p of the time.
func (w *world) chance(p float64) bool { return w.shape.Float64() < p }

// resource writes who produces: one instance of a service.
func resource(m pcommon.Map, service, instance int) {
	name := services[service]
	m.EnsureCapacity(9)
	m.PutStr("service.name", name)
	m.PutStr("service.namespace", "load")
	m.PutStr("service.version", fmt.Sprintf("1.%d.0", service))
	m.PutStr("service.instance.id", fmt.Sprintf("%s-%d", name, instance))
	m.PutStr("deployment.environment.name", "load")
	m.PutStr("host.name", fmt.Sprintf("host-%d", (service*instances+instance)%10))
	m.PutStr("k8s.pod.name", fmt.Sprintf("%s-7d9f8b6c5-%05d", name, instance))
	m.PutStr("telemetry.sdk.language", "go")
	m.PutStr("telemetry.sdk.name", "opentelemetry")
}

func stamp(t time.Time) pcommon.Timestamp { return pcommon.NewTimestampFromTime(t) }
