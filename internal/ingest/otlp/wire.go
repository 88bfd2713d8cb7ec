package otlp

import (
	"google.golang.org/protobuf/reflect/protoreflect"

	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"triage/internal/ingest/wire"
)

// newWireMessages learns the three requests from the published schema. TracesData and its siblings have the same layout
// as the requests.
func newWireMessages() (m [numSignals]*wire.Message) {
	m[traces] = wire.Learn((&tracepb.TracesData{}).ProtoReflect().Descriptor(), idLen, cost)
	m[metrics] = wire.Learn((&metricspb.MetricsData{}).ProtoReflect().Descriptor(), idLen, cost)
	m[logs] = wire.Learn((&logspb.LogsData{}).ProtoReflect().Descriptor(), idLen, cost)
	return m
}

func idLen(fd protoreflect.FieldDescriptor) int {
	switch fd.Name() {
	case "trace_id":
		return 16
	case "span_id", "parent_span_id":
		return 8
	}
	return 0
}

// cost is about what a message takes as pdata's and as the model's, which live side by side for a while.
func cost(d protoreflect.MessageDescriptor) int64 {
	switch d.Name() {
	case "Span", "LogRecord", "Metric", "NumberDataPoint", "HistogramDataPoint", "ExponentialHistogramDataPoint", "SummaryDataPoint":
		return 600
	case "KeyValue":
		return 96
	case "AnyValue":
		return 32
	}
	return 200
}
