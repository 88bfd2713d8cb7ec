package dashboard

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// grafanaModel is what is read of Grafana's JSON model, schema versions 1 to 42:
// https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
type grafanaModel struct {
	Title       string         `json:"title"`
	Description string         `json:"description"`
	Tags        []string       `json:"tags"`
	Panels      []grafanaPanel `json:"panels"`
	Rows        []struct {     // before schema version 16
		Title    string         `json:"title"`
		Height   any            `json:"height"`
		Panels   []grafanaPanel `json:"panels"`
		ShowName bool           `json:"showTitle"`
		Collapse bool           `json:"collapse"`
	} `json:"rows"`
	Templating struct {
		List []grafanaVariable `json:"list"`
	} `json:"templating"`
	Annotations struct {
		List []struct {
			Name    string `json:"name"`
			BuiltIn int    `json:"builtIn"`
			Enable  bool   `json:"enable"`
		} `json:"list"`
	} `json:"annotations"`
	Links []any `json:"links"`
	Time  struct {
		From string `json:"from"`
	} `json:"time"`
}

type grafanaVariable struct {
	Name       string          `json:"name"`
	Label      string          `json:"label"`
	Type       string          `json:"type"`
	Query      json.RawMessage `json:"query"` // text, or an object with one
	Regex      string          `json:"regex"`
	Multi      bool            `json:"multi"`
	IncludeAll bool            `json:"includeAll"`
	AllValue   string          `json:"allValue"`
	Current    struct {
		Value json.RawMessage `json:"value"` // text, or a list
	} `json:"current"`
}

type grafanaPanel struct {
	Title       string `json:"title"`
	Description string `json:"description"`
	Type        string `json:"type"`
	GridPos     *struct {
		X, Y, W, H int
	} `json:"gridPos"`
	Span         float64         `json:"span"` // before schema version 16, of 12
	Panels       []grafanaPanel  `json:"panels"`
	Targets      []grafanaTarget `json:"targets"`
	Datasource   json.RawMessage `json:"datasource"`
	Repeat       string          `json:"repeat"`
	LibraryPanel *struct {
		Name string `json:"name"`
	} `json:"libraryPanel"`
	Alert           json.RawMessage `json:"alert"`
	Links           []any           `json:"links"`
	Transformations []struct {
		ID string `json:"id"`
	} `json:"transformations"`
	TimeFrom  string `json:"timeFrom"`
	TimeShift string `json:"timeShift"`
	// Content and Mode are of text before Grafana 7, Options since.
	Content string `json:"content"`
	Mode    string `json:"mode"`
	Options struct {
		Content string `json:"content"`
		Mode    string `json:"mode"`
	} `json:"options"`
	// Format, Stack and YAxes are of graphs before Grafana 8, FieldConfig since.
	// Thresholds are of single values before Grafana 7, as text, such as "80,90".
	Thresholds json.RawMessage `json:"thresholds"`
	Format     string          `json:"format"`
	Stack      bool            `json:"stack"`
	YAxes      []struct {
		Format string `json:"format"`
		Min    any    `json:"min"`
		Max    any    `json:"max"`
	} `json:"yaxes"`
	FieldConfig struct {
		Defaults struct {
			Unit       string            `json:"unit"`
			Min        *float64          `json:"min"`
			Max        *float64          `json:"max"`
			Mappings   []json.RawMessage `json:"mappings"`
			Thresholds struct {
				Mode  string `json:"mode"`
				Steps []struct {
					Color string   `json:"color"`
					Value *float64 `json:"value"`
				} `json:"steps"`
			} `json:"thresholds"`
			Custom struct {
				Stacking struct {
					Mode string `json:"mode"`
				} `json:"stacking"`
				ThresholdsStyle struct {
					Mode string `json:"mode"`
				} `json:"thresholdsStyle"`
			} `json:"custom"`
		} `json:"defaults"`
		Overrides []json.RawMessage `json:"overrides"`
	} `json:"fieldConfig"`
}

type grafanaTarget struct {
	RefID        string          `json:"refId"`
	Expr         string          `json:"expr"`
	LegendFormat string          `json:"legendFormat"`
	Hide         bool            `json:"hide"`
	Datasource   json.RawMessage `json:"datasource"`
}

