package chunked

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

type hexBytes []byte

func (h *hexBytes) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

type vector struct {
	Seed             string   `json:"seed"`
	PlaintextLen     int      `json:"plaintext_len"`
	PlaintextSHA256  hexBytes `json:"plaintext_sha256"`
	InputKey         hexBytes `json:"input_key"`
	Salt             hexBytes `json:"salt"`
	Context          hexBytes `json:"context"`
	Key              hexBytes `json:"key"`
	BaseNonce        hexBytes `json:"base_nonce"`
	Commitment       hexBytes `json:"commitment"`
	CiphertextLen    int64    `json:"ciphertext_len"`
	CiphertextSHA256 hexBytes `json:"ciphertext_sha256"`
	CiphertextHead   hexBytes `json:"ciphertext_head"`
	CiphertextTail   hexBytes `json:"ciphertext_tail"`
}

func (v *vector) plaintext() []byte {
	var p []byte
	for i := 0; len(p) < v.PlaintextLen; i++ {
		d := sha256.Sum256(fmt.Appendf(nil, "%s/%d", v.Seed, i))
		p = append(p, d[:]...)
	}
	return p[:v.PlaintextLen]
}

func vectors(t testing.TB) []vector {
	t.Helper()
	raw, err := os.ReadFile("testdata/chunked-aead.json")
	require.NoError(t, err)
	var f struct{ Vectors []vector }
	require.NoError(t, json.Unmarshal(raw, &f))
	require.Len(t, f.Vectors, 9)
	return f.Vectors
}

func digest(p []byte) []byte {
	d := sha256.Sum256(p)
	return d[:]
}

// seal seals under the vector's salt, in writes of n octets.
func (v *vector) seal(t testing.TB, n int) []byte {
	t.Helper()
	var dst bytes.Buffer
	w, err := newWriter(&dst, v.InputKey, v.Context, [SaltSize]byte(v.Salt))
	require.NoError(t, err)
	for p := v.plaintext(); len(p) > 0; {
		m := min(n, len(p))
		_, err := w.Write(p[:m])
		require.NoError(t, err)
		p = p[m:]
	}
	require.NoError(t, w.Close())
	require.NoError(t, w.Close())
	_, err = w.Write([]byte{1})
	require.Error(t, err)
	h := w.Header()
	require.Equal(t, []byte(v.Commitment), h[SaltSize:])
	return dst.Bytes()
}

func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		plain := v.plaintext()
		require.Equal(t, []byte(v.PlaintextSHA256), digest(plain))
		for _, n := range []int{1000, ChunkSize, ChunkSize + 1, 1 << 20} {
			sealed := v.seal(t, n)
			require.Equal(t, v.CiphertextLen, int64(len(sealed)))
			require.Equal(t, v.CiphertextLen, SealedSize(int64(len(plain))))
			require.Equal(t, []byte(v.CiphertextSHA256), digest(sealed))
			require.True(t, bytes.HasPrefix(sealed, v.CiphertextHead))
			require.True(t, bytes.HasSuffix(sealed, v.CiphertextTail))
			sec, err := derive(v.InputKey, v.Context, v.Salt)
			require.NoError(t, err)
			require.Equal(t, []byte(v.BaseNonce), sec.nonce[:])

			got, err := Open([]byte("before"), v.InputKey, v.Context, sealed)
			require.NoError(t, err)
			require.True(t, bytes.Equal(append([]byte("before"), plain...), got))
			r, err := NewReaderAt(bytes.NewReader(sealed), int64(len(sealed)), v.InputKey, v.Context)
			require.NoError(t, err)
			require.Equal(t, int64(len(plain)), r.Size())
			whole := make([]byte, len(plain)+1)
			m, err := r.ReadAt(whole, 0)
			require.Equal(t, io.EOF, err)
			require.True(t, bytes.Equal(plain, whole[:m]))
			if n == ChunkSize && len(plain) <= 20480 {
				require.NoError(t, iotest.TestReader(io.NewSectionReader(r, 0, r.Size()), plain))
			}
		}
	}
}

func TestSealIsOpened(t *testing.T) {
	key := bytes.Repeat([]byte{7}, 32)
	for _, n := range []int{0, 1, ChunkSize - 1, ChunkSize, ChunkSize + 1, 3 * ChunkSize, 100_000} {
		plain := bytes.Repeat([]byte{9}, n)
		a, err := Seal(nil, key, []byte("c"), plain)
		require.NoError(t, err)
		b, err := Seal(nil, key, []byte("c"), plain)
		require.NoError(t, err)
		require.NotEqual(t, a[:SaltSize], b[:SaltSize])
		require.Len(t, a, int(SealedSize(int64(n))))
		got, err := Open(nil, key, []byte("c"), a)
		require.NoError(t, err)
		require.True(t, bytes.Equal(plain, got))
	}
}

