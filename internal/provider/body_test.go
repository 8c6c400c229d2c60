package provider

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestSetModelTouchesNothingElse(t *testing.T) {
	t.Parallel()
	cases := []struct{ name, in, want string }{
		{"replaced", `{"model":"a","x":1.50e+2}`, `{"model":"m/1","x":1.50e+2}`},
		{"same", `{"model":"m/1"}`, `{"model":"m/1"}`},
		{"white space", " {\n\t\"model\" : \"a\" ,\"b\": [ ] }\r\n", " {\n\t\"model\" : \"m/1\" ,\"b\": [ ] }\r\n"},
		{"added", `{"x":1}`, `{"model":"m/1","x":1}`},
		{"added to nothing", `{ }`, `{"model":"m/1" }`},
		{"nested ones are not it", `{"a":{"model":"n"},"b":[{"model":"n"}],"model":"a"}`, `{"a":{"model":"n"},"b":[{"model":"n"}],"model":"m/1"}`},
		{"key with escapes", `{"mo\u0064el":"a"}`, `{"mo\u0064el":"m/1"}`},
		{"value with quotes", `{"model":"a\"b\\","z":"\"model\":\"x\""}`, `{"model":"m/1","z":"\"model\":\"x\""}`},
		{"twice", `{"model":"a","model":"b"}`, `{"model":"m/1","model":"m/1"}`},
		{"not a string", `{"model":{"model":[1,2]}}`, `{"model":"m/1"}`},
		{"case counts", `{"Model":"a"}`, `{"model":"m/1","Model":"a"}`},
	}
	for _, c := range cases {
		got, err := SetModel([]byte(c.in), "m/1")
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %s, %v", c.name, got, err)
		}
	}
	for _, in := range []string{"", "null", "[]", `"x"`, `{"a":1`, `{"a":1}{}`, `{"a"}`, `{"a":}`, `{a:1}`, `{"a":1,}`, `{"a":"`} {
		if _, err := SetModel([]byte(in), "m"); !errors.Is(err, ErrNotObject) {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func TestD7_IncludeUsageIsAskedForAndTheClientsWishIsKnown(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, in, want string
		asked          bool
	}{
		{"absent", `{"stream":true}`, `{"stream_options":{"include_usage":true},"stream":true}`, false},
		{"asked", `{"stream_options":{"include_usage":true}}`, `{"stream_options":{"include_usage":true}}`, true},
		{"declined", `{"stream_options":{"include_usage":false}}`, `{"stream_options":{"include_usage":true}}`, false},
		{"null flag", `{"stream_options":{"include_usage":null}}`, `{"stream_options":{"include_usage":true}}`, false},
		{"other option kept", `{"stream_options":{ "include_obfuscation":false }}`, `{"stream_options":{"include_usage":true, "include_obfuscation":false }}`, false},
		{"empty options", `{"stream_options":{}}`, `{"stream_options":{"include_usage":true}}`, false},
		{"null options", `{"stream_options":null}`, `{"stream_options":{"include_usage":true}}`, false},
		{"nested name", `{"a":{"stream_options":{"include_usage":true}}}`, `{"stream_options":{"include_usage":true},"a":{"stream_options":{"include_usage":true}}}`, false},
		{"vendor shall refuse", `{"stream_options":"yes"}`, `{"stream_options":"yes"}`, false},
		{"vendor shall refuse the flag", `{"stream_options":{"include_usage":1}}`, `{"stream_options":{"include_usage":1}}`, false},
		{"twice, the last counts", `{"stream_options":{"include_usage":true},"stream_options":{}}`, `{"stream_options":{"include_usage":true},"stream_options":{"include_usage":true}}`, false},
		{"flag twice", `{"stream_options":{"include_usage":false,"include_usage":true}}`, `{"stream_options":{"include_usage":true,"include_usage":true}}`, true},
	}
	for _, c := range cases {
		got, asked, err := SetIncludeUsage([]byte(c.in))
		if err != nil || string(got) != c.want || asked != c.asked {
			t.Errorf("%s: %s, %v, %v", c.name, got, asked, err)
		}
	}
}

func TestD17_OwnersLeaveTheBody(t *testing.T) {
	t.Parallel()
	keys := []string{"workflow_id", "customer_id"}
	cases := []struct{ name, in, want string }{
		{"some stay", `{"metadata":{"workflow_id":"w", "mine":"x" ,"customer_id":"c"},"m":1}`, `{"metadata":{"mine":"x"},"m":1}`},
		{"none stay", `{"m":1,"metadata":{"workflow_id":"w"}}`, `{"m":1}`},
		{"none stay, first", `{"metadata":{"customer_id":"c","workflow_id":"w"}, "m":1}`, `{"m":1}`},
		{"none stay, alone", `{ "metadata":{"workflow_id":"w"} }`, `{  }`},
		{"escaped key", `{"metadata":{"workflow\u005fid":"w","a":1}}`, `{"metadata":{"a":1}}`},
		{"twice", `{"metadata":{"workflow_id":"w"},"a":1,"metadata":{"customer_id":"c","b":2}}`, `{"a":1,"metadata":{"b":2}}`},
		{"empty before", `{"metadata":{ }}`, `{"metadata":{ }}`},
		{"nested is content", `{"messages":[{"metadata":{"workflow_id":"w"}}]}`, `{"messages":[{"metadata":{"workflow_id":"w"}}]}`},
		{"not an object", `{"metadata":"workflow_id"}`, `{"metadata":"workflow_id"}`},
	}
	for _, c := range cases {
		got, err := RemoveMetadataKeys([]byte(c.in), keys)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %s, %v", c.name, got, err)
		}
	}
	got, err := DropMetadata([]byte(`{"metadata":{"a":1},"x":[1 ,2],"metadata":null,"y":"metadata"}`))
	if err != nil || string(got) != `{"x":[1 ,2],"y":"metadata"}` {
		t.Errorf("drop: %s, %v", got, err)
	}
	if got, err := RemoveKeys([]byte(`{"a":1,"store":true,"metadata":{},"b":2}`), "metadata", "store"); err != nil || string(got) != `{"a":1,"b":2}` {
		t.Errorf("remove: %s, %v", got, err)
	}
}

