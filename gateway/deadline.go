package gateway

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
)

// Deadlines bounds what one client may hold up. The zero value is defaultDeadlines.
type Deadlines struct {
	Body  time.Duration // the arrival of a whole body
	Write time.Duration // one write to a client that does not read; a stream begins anew with each frame
}

// defaultDeadlines: 10 MiB in a minute is 1.4 Mbit/s.
var defaultDeadlines = Deadlines{Body: time.Minute, Write: 30 * time.Second}

const (
	// ReadHeaderTimeout is for http.Server: who sends its headers by the byte is cut (A38).
	ReadHeaderTimeout = 10 * time.Second
	// IdleTimeout is for http.Server: how long a kept connection may wait for its next request.
	IdleTimeout = 2 * time.Minute
	// leftoverTimeout bounds the reading of what a handler did not want.
	leftoverTimeout = 5 * time.Second
)

// set guards a request against a client that sends or reads too slowly. The connection's deadlines outlive a
// request that is kept alive, so the one for writing is lifted here, and net/http sets the one for reading afresh. The
// returned function is called when the handler is done.
func (d Deadlines) set(c *gin.Context) (done func()) {
	if d == (Deadlines{}) {
		d = defaultDeadlines
	}
	rc := http.NewResponseController(c.Writer)
	if err := rc.SetWriteDeadline(time.Time{}); errors.Is(err, http.ErrNotSupported) {
		return func() {} // a test's recorder: there is no connection to guard
	}
	c.Writer = &timedWriter{ResponseWriter: c.Writer, rc: rc, limit: d.Write}
	if c.Request.Body == nil || c.Request.Body == http.NoBody {
		return func() {}
	}
	body := &timedBody{ReadCloser: c.Request.Body, rc: rc, limit: d.Body}
	c.Request.Body = body
	return func() {
		wait := leftoverTimeout // net/http reads an unwanted rest before it uses the connection again
		switch {
		case body.ended:
			return
		case body.failed:
			wait = 0
		}
		_ = rc.SetReadDeadline(time.Now().Add(wait)) // it fails on a connection that is gone, and then nothing is read
	}
}

// timedBody gives a body one span to arrive in, from its first read to its end. The deadline is lifted at the end, as
// net/http goes on reading to notice that the client has gone.
type timedBody struct {
	io.ReadCloser
	rc      *http.ResponseController
	limit   time.Duration
	started bool
	ended   bool
	failed  bool
}

// Read reads within the span.
func (b *timedBody) Read(p []byte) (int, error) {
	if !b.started {
		b.started = true
		if err := b.rc.SetReadDeadline(time.Now().Add(b.limit)); err != nil {
			return 0, err
		}
	}
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) && !b.ended {
		b.ended = true
		if lifted := b.rc.SetReadDeadline(time.Time{}); lifted != nil {
			return n, lifted
		}
	}
	b.failed = b.failed || err != nil && !b.ended
	return n, err
}

// timedWriter sets a deadline before each write.
type timedWriter struct {
	gin.ResponseWriter
	rc    *http.ResponseController
	limit time.Duration
}

// arm fails only on a connection that is gone, and then the write says so.
func (w *timedWriter) arm() { _ = w.rc.SetWriteDeadline(time.Now().Add(w.limit)) }

// Write writes within the deadline.
func (w *timedWriter) Write(p []byte) (int, error) {
	w.arm()
	return w.ResponseWriter.Write(p)
}

// WriteString writes within the deadline.
func (w *timedWriter) WriteString(text string) (int, error) {
	w.arm()
	return w.ResponseWriter.WriteString(text)
}

// Flush flushes within the deadline.
func (w *timedWriter) Flush() {
	w.arm()
	w.ResponseWriter.Flush()
}

// Unwrap lets http.ResponseController through.
func (w *timedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
