package scenario

import (
	"context"
	"fmt"

	"triage/internal/model"
)

// slowQuery is the stock database that answers some statements slowly, though nobody's code changed: an administrator
// put a view in place of a table, or a trigger on one. The pool is large enough for what waits.
func slowQuery() Scenario {
	return Scenario{
		Name:  "slow-query",
		About: "the database answers slowly",
		Draw: func(d *Draw) Case {
			q := Pick(d, slowStatements...)
			ms := d.Int(q.ms, q.ms*9/10, q.ms*6/5)
			return Case{
				Truths: []Truth{{model.ClassDependency, model.DatabaseEntity("stock"), model.SlowQuery}},
				Target: fmt.Sprintf("%s, %d ms each", q.about, ms),
				Inject: func(ctx context.Context, w *World) (func(context.Context) error, error) {
					return q.slowDown(ctx, w, ms)
				},
			}
		},
	}
}

// slowStatement is a kind of statement that can be made to wait. What is done is one statement list, so that it is done
// wholly or not at all; ms is filled in.
type slowStatement struct {
	about string
	ms    int
	// postgres and sqlite say how, and undo how to have everything as it was.
	postgres, postgresUndo string
	sqlite, sqliteUndo     string
}

var slowStatements = []slowStatement{
	{
		about: "reading products", ms: 100,
		postgres: `ALTER TABLE products RENAME TO products_all;
			CREATE VIEW products AS SELECT * FROM products_all WHERE (SELECT pg_sleep(%d / 1000.0) IS NOT NULL)`,
		postgresUndo: `DROP VIEW products; ALTER TABLE products_all RENAME TO products`,
		sqlite: `ALTER TABLE products RENAME TO products_all;
			CREATE VIEW products AS SELECT * FROM products_all WHERE (SELECT pause(%d) IS NULL)`,
		sqliteUndo: `DROP VIEW products; ALTER TABLE products_all RENAME TO products`,
	},
	{
		about: "reserving", ms: 180,
		postgres: `CREATE FUNCTION reservation_checked() RETURNS trigger LANGUAGE plpgsql AS
			'BEGIN PERFORM pg_sleep(%d / 1000.0); RETURN NULL; END';
			CREATE TRIGGER reservation_check AFTER INSERT ON reservations EXECUTE FUNCTION reservation_checked()`,
		postgresUndo: `DROP TRIGGER reservation_check ON reservations; DROP FUNCTION reservation_checked()`,
		sqlite:       `CREATE TRIGGER reservation_check AFTER INSERT ON reservations BEGIN SELECT pause(%d); END`,
		sqliteUndo:   `DROP TRIGGER reservation_check`,
	},
	{
		about: "taking stock", ms: 180,
		postgres: `CREATE FUNCTION stock_checked() RETURNS trigger LANGUAGE plpgsql AS
			'BEGIN PERFORM pg_sleep(%d / 1000.0); RETURN NULL; END';
			CREATE TRIGGER stock_check BEFORE UPDATE ON stock EXECUTE FUNCTION stock_checked()`,
		postgresUndo: `DROP TRIGGER stock_check ON stock; DROP FUNCTION stock_checked()`,
		sqlite:       `CREATE TRIGGER stock_check AFTER UPDATE ON stock BEGIN SELECT pause(%d); END`,
		sqliteUndo:   `DROP TRIGGER stock_check`,
	},
}

// slowDown tells the database in the words that it knows.
func (q slowStatement) slowDown(ctx context.Context, w *World, ms int) (func(context.Context) error, error) {
	do, undo := q.postgres, q.postgresUndo
	if w.SQL(ctx, "SELECT pg_sleep(0)") != nil {
		do, undo = "BEGIN; "+q.sqlite+"; COMMIT", "BEGIN; "+q.sqliteUndo+"; COMMIT"
	}
	if err := w.SQL(ctx, fmt.Sprintf(do, ms)); err != nil {
		return nil, fmt.Errorf("slow down %s: %w", q.about, err)
	}
	return func(ctx context.Context) error { return w.SQL(ctx, undo) }, nil
}
