package cache

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/treedn/treedn/cache/chunked"
)

// writeBuffer is what goes to the file system at once.
const writeBuffer = 256 << 10

// newSealedFile makes everything of a complete object's file but the body: its
// place, and the octets before the sealed body.
func newSealedFile(o *Object, e *epoch) (*diskFile, []byte, error) {
	r := record{name: o.key.Name, meta: o.Meta(), size: o.length.Load()}
	var p prefix
	_, _ = rand.Read(p.nonce[:]) // never fails
	p.tag = e.tag(&p.nonce)
	plain := r.appendTo(nil)
	p.sealed = int(chunked.SealedSize(int64(len(plain))))
	head, err := chunked.Seal(p.appendTo(nil), e.meta, e.metaContext(), plain)
	if err != nil {
		return nil, nil, err
	}
	return &diskFile{
		epoch:   e,
		name:    e.fileName(o.key.Name),
		context: e.bodyContext(o.key.Name, o.meta.Generation),
		body:    int64(len(head)),
		size:    int64(len(head)) + chunked.SealedSize(r.size),
	}, head, nil
}

// writeSealedFile writes a file under a name of its own and moves it to its
// place when it is whole, so that whoever is killed at any time leaves no part
// of an object where objects are looked for. Nothing is synced: what the
// machine loses with its power does not open and is dropped.
func writeSealedFile(files fileSystem, f *diskFile, head []byte, b *body) (err error) {
	temp := path.Join(tempDir, rand.Text())
	dst, err := files.Create(temp)
	if errors.Is(err, fs.ErrNotExist) {
		if err = files.MkdirAll(tempDir); err == nil {
			dst, err = files.Create(temp)
		}
	}
	if err != nil {
		return err
	}
	err = sealTo(dst, f, head, b)
	if e := dst.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = moveInto(files, temp, f.name.path())
	}
	if err != nil {
		_ = files.Remove(temp)
	}
	return err
}

func moveInto(files fileSystem, temp, place string) error {
	err := files.Rename(temp, place)
	if errors.Is(err, fs.ErrNotExist) {
		if err = files.MkdirAll(path.Dir(place)); err == nil {
			err = files.Rename(temp, place)
		}
	}
	return err
}

func sealTo(dst io.Writer, f *diskFile, head []byte, b *body) error {
	buf := bufio.NewWriterSize(dst, writeBuffer)
	if _, err := buf.Write(head); err != nil {
		return err
	}
	w, err := chunked.NewWriter(buf, f.epoch.input, f.context)
	if err != nil {
		return err
	}
	for off := int64(0); ; {
		p, err := b.at(off)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if _, err := w.Write(p); err != nil {
			return err
		}
		off += int64(len(p))
	}
	if err := w.Close(); err != nil {
		return err
	}
	return buf.Flush()
}

// readHead reads the beginning of a file: its prefix, and as much of the
// sealed record as fits what most records need.
func readHead(h io.ReaderAt) (p prefix, head []byte, err error) {
	head = make([]byte, 1024)
	n, err := h.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return p, nil, err
	}
	head = head[:n]
	return p, head, p.parse(head)
}

// openRecord opens the record of a file that belongs to e.
func openRecord(h io.ReaderAt, size int64, e *epoch, p *prefix, head []byte) (r record, err error) {
	end := prefixSize + p.sealed
	if int64(end) > size {
		return r, io.ErrUnexpectedEOF
	}
	if end > len(head) {
		head = make([]byte, end)
		if n, err := h.ReadAt(head, 0); n < end {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return r, err
		}
	}
	plain, err := chunked.Open(nil, e.meta, e.metaContext(), head[prefixSize:end])
	if err != nil {
		return r, err
	}
	if err := r.parse(plain); err != nil {
		return r, err
	}
	if size != int64(end)+chunked.SealedSize(r.size) {
		return r, fmt.Errorf("%w: file of %d octets", errRecord, size)
	}
	return r, nil
}
