package app

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"
)

// Duration is a length of time, written as Prometheus does: 15s, 1h30m, 7d.
type Duration time.Duration

// Set reads a Duration.
func (d *Duration) Set(text string) error {
	v, err := model.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%q is not a duration such as 15s, 1h or 7d", text)
	}
	*d = Duration(v)
	return nil
}

// String writes a Duration so that Set reads it.
func (d Duration) String() string { return model.Duration(d).String() }

// Type names the kind of value for help texts.
func (d Duration) Type() string { return "duration" }

// UnmarshalYAML reads a Duration and reports where a bad one stands.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error { return scalar(n, d.Set) }

// Size is a number of bytes: 512, 20MiB, 5GB.
type Size int64

var units = []struct {
	suffix string
	factor int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"KB", 1e3}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

// Set reads a Size.
func (s *Size) Set(text string) error {
	number, factor := strings.TrimSpace(text), int64(1)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(number, u.suffix); ok {
			number, factor = strings.TrimSpace(rest), u.factor
			break
		}
	}
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || !(v >= 0) || v*float64(factor) > 1<<62 { // not NaN either
		return fmt.Errorf("%q is not a size such as 512KiB or 20GB", text)
	}
	*s = Size(v * float64(factor))
	return nil
}

// String writes a Size in the largest unit that keeps it whole.
func (s Size) String() string {
	for _, i := range []int{3, 8, 2, 7, 1, 6, 0, 4} {
		if u := units[i]; s != 0 && int64(s)%u.factor == 0 {
			return strconv.FormatInt(int64(s)/u.factor, 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// Type names the kind of value for help texts.
func (s Size) Type() string { return "size" }

// UnmarshalYAML reads a Size and reports where a bad one stands.
func (s *Size) UnmarshalYAML(n *yaml.Node) error { return scalar(n, s.Set) }

// scalar sets a value from a YAML scalar; a yaml.TypeError lets the decoder go on and collect further problems.
func scalar(n *yaml.Node, set func(string) error) error {
	if err := set(n.Value); err != nil {
		return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: %s", n.Line, err)}}
	}
	return nil
}
