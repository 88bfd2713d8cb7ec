package cli

import (
	"context"
	"encoding/json"
	"time"

	"github.com/spf13/cobra"

	"triage/client"
)

// patience is how long a shell waits for completions; a server that is slower completes nothing.
const patience = time.Second

// completer asks the server for words; without a server there are none.
func (o *options) completer(words func(ctx context.Context, c *client.Client) []cobra.Completion) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		ctx := cmd.Context()
		if ctx == nil {
			ctx = context.Background()
		}
		ctx, stop := context.WithTimeout(ctx, patience)
		defer stop()
		return words(ctx, client.New(o.server)), cobra.ShellCompDirectiveNoFileComp
	}
}

func (o *options) completeIncidents(cmd *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return o.completer(func(ctx context.Context, c *client.Client) (out []cobra.Completion) {
		list, _ := c.Incidents(ctx, client.IncidentsQuery{})
		for _, i := range list {
			out = append(out, cobra.CompletionWithDesc(i.ID, string(i.Status)+": "+clean(i.Title)))
		}
		return out
	})(cmd, args, word)
}

func (o *options) completeServices(cmd *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return o.completer(func(ctx context.Context, c *client.Client) (out []cobra.Completion) {
		m, _ := c.Services(ctx, time.Time{}, time.Time{})
		for _, s := range m.Services {
			out = append(out, s.Name)
		}
		return out
	})(cmd, args, word)
}

func (o *options) completeExceptions(cmd *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return o.completer(func(ctx context.Context, c *client.Client) (out []cobra.Completion) {
		page, _ := c.Exceptions(ctx, client.ExceptionsQuery{})
		for i := range page.Errors {
			g := &page.Errors[i]
			out = append(out, cobra.CompletionWithDesc(g.ID, cut(clean(exceptionTitle(g)), titleWidth)))
		}
		return out
	})(cmd, args, word)
}

func (o *options) completeRules(cmd *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return o.completer(func(ctx context.Context, c *client.Client) (out []cobra.Completion) {
		list, _ := c.Alarms(ctx, "")
		for _, r := range list.Rules {
			var named struct {
				Name string `json:"name"`
			}
			if json.Unmarshal(r, &named) == nil && named.Name != "" {
				out = append(out, named.Name)
			}
		}
		return out
	})(cmd, args, word)
}

// first completes the first argument only.
func first(f cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return f(cmd, args, word)
	}
}

// mustComplete is for what can only fail if a command and its flags do not fit each other.
func mustComplete(err error) {
	if err != nil {
		panic("BUG: " + err.Error())
	}
}
