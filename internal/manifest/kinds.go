package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"triage/internal/alarm"
	"triage/internal/dashboard"
	"triage/internal/notify"
	"triage/internal/runbook"
	"triage/internal/slo"
)

// apiVersion is of our own kinds, openSLO of that format's.
const (
	apiVersion = "triage/v1"
	openSLO    = "openslo/v1"
)

// needless says of kinds that OpenSLO has besides what does without them.
var needless = map[string]string{
	"Service":                 "a service is what its telemetry calls it",
	"DataSource":              "triage measures what it has stored itself",
	"AlertNotificationTarget": "who is told is said by Routes, which match the labels slo and severity",
}

// kind is one kind of thing that can be declared. It is stored as a document of its owner's, which knows nothing of files.
type kind struct {
	name, apiVersion, document string
	// read decodes a document strictly and gives its name and what is to be stored; paths of what is wrong begin at the root.
	read func(decode func(any) error) (name string, body []byte, err error)
	// spec gives what a stored document says, for writing it into a file; nil is the whole document.
	spec func(body []byte) (any, error)
}

// kinds are in the order in which they are written.
var kinds = []*kind{
	{"Alarm", apiVersion, alarm.DocumentKind, readNamed(func(r *alarm.Rule) *string { return &r.Name }), specOfNamed},
	{"SLI", openSLO, slo.SLIKind, readWhole(func(i *slo.SLI) string { return i.Metadata.Name }), nil},
	{"AlertCondition", openSLO, slo.AlertConditionKind, readWhole(func(c *slo.AlertCondition) string { return c.Metadata.Name }), nil},
	{"AlertPolicy", openSLO, slo.AlertPolicyKind, readWhole(func(p *slo.AlertPolicy) string { return p.Metadata.Name }), nil},
	{"SLO", openSLO, slo.DocumentKind, readWhole(func(s *slo.SLO) string { return s.Metadata.Name }), nil},
	{"Silence", apiVersion, notify.SilenceKind, readSilence, specOfSilence},
	{"Routes", apiVersion, notify.RoutesKind, readRoutes, specOfRoutes},
	{"Dashboard", apiVersion, dashboard.DocumentKind, readNamed(func(d *dashboard.Dashboard) *string { return &d.Name }), specOfNamed},
	{"Runbook", apiVersion, runbook.DocumentKind, readNamed(func(r *runbook.Runbook) *string { return &r.Name }), specOfNamed},
}

func kindOf(version, name string) (*kind, error) {
	var names []string
	if why := needless[name]; why != "" && version == openSLO {
		return nil, fmt.Errorf("kind %s is not for here: %s; leave the document out", name, why)
	}
	for _, k := range kinds {
		if k.name == name {
			if k.apiVersion != version {
				return nil, fmt.Errorf("apiVersion %q: kind %s has apiVersion %s", version, name, k.apiVersion)
			}
			return k, nil
		}
		names = append(names, k.name)
	}
	return nil, fmt.Errorf("kind %q is none of %s", name, strings.Join(names, ", "))
}

// document is the form of our own kinds.
type document[T any] struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   struct {
		Name string `yaml:"name"`
	} `yaml:"metadata"`
	Spec T `yaml:"spec"`
}

// under puts what is wrong with a spec below it.
func under(prefix string, err error) error {
	var out []error
	for _, e := range flatten(err) {
		out = append(out, fmt.Errorf("%s%w", prefix, e))
	}
	return errors.Join(out...)
}

// named is what has its name in itself.
type named[T any] interface {
	WithDefaults() T
	Validate() error
}

// readNamed reads what has its name in itself; name is where.
func readNamed[T named[T]](name func(*T) *string) func(decode func(any) error) (string, []byte, error) {
	return func(decode func(any) error) (string, []byte, error) {
		var d document[T]
		if err := decode(&d); err != nil {
			return d.Metadata.Name, nil, err
		}
		x := d.Spec
		own := name(&x)
		if *own != "" && *own != d.Metadata.Name {
			return d.Metadata.Name, nil, fmt.Errorf("spec.name: %q is not metadata.name", *own)
		}
		if d.Metadata.Name == "" {
			return "", nil, errors.New("metadata.name: is missing")
		}
		*own = d.Metadata.Name
		x = x.WithDefaults()
		if err := x.Validate(); err != nil {
			return d.Metadata.Name, nil, under("spec.", err)
		}
		b, err := json.Marshal(x)
		return d.Metadata.Name, b, err
	}
}

