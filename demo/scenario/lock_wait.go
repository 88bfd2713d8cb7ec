package scenario

import (
	"context"
	"fmt"
	"strings"
	"time"

	"triage/demo/shop"
	"triage/internal/model"
)

// lockWait is somebody's job on the stock database that keeps rows of the stock locked while it thinks: over all
// articles again and again, or over some departments for seconds. Sales that need such a row wait for it; whoever only
// reads does not. The job reports nothing.
func lockWait() Scenario {
	type job struct {
		about       string
		departments int // how many it locks at a time
		ms, low, up int // how long
		pause       time.Duration
	}
	return Scenario{
		Name:  "lock-wait",
		About: "a job keeps rows of the database locked that sales need",
		Draw: func(d *Draw) Case {
			j := Pick(d,
				job{"all articles", len(shop.Categories), 600, 450, 900, 60 * time.Millisecond},
				job{"five departments", 5, 2200, 1800, 2600, 50 * time.Millisecond},
			)
			held := time.Duration(d.Int(j.ms, j.low, j.up)) * time.Millisecond
			return Case{
				Truths: []Truth{{model.ClassDependency, model.DatabaseEntity("stock"), model.LockWait}},
				Target: fmt.Sprintf("%s, %s at a time", j.about, held),
				Inject: func(ctx context.Context, w *World) (func(context.Context) error, error) {
					hold := holdRows(ctx, w, shop.Categories[:j.departments], held)
					return background(ctx, func(ctx context.Context) {
						for ctx.Err() == nil {
							// One that is told to give way to others, as deadlocks are resolved, begins again.
							_ = w.SQL(ctx, hold)
							select {
							case <-ctx.Done():
							case <-time.After(j.pause):
							}
						}
					}), nil
				},
			}
		},
	}
}

// holdRows is the job in the words that the database knows. It locks rows in the order in which everybody does, so that
// nobody waits in a circle. SQLite has one lock for all.
func holdRows(ctx context.Context, w *World, departments []string, held time.Duration) string {
	if w.SQL(ctx, "SELECT pg_sleep(0)") != nil {
		return fmt.Sprintf("BEGIN IMMEDIATE; SELECT pause(%d); COMMIT", held.Milliseconds())
	}
	return fmt.Sprintf(`BEGIN; SELECT count(*) FROM (SELECT 1 FROM stock WHERE sku IN (SELECT sku FROM products WHERE category IN ('%s'))
		ORDER BY sku, warehouse FOR UPDATE) AS locked; SELECT pg_sleep(%d / 1000.0); COMMIT`,
		strings.Join(departments, "', '"), held.Milliseconds())
}
