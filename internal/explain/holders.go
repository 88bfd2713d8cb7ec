package explain

import (
	"cmp"
	"slices"
	"time"

	"triage/internal/locate"
	"triage/internal/model"
	"triage/internal/store"
)

// UserKeys say which user a request ran for, most exact first. TenantKeys name groups of users, CallerKeys is all keys
// that name somebody on whose behalf work is done.
var (
	UserKeys   = []string{"user.id", "enduser.id", "user.name", "user.email", "customer.id", "account.id"}
	TenantKeys = []string{"tenant.id", "tenant", "organization.id", "client.id", "app.id", "user_agent.original", "client.address", "http.client_ip", "net.sock.peer.addr"}
	CallerKeys = append(slices.Clone(UserKeys), TenantKeys...)
	// WorkKeys say what was done rather than for whom; they are shown, and accuse nobody.
	WorkKeys = []string{"http.route", "rpc.method", "messaging.destination.name", "db.query.summary", "db.operation.name", "db.collection.name"}
)

// CallerEntity names the holder of a caller key's value.
func CallerEntity(key, value string) model.Entity {
	switch {
	case slices.Contains(UserKeys, key):
		return model.UserEntity(value)
	case key == "client.address" || key == "http.client_ip" || key == "net.sock.peer.addr":
		return model.HostEntity(value)
	case key == "service.name":
		return model.ServiceEntity(value)
	}
	return model.Entity("tenant:" + value)
}

// Measure says what a holder's share is a share of.
type Measure string

// The measures of holding, in the order in which they are believed: how long connections were held tells most, the
// time of whole requests includes waiting for others.
const (
	HeldSeconds     Measure = "connection-seconds" // first to last use of a database within a request
	DatabaseSeconds Measure = "database-seconds"   // time in the database
	BusySeconds     Measure = "busy-seconds"       // time in the service
)

// Holder is somebody with an outsized share of a resource.
type Holder struct {
	Measure       Measure
	Key, Value    string
	Share, Usual  float64 // of the measure, now and before
	Requests      int64
	RequestsShare float64
	// Others is how much longer everybody else's single use of it lasts than before, as a factor.
	Others float64
	// Strength is how surely this is an abnormal holder, 0 to 1.
	Strength float64
}

// Usage is what each attribute value used of a resource.
type Usage struct {
	Requests int64
	Seconds  float64
	By       map[string]map[string]Used // key, value
}

// Used is what one value used.
type Used struct {
	Requests int64
	Seconds  float64
}

func (u *Usage) add(key, value string, seconds float64) {
	if u.By[key] == nil {
		u.By[key] = map[string]Used{}
	}
	w := u.By[key][value]
	u.By[key][value] = Used{w.Requests + 1, w.Seconds + seconds}
}

// Held measures how long requests of a service held a database connection: from the first to the last of its database
// calls within one request of the service. Waiting for a connection comes before the first call, so that it doesn't
// count; what the service does between two calls of a transaction does. A request is put down to the caller keys on
// its own spans and on any entry span of its trace.
//
// A request whose own span is missing while its calls are there is taken to be still under way, holding what it got
// until the time until: who holds a connection longest is the last to report it. The zero until takes no such guess.
func Held(traces []locate.Trace, service string, until time.Time) Usage {
	u := Usage{By: map[string]map[string]Used{}}
	for _, tr := range traces {
		for _, h := range holds(tr.Spans, service, until) {
			u.Requests++
			u.Seconds += h
			for _, key := range CallerKeys {
				if v := callerOf(tr.Spans, key); v != "" {
					u.add(key, v, h)
				}
			}
		}
	}
	return u
}

// callerOf is the value of a key on the first entry span that has it, else on any span.
func callerOf(spans []model.Span, key string) string {
	found := ""
	for i := range spans {
		v := spans[i].Attrs.Str(key)
		if v == "" {
			continue
		}
		if spans[i].Kind.Entry() {
			return v
		}
		if found == "" {
			found = v
		}
	}
	return found
}

func holds(spans []model.Span, service string, until time.Time) []float64 {
	byID := make(map[model.SpanID]int, len(spans))
	for i := range spans {
		byID[spans[i].SpanID] = i
	}
	type use struct{ from, to int64 }
	uses := map[model.SpanID]use{}
	for i := range spans {
		s := &spans[i]
		if s.Service() != service || locate.Database(s) == "" {
			continue
		}
		// Up to the request that the call belongs to; a chain longer than the trace is a cycle.
		at, id, last := s, s.SpanID, s.End()
		for range spans {
			id = at.SpanID
			if at.Kind.Entry() {
				break
			}
			p, ok := byID[at.ParentID]
			if !ok && !at.ParentID.IsZero() {
				id = at.ParentID // not yet ended, or lost
				if !until.IsZero() {
					last = max(last, until.UnixNano())
				}
			}
			if !ok || spans[p].Service() != service {
				break
			}
			at = &spans[p]
		}
		w, ok := uses[id]
		if !ok {
			w = use{s.Start, last}
		}
		uses[id] = use{min(w.from, s.Start), max(w.to, last)}
	}
	ids := make([]use, 0, len(uses))
	for _, w := range uses {
		ids = append(ids, w)
	}
	slices.SortFunc(ids, func(a, b use) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) })
	out := make([]float64, 0, len(ids))
	for _, w := range ids {
		out = append(out, float64(max(0, w.to-w.from))/1e9)
	}
	return out
}

