//go:build unix

package pgembed

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// writeFile writes a small private file whole or not at all, and on disk when it returns.
func writeFile(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, os.Remove(f.Name())))
	}
	return syncFolder(filepath.Dir(path))
}

// syncFolder puts renames within the folder on disk.
func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("sync folder %s: %w", path, err)
	}
	return nil
}

// lastLines is the end of what a program printed, in one line, for an error.
func lastLines(out []byte) string {
	const most = 800
	out = out[max(0, len(out)-most):]
	return strings.ReplaceAll(strings.TrimSpace(string(out)), "\n", " | ")
}
