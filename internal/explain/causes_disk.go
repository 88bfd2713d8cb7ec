package explain

import "triage/internal/model"

// diskWords are what operating systems and databases say when nothing more can be written: ENOSPC and EDQUOT in the words
// of POSIX and Windows, then PostgreSQL, MySQL, SQLite and Kafka.
var diskWords = []string{"no space left on device", "enospc", "not enough space on the disk", "not enough disk space", "disk quota exceeded",
	"edquot", "disk is full", "disk full", "out of disk space", "insufficient disk space", "could not extend file"}

// fullDisks accuses a disk on which nothing more can be written. Required: failures that begin in a service or database,
// or its lines, say so, or its file system has no room left; and the trouble lies there. Contradicting: a change, which
// may write more than what was there before.
func fullDisks(f *Facts) (cases []Case) {
	for _, kind := range []string{"service", "database"} {
		for _, e := range f.Entities(kind) {
			said, saying := f.saidAt(e, diskWords)
			c := Case{Cause: model.Cause{Class: model.ClassResource, Entity: e, Resource: e}}
			var full float64
			if kind == "service" {
				if logged, line := f.logged(e.Name(), diskWords); logged > said {
					said, saying = logged, line
				}
				r := f.Resource(e.Name(), Disk)
				full = ramp(r.Strength, 0.15, 0.7)
				if full > 0 {
					c.Supporting = append(c.Supporting, Sign{"disk", full, f.seriesEvidence(r, r.Signs[0])})
				}
				c.Onset = f.serviceOnset(e.Name())
				c.Contradicting = []Sign{{"change", 0.6 * f.changed(e.Name()), nil}}
			}
			c.Required = []Sign{
				{"full", max(said, full), saying},
				{"trouble", max(f.Failing, f.Slow), nil},
				{"place", ramp(f.Blame(e), 0.15, 0.45), f.placeEvidence(e)},
			}
			c.Supporting = append(c.Supporting, Sign{"said", said, nil}, Sign{"most", ramp(f.Blame(e), 0.5, 0.9), nil})
			cases = append(cases, c)
		}
	}
	return cases
}

// diskTrouble is how surely an entity fails because it cannot write.
func (f *Facts) diskTrouble(e model.Entity) (worst float64) {
	for _, c := range fullDisks(f) {
		if c.Entity == e {
			worst = max(worst, score(c))
		}
	}
	return worst
}
