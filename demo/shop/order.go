package shop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
)

type priceRequest struct {
	Lines []Line `json:"lines"`
}

type priced struct {
	TotalCents int       `json:"total_cents"`
	Lines      []product `json:"lines"`
}

type orderRequest struct {
	User  string `json:"user"`
	Lines []Line `json:"lines"`
	Card  string `json:"card"`
}

type orderAnswer struct {
	ID         string `json:"id,omitempty"`
	Status     string `json:"status"` // "placed", "declined" or "sold out"
	TotalCents int    `json:"total_cents,omitempty"`
}

// placed is the event that a sale was made.
type placed struct {
	ID         string `json:"id"`
	User       string `json:"user"`
	Lines      int    `json:"lines"`
	TotalCents int    `json:"total_cents"`
}

// order prices baskets and turns them into sales.
type order struct {
	env       *env
	inventory *grpc.ClientConn
	payment   *httpClient
	events    *events
	journal   *journal
	// How long the callees may take.
	inventoryTimeout, paymentTimeout duration

	// comparing guards the table that a costly comparison fills.
	comparing sync.Mutex
	distances []int

	mu sync.Mutex
	// discounts are the latest percentages by article. Guarded by mu.
	discounts map[string]int
}

func newOrder(ctx context.Context, e *env) (*unit, error) {
	conn, err := rpcClient(e, "inventory")
	if err != nil {
		return nil, fmt.Errorf("make the client of inventory: %w", err)
	}
	ev, err := newEvents(ctx, e)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	sales, err := openJournal(e, "sales")
	if err != nil {
		ev.close()
		_ = conn.Close()
		return nil, err
	}
	s := &order{env: e, inventory: conn, payment: e.client(), events: ev, journal: sales, discounts: map[string]int{},
		inventoryTimeout: duration{standard: 3 * time.Second}, paymentTimeout: duration{standard: 3 * time.Second}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /internal/prices", serveJSON(s.price))
	mux.HandleFunc("POST /internal/orders", serveJSON(s.place))
	u := httpUnit(e.tel.server(mux))
	u.background = append(u.background, func(ctx context.Context) error {
		return ev.consume(ctx, consumer{stream: streamOffers, subject: subjectChanged, ownTrace: true, handle: s.discount})
	})
	u.faults = map[string]func(Fault){slowValidation: e.own.set}
	u.settings = map[string]func(string) error{
		"order.inventory.timeout": s.inventoryTimeout.set,
		"order.payment.timeout":   s.paymentTimeout.set,
	}
	u.close = func() {
		ev.close()
		_ = conn.Close()
	}
	sales.equip(u)
	return u, nil
}

// requestTimeout bounds a request, as the storefront does too.
const requestTimeout = 3 * time.Second

func (s *order) price(r *http.Request) (any, error) {
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	var in priceRequest
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	if err := s.validate(r.Pattern, in.Lines); err != nil {
		return nil, err
	}
	err := s.env.own.work(ctx, r.Pattern)
	var out *priced
	if err == nil {
		out, err = s.total(ctx, in.Lines)
	}
	if err != nil {
		s.env.log.ErrorContext(ctx, "basket not priced", "lines", len(in.Lines), "error", err)
		return nil, err
	}
	return out, nil
}

func (s *order) total(ctx context.Context, lines []Line) (*priced, error) {
	wait(ctx, around(4*time.Millisecond, 0.3)) // reads the tax rates from a cache
	list, err := ask[productList](ctx, s, "CheckAvailability", linesRequest{lines})
	if err != nil {
		return nil, fmt.Errorf("check availability: %w", err)
	}
	out := &priced{Lines: list.Products}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, p := range list.Products {
		out.TotalCents += p.PriceCents * lines[i].Qty * (100 - s.discounts[p.SKU]/4) / 100
	}
	return out, nil
}

func (s *order) place(r *http.Request) (any, error) {
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	var in orderRequest
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	if err := s.validate(r.Pattern, in.Lines); err != nil {
		return nil, err
	}
	err := s.env.own.work(ctx, r.Pattern)
	var out *orderAnswer
	if err == nil {
		out, err = s.sell(ctx, &in)
	}
	if err != nil {
		s.env.log.ErrorContext(ctx, "sale not completed", "lines", len(in.Lines), "error", err)
		return nil, err
	}
	return out, nil
}

// ask calls a method of inventory.
func ask[Out any](ctx context.Context, s *order, method string, in any) (*Out, error) {
	ctx, cancel := context.WithTimeout(ctx, s.inventoryTimeout.get())
	defer cancel()
	return invoke[Out](ctx, s.inventory, "/"+inventoryService+"/"+method, in)
}

// sell reserves, writes down, charges and announces. What was reserved is released when the charge fails.
func (s *order) sell(ctx context.Context, in *orderRequest) (*orderAnswer, error) {
	total, err := s.total(ctx, in.Lines)
	if err != nil {
		return nil, err
	}
	id := uuid.NewString()
	held := reserveOrder{ID: id, Warehouse: "north", Lines: in.Lines}
	got, err := ask[reserveAnswer](ctx, s, "ReserveStock", held)
	if err != nil {
		return nil, fmt.Errorf("reserve stock: %w", err)
	}
	if len(got.Short) > 0 {
		return &orderAnswer{Status: "sold out"}, nil
	}
	var paid chargeAnswer
	if err = s.journal.add(ctx, held); err == nil {
		charging, cancel := context.WithTimeout(ctx, s.paymentTimeout.get())
		defer cancel()
		err = call(charging, s.payment, "http://payment/card-payments",
			chargeRequest{Order: id, AmountCents: total.TotalCents, Card: in.Card}, &paid)
	}
	if err != nil || paid.Status != "authorised" {
		// The customer may have given up by now; the stock must come back all the same.
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
		defer cancel()
		if _, undoErr := ask[empty](undo, s, "ReleaseStock", held); undoErr != nil {
			s.env.log.ErrorContext(ctx, "reservation not released", "order_id", id, "error", undoErr)
		}
		if err != nil {
			return nil, fmt.Errorf("charge order %s: %w", id, err)
		}
		s.env.log.InfoContext(ctx, "sale declined", "order_id", id, "reason", paid.Reason)
		return &orderAnswer{ID: id, Status: "declined"}, nil
	}
	err = s.events.publish(ctx, subjectPlaced, placed{id, in.User, len(in.Lines), total.TotalCents})
	if err != nil {
		return nil, err
	}
	s.env.log.InfoContext(ctx, "sale completed", "order_id", id, "lines", len(in.Lines), "total_cents", total.TotalCents)
	return &orderAnswer{ID: id, Status: "placed", TotalCents: total.TotalCents}, nil
}

// validate refuses baskets that make no sense.
func (s *order) validate(operation string, lines []Line) error {
	if len(lines) == 0 {
		return &statusError{http.StatusBadRequest, "no lines"}
	}
	for _, line := range lines {
		if line.Qty < 1 || line.Qty > 100 || strings.TrimSpace(line.SKU) == "" {
			return &statusError{http.StatusBadRequest, "bad line"}
		}
	}
	if ms := s.env.own.hit(slowValidation, operation); ms > 0 {
		s.compare(lines, time.Duration(ms*float64(time.Millisecond)))
	}
	return nil
}

// slowValidation is order's own fault: the costly comparison of lines. Strength is in milliseconds.
const slowValidation = "slow-validation"

// compare looks for articles that might have been mistaken for those in the basket: every line against the whole
// assortment, pair by pair, one basket at a time. It is bounded by time rather than by work, so that it hurts alike on
// quick and slow machines and requests stay within their deadlines.
func (s *order) compare(lines []Line, atMost time.Duration) {
	s.comparing.Lock()
	defer s.comparing.Unlock()
	s.distances = s.distances[:0]
	for began := time.Now(); ; {
		for _, line := range lines {
			for i := range Assortment() {
				s.distances = append(s.distances, distance(line.SKU, SKU(i)))
			}
			if time.Since(began) > atMost {
				return
			}
		}
		s.distances = s.distances[:0]
	}
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

func (s *order) discount(_ context.Context, data []byte) error {
	var o offer
	if err := json.Unmarshal(data, &o); err != nil {
		return fmt.Errorf("decode offer: %w", err)
	}
	if o.ID == "" {
		return errors.New("offer without an id")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sku := range o.SKUs {
		s.discounts[sku] = o.Percent
	}
	return nil
}
