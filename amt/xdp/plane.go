package xdp

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
)

// Tunnel is where copies go to. It is an alias of a type without a name, so that
// a program can have an interface with the methods of [Plane] and not import
// this package.
type Tunnel = struct {
	// Local is the relay's end, Gateway the other. They are of one family.
	Local, Gateway netip.AddrPort
	// ECN: the ECN field of a packet is copied to the outer header (RFC 9601); for
	// others that says Not-ECT.
	ECN bool
}

// Mode is where in the kernel the programs run.
type Mode uint8

const (
	// ModeAuto takes ModeNative if it works, else ModeGeneric.
	ModeAuto Mode = iota
	// ModeNative runs them in drivers. The driver of the egress interface has to
	// take packets of other interfaces (ndo_xdp_xmit).
	ModeNative
	// ModeGeneric runs them on socket buffers, with any driver. Kernels that let
	// copies share their octets cannot do this; the self-test finds out.
	ModeGeneric
)

// String returns "auto", "native" or "generic".
func (m Mode) String() string {
	switch m {
	case ModeAuto:
		return "auto"
	case ModeNative:
		return "native"
	case ModeGeneric:
		return "generic"
	}
	return fmt.Sprintf("mode %d", uint8(m))
}

// Config configures a [Plane]. Egress is required.
type Config struct {
	// Egress is the interface, of Ethernet, that copies leave by. Tunnels that are
	// reached by another one are not taken.
	Egress string
	// Upstream is the interface that packets of channels arrive on, to be taken
	// off it before the kernel or anybody sees them. It may be Egress. Default:
	// none; packets are given to Send.
	Upstream string
	// MaxCopies bounds the copies that are made at once. Nothing slows the kernel
	// down when it makes copies: those that find the queue of the interface full
	// are lost. That queue holds 240 with veth, and 256 to 8192 with others
	// ("ethtool -g"). Default: 192. Maximum: 4096.
	MaxCopies int
	// MaxPasses bounds how often Send gives a packet to the kernel, each time for
	// MaxCopies other tunnels: a queue has some time to empty between two passes.
	// Default: 16. Maximum: 1024. With Upstream there is one pass.
	MaxPasses int
	// MaxTunnels bounds the tunnels of all channels. Each takes 100 octets of
	// kernel memory, and 24 for each processor. Default: 16,384.
	MaxTunnels int
	// MaxChannels bounds the channels. Default: 1,024.
	MaxChannels int
	// Mode is where the programs may run. Default: ModeAuto.
	Mode Mode
	// Logger is told what was tried and what came of it. Default: silent.
	Logger *slog.Logger
}

// Errors. Those of Open that say that this system cannot do it match
// [errors.ErrUnsupported], so that a caller can fall back to sockets.
var (
	// ErrConfig: a Config that no system can do.
	ErrConfig = errors.New("invalid configuration")
	// ErrSelfTest: copies of the self-test were not right, or did not come. It
	// matches errors.ErrUnsupported.
	ErrSelfTest = fmt.Errorf("self-test: %w", errors.ErrUnsupported)
	// ErrLimit: one channel more than MaxChannels.
	ErrLimit = errors.New("too many channels")
	// ErrNotTaken: a channel of which not all tunnels can be taken, see
	// [Plane.Forward].
	ErrNotTaken = errors.New("not all tunnels can be taken")
)

// Stats counts packets and copies. All counters rise only.
type Stats struct {
	Packets uint64 // copied, once for each pass
	Copies  uint64 // that the egress interface took
	Lost    uint64 // copies that it did not take, its queue being full
	Stray   uint64 // copies for tunnels that had just gone

	Unknown   uint64 // packets of no channel
	Malformed uint64 // packets that are not IP, or not whole, or with a wrong IPv4 header checksum
	Odd       uint64 // fragments, packets with IPv4 options or IPv6 extension headers
	TooBig    uint64 // packets larger than a tunnel of their channel takes
	Failed    uint64 // packets and copies for which the kernel had no room

	Injected   uint64 // packets that Send gave to the kernel, once for each pass
	OverCap    uint64 // tunnels that Route refused because of MaxCopies, MaxPasses or MaxTunnels
	Unresolved uint64 // tunnels that Route refused for want of a next hop on the egress interface
}

func (c *Config) populate() error {
	if c.Egress == "" {
		return fmt.Errorf("xdp: %w: Egress is required", ErrConfig)
	}
	if c.MaxCopies < 0 || c.MaxPasses < 0 || c.MaxTunnels < 0 || c.MaxChannels < 0 || c.Mode > ModeGeneric {
		return fmt.Errorf("xdp: %w: value out of range", ErrConfig)
	}
	orDefault(&c.MaxCopies, 192)
	orDefault(&c.MaxPasses, 16)
	c.MaxCopies, c.MaxPasses = min(c.MaxCopies, 4096), min(c.MaxPasses, 1024)
	if c.Upstream != "" {
		c.MaxPasses = 1
	}
	orDefault(&c.MaxTunnels, 16384)
	orDefault(&c.MaxChannels, 1024)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

func orDefault(v *int, value int) {
	if *v == 0 {
		*v = value
	}
}

// acceptable reports whether the kernel will make copies of a packet: fan_out
// checks the same.
func acceptable(packet []byte, source, group netip.Addr, mtu int) bool {
	if len(packet) < 20 || len(packet) > mtu {
		return false
	}
	if group.Is4() {
		return packet[0] == 0x45 && packet[6]&0x3f|packet[7] == 0 && int(packet[2])<<8|int(packet[3]) == len(packet) &&
			[4]byte(packet[12:]) == source.As4() && [4]byte(packet[16:]) == group.As4() && headerSum(packet[:20]) == 0xffff
	}
	const hopByHop, fragment = 0, 44
	return len(packet) >= 40 && packet[0]>>4 == 6 && packet[6] != hopByHop && packet[6] != fragment &&
		40+int(packet[4])<<8+int(packet[5]) == len(packet) &&
		[16]byte(packet[8:]) == source.As16() && [16]byte(packet[24:]) == group.As16()
}