// grafana takes over Grafana's JSON model.
func (i *importer) grafana(text []byte) error {
	var g grafanaModel
	if err := json.Unmarshal(text, &g); err != nil {
		return err
	}
	i.d.Title, i.d.Description, i.d.Tags = g.Title, g.Description, g.Tags
	if fromPattern.MatchString(g.Time.From) {
		i.d.From = g.Time.From
	} else if g.Time.From != "" {
		i.lose("time", "the range from %s", g.Time.From)
	}
	for _, v := range g.Templating.List {
		i.grafanaVariable(v)
	}
	for _, a := range g.Annotations.List {
		if a.BuiltIn == 0 && a.Enable {
			i.lose("annotations", "%q: changes that triage knows are on every chart", a.Name)
		}
	}
	if len(g.Links) > 0 {
		i.lose("links", "links to other pages: %d", len(g.Links))
	}
	i.grafanaPanels(append(fromRows(g), g.Panels...))
	return nil
}

// fromRows lays out panels as Grafana did before it had a grid: in rows of 12 columns.
func fromRows(g grafanaModel) (out []grafanaPanel) {
	y := 0
	for _, r := range g.Rows {
		if r.Title != "" && (r.ShowName || r.Collapse) {
			out = append(out, grafanaPanel{Type: "row", Title: r.Title, GridPos: &struct{ X, Y, W, H int }{0, y, columns, 1}})
			y++
		}
		x := 0
		for _, p := range r.Panels {
			w := min(columns, max(2, int(p.Span*2)))
			if p.Span == 0 {
				w = columns
			}
			if x+w > columns {
				x, y = 0, y+7
			}
			p.GridPos = &struct{ X, Y, W, H int }{x, y, w, 7}
			out = append(out, p)
			x += w
		}
		y += 7
	}
	return out
}

// grafanaPanels takes panels over. What a row hides while it is folded is laid below it, and what follows moves down.
func (i *importer) grafanaPanels(panels []grafanaPanel) {
	slices.SortStableFunc(panels, func(a, b grafanaPanel) int { return top(a) - top(b) })
	down := 0
	for n, p := range panels {
		if p.GridPos == nil {
			p.GridPos = &struct{ X, Y, W, H int }{0, n * 8, 12, 8}
		} else {
			at := *p.GridPos
			p.GridPos = &at
		}
		p.GridPos.Y += down
		i.grafanaPanel(p)
		if p.Type != "row" || len(p.Panels) == 0 {
			continue
		}
		first, last := top(p.Panels[0]), 0
		for _, c := range p.Panels {
			first = min(first, top(c))
			last = max(last, top(c)+height(c))
		}
		for _, c := range p.Panels {
			if c.GridPos == nil {
				continue
			}
			at := *c.GridPos
			c.GridPos = &at
			c.GridPos.Y += p.GridPos.Y + 1 - first
			i.grafanaPanel(c)
		}
		down += last - first
	}
}

func top(p grafanaPanel) int {
	if p.GridPos == nil {
		return 0
	}
	return p.GridPos.Y
}

func height(p grafanaPanel) int {
	if p.GridPos == nil {
		return 0
	}
	return p.GridPos.H
}

// grafanaKinds are Grafana's panels that have a counterpart.
var grafanaKinds = map[string]Kind{
	"timeseries": Line, "graph": Line, "stat": Stat, "singlestat": Stat, "gauge": Stat, "bargauge": Bar, "barchart": Bar, "piechart": Bar,
	"table": Table, "table-old": Table, "logs": Logs, "text": Text, "row": Section, "alertlist": Alarms,
}

// grafanaUnits are Grafana's names of units in UCUM's, or as page and alarms name them.
var grafanaUnits = map[string]string{
	"s": "s", "ms": "ms", "µs": "us", "ns": "ns", "percent": "%", "percentunit": "ratio", "bytes": "By", "decbytes": "By", "bits": "bit",
	"Bps": "By/s", "binBps": "By/s", "bps": "bit/s", "reqps": "1/s", "rps": "1/s", "wps": "1/s", "ops": "1/s", "cps": "1/s", "iops": "1/s", "hertz": "Hz",
	"celsius": "Cel", "none": "", "short": "", "": "",
}

