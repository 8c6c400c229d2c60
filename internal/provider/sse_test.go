package provider

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// readFrames is every frame of src and the error that ended it.
func readFrames(src io.Reader, limit int) ([]Frame, error) {
	s := NewSSEReader(src, limit)
	var frames []Frame
	for {
		f, err := s.Next()
		if err != nil {
			return frames, err
		}
		frames = append(frames, f)
	}
}

func TestA60_EventsAreCutAsTheStandardSays(t *testing.T) {
	t.Parallel()
	type want struct{ event, data string }
	const none = "\x00none" // a frame without data lines
	cases := []struct {
		name, in string
		want     []want
	}{
		{"line feed", "data: a\n\ndata: b\n\n", []want{{"", "a"}, {"", "b"}}},
		{"carriage return and line feed", "data: a\r\n\r\ndata: b\r\n\r\n", []want{{"", "a"}, {"", "b"}}},
		{"carriage return", "data: a\r\rdata: b\r\r", []want{{"", "a"}, {"", "b"}}},
		{"no space after the colon", "data:a\n\n", []want{{"", "a"}}},
		{"only one space is dropped", "data:  a\n\n", []want{{"", " a"}}},
		{"several data lines", "data: a\ndata: b\ndata:\ndata: c\n\n", []want{{"", "a\nb\n\nc"}}},
		{"data without a colon", "data\n\n", []want{{"", ""}}},
		{"event line", "event: error\ndata: {}\n\ndata: x\n\n", []want{{"error", "{}"}, {"", "x"}}},
		{"comment", ": OPENROUTER PROCESSING\n\ndata: a\n\n", []want{{"", none}, {"", "a"}}},
		{"comment inside an event", ": ping\ndata: a\n\n", []want{{"", "a"}}},
		{"id and retry are not data", "id: 7\nretry: 10\ndata: a\n\n", []want{{"", "a"}}},
		{"byte order mark", "\xef\xbb\xbfdata: a\n\n", []want{{"", "a"}}},
		{"a second mark is text", "data: a\n\n\xef\xbb\xbfdata: b\n\n", []want{{"", "a"}, {"", none}}},
		{"no blank line at the end", "data: a\n\ndata: [DONE]", []want{{"", "a"}, {"", "[DONE]"}}},
		{"keep-alive blank lines", "\n\ndata: a\n\n", []want{{"", none}, {"", none}, {"", "a"}}},
		{"rune in data", "data: caf\u00e9 \U0001F600\n\n", []want{{"", "caf\u00e9 \U0001F600"}}},
		{"mixed line ends", "data: a\r\n\ndata: b\n\r\n", []want{{"", "a"}, {"", "b"}}},
		{"a late line feed after carriage returns", "data: a\r\r\ndata: b\r\n\r\n", []want{{"", "a"}, {"", "b"}}},
		{"empty", "", nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, src := range []io.Reader{strings.NewReader(c.in), iotest.OneByteReader(strings.NewReader(c.in))} {
				frames, err := readFrames(src, 1<<20)
				if err != io.EOF {
					t.Fatalf("ended with %v", err)
				}
				var got []want
				var raw []byte
				for _, f := range frames {
					data := string(f.Data)
					if f.Data == nil {
						data = none
					}
					got = append(got, want{f.Event, data})
					raw = append(raw, f.Raw...)
				}
				if !reflect.DeepEqual(got, c.want) {
					t.Errorf("frames %q, want %q", got, c.want)
				}
				if string(raw) != c.in {
					t.Errorf("raw %q, want %q", raw, c.in)
				}
			}
		})
	}
}

// An event is handed out without a byte beyond its blank line: the source blocks for ever after each.
func TestD6_EventIsGivenBeforeAnyFurtherByte(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"\n", "\r\n", "\r"} {
		event := "data: a" + end + end
		in, out := io.Pipe()
		defer out.Close()
		s := NewSSEReader(in, 1<<10)
		// In a stream of bare carriage returns the first line end shows the style.
		for i := range 3 {
			wrote := make(chan error, 1)
			go func() {
				_, err := out.Write([]byte(event))
				wrote <- err
			}()
			f, err := s.Next()
			if werr := <-wrote; werr != nil {
				t.Fatal(werr)
			}
			if err != nil || string(f.Raw) != event {
				t.Fatalf("line end %q, event %d: %q, %v", end, i, f.Raw, err)
			}
		}
	}
}

