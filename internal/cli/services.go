package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

func servicesCommand(o *options) *cobra.Command {
	var w window
	var edges bool
	cmd := &cobra.Command{
		Use:   "services",
		Short: "List services with their operations, or who calls whom",
		Args:  args(cobra.NoArgs),
		RunE: o.run(func(ctx context.Context, e *env, _ []string) error {
			from, to := w.times(e.now)
			m, err := e.client.Services(ctx, from, to)
			if err != nil {
				return err
			}
			if e.json {
				return e.printJSON(m)
			}
			if edges {
				t := e.newTable("FROM", "TO", "KIND", ">CALLS", ">ERRORS", ">CALLER SAW", ">P99", ">CALLEE TOOK", ">BETWEEN (P50)")
				for _, g := range m.Edges {
					t.add(g.From, g.To, g.Kind, count(g.Count), errorsCell(g.Errors, g.Count), seconds(g.ClientMeanS), seconds(g.ClientP99S), seconds(g.ServerMeanS), seconds(g.WaitP50S))
				}
				return t.print("nobody called anybody")
			}
			t := e.newTable("SERVICE", "OPERATION", "KIND", ">CALLS", ">ERRORS", ">MEAN", ">P50", ">P95", ">P99")
			for _, s := range m.Services {
				for _, op := range s.Operations {
					t.add(s.Name, op.Operation, op.Kind.String(), count(op.Count), errorsCell(op.Errors, op.Count),
						seconds(op.MeanS), seconds(op.P50S), seconds(op.P95S), seconds(op.P99S))
				}
			}
			return t.print("no spans")
		}),
	}
	cmd.Flags().BoolVar(&edges, "edges", false, "list who calls whom instead")
	w.flags(cmd, " (an hour before the end without it)")
	return cmd
}

// seconds is a duration given in seconds; "-" where there is none.
func seconds(s float64) string {
	if s == 0 {
		return "-"
	}
	return lasting(time.Duration(s * 1e9))
}

// errorsCell is the share that failed.
func errorsCell(errors, of int64) cell {
	if errors == 0 || of == 0 {
		return cell{text: "-"}
	}
	return cell{digits(float64(errors)/float64(of)*100) + "%", red}
}

func statusCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Say what the server is, has and received",
		Args:  args(cobra.NoArgs),
		RunE: o.run(func(ctx context.Context, e *env, _ []string) error {
			s, err := e.client.Status(ctx)
			if err != nil {
				return err
			}
			if e.json {
				return e.printJSON(s)
			}
			ready := "ready"
			if !s.Ready {
				ready = "not ready yet"
			}
			if err := e.printf("triage %s at %s: %s, up for %s\n", clean(s.Version), e.client.URL(), ready, ago(s.Started, e.now)); err != nil {
				return err
			}
			t := e.newTable("WHAT", ">VALUE")
			t.flatten("kept", s.Events)
			t.flatten("storage", s.Storage)
			t.flatten("received", s.Received)
			return t.print("nothing received yet")
		}),
	}
}

// flatten adds a row for each leaf of a JSON value, named by its path.
func (t *table) flatten(path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			t.flatten(path+" "+k, v[k])
		}
	case []any:
		for i, e := range v {
			t.flatten(path+" "+strconv.Itoa(i+1), e)
		}
	case float64:
		t.add(path, count(int64(v)))
	case nil:
	default:
		t.add(path, fmt.Sprint(v))
	}
}
