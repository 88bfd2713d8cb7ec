package promwrite

import (
	"google.golang.org/protobuf/encoding/protowire"

	"triage/internal/ingest/wire"
)

// The two messages, by hand: the code generated for them does not carry its schema in a form that can be walked. Costs are
// those of a message of the library's and of the series made of it.
var (
	number  = func(name string) wire.Field { return wire.Field{Name: name, Type: protowire.VarintType} }
	double  = func(name string) wire.Field { return wire.Field{Name: name, Type: protowire.Fixed64Type} }
	text    = func(name string) wire.Field { return wire.Field{Name: name, Type: protowire.BytesType} }
	numbers = func(name string) wire.Field {
		return wire.Field{Name: name, Type: protowire.VarintType, Packable: true, Repeated: true}
	}
	doubles = func(name string) wire.Field {
		return wire.Field{Name: name, Type: protowire.Fixed64Type, Packable: true, Repeated: true}
	}
	one = func(name string, m *wire.Message) wire.Field {
		return wire.Field{Name: name, Type: protowire.BytesType, Message: m}
	}
	list = func(name string, m *wire.Message) wire.Field {
		return wire.Field{Name: name, Type: protowire.BytesType, Message: m, Repeated: true}
	}

	bucketSpan = &wire.Message{Cost: 16, Fields: []wire.Field{1: number("offset"), 2: number("length")}}
	histogram  = &wire.Message{Cost: 600, Fields: []wire.Field{
		1: number("count_int"), 2: double("count_float"), 3: double("sum"), 4: number("schema"), 5: double("zero_threshold"),
		6: number("zero_count_int"), 7: double("zero_count_float"),
		8: list("negative_spans", bucketSpan), 9: numbers("negative_deltas"), 10: doubles("negative_counts"),
		11: list("positive_spans", bucketSpan), 12: numbers("positive_deltas"), 13: doubles("positive_counts"),
		14: number("reset_hint"), 15: number("timestamp"), 16: doubles("custom_values"), 17: number("start_timestamp"),
	}}

	label     = &wire.Message{Cost: 64, Fields: []wire.Field{1: text("name"), 2: text("value")}}
	requestV1 = &wire.Message{Fields: []wire.Field{
		1: list("timeseries", &wire.Message{Cost: 400, Fields: []wire.Field{
			1: list("labels", label),
			2: list("samples", &wire.Message{Cost: 48, Fields: []wire.Field{1: double("value"), 2: number("timestamp")}}),
			3: list("exemplars", &wire.Message{Cost: 128, Fields: []wire.Field{1: list("labels", label), 2: double("value"), 3: number("timestamp")}}),
			4: list("histograms", histogram),
		}}),
		3: list("metadata", &wire.Message{Cost: 400, Fields: []wire.Field{1: number("type"), 2: text("metric_family_name"), 4: text("help"), 5: text("unit")}}),
	}}
	requestV2 = &wire.Message{Fields: []wire.Field{
		4: {Name: "symbols", Type: protowire.BytesType, Repeated: true, Cost: 32},
		5: list("timeseries", &wire.Message{Cost: 400, Fields: []wire.Field{
			1: numbers("labels_refs"),
			2: list("samples", &wire.Message{Cost: 48, Fields: []wire.Field{1: double("value"), 2: number("timestamp"), 3: number("start_timestamp")}}),
			3: list("histograms", histogram),
			4: list("exemplars", &wire.Message{Cost: 128, Fields: []wire.Field{1: numbers("labels_refs"), 2: double("value"), 3: number("timestamp")}}),
			5: one("metadata", &wire.Message{Fields: []wire.Field{1: number("type"), 3: number("help_ref"), 4: number("unit_ref")}}),
		}}),
	}}
)
