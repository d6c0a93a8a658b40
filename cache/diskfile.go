package cache

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/treedn/treedn/cache/chunked"
)

// diskFile is where an object lies on disk. It does not change.
type diskFile struct {
	epoch   *epoch
	name    fileName
	context []byte // of the sealed body
	body    int64  // its offset
	size    int64  // of the whole file
}

// path returns the file's place: two levels of directories, so that none of
// them grows large.
func (n fileName) path() string {
	s := n.String()
	return objectsDir + "/" + s[:1] + "/" + s[1:3] + "/" + s
}

const (
	objectsDir = "objects"
	tempDir    = "tmp"
	lockName   = "lock"
)

// openFile is an opened object of the disk tier.
type openFile struct {
	obj  *Object
	file *diskFile
	h    readableFile
	body *chunked.ReaderAt
}

// openFile opens the object on disk. An error matches ErrEvicted: to its user,
// an object that cannot be read is none.
func (o *Object) openFile() (*openFile, error) {
	f := o.file.Load()
	if f == nil || !f.epoch.readable(o.store.cfg.Now()) {
		return nil, ErrEvicted
	}
	of := &openFile{obj: o, file: f}
	h, err := o.store.cfg.files.Open(f.name.path())
	if err != nil {
		return nil, of.failed(err)
	}
	of.h = h
	of.body, err = chunked.NewReaderAt(&section{h, f.body}, f.size-f.body,
		f.epoch.input, f.context)
	if err == nil {
		// What was appended to the file would make a valid one of it invalid.
		var info fs.FileInfo
		if info, err = h.Stat(); err == nil && info.Size() != f.size {
			err = chunked.ErrLength
		}
	}
	if err != nil {
		h.Close()
		return nil, of.failed(err)
	}
	return of, nil
}

// section shifts a file by the offset of the sealed body.
type section struct {
	src io.ReaderAt
	off int64
}

func (s *section) ReadAt(p []byte, off int64) (int, error) { return s.src.ReadAt(p, s.off+off) }

// ReadAt implements io.ReaderAt over the plaintext.
func (of *openFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := of.body.ReadAt(p, off)
	if err == nil || err == io.EOF {
		return n, err
	}
	return n, of.failed(err)
}

func (of *openFile) Close() error { return of.h.Close() }

// failed accounts for an error and drops what cannot be read any more.
func (of *openFile) failed(err error) error {
	s, o := of.obj.store, of.obj
	forged := errors.Is(err, chunked.ErrAuthentication) || errors.Is(err, chunked.ErrLength)
	gone := errors.Is(err, fs.ErrNotExist)
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.file.Load() != of.file {
		// Replaced or evicted meanwhile: the name may be another object's.
		return ErrEvicted
	}
	if forged {
		s.count.authFail.Add(1)
	} else {
		s.count.diskErrors.Add(1)
	}
	// An error of opening, such as too many open files, may pass; a file that
	// opens but does not read is lost.
	if forged || gone || of.body != nil {
		if o.body.Load() == nil {
			s.drop(o)
		} else {
			s.dropFile(o)
		}
	}
	if forged {
		s.warnForged()
	}
	return fmt.Errorf("%w: %w", ErrEvicted, err)
}

// dropFile takes o off the disk tier.
func (s *Store) dropFile(o *Object) {
	o.toDisk.Remove()
	f := o.file.Load()
	if f == nil {
		return
	}
	o.file.Store(nil)
	o.inDisk.Remove()
	s.disk.add(-f.size, -1)
	o.svc.disk.add(-f.size, -1)
	s.spill.remove(f.name)
}

// place puts o, whose file is f, into the disk tier.
func (s *Store) place(o *Object, f *diskFile) {
	o.file.Store(f)
	if o.meta.Pinned {
		o.svc.pinnedFiles.Push(&o.inDisk)
	} else {
		o.svc.files.Push(&o.inDisk)
	}
	s.disk.add(f.size, 1)
	o.svc.disk.add(f.size, 1)
}

// makeDiskRoom evicts from disk until octets and objects more fit into the
// limits, and at least free octets in any case. It tells whether there is room.
func (s *Store) makeDiskRoom(svc *service, octets int64, objects int, free int64) bool {
	none := func(*Object) bool { return false }
	for svc.cfg.Disk.exceeded(svc.disk, octets, objects) {
		n := svc.files.Victim(none)
		if n == nil {
			n = svc.pinnedFiles.Oldest()
		}
		if n == nil {
			return false
		}
		s.evictDisk(n.Value)
	}
	target := max(0, s.disk.octets-free)
	for s.cfg.Disk.exceeded(s.disk, octets, objects) || s.disk.octets > target {
		if n := len(s.foreign); n > 0 {
			s.forget(n - 1)
			continue
		}
		var most *service
		for _, svc := range s.services {
			if svc.files.Len()+svc.pinnedFiles.Len() > 0 &&
				(most == nil || diskWeight(svc) > diskWeight(most)) {
				most = svc
			}
		}
		if most == nil {
			return false
		}
		n := most.files.Victim(none)
		if n == nil {
			n = most.pinnedFiles.Oldest()
		}
		s.evictDisk(n.Value)
	}
	return true
}

// diskWeight orders services by what they have to give; pinned objects last.
func diskWeight(svc *service) int64 {
	if svc.files.Len() == 0 {
		return svc.disk.octets - 1<<62
	}
	return svc.disk.octets
}

// evictDisk takes an object off the disk; it stays in the store if it is in
// memory too.
func (s *Store) evictDisk(o *Object) {
	s.count.evictedDisk.Add(1)
	if o.body.Load() == nil {
		s.drop(o)
		return
	}
	s.dropFile(o)
}
