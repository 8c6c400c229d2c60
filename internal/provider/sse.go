package provider

import (
	"bytes"
	"errors"
	"io"
)

// errFrameTooLarge is what SSEReader says of an event above its limit.
var errFrameTooLarge = errors.New("event is larger than its limit")

const (
	// sseReadSize is how much is asked of the source at once: the usual chunk of a vendor is far below it, and a
	// small step keeps the buffer from filling with frames nobody has asked for yet.
	sseReadSize = 16 << 10
	// sseKeepSize is the largest buffer kept once an outsized event has left it.
	sseKeepSize = 64 << 10
)

// SSEReader cuts a byte stream into server-sent events without altering a byte: the Raw of all frames together is the
// input. Lines end in LF, CRLF or CR; a leading byte order mark, comments and unknown fields are kept in Raw and out of
// Data. A blank line alone is a frame without data, as a comment is. The result does not depend on how reads fall.
type SSEReader struct {
	src io.Reader
	max int
	err error // the source's end, given once the buffer is used up

	buf        []byte
	start, end int // the unread bytes: buf[start:end]
	line       int // start of the line being looked for, within buf
	scanned    int // no line end in buf[line:scanned]

	cut       bool // the first frame has been taken
	begun     bool // the first bytes have been looked at
	bareCR    bool // the last line ended in CR alone, so a CR need not wait for its LF
	swallowLF bool // the last frame ended in such a CR; an LF now still belongs to that line end
	event     string
}

// NewSSEReader reads events of at most maxFrame bytes (Raw) from src. A larger event is a sticky error after which
// nothing more is read.
func NewSSEReader(src io.Reader, maxFrame int) *SSEReader {
	return &SSEReader{src: src, max: maxFrame}
}

// Next is the next event as soon as its blank line has come; io.EOF after the last. An event whose blank line never
// came is given as it is before io.EOF, and dropped before any other error of the source.
func (s *SSEReader) Next() (Frame, error) {
	for s.err != errFrameTooLarge {
		end := s.frameEnd()
		size := end - s.start
		if end == 0 {
			size = s.end - s.start
		}
		if size > s.max {
			s.err = errFrameTooLarge
			break
		}
		if end > 0 {
			return s.take(end, false), nil
		}
		if s.err != nil {
			return s.tail()
		}
		s.fill()
	}
	return Frame{}, s.err
}

// tail is what is left when the source has ended.
func (s *SSEReader) tail() (Frame, error) {
	if s.err == io.EOF && s.end > s.start {
		return s.take(s.end, true), nil
	}
	s.start = s.end
	return Frame{}, s.err
}

// fill reads once, making room first. Only the frame being assembled can make the buffer grow.
func (s *SSEReader) fill() {
	if s.start == s.end {
		s.start, s.end, s.line, s.scanned = 0, 0, 0, 0
		if len(s.buf) > sseKeepSize {
			s.buf = nil
		}
	}
	if len(s.buf)-s.end < sseReadSize {
		next := s.buf
		if need := s.end - s.start + sseReadSize; need > len(s.buf) {
			next = make([]byte, max(2*len(s.buf), need))
		}
		copy(next, s.buf[s.start:s.end])
		s.buf = next
		s.line, s.scanned, s.end, s.start = s.line-s.start, s.scanned-s.start, s.end-s.start, 0
	}
	n, err := s.src.Read(s.buf[s.end : s.end+sseReadSize])
	s.end += n
	s.err = err
}

// frameEnd is the offset just past the blank line of the first whole event in the buffer, or 0.
func (s *SSEReader) frameEnd() int {
	if !s.skipPrefix() {
		return 0
	}
	for {
		at, next, ok := s.lineEnd()
		if !ok {
			return 0
		}
		blank := at == s.line
		s.line, s.scanned = next, next
		if blank {
			return next
		}
	}
}

