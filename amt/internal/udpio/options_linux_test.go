package udpio_test

import (
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/treedn/treedn/amt/internal/udpio"
)

// RFC 7450 section 5.3.3.6.3: over IPv4 all packets have DF, and over IPv6 none has a
// fragment header: the kernel refuses what does not fit the link.
func TestNothingIsFragmented(t *testing.T) {
	for _, c := range []struct {
		address               string
		level, name, discover int
	}{
		{"127.0.0.1:0", unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE},
		{"[::1]:0", unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE},
	} {
		conn := listen(t, c.address)
		var got int
		var err error
		require.NoError(t, conn.Control(func(fd uintptr) { got, err = unix.GetsockoptInt(int(fd), c.level, c.name) }))
		require.NoError(t, err)
		require.Equal(t, c.discover, got)
	}
}

// Over IPv6 a datagram without a checksum is taken by who asks for such ones alone, and
// of the kind that was asked for.
func TestZeroChecksum(t *testing.T) {
	strict := listen(t, "[::1]:0")
	lax, err := udpio.Listen(netip.MustParseAddrPort("[::1]:0"), udpio.Config{ZeroChecksum: 'z'})
	require.NoError(t, err)
	t.Cleanup(func() { _ = lax.Close() })
	tx := listen(t, "[::1]:0")
	require.NoError(t, tx.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_NO_CHECK6_TX, 1)
	}))
	require.NoError(t, err)
	send := func(payload string, to *udpio.Conn) {
		_, err = tx.NewWriter().WriteBatch([]udpio.Datagram{{Payload: []byte(payload), To: to.LocalAddr()}})
		require.NoError(t, err)
	}
	send("zero", strict)
	send("another", lax)
	send("zero", lax)
	require.NoError(t, tx.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_NO_CHECK6_TX, 0)
	}))
	require.NoError(t, err)
	send("with one", lax)
	list, _ := collect(t, lax, 2)
	require.Equal(t, "zero", string(list[0]))
	require.Equal(t, "with one", string(list[1]))
	require.NoError(t, strict.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
	_, err = strict.ReadBatch(udpio.NewMessages(1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}
