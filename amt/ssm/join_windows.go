package ssm

import (
	"net"
	"os"

	"golang.org/x/sys/windows"
)

// joinSource uses MCAST_JOIN_SOURCE_GROUP (RFC 3678 section 5), which Windows has
// since Vista and golang.org/x/net does not know.
func joinSource(conn *net.UDPConn, ch Channel, ifi *net.Interface) error {
	level := windows.IPPROTO_IP
	if ch.Group.Is6() {
		level = windows.IPPROTO_IPV6
	}
	request := groupSourceRequest(ch, ifi.Index)
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = os.NewSyscallError("setsockopt MCAST_JOIN_SOURCE_GROUP", windows.Setsockopt(windows.Handle(fd),
			int32(level), mcastJoinSourceGroup, &request[0], int32(len(request))))
	})
	if err != nil {
		return err
	}
	return failed
}
