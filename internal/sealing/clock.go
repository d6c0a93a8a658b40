package sealing

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clock keeps the time of a signer's seals in a file, so that times never fall, also when the host's clock does while
// nobody looks. The file holds a time ahead of those in use, for it must not be written for each seal.
type clock struct {
	file     string
	reserved uint64
}

const (
	reserve = uint64(10 * time.Second / time.Microsecond)
	renewal = reserve / 2
)

// load returns a time that no seal was later than; 0 if there was none.
func (c *clock) load() (uint64, error) {
	if c.file == "" {
		return 0, nil
	}
	b, err := os.ReadFile(c.file)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	t, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("sealing: %s: %w", c.file, err)
	}
	c.reserved = t
	return t, nil
}

// keep sees to it that the file holds a later time than t.
func (c *clock) keep(t uint64) error {
	if c.file == "" || t+renewal <= c.reserved {
		return nil
	}
	c.reserved = t + reserve // an error is told once for each renewal, not for each seal
	return replaceFile(c.file, strconv.AppendUint(nil, c.reserved, 10))
}

// replaceFile writes a file so that it is the old one or the new one at any time.
func replaceFile(name string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
