package e2e_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestO8_ContentIsFoundNowhere sends marked content on every path, stops the sandbox and searches each byte it left:
// the database with its write-ahead log, the chain, the log. In metadata_only not even a hash of content may stand.
func TestO8_ContentIsFoundNowhere(t *testing.T) {
	if err := shared.builds(); err != nil {
		t.Fatal(err)
	}
	box, err := newSandbox(shared.path("p402-sandbox"), shared.path("canary"), "--upstream", shared.upstream.URL+"/v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := box.start(); err != nil {
		t.Fatal(err)
	}
	canary, control := "canary"+randomHex(t), "control-"+randomHex(t)
	r, err := shared.node(box, "canary.mjs", "CANARY="+canary, "CONTROL="+control)
	if stopErr := box.stop(); stopErr != nil {
		t.Error(stopErr)
	}
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, r.output, r.log)
	}
	r.prove(t, "O8_content", "O8_refusals_repeat_nothing", "O8_reads_show_nothing")

	forms := forbiddenForms(canary)
	found := 0
	for _, root := range roots(t, box) {
		found += search(t, root, forms, control)
	}
	if found == 0 {
		t.Error("the search is blind: an owner that must be stored was not found")
	}
}

// forbiddenForms is the canary as content could have been kept: as it is, in base64 at any offset, as a hash.
func forbiddenForms(canary string) map[string][]byte {
	sum := sha256.Sum256([]byte(canary))
	forms := map[string][]byte{
		"as it is": []byte(canary), "as its SHA-256": sum[:], "as its SHA-256 in hex": []byte(hex.EncodeToString(sum[:])),
		"in UTF-16": []byte(strings.Join(strings.Split(canary, ""), "\x00")),
	}
	for offset := range 3 {
		text := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", offset) + canary))
		forms["in base64, offset "+string(rune('0'+offset))] = []byte(text[4 : len(text)-4])
	}
	return forms
}

// roots is every folder and file the sandbox wrote. A server that root starts may keep its data elsewhere and leave a
// file that says where.
func roots(t *testing.T, box *sandbox) []string {
	t.Helper()
	out := []string{box.dataDir(), box.printedPath()}
	err := filepath.WalkDir(box.dataDir(), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "location" && d.Type().IsRegular() {
			raw, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			out = append(out, strings.TrimSpace(string(raw)))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// search reports every file that holds a forbidden form, and counts those that hold the control.
func search(t *testing.T, root string, forms map[string][]byte, control string) (found int) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for how, form := range forms {
			if at := bytes.Index(raw, form); at >= 0 {
				t.Errorf("content is in %s at byte %d, %s: %q", path, at, how, around(raw, at))
			}
		}
		if bytes.Contains(raw, []byte(control)) {
			found++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// around is what stands before and behind a find, so that its place in the code can be told.
func around(raw []byte, at int) []byte {
	return raw[max(at-120, 0):min(at+120, len(raw))]
}

func randomHex(t *testing.T) string {
	t.Helper()
	b := make([]byte, 8)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(b)
}
