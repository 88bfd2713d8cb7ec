package promwrite

import (
	"fmt"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"triage/internal/ingest"
	"triage/internal/model"
)

// decodeV1 adds a prometheus.WriteRequest to the batch. Metadata, which 1.0 sends by metric family and apart from
// samples, becomes series without samples.
func decodeV1(body []byte, b *model.Batch) error {
	var req prompb.WriteRequest
	if err := req.Unmarshal(body); err != nil {
		return err
	}
	b.Series = make([]model.Series, 0, len(req.Timeseries)+len(req.Metadata))
	scratch := labels.NewScratchBuilder(0)
	for i := range req.Timeseries {
		ts := &req.Timeseries[i]
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
		b.Series = append(b.Series, model.Series{
			Labels: labels.FromStrings(labels.MetricName, m.MetricFamilyName),
			Type:   strings.ToLower(m.Type.String()), Unit: m.Unit, Help: m.Help,
		})
	}
	return nil
}

// decodeV2 adds an io.prometheus.write.v2.Request to the batch. Series that it cannot read are rejected, with a word for
// the sender on each kind of fault.
func decodeV2(body []byte, b *model.Batch) (bad []string, err error) {
	var req writev2.Request
	if err := req.Unmarshal(body); err != nil {
		return nil, err
	}
	b.Series = make([]model.Series, 0, len(req.Timeseries))
	faults := map[string]int{}
	scratch := labels.NewScratchBuilder(0)
	for i := range req.Timeseries {
		ts := &req.Timeseries[i]
		s, fault := seriesV2(ts, req.Symbols, &scratch)
		if fault != "" {
			if faults[fault]++; faults[fault] == 1 {
				bad = append(bad, fmt.Sprintf("series %d: %s", i, fault))
			}
			b.Rejected = append(b.Rejected, model.Rejection{
				Signal: ingest.Samples, Reason: "malformed", Count: len(ts.Samples) + len(ts.Histograms),
			})
			continue
		}
		b.Series = append(b.Series, s)
	}
	return bad, nil
}

// seriesV2 reads one series, or says what is wrong with it.
func seriesV2(ts *writev2.TimeSeries, symbols []string, scratch *labels.ScratchBuilder) (s model.Series, fault string) {
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
		ex, err := e.ToExemplar(scratch, symbols)
		if err != nil {
			return s, "exemplars refer to symbols that are not there"
		}
		s.Exemplars = append(s.Exemplars, ex)
	}
	return s, ""
}
