package cli

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/width"
)

// style is a terminal's way to set text off, as the parameters of an SGR sequence.
type style string

const (
	plain  style = ""
	bold   style = "1"
	dim    style = "2"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
)

// paint sets s off if there is a terminal that shows it.
func (e *env) paint(st style, s string) string {
	if !e.colour || st == plain || s == "" {
		return s
	}
	return "\x1b[" + string(st) + "m" + s + "\x1b[0m"
}

// table aligns cells in columns by the width they take on a screen, which is two columns for most of East Asia's
// letters; text/tabwriter knows neither that nor colours.
type table struct {
	env    *env
	right  map[int]bool // columns of numbers
	rows   [][]cell
	header bool
}

type cell struct {
	text  string
	style style
}

// newTable begins with a line of names. Those that begin with > are columns of numbers.
func (e *env) newTable(names ...string) *table {
	t := &table{env: e, right: map[int]bool{}, header: true}
	row := make([]cell, len(names))
	for i, n := range names {
		name, right := strings.CutPrefix(n, ">")
		t.right[i] = right
		row[i] = cell{name, dim}
	}
	t.rows = append(t.rows, row)
	return t
}

// add takes strings, cells and numbers.
func (t *table) add(cells ...any) {
	row := make([]cell, len(cells))
	for i, c := range cells {
		switch c := c.(type) {
		case cell:
			row[i] = cell{clean(c.text), c.style}
		case string:
			row[i] = cell{text: clean(c)}
		default:
			row[i] = cell{text: clean(fmt.Sprint(c))}
		}
	}
	t.rows = append(t.rows, row)
}

// print writes the table, or, where there are only names, what is said instead.
func (t *table) print(empty string) error {
	if len(t.rows) == 1 {
		return t.env.printf("%s\n", empty)
	}
	widths := map[int]int{}
	for _, row := range t.rows {
		for i, c := range row {
			widths[i] = max(widths[i], columns(c.text))
		}
	}
	var out strings.Builder
	for _, row := range t.rows {
		for i, c := range row {
			pad := strings.Repeat(" ", widths[i]-columns(c.text))
			last := i == len(row)-1 || i == len(row)-2 && row[i+1].text == ""
			switch {
			case t.right[i]:
				out.WriteString(pad + t.env.paint(c.style, c.text))
			case last:
				out.WriteString(t.env.paint(c.style, c.text))
			default:
				out.WriteString(t.env.paint(c.style, c.text) + pad)
			}
			if last {
				break
			}
			out.WriteString("  ")
		}
		out.WriteByte('\n')
	}
	_, err := io.WriteString(t.env.out, out.String())
	return err
}

// columns is how many columns a text takes on a screen.
func columns(s string) int {
	n := 0
	for _, r := range s {
		n += runeColumns(r)
	}
	return n
}

func runeColumns(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// cut shortens a text to a number of columns.
func cut(s string, max int) string {
	if columns(s) <= max {
		return s
	}
	n := 0
	for i, r := range s {
		n += runeColumns(r)
		if n > max-1 {
			return s[:i] + "…"
		}
	}
	return s
}

// pad fills a text up to a number of columns.
func pad(s string, n int) string { return s + strings.Repeat(" ", max(0, n-columns(s))) }

// clean writes control characters as escapes, so that what a stranger logged cannot move the cursor or worse.
func clean(s string) string {
	if !strings.ContainsFunc(s, unprintable) {
		return s
	}
	var out strings.Builder
	for _, r := range s {
		if unprintable(r) {
			q := strconv.QuoteRune(r)
			out.WriteString(q[1 : len(q)-1])
		} else {
			out.WriteRune(r)
		}
	}
	return out.String()
}

// unprintable covers controls and the marks that turn the direction of writing.
func unprintable(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }

// cleanLines is clean for a text of several lines.
func cleanLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = clean(lines[i])
	}
	return strings.Join(lines, "\n")
}

var blocks = []rune("▁▂▃▄▅▆▇█")

// sparkline draws values one column each, from the smallest to the largest.
func sparkline(values []float64) string {
	low, high := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			low, high = min(low, v), max(high, v)
		}
	}
	var out strings.Builder
	for _, v := range values {
		switch {
		case math.IsNaN(v) || math.IsInf(v, 0):
			out.WriteByte(' ')
		case high == low:
			out.WriteRune(blocks[0])
		default:
			out.WriteRune(blocks[int(math.Round((v-low)/(high-low)*float64(len(blocks)-1)))])
		}
	}
	return out.String()
}

// clock is a time as all output has it: UTC, to the second.
func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

// ago is how long before now t lies, in one unit.
func ago(t, now time.Time) string {
	d := now.Sub(t)
	switch {
	case t.IsZero():
		return "-"
	case d < 0:
		return "now"
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// lasting is a duration with three digits that matter.
func lasting(d time.Duration) string {
	switch {
	case d == 0:
		return "0 s"
	case d < time.Microsecond:
		return fmt.Sprintf("%d ns", d.Nanoseconds())
	case d < time.Millisecond:
		return digits(float64(d)/1e3) + " µs"
	case d < time.Second:
		return digits(float64(d)/1e6) + " ms"
	case d < 10*time.Minute:
		return digits(d.Seconds()) + " s"
	}
	return d.Round(time.Second).String()
}

// digits is a number with three digits that matter, more only where they stand before the point.
func digits(v float64) string {
	a := math.Abs(v)
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return strconv.FormatFloat(v, 'g', -1, 64)
	case v == math.Trunc(v) && a < 1e15:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 1e-4:
		places := 2 - int(math.Floor(math.Log10(a)))
		s := strconv.FormatFloat(v, 'f', places, 64)
		return strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// quantity is a value of an alarm with its unit.
func quantity(v float64, unit string) string {
	switch unit {
	case "s":
		return lasting(time.Duration(v * 1e9))
	case "ratio":
		return digits(v*100) + "%"
	case "":
		return digits(v)
	case "1/s":
		return digits(v) + "/s"
	}
	return digits(v) + " " + unit
}

// plural is a number of things.
func plural(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return count(int64(n)) + " " + thing
}

// count is a whole number with its thousands set apart.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
