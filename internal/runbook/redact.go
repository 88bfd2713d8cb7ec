package runbook

import (
	"cmp"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
)

// What an action says may hold what it knows: a program that prints its environment, a webhook that answers with what it was
// sent. Such secrets are taken out of outputs, errors and what is shown of the action, wherever these go.

const (
	// hidden stands in place of a secret.
	hidden = "<secret>"
	// leastSecret is how long a secret is at least: what is shorter is too likely to be a word.
	leastSecret = 6
	// mostSecret bounds the secrets that are found where the beginning of an output was cut off.
	mostSecret = 4 << 10
)

// secretName is of settings, headers, parameters and variables whose values are secrets.
var secretName = regexp.MustCompile(`(?i)pass(word|wd|phrase)?$|secret|token|credential|authorization|cookie|dsn$|private|api_?-?key|(access|routing|service|account|encryption|signing)_?-?key`)

// SecretName tells whether what goes by a name is a secret.
func SecretName(name string) bool { return secretName.MatchString(name) }

// secrets are those that an action knows, besides more.
func (a Action) secrets(more []string) []string {
	out := slices.Clone(more)
	for _, kv := range os.Environ() {
		if name, value, _ := strings.Cut(kv, "="); SecretName(name) {
			out = append(out, value)
		}
	}
	for i, arg := range a.Command {
		name, value, _ := strings.Cut(arg, "=")
		if value == "" && i+1 < len(a.Command) {
			value = a.Command[i+1] // --token abc
		}
		if strings.HasPrefix(name, "-") && SecretName(name) {
			out = append(out, value)
		}
		out = append(out, inURL(arg)...)
	}
	if a.Webhook != nil {
		for _, v := range a.Webhook.Headers {
			_, word, _ := strings.Cut(v, " ") // Bearer abc
			out = append(out, v, word)
		}
		out = append(out, inURL(a.Webhook.URL)...)
	}
	return out
}

// inURL are the password and the secret parameters of a URL, as they stand there and as they are read.
func inURL(text string) (out []string) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return nil
	}
	if password, ok := u.User.Password(); ok {
		out = append(out, password, url.QueryEscape(password), url.PathEscape(password))
	}
	for name, values := range u.Query() {
		for _, v := range values {
			if SecretName(name) || name == "key" || name == "sig" || name == "signature" {
				out = append(out, v, url.QueryEscape(v))
			}
		}
	}
	return out
}

// redact puts hidden in place of secrets.
func redact(text string, secrets []string) string {
	secrets = slices.DeleteFunc(slices.Clone(secrets), func(s string) bool { return len(strings.TrimSpace(s)) < leastSecret })
	// The longest first, so that of none that holds another a part is left.
	slices.SortFunc(secrets, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	for _, s := range secrets {
		text = strings.ReplaceAll(text, s, hidden)
	}
	return text
}

// shown is what an action does, without its secrets.
func (a Action) shown(more []string) string { return redact(a.String(), a.secrets(more)) }
