package push

import (
	"bytes"
	"context"
	"net"
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

// The time from octets that are made to the sink that has them, over loopback, beside an echo over a bare connection.
func BenchmarkChunkToSink(b *testing.B) {
	piece := pattern(4000)
	b.Run("push", func(b *testing.B) {
		m := &memory{came: make(chan int)}
		h := newHandler(b, m)
		h.MaxObject = 1 << 40
		server := httptest.NewServer(h)
		defer server.Close()
		p := newTestPusher(b, Config{URL: server.URL})
		body := newPipe()
		done := make(chan error)
		go func() { done <- p.Push(context.Background(), Object{ID: testID, Length: -1}, body.open) }()
		n := 0
		for b.Loop() {
			n += len(piece)
			body.add(piece, false, nil)
			for <-m.came < n {
			}
		}
		body.add(nil, true, nil)
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	})
	b.Run("bare", func(b *testing.B) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		came := make(chan int)
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer close(came)
			buffer := make([]byte, chunk)
			for {
				n, err := c.Read(buffer)
				if err != nil {
					return
				}
				came <- n
			}
		}()
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if _, err := c.Write(piece); err != nil {
				b.Fatal(err)
			}
			for n := 0; n < len(piece); {
				n += <-came
			}
		}
		c.Close()
		for range came {
		}
	})
}
