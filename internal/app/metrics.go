package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"p402.io/p402/gateway"
)

// ListenMetrics binds the address that /metrics is served on, apart from the public one (PRODUCT §11, A14); nil without an
// error if it is off.
func (a *App) ListenMetrics() (net.Addr, error) {
	if a.cfg.MetricsListen == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", a.cfg.MetricsListen)
	if err != nil {
		return nil, fmt.Errorf("listen for metrics on %s: %w", a.cfg.MetricsListen, err)
	}
	a.metricsAddr = l
	return l.Addr(), nil
}

// serveMetrics serves /metrics, and nothing else, until ctx ends. It goes on while calls are drained, so that a drain can be watched.
func (a *App) serveMetrics(ctx context.Context) error {
	if a.metricsAddr == nil {
		return nil
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.metrics.registry, promhttp.HandlerOpts{}))
	server := &http.Server{Handler: mux, MaxHeaderBytes: gateway.MaxHeaderBytes, ReadHeaderTimeout: gateway.ReadHeaderTimeout, IdleTimeout: gateway.IdleTimeout,
		ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug)}
	served := make(chan error, 1)
	go func() { served <- server.Serve(a.metricsAddr) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	err := server.Close()
	if got := <-served; !errors.Is(got, http.ErrServerClosed) {
		err = errors.Join(err, got)
	}
	return err
}
