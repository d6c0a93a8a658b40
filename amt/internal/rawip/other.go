//go:build !linux

package rawip

import (
	"net"
	"net/netip"

	"golang.org/x/net/bpf"
)

// Capture takes packets of some groups off one interface.
type Capture struct{}

// Open returns ErrUnsupported.
func Open(*net.Interface, int) (*Capture, error) { return nil, ErrUnsupported }

// SetGroups says which groups are wanted.
func (c *Capture) SetGroups([]netip.Addr) error { return ErrUnsupported }

// SetGroup says whether packets to a group are wanted.
func (c *Capture) SetGroup(netip.Addr, bool) error { return ErrUnsupported }

// Attach makes the kernel run another program on each packet.
func (c *Capture) Attach([]bpf.Instruction) error { return ErrUnsupported }

// Read waits for packets.
func (c *Capture) Read(frames []Frame) ([]Frame, error) { return frames, ErrUnsupported }

// Drops returns how many packets the kernel had no room for.
func (c *Capture) Drops() uint64 { return 0 }

// Close ends Read.
func (c *Capture) Close() error { return nil }

// Injector sends whole IP multicast packets on one interface.
type Injector struct{}

// NewInjector returns ErrUnsupported.
func NewInjector(*net.Interface) (*Injector, error) { return nil, ErrUnsupported }

// Send sends a packet.
func (j *Injector) Send([]byte) error { return ErrUnsupported }

// Close ends the injector.
func (j *Injector) Close() error { return nil }

// Memberships joins channels for somebody who takes their packets elsewhere.
type Memberships struct{}

// Join returns ErrUnsupported.
func (m *Memberships) Join(*net.Interface, netip.Addr, netip.Addr) error { return ErrUnsupported }

// Leave ends Join.
func (m *Memberships) Leave(*net.Interface, netip.Addr, netip.Addr) {}

// Close leaves everything.
func (m *Memberships) Close() error { return nil }

// Available returns ErrUnsupported.
func Available() error { return ErrUnsupported }
