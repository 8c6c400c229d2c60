package mock

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// play sends a stream, misbehaving as the model's name says.
func (v *Vendor) play(w http.ResponseWriter, r *http.Request, m modes, s script) {
	w.Header().Set("Content-Type", "text/event-stream")
	flusher, ok := w.(http.Flusher)
	if !ok {
		panic("mock: the server cannot flush") // net/http's own writer can
	}
	send := func(f frame) bool {
		raw, err := json.Marshal(f.data)
		if err != nil {
			panic("mock: " + err.Error()) // maps of plain values always marshal
		}
		if f.event != "" {
			_, _ = fmt.Fprintf(w, "event: %s\n", f.event) // the next write tells
		}
		_, err = fmt.Fprintf(w, "data: %s\n\n", raw)
		flusher.Flush()
		return err == nil && r.Context().Err() == nil
	}
	sent := 0
	for _, f := range s.frames {
		if f.content && m.has("cut-after") && sent == m.number("cut-after", 0) {
			panic(http.ErrAbortHandler)
		}
		if f.content && !pause(r.Context(), m) || !send(f) {
			v.canceled.Add(1)
			return
		}
		if f.content {
			sent++
		}
		if f.content && m.has("error-in-stream") {
			send(s.broken)
			return
		}
	}
	if s.done {
		_, _ = io.WriteString(w, "data: [DONE]\n\n") // the client may be gone by now
	}
}