func TestCapMaxTokensOnlyLowers(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, in, addAs, want string
		err                   error
	}{
		{"lower stays", `{"max_tokens":10}`, "max_tokens", `{"max_tokens":10}`, nil},
		{"equal stays", `{"max_tokens":100}`, "", `{"max_tokens":100}`, nil},
		{"higher is cut", `{"max_completion_tokens":101}`, "max_tokens", `{"max_completion_tokens":100}`, nil},
		{"null is no limit", `{"max_output_tokens":null}`, "", `{"max_output_tokens":100}`, nil},
		{"beyond 64 bits", `{"max_tokens":99999999999999999999}`, "", `{"max_tokens":100}`, nil},
		{"negative is the vendor's to refuse", `{"max_tokens":-1}`, "", `{"max_tokens":-1}`, nil},
		{"added", `{"a":1}`, "max_completion_tokens", `{"max_completion_tokens":100,"a":1}`, nil},
		{"not added", `{"a":1}`, "", `{"a":1}`, nil},
		{"both", `{"max_tokens":500,"max_completion_tokens":5}`, "", `{"max_tokens":100,"max_completion_tokens":5}`, nil},
		{"exponent", `{"max_tokens":1e9}`, "", "", ErrNotInteger},
		{"fraction", `{"max_tokens":1.5}`, "", "", ErrNotInteger},
		{"text", `{"max_tokens":"5"}`, "", "", ErrNotInteger},
	}
	for _, c := range cases {
		got, err := CapMaxTokens([]byte(c.in), 100, c.addAs)
		if string(got) != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %s, %v", c.name, got, err)
		}
	}
}

