package gateway_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"p402.io/p402/gateway"
	"p402.io/p402/internal/id"
)

// surface is routes for a test.
type surface func(r *gin.Engine)

func (s surface) Register(r *gin.Engine) { s(r) }

func clock() time.Time { return time.Date(2027, 1, 15, 8, 0, 0, 0, time.UTC) }

// serve runs a router on a real listener, as deadlines live on connections. The clock it is given stands still: a
// deadline must not depend on it.
func serve(t *testing.T, cfg gateway.Config, s surface) string {
	t.Helper()
	cfg.Log, cfg.IDs, cfg.Now = slog.New(slog.DiscardHandler), id.NewSource(clock), clock
	server := httptest.NewServer(gateway.NewRouter(cfg, s))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func dial(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // nothing is pending
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

func readAll(log *slog.Logger) surface {
	return func(r *gin.Engine) {
		r.POST("/read", func(c *gin.Context) {
			if _, err := io.ReadAll(c.Request.Body); err != nil {
				gateway.Fail(c, log, err)
				return
			}
			c.String(http.StatusOK, "read")
		})
	}
}

func TestA38_ABodyThatNeverEndsIsCutWith408(t *testing.T) {
	t.Parallel()
	addr := serve(t, gateway.Config{Deadlines: gateway.Deadlines{Body: 150 * time.Millisecond, Write: time.Second}}, readAll(slog.New(slog.DiscardHandler)))
	conn := dial(t, addr)
	fmt.Fprint(conn, "POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
	answer, err := io.ReadAll(conn) // ends, as the connection is closed
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 408") || !strings.Contains(string(answer), "REQUEST_TIMEOUT") {
		t.Errorf("%v: %.300s", err, answer)
	}
}

// The deadline of one body is not the next request's, nor that of the answer.
func TestDeadlinesEndWithTheirBody(t *testing.T) {
	t.Parallel()
	const limit = 150 * time.Millisecond
	addr := serve(t, gateway.Config{Deadlines: gateway.Deadlines{Body: limit, Write: limit}}, func(r *gin.Engine) {
		r.POST("/slow", func(c *gin.Context) {
			if _, err := io.ReadAll(c.Request.Body); err != nil {
				t.Error(err)
			}
			for range 4 { // longer than both limits, and the client has not gone
				select {
				case <-c.Request.Context().Done():
					t.Error("the request was cancelled while its client waited")
				case <-time.After(limit):
				}
				_, _ = c.Writer.WriteString("x") // the client's reading is checked below
				c.Writer.Flush()
			}
		})
	})
	conn := dial(t, addr)
	in := bufio.NewReader(conn)
	for range 2 {
		fmt.Fprint(conn, "POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(res.Body); err != nil || string(body) != "xxxx" {
			t.Errorf("%q %v", body, err)
		}
	}
}

func TestA38_AClientThatDoesNotReadIsLetGo(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	addr := serve(t, gateway.Config{Deadlines: gateway.Deadlines{Body: time.Second, Write: 150 * time.Millisecond}}, func(r *gin.Engine) {
		r.GET("/flood", func(c *gin.Context) {
			chunk := make([]byte, 1<<20)
			for range 1000 {
				if _, err := c.Writer.Write(chunk); err != nil {
					ended <- err
					return
				}
			}
			ended <- nil
		})
	})
	fmt.Fprint(dial(t, addr), "GET /flood HTTP/1.1\r\nHost: x\r\n\r\n")
	select {
	case err := <-ended:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a gigabyte went to a client that does not read: %v", err)
		}
	case <-time.After(15 * time.Second):
		t.Error("the handler still waits for a client that does not read")
	}
}

// A listed origin may read the keyed surfaces, and no other.
func TestOnlyListedOriginsReadKeyedSurfaces(t *testing.T) {
	t.Parallel()
	addr := serve(t, gateway.Config{Origins: []string{"https://app.example"}}, func(r *gin.Engine) {
		r.GET("/api/v2/me", func(c *gin.Context) { c.String(http.StatusOK, "me") })
	})
	for origin, want := range map[string]string{"https://app.example": "https://app.example", "https://evil.example": "", "https://app.example.evil.example": "", "null": ""} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/api/v2/me", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", origin)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close() // only headers count here
		h := res.Header
		if h.Get("Access-Control-Allow-Origin") != want || h.Get("Vary") != "Origin" || h.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: %v", origin, h)
		}
	}
}
