package receive

import (
	"context"
	"errors"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/ssm"
)

// findPort waits for the first packet, whatever port it is for.
func (r *receiver) findPort(ctx context.Context) error {
	found := make(chan uint16, 1)
	take := func(port uint16) {
		select {
		case found <- port:
		default:
		}
	}
	native, err := r.joinAllPorts(take)
	if err != nil {
		return err
	}
	if native != nil {
		defer native.Close()
	}
	r.report.say(eventWaiting, "waiting for a packet of %v,%v, whatever its port", r.Channel.Source, r.Channel.Group)
	if native != nil && r.Mode == amt.ModeAuto {
		early, cancel := context.WithTimeout(ctx, nativeTimeout)
		defer cancel()
		if r.portFrom(early, found) {
			return nil
		}
	}
	if r.Mode != amt.ModeNative {
		// A tunnel brings all ports; one of them has to stand for the channel meanwhile.
		r.Channel.Port = 1
		conn, done, err := r.dial(ctx, amt.ModeTunnel, func(p *amt.Packet) { take(p.Destination.Port()) })
		if err != nil {
			return err
		}
		defer done()
		go func() {
			if n, _ := conn.ReadBatch(ssm.NewMessages(1)); n > 0 {
				take(1)
			}
		}()
		defer func() { r.why.silent(amt.ModeTunnel, r.finder.Relays(), conn.Stats(), 0, 0) }()
	}
	if r.portFrom(ctx, found) {
		if r.Mode == amt.ModeAuto {
			r.Mode = amt.ModeAdaptive // nothing came natively so far: not the relay has to wait now
		}
		return nil
	}
	if r.Mode == amt.ModeNative {
		r.why.silent(r.Mode, nil, amt.ConnStats{}, 0, 0)
	}
	return r.nothing(ctx)
}

func (r *receiver) portFrom(ctx context.Context, found <-chan uint16) bool {
	select {
	case r.Channel.Port = <-found:
		r.report.say(eventPort, "packets are for UDP port %d", r.Channel.Port)
		return true
	case <-ctx.Done():
		return false
	}
}

// joinAllPorts joins natively where that brings packets for all ports; nil if it does not, and a relay may.
func (r *receiver) joinAllPorts(take func(port uint16)) (*amt.Native, error) {
	if r.Mode == amt.ModeTunnel {
		return nil, nil
	}
	native, err := amt.NewNative(amt.NativeConfig{Interface: r.Interface})
	if err == nil {
		err = native.Join(r.Channel.Source, r.Channel.Group, func(packets [][]byte) {
			var p amt.Packet
			for _, b := range packets {
				if p.Parse(b) == nil && p.ParseUDP() == nil {
					take(p.Destination.Port())
				}
			}
		})
		if err != nil {
			_ = native.Close()
		}
	}
	switch {
	case err == nil:
		return native, nil
	case errors.Is(err, amt.ErrPrivilege) && r.Mode == amt.ModeNative:
		return nil, ErrPortOrPrivilege
	case errors.Is(err, amt.ErrPrivilege):
		r.report.say(eventNativeFailed, "not tried natively: that needs the port, as in S,G:port, or CAP_NET_RAW")
		r.why.native = "not tried natively: that needs the port, as in S,G:port, or CAP_NET_RAW"
	case r.Mode == amt.ModeNative:
		return nil, err
	default:
		r.report.say(eventNativeFailed, "cannot join natively: %v", err)
		r.why.native = "cannot join natively: " + err.Error()
	}
	return nil, nil
}
