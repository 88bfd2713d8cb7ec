package explain

import "triage/internal/model"

// lockWords are what databases say of locks that were not had in time, or that two held against each other: PostgreSQL,
// MySQL, SQL Server, Oracle, SQLite.
var lockWords = []string{"lock timeout", "lock wait timeout", "deadlock", "could not obtain lock", "could not serialize access",
	"lock request time out", "resource busy and acquire", "database is locked", "database table is locked", "waiting for a lock"}

// lockWaits accuses a database in which somebody holds locks that others need. Required: the time that its calls take
// longer falls on statements that take locks, of which some are as quick as ever while others wait, and the requests
// lose their time there. What has more work to do is slow each time, so that a statement of which even the quickest
// calls became slow contradicts. Supporting: statements that take no locks are as quick as usual; errors speak of locks.
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
	var all, waiting, reading, readingUsual float64
	var reads int64
	var worst *Statement
	for i := range f.Statements[service] {
		s := &f.Statements[service][i]
		all += s.added()
		switch {
		case s.locks():
			part := s.added() * s.waits()
			waiting += part
			if part > 0 && (worst == nil || part > worst.added()*worst.waits()) {
				worst = s
			}
		case s.Now.Count > 0 && s.Usual.Count > 0:
			reading += s.Now.Mean * float64(s.Now.Count)
			readingUsual += s.Usual.Mean * float64(s.Now.Count)
			reads += s.Now.Count
		}
	}
	said, saying := f.says(service, lockWords)
	place := max(ramp(f.Blame(e), 0.15, 0.5), 0.8*ramp(f.Blame(model.ServiceEntity(service)), 0.2, 0.6)*said)
	c := Case{Cause: model.Cause{Class: model.ClassDependency, Entity: e, Onset: f.serviceOnset(service)}}
	c.Required = []Sign{{"waits", max(0.9*said, ramp(waiting/max(all, 1e-9), 0.3, 0.7)), f.statementEvidence(e, worst)}, {"place", place, f.placeEvidence(e)}}
	c.Supporting = []Sign{{"log", said, saying}, {"most", ramp(f.Blame(e), 0.5, 0.9), nil}}
	if reads >= 10 {
		now, usual := reading/float64(reads), readingUsual/float64(reads)
		c.Supporting = append(c.Supporting, Sign{"reads as usual", 1 - ramp(ratio(now, usual, 0.5e-3), 1.5, 3),
			f.compare("reads_usual", "edge", e, now, usual, "s", Seconds(now), Seconds(usual))})
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
