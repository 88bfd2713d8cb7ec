package otlp

import (
	"context"
	"fmt"
	"time"

	_ "github.com/mostynb/go-grpc-compression/nonclobbering/zstd" // senders may compress with it
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip" // senders compress with it by default
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"triage/internal/ingest"
)

// maxStreams bounds the requests that one connection may have open, and with MaxGRPCMessage what they hold before the
// gate sees them.
const maxStreams = 64

var services = [...]struct {
	name string
	sig  signal
}{
	{"opentelemetry.proto.collector.trace.v1.TraceService", traces},
	{"opentelemetry.proto.collector.metrics.v1.MetricsService", metrics},
	{"opentelemetry.proto.collector.logs.v1.LogsService", logs},
}

// GRPC makes a gRPC server that has the three OTLP services and nothing else. The caller serves with it and stops it.
func (s *Server) GRPC() *grpc.Server {
	g := grpc.NewServer(
		// Requests stay bytes until they are ours: their hash is the batch's identity, and the decoder is of our choice.
		grpc.ForceServerCodecV2(rawCodec{}),
		grpc.MaxRecvMsgSize(s.maxMessage),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.StatsHandler(unreached{s}),
		// SDKs are often set to ping more often than every five minutes, which gRPC would answer by hanging up.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
	)
	for _, svc := range services {
		g.RegisterService(&grpc.ServiceDesc{
			ServiceName: svc.name,
			HandlerType: (*any)(nil),
			Methods: []grpc.MethodDesc{{
				MethodName: "Export",
				Handler: func(_ any, ctx context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
					return s.serveGRPC(ctx, svc.sig, dec)
				},
			}},
		}, s)
	}
	return g
}

func (s *Server) serveGRPC(ctx context.Context, sig signal, dec func(any) error) (any, error) {
	if r, ok := ctx.Value(reachedKey{}).(*reached); ok {
		r.handler = true
	}
	var data []byte
	if err := dec(&data); err != nil {
		return nil, err
	}
	out, err := s.exportGRPC(ctx, sig, data)
	if err != nil {
		a := answerTo(err)
		s.count("grpc", sig, a.code.String())
		s.refused.WithLabelValues("grpc", sig.String(), a.reason).Inc()
		return nil, a.status(err).Err()
	}
	s.count("grpc", sig, "OK")
	return out, nil
}

func (s *Server) exportGRPC(ctx context.Context, sig signal, data []byte) ([]byte, error) {
	release, err := s.gate.Acquire(int64(len(data)))
	if err != nil {
		return nil, err
	}
	defer release()
	var tenant string
	if t := metadata.ValueFromIncomingContext(ctx, ingest.TenantHeader); len(t) > 0 {
		tenant = t[0]
	}
	res, err := s.export(ctx, exportRequest{transport: "grpc", signal: sig, encoding: protobuf, tenant: tenant, data: data})
	if err != nil {
		return nil, err
	}
	return res.response(sig, protobuf)
}

// unreached counts what gRPC refuses before it asks us: messages that are too large, or that it cannot unpack.
type unreached struct{ *Server }

type (
	reachedKey struct{}
	// reached is one request; nobody else has it until its end.
	reached struct {
		method  string
		handler bool
	}
)

// TagRPC implements stats.Handler.
func (unreached) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	return context.WithValue(ctx, reachedKey{}, &reached{method: info.FullMethodName})
}

// HandleRPC implements stats.Handler.
func (u unreached) HandleRPC(ctx context.Context, s stats.RPCStats) {
	end, ok := s.(*stats.End)
	if !ok || end.Error == nil {
		return
	}
	r, ok := ctx.Value(reachedKey{}).(*reached)
	if !ok || r.handler {
		return
	}
	for _, svc := range services {
		if r.method != "/"+svc.name+"/Export" {
			continue
		}
		code, reason := status.Code(end.Error), "malformed"
		switch code {
		case codes.ResourceExhausted:
			reason = "too_large"
		case codes.Unimplemented:
			reason = "content_encoding"
		case codes.Canceled, codes.DeadlineExceeded, codes.Unavailable:
			reason = "canceled"
		}
		u.count("grpc", svc.sig, code.String())
		u.refused.WithLabelValues("grpc", svc.sig.String(), reason).Inc()
	}
}

// TagConn implements stats.Handler.
func (unreached) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements stats.Handler.
func (unreached) HandleConn(context.Context, stats.ConnStats) {}

// rawCodec hands messages through as bytes. It claims the name of the codec it stands in for.
type rawCodec struct{}

// Name implements encoding.CodecV2.
func (rawCodec) Name() string { return "proto" }

// Marshal implements encoding.CodecV2.
func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("marshal %T: want bytes", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

// Unmarshal implements encoding.CodecV2.
func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("unmarshal into %T: want bytes", v)
	}
	*b = data.Materialize()
	return nil
}
