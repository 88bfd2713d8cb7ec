package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"triage/client"
)

// The exit codes, as exitCodesTopic explains them.
const (
	exitOK = iota
	exitFailure
	exitUsage
	exitUnreachable
	exitNotFound
	exitAlarm
)

func exitCodesTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "exit-codes",
		Short: "What the exit codes mean",
		Long: `Every command ends with one of these codes:

  0  it worked
  1  it failed, or the server answered with an error
  2  the command line or a file it names is wrong
  3  the server cannot be reached
  4  what was asked for does not exist
  5  --check found an open incident or an alarm in ALARM

diff ends with 0 if nothing differs, with 1 if something does, and with 2 on any mistake or failure.`,
	}
}

// usageError is a mistake of whoever typed the command.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// badUsage marks err as one and says where to read on.
func badUsage(cmd *cobra.Command, err error) error {
	return &usageError{fmt.Errorf("%w\nSee \"%s --help\"", err, cmd.CommandPath())}
}

// unreachableError says that nobody listens where a server should.
type unreachableError struct {
	msg string
	err error
}

func (e *unreachableError) Error() string { return e.msg }
func (e *unreachableError) Unwrap() error { return e.err }

// checkError is what --check found.
type checkError string

func (e checkError) Error() string { return string(e) }

// explain turns an error of the client's into one that says what to do next.
func (e *env) explain(err error) error {
	var transport *url.Error
	switch {
	case err == nil || errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &transport) && transport.Op == "parse":
		return &usageError{fmt.Errorf("--server %s is no URL: %w", e.client.URL(), transport.Err)}
	case errors.As(err, &transport):
		return &unreachableError{fmt.Sprintf("no triage at %s: start one with \"triage serve\", or name it with --server (%s)",
			e.client.URL(), rootCause(transport.Err)), err}
	}
	return err
}

// rootCause is the last part of a transport error, which is the part that says something.
func rootCause(err error) string {
	text := err.Error()
	if i := strings.LastIndex(text, ": "); i >= 0 {
		return text[i+2:]
	}
	return text
}

// ExitCode is the code with which a program ends after err, as "triage help exit-codes" explains.
func ExitCode(err error) int {
	var usage *usageError
	var unreachable *unreachableError
	var check checkError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &unreachable):
		return exitUnreachable
	case errors.As(err, &check):
		return exitAlarm
	case errors.Is(err, errDiffers):
		return exitFailure
	case client.NotFound(err):
		return exitNotFound
	}
	return exitFailure
}
