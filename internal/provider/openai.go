package provider

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Config is one vendor. Zero durations and sizes take the defaults below, a zero profile is openai_compatible.
type Config struct {
	Name         string
	Profile      Profile
	BaseURL      string        // with its version part, e.g. https://api.example.com/v1; "" is the profile's
	APIKey       string        // "" sends none
	Simulated    bool          // the vendor makes its answers up
	AllowPrivate bool          // private and loopback addresses may be dialled
	FirstByte    time.Duration // from sending to the answer's headers
	Idle         time.Duration // between two frames
	MaxFrame     int
	MaxBody      int64
}

const (
	defaultFirstByte = 120 * time.Second
	defaultIdle      = 120 * time.Second
	defaultMaxFrame  = 4 << 20
	defaultMaxBody   = 32 << 20
	connectTimeout   = 10 * time.Second
	maxIdlePerHost   = 256
)

// OpenAI is a vendor that is spoken to over HTTP as its profile says: OpenAI's forms, and Anthropic's Messages.
type OpenAI struct {
	cfg    Config
	client *http.Client
	// plainStreams is set once the vendor has refused stream_options.
	plainStreams atomic.Bool
}

var _ Provider = (*OpenAI)(nil)

// New returns a vendor; a base URL that cannot be used is refused with its reason.
func New(c Config) (*OpenAI, error) {
	if c.BaseURL == "" {
		c.BaseURL = c.Profile.BaseURL
	}
	guard := Egress{AllowPrivate: c.AllowPrivate}
	if _, err := guard.CheckURL(c.BaseURL); err != nil {
		return nil, fmt.Errorf("provider %s: base URL: %w", c.Name, err)
	}
	c.BaseURL = strings.TrimRight(c.BaseURL, "/")
	if c.FirstByte == 0 {
		c.FirstByte = defaultFirstByte
	}
	if c.Idle == 0 {
		c.Idle = defaultIdle
	}
	if c.MaxFrame == 0 {
		c.MaxFrame = defaultMaxFrame
	}
	if c.MaxBody == 0 {
		c.MaxBody = defaultMaxBody
	}
	transport := &http.Transport{ForceAttemptHTTP2: true, MaxIdleConns: maxIdlePerHost, MaxIdleConnsPerHost: maxIdlePerHost, IdleConnTimeout: 90 * time.Second,
		TLSHandshakeTimeout: connectTimeout, MaxResponseHeaderBytes: 64 << 10, DisableCompression: true}
	if err := guard.Guard(transport); err != nil {
		return nil, fmt.Errorf("provider %s: %w", c.Name, err)
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return &OpenAI{cfg: c, client: client}, nil
}

// Name is the vendor's name on events.
func (o *OpenAI) Name() string { return o.cfg.Name }

// Profile is what is known of the vendor's kind.
func (o *OpenAI) Profile() Profile { return o.cfg.Profile }

// Simulated reports whether answers are made up.
func (o *OpenAI) Simulated() bool { return o.cfg.Simulated }

// Do sends one attempt. A vendor that refuses stream_options, which we had put in, is asked once more without, as the refusal
// cost nothing; from then on it is not sent there.
func (o *OpenAI) Do(ctx context.Context, r Request) (*Response, error) {
	if r.UsageAddedByUs && o.plainStreams.Load() {
		r = r.withoutStreamOptions()
	}
	resp, err := o.attempt(ctx, r)
	if err != nil || !r.UsageAddedByUs || resp.Status != http.StatusBadRequest && resp.Status != http.StatusUnprocessableEntity {
		return resp, err
	}
	f, err := resp.Next()
	if err != nil || !bytes.Contains(f.Data, []byte("stream_options")) {
		return resp.again(f, err), nil
	}
	if err := resp.Close(); err != nil {
		return nil, o.failed(KindReset, true, err)
	}
	o.plainStreams.Store(true)
	return o.attempt(ctx, r.withoutStreamOptions())
}

func (o *OpenAI) attempt(ctx context.Context, r Request) (*Response, error) {
	ctx, cancel := context.WithCancel(ctx)
	waiting := newWatch(o.cfg.FirstByte, cancel)
	req, err := o.request(ctx, r)
	if err != nil {
		cancel()
		return nil, o.failed(KindRequest, false, err)
	}
	resp, err := o.client.Do(req)
	if err != nil {
		waiting.stop()
		defer cancel()
		return nil, o.classify(ctx, waiting, err)
	}
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		waiting.stop()
		cancel()
		return nil, errors.Join(o.failed(KindMalformed, true, errors.New("the vendor redirected; redirects are not followed")), resp.Body.Close())
	}
	return o.answer(ctx, cancel, waiting, resp), nil
}

func (o *OpenAI) request(ctx context.Context, r Request) (*http.Request, error) {
	path := r.Route.path()
	if path == "" || !o.cfg.Profile.Serves(r.Route) {
		return nil, fmt.Errorf("this vendor has no route %q", r.Route)
	}
	shaped := r.Body
	if len(shaped) > 0 {
		var err error
		if shaped, err = o.cfg.Profile.Shape(r.Route, shaped); err != nil {
			return nil, err
		}
	}
	method, target, body := http.MethodPost, o.cfg.BaseURL+path, io.Reader(bytes.NewReader(shaped))
	if r.Method == http.MethodGet || r.Method == http.MethodDelete {
		method, target, body = r.Method, target+"/"+url.PathEscape(r.Object), nil
	}
	if r.Query != "" {
		target += "?" + r.Query
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, err
	}
	req.GetBody = nil // a request is never sent twice: it may cost money twice
	extraHeaders(req.Header, r.Header)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json")
	if r.Stream {
		req.Header.Set("Accept", "text/event-stream")
	}
	req.Header.Set("User-Agent", "p402")
	if o.cfg.APIKey != "" {
		name, value := o.cfg.Profile.auth(r.Route, o.cfg.APIKey)
		req.Header.Set(name, value)
	}
	if r.IdempotencyKey != "" {
		req.Header.Set("Idempotency-Key", r.IdempotencyKey)
	}
	return req, nil
}

