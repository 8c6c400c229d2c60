package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"
)

// billed is one line of the vendor's own log.
type billed struct {
	Input, Output int64
	Times         int
}

// vendor is a model server with a log of its own: what it was asked and what it bills, by the mark in the prompt.
type vendor struct {
	url    string
	server *http.Server

	mu  sync.Mutex
	log map[string]billed
}

var markForm = regexp.MustCompile(`mark-[0-9]+-[0-9]+-[0-9]+`)

func startVendor() (*vendor, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	v := &vendor{url: "http://" + l.Addr().String() + "/v1", log: map[string]billed{}}
	v.server = &http.Server{Handler: v, ReadHeaderTimeout: time.Minute}
	go func() { _ = v.server.Serve(l) }() // it ends with the program
	return v, nil
}

// ServeHTTP bills the counts that the mark names, and answers with them.
func (v *vendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	mark := markForm.FindString(string(body))
	if err != nil || mark == "" {
		http.Error(w, "no mark", http.StatusBadRequest)
		return
	}
	var number, input, output int64
	_, _ = fmt.Sscanf(mark, "mark-%d-%d-%d", &number, &input, &output) // the form was matched
	v.mu.Lock()
	b := v.log[mark]
	v.log[mark] = billed{input, output, b.Times + 1}
	v.mu.Unlock()
	time.Sleep(time.Duration(number%7) * 5 * time.Millisecond)
	usage := map[string]int64{"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output}
	if !strings.Contains(string(body), `"stream":true`) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"id": "v-" + mark, "object": "chat.completion", "model": "mock-small", "usage": usage,
			"choices": []any{map[string]any{"index": 0, "finish_reason": "stop", "message": map[string]string{"role": "assistant", "content": "word"}}}})
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for i := range 6 {
		chunk := map[string]any{"id": "v-" + mark, "object": "chat.completion.chunk", "model": "mock-small",
			"choices": []any{map[string]any{"index": 0, "delta": map[string]string{"content": " word"}}}}
		if i == 5 {
			chunk["choices"], chunk["usage"] = []any{}, usage
		}
		raw, _ := json.Marshal(chunk)
		_, _ = fmt.Fprintf(w, "data: %s\n\n", raw)
		w.(http.Flusher).Flush()
		time.Sleep(3 * time.Millisecond)
	}
	_, _ = io.WriteString(w, "data: [DONE]\n\n")
}
