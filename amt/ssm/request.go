package ssm

import (
	"encoding/binary"
	"net/netip"
)

// Of ws2ipdef.h. The two SOCKADDR_STORAGE of GROUP_SOURCE_REQ are aligned to 8
// octets, also on 32-bit Windows, where Go would align to 4: hence octets instead
// of a struct.
const (
	mcastJoinSourceGroup = 45
	sizeRequest          = 264
	requestGroup         = 8
	requestSource        = 136
	windowsInet6         = 23
)

// groupSourceRequest is the GROUP_SOURCE_REQ of Windows for a channel.
func groupSourceRequest(ch Channel, index int) (b [sizeRequest]byte) {
	binary.LittleEndian.PutUint32(b[:], uint32(index))
	putSockaddr(b[requestGroup:], ch.Group)
	putSockaddr(b[requestSource:], ch.Source)
	return b
}

func putSockaddr(b []byte, a netip.Addr) {
	if a.Is4() {
		const inet = 2
		binary.LittleEndian.PutUint16(b, inet)
		copy(b[4:], a.AsSlice())
		return
	}
	binary.LittleEndian.PutUint16(b, windowsInet6)
	copy(b[8:], a.AsSlice())
}
