package reception

import (
	"context"
	"fmt"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/gateway"
	"github.com/treedn/treedn/internal/ingress"
	"github.com/treedn/treedn/internal/telemetry"
	"github.com/treedn/treedn/route"
)

// way is how the packets of a session come to this node: natively, or by whatever a gateway uses.
type way struct {
	media ingress.Source
	seals ingress.Source // nil if the service is unsigned

	native []*ssm.Receiver // without a gateway
	conn   *gateway.Conn   // with one
}

// open joins the session of an upstream.
func (x *Service) open(ctx context.Context, up *config.Upstream) (w way, err error) {
	ch := ssm.Channel{Source: up.Source, Group: up.Group, Port: up.Port}
	if up.AMT.Tunnels() {
		seals := uint16(0)
		if x.gate != nil {
			seals = up.SealPort
		}
		if w.conn, err = x.dial(ctx, up, ch, seals); err != nil {
			return w, err
		}
		w.media = w.conn
		if x.gate != nil {
			w.seals = w.conn.Beside()
		}
		return w, nil
	}
	media, err := x.set.cfg.Host.Join(ctx, ch, up.Interface)
	if err != nil {
		return w, err
	}
	w.media, w.native = media, []*ssm.Receiver{media}
	if x.gate == nil {
		return w, nil
	}
	ch.Port = up.SealPort
	seals, err := x.set.cfg.Host.Join(ctx, ch, up.Interface)
	if err != nil {
		_ = media.Close()
		return w, fmt.Errorf("seals: %w", err)
	}
	w.seals, w.native = seals, append(w.native, seals)
	return w, nil
}

// dial joins a channel, and another UDP port of its group unless that is 0, by whatever way a gateway finds.
func (x *Service) dial(ctx context.Context, up *config.Upstream, ch ssm.Channel, beside uint16) (*gateway.Conn, error) {
	return gateway.Dial(ctx, gateway.Config{
		Channel: ch, Beside: beside, Mode: up.AMT.Mode.Mode(), Relays: up.AMT.Candidates(), Discovery: up.AMT.Discovery(),
		Interface: up.Interface, Logger: x.set.cfg.Logger.With("service", x.Name()),
	})
}

// openOther joins another session of the same service, by the way of the upstream.
func (x *Service) openOther(ctx context.Context, up *config.Upstream, s route.Session) (ingress.Source, error) {
	ch := ssm.Channel{Source: s.Source, Group: s.Group, Port: s.Port}
	if up.AMT.Tunnels() {
		return x.dial(ctx, up, ch, 0)
	}
	return x.set.cfg.Host.Join(ctx, ch, up.Interface)
}

// status returns the way by which packets come now, for a reception of which some came or not.
func (w *way) status(some bool) (st telemetry.Way) {
	st.Kind = telemetry.WayNone
	if w.conn == nil {
		if some {
			st.Kind = telemetry.WayNative
		}
		return st
	}
	c := w.conn.Status()
	if c.Started {
		st.Kind = telemetry.WayNative
		if c.Way.Relay.IsValid() {
			st.Kind, st.Relay = telemetry.WayTunnel, c.Way.Relay.String()
		}
	}
	st.Since, st.Why = c.Since, c.Why
	st.Switches, st.RelaysLost, st.TunnelPackets = c.Switches, c.RelaysLost, c.Gateway.Packets
	st.Dropped = c.Dropped + c.Native.Dropped + c.BesideDropped
	return st
}

// sockets describes the memberships.
func (w *way) sockets(service string) (list []telemetry.Socket) {
	for _, rx := range w.native {
		ch := rx.Channel()
		list = append(list, telemetry.Socket{
			Service: service, Source: ch.Source, Group: ch.Group, Port: ch.Port,
			Drops: rx.Stats().Dropped, Buffer: uint64(rx.ReceiveBuffer()),
		})
	}
	return list
}
