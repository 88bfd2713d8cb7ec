package record

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"triage/internal/model"
)

const (
	// maxSubscriptions bounds the recordings made at one time.
	maxSubscriptions = 4
	// maxQueue is how many bytes may wait for a recorder. One that is behind by more is dropped, because neither senders nor
	// memory may wait for it.
	maxQueue = 64 << 20
)

// TapOptions wire a Tap.
type TapOptions struct {
	// Host and Version go into the header of recordings.
	Host, Version string
	Now           func() time.Time      // [time.Now]
	Registerer    prometheus.Registerer // may be nil
	Logger        *slog.Logger          // may be nil
}

// Tap hands what a server accepts to those who record it. While nobody does it costs one atomic read a batch.
type Tap struct {
	opts    TapOptions
	active  atomic.Int32
	dropped prometheus.Counter

	mu     sync.Mutex // guards what follows, and each subscription's fields
	last   int64      // the newest arrival, ns
	subs   map[*Subscription]struct{}
	closed bool
}

// NewTap makes a Tap.
func NewTap(o TapOptions) *Tap {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	t := &Tap{opts: o, subs: map[*Subscription]struct{}{}, dropped: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "triage_record_dropped_total", Help: "Recordings that were ended because the recorder was too slow.",
	})}
	if o.Registerer != nil {
		o.Registerer.MustRegister(t.dropped,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "triage_record_active", Help: "Recordings that are being made."},
				func() float64 { return float64(t.active.Load()) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "triage_record_active_limit", Help: "Most recordings that may be made at one time."},
				func() float64 { return maxSubscriptions }))
	}
	return t
}

// Offer hands on a batch that was just accepted. It reads the batch and keeps nothing of it.
func (t *Tap) Offer(b *model.Batch) {
	if t.active.Load() == 0 || b.Len() == 0 {
		return
	}
	at := t.opts.Now().UnixNano()
	rows, err := encodeBatch(b, at)
	if err != nil {
		t.opts.Logger.Warn("batch left out of recordings", "source", b.Source, "error", err)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = max(t.last, at)
	frame := batchFrame(at, b, rows)
	for s := range t.subs {
		if s.tenant == "" || s.tenant == b.Tenant {
			s.put(frame)
		}
	}
}

// Subscription is one recording that is being made.
type Subscription struct {
	tap    *Tap
	tenant string
	header Header

	queue  [][]byte
	queued int
	ended  string        // why no more comes
	wake   chan struct{} // holds one: Run takes the whole queue each time
}

// Subscribe begins a recording of one tenant, of all where tenant is empty. From then on nothing is missed. Run must be
// called, and ends it. ErrBusy if there are too many.
func (t *Tap) Subscribe(tenant string) (*Subscription, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.subs) >= maxSubscriptions {
		return nil, ErrBusy
	}
	now := t.opts.Now()
	t.last = max(t.last, now.UnixNano())
	s := &Subscription{tap: t, tenant: tenant, header: Header{Start: now, Host: t.opts.Host, Version: t.opts.Version}, wake: make(chan struct{}, 1)}
	if t.closed {
		s.end(ReasonStopped)
		return s, nil
	}
	t.subs[s] = struct{}{}
	t.active.Store(int32(len(t.subs)))
	return s, nil
}

// put queues a frame. Tap.mu is held.
func (s *Subscription) put(frame []byte) {
	if s.queued > 0 && s.queued+len(frame) > maxQueue {
		s.tap.dropped.Inc()
		s.tap.opts.Logger.Warn("recording ended", "reason", ReasonSlow)
		s.end(ReasonSlow)
		return
	}
	s.queue = append(s.queue, frame)
	s.queued += len(frame)
	s.nudge()
}

// end lets nothing more in. Tap.mu is held.
func (s *Subscription) end(reason string) {
	s.ended = reason
	delete(s.tap.subs, s)
	s.tap.active.Store(int32(len(s.tap.subs)))
	s.nudge()
}

func (s *Subscription) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take empties the queue.
func (s *Subscription) take() (frames [][]byte, ended string, at int64) {
	s.tap.mu.Lock()
	defer s.tap.mu.Unlock()
	frames, s.queue, s.queued = s.queue, nil, 0
	return frames, s.ended, s.tap.last
}

// Run writes the recording to out until ctx ends, out breaks, or the Tap ends it. flush, if not nil, is called whenever
// there is nothing more to write for now. The end is written in any case, where out still takes it.
func (s *Subscription) Run(ctx context.Context, out io.Writer, flush func() error) error {
	defer func() {
		s.tap.mu.Lock()
		defer s.tap.mu.Unlock()
		s.end(s.ended)
	}()
	if flush == nil {
		flush = func() error { return nil }
	}
	if _, err := out.Write(append([]byte(magic), headerFrame(s.header)...)); err != nil {
		return err
	}
	for over := false; ; {
		if err := flush(); err != nil {
			return err
		}
		if over {
			return nil
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			over = true
		}
		frames, ended, at := s.take()
		for _, f := range frames {
			if _, err := out.Write(f); err != nil {
				return err
			}
		}
		if over = over || ended != ""; over {
			end := End{At: time.Unix(0, max(at, s.tap.opts.Now().UnixNano())), Reason: ended}
			if _, err := out.Write(endFrame(end)); err != nil {
				return err
			}
		}
	}
}

// Close ends all recordings, and those that are begun later at once.
func (t *Tap) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for s := range t.subs {
		s.end(ReasonStopped)
	}
}
