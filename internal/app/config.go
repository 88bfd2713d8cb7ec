package app

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"triage/internal/alarm"
	"triage/internal/blackbox"
	"triage/internal/ingest/scrape"
	"triage/internal/notify"
	"triage/internal/promrules"
)

// Config is everything a user can set. Each scalar has a path in the file (listen.http), a flag (--listen-http) and an
// environment variable (TRIAGE_LISTEN_HTTP); flags win over the environment, which wins over the file.
type Config struct {
	// Data is the directory that holds everything stored.
	Data   string       `yaml:"data"`
	Log    LogConfig    `yaml:"log"`
	Listen ListenConfig `yaml:"listen"`
	// AllowedHosts are names by which browsers and programs may address this server besides loopback's.
	AllowedHosts []string `yaml:"allowed_hosts"`
	// AllowedOrigins are web origins from which browsers may send OTLP ("https://shop.example").
	AllowedOrigins []string          `yaml:"allowed_origins"`
	Ingest         IngestConfig      `yaml:"ingest"`
	Retention      RetentionConfig   `yaml:"retention"`
	HostMetrics    HostMetricsConfig `yaml:"host_metrics"`
	Alarms         AlarmsConfig      `yaml:"alarms"`
	Notify         NotifyConfig      `yaml:"notify"`
	// Checks look at services from outside.
	Checks        []blackbox.Check `yaml:"checks"`
	ScrapeConfigs yaml.Node        `yaml:"scrape_configs"`
	// RuleFiles are patterns of Prometheus rule files, which are evaluated every EvaluationInterval unless they say otherwise.
	RuleFiles          []string `yaml:"rule_files"`
	EvaluationInterval Duration `yaml:"evaluation_interval"`
}

// LogConfig says how triage logs, on standard error.
type LogConfig struct {
	Level  string `yaml:"level"`  // debug, info, warn, error
	Format string `yaml:"format"` // text, json
}

// ListenConfig has an address for each port; "off" closes it.
type ListenConfig struct {
	HTTP     string `yaml:"http"`
	OTLPGRPC string `yaml:"otlp_grpc"`
	OTLPHTTP string `yaml:"otlp_http"`
	// Remote allows addresses beyond loopback, where anyone who reaches them can read and write everything.
	Remote bool `yaml:"allow_unauthenticated_remote"`
}

// IngestConfig bounds what is accepted.
type IngestConfig struct {
	MaxBody     Size `yaml:"max_body"`      // a request, decompressed
	MaxInFlight Size `yaml:"max_in_flight"` // all requests together
}

// RetentionConfig says what is kept how long. Ages count back from the newest data.
type RetentionConfig struct {
	Events  Retention `yaml:"events"`
	Metrics Retention `yaml:"metrics"`
}

// Retention bounds a store; what exceeds either bound is dropped, oldest first.
type Retention struct {
	Age  Duration `yaml:"age"`
	Size Size     `yaml:"size"`
}

// HostMetricsConfig says whether and how often this machine is measured.
type HostMetricsConfig struct {
	Enabled  bool     `yaml:"enabled"`
	Interval Duration `yaml:"interval"`
}

// AlarmsConfig holds the alarm rules.
type AlarmsConfig struct {
	// Automatic watches rate, errors and duration of every service and operation without any rule written.
	Automatic bool         `yaml:"automatic"`
	Rules     []alarm.Rule `yaml:"rules"`
}

// NotifyConfig says who is told of incidents.
type NotifyConfig struct {
	// URL is how users reach this server; links in messages begin with it. It is that of listen.http where it is empty.
	URL string `yaml:"url"`
	// File is an Alertmanager configuration, relative to the working directory; Alertmanager is one that stands right here.
	File         string    `yaml:"file"`
	Alertmanager yaml.Node `yaml:"alertmanager"`
	// SNS are HTTP endpoints that get what Amazon SNS would send of a CloudWatch alarm.
	SNS []notify.SNS `yaml:"sns"`
}

// Default is the configuration without a file.
func Default() Config {
	return Config{
		Data:   "triage-data",
		Log:    LogConfig{"info", "text"},
		Listen: ListenConfig{HTTP: "127.0.0.1:4320", OTLPGRPC: "127.0.0.1:4317", OTLPHTTP: "127.0.0.1:4318"},
		Ingest: IngestConfig{MaxBody: 20 << 20, MaxInFlight: 256 << 20},
		Retention: RetentionConfig{
			Events:  Retention{Duration(7 * 24 * time.Hour), 20 << 30},
			Metrics: Retention{Duration(30 * 24 * time.Hour), 10 << 30},
		},
		HostMetrics: HostMetricsConfig{true, Duration(10 * time.Second)},
		Alarms:      AlarmsConfig{Automatic: true},

		EvaluationInterval: Duration(time.Minute),
	}
}

