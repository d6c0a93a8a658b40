package xdp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// ErrInterface: the interface does not send frames of XDP programs. A virtual one
// does while its other end receives by NAPI: ethtool -K PEER gro on.
var ErrInterface = errors.New("xdp: the interface does not take frames to send from programs (ndo_xdp_xmit)")

// Of the generic netlink family netdev (Linux 6.3).
const (
	netdevGet         = 1 // NETDEV_CMD_DEV_GET
	netdevIfindex     = 1 // NETDEV_A_DEV_IFINDEX
	netdevFeatures    = 3 // NETDEV_A_DEV_XDP_FEATURES
	featureTransmit   = 4 // NETDEV_XDP_ACT_NDO_XMIT
	sizeGenericHeader = 4
)

// canTransmit asks the kernel whether an interface sends what is redirected to
// it; without that, copies would be lost without a trace. Kernels before 6.3 do
// not say, and are believed.
func canTransmit(ifi *net.Interface) error {
	family, err := generic(unix.GENL_ID_CTRL, unix.CTRL_CMD_GETFAMILY, unix.CTRL_ATTR_FAMILY_NAME, nl.ZeroTerminated("netdev"), unix.CTRL_ATTR_FAMILY_ID)
	if err != nil || len(family) < 2 {
		return nil
	}
	id := int(binary.NativeEndian.Uint16(family))
	features, err := generic(id, netdevGet, netdevIfindex, nl.Uint32Attr(uint32(ifi.Index)), netdevFeatures)
	if err == nil && len(features) >= 8 && binary.NativeEndian.Uint64(features)&featureTransmit == 0 {
		return fmt.Errorf("%w: %s", ErrInterface, ifi.Name)
	}
	return nil
}

// generic sends a request of a generic netlink family with one attribute, and
// returns another one of the answer. The header is written by hand: that of the
// library has two octets too few, and the kernel wants them to be 0.
func generic(family int, command uint8, attribute int, value []byte, wanted uint16) ([]byte, error) {
	request := nl.NewNetlinkRequest(family, unix.NLM_F_ACK)
	request.AddRawData(append([]byte{command, 1, 0, 0}, nl.NewRtAttr(attribute, value).Serialize()...))
	answers, err := request.Execute(unix.NETLINK_GENERIC, 0)
	if err != nil {
		return nil, err
	}
	for _, b := range answers {
		attributes, err := nl.ParseRouteAttr(b[min(sizeGenericHeader, len(b)):])
		if err != nil {
			return nil, err
		}
		for _, a := range attributes {
			if a.Attr.Type == wanted {
				return a.Value, nil
			}
		}
	}
	return nil, nil
}
