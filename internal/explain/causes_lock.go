package explain

import "triage/internal/model"

// lockWords are what databases say of locks that were not had in time, or that two held against each other: PostgreSQL,
// MySQL, SQL Server, Oracle, SQLite.
var lockWords = []string{"lock timeout", "lock wait timeout", "deadlock", "could not obtain lock", "could not serialize access",
	"lock request time out", "resource busy and acquire", "database is locked", "database table is locked", "waiting for a lock"}

// lockWaits accuses a database in which somebody holds locks that others need. Required: the time that its calls take
// longer falls on statements that take locks, of which some wait far less than others, and the requests lose their time
// there. What has more work to do is slow each time, so that a statement whose calls all became as slow contradicts. Supporting: statements that take no locks are as quick as usual; errors speak of locks.
// Who holds the locks is rarely seen: a session of an administrator or a job that reports nothing.
func lockWaits(f *Facts) (cases []Case) {
	for _, e := range f.databases() {
		var best Case
		for _, service := range f.Users(e) {
			if c := f.lockWait(e, service); score(c) > score(best) {
				best = c
			}
		}
		if len(best.Required) > 0 {
			cases = append(cases, best)
		}
	}
	return cases
}

func (f *Facts) lockWait(e model.Entity, service string) Case {
	var reading, readingUsual float64
	var reads int64
	lost, affected := (*Statement).added, (*Statement).lost
	for i := range f.Statements[service] {
		s := &f.Statements[service][i]
		if s.Bad.Count > 0 {
			lost = affected // other requests may have trouble of their own
		}
		if !s.locks() && s.Now.Count > 0 && s.Usual.Count > 0 {
			reading += s.Now.Mean * float64(s.Now.Count)
			readingUsual += s.Usual.Mean * float64(s.Now.Count)
			reads += s.Now.Count
		}
	}
	reading, readingUsual = reading/float64(max(1, reads)), readingUsual/float64(max(1, reads))
	asUsual := 0.0
	if reads >= 10 {
		asUsual = 1 - ramp(ratio(reading, readingUsual, 0.5e-3), 1.5, 3)
	}
	var all, waiting, most float64
	var worst *Statement
	for i := range f.Statements[service] {
		s := &f.Statements[service][i]
		all += lost(s)
		if s.locks() {
			part := lost(s) * s.waits(asUsual)
			waiting += part
			if part > most {
				worst, most = s, part
			}
		}
	}
	said, saying := f.says(service, lockWords)
	place := max(ramp(f.Blame(e), 0.15, 0.5), 0.8*ramp(f.Blame(model.ServiceEntity(service)), 0.2, 0.6)*said)
	c := Case{Cause: model.Cause{Class: model.ClassDependency, Entity: e, Onset: f.serviceOnset(service)}}
	c.Required = []Sign{{"waits", max(0.9*said, ramp(waiting/max(all, 1e-9), 0.3, 0.7)), f.statementEvidence(e, worst)}, {"place", place, f.placeEvidence(e)}}
	c.Supporting = []Sign{{"log", said, saying}, {"most", ramp(f.Blame(e), 0.5, 0.9), nil}}
	if reads >= 10 {
		c.Supporting = append(c.Supporting, Sign{"reads as usual", asUsual,
			f.compare("reads_usual", "edge", e, reading, readingUsual, "s", Seconds(reading), Seconds(readingUsual))})
	}
	c.Contradicting = []Sign{
		{"holder", 0.9 * f.Holder(service).Strength, nil},
		{"change", 0.6 * f.changed(service), nil},
		{"flood", 0.8 * strongest(floodsInto(f, service)), nil},
		{"surge", 0.6 * f.entrySurge(), nil},
		{"one user", 0.7 * f.userSuffers(), nil},
	}
	return c
}

// statementEvidence is how long a statement takes, and its quickest calls.
func (f *Facts) statementEvidence(e model.Entity, s *Statement) *model.Evidence {
	if s == nil {
		return nil
	}
	return f.compare("statement_waits", "edge", e, s.Now.Mean, s.Usual.Mean, "s",
		short(s.Text), Seconds(s.Now.Mean), Seconds(s.Usual.Mean), Seconds(s.Quick))
}
