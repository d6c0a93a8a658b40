package cache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/treedn/treedn/cache/chunked"
)

// A file of the disk tier is
//
//	 0   4  "TDNC"
//	 4   4  version, 1
//	 8  16  nonce, random
//	24   8  tag of the nonce
//	32   4  length of the sealed record
//	36      sealed record, then the sealed body up to the end of the file
//
// Integers are big-endian. Everything but the lengths is noise to who lacks
// the key.
const (
	fileMagic   = "TDNC\x00\x00\x00\x01"
	prefixSize  = 8 + nonceSize + tagSize + 4
	recordUnit  = 256 // records are padded to multiples, to hide names' lengths
	maxRecord   = (64 << 10) &^ (recordUnit - 1)
	recordFixed = 1 + 1 + 8 + 8 + 8

	recordVersion = 1
	flagPinned    = 1
)

// errRecord says that octets are not a record, or not the beginning of a file.
var errRecord = errors.New("cache: malformed file")

// prefix is the beginning of a file.
type prefix struct {
	nonce  [nonceSize]byte
	tag    [tagSize]byte
	sealed int // length of the sealed record
}

func (p *prefix) appendTo(b []byte) []byte {
	b = append(b, fileMagic...)
	b = append(b, p.nonce[:]...)
	b = append(b, p.tag[:]...)
	return binary.BigEndian.AppendUint32(b, uint32(p.sealed))
}

// parse reads a prefix. Short input is io.ErrUnexpectedEOF.
func (p *prefix) parse(b []byte) error {
	if len(b) < prefixSize {
		return io.ErrUnexpectedEOF
	}
	if string(b[:8]) != fileMagic {
		return fmt.Errorf("%w: not ours, or of another version", errRecord)
	}
	copy(p.nonce[:], b[8:])
	copy(p.tag[:], b[8+nonceSize:])
	n := binary.BigEndian.Uint32(b[prefixSize-4:])
	if n > uint32(chunked.SealedSize(maxRecord)) {
		return fmt.Errorf("%w: record of %d octets", errRecord, n)
	}
	p.sealed = int(n)
	return nil
}

// record is what is kept of an object beside its body.
type record struct {
	name string
	meta Meta  // Length is not kept
	size int64 // of the plaintext
}

// appendTo encodes the record:
//
//	version, flags, generation u64, created i64 (Unix microseconds), size u64,
//	name, content type, cache control, number of header fields u16,
//	then key and value of each, in the order of keys; padding of zeros
//
// Strings have their length in front, as u16.
func (r *record) appendTo(b []byte) []byte {
	start := len(b)
	var flags byte
	if r.meta.Pinned {
		flags |= flagPinned
	}
	b = append(b, recordVersion, flags)
	b = binary.BigEndian.AppendUint64(b, r.meta.Generation)
	b = binary.BigEndian.AppendUint64(b, uint64(r.meta.Created.UnixMicro()))
	b = binary.BigEndian.AppendUint64(b, uint64(r.size))
	b = appendString(b, r.name)
	b = appendString(b, r.meta.ContentType)
	b = appendString(b, r.meta.CacheControl)
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.meta.Header)))
	for _, k := range slices.Sorted(maps.Keys(r.meta.Header)) {
		b = appendString(b, k)
		b = appendString(b, r.meta.Header[k])
	}
	if odd := (len(b) - start) % recordUnit; odd > 0 {
		b = append(b, make([]byte, recordUnit-odd)...)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

// parse decodes what appendTo made, and nothing else. The result does not
// refer to b.
func (r *record) parse(b []byte) error {
	if len(b) < recordFixed {
		return io.ErrUnexpectedEOF
	}
	if len(b)%recordUnit != 0 || b[0] != recordVersion || b[1]&^flagPinned != 0 {
		return fmt.Errorf("%w: version %d, flags %#x, %d octets", errRecord, b[0], b[1], len(b))
	}
	r.meta = Meta{
		Pinned:     b[1]&flagPinned != 0,
		Generation: binary.BigEndian.Uint64(b[2:]),
		Created:    time.UnixMicro(int64(binary.BigEndian.Uint64(b[10:]))),
	}
	r.size = int64(binary.BigEndian.Uint64(b[18:]))
	if r.size < 0 {
		return fmt.Errorf("%w: size", errRecord)
	}
	d := decoder{rest: b[recordFixed:]}
	r.name = d.str(MaxName)
	r.meta.ContentType = d.str(maxMetaField)
	r.meta.CacheControl = d.str(maxMetaField)
	last := ""
	for i := range d.uint16() {
		k, v := d.str(MaxHeader), d.str(MaxHeader)
		if d.err != nil {
			return d.err
		}
		if i > 0 && k <= last {
			return fmt.Errorf("%w: order of header", errRecord)
		}
		if last = k; r.meta.Header == nil {
			r.meta.Header = make(map[string]string)
		}
		r.meta.Header[k] = v
	}
	if d.err != nil {
		return d.err
	}
	if len(d.rest) >= recordUnit {
		return fmt.Errorf("%w: padding", errRecord)
	}
	for _, c := range d.rest {
		if c != 0 {
			return fmt.Errorf("%w: padding", errRecord)
		}
	}
	return validateHeader(r.meta.Header)
}

type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) uint16() uint16 {
	if d.err != nil || len(d.rest) < 2 {
		d.fail(io.ErrUnexpectedEOF)
		return 0
	}
	n := binary.BigEndian.Uint16(d.rest)
	d.rest = d.rest[2:]
	return n
}

func (d *decoder) str(limit int) string {
	n := int(d.uint16())
	switch {
	case d.err != nil:
		return ""
	case n > limit:
		d.fail(fmt.Errorf("%w: string of %d octets", errRecord, n))
		return ""
	case n > len(d.rest):
		d.fail(io.ErrUnexpectedEOF)
		return ""
	}
	s := string(d.rest[:n])
	d.rest = d.rest[n:]
	return s
}

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}
