package slo

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// The kinds of documents that SLOs refer to in the state store, as OpenSLO names their kinds in lower case.
const (
	SLIKind            = "sli"
	AlertPolicyKind    = "alertpolicy"
	AlertConditionKind = "alertcondition"
)

// SLI is an indicator that SLOs refer to by indicatorRef.
type SLI struct {
	APIVersion string        `json:"apiVersion" yaml:"apiVersion"`
	Kind       string        `json:"kind" yaml:"kind"`
	Metadata   Metadata      `json:"metadata" yaml:"metadata"`
	Spec       IndicatorSpec `json:"spec" yaml:"spec"`
}

// Validate reports everything that is wrong, each by its path.
func (i SLI) Validate() error {
	return errors.Join(append(identityProblems(i.APIVersion, i.Kind, "SLI", i.Metadata.Name), i.Spec.problems("spec.")...)...)
}

// Validate reports everything that is wrong with a policy that stands by itself.
func (p AlertPolicy) Validate() error {
	errs := append(identityProblems(p.APIVersion, p.Kind, "AlertPolicy", p.Metadata.Name), p.problems("")...)
	if p.Ref != "" {
		errs = append(errs, errors.New("alertPolicyRef: is for SLOs"))
	}
	return errors.Join(errs...)
}

// Validate reports everything that is wrong with a condition that stands by itself.
func (c AlertCondition) Validate() error {
	errs := append(identityProblems(c.APIVersion, c.Kind, "AlertCondition", c.Metadata.Name), c.problems("")...)
	if c.Ref != "" {
		errs = append(errs, errors.New("conditionRef: is for alert policies"))
	}
	return errors.Join(errs...)
}

// UnmarshalYAML reads a policy, or its name alone. The old form of the interface keeps decoding strict.
func (p *AlertPolicy) UnmarshalYAML(unmarshal func(any) error) error {
	var name string
	if unmarshal(&name) == nil {
		*p = AlertPolicy{Ref: name}
		return nil
	}
	type plain AlertPolicy
	return unmarshal((*plain)(p))
}

// UnmarshalJSON reads a policy, or its name alone.
func (p *AlertPolicy) UnmarshalJSON(b []byte) error {
	var name string
	if json.Unmarshal(b, &name) == nil {
		*p = AlertPolicy{Ref: name}
		return nil
	}
	type plain AlertPolicy
	return strict(b, (*plain)(p))
}

// library is what SLOs may refer to, by name.
type library struct {
	indicators map[string]SLI
	policies   map[string]AlertPolicy
	conditions map[string]AlertCondition
}

func newLibrary(bodies func(kind string) map[string][]byte) (library, error) {
	var errs []error
	l := library{map[string]SLI{}, map[string]AlertPolicy{}, map[string]AlertCondition{}}
	read := func(kind string, into func(name string, b []byte) error) {
		for name, b := range bodies(kind) {
			if err := into(name, b); err != nil {
				errs = append(errs, fmt.Errorf("%s %s: %w", kind, name, err))
			}
		}
	}
	read(SLIKind, func(name string, b []byte) error { return readInto(l.indicators, name, b) })
	read(AlertPolicyKind, func(name string, b []byte) error { return readInto(l.policies, name, b) })
	read(AlertConditionKind, func(name string, b []byte) error { return readInto(l.conditions, name, b) })
	return l, errors.Join(errs...)
}

func readInto[T any](m map[string]T, name string, b []byte) error {
	var v T
	if err := strict(b, &v); err != nil {
		return err
	}
	m[name] = v
	return nil
}

// resolve is an SLO with what it refers to in it, valid as a whole; what is wrong is told by its path.
func (l library) resolve(s SLO) (SLO, error) {
	var errs []error
	missing := func(path, kind, name string, names []string) {
		errs = append(errs, fmt.Errorf("%s: there is no %s %q, neither in what is applied nor stored before%s", path, kind, name, among(names)))
	}
	if ref := s.Spec.IndicatorRef; ref != "" {
		i, ok := l.indicators[ref]
		if !ok {
			missing("spec.indicatorRef", "SLI", ref, slices.Sorted(maps.Keys(l.indicators)))
		}
		s.Spec.Indicator = &Indicator{Metadata: i.Metadata, Spec: i.Spec}
	}
	policies := slices.Clone(s.Spec.AlertPolicies)
	for i, p := range policies {
		at := fmt.Sprintf("spec.alertPolicies[%d]", i)
		if p.Ref != "" {
			found, ok := l.policies[p.Ref]
			if !ok {
				missing(at, "AlertPolicy", p.Ref, slices.Sorted(maps.Keys(l.policies)))
				continue
			}
			p = found
		}
		p.Spec.Conditions = slices.Clone(p.Spec.Conditions)
		for j, c := range p.Spec.Conditions {
			if c.Ref == "" {
				continue
			}
			found, ok := l.conditions[c.Ref]
			if !ok {
				missing(fmt.Sprintf("%s.spec.conditions[%d].conditionRef", at, j), "AlertCondition", c.Ref, slices.Sorted(maps.Keys(l.conditions)))
				continue
			}
			p.Spec.Conditions[j] = found
		}
		policies[i] = p
	}
	if err := errors.Join(errs...); err != nil {
		return s, err
	}
	s.Spec.AlertPolicies, s.Spec.IndicatorRef = policies, ""
	return s, s.Validate()
}

// among says which there are.
func among(names []string) string {
	const most = 10
	if len(names) == 0 || len(names) > most {
		return ""
	}
	return fmt.Sprintf("; there are %q", names)
}

// Together says which SLOs, by name, could not be measured if all documents there are were these, by kind and name: those that
// refer to what is not there, or to what does not fit them.
func Together(bodies func(kind string) map[string][]byte) (map[string]error, error) {
	l, err := newLibrary(bodies)
	if err != nil {
		return nil, err
	}
	wrong := map[string]error{}
	for name, b := range bodies(DocumentKind) {
		s, err := Parse(b)
		if err == nil {
			_, err = l.resolve(s)
		}
		if err != nil {
			wrong[name] = err
		}
	}
	return wrong, nil
}
