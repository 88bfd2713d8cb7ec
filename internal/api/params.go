package api

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"triage/internal/search"
	"triage/internal/store"
)

// Scope is the parameters that most routes share; it is exported because only then its fields are read.
type Scope struct {
	Tenant string `header:"X-Scope-OrgID" doc:"whose data; the default tenant's without it"`
	From   string `query:"from" doc:"RFC 3339 or Unix seconds; an hour before to without it"`
	To     string `query:"to" doc:"RFC 3339 or Unix seconds; now without it"`
}

func (p Scope) window(now time.Time) (store.Window, error) {
	// What has just arrived may carry a clock that is a little ahead of ours.
	to, err := ParseTime("to", p.To, now.Add(time.Minute))
	if err != nil {
		return store.Window{}, err
	}
	from, err := ParseTime("from", p.From, to.Add(-time.Hour))
	if err != nil {
		return store.Window{}, err
	}
	if !from.Before(to) {
		return store.Window{}, bad(fmt.Errorf("from %s is not before to %s", from.Format(time.RFC3339), to.Format(time.RFC3339)))
	}
	return store.Window{From: from, To: to}, nil
}

// ParseTime reads RFC 3339 or Unix seconds, with a fraction if need be.
func ParseTime(name, text string, otherwise time.Time) (time.Time, error) {
	if text == "" {
		return otherwise, nil
	}
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t.UTC(), nil
	}
	sec, err := strconv.ParseFloat(text, 64)
	if err != nil || !(math.Abs(sec) <= 9e9) { // also NaN; int64 nanoseconds end in the year 2262
		return time.Time{}, bad(fmt.Errorf("%s: %q is neither RFC 3339 nor Unix seconds", name, text))
	}
	whole, frac := math.Modf(sec)
	return time.Unix(int64(whole), int64(frac*1e9)).UTC(), nil
}

// searchParams is a search over rows.
type searchParams struct {
	Scope
	Accept string `header:"Accept" doc:"with application/x-ndjson, a search that takes long first tells how far it is: lines {\"progress\": {\"done\": rows, \"total\": rows}}, then the answer, or {\"error\": ...}, as the last line"`
	Q      string `query:"q" doc:"what to look for, in Lucene's manner; everything without it"`
	Limit  int    `query:"limit" minimum:"1" maximum:"10000" default:"100"`
}

func (p searchParams) query(now time.Time) (store.Query, error) {
	w, err := p.window(now)
	if err != nil {
		return store.Query{}, err
	}
	where, err := search.Parse(p.Q)
	if err != nil {
		return store.Query{}, bad(fmt.Errorf("q: %w", err))
	}
	return store.Query{Tenant: tenant(p.Tenant), Window: w, Where: where, Limit: p.Limit}, nil
}
