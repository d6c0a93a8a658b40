package mmsg

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
	f.Add(append(append([]byte(nil), info...), size...))
	f.Add(size[:len(size)-4])
	f.Add(size)
	f.Fuzz(func(t *testing.T, b []byte) {
		a := ParseControl(alignedControl(b))
		require.GreaterOrEqual(t, a.SegmentSize, 0)
		require.Less(t, a.ECN, uint8(4))
	})
}

func TestParseControl(t *testing.T) {
	info := controlMessage(unix.IPPROTO_IP, unix.IP_PKTINFO, 1, 0, 0, 0, 127, 0, 0, 1, 232, 1, 2, 3)
	unknown := controlMessage(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1, 0, 0, 0)
	size := controlMessage(unix.IPPROTO_UDP, unix.UDP_GRO, 100, 0, 0, 0)
	a := ParseControl(alignedControl(append(append(info, unknown...), size...)))
	require.Equal(t, netip.MustParseAddr("232.1.2.3"), a.Local)
	if unsafe.Sizeof(uintptr(0)) == 8 && *(*byte)(unsafe.Pointer(&[]uint16{1}[0])) == 1 {
		require.Equal(t, 100, a.SegmentSize)
	}
}
