package shop

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// inventoryService is the full name of inventory's gRPC service.
const inventoryService = "shop.inventory.v1.Inventory"

// Line is an article and how many of it.
type Line struct {
	SKU string `json:"sku"`
	Qty int    `json:"qty"`
}

type product struct {
	SKU        string `json:"sku"`
	Name       string `json:"name"`
	Category   string `json:"category"`
	PriceCents int    `json:"price_cents"`
	Available  int    `json:"available"`
	// LeadDays is what the supplier says; 0 if it didn't.
	LeadDays int `json:"lead_days,omitempty"`
}

type (
	listRequest  struct{ Category, Term string }
	productList  struct{ Products []product }
	skuRequest   struct{ SKU string }
	linesRequest struct{ Lines []Line }
	reserveOrder struct {
		ID, Warehouse string
		Lines         []Line
	}
	reserveAnswer struct {
		// Short are the articles that are sold out; then nothing was reserved.
		Short []string
	}
	empty struct{}
)

// inventory keeps the stock in a database behind a bounded pool.
type inventory struct {
	env      *env
	db       *sql.DB
	dialect  Database
	supplier *httpClient
	// supplierTimeout is how long one question to the supplier may take.
	supplierTimeout duration

	recommended recommendations
	// asking are the articles about which the supplier is asked for a page: one question about each at a time.
	asking keyed
}

func newInventory(ctx context.Context, e *env) (*unit, error) {
	db, err := e.cfg.Database.open(e.tel)
	if err != nil {
		return nil, err
	}
	ev, err := newEvents(ctx, e)
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	s := &inventory{env: e, db: db, dialect: e.cfg.Database, supplier: e.client(),
		supplierTimeout: duration{standard: 2 * time.Second}}
	u := rpcUnit(e, inventoryService, s,
		method("ListProducts", (*inventory).list),
		method("GetProduct", (*inventory).product),
		method("CheckAvailability", (*inventory).availability),
		method("ReserveStock", (*inventory).reserve),
		method("ReleaseStock", (*inventory).release),
		method("QuoteLines", (*inventory).quote),
		method("Recommend", (*inventory).recommend),
	)
	u.background = append(u.background, func(ctx context.Context) error {
		return ev.consume(ctx, consumer{stream: streamOffers, subject: subjectChanged, ownTrace: true, workers: offerWorkers,
			handle: s.discount})
	})
	u.faults = map[string]func(Fault){cacheExpiry: func(f Fault) {
		s.recommended.live(time.Duration(f.Strength * float64(time.Millisecond)))
	}}
	u.settings = map[string]func(string) error{
		"inventory.db.pool.size":     count(poolSize, 64, resize(db)),
		"inventory.supplier.timeout": s.supplierTimeout.set,
	}
	u.close = func() {
		ev.close()
		_ = db.Close()
	}
	return u, nil
}

// method is a method that begins with the service's own work.
func method[In, Out any](name string, f func(*inventory, context.Context, *In) (*Out, error)) grpc.MethodDesc {
	return rpc(name, func(s *inventory, ctx context.Context, in *In) (*Out, error) {
		if err := s.env.own.work(ctx, name); err != nil {
			s.env.log.ErrorContext(ctx, "inventory request failed", "error", err)
			return nil, status.Error(codes.Internal, err.Error())
		}
		return f(s, ctx, in)
	})
}

// fail logs what a library returned and turns it into the status the caller sees.
func (s *inventory) fail(ctx context.Context, doing string, err error) error {
	failed := fmt.Errorf("%s: %w", doing, err)
	s.env.log.ErrorContext(ctx, "inventory request failed", "error", failed)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, failed.Error())
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, failed.Error())
	}
	_ = recorded(ctx, err)
	return status.Error(codes.Internal, failed.Error())
}

const selectProducts = `SELECT p.sku, p.name, p.category, p.price_cents * (100 - coalesce(d.percent, 0)) / 100,
	(SELECT sum(on_hand - reserved) FROM stock s WHERE s.sku = p.sku)
	FROM products p LEFT JOIN discounts d ON d.sku = p.sku `

