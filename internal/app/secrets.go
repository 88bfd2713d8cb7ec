package app

import (
	"context"
	"encoding/json"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"

	"triage/internal/model"
	"triage/internal/notify"
	"triage/internal/runbook"
)

// learnSecrets makes what a runbook's output must not show be the secrets of a configuration, of the routes that were applied,
// and the token.
func (a *app) learnSecrets(ctx context.Context, c Config) {
	var out []string
	if token, err := a.token(); err == nil {
		out = append(out, token)
	}
	if text, err := c.scrapeYAML(); err == nil {
		out = append(out, secretsIn(text)...)
	}
	if text, err := yaml.Marshal(&c.Notify.Alertmanager); err == nil {
		out = append(out, secretsIn(text)...)
	}
	if file := c.Notify.File; file != "" {
		text, _ := os.ReadFile(file) // what cannot be read tells nobody
		out = append(out, secretsIn(text)...)
	}
	docs, _ := a.state.Documents(ctx, model.DefaultTenant, notify.RoutesKind) // likewise
	for _, d := range docs {
		var r notify.Routes
		if json.Unmarshal(d.Body, &r) == nil {
			out = append(out, secretsIn([]byte(r.Alertmanager))...)
		}
	}
	a.secrets.Store(&out)
}

// secretKeys are keys of receivers whose values are secrets, and are not called so.
var secretKeys = map[string]bool{"api_url": true, "webhook_url": true, "url": true}

// secretsIn are the values of secrets in YAML, by their keys.
func secretsIn(text []byte) (out []string) {
	var root yaml.Node
	if yaml.Unmarshal(text, &root) != nil {
		return nil
	}
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		for i, c := range n.Content {
			if n.Kind == yaml.MappingNode && i%2 == 1 && c.Kind == yaml.ScalarNode {
				if key := n.Content[i-1].Value; !strings.HasSuffix(key, "_file") && (runbook.SecretName(key) || secretKeys[key]) {
					out = append(out, c.Value)
				}
			}
			walk(c)
		}
	}
	walk(&root)
	return out
}