// skipPrefix steps over what may precede the first line of a frame and is not a line: the byte order mark, and an LF
// that completes the previous frame's CR. It reports false while it cannot tell yet.
func (s *SSEReader) skipPrefix() bool {
	unread := s.buf[s.start:s.end]
	if !s.begun {
		if n := len(unread); n < len(bom) && s.err == nil && bytes.HasPrefix(bom, unread) {
			return false
		}
		s.begun = true
		if bytes.HasPrefix(unread, bom) {
			s.line, s.scanned = s.start+len(bom), s.start+len(bom)
		}
		return true
	}
	if !s.swallowLF {
		return true
	}
	if len(unread) == 0 {
		return false
	}
	s.swallowLF = false
	if unread[0] == '\n' {
		s.bareCR = false
		s.line, s.scanned = s.start+1, s.start+1
	}
	return true
}

// lineEnd finds where the current line's text stops and where the next line begins.
func (s *SSEReader) lineEnd() (at, next int, ok bool) {
	rest := s.buf[s.scanned:s.end]
	lf := bytes.IndexByte(rest, '\n')
	if lf >= 0 {
		rest = rest[:lf]
	}
	cr := bytes.IndexByte(rest, '\r')
	if cr < 0 && lf < 0 {
		s.scanned = s.end
		return 0, 0, false
	}
	if cr < 0 {
		s.bareCR = false
		return s.scanned + lf, s.scanned + lf + 1, true
	}
	at = s.scanned + cr
	// Where lines end in CR alone, waiting for an LF after the blank line would hold a whole event back. If one comes
	// after all, it opens the next frame; whether it is here already must not matter.
	if at == s.line && s.bareCR {
		s.swallowLF = true
		return at, at + 1, true
	}
	if at+1 < s.end {
		s.bareCR = s.buf[at+1] != '\n'
		if s.bareCR {
			return at, at + 1, true
		}
		return at, at + 2, true
	}
	if s.err != nil {
		return at, at + 1, true
	}
	s.scanned = at
	return 0, 0, false
}

// take cuts the frame that ends at offset end out of the buffer.
func (s *SSEReader) take(end int, unterminated bool) Frame {
	f := Frame{Raw: bytes.Clone(s.buf[s.start:end]), unterminated: unterminated}
	text := f.Raw
	if !s.cut {
		s.cut, text = true, bytes.TrimPrefix(text, bom)
	}
	s.start, s.line, s.scanned = end, end, end
	lines := 0
	for len(text) > 0 {
		var line []byte
		line, _, text = cutLine(text)
		name, value := field(line)
		switch string(name) {
		case "data":
			f.Data = appendData(f.Data, value, lines, len(f.Raw))
			lines++
		case "event":
			if s.event != string(value) {
				s.event = string(value)
			}
			f.Event = s.event
		}
	}
	return f
}

var bom = []byte("\xef\xbb\xbf")

// appendData joins data lines. The first is used where it lies, so that the usual event is not copied again; a second
// one makes room for all that can follow, so that a million empty lines cost no more than their bytes.
func appendData(data, value []byte, lines, limit int) []byte {
	switch lines {
	case 0:
		return value[:len(value):len(value)]
	case 1:
		data = append(make([]byte, 0, limit), data...)
	}
	return append(append(data, '\n'), value...)
}

// cutLine splits text after its first line end: the line, its terminator, the rest.
func cutLine(text []byte) (line, terminator, rest []byte) {
	at := bytes.IndexByte(text, '\n')
	if at < 0 {
		at = len(text)
	}
	if cr := bytes.IndexByte(text[:at], '\r'); cr >= 0 {
		at = cr
	}
	next := at
	if next < len(text) && text[next] == '\r' {
		next++
	}
	if next < len(text) && text[next] == '\n' {
		next++
	}
	return text[:at], text[at:next], text[next:]
}

// field splits a line into name and value. A comment has no name.
func field(line []byte) (name, value []byte) {
	colon := bytes.IndexByte(line, ':')
	if colon < 0 {
		return line, line[len(line):]
	}
	value = line[colon+1:]
	if len(value) > 0 && value[0] == ' ' {
		value = value[1:]
	}
	return line[:colon], value
}
