package promwrite

import (
	"fmt"
	"strings"
	"unicode/utf8"

	promname "github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"triage/internal/ingest"
	"triage/internal/model"
)

// Limits of one series, so that one request cannot put a book into the index of labels.
const (
	maxLabels = 128
	maxLabel  = 8 << 10 // bytes of a name or value
)

// faults collects what is wrong with series that are left out, with a word for the sender on each kind of fault.
type faults struct {
	batch *model.Batch
	seen  map[string]bool
	told  []string
}

func (f *faults) reject(i, samples int, fault string) {
	if !f.seen[fault] && len(f.told) < 10 {
		if f.seen == nil {
			f.seen = map[string]bool{}
		}
		f.seen[fault] = true
		f.told = append(f.told, fmt.Sprintf("timeseries[%d]: %s", i, fault))
	}
	f.batch.Rejected = append(f.batch.Rejected, model.Rejection{Signal: ingest.Samples, Reason: "malformed", Count: samples})
}

// decodeV1 adds a prometheus.WriteRequest to the batch. Metadata, which 1.0 sends by metric family and apart from
// samples, becomes series without samples.
func decodeV1(body []byte, b *model.Batch) (bad []string, err error) {
	var req prompb.WriteRequest
	if err := req.Unmarshal(body); err != nil {
		return nil, err
	}
	wrong := faults{batch: b}
	b.Series = make([]model.Series, 0, len(req.Timeseries)+len(req.Metadata))
	scratch := labels.NewScratchBuilder(0)
	for i := range req.Timeseries {
		ts := &req.Timeseries[i]
		if fault := checkLabels(len(ts.Labels), func(j int) (string, string) { return ts.Labels[j].Name, ts.Labels[j].Value }); fault != "" {
			wrong.reject(i, len(ts.Samples)+len(ts.Histograms), fault)
			continue
		}
		s := model.Series{Labels: ts.ToLabels(&scratch, nil)}
		if len(ts.Samples) > 0 {
			s.Samples = make([]model.Sample, len(ts.Samples))
		}
		for j, smp := range ts.Samples {
			s.Samples[j] = model.Sample{T: smp.Timestamp, V: smp.Value}
		}
		for _, h := range ts.Histograms {
			smp := model.HistogramSample{T: h.Timestamp}
			if h.IsFloatHistogram() {
				smp.Float = h.ToFloatHistogram()
			} else {
				smp.Int = h.ToIntHistogram()
			}
			s.Histograms = append(s.Histograms, smp)
		}
		for _, e := range ts.Exemplars {
			s.Exemplars = append(s.Exemplars, e.ToExemplar(&scratch, nil))
		}
		b.Series = append(b.Series, s)
	}
	for _, m := range req.Metadata {
		if len(m.MetricFamilyName) > maxLabel {
			continue // it says something of no series that can be
		}
		b.Series = append(b.Series, model.Series{
			Labels: labels.FromStrings(promname.MetricNameLabel, m.MetricFamilyName),
			Type:   strings.ToLower(m.Type.String()), Unit: m.Unit, Help: m.Help,
		})
	}
	return wrong.told, nil
}

// checkLabels says which label is too much, "" if none is.
func checkLabels(n int, label func(int) (name, value string)) string {
	if n > maxLabels {
		return fmt.Sprintf("%d labels, at most %d", n, maxLabels)
	}
	for i := range n {
		name, value := label(i)
		if size := max(len(name), len(value)); size > maxLabel {
			return fmt.Sprintf("label %.100q of %d bytes, at most %d", name, size, maxLabel)
		}
		if !utf8.ValidString(name) || !utf8.ValidString(value) {
			return fmt.Sprintf("label %q is not UTF-8", name)
		}
	}
	return ""
}

// decodeV2 adds an io.prometheus.write.v2.Request to the batch, without series that it cannot read. Labels are written
// once and referred to, so a small request can mean very many: most bounds what they take, in bytes.
func decodeV2(body []byte, b *model.Batch, most int64) (bad []string, err error) {
	var req writev2.Request
	if err := req.Unmarshal(body); err != nil {
		return nil, err
	}
	b.Series = make([]model.Series, 0, len(req.Timeseries))
	wrong := faults{batch: b}
	var size int64
	scratch := labels.NewScratchBuilder(0)
	for i := range req.Timeseries {
		ts := &req.Timeseries[i]
		s, fault := seriesV2(ts, req.Symbols, &scratch)
		if fault != "" {
			wrong.reject(i, len(ts.Samples)+len(ts.Histograms), fault)
			continue
		}
		if size += int64(s.Labels.ByteSize()); size > most {
			return nil, fmt.Errorf("timeseries[%d]: %w: the labels up to here take %d bytes, at most %d", i, ingest.ErrBodyTooLarge, size, most)
		}
		b.Series = append(b.Series, s)
	}
	return wrong.told, nil
}

// seriesV2 reads one series, or says what is wrong with it.
func seriesV2(ts *writev2.TimeSeries, symbols []string, scratch *labels.ScratchBuilder) (s model.Series, fault string) {
	symbol := func(i int) string {
		if ref := int(ts.LabelsRefs[i]); ref < len(symbols) {
			return symbols[ref]
		}
		return ""
	}
	fault = checkLabels(len(ts.LabelsRefs)/2, func(i int) (string, string) { return symbol(2 * i), symbol(2*i + 1) })
	if fault != "" {
		return s, fault
	}
	ls, err := ts.ToLabels(scratch, symbols)
	if err != nil {
		return s, "labels refer to symbols that are not there"
	}
	s.Labels = ls
	// A request without metadata may lack even the empty symbol that the references mean.
	if m := ts.Metadata; m.Type != 0 || m.UnitRef != 0 || m.HelpRef != 0 {
		md, err := ts.ToMetadata(symbols)
		if err != nil {
			return s, "metadata refers to symbols that are not there"
		}
		s.Type, s.Unit, s.Help = string(md.Type), md.Unit, md.Help
	}
	if len(ts.Samples)+len(ts.Histograms) == 0 {
		return s, "it has neither samples nor histograms"
	}
	if len(ts.Samples) > 0 {
		s.Samples = make([]model.Sample, len(ts.Samples))
	}
	for j, smp := range ts.Samples {
		s.Samples[j] = model.Sample{T: smp.Timestamp, V: smp.Value}
		s.Created = max(s.Created, smp.StartTimestamp)
	}
	for _, h := range ts.Histograms {
		smp := model.HistogramSample{T: h.Timestamp}
		if h.IsFloatHistogram() {
			smp.Float = h.ToFloatHistogram()
		} else {
			smp.Int = h.ToIntHistogram()
		}
		s.Histograms = append(s.Histograms, smp)
		s.Created = max(s.Created, h.StartTimestamp)
	}
	for _, e := range ts.Exemplars {
		if longExemplar(e.LabelsRefs, symbols) {
			continue // the store would not take it, and making it could cost much
		}
		ex, err := e.ToExemplar(scratch, symbols)
		if err != nil {
			return s, "exemplars refer to symbols that are not there"
		}
		s.Exemplars = append(s.Exemplars, ex)
	}
	return s, ""
}

// longExemplar tells whether an exemplar's labels are longer than OpenMetrics' 128 characters by far.
func longExemplar(refs []uint32, symbols []string) bool {
	n := 0
	for _, ref := range refs {
		if int(ref) < len(symbols) {
			n += len(symbols[ref])
		}
	}
	return n > 1024
}
