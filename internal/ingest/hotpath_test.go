package ingest

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// discard is a Sink that forgets.
type discard struct{ chunks int }

func (d *discard) Begin(Object) (Writer, error) { return d, nil }
func (d *discard) Delete(string, string)        {}
func (d *discard) Commit() error                { return nil }
func (d *discard) Abort(error)                  {}
func (d *discard) Write(_ []byte, chunkEnd bool) error {
	if chunkEnd {
		d.chunks++
	}
	return nil
}

func openForever(tb testing.TB) (*transfer, *discard) {
	sink := &discard{}
	s, err := New(Config{Sink: sink, Channels: map[string]Channel{"ch1": {MaxRate: 1 << 50}}, MaxObject: 1 << 60})
	require.NoError(tb, err)
	tb.Cleanup(func() { s.Close() })
	c := s.channel("ch1")
	c.inits["init"] = &initSegment{kind: 1}
	t := &transfer{name: "seg-00001.m4s"}
	require.NoError(tb, c.open(context.Background(), t))
	require.NoError(tb, t.write(box("styp", 24)))
	return t, sink
}

func TestChunksDoNotAllocate(t *testing.T) {
	tr, sink := openForever(t)
	b := append(chunk(1000), chunk(3000)...)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if err := tr.write(b[:1500]); err != nil {
			t.Fatal(err)
		}
		if err := tr.write(b[1500:]); err != nil {
			t.Fatal(err)
		}
	}))
	require.Equal(t, 202, sink.chunks)
}

func BenchmarkTransfer(b *testing.B) {
	tr, _ := openForever(b)
	body := chunk(10_000)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if err := tr.write(body); err != nil {
			b.Fatal(err)
		}
	}
}
