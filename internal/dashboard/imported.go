package dashboard

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// Lost is something that could not be taken over from another tool's dashboard.
type Lost struct {
	// Where is the panel, variable or part that it belonged to.
	Where string `json:"where"`
	What  string `json:"what"`
}

// Imported is a dashboard that was made of another tool's.
type Imported struct {
	Format    string    `json:"format"` // grafana or cloudwatch
	Dashboard Dashboard `json:"dashboard"`
	Lost      []Lost    `json:"lost"`
}

// Import reads another tool's dashboard: Grafana's JSON model, or the body of a CloudWatch dashboard. What it says that has no
// counterpart is told; the rest is a valid dashboard. Name is what it is called here, made of its title without one. The error
// is ErrInvalid.
func Import(text []byte, name string) (Imported, error) {
	var form struct {
		Dashboard  json.RawMessage `json:"dashboard"`
		APIVersion string          `json:"apiVersion"`
		Elements   json.RawMessage `json:"elements"`
		Panels     json.RawMessage `json:"panels"`
		Rows       json.RawMessage `json:"rows"`
		Templating json.RawMessage `json:"templating"`
		Widgets    json.RawMessage `json:"widgets"`
		Body       *string         `json:"DashboardBody"`
		Name       string          `json:"DashboardName"`
	}
	if len(text) > maxImport {
		return Imported{}, fmt.Errorf("%w: it has %d bytes, at most %d are allowed", ErrInvalid, len(text), maxImport)
	}
	if err := json.Unmarshal(text, &form); err != nil {
		return Imported{}, fmt.Errorf("%w: it is no JSON object: %s", ErrInvalid, err)
	}
	i := &importer{variables: map[string]bool{}}
	var format string
	var err error
	switch {
	case form.Body != nil: // as aws cloudwatch get-dashboard prints it
		made, err := Import([]byte(*form.Body), cmp.Or(name, slug(form.Name)))
		if err == nil && form.Name != "" {
			made.Dashboard.Title = form.Name
		}
		return made, err
	case form.Dashboard != nil: // as Grafana's API answers
		return Import(form.Dashboard, name)
	case form.Widgets != nil:
		format, err = "cloudwatch", i.cloudWatch(text)
	case form.Elements != nil || strings.HasPrefix(form.APIVersion, "dashboard.grafana.app/v2"):
		return Imported{}, fmt.Errorf("%w: this is Grafana's schema v2: export it as classic JSON (Share, Export, \"Model: Classic\")", ErrInvalid)
	case form.Panels != nil || form.Rows != nil || form.Templating != nil:
		format, err = "grafana", i.grafana(text)
	default:
		return Imported{}, fmt.Errorf("%w: it has neither panels, as Grafana's dashboards have, nor widgets, as CloudWatch's", ErrInvalid)
	}
	if err != nil {
		return Imported{}, fmt.Errorf("%w: %s: %s", ErrInvalid, format, err)
	}
	if name != "" {
		i.d.Name = name
	} else if i.d.Name = slug(i.d.Title); i.d.Name == "" {
		i.d.Name = "imported"
	}
	i.d = i.d.WithDefaults()
	if err := i.d.Validate(); err != nil {
		return Imported{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return Imported{Format: format, Dashboard: i.d, Lost: append([]Lost{}, i.lost...)}, nil
}

// importer is the work on one dashboard.
type importer struct {
	d         Dashboard
	lost      []Lost
	variables map[string]bool
}

func (i *importer) lose(where, format string, args ...any) {
	i.lost = append(i.lost, Lost{where, fmt.Sprintf(format, args...)})
}

// addVariable takes a variable over if it is a valid one.
func (i *importer) addVariable(v Variable) {
	w := &wrong{}
	v.validate(w, i.variables)
	for _, err := range w.errs {
		i.lose("variable "+v.Name, "%s", err)
	}
	if len(w.errs) == 0 && len(i.d.Variables) < maxVariables {
		i.variables[v.Name] = true
		i.d.Variables = append(i.d.Variables, v)
	}
}

// addPanel takes a panel over, with those of its queries that are valid; without any it is lost.
func (i *importer) addPanel(where string, p Panel) {
	had := len(p.Queries)
	var good []Query
	for _, q := range p.Queries {
		if err := checkPromQL(q.Expr, i.variables); err != nil {
			i.lose(where, "query %s: %s", shorten(q.Expr), err)
			continue
		}
		good = append(good, q)
	}
	if len(good) > maxQueries {
		i.lose(where, "all queries but the first %d", maxQueries)
		good = good[:maxQueries]
	}
	p.Queries = good
	if had > 0 && len(good) == 0 {
		i.lose(where, "the panel: none of its queries could be taken over")
		return
	}
	if len(i.d.Panels) == maxPanels {
		i.lose(where, "the panel: a dashboard has at most %d", maxPanels)
		return
	}
	p.X = min(max(p.X, 0), columns-1)
	p.W = min(max(p.W, 1), columns-p.X)
	p.Y, p.H = max(p.Y, 0), min(max(p.H, 1), 100)
	if p.Min != nil && p.Max != nil && *p.Min >= *p.Max {
		p.Min, p.Max = nil, nil
	}
	w := &wrong{}
	p.validate(w, i.variables)
	if len(w.errs) > 0 {
		i.lose(where, "the panel: %s", w.errs[0])
		return
	}
	i.d.Panels = append(i.d.Panels, p)
}

func shorten(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return s
}

var notName = regexp.MustCompile(`[^a-z0-9]+`)

// slug makes a name of a title.
func slug(title string) string {
	s := strings.Trim(notName.ReplaceAllString(strings.ToLower(title), "-"), "-")
	return strings.TrimRight(s[:min(len(s), 60)], "-")
}
