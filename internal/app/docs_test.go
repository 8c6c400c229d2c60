package app

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// example is one ```http block of docs/api.md: a request, and what came back.
type example struct {
	line         int
	method, path string
	headers      []string
	body         string
	status       int
	header       string // "Name: WORD" of the answer
	want         string // JSON that the answer has to contain
}

// TestO26 walks the page: every example is sent, in order, as a new tenant would.
func TestO26_TheExamplesOfTheAPIPageAreTrue(t *testing.T) {
	t.Parallel()
	h := theHouse(t)
	u := h.user(t)
	page, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := readExamples(t, string(page))
	if len(examples) < 15 {
		t.Fatalf("found %d examples", len(examples))
	}
	words := map[string]string{"KEY": u.key}
	stranger := user{t: t, h: h}
	for _, x := range examples {
		at := fmt.Sprintf("docs/api.md:%d: %s %s", x.line, x.method, x.path)
		var body any
		if x.body != "" {
			body = fill(x.body, words)
		}
		for i := range x.headers {
			x.headers[i] = fill(x.headers[i], words)
		}
		r := stranger.do(x.method, fill(x.path, words), body, x.headers...)
		if r.status != x.status {
			t.Fatalf("%s: status %d, the page says %d: %.400s", at, r.status, x.status, r.body)
		}
		if name, word, ok := strings.Cut(x.header, ": "); ok {
			if words[word] = r.header.Get(name); words[word] == "" {
				t.Errorf("%s: the answer has no %s", at, name)
			}
		}
		var want any
		dec := json.NewDecoder(strings.NewReader(x.want))
		dec.UseNumber()
		if err := dec.Decode(&want); err != nil {
			t.Fatalf("%s: the page's answer is not JSON: %v", at, err)
		}
		if why := contains(any(r.json(t)), want, words, "answer"); why != "" {
			t.Errorf("%s: %s\n%.600s", at, why, r.body)
		}
	}
}

var wordForm = regexp.MustCompile(`\b[A-Z]{3,}\b`)

// fill puts values in the place of words that have one.
func fill(text string, words map[string]string) string {
	return wordForm.ReplaceAllStringFunc(text, func(word string) string {
		if value, ok := words[word]; ok {
			return value
		}
		return word
	})
}

// contains says where got lacks something of want, or "". Lists have to be as long as the page's; "…" is anything; a new
// word in capitals takes the value it meets.
func contains(got, want any, words map[string]string, at string) string {
	switch want := want.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok {
			return at + " is no object"
		}
		for key, value := range want {
			have, ok := object[key]
			if !ok {
				return at + "." + key + " is missing"
			}
			if why := contains(have, value, words, at+"."+key); why != "" {
				return why
			}
		}
		return ""
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			return fmt.Sprintf("%s is not a list of %d", at, len(want))
		}
		for i := range want {
			if why := contains(list[i], want[i], words, at+"["+strconv.Itoa(i)+"]"); why != "" {
				return why
			}
		}
		return ""
	case string:
		if want == "…" {
			return ""
		}
		if wordForm.FindString(want) == want && want != "" {
			if words[want] == "" {
				words[want] = fmt.Sprint(got)
			}
			want = words[want]
		}
		if got != want {
			return fmt.Sprintf("%s is %v, the page says %q", at, got, want)
		}
		return ""
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		return fmt.Sprintf("%s is %v, the page says %v", at, got, want)
	}
	return ""
}

func readExamples(t *testing.T, page string) []example {
	t.Helper()
	var out []example
	lines := strings.Split(page, "\n")
	for i := 0; i < len(lines); i++ {
		if lines[i] != "```http" {
			continue
		}
		x := example{line: i + 1}
		x.method, x.path, _ = strings.Cut(lines[i+1], " ")
		var section *string
		for i += 2; lines[i] != "```"; i++ {
			answer, isAnswer := strings.CutPrefix(lines[i], "→ ")
			switch {
			case isAnswer:
				status, header, _ := strings.Cut(answer, " ")
				code, err := strconv.Atoi(status)
				if err != nil {
					t.Fatalf("docs/api.md:%d: %v", i+1, err)
				}
				x.status, x.header, section = code, header, &x.want
			case lines[i] == "" && section == nil:
				section = &x.body
			case section == nil:
				x.headers = append(x.headers, lines[i])
			default:
				*section += lines[i] + "\n"
			}
		}
		x.body = strings.TrimSpace(x.body)
		out = append(out, x)
	}
	return out
}
