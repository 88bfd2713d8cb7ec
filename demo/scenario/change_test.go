package scenario

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"triage/client"
	"triage/demo/shop"
)

// TestChangesAreRecorded holds that what a pipeline and an operator do is recorded as theirs, under the name that the
// telemetry has, and that so is taking it back.
func TestChangesAreRecorded(t *testing.T) {
	called := func(process string) string { return "the " + process }
	for _, c := range []struct {
		scenario Scenario
		want     []string
	}{
		{badDeploy(), []string{
			"record change:the payment@2 from 1.0.0 to 2", "restart payment 2 with 1 faults",
			"record change:the payment@1.0.0 from 2 to 1.0.0", "restart payment 1.0.0 with 0 faults",
		}},
		{configChange(), []string{
			"record change:payment.acquirer.timeout from 1500ms to 15ms", `set payment payment.acquirer.timeout "15ms"`,
			"record change:payment.acquirer.timeout from 15ms to 1500ms", `set payment payment.acquirer.timeout ""`,
		}},
	} {
		var did []string
		do := func(format string, args ...any) error {
			did = append(did, fmt.Sprintf(format, args...))
			return nil
		}
		w := &World{
			Restart: func(_ context.Context, process string, o shop.Options) error {
				return do("restart %s %s with %d faults", process, o.Version, len(o.Faults))
			},
			Set: func(_ context.Context, process, key, value string) error {
				return do("set %s %s %q", process, key, value)
			},
			Record: func(_ context.Context, c client.Change) error {
				if c.Service != "the payment" {
					t.Errorf("recorded for %q", c.Service)
				}
				return do("record %s from %s to %s", c.Entity(), c.From, c.To)
			},
		}
		drawn := c.scenario.Draw(Standard(called))
		remove, err := drawn.Inject(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		if got := "record " + string(drawn.Truths[0].Entity); len(did) == 0 || len(did[0]) < len(got) || did[0][:len(got)] != got {
			t.Errorf("%s: the truth is %s, and what was done is %q", c.scenario.Name, drawn.Truths[0].Entity, did)
		}
		if err := remove(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c.want, did); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.scenario.Name, d)
		}
	}
}
