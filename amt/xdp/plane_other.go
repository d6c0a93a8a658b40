//go:build !linux

package xdp

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/treedn/treedn/amt"
)

// Plane makes copies of packets in the kernel.
type Plane struct{}

// Open returns an error that matches [errors.ErrUnsupported]: XDP is Linux's.
func Open(config Config) (*Plane, error) {
	if err := config.populate(); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("xdp: only Linux has it: %w", errors.ErrUnsupported)
}

// Close does nothing.
func (*Plane) Close() error { return nil }

// Mode returns ModeAuto.
func (*Plane) Mode() Mode { return ModeAuto }

// Exact returns false.
func (*Plane) Exact() bool { return false }

// Version returns 0.
func (*Plane) Version() uint64 { return 0 }

// Route takes no tunnel.
func (*Plane) Route(_, _ netip.Addr, _ int, _ []Tunnel, taken []bool) error {
	clear(taken)
	return errors.ErrUnsupported
}

// Send sends nothing.
func (*Plane) Send(_, _ netip.Addr, _ [][]byte) (int, error) { return 0, errors.ErrUnsupported }

// Sent returns zeros.
func (*Plane) Sent(_, _ netip.AddrPort) (packets, octets, lost uint64) { return 0, 0, 0 }

// Forget does nothing.
func (*Plane) Forget(_, _ netip.AddrPort) {}

// Stats returns zeros.
func (*Plane) Stats() (Stats, error) { return Stats{}, errors.ErrUnsupported }

// Forward takes no channel.
func (*Plane) Forward(_, _ netip.Addr, _ []amt.PlaneCopy) error { return errors.ErrUnsupported }

// Stop does nothing.
func (*Plane) Stop(_, _ netip.Addr) {}

// Counters yields nothing.
func (*Plane) Counters(func(t *amt.Tunnel, packets, octets uint64)) {}
