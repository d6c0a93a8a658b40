package ssm

import (
	"net/netip"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// alignedControl copies b to where control messages of the kernel would be.
func alignedControl(b []byte) []byte {
	words := make([]uint64, len(b)/8+1)
	aligned := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(b))
	copy(aligned, b)
	return aligned
}

func controlMessage(level, kind int32, data ...byte) []byte {
	words := make([]uint64, unix.CmsgSpace(len(data))/8+1)
	b := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), unix.CmsgSpace(len(data)))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(len(data)))
	copy(b[unix.CmsgLen(0):], data)
	return b
}

func FuzzParseControl(f *testing.F) {
	info := controlMessage(unix.IPPROTO_IP, unix.IP_PKTINFO, 1, 0, 0, 0, 127, 0, 0, 1, 232, 1, 2, 3)
	size := controlMessage(unix.IPPROTO_UDP, unix.UDP_GRO, 0x78, 5, 0, 0)
	f.Add(append(append([]byte(nil), info...), size...), 65000)
	f.Add(size[:len(size)-4], 65000)
	f.Add(size, 100)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		if n < 0 || n > MaxDatagram {
			return
		}
		m := Message{N: n, SegmentSize: n}
		parseControl(alignedControl(b), &m)
		require.LessOrEqual(t, m.SegmentSize, n)
		require.True(t, n == 0 || m.SegmentSize > 0)
	})
}

func TestParseControl(t *testing.T) {
	info := controlMessage(unix.IPPROTO_IP, unix.IP_PKTINFO, 1, 0, 0, 0, 127, 0, 0, 1, 232, 1, 2, 3)
	unknown := controlMessage(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1, 0, 0, 0)
	size := controlMessage(unix.IPPROTO_UDP, unix.UDP_GRO, 100, 0, 0, 0)
	m := Message{N: 250, SegmentSize: 250}
	parseControl(alignedControl(append(append(info, unknown...), size...)), &m)
	require.Equal(t, netip.MustParseAddr("232.1.2.3"), m.Destination)
	if unsafe.Sizeof(uintptr(0)) == 8 && *(*byte)(unsafe.Pointer(&[]uint16{1}[0])) == 1 {
		require.Equal(t, 100, m.SegmentSize)
	}
}
