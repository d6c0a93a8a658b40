package packetio_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/packetio"
	"github.com/treedn/treedn/flute/packetio/pcap"
)

func TestSegments(t *testing.T) {
	var got []string
	for p := range packetio.Segments([]byte("aabbc"), 2) {
		got = append(got, string(p))
	}
	require.Equal(t, []string{"aa", "bb", "c"}, got)
	for range packetio.Segments([]byte("x"), 0) {
		t.Fatal("no size, no packets")
	}
}

func TestUnicast(t *testing.T) {
	open := func() *net.UDPConn {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		require.NoError(t, err)
		return c
	}
	a, b := open(), open()
	to := b.LocalAddr().(*net.UDPAddr).AddrPort()
	from := a.LocalAddr().(*net.UDPAddr).AddrPort()
	sink, source := packetio.Unicast(a), packetio.Datagrams(b, to)
	defer sink.Close()
	n, err := sink.WriteBatch([][]byte{[]byte("one"), {}, []byte("two")}, to)
	require.NoError(t, err)
	require.Equal(t, 3, n)
	var got []string
	handle := func(at time.Time, src, dst netip.AddrPort, run []byte, size int) {
		require.Equal(t, from, src)
		require.Equal(t, to, dst)
		require.Equal(t, len(run), size)
		got = append(got, string(run))
	}
	require.NoError(t, source.SetReadDeadline(time.Now().Add(time.Minute)))
	require.NoError(t, source.Receive(handle))
	require.NoError(t, source.Receive(handle))
	require.Equal(t, []string{"one", "two"}, got)
	require.NoError(t, source.SetReadDeadline(time.Unix(1, 0)))
	require.ErrorIs(t, source.Receive(handle), os.ErrDeadlineExceeded)
	require.NoError(t, source.Close())
	require.ErrorIs(t, source.Receive(handle), net.ErrClosed)
}

// sink notes how much came at once.
type sink struct{ batches []int }

func (s *sink) WriteBatch(packets [][]byte, _ netip.AddrPort) (int, error) {
	n := 0
	for _, p := range packets {
		n += len(p)
	}
	s.batches = append(s.batches, n)
	return len(packets), nil
}

func (s *sink) Close() error { return nil }

func TestPaced(t *testing.T) {
	under := &sink{}
	p := &packetio.Paced{Sink: under, Rate: 10_000_000, Burst: 10_000}
	packets := make([][]byte, 100)
	for i := range packets {
		packets[i] = make([]byte, 972) // 1000 with headers
	}
	begin := time.Now()
	n, err := p.WriteBatch(packets, netip.AddrPort{})
	require.NoError(t, err)
	require.Equal(t, len(packets), n)
	require.GreaterOrEqual(t, time.Since(begin), 9*time.Millisecond, "100,000 octets less the burst")
	for _, b := range under.batches {
		require.LessOrEqual(t, b, 11*972)
	}
	require.NoError(t, p.Close())
	require.NoError(t, p.Close())

	p = &packetio.Paced{Sink: under, Rate: 1}
	done := make(chan error)
	go func() {
		_, err := p.WriteBatch(append(packets, packets...), netip.AddrPort{})
		done <- err
	}()
	require.NoError(t, p.Close())
	require.ErrorIs(t, <-done, net.ErrClosed)
}

func TestReplay(t *testing.T) {
	b, err := os.ReadFile("../testdata/atsc3-ateme-lls-esg.pcap")
	require.NoError(t, err)
	open := func() *packetio.Replay {
		r, err := pcap.NewReader(bytes.NewReader(b))
		require.NoError(t, err)
		return packetio.NewReplay(r)
	}
	var source packetio.Source = open()
	n := 0
	var last time.Time
	for ; err == nil; err = source.Receive(func(at time.Time, _, _ netip.AddrPort, run []byte, size int) {
		n++
		last = at
	}) {
	}
	require.Equal(t, io.EOF, err)
	require.Equal(t, 149, n)
	require.Less(t, last.Year(), 2030)

	slow := open()
	slow.Speed = 1e-9
	first := func(time.Time, netip.AddrPort, netip.AddrPort, []byte, int) {}
	require.NoError(t, slow.Receive(first))
	done := make(chan error)
	receive := func() { done <- slow.Receive(first) }
	require.NoError(t, slow.SetReadDeadline(time.Now().Add(time.Millisecond)))
	go receive()
	require.ErrorIs(t, <-done, os.ErrDeadlineExceeded)
	require.NoError(t, slow.SetReadDeadline(time.Time{}))
	go receive()
	require.NoError(t, slow.Close())
	require.ErrorIs(t, <-done, net.ErrClosed)
	require.ErrorIs(t, slow.SetReadDeadline(time.Time{}), net.ErrClosed)
}

// A capture is read as if its packets came just now.
func ExampleNewReplay() {
	f, err := os.Open("../testdata/libflute-gzip.pcap")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Close()
	r, err := pcap.NewReader(f)
	if err != nil {
		fmt.Println(err)
		return
	}
	source := packetio.NewReplay(r)
	packets := 0
	for {
		err := source.Receive(func(at time.Time, from, to netip.AddrPort, run []byte, size int) {
			for range packetio.Segments(run, size) {
				packets++
			}
		})
		if errors.Is(err, io.EOF) {
			break
		}
	}
	fmt.Println(packets, "packets")
	// Output: 2 packets
}
