package standin

import (
	"context"
	"fmt"
	"io"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"windlass.dev/internal/devcluster/pause"
)

// serveGRPC serves the health protocol of gRPC at once, and says after STANDIN_BOOT
// that it serves: as a whole, and for the service "ready".
func (s settings) serveGRPC(ctx context.Context, out io.Writer) error {
	address := net.JoinHostPort(s.env("LISTEN_IP"), "8080")
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "listening on", address)
	status := health.NewServer()
	status.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	server := grpc.NewServer()
	healthpb.RegisterHealthServer(server, status)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	if pause.For(ctx, s.duration("STANDIN_BOOT")) {
		status.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
		status.SetServingStatus("ready", healthpb.HealthCheckResponse_SERVING)
	}
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
		server.GracefulStop()
		return nil
	}
}
