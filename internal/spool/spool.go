// Package spool keeps records on the local disk while the store is away, each in a file of its own with its checksum, until they can
// be handed on. It knows no domain: a record is bytes under a name. What it has kept survives a kill and a power cut; what the disk
// has damaged is set aside and never handed on.
package spool

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"sync"
	"time"
)

const (
	// maxRecords bounds the folder: beyond it the caller must refuse work instead.
	maxRecords = 100_000
	// settleFor is how old a record must be before it is handed on. A write whose outcome was unknown when the record was kept may
	// still arrive in the database until then.
	settleFor = time.Second

	magic      = "p402 spool 1 "
	kept       = ".kept"
	quarantine = ".damaged"
)

// ErrFull means that the spool holds as much as it may.
var ErrFull = errors.New("the spool is full")

var nameForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,100}$`)

// Spool is one folder. Several processes must not share one.
type Spool struct {
	dir string
	now func() time.Time
	log *slog.Logger

	mu    sync.Mutex
	count int // records in the folder
}

// Open makes the folder if there is none, and counts what an earlier process left.
func Open(dir string, now func() time.Time, log *slog.Logger) (*Spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	s := &Spool{dir: dir, now: now, log: log}
	names, err := s.names()
	s.count = len(names)
	return s, err
}

// Len is how many records wait.
func (s *Spool) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// Keep writes a record durably: it returns once file and folder are on the disk. The same name again replaces the record, so
// that keeping twice is keeping once.
func (s *Spool) Keep(name string, record []byte) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("%q cannot name a record", name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count >= maxRecords {
		return ErrFull
	}
	path := filepath.Join(s.dir, name+kept)
	_, err := os.Lstat(path)
	fresh := errors.Is(err, os.ErrNotExist)
	if err := writeDurably(path, seal(record)); err != nil {
		return fmt.Errorf("keep %s: %w", name, err)
	}
	if fresh {
		s.count++
	}
	return syncDir(s.dir)
}

// seal puts the checksum and the length before a record.
func seal(record []byte) []byte {
	sum := sha256.Sum256(record)
	return append(fmt.Appendf(nil, "%s%s %d\n", magic, hex.EncodeToString(sum[:]), len(record)), record...)
}

// unseal gives a record back; ok is false if a single bit is not what was kept.
func unseal(raw []byte) (record []byte, ok bool) {
	_, record, ok = bytes.Cut(raw, []byte("\n"))
	return record, ok && bytes.Equal(raw, seal(record))
}

func writeDurably(path string, raw []byte) error {
	part := path + ".part"
	f, err := os.OpenFile(part, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err == nil {
		err = f.Sync() // an error here means that the pages may be gone: nothing is retried on this file
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(part))
	}
	return os.Rename(part, path)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// names lists the records in their names' order, which is the order of time where names are our ids.
func (s *Spool) names() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	var out []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), kept); ok && e.Type().IsRegular() {
			out = append(out, name)
		}
	}
	sort.Strings(out)
	return out, nil
}

// Drain hands every record to take, in order and once it has settled, and deletes those that take has done. What take calls no good is set
// aside for people. It stops at the first error: the rest waits for the next round. A crash between take and the deletion hands a record on again, so
// take must not mind.
func (s *Spool) Drain(ctx context.Context, take func(ctx context.Context, record []byte) (good bool, err error)) (done int, err error) {
	if s.Len() == 0 {
		return 0, nil
	}
	names, err := s.names()
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		path := filepath.Join(s.dir, name+kept)
		info, err := os.Stat(path)
		if err != nil {
			return done, err
		}
		if err := s.settle(ctx, info.ModTime()); err != nil {
			return done, err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return done, err
		}
		record, good := unseal(raw)
		if good {
			if good, err = take(ctx, record); err != nil {
				return done, err
			}
		}
		if !good {
			s.log.ErrorContext(ctx, "a spooled record is damaged and was set aside", "path", path+quarantine)
			if err := s.drop(func() error { return os.Rename(path, path+quarantine) }); err != nil {
				return done, err
			}
			continue
		}
		if err := s.drop(func() error { return os.Remove(path) }); err != nil {
			return done, err
		}
		done++
	}
	return done, nil
}

// settle waits until a record is old enough.
func (s *Spool) settle(ctx context.Context, since time.Time) error {
	left := settleFor - s.now().Sub(since)
	if left <= 0 {
		return nil
	}
	wait := time.NewTimer(left)
	defer wait.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-wait.C:
		return nil
	}
}

// drop takes a record out of the folder.
func (s *Spool) drop(how func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := how(); err != nil {
		return err
	}
	s.count--
	return syncDir(s.dir)
}