// specOfNamed is of what has its name in itself.
func specOfNamed(body []byte) (any, error) {
	m, err := object(body)
	delete(m, "name")
	return m, err
}

// validated is what can say what is wrong with it.
type validated interface{ Validate() error }

// readWhole reads what is stored as the document that it is.
func readWhole[T validated](name func(*T) string) func(decode func(any) error) (string, []byte, error) {
	return func(decode func(any) error) (string, []byte, error) {
		var v T
		if err := decode(&v); err != nil {
			return name(&v), nil, err
		}
		if err := v.Validate(); err != nil {
			return name(&v), nil, err
		}
		b, err := json.Marshal(v)
		return name(&v), b, err
	}
}

// silence is what a silence says in a file; its name is its ID. Without starts it holds from when it is applied.
type silence struct {
	Matchers []string  `yaml:"matchers" json:"matchers"`
	Starts   time.Time `yaml:"starts,omitempty" json:"starts,omitzero"`
	Ends     time.Time `yaml:"ends" json:"ends"`
	By       string    `yaml:"by,omitempty" json:"by,omitempty"`
	Comment  string    `yaml:"comment,omitempty" json:"comment,omitempty"`
}

func readSilence(decode func(any) error) (string, []byte, error) {
	var d document[silence]
	if err := decode(&d); err != nil {
		return d.Metadata.Name, nil, err
	}
	s := notify.Silence{ID: d.Metadata.Name, Matchers: d.Spec.Matchers, Starts: d.Spec.Starts.UTC(), Ends: d.Spec.Ends.UTC(), By: d.Spec.By, Comment: d.Spec.Comment}
	var errs []error
	if s.ID == "" {
		errs = append(errs, errors.New("metadata.name: is missing"))
	}
	errs = append(errs, under("spec.", s.Validate()))
	if err := errors.Join(errs...); err != nil {
		return s.ID, nil, err
	}
	b, err := json.Marshal(s)
	return s.ID, b, err
}

func specOfSilence(body []byte) (any, error) {
	var s silence
	if err := json.Unmarshal(body, &s); err != nil {
		return nil, err
	}
	b, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	return object(b)
}

func readRoutes(decode func(any) error) (string, []byte, error) {
	var d document[map[string]any]
	if err := decode(&d); err != nil {
		return d.Metadata.Name, nil, err
	}
	if d.Metadata.Name != notify.RoutesName {
		return d.Metadata.Name, nil, fmt.Errorf("metadata.name: %q is not %q: there is one tree of routes", d.Metadata.Name, notify.RoutesName)
	}
	if len(d.Spec) == 0 {
		return notify.RoutesName, nil, errors.New("spec: is missing: an Alertmanager configuration")
	}
	text, err := yaml.Marshal(d.Spec) // with keys in order, whatever order they came in
	if err != nil {
		return notify.RoutesName, nil, fmt.Errorf("spec: %w", err)
	}
	b, err := json.Marshal(notify.Routes{Alertmanager: string(text)})
	return notify.RoutesName, b, err
}

func specOfRoutes(body []byte) (any, error) {
	var r notify.Routes
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, err
	}
	var spec map[string]any
	return spec, yaml.Unmarshal([]byte(r.Alertmanager), &spec)
}

// object reads JSON so that numbers are written as they were: 1000000, not 1e+06.
func object(b []byte) (map[string]any, error) {
	var m map[string]any
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	if err := dec.Decode(&m); err != nil {
		return nil, err
	}
	return numbers(m).(map[string]any), nil
}

func numbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = numbers(v[k])
		}
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64() // what JSON wrote is a number
		return f
	}
	return v
}

// write gives a stored thing as a document in YAML.
func (k *kind) write(name string, body []byte) (string, error) {
	var doc any
	if k.spec == nil {
		m, err := object(body)
		if err != nil {
			return "", fmt.Errorf("%s %s: %w", k.name, name, err)
		}
		doc = m
	} else {
		spec, err := k.spec(body)
		if err != nil {
			return "", fmt.Errorf("%s %s: %w", k.name, name, err)
		}
		doc = map[string]any{"apiVersion": k.apiVersion, "kind": k.name, "metadata": map[string]any{"name": name}, "spec": spec}
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(doc); err != nil {
		return "", fmt.Errorf("%s %s: %w", k.name, name, err)
	}
	return b.String(), nil
}