// setting is one scalar of the configuration.
type setting struct {
	path, help string
	value      any // a pointer to string, bool, Duration or Size
}

// settings lists what flags and environment variables can set.
func (c *Config) settings() []setting {
	return []setting{
		{"data", "directory that holds everything stored", &c.Data},
		{"log.level", "debug, info, warn or error", &c.Log.Level},
		{"log.format", "text or json", &c.Log.Format},
		{"listen.http", "address of the web page and the API, or off", &c.Listen.HTTP},
		{"listen.otlp_grpc", "address of OTLP over gRPC, or off", &c.Listen.OTLPGRPC},
		{"listen.otlp_http", "address of OTLP over HTTP, or off", &c.Listen.OTLPHTTP},
		{"listen.allow_unauthenticated_remote", "listen beyond loopback although nobody is asked who they are", &c.Listen.Remote},
		{"ingest.max_body", "largest request, decompressed", &c.Ingest.MaxBody},
		{"ingest.max_in_flight", "largest sum of requests being worked on", &c.Ingest.MaxInFlight},
		{"retention.events.age", "how long spans and logs are kept", &c.Retention.Events.Age},
		{"retention.events.size", "how much disk spans and logs may take", &c.Retention.Events.Size},
		{"retention.metrics.age", "how long metrics are kept", &c.Retention.Metrics.Age},
		{"retention.metrics.size", "how much disk metrics may take", &c.Retention.Metrics.Size},
		{"host_metrics.enabled", "measure this machine and its processes", &c.HostMetrics.Enabled},
		{"host_metrics.interval", "how often this machine is measured", &c.HostMetrics.Interval},
		{"notify.url", "how users reach this server, for links in messages", &c.Notify.URL},
		{"notify.file", "Alertmanager configuration that says who is told of incidents", &c.Notify.File},
		{"evaluation_interval", "how often Prometheus rule files are evaluated", &c.EvaluationInterval},
		{"alarms.automatic", "watch every service and operation without any rule written", &c.Alarms.Automatic},
	}
}

func (s setting) flag() string { return strings.NewReplacer(".", "-", "_", "-").Replace(s.path) }
func (s setting) env() string {
	return "TRIAGE_" + strings.ToUpper(strings.ReplaceAll(s.path, ".", "_"))
}

func (s setting) set(text string) error {
	switch p := s.value.(type) {
	case *string:
		*p = text
	case *bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		*p = b
	case interface{ Set(string) error }:
		return p.Set(text)
	default:
		panic("BUG: setting " + s.path + " has no type that can be set")
	}
	return nil
}

// AddFlags defines --config and a flag for each setting.
func AddFlags(fs *pflag.FlagSet) {
	fs.String("config", "", "configuration file (TRIAGE_CONFIG)")
	defaults := Default()
	for _, s := range defaults.settings() {
		help := s.help + " (" + s.env() + ")"
		switch p := s.value.(type) {
		case *string:
			fs.String(s.flag(), *p, help)
		case *bool:
			fs.Bool(s.flag(), *p, help)
		case pflag.Value:
			fs.Var(p, s.flag(), help)
		}
	}
}

// Load makes the configuration from defaults, the file, the environment and the flags that were given. The error joins
// every problem found, each with the place where the user wrote it.
func Load(fs *pflag.FlagSet, env func(string) (string, bool)) (Config, error) {
	c := Default()
	var errs []error
	file, _ := fs.GetString("config")
	if file == "" {
		file, _ = env("TRIAGE_CONFIG")
	}
	if file != "" {
		errs = append(errs, c.readFile(file)...)
	}
	for _, s := range c.settings() {
		if v, ok := env(s.env()); ok {
			if err := s.set(v); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", s.env(), err))
			}
		}
		if f := fs.Lookup(s.flag()); f != nil && f.Changed {
			if err := s.set(f.Value.String()); err != nil {
				errs = append(errs, fmt.Errorf("--%s: %w", s.flag(), err))
			}
		}
	}
	errs = append(errs, c.validate()...)
	return c, errors.Join(errs...)
}