func (o *OpenAI) failed(kind Kind, sent bool, err error) *Error {
	return &Error{Kind: kind, Sent: sent, Provider: o.cfg.Name, Err: err}
}

// classify says of a failed call how far it came. Only a failed dial is certain not to have reached the vendor.
func (o *OpenAI) classify(ctx context.Context, w *watch, err error) *Error {
	switch {
	case errors.Is(err, ErrBlocked):
		return o.failed(KindBlocked, false, err)
	case w.fired():
		return o.failed(KindTimeout, true, errors.New("no answer in time"))
	case ctx.Err() != nil:
		return o.failed(KindCanceled, true, ctx.Err())
	case strings.Contains(err.Error(), "dial ") || strings.Contains(err.Error(), "tls:"):
		return o.failed(KindConnect, false, errors.New("no connection"))
	}
	return o.failed(KindReset, true, errors.New("the connection broke before the answer"))
}

// answer wraps a vendor's response as frames.
func (o *OpenAI) answer(ctx context.Context, cancel context.CancelFunc, w *watch, resp *http.Response) *Response {
	media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	stream := err == nil && media == "text/event-stream" && resp.StatusCode < 400
	closing := func() error {
		w.stop()
		cancel()
		return resp.Body.Close()
	}
	next := o.plain(ctx, w, resp.Body, resp.StatusCode >= 400)
	if stream {
		next = o.frames(ctx, w, resp.Body)
	}
	return NewResponse(resp.StatusCode, resp.Header, stream, next, closing)
}

// plain reads a whole body as one frame; one that tells of an error is scrubbed.
func (o *OpenAI) plain(ctx context.Context, w *watch, body io.Reader, isError bool) func() (Frame, error) {
	done := false
	return func() (Frame, error) {
		if done {
			return Frame{}, io.EOF
		}
		done = true
		raw, err := io.ReadAll(io.LimitReader(body, o.cfg.MaxBody+1))
		switch {
		case err != nil:
			return Frame{}, o.broke(ctx, w, err)
		case int64(len(raw)) > o.cfg.MaxBody:
			return Frame{}, o.failed(KindTooLarge, true, errors.New("the answer is too large"))
		}
		if isError {
			raw = scrub(raw, o.cfg.APIKey)
		}
		return Frame{Data: raw, Raw: raw}, nil
	}
}

// frames reads a stream; it has ended well once the vendor said so: the form's last event, or a finish_reason before the end.
func (o *OpenAI) frames(ctx context.Context, w *watch, body io.Reader) func() (Frame, error) {
	reader := NewSSEReader(body, o.cfg.MaxFrame)
	finished := false
	return func() (Frame, error) {
		w.reset(o.cfg.Idle)
		f, err := reader.Next()
		w.pause()
		switch {
		case err == nil:
			finished = finished || EndsStream(f) || hasFinishReason(f.Data)
			if bytes.Contains(f.Data, []byte(`"error"`)) && IsErrorFrame(f) {
				f = scrubbed(f, o.cfg.APIKey)
			}
			return f, nil
		case errors.Is(err, io.EOF) && finished:
			return Frame{}, io.EOF
		case errors.Is(err, errFrameTooLarge):
			return Frame{}, o.failed(KindTooLarge, true, err)
		}
		return Frame{}, o.broke(ctx, w, err)
	}
}

func hasFinishReason(data []byte) bool {
	at := bytes.Index(data, []byte(`"finish_reason":`))
	if at < 0 {
		return false
	}
	rest := bytes.TrimLeft(data[at+len(`"finish_reason":`):], " ")
	return len(rest) > 0 && rest[0] == '"'
}

func (o *OpenAI) broke(ctx context.Context, w *watch, err error) *Error {
	switch {
	case w.fired():
		return o.failed(KindTimeout, true, errors.New("the answer stalled"))
	case ctx.Err() != nil:
		return o.failed(KindCanceled, true, ctx.Err())
	}
	_ = err // the transport's text may quote the answer
	return o.failed(KindCut, true, errors.New("the answer ended early"))
}

// watch cancels a call whose present phase takes too long.
type watch struct {
	mu    sync.Mutex
	timer *time.Timer
	hit   bool
}

func newWatch(limit time.Duration, cancel context.CancelFunc) *watch {
	w := &watch{}
	w.timer = time.AfterFunc(limit, func() {
		w.mu.Lock()
		w.hit = true
		w.mu.Unlock()
		cancel()
	})
	return w
}

func (w *watch) reset(limit time.Duration) { w.timer.Reset(limit) }
func (w *watch) pause()                    { w.timer.Stop() }
func (w *watch) stop()                     { w.timer.Stop() }

func (w *watch) fired() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.hit
}