// list finds articles by department or by a word of their name.
func (s *inventory) list(ctx context.Context, in *listRequest) (*productList, error) {
	where, arg := "WHERE p.category = $1 ORDER BY p.price_cents LIMIT 20", in.Category
	if in.Term != "" {
		where, arg = "WHERE lower(p.name) LIKE $1 ORDER BY p.name, p.sku LIMIT 20", "%"+in.Term+"%"
	}
	rows, err := s.db.QueryContext(ctx, s.dialect.query(selectProducts+where), arg)
	if err != nil {
		return nil, s.fail(ctx, "list products", err)
	}
	defer func() { _ = rows.Close() }()
	out := &productList{}
	for rows.Next() {
		var p product
		if err := rows.Scan(&p.SKU, &p.Name, &p.Category, &p.PriceCents, &p.Available); err != nil {
			return nil, s.fail(ctx, "read product", err)
		}
		out.Products = append(out.Products, p)
	}
	if err := rows.Err(); err != nil {
		return nil, s.fail(ctx, "list products", err)
	}
	_ = rows.Close()                           // gives the connection back before what takes longer
	wait(ctx, around(4*time.Millisecond, 0.3)) // reads the pictures' addresses from a cache
	return out, nil
}

// product is one article with the supplier's lead time, which is a courtesy: the page is shown without it.
func (s *inventory) product(ctx context.Context, in *skuRequest) (*product, error) {
	p, err := s.find(ctx, s.db, in.SKU)
	if errors.Is(err, sql.ErrNoRows) {
		s.env.log.InfoContext(ctx, "article not found", "sku", in.SKU)
		return nil, status.Errorf(codes.NotFound, "no article %s", in.SKU)
	}
	if err != nil {
		return nil, s.fail(ctx, "get product", err)
	}
	give, err := s.asking.take(ctx, in.SKU)
	if err != nil {
		return nil, s.fail(ctx, "wait for the supplier", err)
	}
	defer give()
	if p.LeadDays, err = s.leadTime(ctx, in.SKU); err != nil {
		s.env.log.WarnContext(ctx, "no lead time from supplier", "sku", in.SKU, "error", err)
	}
	return p, nil
}

// queryer is what a pool and a transaction have in common.
type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func (s *inventory) find(ctx context.Context, q queryer, sku string) (*product, error) {
	var p product
	err := q.QueryRowContext(ctx, s.dialect.query(selectProducts+"WHERE p.sku = $1"), sku).
		Scan(&p.SKU, &p.Name, &p.Category, &p.PriceCents, &p.Available)
	return &p, err
}

func (s *inventory) leadTime(ctx context.Context, sku string) (int, error) {
	var out struct {
		Days int `json:"days"`
	}
	ctx, cancel := context.WithTimeout(ctx, s.supplierTimeout.get())
	defer cancel()
	err := call(ctx, s.supplier, "http://supplier.example/v1/leadtimes/"+sku, nil, &out)
	return out.Days, err
}

// availability looks up the lines of a basket.
func (s *inventory) availability(ctx context.Context, in *linesRequest) (*productList, error) {
	out := &productList{}
	for _, line := range in.Lines {
		p, err := s.find(ctx, s.db, line.SKU)
		if errors.Is(err, sql.ErrNoRows) {
			return nil, status.Errorf(codes.NotFound, "no article %s", line.SKU)
		}
		if err != nil {
			return nil, s.fail(ctx, "check availability", err)
		}
		out.Products = append(out.Products, *p)
	}
	return out, nil
}

// reserve takes stock for one sale, all lines or none.
func (s *inventory) reserve(ctx context.Context, in *reserveOrder) (*reserveAnswer, error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, s.fail(ctx, "begin reservation", err)
	}
	defer func() { _ = tx.Rollback() }() // nothing to do after a commit
	// One order of rows for everybody keeps two sales from waiting for each other.
	lines := slices.SortedFunc(slices.Values(in.Lines), func(a, b Line) int { return cmp.Compare(a.SKU, b.SKU) })
	for _, line := range lines {
		var free int
		err := tx.QueryRowContext(ctx, s.dialect.query(
			"SELECT on_hand - reserved FROM stock WHERE sku = $1 AND warehouse = $2 FOR UPDATE"), line.SKU, in.Warehouse).Scan(&free)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return nil, s.fail(ctx, "lock stock", err)
		}
		if free < line.Qty {
			s.env.log.InfoContext(ctx, "article sold out", "sku", line.SKU, "wanted", line.Qty, "free", free)
			return &reserveAnswer{Short: []string{line.SKU}}, nil
		}
		if _, err := tx.ExecContext(ctx, s.dialect.query(
			"UPDATE stock SET reserved = reserved + $1 WHERE sku = $2 AND warehouse = $3"), line.Qty, line.SKU, in.Warehouse); err != nil {
			return nil, s.fail(ctx, "update stock", err)
		}
		if _, err := tx.ExecContext(ctx, s.dialect.query(
			"INSERT INTO reservations (id, sku, warehouse, qty, state) VALUES ($1, $2, $3, $4, 'held') "+
				"ON CONFLICT (id, sku) DO UPDATE SET qty = reservations.qty + excluded.qty"),
			in.ID, line.SKU, in.Warehouse, line.Qty); err != nil {
			return nil, s.fail(ctx, "insert reservation", err)
		}
	}
	if err := tx.Commit(); err != nil {
		return nil, s.fail(ctx, "commit reservation", err)
	}
	s.env.log.InfoContext(ctx, "stock reserved", "order_id", in.ID, "lines", len(in.Lines), "warehouse", in.Warehouse)
	return &reserveAnswer{}, nil
}

