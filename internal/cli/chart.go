package cli

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/guptarohit/asciigraph"

	"triage/client"
)

// maxLines is how many series a chart can show before nobody can tell them apart; the rest is listed.
const maxLines = 8

// lineColours are of the 256 that terminals have, told apart on dark and light alike.
var lineColours = []asciigraph.AnsiColor{39, 208, 76, 199, 142, 141, 43, 203}

// chart draws series over time: as lines, with a table of what each did below. Lines are told apart by number as well
// as by colour.
func (e *env) chart(series []client.Series, from, to time.Time, step time.Duration) error {
	if len(series) == 0 {
		return e.printf("no series\n")
	}
	slices.SortStableFunc(series, func(a, b client.Series) int { // the largest first: they are what one looks for
		return compareDown(peak(a.Points), peak(b.Points))
	})
	const axis = 12 // columns that the vertical axis takes at most
	wide := max(20, e.width-axis)
	lines := make([][]float64, 0, maxLines)
	for _, s := range series[:min(len(series), maxLines)] {
		lines = append(lines, spread(grid(s.Points, from, step, int(to.Sub(from)/step)+1), wide))
	}
	if !slices.ContainsFunc(lines, hasNumber) {
		return e.printf("no numbers to draw\n")
	}
	layout := "15:04:05"
	if to.Sub(from) > 24*time.Hour {
		layout = "01-02 15:04"
	}
	opts := []asciigraph.Option{
		asciigraph.Height(12), asciigraph.YAxisValueFormatter(digits),
		asciigraph.XAxisRange(float64(from.Unix()), float64(to.Unix())), asciigraph.XAxisTickCount(max(2, min(5, wide/16))),
		asciigraph.XAxisValueFormatter(func(v float64) string { return time.Unix(int64(v), 0).UTC().Format(layout) }),
	}
	if !slices.ContainsFunc(lines, func(l []float64) bool { return slices.ContainsFunc(l, func(v float64) bool { return v < 0 }) }) {
		opts = append(opts, asciigraph.LowerBound(0)) // a chart that does not begin at zero exaggerates
	}
	if e.colour {
		opts = append(opts, asciigraph.SeriesColors(lineColours...))
	} else if len(lines) > 1 {
		sets := make([]asciigraph.CharSet, len(lines))
		for i := range sets {
			sets[i] = asciigraph.CreateCharSet(strconv.Itoa(i + 1))
		}
		opts = append(opts, asciigraph.SeriesChars(sets...))
	}
	if err := e.printf("%s\n\n", trimLines(asciigraph.PlotMany(lines, opts...))); err != nil {
		return err
	}
	t := e.newTable("LINE", ">LAST", ">MIN", ">MAX", "SERIES")
	for i, s := range series {
		number := cell{text: "-"}
		if i < maxLines {
			number = cell{strconv.Itoa(i + 1), plain}
			if e.colour {
				number.style = style("38;5;" + strconv.Itoa(int(lineColours[i])))
			}
		}
		low, high := math.Inf(1), math.Inf(-1)
		for _, p := range s.Points {
			low, high = min(low, p.Value), max(high, p.Value)
		}
		last := math.NaN()
		if len(s.Points) > 0 {
			last = s.Points[len(s.Points)-1].Value
		}
		t.add(number, digits(last), digits(low), digits(high), cut(seriesName(s.Labels), max(40, e.width-30)))
	}
	return t.print("")
}

// grid puts points where their time belongs; where there is none it is NaN, which leaves a gap.
func grid(points []client.Point, from time.Time, step time.Duration, n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = math.NaN()
	}
	for _, p := range points {
		if i := int((p.At.Sub(from) + step/2) / step); i >= 0 && i < n && !math.IsInf(p.Value, 0) {
			out[i] = p.Value
		}
	}
	return out
}

// spread gives each column of the chart its nearest point. The library would draw a line through gaps.
func spread(line []float64, wide int) []float64 {
	out := make([]float64, wide)
	for i := range out {
		out[i] = line[int(math.Round(float64(i)*float64(len(line)-1)/float64(wide-1)))]
	}
	return out
}

func hasNumber(line []float64) bool {
	return slices.ContainsFunc(line, func(v float64) bool { return !math.IsNaN(v) })
}

func peak(points []client.Point) float64 {
	high := math.Inf(-1)
	for _, p := range points {
		if !math.IsInf(p.Value, 0) && !math.IsNaN(p.Value) {
			high = max(high, p.Value)
		}
	}
	return high
}

func compareDown(a, b float64) int {
	switch {
	case a > b:
		return -1
	case a < b:
		return 1
	}
	return 0
}

func trimLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}
