package spool_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"p402.io/p402/internal/spool"
)

// later is a clock that stands well behind every file's time.
func later() time.Time { return time.Now().Add(time.Hour) }

func open(t *testing.T, dir string) (*spool.Spool, *bytes.Buffer) {
	t.Helper()
	logs := &bytes.Buffer{}
	s, err := spool.Open(dir, later, slog.New(slog.NewTextHandler(logs, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return s, logs
}

func TestR5_KeptRecordsOutliveTheProcessAndDrainInOrderOnce(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "deep", "spool")
	s, _ := open(t, dir)
	for i := range 9 {
		if err := s.Keep(fmt.Sprintf("evt_%d", i), fmt.Appendf(nil, "record %d\n with lines", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Keep("evt_3", []byte("record 3 again")); err != nil || s.Len() != 9 {
		t.Fatalf("%d records, %v", s.Len(), err)
	}
	s, _ = open(t, dir)
	away := errors.New("away")
	var got []string
	take := func(_ context.Context, r []byte) (bool, error) {
		if len(got) == 5 {
			return false, away
		}
		got = append(got, string(r))
		return true, nil
	}
	if n, err := s.Drain(t.Context(), take); n != 5 || !errors.Is(err, away) || s.Len() != 4 {
		t.Fatalf("%d drained, %d left, %v", n, s.Len(), err)
	}
	n, err := s.Drain(t.Context(), func(_ context.Context, r []byte) (bool, error) { got = append(got, string(r)); return true, nil })
	if n != 4 || err != nil || s.Len() != 0 || len(got) != 9 || got[3] != "record 3 again" || !strings.HasPrefix(got[8], "record 8") {
		t.Fatalf("%d drained, %v: %q", n, err, got)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("files are left: %v %v", left, err)
	}
}

// A write with an unknown outcome may still arrive: a fresh record waits.
func TestR5_AFreshRecordWaitsForWritesInFlight(t *testing.T) {
	t.Parallel()
	s, err := spool.Open(t.TempDir(), time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Keep("a", []byte("x")); err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := s.Drain(gone, func(context.Context, []byte) (bool, error) { return true, nil }); n != 0 || !errors.Is(err, context.Canceled) || s.Len() != 1 {
		t.Errorf("%d drained at once, %v", n, err)
	}
}

// One flipped bit anywhere, or a file cut anywhere: the record is set aside with an alarm, and its neighbours pass.
func TestA94_DamageAtAnyOffsetIsSetAside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, _ := open(t, dir)
	if err := s.Keep("b", []byte(`{"cost":"1"}`)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "b.kept")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var cases [][]byte
	for i := range whole {
		flipped := bytes.Clone(whole)
		flipped[i] ^= 1
		cases = append(cases, flipped, whole[:i])
	}
	for i, raw := range cases {
		sub := filepath.Join(dir, fmt.Sprint(i))
		before, _ := open(t, sub)
		for _, name := range []string{"a", "c"} {
			if err := before.Keep(name, []byte("good")); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(sub, "b.kept"), raw, 0o600); err != nil {
			t.Fatal(err)
		}
		damaged, logs := open(t, sub)
		good := 0
		n, err := damaged.Drain(t.Context(), func(_ context.Context, r []byte) (bool, error) {
			if string(r) != "good" {
				t.Errorf("case %d: a damaged record was handed on: %q", i, r)
			}
			good++
			return true, nil
		})
		if n != 2 || err != nil || good != 2 || damaged.Len() != 0 || !strings.Contains(logs.String(), "damaged") {
			t.Fatalf("case %d: %d drained, %v, log %q", i, n, err, logs)
		}
		if _, err := os.Stat(filepath.Join(sub, "b.kept.damaged")); err != nil {
			t.Errorf("case %d: the damaged record is not kept for people: %v", i, err)
		}
	}
}

func TestA94_AHalfWrittenRecordIsNoRecord(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.kept.part"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, _ := open(t, dir)
	if s.Len() != 0 {
		t.Errorf("%d records", s.Len())
	}
	for _, name := range []string{"", "../up", "a/b", strings.Repeat("x", 101)} {
		if s.Keep(name, nil) == nil {
			t.Errorf("%q names a record", name)
		}
	}
}
