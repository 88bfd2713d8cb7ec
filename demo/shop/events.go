package shop

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// The subjects on which the shop's events travel, and the streams that keep them.
const (
	subjectPlaced  = "orders.placed"
	subjectChanged = "promotions.changed"
	streamOrders   = "ORDERS"
	streamOffers   = "PROMOTIONS"
)

// newBroker is the message broker: a NATS server with JetStream, in a process of its own.
func newBroker(_ context.Context, e *env) (*unit, error) {
	host := e.cfg.Hosts["nats"]
	var port int
	if _, err := fmt.Sscanf(host, "127.0.0.1:%d", &port); err != nil {
		return nil, fmt.Errorf("address of the broker %q: %w", host, err)
	}
	srv, err := server.NewServer(&server.Options{
		ServerName: "nats", Host: "127.0.0.1", Port: port, NoLog: true, NoSigs: true,
		JetStream: true, StoreDir: e.cfg.Dir, JetStreamMaxMemory: 64 << 20, JetStreamMaxStore: 256 << 20,
	})
	if err != nil {
		return nil, fmt.Errorf("make the broker: %w", err)
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		srv.Shutdown()
		return nil, fmt.Errorf("start the broker on %s: not ready after 10 s", host)
	}
	return &unit{close: func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	}}, nil
}

// events publishes and consumes with the trace context in the messages' headers.
type events struct {
	env  *env
	conn *nats.Conn
	js   jetstream.JetStream
}

// newEvents connects to the broker and makes sure that both streams exist. It waits for a broker that is still
// starting.
func newEvents(ctx context.Context, e *env) (*events, error) {
	conn, err := nats.Connect("nats://"+e.cfg.Hosts["nats"], nats.Name(e.cfg.Name(e.cfg.Process)), nats.MaxReconnects(-1),
		nats.RetryOnFailedConnect(true), nats.ReconnectWait(200*time.Millisecond))
	if err != nil {
		return nil, fmt.Errorf("connect to the broker: %w", err)
	}
	js, err := jetstream.New(conn)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	ev := &events{e, conn, js}
	for stream, subject := range map[string]string{streamOrders: "orders.>", streamOffers: "promotions.>"} {
		if err := ev.stream(ctx, stream, subject); err != nil {
			conn.Close()
			return nil, err
		}
	}
	return ev, nil
}

// stream creates a stream, again and again until the broker answers or ten seconds have gone.
func (ev *events) stream(ctx context.Context, name, subjects string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		attempt, done := context.WithTimeout(ctx, time.Second)
		_, err := ev.js.CreateOrUpdateStream(attempt, jetstream.StreamConfig{
			Name: name, Subjects: []string{subjects}, Storage: jetstream.MemoryStorage,
			MaxAge: 10 * time.Minute, MaxMsgs: 100_000, Discard: jetstream.DiscardOld,
		})
		done()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("create stream %s: %w", name, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// publish sends one event and waits until the broker has it.
func (ev *events) publish(ctx context.Context, subject string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	ctx, span := ev.env.tel.tracer("shop/events").Start(ctx, "publish "+subject,
		trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(
			attribute.String("messaging.system", "nats"),
			attribute.String("messaging.operation.name", "publish"),
			attribute.String("messaging.operation.type", "send"),
			attribute.String("messaging.destination.name", subject),
			attribute.Int("messaging.message.body.size", len(data)),
		))
	defer span.End()
	msg := &nats.Msg{Subject: subject, Data: data, Header: nats.Header{}}
	ev.env.tel.Propagators.Inject(ctx, propagation.HeaderCarrier(msg.Header))
	ack, err := ev.js.PublishMsg(ctx, msg)
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
		span.RecordError(err)
		return fmt.Errorf("publish %s: %w", subject, err)
	}
	span.SetAttributes(attribute.Int64("messaging.nats.sequence", int64(ack.Sequence)))
	return nil
}

// consumer says how a service takes events.
type consumer struct {
	stream, subject string
	// ownTrace starts a trace for each message and only links to the sender's, as receivers of shared streams do.
	ownTrace bool
	// workers is how many messages are handled at a time; 0 means one.
	workers int
	handle  func(ctx context.Context, data []byte) error
}

// consume hands each message to c.handle, c.workers at a time, until ctx ends. A message whose handling fails comes
// again, three times at most.
func (ev *events) consume(ctx context.Context, c consumer) error {
	group := ev.env.cfg.Name(ev.env.cfg.Process)
	cons, err := ev.js.CreateOrUpdateConsumer(ctx, c.stream, jetstream.ConsumerConfig{
		Durable: group, FilterSubject: c.subject, AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: 10 * time.Second, MaxDeliver: 3, DeliverPolicy: jetstream.DeliverNewPolicy,
	})
	if err != nil {
		return fmt.Errorf("create consumer %s of %s: %w", group, c.stream, err)
	}
	workers := max(c.workers, 1)
	slots := make(chan struct{}, workers) // full, it holds back the one goroutine that takes messages
	var handling sync.WaitGroup
	// What is fetched and waits here must not wait for longer than AckWait.
	running, err := cons.Consume(func(msg jetstream.Msg) {
		slots <- struct{}{}
		handling.Go(func() {
			defer func() { <-slots }()
			ev.process(ctx, c, msg)
		})
	}, jetstream.PullMaxMessages(8*workers))
	if err != nil {
		return fmt.Errorf("consume %s: %w", c.stream, err)
	}
	<-ctx.Done()
	running.Drain()
	<-running.Closed()
	handling.Wait()
	return nil
}

func (ev *events) process(ctx context.Context, c consumer, msg jetstream.Msg) {
	// A message that has been taken is finished even if the service is told to stop.
	ctx = context.WithoutCancel(ctx)
	sender := ev.env.tel.Propagators.Extract(ctx, propagation.HeaderCarrier(msg.Headers()))
	opts := []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithLinks(trace.LinkFromContext(sender)),
		trace.WithAttributes(
			attribute.String("messaging.system", "nats"),
			attribute.String("messaging.operation.name", "process"),
			attribute.String("messaging.operation.type", "process"),
			attribute.String("messaging.destination.name", msg.Subject()),
			attribute.String("messaging.consumer.group.name", ev.env.cfg.Name(ev.env.cfg.Process)),
			attribute.Int("messaging.message.body.size", len(msg.Data())),
		),
	}
	if c.ownTrace {
		opts = append(opts, trace.WithNewRoot())
	}
	ctx, span := ev.env.tel.tracer("shop/events").Start(sender, "process "+msg.Subject(), opts...)
	defer span.End()
	if meta, err := msg.Metadata(); err == nil {
		span.SetAttributes(attribute.Int64("messaging.nats.sequence", int64(meta.Sequence.Stream)),
			attribute.Int64("messaging.nats.pending", int64(meta.NumPending)))
	}
	if err := c.handle(ctx, msg.Data()); err != nil {
		span.SetStatus(codes.Error, err.Error())
		span.RecordError(err)
		ev.env.log.ErrorContext(ctx, "event not processed", "subject", msg.Subject(), "error", err)
		_ = msg.NakWithDelay(time.Second) // A lost nak only delays the message until AckWait.
		return
	}
	if err := msg.Ack(); err != nil {
		ev.env.log.WarnContext(ctx, "event not acknowledged", "subject", msg.Subject(), "error", err)
	}
}

func (ev *events) close() { ev.conn.Close() }
