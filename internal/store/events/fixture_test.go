package events

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"triage/internal/model"
	"triage/internal/search"
	"triage/internal/store"
)

// fixtures are directories as programs wrote them, one for each form that blocks have had. They stay for ever: whatever
// comes, these must be read.
var fixtures = []struct {
	name              string // in testdata
	filters, sketches bool
}{
	{"version1", false, false}, // neither
	{"filters", true, false},
	{"sketches", true, true},
}

// fixtureRows are what all of them hold; of the body, the word that is searched for.
func fixtureRows() *model.Batch {
	b := &model.Batch{Spans: benchSpans(40, 0)}
	for i := range 10 {
		b.Logs = append(b.Logs, model.LogRecord{Time: testTime.UnixNano() + int64(i), TraceID: b.Spans[i].TraceID, Severity: 17,
			Body: model.String("request declined"), Template: 11, Resource: b.Spans[i].Resource})
	}
	return b
}

func TestOldBlocks(t *testing.T) {
	for _, f := range fixtures {
		t.Run(f.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", f.name))); err != nil {
				t.Fatal(err)
			}
			s := openTest(t, dir, func(o *Options) { o.sketchRows = 1 })
			defer s.Close()
			ctx := t.Context()
			want := fixtureRows()
			trace, err := s.Trace(ctx, "", want.Spans[0].TraceID)
			if err != nil || len(trace) != 8 {
				t.Errorf("%d spans of the trace, want 8; %v", len(trace), err)
			}
			lines, err := s.Logs(ctx, store.Query{Where: search.Match{Op: search.Word, Value: "declined"}, Limit: 100})
			if err != nil || len(lines.Rows) != 10 || lines.Partial != "" {
				t.Errorf("%d lines, want 10; partial %q, %v", len(lines.Rows), lines.Partial, err)
			}
			found, err := s.Spans(ctx, store.Query{Where: search.Match{Field: "http.route", Value: "/things/3"}, Limit: 100})
			if err != nil || len(found.Rows) != 3 {
				t.Errorf("%d spans, want 3; %v", len(found.Rows), err)
			}
			ops, err := s.Operations(ctx, store.Selection{}, 100)
			if err != nil {
				t.Fatal(err)
			}
			blocks := s.catalog.blocks[partition{model.DefaultTenant, spans}]
			exact, err := s.scannedOperations(ctx, blocks, &store.Selection{}, 100)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(exact, ops, cmpopts.EquateApprox(0.01, 0)); d != "" || len(ops) == 0 {
				t.Errorf("operations differ from what the spans say:\n%s", d)
			}
			if l := blocks[0].layout; (l.Filters != nil) != f.filters || (l.Sketches != nil) != f.sketches {
				t.Errorf("the block has filters %+v and sketches %+v", l.Filters, l.Sketches)
			}
			runs, whole := s.catalog.filters.stretches(blocks[0], needTraces([]model.TraceID{model.TraceIDFrom(9, 9)}))
			if whole == f.filters || len(runs) > 0 {
				t.Errorf("of a trace that is not there are read %v, all: %v", runs, whole)
			}
		})
	}
}

// TestWriteFixture makes the directory of the present form. It is run by hand, once, when the form changes:
//
//	TRIAGE_WRITE_FIXTURE=testdata/NAME go test -run TestWriteFixture ./internal/store/events
func TestWriteFixture(t *testing.T) {
	dir := os.Getenv("TRIAGE_WRITE_FIXTURE")
	if dir == "" {
		t.Skip("no fixture is asked for")
	}
	ctx := context.Background()
	s := openTest(t, t.TempDir(), func(o *Options) { o.sketchFrom = 1 })
	if filepath.Base(dir) == "filters" {
		s.opts.sketchFrom = 1_000_000
	}
	if _, err := s.Append(ctx, fixtureRows()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "blocks"), os.DirFS(filepath.Join(s.opts.Dir, "blocks"))); err != nil {
		t.Fatal(err)
	}
	manifest, err := os.ReadFile(manifestPath(s.opts.Dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(manifestPath(dir), manifest, 0o644); err != nil {
		t.Fatal(err)
	}
}
