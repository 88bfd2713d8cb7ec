package shop

import (
	"context"
	"sync"
	"time"
)

// recommendations are a cache of what every home page shows. Working it out takes long, so it is kept for a minute; those
// who come when it has expired all work it out, as caches without a lock have it. It is safe for concurrent use.
type recommendations struct {
	mu sync.Mutex
	// skus is what is kept, until the time until. Guarded by mu.
	skus  []string
	until time.Time
	// lives is how long an entry is kept; 0 is recommendedFor. Guarded by mu.
	lives time.Duration
}

// recommendedFor is how long recommendations are kept.
const recommendedFor = time.Minute

// cacheExpiry is inventory's own fault: what it puts into its cache expires too soon. Strength is in milliseconds.
const cacheExpiry = "cache-expiry"

// live has entries kept for another time, 0 for the usual one, and forgets what there is.
func (r *recommendations) live(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lives, r.until = d, time.Time{}
}

func (r *recommendations) get(now time.Time) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.After(r.until) {
		return nil
	}
	return r.skus
}

func (r *recommendations) put(skus []string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	lives := r.lives
	if lives == 0 {
		lives = recommendedFor
	}
	r.skus, r.until = skus, now.Add(lives)
}

type recommendAnswer struct{ SKUs []string }

// recommend is the articles that have the most others near their price beside them, to choose from; the nearer, the more it
// counts. It compares every article with every other, which is why the answer is kept.
func (s *inventory) recommend(ctx context.Context, _ *empty) (*recommendAnswer, error) {
	if skus := s.recommended.get(time.Now()); skus != nil {
		return &recommendAnswer{skus}, nil
	}
	rows, err := s.db.QueryContext(ctx, s.dialect.query("SELECT a.sku FROM products a JOIN products b "+
		"ON abs(a.price_cents - b.price_cents) < 5000 AND a.sku <> b.sku GROUP BY a.sku "+
		"ORDER BY sum(100.0 / (100 + abs(a.price_cents - b.price_cents))) DESC, a.sku LIMIT 12"))
	if err != nil {
		return nil, s.fail(ctx, "recommend", err)
	}
	defer func() { _ = rows.Close() }()
	var skus []string
	for rows.Next() {
		var sku string
		if err := rows.Scan(&sku); err != nil {
			return nil, s.fail(ctx, "read recommendation", err)
		}
		skus = append(skus, sku)
	}
	if err := rows.Err(); err != nil {
		return nil, s.fail(ctx, "recommend", err)
	}
	s.recommended.put(skus, time.Now())
	return &recommendAnswer{skus}, nil
}
