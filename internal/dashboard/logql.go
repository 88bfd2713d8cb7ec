package dashboard

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var (
	logSelector = regexp.MustCompile("^\\s*\\{((?:[^{}\"`]|\"(?:[^\"\\\\]|\\\\.)*\"|`[^`]*`)*)\\}")
	logMatcher  = regexp.MustCompile("^\\s*,?\\s*([A-Za-z_][A-Za-z0-9_]*)\\s*(=~|!~|!=|=)\\s*(\"(?:[^\"\\\\]|\\\\.)*\"|`[^`]*`)")
	logFilter   = regexp.MustCompile("^\\s*(\\|=|!=|\\|~|!~)\\s*(\"(?:[^\"\\\\]|\\\\.)*\"|`[^`]*`)")
	logParser   = regexp.MustCompile(`^\s*\|\s*(json|logfmt|unpack)\b`)
)

// logLabels are Loki's usual labels whose fields are called otherwise here.
var logLabels = map[string]string{"app": "service", "service_name": "service", "service": "service", "level": "level", "detected_level": "level", "namespace": "k8s.namespace.name", "pod": "k8s.pod.name", "container": "k8s.container.name"}

// fromLogQL writes a log query of Loki in the language of searches: its selector and filters of lines
// (https://grafana.com/docs/loki/latest/query/log_queries/). Pipelines that change lines, and metrics of logs, have no
// counterpart.
func fromLogQL(text string) (string, error) {
	m := logSelector.FindStringSubmatch(text)
	if m == nil {
		return "", fmt.Errorf("it is no log query with a selector")
	}
	var terms []string
	rest := m[1]
	for strings.TrimSpace(rest) != "" {
		mm := logMatcher.FindStringSubmatch(rest)
		if mm == nil {
			return "", fmt.Errorf("its selector cannot be read at %s", shorten(rest))
		}
		value, err := strconv.Unquote(mm[3])
		if err != nil {
			return "", fmt.Errorf("%s is no text", mm[3])
		}
		field := mm[1]
		if known := logLabels[field]; known != "" {
			field = known
		}
		term := field + ":" + quoted(value)
		if strings.HasSuffix(mm[2], "~") && !reference.MatchString(value) {
			term = field + ":/^(?:" + strings.ReplaceAll(value, "/", `\/`) + ")$/"
		}
		terms = append(terms, negated(mm[2], term))
		rest = rest[len(mm[0]):]
	}
	rest = text[len(m[0]):]
	for strings.TrimSpace(rest) != "" {
		if p := logParser.FindString(rest); p != "" { // fields of lines are found without a parser
			rest = rest[len(p):]
			continue
		}
		f := logFilter.FindStringSubmatch(rest)
		if f == nil {
			return "", fmt.Errorf("its pipeline from %s on has no counterpart", shorten(rest))
		}
		value, err := strconv.Unquote(f[2])
		if err != nil {
			return "", fmt.Errorf("%s is no text", f[2])
		}
		term := quoted(value)
		if strings.HasSuffix(f[1], "~") {
			term = "/" + strings.ReplaceAll(value, "/", `\/`) + "/"
		}
		terms = append(terms, negated(f[1], term))
		rest = rest[len(f[0]):]
	}
	return strings.Join(terms, " "), nil
}

func negated(op, term string) string {
	if strings.HasPrefix(op, "!") {
		return "NOT " + term
	}
	return term
}

func quoted(s string) string {
	if reference.MatchString(s) && reference.ReplaceAllLiteralString(s, "") == "" {
		return s // a variable is quoted where it is filled in
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