func (i *importer) grafanaPanel(p grafanaPanel) {
	where := fmt.Sprintf("panel %q", p.Title)
	if p.LibraryPanel != nil {
		i.lose(where, "the panel: it is the library panel %q, whose content is not in the file", p.LibraryPanel.Name)
		return
	}
	kind, ok := grafanaKinds[p.Type]
	if !ok {
		i.lose(where, "the panel: there is no counterpart of %s", p.Type)
		return
	}
	out := Panel{Title: p.Title, Description: p.Description, Kind: kind, X: p.GridPos.X, Y: p.GridPos.Y, W: p.GridPos.W, H: p.GridPos.H}
	switch p.Type {
	case "gauge", "piechart":
		i.lose(where, "its look: it is a panel of kind %s", kind)
	}
	i.grafanaLook(where, p, &out)
	switch kind {
	case Section:
		out.X, out.W, out.H = 0, columns, 1
	case Text:
		out.Text = p.Options.Content + p.Content
		if mode := p.Options.Mode + p.Mode; mode == "html" {
			i.lose(where, "HTML: only its text is shown")
			out.Text = tag.ReplaceAllString(out.Text, "")
		}
	case Logs:
		if len(p.Targets) > 1 {
			i.lose(where, "all queries but the first")
		}
		if len(p.Targets) > 0 {
			search, err := fromLogQL(p.Targets[0].Expr)
			if err != nil {
				i.lose(where, "the panel: its query %s: %s", shorten(p.Targets[0].Expr), err)
				return
			}
			out.Search = search
		}
	case Alarms:
		i.lose(where, "which alarms it shows: it shows all")
	default:
		out.Queries = i.grafanaQueries(where, p)
		if len(out.Queries) == 0 {
			i.lose(where, "the panel: none of its queries could be taken over")
			return
		}
	}
	i.addPanel(where, out)
}

var tag = regexp.MustCompile(`<[^<>]*>`)

func (i *importer) grafanaQueries(where string, p grafanaPanel) (out []Query) {
	for n, t := range p.Targets {
		name := "query " + t.RefID
		if t.RefID == "" {
			name = fmt.Sprintf("query %d", n+1)
		}
		source := sourceType(t.Datasource)
		if source == "" {
			source = sourceType(p.Datasource)
		}
		switch {
		case t.Hide:
			i.lose(where, "%s: it is hidden", name)
		case source != "" && source != "prometheus" && !strings.HasPrefix(source, "$"):
			i.lose(where, "%s: it asks %s", name, source)
		case t.Expr == "":
			i.lose(where, "%s: it has no PromQL", name)
		default:
			label := t.LegendFormat
			if label == "__auto" {
				label = ""
			}
			out = append(out, Query{Expr: t.Expr, Label: spacedLabel.ReplaceAllString(label, "{{$1}}")})
		}
	}
	return out
}

var spacedLabel = regexp.MustCompile(`\{\{\s*([^{}]+?)\s*\}\}`)

// sourceType is what kind of store is asked, as far as it can be told: names of one's own say nothing.
func sourceType(raw json.RawMessage) string {
	var d struct {
		Type string `json:"type"`
		UID  string `json:"uid"`
	}
	if json.Unmarshal(raw, &d) != nil {
		return ""
	}
	switch {
	case d.UID == "__expr__":
		return "other queries (an expression)"
	case d.Type == "datasource":
		return ""
	}
	return d.Type
}

// grafanaLook takes over how values are shown, and says what of it is lost.
func (i *importer) grafanaLook(where string, p grafanaPanel, out *Panel) {
	f := p.FieldConfig.Defaults
	unit := f.Unit
	if unit == "" && len(p.YAxes) > 0 {
		unit = p.YAxes[0].Format
	}
	if unit == "" && p.Type == "singlestat" {
		unit = p.Format
	}
	known, ok := grafanaUnits[unit]
	if !ok {
		known = strings.TrimPrefix(strings.TrimPrefix(unit, "suffix:"), "prefix:")
		if known == unit {
			i.lose(where, "the unit %s is shown as it is called", unit)
		}
	}
	out.Unit, out.Min, out.Max = known, f.Min, f.Max
	switch f.Custom.Stacking.Mode {
	case "normal":
		out.Stacked = out.Kind == Line
	case "percent":
		out.Stacked = out.Kind == Line
		i.lose(where, "shares in percent: its values are stacked")
	}
	out.Stacked = out.Stacked || p.Stack && out.Kind == Line
	if style := f.Custom.ThresholdsStyle.Mode; out.Kind == Stat || out.Kind == Line && style != "" && style != "off" {
		out.Limits = i.grafanaLimits(where, p)
	}
	if n := len(f.Mappings); n > 0 {
		i.lose(where, "mappings of values to words: %d", n)
	}
	if n := len(p.FieldConfig.Overrides); n > 0 {
		i.lose(where, "overrides of fields: %d", n)
	}
	for _, t := range p.Transformations {
		i.lose(where, "transformation %s", t.ID)
	}
	if p.Repeat != "" {
		i.lose(where, "repetition by $%s: it is shown once, with all that is chosen", p.Repeat)
	}
	if len(p.Alert) > 0 && string(p.Alert) != "null" {
		i.lose(where, "its alert: make a rule of it (triage alarms)")
	}
	if len(p.Links) > 0 {
		i.lose(where, "links: %d", len(p.Links))
	}
	if p.TimeFrom != "" || p.TimeShift != "" {
		i.lose(where, "a time range of its own")
	}
}

