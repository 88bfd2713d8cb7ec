package dashboard

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// cloudWatchBody is what is read of a CloudWatch dashboard's body:
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
type cloudWatchBody struct {
	Start     string               `json:"start"`
	End       string               `json:"end"`
	Widgets   []cloudWatchWidget   `json:"widgets"`
	Variables []cloudWatchVariable `json:"variables"`
}

type cloudWatchWidget struct {
	Type       string `json:"type"`
	X          *int   `json:"x"`
	Y          *int   `json:"y"`
	Width      int    `json:"width"`
	Height     int    `json:"height"`
	Properties struct {
		Title       string  `json:"title"`
		Markdown    string  `json:"markdown"`
		Metrics     [][]any `json:"metrics"`
		View        string  `json:"view"`
		Stacked     bool    `json:"stacked"`
		Stat        string  `json:"stat"`
		AccountID   string  `json:"accountId"`
		Query       string  `json:"query"`
		Annotations struct {
			Alarms     []string `json:"alarms"`
			Vertical   []any    `json:"vertical"`
			Horizontal []any    `json:"horizontal"`
		} `json:"annotations"`
		YAxis struct {
			Left struct {
				Min *float64 `json:"min"`
				Max *float64 `json:"max"`
			} `json:"left"`
		} `json:"yAxis"`
	} `json:"properties"`
}

type cloudWatchVariable struct {
	Type         string `json:"type"`
	Property     string `json:"property"`
	Pattern      string `json:"pattern"`
	ID           string `json:"id"`
	Label        string `json:"label"`
	DefaultValue string `json:"defaultValue"`
	Search       string `json:"search"`
	Values       []struct {
		Value string `json:"value"`
	} `json:"values"`
}

// cloudWatch takes over the body of a CloudWatch dashboard. Its metrics are asked for by the names that Prometheus' CloudWatch
// exporter (YACE) gives them: aws_ec2_cpuutilization_average{dimension_InstanceId="i-1"}.
func (i *importer) cloudWatch(text []byte) error {
	var c cloudWatchBody
	if err := json.Unmarshal(text, &c); err != nil {
		return err
	}
	i.d.Title = "From CloudWatch"
	if from := isoRange(c.Start); from != "" {
		i.d.From = from
	} else if c.Start != "" {
		i.lose("start", "the range from %s", c.Start)
	}
	names := map[string]string{} // of variables, by property
	for _, v := range c.Variables {
		i.cloudWatchVariable(v, names)
	}
	y := 0
	for n, w := range c.Widgets {
		where := fmt.Sprintf("widget %d", n+1)
		if w.Properties.Title != "" {
			where += fmt.Sprintf(" %q", w.Properties.Title)
		}
		if w.Width == 0 {
			w.Width = 6
		}
		if w.Height == 0 {
			w.Height = 6
		}
		p := Panel{Title: w.Properties.Title, W: w.Width}
		if w.X != nil && w.Y != nil {
			p.X, p.Y = *w.X, *w.Y
		} else {
			p.Y = y
		}
		y = max(y, p.Y+w.Height)
		// CloudWatch's rows are a third higher than ours.
		bottom := grown(p.Y + w.Height)
		p.Y = grown(p.Y)
		p.H = bottom - p.Y
		i.cloudWatchWidget(where, w, p, names)
	}
	return nil
}

func grown(rows int) int { return int(math.Round(float64(rows) * 4 / 3)) }

var isoDuration = regexp.MustCompile(`^-P(?:(\d+)([DW])|T(\d+)([HM]))$`)

// isoRange writes -PT3H as now-3h.
func isoRange(start string) string {
	m := isoDuration.FindStringSubmatch(start)
	if m == nil {
		return ""
	}
	return "now-" + m[1] + m[3] + strings.ToLower(m[2]+m[4])
}

// cloudWatchViews are the looks of widgets of metrics.
var cloudWatchViews = map[string]Kind{"": Line, "timeSeries": Line, "singleValue": Stat, "gauge": Stat, "bar": Bar, "pie": Bar, "table": Table}