func TestA22_KeysThatReadTwoWays(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{"model":"a","x":{"model":"b"}}`:           "",
		`{"model":"a","model":"b"}`:                 "model",
		`{"model":"a","mode\u006c":"b"}`:            "model",
		`{"model":"a","Model":"b"}`:                 "Model",
		`{"max_tokens":1,"max_to\u212aens":9}`:      "max_to\u212aens",
		`{"stream":true,"\u017ftream":false}`:       "\u017ftream",
		`{"a":[{"b":1,"b":2}],"messages":[],"c":1}`: "",
	} {
		if got, err := AmbiguousKey([]byte(in)); err != nil || got != want {
			t.Errorf("%s: %q, %v", in, got, err)
		}
	}
}

func TestD5_ReplaceIDLeavesAllElse(t *testing.T) {
	t.Parallel()
	tools := `{"id":"%s","choices":[{"delta":{"tool_calls":[{"id":"call_1","function":{"arguments":"{\"id\":\"x\"}"}}]},"logprobs":{"content":[{"logprob":-0.10}]}}],"unknown":1E5, "é":"\ud83d\ude00"}`
	in := fmt.Sprintf(tools, "up")
	if got := ReplaceID([]byte(in), "chatcmpl-1"); string(got) != fmt.Sprintf(tools, "chatcmpl-1") {
		t.Errorf("got %s", got)
	}
	for in, want := range map[string]string{
		`[DONE]`:                        `[DONE]`,
		``:                              ``,
		`{"error":{"id":"a"}}`:          `{"error":{"id":"a"}}`,
		`{"id":null,"id":7}`:            `{"id":null,"id":7}`,
		`{"id":"a","id":"b"}`:           `{"id":"N","id":"N"}`,
		`{"i\u0064" : "a"}`:             `{"i\u0064" : "N"}`,
		`{"id":"a","choices":[{"half":`: `{"id":"a","choices":[{"half":`,
	} {
		if got := ReplaceID([]byte(in), "N"); string(got) != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}

func TestD7_OnlyTheUsageChunkIsTheUsageChunk(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]bool{
		`{"id":"a","choices":[],"usage":{"prompt_tokens":1}}`:    true,
		`{"usage":{"prompt_tokens":1}, "choices" : [ ] }`:        true,
		`{"choices":[],"prompt_filter_results":[]}`:              false,
		`{"choices":[],"usage":null}`:                            false,
		`{"choices":[{"delta":{}}],"usage":{"prompt_tokens":1}}`: false,
		`{"choices":[{"delta":{"content":"\"choices\":[]"}}]}`:   false,
		`{"usage":{"choices":[]}}`:                               false,
		`[DONE]`:                                                 false,
		`{"choices":[],"usage":{"prompt_tokens":1}`:              false,
	} {
		if got := IsUsageOnlyChunk([]byte(in)); got != want {
			t.Errorf("%s: %v", in, got)
		}
	}
}

func TestA58_WhatIsNoAnswer(t *testing.T) {
	t.Parallel()
	for in, ok := range map[string]bool{
		`{"id":"a","choices":[]}`: true, "\n\n {\"error\":null}": true,
		``: false, "  ": false, `{"id":"a","ch`: false, `<html>`: false, `[]`: false, `"x"`: false, `{"error":{"message":"x"}}`: false,
		`{"type":"error","error":{}}`: false, `{} {}`: false, strings.Repeat("[", 1<<20): false, strings.Repeat(`{"a":`, 1<<20): false,
	} {
		if err := CheckAnswer([]byte(in)); (err == nil) != ok {
			t.Errorf("%.40q: %v", in, err)
		}
	}
}

func TestD6_RewriteFrameKeepsEveryOtherByte(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"data: {\"id\":\"a\"}\n\n": "data: {\"id\":\"N\"}\n\n",
		": {\"id\":\"a\"}\r\nevent:x\r\ndata:{\"id\":\"a\"}\r\nid: 4\r\n\r\n": ": {\"id\":\"a\"}\r\nevent:x\r\ndata:{\"id\":\"N\"}\r\nid: 4\r\n\r\n",
		"data: {\ndata:  \"id\":\ndata: \"a\",\ndata\ndata: \"b\":1}\n\n":     "data: {\ndata:  \"id\":\ndata: \"N\",\ndata\ndata: \"b\":1}\n\n",
		"\xef\xbb\xbfdata: {\"id\":\"a\"}\r\r":                                "\xef\xbb\xbfdata: {\"id\":\"N\"}\r\r",
		"data: [DONE]\n\n":                                                    "data: [DONE]\n\n",
		": ping\n\n":                                                          ": ping\n\n",
	} {
		frames, err := readFrames(strings.NewReader(in), 1<<10)
		if err != io.EOF || len(frames) != 1 {
			t.Fatalf("%q: %d frames, %v", in, len(frames), err)
		}
		got := RewriteFrame(frames[0], "N")
		if string(got.Raw) != want {
			t.Errorf("%q: %q", in, got.Raw)
		}
		again, _ := readFrames(bytes.NewReader(got.Raw), 1<<10)
		if len(again) != 1 || !bytes.Equal(again[0].Data, got.Data) {
			t.Errorf("%q: data %q is not what raw says", in, got.Data)
		}
	}
	body := []byte(`{"id":"a"}`)
	if got := RewriteFrame(Frame{Data: body, Raw: body}, "N"); string(got.Raw) != `{"id":"N"}` || string(got.Data) != `{"id":"N"}` {
		t.Errorf("plain: %q", got.Raw)
	}
}

// object draws JSON text as a client may write it: any order, white space, escapes, twice the same key.
func object(t *rapid.T, depth int) string {
	space := rapid.SampledFrom([]string{"", "", " ", "\n\t", "\r\n "})
	key := rapid.SampledFrom([]string{`"model"`, `"m\u006fdel"`, `"metadata"`, `"id"`, `"\u0069d"`, `"stream_options"`, `"include_usage"`,
		`"workflow_id"`, `"max_tokens"`, `"a"`, `""`, `"\"model\""`, `"é\ud83d\ude00"`, `"\\"`})
	value := func() string {
		n := rapid.IntRange(0, 9).Draw(t, "value")
		if depth > 0 && n > 6 {
			inner := object(t, depth-1)
			if n == 9 {
				return "[" + inner + " ," + inner + "]"
			}
			return inner
		}
		return rapid.SampledFrom([]string{`"x"`, `"\"}\\"`, `1.50`, `-0`, `12345678901234567890`, `true`, `false`, `null`, `[]`, `{}`, `[1,"]"]`, `7`}).Draw(t, "leaf")
	}
	var b strings.Builder
	b.WriteString("{" + space.Draw(t, "s"))
	for i := range rapid.IntRange(0, 5).Draw(t, "members") {
		if i > 0 {
			b.WriteString("," + space.Draw(t, "s"))
		}
		b.WriteString(key.Draw(t, "key") + space.Draw(t, "s") + ":" + space.Draw(t, "s") + value() + space.Draw(t, "s"))
	}
	return b.String() + "}"
}

// pair is a top-level member as a reader that keeps order and duplicates sees it.
type pair struct{ key, value string }

func pairs(t interface{ Fatalf(string, ...any) }, body []byte) (all []pair) {
	d := json.NewDecoder(bytes.NewReader(body))
	if _, err := d.Token(); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		all = append(all, pair{key.(string), string(value)})
	}
	if !json.Valid(body) {
		t.Fatalf("not valid any more: %s", body)
	}
	return all
}

// without is the pairs whose key is none of keys.
func without(all []pair, keys ...string) (left []pair) {
	for _, p := range all {
		keep := true
		for _, key := range keys {
			keep = keep && p.key != key
		}
		if keep {
			left = append(left, p)
		}
	}
	return left
}

func TestEditsAgreeWithAStandardReader(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) { checkEdits(t, []byte(object(t, 2))) })
}

func FuzzEdits(f *testing.F) {
	f.Add([]byte(`{"model":"a","metadata":{"workflow_id":"b"},"stream_options":null,"id":"x"}`))
	f.Add([]byte("{\"\\u0069d\":\"\",\"id\":[{}]}"))
	f.Fuzz(func(t *testing.T, body []byte) {
		// Whatever it is, nothing may panic, and what is no object must be refused or left alone.
		ReplaceID(body, "N")
		IsUsageOnlyChunk(body)
		RewriteFrame(Frame{Data: body, Raw: append([]byte("data: "), body...)}, "N")
		if at := skipSpace(body, 0); json.Valid(body) && body[at] == '{' {
			checkEdits(t, body)
		} else if out, err := SetModel(body, "m"); err == nil && json.Valid(out) {
			t.Fatalf("%q became %q", body, out)
		}
	})
}

func checkEdits(t interface{ Fatalf(string, ...any) }, body []byte) {
	kept := bytes.Clone(body)
	before := pairs(t, body)

	out, err := SetModel(body, `m"`)
	if err != nil {
		t.Fatalf("model of %s: %v", body, err)
	}
	after := pairs(t, out)
	if !reflect.DeepEqual(without(before, "model"), without(after, "model")) || len(without(after, "model")) == len(after) {
		t.Fatalf("model: %s became %s", body, out)
	}
	for _, p := range after {
		if p.key == "model" && p.value != `"m\""` {
			t.Fatalf("model: %s became %s", body, out)
		}
	}

	if out, err = DropMetadata(body); err != nil || !reflect.DeepEqual(without(before, "metadata"), pairs(t, out)) {
		t.Fatalf("metadata: %s became %s, %v", body, out, err)
	}
	if out, err = RemoveMetadataKeys(body, []string{"workflow_id", "id"}); err != nil || !reflect.DeepEqual(without(before, "metadata"), without(pairs(t, out), "metadata")) {
		t.Fatalf("metadata keys: %s became %s, %v", body, out, err)
	}
	for _, p := range pairs(t, out) {
		if p.key == "metadata" && p.value[0] == '{' {
			if inner := pairs(t, []byte(p.value)); len(without(inner, "workflow_id", "id")) != len(inner) {
				t.Fatalf("metadata keys: %s became %s", body, out)
			}
		}
	}

	if out, _, err = SetIncludeUsage(body); err != nil || !reflect.DeepEqual(without(before, "stream_options"), without(pairs(t, out), "stream_options")) {
		t.Fatalf("include_usage: %s became %s, %v", body, out, err)
	}
	if again, asked, err := SetIncludeUsage(out); err != nil || !bytes.Equal(again, out) || !asked && strings.Count(string(out), "stream_options") == 1 && bytes.Contains(out, []byte(`"stream_options":{"include_usage":true`)) && len(without(pairs(t, out), "stream_options")) == len(pairs(t, out))-1 && !lastFlagOdd(t, out) {
		t.Fatalf("include_usage twice: %s, then %s, %v, %v", out, again, asked, err)
	}

	out = ReplaceID(body, "N")
	want := make([]pair, len(before))
	for i, p := range before {
		if p.key == "id" && p.value[0] == '"' {
			p.value = `"N"`
		}
		want[i] = p
	}
	if got := pairs(t, out); len(got) != len(want) || len(got) > 0 && !reflect.DeepEqual(got, want) {
		t.Fatalf("id: %s became %s", body, out)
	}
	if !bytes.Equal(body, kept) {
		t.Fatalf("the body handed in was changed: %s", kept)
	}
}

// lastFlagOdd reports whether the flag that counts is neither true, false nor null, which is left for the vendor.
func lastFlagOdd(t interface{ Fatalf(string, ...any) }, body []byte) bool {
	for _, p := range pairs(t, body) {
		if p.key != "stream_options" {
			continue
		}
		odd := false
		for _, q := range pairs(t, []byte(p.value)) {
			if q.key == "include_usage" {
				odd = q.value != "true"
			}
		}
		return odd
	}
	return false
}