// UsageOf turns an answer of AttributeDifference into what each value used in its two selections.
func UsageOf(d store.Difference) (now, usual Usage) {
	now = Usage{Requests: d.A, Seconds: d.SecondsA, By: map[string]map[string]Used{}}
	usual = Usage{Requests: d.B, Seconds: d.SecondsB, By: map[string]map[string]Used{}}
	for _, v := range d.Values {
		if now.By[v.Key] == nil {
			now.By[v.Key], usual.By[v.Key] = map[string]Used{}, map[string]Used{}
		}
		if v.A > 0 {
			now.By[v.Key][v.Value] = Used{v.A, v.SecondsA}
		}
		if v.B > 0 {
			usual.By[v.Key][v.Value] = Used{v.B, v.SecondsB}
		}
	}
	return now, usual
}

// Holders finds values with an outsized share of a resource, strongest first. What counts is the share of time against
// the same value's share before: somebody who always does most of the work isn't abnormal, and when everything slows
// down evenly all shares stay.
func Holders(measure Measure, now, usual Usage) []Holder {
	if now.Requests < 5 || now.Seconds <= 0 {
		return nil
	}
	var out []Holder
	for key, values := range now.By {
		if !slices.Contains(CallerKeys, key) {
			continue
		}
		for value, n := range values {
			u := usual.By[key][value]
			h := Holder{Measure: measure, Key: key, Value: value, Requests: n.Requests,
				Share: n.Seconds / now.Seconds, RequestsShare: float64(n.Requests) / float64(now.Requests)}
			if usual.Seconds > 0 {
				h.Usual = u.Seconds / usual.Seconds
			}
			others := (now.Seconds - n.Seconds) / max(1, float64(now.Requests-n.Requests))
			before := ratio(usual.Seconds-u.Seconds, float64(usual.Requests-u.Requests), 1)
			h.Others = ratio(others, before, 1e-6)
			if usual.Requests == 0 {
				h.Others = 1
			}
			// Three long requests of one user happen by chance; they must be more than before, or each far longer
			// than other people's.
			each := n.Seconds / float64(n.Requests)
			often := 1 - ramp(surprise(n.Requests, now.Requests, u.Requests, usual.Requests)*float64(len(values)), 0.001, 0.05)
			long := ramp(ratio(each, others, 1e-6), 2.5, 5) * ramp(float64(n.Requests), 2, 5)
			h.Strength = ramp(h.Share, 0.2, 0.5) * ramp(ratio(h.Share, h.Usual, 0.01), 2.5, 6) * max(often, long)
			if h.Strength > 0 {
				h.Share, h.Usual, h.Others = round(h.Share), round(h.Usual), round(h.Others)
				h.RequestsShare, h.Strength = round(h.RequestsShare), round(h.Strength)
				out = append(out, h)
			}
		}
	}
	slices.SortFunc(out, func(a, b Holder) int {
		return cmp.Or(cmp.Compare(b.Strength*b.Share, a.Strength*a.Share), cmp.Compare(rank(a.Key), rank(b.Key)),
			cmp.Compare(a.Key, b.Key), cmp.Compare(a.Value, b.Value))
	})
	// A user, his tenant and his address are one culprit under three names; the most exact one goes first.
	for i := 1; i < len(out); i++ {
		if rank(out[i].Key) < rank(out[0].Key) && out[i].Share >= out[0].Share-0.1 && out[i].Strength >= 0.7*out[0].Strength {
			out[0], out[i] = out[i], out[0]
		}
	}
	return out
}

// Rank orders the holders that several measures found, strongest first; measures are believed in their order.
func Rank(lists ...[]Holder) []Holder {
	var all []Holder
	for _, l := range lists {
		all = append(all, l...)
	}
	belief := map[Measure]float64{HeldSeconds: 1, DatabaseSeconds: 0.97, BusySeconds: 0.75}
	slices.SortStableFunc(all, func(a, b Holder) int {
		return cmp.Compare(b.Strength*b.Share*belief[b.Measure], a.Strength*a.Share*belief[a.Measure])
	})
	return all
}
