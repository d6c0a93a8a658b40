package cache

import (
	"io"
	"io/fs"
	"sync"
	"sync/atomic"
	"syscall"
)

// faultyFiles is a disk with a capacity and an error to order.
type faultyFiles struct {
	fileSystem
	mu    sync.Mutex
	err   error // of everything that changes the disk
	read  error // of reading
	room  int64 // octets left; negative: any
	sizes map[string]int64
	opens atomic.Int64
}

func newFaultyFiles(dir string, room int64) *faultyFiles {
	return &faultyFiles{fileSystem: osFiles{dir}, room: room, sizes: make(map[string]int64)}
}

func (f *faultyFiles) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *faultyFiles) failReads(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.read = err
}

func (f *faultyFiles) setRoom(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.room = n
}

func (f *faultyFiles) Create(name string) (io.WriteCloser, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: f.err}
	}
	w, err := f.fileSystem.Create(name)
	if err != nil {
		return nil, err
	}
	return &faultyWriter{w, f, name}, nil
}

type faultyWriter struct {
	io.WriteCloser
	f    *faultyFiles
	name string
}

func (w *faultyWriter) Write(p []byte) (int, error) {
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	if w.f.err != nil {
		return 0, &fs.PathError{Op: "write", Path: w.name, Err: w.f.err}
	}
	n := len(p)
	if w.f.room >= 0 {
		n = int(min(w.f.room, int64(n)))
		w.f.room -= int64(n)
	}
	w.f.sizes[w.name] += int64(n)
	m, err := w.WriteCloser.Write(p[:n])
	if err == nil && n < len(p) {
		err = &fs.PathError{Op: "write", Path: w.name, Err: syscall.ENOSPC}
	}
	return m, err
}

func (f *faultyFiles) Rename(from, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return &fs.PathError{Op: "rename", Path: from, Err: f.err}
	}
	err := f.fileSystem.Rename(from, to)
	if err == nil {
		if f.room >= 0 {
			f.room += f.sizes[to]
		}
		f.sizes[to] = f.sizes[from]
		delete(f.sizes, from)
	}
	return err
}

func (f *faultyFiles) Remove(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.fileSystem.Remove(name)
	if err == nil {
		if f.room >= 0 {
			f.room += f.sizes[name]
		}
		delete(f.sizes, name)
	}
	return err
}

func (f *faultyFiles) Open(name string) (readableFile, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.opens.Add(1)
	if f.read != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: f.read}
	}
	return f.fileSystem.Open(name)
}