func TestA60_OversizedEventsAreRefusedWithBoundedMemory(t *testing.T) {
	t.Parallel()
	const limit = 64 << 10
	for name, in := range map[string]string{
		"one line without an end": "data: " + strings.Repeat("x", 4*limit),
		"lines without a blank":   strings.Repeat("data:\n", limit),
		"a whole event":           "data: a\n\ndata: " + strings.Repeat("x", limit) + "\n\ndata: b\n\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, src := range []io.Reader{strings.NewReader(in), iotest.OneByteReader(strings.NewReader(in))} {
				s := NewSSEReader(src, limit)
				var err error
				for err == nil {
					_, err = s.Next()
				}
				if !errors.Is(err, errFrameTooLarge) {
					t.Fatalf("ended with %v", err)
				}
				if _, again := s.Next(); again != err {
					t.Fatalf("the error does not stick: %v", again)
				}
				if len(s.buf) > 4*limit {
					t.Fatalf("buffer grew to %d bytes", len(s.buf))
				}
			}
		})
	}
	exact := "data: " + strings.Repeat("x", limit-8) + "\n\n"
	if frames, err := readFrames(strings.NewReader(exact), limit); err != io.EOF || len(frames) != 1 {
		t.Fatalf("an event of exactly the limit: %d frames, %v", len(frames), err)
	}
}

func TestBrokenSourceDropsTheUnfinishedEvent(t *testing.T) {
	t.Parallel()
	broken := errors.New("connection reset")
	src := io.MultiReader(strings.NewReader("data: a\n\ndata: {\"half"), iotest.ErrReader(broken))
	frames, err := readFrames(src, 1<<10)
	if len(frames) != 1 || err != broken {
		t.Fatalf("%d frames, %v", len(frames), err)
	}
}

// chunked gives its pieces one a read.
type chunked struct{ pieces [][]byte }

func (c *chunked) Read(p []byte) (int, error) {
	for len(c.pieces) > 0 && len(c.pieces[0]) == 0 {
		c.pieces = c.pieces[1:]
	}
	if len(c.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.pieces[0])
	c.pieces[0] = c.pieces[0][n:]
	return n, nil
}

func checkSplit(in []byte, cuts []int, limit int) error {
	whole, wholeErr := readFrames(bytes.NewReader(in), limit)
	var pieces [][]byte
	at := 0
	for _, cut := range cuts {
		if cut > at && cut < len(in) {
			pieces = append(pieces, in[at:cut])
			at = cut
		}
	}
	parts, partsErr := readFrames(&chunked{append(pieces, in[at:])}, limit)
	if wholeErr != partsErr || !reflect.DeepEqual(whole, parts) {
		return fmt.Errorf("input %q cut at %v: %+v (%v), whole: %+v (%v)", in, cuts, parts, partsErr, whole, wholeErr)
	}
	var raw []byte
	for _, f := range whole {
		raw = append(raw, f.Raw...)
	}
	if wholeErr == io.EOF && !bytes.Equal(raw, in) {
		return fmt.Errorf("raw %q is not the input %q", raw, in)
	}
	return nil
}

func TestA60_AnySplitGivesTheSameFrames(t *testing.T) {
	t.Parallel()
	piece := rapid.SampledFrom([]string{"\n", "\r", "\r\n", "data: {\"a\":1}", "data:x", "data", ": ping", "event: e", "é", "\xef\xbb\xbf", "x", ":", " "})
	rapid.Check(t, func(t *rapid.T) {
		in := []byte(strings.Join(rapid.SliceOfN(piece, 0, 40).Draw(t, "pieces"), ""))
		cuts := rapid.SliceOfN(rapid.IntRange(0, len(in)), 0, 8).Draw(t, "cuts")
		if err := checkSplit(in, cuts, rapid.SampledFrom([]int{8, 24, 1 << 20}).Draw(t, "limit")); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzSSESplit(f *testing.F) {
	f.Add([]byte("data: a\r\rdata: b\n\n: c\r\n\r\n"), uint16(9), uint16(10))
	f.Add([]byte("\xef\xbb\xbfevent: x\ndata: {}\n\n\n"), uint16(1), uint16(2))
	f.Fuzz(func(t *testing.T, in []byte, a, b uint16) {
		if err := checkSplit(in, []int{int(a), int(b)}, 64); err != nil {
			t.Fatal(err)
		}
		var every []int
		for i := range in {
			every = append(every, i)
		}
		if err := checkSplit(in, every, 1<<20); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkSSEReader(b *testing.B) {
	event := "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word\"},\"finish_reason\":null}]}\n\n"
	in := []byte(strings.Repeat(event, 1000))
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if frames, err := readFrames(bytes.NewReader(in), 1<<20); err != io.EOF || len(frames) != 1000 {
			b.Fatal(len(frames), err)
		}
	}
}
