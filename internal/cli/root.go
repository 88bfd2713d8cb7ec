// Package cli is the part of the triage command that talks to a running server: it asks over the HTTP API, through
// package client, and prints for people or, with --json, for programs. It decides nothing that the server decides, and
// it keeps nothing between runs. Everything runs in the caller's goroutine except what load starts and waits for.
//
// Text is for people and may change; the JSON is the API's own. Colour is never the only signal, and what came from
// telemetry is printed without its control characters, because a log line must not drive a terminal.
package cli

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"triage/client"
)

// Root makes the triage command with the subcommands that need a server. The caller adds those that are one.
func Root(version string) *cobra.Command { return newRoot(version, &options{}) }

func newRoot(version string, o *options) *cobra.Command {
	root := &cobra.Command{
		Use:   "triage",
		Short: "What is wrong, where, and why: metrics, traces and logs diagnosed",
		Long: `triage receives metrics, traces and logs, notices that something is wrong, finds where, and says why.

Start a server with "triage serve", or a shop with faults to find with "triage demo"; the other commands ask a
running server (--server).`,
		SilenceUsage:  true, // an answer of the server's is no reason to print the manual
		SilenceErrors: true, // main prints them, once
		Version:       version,
	}
	flags := root.PersistentFlags()
	flags.StringVar(&o.server, "server", fallback(os.Getenv("TRIAGE_SERVER"), client.DefaultURL), "the server to ask (TRIAGE_SERVER)")
	flags.BoolVar(&o.json, "json", false, "print JSON: one document, or one a line for streams")
	flags.Var(&o.lang, "lang", `language of verdicts, "en" or "ko"`)
	flags.BoolVar(&o.noColor, "no-color", os.Getenv("NO_COLOR") != "", "print without colours (NO_COLOR)")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return badUsage(cmd, err) })
	root.AddCommand(
		diagnoseCommand(o), incidentsCommand(o), alarmsCommand(o), sloCommand(o), dashboardsCommand(o), runbooksCommand(o), notifyCommand(o), silencesCommand(o), changesCommand(o), journalCommand(o),
		applyCommand(o), diffCommand(o), exportCommand(o), revisionsCommand(o),
		queryCommand(o), traceCommand(o), logsCommand(o), exceptionsCommand(o), servicesCommand(o), statusCommand(o),
		recordCommand(o), loadCommand(o), versionCommand(o, version), exitCodesTopic(),
	)
	group(root)
	mustComplete(root.RegisterFlagCompletionFunc("lang", cobra.FixedCompletions([]string{"en", "ko"}, cobra.ShellCompDirectiveNoFileComp)))
	return root
}

// group makes a command that holds others print its help, and name what it does not have.
func group(cmd *cobra.Command, others ...*cobra.Command) *cobra.Command {
	cmd.AddCommand(others...)
	cmd.SuggestionsMinimumDistance = 2
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		hint := ""
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			hint = fmt.Sprintf(" (did you mean %s?)", strings.Join(near, " or "))
		}
		return badUsage(cmd, fmt.Errorf("there is no command %q%s", cmd.CommandPath()+" "+args[0], hint))
	}
	return cmd
}

// listGroup is a group that without a command of its own runs list, with list's flags.
func listGroup(cmd, list *cobra.Command, others ...*cobra.Command) *cobra.Command {
	group(cmd, append(others, list)...)
	cmd.Flags().AddFlagSet(list.Flags())
	cmd.RunE = list.RunE
	return cmd
}

// args makes what one of cobra's checks of arguments refuses a mistake in usage, and says what is wanted.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if check(cmd, args) != nil {
			return badUsage(cmd, fmt.Errorf("%d arguments do not fit: write %s", len(args), cmd.UseLine()))
		}
		return nil
	}
}

func versionCommand(o *options, version string) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this binary",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			e := o.env(cmd)
			if e.json {
				return e.printJSON(map[string]string{"version": version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH})
			}
			return e.printf("triage %s (%s, %s/%s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		},
	}
}

func fallback(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