func (i *importer) cloudWatchWidget(where string, w cloudWatchWidget, p Panel, variables map[string]string) {
	props := w.Properties
	switch w.Type {
	case "text":
		p.Kind, p.Text = Text, props.Markdown
	case "alarm":
		p.Kind = Alarms
		i.lose(where, "which alarms it shows: it shows all")
	case "log":
		search, err := fromInsights(props.Query)
		if err != nil {
			i.lose(where, "the widget: its query %s: %s", shorten(props.Query), err)
			return
		}
		p.Kind, p.Search = Logs, search
	case "metric":
		kind, ok := cloudWatchViews[props.View]
		if !ok {
			i.lose(where, "the widget: there is no counterpart of the view %s", props.View)
			return
		}
		if len(props.Metrics) == 0 && len(props.Annotations.Alarms) > 0 {
			i.lose(where, "the widget: it shows an alarm's metric, which only the alarm names")
			return
		}
		if props.View == "gauge" || props.View == "pie" {
			i.lose(where, "its look: it is a panel of kind %s", kind)
		}
		p.Kind, p.Stacked = kind, props.Stacked && kind == Line
		p.Min, p.Max = props.YAxis.Left.Min, props.YAxis.Left.Max
		p.Queries = i.cloudWatchMetrics(where, w, variables)
		if len(p.Queries) == 0 {
			i.lose(where, "the widget: none of its metrics could be taken over")
			return
		}
		i.cloudWatchAnnotations(where, w, &p)
	default:
		i.lose(where, "the widget: there is no counterpart of type %s", w.Type)
		return
	}
	if props.AccountID != "" {
		i.lose(where, "the account %s: metrics of all accounts are shown", props.AccountID)
	}
	i.addPanel(where, p)
}

func (i *importer) cloudWatchAnnotations(where string, w cloudWatchWidget, p *Panel) {
	for _, h := range w.Properties.Annotations.Horizontal {
		a, ok := h.(map[string]any)
		value, number := a["value"].(float64)
		if !ok || !number {
			i.lose(where, "a band between two lines")
			continue
		}
		label, _ := a["label"].(string)
		p.Limits = append(p.Limits, Limit{Value: value, Label: label, Below: a["fill"] == "below"})
	}
	if n := len(w.Properties.Annotations.Vertical); n > 0 {
		i.lose(where, "marks in time: %d", n)
	}
}

// cloudWatchMetric is one entry of a widget's metrics.
type cloudWatchMetric struct {
	id, expression, label, stat string
	visible                     bool
	promQL                      string // of a metric
}

// cloudWatchMetrics writes a widget's metrics and expressions as queries.
func (i *importer) cloudWatchMetrics(where string, w cloudWatchWidget, variables map[string]string) (out []Query) {
	var all []cloudWatchMetric
	var before []string // the row above, which "." and "..." repeat
	for n, row := range w.Properties.Metrics {
		m := cloudWatchMetric{visible: true, stat: w.Properties.Stat}
		var parts []string
		for _, part := range row {
			switch part := part.(type) {
			case string:
				parts = append(parts, part)
			case map[string]any:
				m.read(part)
			}
		}
		if m.expression == "" {
			var err error
			if parts, err = repeated(parts, before); err != nil {
				i.lose(where, "metric %d: %s", n+1, err)
				continue
			}
			before = parts
			m.promQL = seriesOf(parts, m.stat, variables)
			if m.label == "" {
				m.label = parts[1]
				if n := len(parts); n > 3 && variables[parts[n-2]] != "" {
					m.label += " ${" + variables[parts[n-2]] + "}"
				} else if n > 3 {
					m.label += " " + parts[n-1]
				}
			}
		}
		all = append(all, m)
	}
	byID := map[string]cloudWatchMetric{}
	for _, m := range all {
		byID[m.id] = m
	}
	for _, m := range all {
		if !m.visible {
			continue
		}
		expr := m.promQL
		if m.expression != "" {
			var err error
			if expr, err = written(m.expression, byID, 0); err != nil {
				i.lose(where, "expression %s: %s", shorten(m.expression), err)
				continue
			}
		}
		for _, pattern := range slices.Sorted(maps.Keys(variables)) {
			if old, ok := strings.CutPrefix(pattern, "pattern:"); ok {
				expr = strings.ReplaceAll(expr, old, "${"+variables[pattern]+"}")
			}
		}
		out = append(out, Query{Expr: expr, Label: m.label})
	}
	return out
}