func (c *Config) readFile(name string) []error {
	text, err := os.ReadFile(name)
	if err != nil {
		return []error{fmt.Errorf("read configuration: %w", err)}
	}
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return []error{fmt.Errorf("%s: %w", filepath.Base(name), err)}
	}
	at := placesOf(&root)
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	err = d.Decode(c)
	var types *yaml.TypeError
	switch {
	case err == nil || len(root.Content) == 0:
		return nil
	case !errors.As(err, &types):
		return []error{fmt.Errorf("%s: %w", filepath.Base(name), err)}
	}
	var errs []error
	for _, e := range types.Errors {
		line, what, ok := lineOf(e)
		if !ok {
			errs = append(errs, errors.New(e))
			continue
		}
		path, problem := at.of(line, what)
		errs = append(errs, fmt.Errorf("%s: %s (line %d)", path, problem, line))
	}
	return errs
}

// place is a key of a YAML document, or an element of a list, with the value that stands there if it is a scalar.
type place struct{ path, key, value string }

// places are by line, in the order they stand in.
type places map[int][]place

// placesOf lists every place of a YAML document.
func placesOf(n *yaml.Node) places {
	ps := places{}
	ps.add(n, "")
	return ps
}

func (ps places) add(n *yaml.Node, at string) {
	switch n.Kind {
	case yaml.DocumentNode:
		for _, c := range n.Content {
			ps.add(c, at)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			k, v := n.Content[i], n.Content[i+1]
			path := strings.TrimPrefix(at+"."+k.Value, ".")
			ps[k.Line] = append(ps[k.Line], place{path, k.Value, v.Value})
			if v.Line != k.Line && v.Kind == yaml.ScalarNode {
				ps[v.Line] = append(ps[v.Line], place{path, "", v.Value})
			}
			ps.add(v, path)
		}
	case yaml.SequenceNode:
		for i, c := range n.Content {
			path := fmt.Sprintf("%s[%d]", at, i)
			ps[c.Line] = append(ps[c.Line], place{path, "", c.Value})
			ps.add(c, path)
		}
	}
}

var unknownField = regexp.MustCompile(`^field (.+) not found in type `)

// of turns the YAML decoder's "field x not found in type T" and what it says of bad values, of which it knows the line
// alone, into the path that the user typed and what is wrong there.
func (ps places) of(line int, what string) (path, problem string) {
	if m := unknownField.FindStringSubmatch(what); m != nil {
		for _, p := range ps[line] {
			if p.key == m[1] {
				return p.path, "unknown key"
			}
		}
		return m[1], "unknown key"
	}
	for _, p := range ps[line] {
		if p.value != "" && (strings.Contains(what, strconv.Quote(p.value)) || strings.Contains(what, "`"+p.value+"`")) {
			return p.path, what
		}
	}
	if list := ps[line]; len(list) > 0 {
		return list[0].path, what
	}
	return "", what
}

// lineOf takes "line 3: what" apart.
func lineOf(message string) (line int, what string, ok bool) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(message), "line ")
	number, what, found := strings.Cut(rest, ": ")
	line, err := strconv.Atoi(number)
	return line, what, ok && found && err == nil
}

