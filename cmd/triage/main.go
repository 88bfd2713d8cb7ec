// Command triage receives metrics, traces and logs, notices that something is wrong, finds where, and says why.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"triage/demo"
	"triage/internal/app"
	"triage/internal/cli"
	"triage/internal/store/events"
)

// version is set by the build.
var version = "dev"

func main() {
	// A user's SQL runs in a child of ours that does nothing else; it must not even parse flags.
	if len(os.Args) == 2 && os.Args[1] == "sql-child" {
		if err := events.SQLChildMain(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		stop() // a second signal quits at once
	}()
	root := cli.Root(version)
	root.AddCommand(app.Command(version), app.ReplayCommand(), demo.Command())
	err := root.ExecuteContext(ctx)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "triage:", err)
	var served app.UsageError
	var demoed demo.UsageError
	if errors.As(err, &served) || errors.As(err, &demoed) {
		os.Exit(2)
	}
	os.Exit(cli.ExitCode(err))
}
