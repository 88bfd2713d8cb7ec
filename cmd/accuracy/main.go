// Command accuracy feeds recorded incidents to the product and writes what it says of them, so that scorers can compare
// that with the truth. It reads files and writes predictions; every decision between the two is the product's own.
//
// Each set of recordings has a file here, a subcommand of its own, and a scorer in bench/accuracy.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// sets are the subcommands, one a set of recordings, in the order in which help lists them.
var sets = []func() *cobra.Command{petshop, nezha, nab, loghub}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		stop() // a second signal quits at once
	}()
	root := &cobra.Command{
		Use:           "accuracy",
		Short:         "Feed recorded incidents to triage and write what it says of them",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	for _, set := range sets {
		root.AddCommand(set())
	}
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "accuracy:", err)
		os.Exit(1)
	}
}
