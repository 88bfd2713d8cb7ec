package notify

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/alertmanager/config"
	"github.com/prometheus/alertmanager/config/receiver"
	"github.com/prometheus/alertmanager/dispatch"
	"github.com/prometheus/alertmanager/inhibit"
	am "github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/template"
	"github.com/prometheus/alertmanager/timeinterval"
	prom "github.com/prometheus/common/model"

	_ "embed"
)

// IncidentLabel is on every alert, and what alerts are grouped by where a configuration says nothing else.
const IncidentLabel = "incident"

// SNS is a receiver of its own: an HTTP endpoint that gets what Amazon SNS would send it of a CloudWatch alarm. It belongs
// to the receiver of that name.
type SNS struct {
	Receiver string `yaml:"receiver"`
	URL      string `yaml:"url"`
	// Topic is the ARN that the messages name.
	Topic string `yaml:"topic"`
}

// RoutesKind is the kind of the document in which routes that were declared are kept; RoutesName is its name.
const (
	RoutesKind = "routes"
	RoutesName = "default"
)

// Routes is an Alertmanager configuration as YAML.
type Routes struct {
	Alertmanager string `json:"alertmanager"`
}

// Config is who is told, how and when: an Alertmanager configuration, and what it has no place for.
type Config struct {
	alertmanager *config.Config
	route        *dispatch.Route
	inhibit      []*inhibit.InhibitRule
	times        *timeinterval.Intervener
	integrations map[string][]am.Integration // by receiver
}

//go:embed default.tmpl
var defaultTemplates string

// Parse reads an Alertmanager configuration. Templates and other files that it names are relative to dir. URL is how users
// reach this server; links begin with it.
func Parse(text []byte, dir, publicURL string, sns []SNS, logger *slog.Logger) (*Config, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	cfg, err := config.Load(string(text))
	if err != nil {
		return nil, err
	}
	external, err := url.Parse(publicURL)
	if err != nil || external.Scheme == "" || external.Host == "" {
		return nil, fmt.Errorf("url: %q is not an absolute URL", publicURL)
	}
	tmpl, err := template.New()
	if err == nil {
		// Alertmanager's own come first, so that ours and the user's replace them.
		tmpl, err = template.FromGlobs(nil)
	}
	if err == nil {
		err = tmpl.Parse(strings.NewReader(defaultTemplates))
	}
	if err != nil {
		return nil, fmt.Errorf("default templates: %w", err)
	}
	for _, glob := range cfg.Templates {
		if !filepath.IsAbs(glob) {
			glob = filepath.Join(dir, glob)
		}
		if err := tmpl.FromGlob(glob); err != nil {
			return nil, fmt.Errorf("templates %s: %w", glob, err)
		}
	}
	tmpl.ExternalURL = external

	// Alerts come by incident, when most of them have fired: nothing is won by waiting once more.
	root := cfg.Route
	if root.GroupWait == nil {
		root.GroupWait = new(prom.Duration)
	}
	if root.GroupBy == nil && !root.GroupByAll {
		root.GroupBy = []prom.LabelName{IncidentLabel}
	}
	c := &Config{
		alertmanager: cfg, route: dispatch.NewRoute(root, nil), integrations: make(map[string][]am.Integration),
		times: timeinterval.NewIntervener(intervals(cfg)),
	}
	for _, r := range cfg.InhibitRules {
		c.inhibit = append(c.inhibit, inhibit.NewInhibitRule(r))
	}
	var errs []error
	for _, r := range cfg.Receivers {
		for _, e := range r.EmailConfigs {
			if e.Headers == nil {
				e.Headers = make(map[string]string)
			}
			if e.Headers["Message-Id"] == "" { // a mail that comes twice is then shown once
				e.Headers["Message-Id"] = `<{{ .CommonAnnotations.message_id }}@triage>`
			}
		}
		list, err := receiver.BuildReceiverIntegrations(r, tmpl, logger)
		if err != nil {
			errs = append(errs, fmt.Errorf("receiver %s: %w", r.Name, err))
		}
		c.integrations[r.Name] = list
	}
	for i, s := range sns {
		if _, ok := c.integrations[s.Receiver]; !ok {
			errs = append(errs, fmt.Errorf("sns[%d].receiver: there is no receiver %q", i, s.Receiver))
			continue
		}
		if u, err := url.Parse(s.URL); err != nil || u.Host == "" {
			errs = append(errs, fmt.Errorf("sns[%d].url: %q is not a URL", i, s.URL))
			continue
		}
		n := am.NewIntegration(&snsNotifier{SNS: s}, always{}, "sns_http", i, s.Receiver)
		c.integrations[s.Receiver] = append(c.integrations[s.Receiver], n)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return c, nil
}

// ParseFile is Parse of a file.
func ParseFile(name, publicURL string, sns []SNS, logger *slog.Logger) (*Config, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	c, err := Parse(text, filepath.Dir(name), publicURL, sns, logger)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

func intervals(cfg *config.Config) map[string][]timeinterval.TimeInterval {
	out := make(map[string][]timeinterval.TimeInterval)
	for _, t := range cfg.MuteTimeIntervals {
		out[t.Name] = t.TimeIntervals
	}
	for _, t := range cfg.TimeIntervals {
		out[t.Name] = t.TimeIntervals
	}
	return out
}

// Receivers are the names of those who can be told, in order, each with its integrations.
func (c *Config) Receivers() []Receiver {
	out := []Receiver{}
	if c == nil {
		return out
	}
	for _, r := range c.alertmanager.Receivers {
		names := []string{}
		for _, i := range c.integrations[r.Name] {
			names = append(names, i.String())
		}
		out = append(out, Receiver{r.Name, names})
	}
	slices.SortFunc(out, func(a, b Receiver) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Receiver is one who can be told, and by what: "email[0]", "slack[0]".
type Receiver struct {
	Name         string   `json:"name"`
	Integrations []string `json:"integrations"`
}

// integration finds one by its name, as Receiver lists it.
func (c *Config) integration(receiver, name string) (am.Integration, bool) {
	if c == nil {
		return am.Integration{}, false
	}
	for _, i := range c.integrations[receiver] {
		if i.String() == name {
			return i, true
		}
	}
	return am.Integration{}, false
}

// mutedBy says which time interval keeps a route from telling anyone now, "" if none does.
func (c *Config) mutedBy(o *dispatch.RouteOpts, at time.Time) string {
	if muted, names, err := c.times.Mutes(o.MuteTimeIntervals, at); err == nil && muted {
		return "muted in time interval " + names[0]
	}
	if len(o.ActiveTimeIntervals) == 0 {
		return ""
	}
	if active, _, err := c.times.Mutes(o.ActiveTimeIntervals, at); err == nil && !active {
		return "outside of time interval " + strings.Join(o.ActiveTimeIntervals, ", ")
	}
	return ""
}

// always is an integration that also tells what is over.
type always struct{}

func (always) SendResolved() bool { return true }