// release gives a sale's stock back.
func (s *inventory) release(ctx context.Context, in *reserveOrder) (*empty, error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, s.fail(ctx, "begin release", err)
	}
	defer func() { _ = tx.Rollback() }() // nothing to do after a commit
	if _, err := tx.ExecContext(ctx, s.dialect.query("UPDATE stock SET reserved = reserved - (SELECT r.qty FROM reservations r "+
		"WHERE r.id = $1 AND r.sku = stock.sku AND r.warehouse = stock.warehouse) "+
		"WHERE (sku, warehouse) IN (SELECT sku, warehouse FROM reservations WHERE id = $1 AND state = 'held')"), in.ID); err != nil {
		return nil, s.fail(ctx, "release stock", err)
	}
	if _, err := tx.ExecContext(ctx, s.dialect.query("UPDATE reservations SET state = 'released' WHERE id = $1"), in.ID); err != nil {
		return nil, s.fail(ctx, "release reservation", err)
	}
	if err := tx.Commit(); err != nil {
		return nil, s.fail(ctx, "commit release", err)
	}
	s.env.log.InfoContext(ctx, "stock released", "order_id", in.ID)
	return &empty{}, nil
}

// quote prices a list for a business customer. It reads all lines in one transaction, so that the list is consistent,
// and asks the supplier for each line's lead time as it goes.
func (s *inventory) quote(ctx context.Context, in *linesRequest) (*productList, error) {
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: s.dialect.Driver == "pgx"})
	if err != nil {
		return nil, s.fail(ctx, "begin quote", err)
	}
	defer func() { _ = tx.Rollback() }() // nothing to do after a commit
	out := &productList{}
	for _, line := range in.Lines {
		p, err := s.find(ctx, tx, line.SKU)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return nil, s.fail(ctx, "quote line", err)
		}
		if p.LeadDays, err = s.leadTime(ctx, line.SKU); err != nil {
			s.env.log.WarnContext(ctx, "no lead time from supplier", "sku", line.SKU, "error", err)
		}
		out.Products = append(out.Products, *p)
	}
	if err := tx.Commit(); err != nil {
		return nil, s.fail(ctx, "commit quote", err)
	}
	s.env.log.InfoContext(ctx, "quote made", "lines", len(in.Lines))
	return out, nil
}

// offer is the event by which promotion announces changed discounts.
type offer struct {
	ID      string   `json:"id"`
	SKUs    []string `json:"skus"`
	Percent int      `json:"percent"`
}

// offerWorkers is how many offers are taken at a time. There are seldom two.
const offerWorkers = 16

// cacheTell is the median time that it takes to tell the pages' cache about one article.
const cacheTell = 3 * time.Millisecond

// discount stores the discounts of one event, and makes the pages' cache forget the articles before others see the new
// price.
func (s *inventory) discount(ctx context.Context, data []byte) error {
	var o offer
	if err := json.Unmarshal(data, &o); err != nil {
		return fmt.Errorf("decode offer: %w", err)
	}
	// One order of rows for everybody keeps two offers from waiting for each other; a row is written once a statement.
	skus := slices.Compact(slices.Sorted(slices.Values(o.SKUs)))
	if len(skus) == 0 {
		return nil
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin discount: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // nothing to do after a commit
	rows, args := make([]string, len(skus)), []any{o.Percent}
	for i, sku := range skus {
		rows[i] = fmt.Sprintf("($%d, $1)", i+2)
		args = append(args, sku)
	}
	if _, err := tx.ExecContext(ctx, s.dialect.query("INSERT INTO discounts (sku, percent) VALUES "+strings.Join(rows, ", ")+
		" ON CONFLICT (sku) DO UPDATE SET percent = excluded.percent, updated_at = CURRENT_TIMESTAMP"), args...); err != nil {
		return fmt.Errorf("store discount: %w", err)
	}
	wait(ctx, around(time.Duration(len(skus))*cacheTell, 0.2))
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit discount: %w", err)
	}
	s.env.log.DebugContext(ctx, "discounts stored", "offer_id", o.ID, "articles", len(o.SKUs))
	return nil
}
