package reception

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/gateway"
	"github.com/treedn/treedn/internal/ingress"
	"github.com/treedn/treedn/internal/telemetry"
)

// way is how the packets of a session come to this node: natively, or by whatever a gateway uses.
type way struct {
	media ingress.Source
	seals ingress.Source // nil if the service is unsigned

	native []*ssm.Receiver // without a gateway
	conn   *gateway.Conn   // with one
}

// open joins a channel, and the seals beside it at another UDP port of its group unless that is 0, by the way of an
// upstream.
func (x *Service) open(ctx context.Context, up *config.Upstream, ch ssm.Channel, seals uint16) (w *way, err error) {
	w = &way{}
	if up.AMT.Tunnels() {
		w.conn, err = gateway.Dial(ctx, gateway.Config{
			Channel: ch, Beside: seals, Mode: up.AMT.Mode.Mode(), Relays: up.AMT.Candidates(), Discovery: up.AMT.Discovery(), Clients: &x.set.clients, Key: up.AMT.Key(),
			Interface: up.Interface, Logger: x.set.cfg.Logger.With("service", x.Name()),
		})
		if err != nil {
			return nil, err
		}
		w.media = w.conn
		if seals != 0 {
			w.seals = w.conn.Beside()
		}
		return w, nil
	}
	media, err := x.set.cfg.Host.Join(ctx, ch, up.Interface)
	if err != nil {
		return nil, err
	}
	w.media, w.native = media, []*ssm.Receiver{media}
	if seals == 0 {
		return w, nil
	}
	ch.Port = seals
	beside, err := x.set.cfg.Host.Join(ctx, ch, up.Interface)
	if err != nil {
		_ = media.Close()
		return nil, fmt.Errorf("seals: %w", err)
	}
	w.seals, w.native = beside, append(w.native, beside)
	return w, nil
}

// ways are how the packets of one reception come: by the configured session, and by the others that its S-TSID names.
type ways struct {
	main *way

	mu     sync.Mutex // guards below
	others []*way
	left   telemetry.Way // the counters of those that were left
}

// join notes a way that comes to those there are. It counts until what is returned is closed.
func (l *ways) join(w *way) ingress.Source {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.others = append(l.others, w)
	return &other{Source: w.media, leave: sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.others = slices.DeleteFunc(l.others, func(o *way) bool { return o == w })
		addWay(&l.left, w.status(true))
	})}
}

// other is the source of another session than the configured one.
type other struct {
	ingress.Source
	leave func()
}

// Close implements ingress.Source.
func (o *other) Close() error {
	defer o.leave()
	return o.Source.Close()
}

// addWay adds the counters of a way to those of another one.
func addWay(sum *telemetry.Way, w telemetry.Way) {
	sum.Switches += w.Switches
	sum.RelaysLost += w.RelaysLost
	sum.TunnelPackets += w.TunnelPackets
	sum.Dropped += w.Dropped
	sum.Rejected += w.Rejected
	sum.Truncated += w.Truncated
}

// status returns the way of the configured session, with the counters of all.
func (l *ways) status(some bool) telemetry.Way {
	st := l.main.status(some)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.others {
		addWay(&st, w.status(some))
	}
	addWay(&st, l.left)
	return st
}

// sockets describes the memberships.
func (l *ways) sockets(service string) []telemetry.Socket {
	list := l.main.sockets(service)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.others {
		list = append(list, w.sockets(service)...)
	}
	return list
}

// status returns the way by which packets come now, for a reception of which some came or not.
func (w *way) status(some bool) (st telemetry.Way) {
	st.Kind = telemetry.WayNone
	if w.conn == nil {
		if some {
			st.Kind = telemetry.WayNative
		}
		for _, rx := range w.native {
			n := rx.Stats()
			st.Dropped += n.Dropped
			st.Rejected += n.Rejected
			st.Truncated += n.Truncated
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
	st.Rejected, st.Truncated = c.Native.Rejected, c.Native.Truncated
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
