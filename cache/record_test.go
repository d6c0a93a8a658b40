package cache

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var recordCases = []record{
	{name: "a", meta: Meta{Created: time.UnixMicro(0)}},
	{name: "video/seg-1.m4s", size: 123456, meta: Meta{
		ContentType: "video/mp4", CacheControl: "max-age=2", Generation: 1<<64 - 1, Pinned: true,
		Created: time.UnixMicro(1_793_000_000_123_456),
		Header:  map[string]string{"seal": "\x00\x01\xff", "b": "", "": "x"},
	}},
	{name: strings.Repeat("n", MaxName), meta: Meta{
		Created: time.UnixMicro(-5),
		Header:  map[string]string{"k": strings.Repeat("v", MaxHeader-1)},
	}},
}

func TestRecord(t *testing.T) {
	for _, r := range recordCases {
		b := r.appendTo([]byte("before"))[6:]
		require.Zero(t, len(b)%recordUnit)
		require.LessOrEqual(t, len(b), maxRecord)
		var got record
		require.NoError(t, got.parse(b))
		require.Equal(t, r, got)
		for n := range len(b) {
			if n%recordUnit == 0 && n > 0 {
				continue
			}
			require.Error(t, got.parse(b[:n]))
		}
		require.ErrorIs(t, got.parse(b[:recordFixed-1]), io.ErrUnexpectedEOF)
		require.ErrorIs(t, got.parse(append(b, make([]byte, recordUnit)...)), errRecord)
		b[0]++
		require.ErrorIs(t, got.parse(b), errRecord)
	}
}

func TestLargestRecordFits(t *testing.T) {
	h := make(map[string]string)
	n := 0
	for i := 0; n+2 <= MaxHeader; i++ {
		h[string([]byte{byte(i >> 8), byte(i)})] = ""
		n += 2
	}
	require.NoError(t, validateHeader(h))
	r := record{name: strings.Repeat("n", MaxName), meta: Meta{
		ContentType: strings.Repeat("t", maxMetaField), CacheControl: strings.Repeat("c", maxMetaField), Header: h,
	}}
	require.LessOrEqual(t, len(r.appendTo(nil)), maxRecord)
}

func TestPrefix(t *testing.T) {
	p := prefix{nonce: [nonceSize]byte{1, 2}, tag: [tagSize]byte{3}, sealed: 400}
	b := p.appendTo(nil)
	require.Len(t, b, prefixSize)
	var got prefix
	require.NoError(t, got.parse(b))
	require.Equal(t, p, got)
	require.ErrorIs(t, got.parse(b[:prefixSize-1]), io.ErrUnexpectedEOF)
	b[prefixSize-4] = 1
	require.ErrorIs(t, got.parse(b), errRecord)
	b[0] = 'X'
	require.ErrorIs(t, got.parse(b), errRecord)
}

// FuzzRecord decodes what it is given; what it accepts it encodes to the same
// octets again, and what it builds lies within the bounds of its input.
func FuzzRecord(f *testing.F) {
	for _, r := range recordCases {
		f.Add(r.appendTo(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r record
		if err := r.parse(b); err != nil {
			require.True(t, errors.Is(err, errRecord) || errors.Is(err, ErrInvalid) || errors.Is(err, io.ErrUnexpectedEOF), err)
			return
		}
		require.True(t, bytes.Equal(b, r.appendTo(nil)))
		n := len(r.name) + len(r.meta.ContentType) + len(r.meta.CacheControl)
		for k, v := range r.meta.Header {
			n += len(k) + len(v)
		}
		require.LessOrEqual(t, n, len(b))
	})
}

// FuzzFile lets a key look at a file that nobody wrote.
func FuzzFile(f *testing.F) {
	e, err := newEpoch("s", testKey(1, 1))
	require.NoError(f, err)
	o := &Object{key: Key{"s", "n"}}
	o.header.Store(new(map[string]string))
	o.length.Store(3)
	file, head, err := newSealedFile(o, e)
	require.NoError(f, err)
	var whole bytes.Buffer
	require.NoError(f, sealTo(&whole, file, head, newCompleteBody([]byte("abc"))))
	f.Add(whole.Bytes(), uint16(0), byte(0))
	f.Add(whole.Bytes(), uint16(50), byte(1))
	f.Add([]byte(fileMagic), uint16(0), byte(0))
	f.Fuzz(func(t *testing.T, b []byte, at uint16, flip byte) {
		valid := bytes.Equal(b, whole.Bytes())
		if len(b) > 0 {
			b = bytes.Clone(b)
			b[int(at)%len(b)] ^= flip
		}
		src := bytes.NewReader(b)
		p, head, err := readHead(src)
		if err != nil {
			return
		}
		r, err := openRecord(src, int64(len(b)), e, &p, head)
		if err != nil {
			return
		}
		// Only what this key sealed opens; the body is not looked at here.
		require.Equal(t, "n", r.name)
		require.True(t, valid || int(at) >= len(head) || len(b) == whole.Len())
	})
}
