package app

import (
	"context"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"p402.io/p402/settlement"
)

// metrics has bounded labels only: route templates, methods, statuses. No owner's id is ever a label (O15).
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	payments *prometheus.GaugeVec
}

func newMetrics() *metrics {
	m := &metrics{registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "p402_requests_total", Help: "Finished HTTP requests."}, []string{"method", "route", "status"}),
		seconds:  prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "p402_request_seconds", Help: "Time to the end of the answer."}, []string{"route"}),
		payments: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "p402_gas_payments", Help: "For how many payments the gas wallet lasts at present fees."}, []string{"network"})}
	m.registry.MustRegister(m.requests, m.seconds, m.payments)
	return m
}

func (m *metrics) observe(method, route string, status int, took time.Duration) {
	switch method {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
	default:
		method = "other"
	}
	m.requests.WithLabelValues(method, route, http.StatusText(status)).Inc()
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
}

// gas is the low-gas alarm's source: the networks are a handful, so they may be a label.
func (m *metrics) gas(g settlement.Gas) {
	m.payments.WithLabelValues(g.Network).Set(float64(g.Payments))
}

// system is health, version and the published keys.
type system struct {
	app  *App
	keys settlement.KeySet
}

// Register adds the routes.
func (s *system) Register(r *gin.Engine) {
	r.GET("/healthz", func(c *gin.Context) { c.JSON(http.StatusOK, gin.H{"status": "ok"}) })
	r.GET("/readyz", s.ready)
	r.GET("/version", func(c *gin.Context) { c.JSON(http.StatusOK, gin.H{"version": Version()}) })
	r.GET("/.well-known/p402-keys.json", func(c *gin.Context) { c.JSON(http.StatusOK, s.keys) })
}

func (s *system) ready(c *gin.Context) {
	ctx, cancel := context.WithTimeout(c.Request.Context(), 2*time.Second)
	defer cancel()
	if err := s.app.Store.Ping(ctx); err != nil {
		c.JSON(http.StatusServiceUnavailable, gin.H{"status": "store unavailable"})
		return
	}
	c.JSON(http.StatusOK, gin.H{"status": "ready", "vendor": s.app.cfg.vendorNames(), "settlement": s.app.cfg.Settlement != nil})
}

// Version is the build's version and commit.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	version := info.Main.Version
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" && len(setting.Value) >= 12 {
			version += " " + setting.Value[:12]
		}
	}
	return version
}