func TestReadAtRandomRanges(t *testing.T) {
	v := vectors(t)[8]
	plain, sealed := v.plaintext(), v.seal(t, 1<<20)
	src := &countingReaderAt{src: bytes.NewReader(sealed)}
	r, err := NewReaderAt(src, int64(len(sealed)), v.InputKey, v.Context)
	require.NoError(t, err)
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		off := rnd.Int64N(r.Size() + 100)
		p := make([]byte, rnd.IntN(100_000)>>rnd.IntN(12))
		src.n = 0
		n, err := r.ReadAt(p, off)
		want := plain[min(off, r.Size()):min(off+int64(len(p)), r.Size())]
		require.True(t, bytes.Equal(want, p[:n]))
		if n < len(p) || (len(p) == 0 && off >= r.Size()) {
			require.Equal(t, io.EOF, err)
		} else {
			require.NoError(t, err)
		}
		if n > 0 {
			chunks := (off+int64(n)-1)/ChunkSize - off/ChunkSize + 1
			require.LessOrEqual(t, src.n, chunks*sealedChunk) // the rest is not touched
		}
	}
	_, err = r.ReadAt(make([]byte, 1), -1)
	require.Error(t, err)
}

type countingReaderAt struct {
	src io.ReaderAt
	n   int64
}

func (c *countingReaderAt) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.src.ReadAt(p, off)
	c.n += int64(n)
	return n, err
}

func TestSizes(t *testing.T) {
	for _, n := range []int64{0, 1, ChunkSize - 1, ChunkSize, ChunkSize + 1, 10 * ChunkSize, 1 << 40, maxSize} {
		got, err := PlainSize(SealedSize(n))
		require.NoError(t, err)
		require.Equal(t, n, got)
	}
	require.EqualValues(t, HeaderSize+ChunkSize+2*TagSize, SealedSize(ChunkSize))
	for _, n := range []int64{-1, 0, 55, 56, 71, HeaderSize + sealedChunk, HeaderSize + 5*sealedChunk,
		HeaderSize + sealedChunk + 1, HeaderSize + sealedChunk + 15, SealedSize(maxSize) + 1, 1<<63 - 1} {
		_, err := PlainSize(n)
		require.ErrorIs(t, err, ErrLength, n)
	}
}

func TestKeySizes(t *testing.T) {
	for n := range 70 {
		_, err := Seal(nil, make([]byte, n), nil, nil)
		if n == 16 || n == 32 {
			require.NoError(t, err)
			continue
		}
		require.ErrorIs(t, err, ErrKeySize)
		_, err = NewWriter(io.Discard, make([]byte, n), nil)
		require.ErrorIs(t, err, ErrKeySize)
		_, err = Open(nil, make([]byte, n), nil, make([]byte, 100))
		require.ErrorIs(t, err, ErrKeySize)
	}
}

func TestForgeriesFail(t *testing.T) {
	v := vectors(t)[7] // four whole chunks and an empty one
	sealed := v.seal(t, 1<<20)
	open := func(sealed, key, context []byte) error {
		out, err1 := Open(nil, key, context, sealed)
		require.Nil(t, out)
		r, err2 := NewReaderAt(bytes.NewReader(sealed), int64(len(sealed)), key, context)
		if err2 == nil {
			_, err2 = io.Copy(io.Discard, io.NewSectionReader(r, 0, r.Size()))
		}
		require.Equal(t, errors.Is(err1, ErrAuthentication), errors.Is(err2, ErrAuthentication))
		require.Equal(t, errors.Is(err1, ErrLength), errors.Is(err2, ErrLength))
		return err1
	}
	require.ErrorIs(t, open(sealed, bytes.Repeat([]byte{1}, 32), v.Context), ErrAuthentication)
	require.ErrorIs(t, open(sealed, v.InputKey, []byte("other")), ErrAuthentication)
	for _, at := range []int{0, 23, 24, 55, 56, 20_000, len(sealed) - 17, len(sealed) - 1} {
		bad := bytes.Clone(sealed)
		bad[at] ^= 1
		require.ErrorIs(t, open(bad, v.InputKey, v.Context), ErrAuthentication, at)
	}
	// Cut at every kind of place.
	for _, n := range []int{0, 55, 56, 71, 72, HeaderSize + sealedChunk, HeaderSize + sealedChunk + 16, len(sealed) - 16, len(sealed) - 1} {
		err := open(sealed[:n], v.InputKey, v.Context)
		require.True(t, errors.Is(err, ErrAuthentication) || errors.Is(err, ErrLength), n)
	}
	// Chunks exchanged.
	bad := bytes.Clone(sealed)
	copy(bad[HeaderSize:], sealed[HeaderSize+sealedChunk:HeaderSize+2*sealedChunk])
	copy(bad[HeaderSize+sealedChunk:], sealed[HeaderSize:HeaderSize+sealedChunk])
	require.ErrorIs(t, open(bad, v.InputKey, v.Context), ErrAuthentication)
}

