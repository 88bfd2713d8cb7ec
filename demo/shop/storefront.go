package shop

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"google.golang.org/grpc"
)

// UserHeader names the signed-in user. A real shop reads it from a session; here the load generator sends it.
const UserHeader = "X-User-Id"

// storefront is what customers reach.
type storefront struct {
	env              *env
	inventory        *grpc.ClientConn
	order, promotion *httpClient
	// How long the callees may take, quotes apart.
	inventoryTimeout, orderTimeout duration
}

func newStorefront(_ context.Context, e *env) (*unit, error) {
	conn, err := rpcClient(e, "inventory")
	if err != nil {
		return nil, fmt.Errorf("make the client of inventory: %w", err)
	}
	s := &storefront{env: e, inventory: conn, order: e.client(), promotion: e.client(),
		inventoryTimeout: duration{standard: requestTimeout}, orderTimeout: duration{standard: requestTimeout}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page(s.home))
	mux.HandleFunc("GET /departments/{category}", s.page(s.department))
	mux.HandleFunc("GET /search", s.page(s.search))
	mux.HandleFunc("GET /articles/{sku}", s.page(s.article))
	mux.HandleFunc("POST /basket", s.page(s.basket))
	mux.HandleFunc("POST /purchases", s.page(s.checkout))
	mux.HandleFunc("POST /business/quotes", s.page(s.quote))
	// Outside of the server's span, so that the span carries the user too.
	handler := s.identify(e.tel.server(mux))
	u := httpUnit(handler)
	u.settings = map[string]func(string) error{
		"storefront.inventory.timeout": s.inventoryTimeout.set,
		"storefront.order.timeout":     s.orderTimeout.set,
	}
	u.close = func() { _ = conn.Close() }
	return u, nil
}

// identify puts the signed-in user into the baggage.
func (s *storefront) identify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user := r.Header.Get(UserHeader); user != "" {
			r = r.WithContext(withUser(r.Context(), user))
		}
		next.ServeHTTP(w, r)
	})
}

// page answers a request and logs how that went, as an access log does.
func (s *storefront) page(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		code := http.StatusOK
		wait(r.Context(), around(3*time.Millisecond, 0.3)) // reads the session from a cache
		serveJSON(func(r *http.Request) (any, error) {
			err := s.env.own.work(r.Context(), r.Pattern)
			var v any
			if err == nil {
				v, err = h(r)
			}
			if err != nil {
				code = httpStatus(err)
			}
			if code >= 500 {
				s.env.log.ErrorContext(r.Context(), "page failed", "route", r.Pattern, "status", code, "error", err)
			}
			return v, err
		})(w, r)
		s.env.log.InfoContext(r.Context(), "page served", "route", r.Pattern, "status", code,
			"duration_ms", time.Since(began).Milliseconds())
	}
}

func (s *storefront) products(ctx context.Context, in listRequest) (*productList, error) {
	ctx, cancel := context.WithTimeout(ctx, s.inventoryTimeout.get())
	defer cancel()
	return invoke[productList](ctx, s.inventory, "/"+inventoryService+"/ListProducts", in)
}

// offers gets the current offers. No page waits long for them.
func (s *storefront) offers(ctx context.Context, offers *[]offer) error {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	return call(ctx, s.promotion, "http://promotion/offers", nil, offers)
}

// home shows the offers, a department and what is recommended. It does without offers when nobody can tell them.
func (s *storefront) home(r *http.Request) (any, error) {
	var offers []offer
	if err := s.offers(r.Context(), &offers); err != nil {
		s.env.log.WarnContext(r.Context(), "home page without offers", "error", err)
	}
	list, err := s.products(r.Context(), listRequest{Category: Categories[time.Now().Hour()%len(Categories)]})
	if err != nil {
		return nil, err
	}
	recommended, err := s.recommended(r.Context())
	if err != nil {
		return nil, err
	}
	return map[string]any{"offers": offers, "products": list.Products, "recommended": recommended.SKUs}, nil
}

func (s *storefront) recommended(ctx context.Context) (*recommendAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, s.inventoryTimeout.get())
	defer cancel()
	return invoke[recommendAnswer](ctx, s.inventory, "/"+inventoryService+"/Recommend", empty{})
}

func (s *storefront) department(r *http.Request) (any, error) {
	return s.products(r.Context(), listRequest{Category: r.PathValue("category")})
}

func (s *storefront) search(r *http.Request) (any, error) {
	return s.products(r.Context(), listRequest{Term: r.URL.Query().Get("q")})
}

func (s *storefront) article(r *http.Request) (any, error) {
	ctx, cancel := context.WithTimeout(r.Context(), s.inventoryTimeout.get())
	defer cancel()
	return invoke[product](ctx, s.inventory, "/"+inventoryService+"/GetProduct", skuRequest{r.PathValue("sku")})
}

func (s *storefront) basket(r *http.Request) (any, error) {
	var in priceRequest
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	var out priced
	ctx, cancel := context.WithTimeout(r.Context(), s.orderTimeout.get())
	defer cancel()
	return &out, call(ctx, s.order, "http://order/internal/prices", in, &out)
}

func (s *storefront) checkout(r *http.Request) (any, error) {
	var in orderRequest
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	in.User = r.Header.Get(UserHeader)
	var out orderAnswer
	ctx, cancel := context.WithTimeout(r.Context(), s.orderTimeout.get())
	defer cancel()
	return &out, call(ctx, s.order, "http://order/internal/orders", in, &out)
}

// quoteTimeout is longer than a page's: business customers send long lists.
const quoteTimeout = 12 * time.Second

func (s *storefront) quote(r *http.Request) (any, error) {
	ctx, cancel := context.WithTimeout(r.Context(), quoteTimeout)
	defer cancel()
	var in priceRequest
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	return invoke[productList](ctx, s.inventory, "/"+inventoryService+"/QuoteLines", linesRequest(in))
}
