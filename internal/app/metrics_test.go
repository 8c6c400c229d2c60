package app

import (
	"net/http"
	"strings"
	"testing"
)

// Numbers of the running house are nobody's on the public address; where they are served there is nothing else.
func TestA14_MetricsAreOffThePublicPort(t *testing.T) {
	t.Parallel()
	h := theHouse(t)
	u := h.user(t)
	u.call(nil)
	for _, key := range []string{u.key, ""} {
		stranger := user{t: t, h: h, key: key}
		if r := stranger.do("GET", "/metrics", nil); r.status != http.StatusNotFound {
			t.Errorf("the public port answers /metrics with %d", r.status)
		}
	}
	inside := user{t: t, h: &house{base: "http://" + h.metrics}}
	if r := inside.do("GET", "/metrics", nil); r.status != http.StatusOK || !strings.Contains(string(r.body), "p402_requests_total{") {
		t.Errorf("metrics: %d %.200s", r.status, r.body)
	}
	for _, path := range []string{"/", "/v1/models", "/readyz", "/debug/pprof/"} {
		if r := inside.do("GET", path, nil); r.status != http.StatusNotFound {
			t.Errorf("%s is served beside the metrics: %d", path, r.status)
		}
	}
}