func (m *cloudWatchMetric) read(options map[string]any) {
	text := func(key string, into *string) {
		if s, ok := options[key].(string); ok {
			*into = s
		}
	}
	text("id", &m.id)
	text("expression", &m.expression)
	text("label", &m.label)
	if strings.Contains(m.label, "${") { // CloudWatch's own placeholders, such as ${LAST}
		m.label = ""
	}
	text("stat", &m.stat)
	if v, ok := options["visible"].(bool); ok {
		m.visible = v
	}
}

// repeated fills in what a row of metrics takes from the one above it: "." one part, "..." all that come first.
func repeated(parts, before []string) ([]string, error) {
	if len(parts) > 0 && parts[0] == "..." {
		tail := parts[1:]
		if len(tail) > len(before) {
			return nil, fmt.Errorf("\"...\" repeats a row that is shorter")
		}
		parts = append(slices.Clone(before[:len(before)-len(tail)]), tail...)
	}
	out := slices.Clone(parts)
	for n, p := range out {
		if p != "." {
			continue
		}
		if n >= len(before) {
			return nil, fmt.Errorf("\".\" repeats what is not in the row above")
		}
		out[n] = before[n]
	}
	if len(out) < 2 || len(out)%2 != 0 {
		return nil, fmt.Errorf("it is not a namespace, a name, and dimensions with values")
	}
	return out, nil
}

var (
	camel      = regexp.MustCompile(`([a-z0-9])([A-Z])`)
	notMetric  = regexp.MustCompile(`[^a-z0-9_]+`)
	notLabel   = regexp.MustCompile(`[^A-Za-z0-9_]+`)
	percentile = regexp.MustCompile(`^p\d+(\.\d+)?$`)
)

// metricName is what the exporter calls a metric.
func metricName(namespace, name, stat string) string {
	if stat == "" {
		stat = "Average"
	}
	parts := []string{"aws", strings.ToLower(strings.TrimPrefix(namespace, "AWS/")), name, stat}
	for n, p := range parts {
		if !percentile.MatchString(p) {
			p = camel.ReplaceAllString(p, "${1}_${2}")
		}
		parts[n] = strings.Trim(notMetric.ReplaceAllString(strings.ToLower(p), "_"), "_")
	}
	return strings.Join(parts, "_")
}

func dimensionLabel(name string) string { return "dimension_" + notLabel.ReplaceAllString(name, "_") }

// seriesOf writes a metric, which is one series, as PromQL.
func seriesOf(parts []string, stat string, variables map[string]string) string {
	var matchers []string
	for n := 2; n+1 < len(parts); n += 2 {
		matcher := dimensionLabel(parts[n]) + "=" + strconv.Quote(parts[n+1])
		if v := variables[parts[n]]; v != "" {
			matcher = dimensionLabel(parts[n]) + `=~"${` + v + `}"`
		}
		matchers = append(matchers, matcher)
	}
	out := metricName(parts[0], parts[1], stat)
	if len(matchers) > 0 {
		out += "{" + strings.Join(matchers, ",") + "}"
	}
	return "sum(" + out + ")"
}

var (
	mathToken  = regexp.MustCompile(`^\s*([A-Za-z_][A-Za-z0-9_]*|\d+(?:\.\d+)?|[-+*/()])`)
	searchForm = regexp.MustCompile(`^\s*SEARCH\(\s*'\{([^,}]+)((?:,[^,}]+)*)\}\s*(?:MetricName\s*=\s*)?"?([A-Za-z0-9_.]+)"?\s*'\s*,\s*'([A-Za-z0-9.]+)'\s*(?:,\s*\d+\s*)?\)\s*$`)
)

