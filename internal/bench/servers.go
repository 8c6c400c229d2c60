package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"

	"github.com/gin-gonic/gin"
)

const frames = 200 // of a streamed answer

// serveUpstream is a vendor that costs as little as may be: fixed bytes, real frames, each flushed.
func serveUpstream() error {
	plain := []byte(`{"id":"chatcmpl-bench","object":"chat.completion","created":1767225600,"model":"mock-small","choices":[{"index":0,"message":` +
		`{"role":"assistant","content":"` + strings.Repeat("word ", 150) + `"},"finish_reason":"stop"}],"usage":{"prompt_tokens":250,"completion_tokens":150,"total_tokens":400}}`)
	frame := []byte(`data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1767225600,"model":"mock-small","choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}` + "\n\n")
	last := []byte(`data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1767225600,"model":"mock-small","choices":[],"usage":{"prompt_tokens":250,"completion_tokens":200,"total_tokens":450}}` + "\n\ndata: [DONE]\n\n")
	return announce(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if !strings.Contains(string(body[:min(len(body), 200)]), `"stream":true`) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(plain)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		flusher := w.(http.Flusher)
		for range frames - 1 {
			_, _ = w.Write(frame)
			flusher.Flush()
		}
		_, _ = w.Write(last)
	}))
}

// serveHop is the floor: Gin and the standard library's reverse proxy, flushing at once, and nothing else.
func serveHop(target string) error {
	to, err := url.Parse(target)
	if err != nil {
		return err
	}
	proxy := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) },
		Transport: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}}
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.POST("/v1/chat/completions", func(c *gin.Context) { proxy.ServeHTTP(c.Writer, c.Request) })
	return announce(engine)
}

// announce serves on a free port and prints its address as the first line.
func announce(h http.Handler) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	return http.Serve(l, h)
}
