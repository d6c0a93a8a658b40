package entity

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// Decoder takes a body apart as its octets come.
type Decoder struct {
	// Chunk is called, if it is set, at the beginning of each chunk with its extensions, such as DVB's digests and
	// signatures of chunks (TS 103 769, H.4.2).
	Chunk func(size int64, extensions string)

	chunked bool
	left    int64 // of the chunk, or of a body of known length; -1 if its end is not known
	state   decoderState
	line    []byte
	trailer []Field
	done    bool
}

type decoderState uint8

const (
	inData    decoderState = iota
	inSize                 // the line before a chunk
	behind                 // the line end behind a chunk
	inTrailer              // behind the last chunk
)

// maxLine bounds the line before a chunk, with its extensions.
const maxLine = 8 << 10

// Decoder returns one for the body behind the header.
func (h *Header) Decoder() *Decoder {
	d := &Decoder{chunked: h.Chunked, left: h.Length}
	if d.chunked {
		d.state, d.left = inSize, 0
	}
	d.done = !d.chunked && d.left == 0
	return d
}

// Done tells that the end of the body has come. A body without chunks and length ends with its object.
func (d *Decoder) Done() bool { return d.done }

// Trailer returns the fields behind the last chunk, once Done.
func (d *Decoder) Trailer() []Field { return d.trailer }

// Next takes n of the octets in b, at least one if there is one, of which data, in the same memory, belong to the body.
// Octets behind the end are an error.
func (d *Decoder) Next(b []byte) (data []byte, n int, err error) {
	if len(b) == 0 {
		return nil, 0, nil
	}
	if d.done {
		return nil, 0, fmt.Errorf("%w: octets behind the end", ErrLength)
	}
	if d.state == inData {
		n = len(b)
		if d.left >= 0 {
			n = int(min(int64(n), d.left))
			if d.left -= int64(n); d.left == 0 {
				d.done = !d.chunked
				d.state = behind
			}
		}
		return b[:n:n], n, nil
	}
	n = bytes.IndexByte(b, '\n') + 1
	whole := n > 0
	if !whole {
		n = len(b)
	}
	if limit := d.limit(); len(d.line)+n > limit {
		return nil, 0, fmt.Errorf("%w: more than %d octets between chunks", ErrTooLong, limit)
	}
	d.line = append(d.line, b[:n]...)
	if !whole {
		return nil, n, nil
	}
	return nil, n, d.endLine()
}

func (d *Decoder) limit() int {
	if d.state == inTrailer {
		return MaxHeader
	}
	return maxLine
}

// endLine acts on a whole line.
func (d *Decoder) endLine() error {
	last := d.line[bytes.LastIndexByte(d.line[:len(d.line)-1], '\n')+1:]
	text := strings.TrimSuffix(strings.TrimSuffix(string(last), "\n"), "\r")
	switch d.state {
	case behind:
		if text != "" {
			return fmt.Errorf("%w: %.32q behind it", ErrChunk, text)
		}
		d.state = inSize
	case inSize:
		size, extensions, _ := strings.Cut(text, ";")
		n, err := strconv.ParseUint(strings.TrimRight(size, " \t"), 16, 63)
		if err != nil {
			return fmt.Errorf("%w: size %.32q", ErrChunk, size)
		}
		if d.left, d.state = int64(n), inData; n == 0 {
			d.state = inTrailer
		}
		if d.Chunk != nil {
			d.Chunk(int64(n), strings.TrimSpace(extensions))
		}
	case inTrailer:
		if text != "" {
			return nil // more of it
		}
		var err error
		d.trailer, _, err = parseFields(d.line, 0)
		d.done = err == nil
		d.line = nil
		return err
	}
	d.line = d.line[:0]
	return nil
}

// AppendChunk appends a chunk with data, and with extensions if there are any: "name=value;name". A chunk without data
// would end the body: nothing is appended.
func AppendChunk(b, data []byte, extensions string) []byte {
	if len(data) == 0 {
		return b
	}
	return append(append(AppendChunkLine(b, len(data), extensions), data...), "\r\n"...)
}

// AppendChunkLine appends the line before a chunk of size octets. Behind them CRLF has to follow.
func AppendChunkLine(b []byte, size int, extensions string) []byte {
	b = strconv.AppendInt(b, int64(size), 16)
	if extensions != "" {
		b = append(append(b, ';'), extensions...)
	}
	return append(b, "\r\n"...)
}

// AppendEnd appends the last chunk, which has no data, and the trailer.
func AppendEnd(b []byte, trailer ...Field) ([]byte, error) {
	n := len(b)
	b = append(b, "0\r\n"...)
	var err error
	for _, f := range trailer {
		if b, err = appendField(b, f); err != nil {
			return b[:n], err
		}
	}
	return append(b, "\r\n"...), nil
}
