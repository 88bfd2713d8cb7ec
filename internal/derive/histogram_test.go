package derive

import (
	"math"
	"math/rand/v2"
	"testing"

	"triage/internal/model"
)

func TestWeight(t *testing.T) {
	tests := []struct {
		state string
		attrs model.Attrs
		want  float64
	}{
		{"", nil, 1},
		{"ot=th:0", nil, 1},
		{"ot=th:8", nil, 2},
		{"rojo=00f067, ot=rv:1234567890abcd;th:fd70a4", nil, 1 / (1 - float64(0xfd70a4)/(1<<24))},
		{"ot=th:ffffffffffffff", nil, maxWeight},
		{"ot=th:", nil, 1},
		{"ot=th:123456789abcdef", nil, 1},
		{"ot=th:-8", nil, 1},
		{"ot=p:0;r:3", nil, 1},
		{"ot=p:5", nil, 32},
		{"ot=p:63", nil, 1},
		{"", model.Attrs{{Key: "SampleRate", Value: model.Int(20)}}, 20},
		{"", model.Attrs{{Key: "sampling.rate", Value: model.Double(0.25)}}, 4},
		{"", model.Attrs{{Key: "sampling.rate", Value: model.String("NaN")}}, 1},
		{"", model.Attrs{{Key: "sampling.rate", Value: model.Double(-1)}}, 1},
		{"ot=th:8", model.Attrs{{Key: "SampleRate", Value: model.Int(20)}}, 2},
	}
	for _, tt := range tests {
		got := weight(&model.Span{TraceState: tt.state, Attrs: tt.attrs})
		if math.Abs(got-tt.want) > 1e-9*tt.want {
			t.Errorf("%q %v: got %g, want %g", tt.state, tt.attrs, got, tt.want)
		}
	}
}

func TestHistogramBuckets(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, width := range []float64{1, 5, 18} { // decades
		d := duration{schema: startSchema}
		var values []float64
		for range 5000 {
			v := math.Pow(10, rng.Float64()*width-9)
			values = append(values, v)
			d.observe(v, 1)
		}
		d.observe(0, 1)
		h, _ := d.read()
		if err := h.Validate(); err != nil {
			t.Fatalf("%g decades: %v", width, err)
		}
		if h.Count != 5001 || h.ZeroCount != 1 || d.used > maxBuckets || len(h.PositiveBuckets) != d.used {
			t.Errorf("%g decades: count %d, zero %d, %d buckets of %d", width, h.Count, h.ZeroCount, len(h.PositiveBuckets), d.used)
		}
		if wantFull := width < 6; wantFull != (d.schema == startSchema) {
			t.Errorf("%g decades: schema %d", width, d.schema)
		}
		for it := h.PositiveBucketIterator(); it.Next(); {
			b := it.At()
			var n uint64
			for _, v := range values {
				if v > b.Lower && v <= b.Upper {
					n++
				}
			}
			if n != b.Count {
				t.Errorf("%g decades: bucket (%g, %g] has %d, want %d", width, b.Lower, b.Upper, b.Count, n)
			}
		}
	}
}

func TestHistogramFloat(t *testing.T) {
	d := duration{schema: startSchema}
	d.observe(1, 2)
	if h, f := d.read(); h == nil || f != nil {
		t.Fatal("whole weights must give an integer histogram")
	}
	d.observe(3, 1.5)
	d.observe(3, 0.5)
	h, f := d.read()
	if h != nil || f.Count != 4 || f.Sum != 8 {
		t.Fatalf("got %v and %v", h, f)
	}
	if err := f.Validate(); err != nil {
		t.Error(err)
	}
}
