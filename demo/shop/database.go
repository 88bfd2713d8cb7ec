package shop

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/XSAM/otelsql"
	_ "github.com/jackc/pgx/v5/stdlib" // database/sql driver "pgx"
	"go.opentelemetry.io/otel/attribute"
	"modernc.org/sqlite" // database/sql driver "sqlite"
)

// SQLite gets a function pause(ms), as PostgreSQL has pg_sleep, so that what it is slow at takes as long on any machine.
func init() {
	sqlite.MustRegisterScalarFunction("pause", 1, func(_ *sqlite.FunctionContext, args []driver.Value) (driver.Value, error) {
		ms, ok := args[0].(int64)
		if !ok {
			return nil, fmt.Errorf("pause: %v is no number of milliseconds", args[0])
		}
		time.Sleep(time.Duration(ms) * time.Millisecond)
		return nil, nil
	})
}

// Database says where the stock is kept.
type Database struct {
	// Driver is "pgx" or "sqlite".
	Driver string `json:"driver"`
	DSN    string `json:"dsn"`
}

// poolSize is how many connections inventory may hold. It is what the shop's capacity planning arrived at long ago.
const poolSize = 8

// dbName is the database's name, as its telemetry gives it.
const dbName = "stock"

// query writes a statement in the database's dialect. Statements are written in PostgreSQL's.
func (d Database) query(text string) string {
	if d.Driver != "sqlite" {
		return text
	}
	text = strings.ReplaceAll(text, "$", "?")
	return strings.ReplaceAll(text, " FOR UPDATE", "")
}

// open opens the instrumented pool.
func (d Database) open(tel *Telemetry) (*sql.DB, error) {
	system := "postgresql"
	if d.Driver == "sqlite" {
		system = "sqlite"
	}
	opts := []otelsql.Option{
		otelsql.WithAttributes(
			attribute.String("db.system.name", system),
			attribute.String("db.namespace", dbName),
			attribute.String("server.address", "stock-db"),
		),
		otelsql.WithTracerProvider(tel.Tracers),
		otelsql.WithMeterProvider(tel.Meters),
		otelsql.WithSpanOptions(otelsql.SpanOptions{
			OmitConnResetSession: true, OmitConnPrepare: true, OmitRows: true, OmitConnectorConnect: true,
			DisableErrSkip: true,
		}),
	}
	db, err := otelsql.Open(d.Driver, d.DSN, opts...)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", dbName, err)
	}
	resize(db)(poolSize)
	if _, err := otelsql.RegisterDBStatsMetrics(db, opts...); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("register the metrics of database %s: %w", dbName, err)
	}
	return db, nil
}

// resize gives a pool another size. Connections above it are closed when they are given back.
func resize(db *sql.DB) func(n int) {
	return func(n int) {
		db.SetMaxOpenConns(n)
		db.SetMaxIdleConns(n)
	}
}

const schema = `
CREATE TABLE IF NOT EXISTS products (
	sku TEXT PRIMARY KEY, name TEXT NOT NULL, category TEXT NOT NULL, price_cents INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS products_category ON products (category);
CREATE TABLE IF NOT EXISTS stock (
	sku TEXT NOT NULL REFERENCES products (sku), warehouse TEXT NOT NULL,
	on_hand INTEGER NOT NULL, reserved INTEGER NOT NULL, PRIMARY KEY (sku, warehouse));
CREATE TABLE IF NOT EXISTS reservations (
	id TEXT NOT NULL, sku TEXT NOT NULL, warehouse TEXT NOT NULL, qty INTEGER NOT NULL, state TEXT NOT NULL,
	created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (id, sku));
CREATE TABLE IF NOT EXISTS discounts (
	sku TEXT PRIMARY KEY, percent INTEGER NOT NULL, updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP);
`

// Categories are the departments of the shop.
var Categories = []string{"kitchen", "garden", "office", "lighting", "bedding", "storage", "outdoor", "toys"}

// productsPerCategory times the departments is the size of the assortment.
const productsPerCategory = 60

// SKU names the n-th article of the assortment, which wraps around.
func SKU(n int) string {
	total := len(Categories) * productsPerCategory
	n = ((n % total) + total) % total
	return fmt.Sprintf("%s-%04d", strings.ToUpper(Categories[n/productsPerCategory][:3]), 1000+n)
}

// Assortment is the number of articles.
func Assortment() int { return len(Categories) * productsPerCategory }

var (
	adjectives = []string{"plain", "folding", "solid", "small", "large", "linen", "oak", "steel", "blue", "woven"}
	nouns      = []string{"chair", "lamp", "basket", "shelf", "bowl", "bench", "blanket", "box", "clock", "mat"}
)

// SearchTerms are words that some article's name has.
func SearchTerms() []string { return append(append([]string(nil), nouns...), adjectives...) }

// Migrate creates the tables and fills them, once.
func Migrate(ctx context.Context, d Database, seed uint64) error {
	db, err := sql.Open(d.Driver, d.DSN)
	if err != nil {
		return fmt.Errorf("open database %s: %w", dbName, err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return fmt.Errorf("create tables: %w", err)
	}
	var n int
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM products").Scan(&n); err != nil {
		return fmt.Errorf("count products: %w", err)
	}
	if n > 0 {
		return nil
	}
	rng := rand.New(rand.NewPCG(seed, 0x5707))
	var products, stock []string
	for i := range Assortment() {
		name := adjectives[rng.IntN(len(adjectives))] + " " + nouns[rng.IntN(len(nouns))]
		products = append(products, fmt.Sprintf("('%s', '%s', '%s', %d)",
			SKU(i), name, Categories[i/productsPerCategory], 300+rng.IntN(20000)))
		// Few articles are scarce, so that now and then something is sold out.
		onHand := 200_000 + rng.IntN(500_000)
		if rng.IntN(100) == 0 {
			onHand = rng.IntN(40)
		}
		stock = append(stock, fmt.Sprintf("('%s', 'north', %d, 0)", SKU(i), onHand),
			fmt.Sprintf("('%s', 'south', %d, 0)", SKU(i), onHand/2))
	}
	// The values are ours, digits and plain words; two statements are quicker than fifteen hundred.
	for _, q := range []string{
		"INSERT INTO products (sku, name, category, price_cents) VALUES " + strings.Join(products, ","),
		"INSERT INTO stock (sku, warehouse, on_hand, reserved) VALUES " + strings.Join(stock, ","),
	} {
		if _, err := db.ExecContext(ctx, q); err != nil {
			return fmt.Errorf("fill tables: %w", err)
		}
	}
	if d.Driver == "pgx" {
		if _, err := db.ExecContext(ctx, "ANALYZE"); err != nil {
			return fmt.Errorf("analyze tables: %w", err)
		}
	}
	return nil
}
