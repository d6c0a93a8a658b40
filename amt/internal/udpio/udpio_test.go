package udpio_test

import (
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt/internal/udpio"
)

func listen(tb testing.TB, address string) *udpio.Conn {
	c, err := udpio.Listen(netip.MustParseAddrPort(address), udpio.Config{})
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

// collect reads n datagrams.
func collect(tb testing.TB, c *udpio.Conn, n int) (list [][]byte, last udpio.Message) {
	ms := udpio.NewMessages(8)
	require.NoError(tb, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	for len(list) < n {
		got, err := c.ReadBatch(ms)
		require.NoError(tb, err, "%d of %d", len(list), n)
		for i := range ms[:got] {
			last = ms[i]
			for b := range ms[i].Segments {
				list = append(list, append([]byte(nil), b...))
			}
		}
	}
	return list, last
}

func TestCopies(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		tx := listen(t, address)
		var rx []*udpio.Conn
		var copies []udpio.Copy
		for i := range 70 { // more than one call takes
			c := listen(t, address)
			rx = append(rx, c)
			copies = append(copies, udpio.Copy{To: c.LocalAddr(), From: tx.LocalAddr().Addr(), ECN: i%3 == 0})
		}
		const size = 1000
		b := make([]byte, 70*size+100) // more than one run takes
		for i := range b {
			b[i] = byte(i / size)
		}
		f := tx.NewFan(copies)
		require.NoError(t, f.Write(b, size, 2))
		require.Empty(t, f.Failed())
		for i, c := range rx {
			list, last := collect(t, c, 71)
			require.Len(t, list[70], 100)
			for j, d := range list {
				require.Equal(t, byte(j), d[0])
			}
			require.Equal(t, tx.LocalAddr(), last.Remote)
			if runtime.GOOS == "linux" {
				require.Equal(t, c.LocalAddr().Addr(), last.Local)
				require.Equal(t, map[bool]uint8{true: 2}[i%3 == 0], last.ECN)
			}
		}
	}
}

func TestBatch(t *testing.T) {
	tx, rx := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	w := tx.NewWriter()
	var ds []udpio.Datagram
	for i := range 100 {
		ds = append(ds, udpio.Datagram{Payload: []byte{byte(i)}, To: rx.LocalAddr()})
	}
	ds[50].Payload = make([]byte, 70000) // is refused
	sent, err := w.WriteBatch(ds)
	require.NoError(t, err)
	require.Equal(t, 99, sent)
	list, _ := collect(t, rx, 99)
	require.Equal(t, []byte{99}, list[98])
}

func TestDeadlineAndClose(t *testing.T) {
	c := listen(t, "127.0.0.1:0")
	require.NoError(t, c.SetReadDeadline(time.Now()))
	_, err := c.ReadBatch(udpio.NewMessages(1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, c.SetReadDeadline(time.Time{}))
	time.AfterFunc(10*time.Millisecond, func() { _ = c.Close() })
	_, err = c.ReadBatch(udpio.NewMessages(1))
	require.ErrorContains(t, err, "use of closed")
}

func TestICMP(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells")
	}
	gone := listen(t, "127.0.0.1:0")
	to := gone.LocalAddr()
	require.NoError(t, gone.Close())
	c := listen(t, "127.0.0.1:0")
	_, err := c.NewWriter().WriteBatch([]udpio.Datagram{{Payload: []byte("x"), To: to}})
	require.NoError(t, err)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	n, err := c.ReadBatch(udpio.NewMessages(1))
	require.NoError(t, err)
	require.Zero(t, n)
	e, ok := c.ReadICMP()
	require.True(t, ok)
	require.Equal(t, udpio.ICMP{To: to}, e)
	_, ok = c.ReadICMP()
	require.False(t, ok)
}

// What comes back for one destination takes nothing from the others.
func TestICMPOfAnother(t *testing.T) {
	gone, rx, tx := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	to := gone.LocalAddr()
	require.NoError(t, gone.Close())
	f, w := tx.NewFan([]udpio.Copy{{To: to}, {To: rx.LocalAddr()}, {To: to}}), tx.NewWriter()
	for range 3 {
		require.NoError(t, f.Write(make([]byte, 3500), 1000, 0))
		require.Empty(t, f.Failed())
		n, err := w.WriteBatch([]udpio.Datagram{{Payload: []byte("x"), To: rx.LocalAddr()}})
		require.NoError(t, err)
		require.Equal(t, 1, n)
	}
	collect(t, rx, 15)
}

// A socket that is closed says so to everybody.
func TestClosed(t *testing.T) {
	tx, rx := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	f := tx.NewFan([]udpio.Copy{{To: rx.LocalAddr()}})
	waiting := make(chan error)
	go func() {
		_, err := tx.ReadBatch(udpio.NewMessages(1))
		waiting <- err
	}()
	require.NoError(t, f.Write([]byte("x"), 1, 0))
	require.NoError(t, tx.Close())
	require.ErrorIs(t, <-waiting, net.ErrClosed)
	_, err := tx.NewWriter().WriteBatch([]udpio.Datagram{{Payload: []byte("x"), To: rx.LocalAddr()}})
	if runtime.GOOS == "linux" { // elsewhere it is the number that says so
		require.NoError(t, tx.Close())
		require.ErrorIs(t, f.Write([]byte("x"), 1, 0), net.ErrClosed)
		require.ErrorIs(t, err, net.ErrClosed)
	}
	_, err = tx.ReadBatch(udpio.NewMessages(1))
	require.ErrorIs(t, err, net.ErrClosed)
	_, ok := tx.ReadICMP()
	require.False(t, ok)
}

func TestWriteAllocates(t *testing.T) {
	tx, rx := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	w := tx.NewWriter()
	b := make([]byte, 4000)
	f := tx.NewFan([]udpio.Copy{{To: rx.LocalAddr()}, {To: rx.LocalAddr(), From: tx.LocalAddr().Addr(), ECN: true}})
	ds := []udpio.Datagram{{Payload: b, To: rx.LocalAddr()}}
	ms := udpio.NewMessages(4)
	require.Zero(t, testing.AllocsPerRun(20, func() {
		_ = f.Write(b, 1000, 1)
		_, _ = w.WriteBatch(ds)
		_, _ = rx.ReadBatch(ms)
	}))
}

// What is refused is told by destination, and the others get everything.
func TestRefused(t *testing.T) {
	tx, rx := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	bad := netip.MustParseAddrPort("127.0.0.1:0")
	f := tx.NewFan([]udpio.Copy{{To: bad}, {To: rx.LocalAddr()}, {To: bad}})
	require.Equal(t, 3, f.Len())
	require.NoError(t, f.Write(make([]byte, 3500), 1000, 0))
	if runtime.GOOS == "linux" {
		require.Equal(t, []udpio.Failure{{Copy: 0, Datagrams: 4}, {Copy: 2, Datagrams: 4}}, f.Failed())
	}
	list, _ := collect(t, rx, 4)
	require.Len(t, list[3], 500)
	require.NoError(t, tx.SelfTest())
	require.Equal(t, runtime.GOOS == "linux", tx.Offload())

	plain, err := udpio.Listen(netip.MustParseAddrPort("127.0.0.1:0"), udpio.Config{NoOffload: true})
	require.NoError(t, err)
	defer plain.Close()
	require.False(t, plain.Offload())
	require.NoError(t, plain.SelfTest())
	f = plain.NewFan([]udpio.Copy{{To: rx.LocalAddr()}, {To: bad}})
	require.NoError(t, f.Write(make([]byte, 3500), 1000, 0))
	require.Equal(t, []udpio.Failure{{Copy: 1, Datagrams: 4}}, f.Failed())
	collect(t, rx, 4)

	// Datagrams that are larger than the interface takes go neither way.
	f = tx.NewFan([]udpio.Copy{{To: rx.LocalAddr()}, {To: rx.LocalAddr()}})
	require.NoError(t, f.Write(make([]byte, 131_200), 65_600, 0))
	if runtime.GOOS == "linux" {
		require.Equal(t, []udpio.Failure{{Copy: 0, Datagrams: 2}, {Copy: 1, Datagrams: 2}}, f.Failed())
	}
}

// 16 datagrams to each of 64 destinations; the figure is for one datagram.
func BenchmarkCopies(b *testing.B) {
	tx := listen(b, "127.0.0.1:0")
	var copies []udpio.Copy
	for range 64 {
		copies = append(copies, udpio.Copy{To: listen(b, "127.0.0.1:0").LocalAddr()})
	}
	const size = 1346
	data := make([]byte, 16*size)
	f := tx.NewFan(copies)
	b.SetBytes(16 * 64 * size)
	b.ReportAllocs()
	for b.Loop() {
		if err := f.Write(data, size, 0); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/16/64, "ns/datagram")
}
