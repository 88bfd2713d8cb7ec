package otlp

import (
	"context"
	"fmt"
	"time"

	_ "github.com/mostynb/go-grpc-compression/nonclobbering/zstd" // senders may compress with it
	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip" // senders compress with it by default
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"

	"triage/internal/ingest"
)

// maxStreams bounds the requests that one connection may have open, and with MaxGRPCMessage what they hold before the
// gate sees them.
const maxStreams = 64

// GRPC makes a gRPC server that has the three OTLP services and nothing else. The caller serves with it and stops it.
func (s *Server) GRPC() *grpc.Server {
	g := grpc.NewServer(
		// Requests stay bytes until they are ours: their hash is the batch's identity, and the decoder is of our choice.
		grpc.ForceServerCodecV2(rawCodec{}),
		grpc.MaxRecvMsgSize(s.maxMessage),
		grpc.MaxConcurrentStreams(maxStreams),
		// SDKs are often set to ping more often than every five minutes, which gRPC would answer by hanging up.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
	)
	for _, svc := range []struct {
		name string
		sig  signal
	}{
		{"opentelemetry.proto.collector.trace.v1.TraceService", traces},
		{"opentelemetry.proto.collector.metrics.v1.MetricsService", metrics},
		{"opentelemetry.proto.collector.logs.v1.LogsService", logs},
	} {
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
	var data []byte
	if err := dec(&data); err != nil {
		return nil, err
	}
	out, err := s.exportGRPC(ctx, sig, data)
	if err != nil {
		a := answerTo(err)
		s.count("grpc", sig, a.code.String())
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