func (i *importer) grafanaLimits(where string, p grafanaPanel) (out []Limit) {
	t := p.FieldConfig.Defaults.Thresholds
	if t.Mode == "percentage" && len(t.Steps) > 1 {
		i.lose(where, "thresholds in percent of a range")
		return nil
	}
	var old string
	if json.Unmarshal(p.Thresholds, &old) == nil && p.Type == "singlestat" {
		for _, part := range strings.Split(old, ",") {
			if v, err := strconv.ParseFloat(strings.TrimSpace(part), 64); err == nil {
				out = append(out, Limit{Value: v})
			}
		}
		return out
	}
	// Grafana colours what is above a step; where the base is bad, what is below the first step is.
	below := len(t.Steps) > 0 && strings.Contains(t.Steps[0].Color, "red")
	for _, s := range t.Steps {
		if s.Value != nil {
			out = append(out, Limit{Value: *s.Value, Below: below})
		}
	}
	return out
}

var (
	labelValues = regexp.MustCompile(`^\s*label_values\(\s*(?:(.+?)\s*,\s*)?([A-Za-z_][A-Za-z0-9_]*)\s*\)\s*$`)
	slashed     = regexp.MustCompile(`^/(.*)/[gimsuy]*$`)
)

func (i *importer) grafanaVariable(g grafanaVariable) {
	where := "variable " + g.Name
	v := Variable{Name: g.Name, Label: g.Label, Multiple: g.Multi, All: g.IncludeAll}
	switch query := queryText(g.Query); g.Type {
	case "query":
		m := labelValues.FindStringSubmatch(query)
		if m == nil {
			i.lose(where, "its query %s: only label_values can be taken over; it is free text", shorten(query))
			v.Multiple, v.All = false, false
			break
		}
		v.Of = &LabelValues{Label: m[2], Selector: strings.TrimSpace(m[1]), Match: g.Regex}
		if s := slashed.FindStringSubmatch(g.Regex); s != nil {
			v.Of.Match = s[1]
		}
		if _, err := regexp.Compile(v.Of.Match); err != nil {
			i.lose(where, "its regular expression %s: %s", g.Regex, err)
			v.Of.Match = ""
		}
		if v.Of.Selector != "" && checkSelector(v.Of.Selector, i.variables) != nil {
			i.lose(where, "its selector %s: values of all series can be chosen", shorten(v.Of.Selector))
			v.Of.Selector = ""
		}
	case "custom", "interval":
		for _, value := range strings.Split(query, ",") {
			if value = strings.TrimSpace(value); value != "" {
				v.Values = append(v.Values, value)
			}
		}
		v.Default = currentValues(g.Current.Value)
	case "constant":
		v.Values, v.Multiple, v.All = []string{query}, false, false
	case "textbox":
		v.Default, v.Multiple, v.All = []string{query}, false, false
	case "datasource":
		// There is one store here, so nothing has to be chosen; those who name it ask it.
		return
	default:
		i.lose(where, "a variable of type %s", g.Type)
		return
	}
	if len(v.Values) == 0 && v.Of == nil {
		v.Multiple, v.All = false, false
	}
	if g.AllValue != "" && g.AllValue != ".*" && g.AllValue != ".+" {
		i.lose(where, "all as %s: it is .+", g.AllValue)
	}
	if len(v.Default) > 1 && !v.Multiple {
		v.Default = v.Default[:1]
	}
	i.addVariable(v)
}

func queryText(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	var q struct {
		Query string `json:"query"`
	}
	_ = json.Unmarshal(raw, &q) // what is neither has no text
	return q.Query
}

func currentValues(raw json.RawMessage) (out []string) {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		out = []string{one}
	} else if json.Unmarshal(raw, &out) != nil {
		return nil
	}
	return slices.DeleteFunc(out, func(s string) bool { return s == "" || strings.HasPrefix(s, "$__") })
}