// written writes an expression of metric math as PromQL: arithmetic, and searches for one name by dimensions.
func written(text string, byID map[string]cloudWatchMetric, depth int) (string, error) {
	if depth > 20 {
		return "", fmt.Errorf("expressions that name each other")
	}
	if m := searchForm.FindStringSubmatch(text); m != nil {
		var matchers []string
		for _, d := range strings.Split(m[2], ",")[1:] {
			matchers = append(matchers, dimensionLabel(strings.Trim(d, ` "`))+`!=""`)
		}
		return metricName(strings.Trim(m[1], ` "`), m[3], m[4]) + "{" + strings.Join(matchers, ",") + "}", nil
	}
	var out strings.Builder
	for rest := text; strings.TrimSpace(rest) != ""; {
		m := mathToken.FindStringSubmatch(rest)
		if m == nil {
			return "", fmt.Errorf("only arithmetic and SEARCH for one name can be taken over")
		}
		rest = rest[len(m[0]):]
		token := m[1]
		if metric, ok := byID[token]; ok && token != "" {
			token = metric.promQL
			if metric.expression != "" {
				inner, err := written(metric.expression, byID, depth+1)
				if err != nil {
					return "", err
				}
				token = "(" + inner + ")"
			}
		} else if c := token[0]; c >= 'A' && c <= 'z' {
			return "", fmt.Errorf("%s has no counterpart", token)
		}
		out.WriteString(token)
	}
	return out.String(), nil
}

func (i *importer) cloudWatchVariable(c cloudWatchVariable, names map[string]string) {
	name := notLabel.ReplaceAllString(c.ID, "_")
	where := "variable " + c.ID
	v := Variable{Name: name, Label: c.Label}
	if c.DefaultValue != "" && c.DefaultValue != "__FIRST" {
		v.Default = []string{c.DefaultValue}
	}
	for _, value := range c.Values {
		v.Values = append(v.Values, value.Value)
	}
	switch {
	case c.Type == "property" && slices.Contains([]string{"region", "stat", "period"}, c.Property):
		i.lose(where, "a choice of %s", c.Property)
		return
	case c.Type == "property":
		if len(v.Values) == 0 {
			v.Of = &LabelValues{Label: dimensionLabel(c.Property)}
		}
		names[c.Property] = name
	case c.Type == "pattern" && c.Pattern != "":
		names["pattern:"+c.Pattern] = name
	default:
		i.lose(where, "a variable of type %s", c.Type)
		return
	}
	i.addVariable(v)
	if !i.variables[name] {
		delete(names, c.Property)
		delete(names, "pattern:"+c.Pattern)
	}
}

var (
	insightsSource = regexp.MustCompile(`(?i)^\s*SOURCE\s+(.*)$`)
	insightsGroup  = regexp.MustCompile(`['"]([^'"]+)['"]`)
	insightsFilter = regexp.MustCompile(`(?i)^\s*filter\s+(@?[\w.]+)\s*(=|!=|like|not like|=~)\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|/(?:[^/\\]|\\.)*/|\d+(?:\.\d+)?)\s*$`)
	insightsLook   = regexp.MustCompile(`(?i)^\s*(fields|display|sort|limit)\b`)
)

// fromInsights writes a query of CloudWatch Logs Insights in the language of searches: where it looks and simple filters.
func fromInsights(text string) (string, error) {
	var terms []string
	for _, part := range strings.Split(text, "|") {
		switch {
		case strings.TrimSpace(part) == "" || insightsLook.MatchString(part):
			continue // how lines are shown
		case insightsSource.MatchString(part):
			var groups []string
			for _, g := range insightsGroup.FindAllStringSubmatch(part, -1) {
				groups = append(groups, "aws.log.group.names:"+quoted(g[1]))
			}
			if len(groups) > 1 {
				terms = append(terms, "("+strings.Join(groups, " OR ")+")")
			} else {
				terms = append(terms, groups...)
			}
			continue
		}
		m := insightsFilter.FindStringSubmatch(part)
		if m == nil {
			return "", fmt.Errorf("%s has no counterpart", shorten(part))
		}
		field, op, value := m[1], strings.ToLower(m[2]), m[3]
		prefix := field + ":"
		if field == "@message" {
			prefix = ""
		} else {
			prefix = strings.TrimPrefix(prefix, "@")
		}
		if !strings.HasPrefix(value, "/") {
			value = quoted(strings.Trim(value, `'"`))
		}
		op2 := "="
		if op == "!=" || op == "not like" {
			op2 = "!="
		}
		terms = append(terms, negated(op2, prefix+value))
	}
	return strings.Join(terms, " "), nil
}