// validate finds every value that cannot work.
func (c *Config) validate() (errs []error) {
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Data == "" {
		add("data: a directory is needed")
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		add("log.level: %q is none of debug, info, warn, error", c.Log.Level)
	}
	if !slices.Contains([]string{"text", "json"}, c.Log.Format) {
		add("log.format: %q is neither text nor json", c.Log.Format)
	}
	for _, l := range c.Listen.ports() {
		if l.addr == off {
			continue
		}
		host, _, err := net.SplitHostPort(l.addr)
		if err != nil {
			add("listen.%s: %q is not host:port: %w", l.name, l.addr, err)
			continue
		}
		ip := net.ParseIP(host)
		if loopback := host == "localhost" || ip != nil && ip.IsLoopback(); !loopback && !c.Listen.Remote {
			add("listen.%s: %s is beyond loopback, and nobody would be asked who they are: put a proxy that asks in front, or"+
				" set listen.allow_unauthenticated_remote", l.name, l.addr)
		}
	}
	if c.Ingest.MaxBody < 1<<10 {
		add("ingest.max_body: %s is less than 1KiB", c.Ingest.MaxBody)
	}
	if c.Ingest.MaxInFlight < c.Ingest.MaxBody {
		add("ingest.max_in_flight: %s is less than ingest.max_body (%s)", c.Ingest.MaxInFlight, c.Ingest.MaxBody)
	}
	for name, r := range map[string]Retention{"events": c.Retention.Events, "metrics": c.Retention.Metrics} {
		if r.Age < Duration(time.Minute) {
			add("retention.%s.age: %s is less than 1m", name, r.Age)
		}
		if r.Size < 10<<20 {
			add("retention.%s.size: %s is less than 10MiB", name, r.Size)
		}
	}
	if c.HostMetrics.Enabled && c.HostMetrics.Interval < Duration(time.Second) {
		add("host_metrics.interval: %s is less than 1s", c.HostMetrics.Interval)
	}
	if err := alarm.ValidateRules("alarms.rules", c.Alarms.Rules); err != nil {
		errs = append(errs, err)
	}
	if c.EvaluationInterval < Duration(time.Second) {
		add("evaluation_interval: %s is less than 1s", c.EvaluationInterval)
	}
	_, wrong := promrules.Files(c.RuleFiles)
	for _, err := range wrong {
		add("rule_files: %w", err)
	}
	if _, err := c.notifier(nil); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, blackbox.Validate("checks", c.Checks)...)
	errs = append(errs, c.scrapeProblems()...)
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errs
}

// publicURL is how users reach this server, without a slash at its end.
func (c *Config) publicURL() string {
	if c.Notify.URL != "" {
		return strings.TrimRight(c.Notify.URL, "/")
	}
	return "http://" + c.Listen.HTTP
}

// notifier reads who is told of incidents, nil if nobody is.
func (c *Config) notifier(log *slog.Logger) (*notify.Config, error) {
	n := c.Notify
	inline := n.Alertmanager.Kind != 0
	switch {
	case inline && n.File != "":
		return nil, errors.New("notify.file: is one configuration too many beside notify.alertmanager")
	case n.File != "":
		parsed, err := notify.ParseFile(n.File, c.publicURL(), n.SNS, log)
		if err != nil {
			return nil, fmt.Errorf("notify.file: %w", err)
		}
		return parsed, nil
	case inline:
		text, err := yaml.Marshal(&n.Alertmanager)
		if err != nil {
			return nil, fmt.Errorf("notify.alertmanager: %w", err)
		}
		parsed, err := notify.Parse(text, ".", c.publicURL(), n.SNS, log)
		if err != nil {
			return nil, fmt.Errorf("notify.alertmanager: %w", err)
		}
		return parsed, nil
	case len(n.SNS) > 0:
		return nil, errors.New("notify.sns: needs notify.alertmanager or notify.file, which say who receives what")
	}
	return nil, nil
}

// off closes a port.
const off = "off"

type port struct{ name, addr string }

func (l ListenConfig) ports() []port {
	return []port{{"http", l.HTTP}, {"otlp_grpc", l.OTLPGRPC}, {"otlp_http", l.OTLPHTTP}}
}

// scrapeYAML is the scrape_configs section as a document of its own.
func (c *Config) scrapeYAML() ([]byte, error) {
	if c.ScrapeConfigs.Kind == 0 {
		return nil, nil
	}
	return yaml.Marshal(map[string]*yaml.Node{"scrape_configs": &c.ScrapeConfigs})
}

// scrapeProblems finds what is wrong with scrape_configs, each with its path.
func (c *Config) scrapeProblems() (errs []error) {
	text, err := c.scrapeYAML()
	if err == nil {
		_, err = scrape.Parse(text, "")
	}
	if err == nil {
		return nil
	}
	var root yaml.Node
	_ = yaml.Unmarshal(text, &root) // what is wrong with it stands in err already
	at := placesOf(&root)
	told := map[int]bool{}
	for message := range strings.Lines(strings.TrimPrefix(err.Error(), "scrape configuration: ")) {
		message = strings.TrimSpace(message)
		line, what, ok := lineOf(message)
		switch {
		case ok && told[line], strings.HasSuffix(message, "unmarshal errors:"):
		case ok:
			// The line is one of the text made of this section, not of the user's file; only the path means something to them.
			path, problem := at.of(line, what)
			errs = append(errs, fmt.Errorf("%s: %s", path, problem))
			told[line] = true
		default:
			errs = append(errs, fmt.Errorf("scrape_configs: %s", message))
		}
	}
	return errs
}
