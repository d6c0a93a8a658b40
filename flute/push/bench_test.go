package push

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
)

// void takes all and keeps nothing.
type void struct{}

func (void) Begin(context.Context, Object) (Upload, error) { return void{}, nil }
func (void) Write(p []byte) (int, error)                   { return len(p), nil }
func (void) ReadAt(p []byte, _ int64) (int, error)         { return len(p), nil }
func (void) Commit(int64) error                            { return nil }
func (void) Abort(error)                                   {}

// The handler with and without a digest, beside the digest alone, which is its limit.
func BenchmarkHandler(b *testing.B) {
	data := pattern(4 << 20)
	digest := reprDigest("sha-256", data)
	for name, value := range map[string]string{"plain": "", "SHA-256": digest} {
		b.Run(name, func(b *testing.B) {
			h := &Handler{Sink: void{}}
			defer h.Close()
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for i := range b.N {
				id := testID
				id.TOI = uint64(i)
				r := httptest.NewRequest(http.MethodPut, id.String(), bytes.NewReader(data))
				if value != "" {
					r.Header.Set(ReprDigest, value)
				}
				w := httptest.NewRecorder()
				if h.ServeHTTP(w, r); w.Code != 201 {
					b.Fatal(w.Code)
				}
			}
		})
	}
	b.Run("SHA-256 alone", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			h := newHash("sha-256")
			h.Write(data)
		}
	})
}
