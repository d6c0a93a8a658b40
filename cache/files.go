package cache

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// fileSystem is what the disk tier does to a disk. Names are relative to the
// tier's directory and consist of what the tier chose, never of a key.
type fileSystem interface {
	MkdirAll(dir string) error
	ReadDir(dir string) ([]fs.DirEntry, error)
	Create(name string) (io.WriteCloser, error) // fails if the file exists
	Open(name string) (readableFile, error)
	Rename(from, to string) error
	Remove(name string) error
	// Lock keeps other stores away until it is closed.
	Lock(name string) (io.Closer, error)
}

type readableFile interface {
	io.ReaderAt
	io.Closer
	Stat() (fs.FileInfo, error)
}

// osFiles is a directory of the operating system. Only the owner may look
// inside, although there is nothing to see.
type osFiles struct{ dir string }

func (d osFiles) path(name string) string { return filepath.Join(d.dir, filepath.FromSlash(name)) }

func (d osFiles) MkdirAll(dir string) error { return os.MkdirAll(d.path(dir), 0o700) }

func (d osFiles) ReadDir(dir string) ([]fs.DirEntry, error) { return os.ReadDir(d.path(dir)) }

func (d osFiles) Create(name string) (io.WriteCloser, error) {
	return os.OpenFile(d.path(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

func (d osFiles) Open(name string) (readableFile, error) {
	f, err := os.Open(d.path(name))
	if err != nil {
		return nil, err // not a nil *os.File in an interface
	}
	return f, nil
}

func (d osFiles) Rename(from, to string) error { return os.Rename(d.path(from), d.path(to)) }

func (d osFiles) Remove(name string) error { return os.Remove(d.path(name)) }

func (d osFiles) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(d.path(name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
