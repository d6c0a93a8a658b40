package main

import (
	"bytes"
	"strings"
	"sync"
)

// watch is a writer that tells when a text has come.
type watch struct {
	want string
	seen chan struct{}

	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func newWatch(want string) *watch { return &watch{want: want, seen: make(chan struct{})} }

func (w *watch) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := strings.Contains(w.buf.String(), w.want)
	w.buf.Write(b)
	if !before && strings.Contains(w.buf.String(), w.want) {
		close(w.seen)
	}
	return len(b), nil
}

func (w *watch) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}