func TestSourceErrorsPass(t *testing.T) {
	v := vectors(t)[8]
	sealed := v.seal(t, 1<<20)
	broken := errors.New("bad sector")
	src := &failing{src: bytes.NewReader(sealed)}
	r, err := NewReaderAt(src, int64(len(sealed)), v.InputKey, v.Context)
	require.NoError(t, err)
	src.err = broken
	_, err = r.ReadAt(make([]byte, 10), 0)
	require.ErrorIs(t, err, broken)
	_, err = NewReaderAt(src, int64(len(sealed)), v.InputKey, v.Context)
	require.ErrorIs(t, err, broken)

	w, err := NewWriter(failWriter{broken}, v.InputKey, nil)
	require.NoError(t, err)
	_, err = w.Write(make([]byte, ChunkSize))
	require.ErrorIs(t, err, broken)
	require.ErrorIs(t, w.Close(), broken)
}

type failing struct {
	src io.ReaderAt
	err error
}

func (f *failing) ReadAt(p []byte, off int64) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return f.src.ReadAt(p, off)
}

type failWriter struct{ err error }

func (f failWriter) Write([]byte) (int, error) { return 0, f.err }

func TestReadAtAllocatesNothing(t *testing.T) {
	v := vectors(t)[8]
	sealed := v.seal(t, 1<<20)
	r, err := NewReaderAt(bytes.NewReader(sealed), int64(len(sealed)), v.InputKey, v.Context)
	require.NoError(t, err)
	p := make([]byte, 70_000)
	require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = r.ReadAt(p, 12345) }))
}

func TestWriteAllocatesNothing(t *testing.T) {
	w, err := NewWriter(io.Discard, make([]byte, 32), nil)
	require.NoError(t, err)
	p := make([]byte, 70_000)
	require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = w.Write(p) }))
}

// FuzzOpen seals a message, opens any range of it, and then the message
// changed at one place, which must yield nothing but true octets or an error.
func FuzzOpen(f *testing.F) {
	f.Add([]byte("hello"), uint16(5), uint32(2), uint16(3), uint32(60), byte(1))
	f.Add([]byte{1}, uint16(2*ChunkSize), uint32(ChunkSize-1), uint16(9), uint32(ChunkSize+80), byte(0))
	f.Fuzz(func(t *testing.T, pattern []byte, length uint16, off uint32, n uint16, at uint32, flip byte) {
		plain := make([]byte, length)
		for i := range plain {
			if len(pattern) > 0 {
				plain[i] = pattern[i%len(pattern)] + byte(i>>8)
			}
		}
		key, context := bytes.Repeat([]byte{3}, 16), plain[:len(plain)/2]
		sealed, err := Seal(nil, key, context, plain)
		require.NoError(t, err)
		require.Len(t, sealed, int(SealedSize(int64(len(plain)))))
		sealed[int(at)%len(sealed)] ^= flip

		got, err := Open(nil, key, context, sealed)
		if flip != 0 {
			require.ErrorIs(t, err, ErrAuthentication)
			require.Nil(t, got)
		} else {
			require.NoError(t, err)
			require.True(t, bytes.Equal(plain, got))
		}
		r, err := NewReaderAt(bytes.NewReader(sealed), int64(len(sealed)), key, context)
		if err != nil {
			require.ErrorIs(t, err, ErrAuthentication)
			return
		}
		p := make([]byte, n)
		m, err := r.ReadAt(p, int64(off))
		lo := min(int(off), len(plain))
		require.True(t, bytes.Equal(plain[lo:min(lo+m, len(plain))], p[:m]))
		if err != nil && err != io.EOF {
			require.ErrorIs(t, err, ErrAuthentication)
		}
		if err == nil {
			require.Equal(t, int(n), m)
		}
	})
}

// FuzzForged opens octets that nobody sealed.
func FuzzForged(f *testing.F) {
	sealed, _ := Seal(nil, make([]byte, 32), nil, []byte("x"))
	f.Add(sealed)
	f.Add(make([]byte, 72))
	f.Fuzz(func(t *testing.T, message []byte) {
		key := bytes.Repeat([]byte{5}, 32)
		_, err := Open(nil, key, nil, message)
		require.True(t, errors.Is(err, ErrAuthentication) || errors.Is(err, ErrLength))
		_, err2 := NewReaderAt(bytes.NewReader(message), int64(len(message)), key, nil)
		require.ErrorIs(t, err2, err)
	})
}

func BenchmarkSeal(b *testing.B) {
	w, _ := NewWriter(io.Discard, make([]byte, 32), nil)
	p := make([]byte, 1<<20)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		_, _ = w.Write(p)
	}
}

func BenchmarkReadAt(b *testing.B) {
	plain := make([]byte, 1<<20)
	sealed, _ := Seal(nil, make([]byte, 32), nil, plain)
	r, _ := NewReaderAt(bytes.NewReader(sealed), int64(len(sealed)), make([]byte, 32), nil)
	for _, n := range []int{1316, ChunkSize, 1 << 20} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				_, _ = r.ReadAt(plain[:n], 0)
			}
		})
	}
}

func BenchmarkNewReaderAt(b *testing.B) {
	sealed, _ := Seal(nil, make([]byte, 32), nil, make([]byte, 1000))
	b.ReportAllocs()
	for b.Loop() {
		_, _ = NewReaderAt(bytes.NewReader(sealed), int64(len(sealed)), make([]byte, 32), nil)
	}
}
