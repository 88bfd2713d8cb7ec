package shop

import (
	"context"
	"encoding/json"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// jsonCodec carries plain Go structs over gRPC, which leaves the shop without generated code. Transport, deadlines,
// status codes and instrumentation are gRPC's own.
type jsonCodec struct{}

func (jsonCodec) Marshal(v any) ([]byte, error)      { return json.Marshal(v) }
func (jsonCodec) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }
func (jsonCodec) Name() string                       { return "json" }

// rpc describes a unary method whose service is an S.
func rpc[S, In, Out any](name string, f func(S, context.Context, *In) (*Out, error)) grpc.MethodDesc {
	return grpc.MethodDesc{
		MethodName: name,
		Handler: func(srv any, ctx context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			in := new(In)
			if err := dec(in); err != nil {
				return nil, err
			}
			return f(srv.(S), ctx, in)
		},
	}
}

// rpcUnit serves a gRPC service and drains it when stopped.
func rpcUnit(e *env, service string, impl any, methods ...grpc.MethodDesc) *unit {
	srv := grpc.NewServer(grpc.ForceServerCodec(jsonCodec{}), grpc.StatsHandler(e.tel.rpcServer()))
	srv.RegisterService(&grpc.ServiceDesc{
		ServiceName: service,
		HandlerType: (*any)(nil),
		Methods:     methods,
	}, impl)
	return &unit{
		serve: srv.Serve,
		stop: func(ctx context.Context) error {
			done := make(chan struct{})
			go func() {
				srv.GracefulStop()
				close(done)
			}()
			select {
			case <-done:
			case <-ctx.Done():
				srv.Stop() // which also ends GracefulStop
				<-done
			}
			return nil
		},
	}
}

// rpcClient connects lazily to a host by name.
func rpcClient(e *env, host string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+e.cfg.Name(host)+":443",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return e.dial(ctx, "tcp", address)
		}),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(jsonCodec{})),
		grpc.WithStatsHandler(e.tel.rpcClient()),
	)
}

// invoke calls a unary method.
func invoke[Out any](ctx context.Context, conn *grpc.ClientConn, method string, in any) (*Out, error) {
	out := new(Out)
	if err := conn.Invoke(ctx, method, in, out); err != nil {
		return nil, err
	}
	return out, nil
}
