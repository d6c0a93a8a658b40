package ssm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// Receiver reads the packets of one channel. ReadBatch is for one goroutine at
// a time; the other methods are safe for concurrent use.
type Receiver struct {
	host   *Host
	ch     Channel
	iface  string
	conn   *net.UDPConn
	batch  *batchReader
	own    []Message // of Receive
	buffer int

	packets, octets, rejected, truncated atomic.Uint64

	ctx       context.Context // ends the receiver; see Host.Join
	stopWatch func() bool
	closing   sync.Once
	closeErr  error
	dropped   atomic.Uint64 // final count, kept when the socket is gone
}

// Stats counts what a receiver got. All counters rise only.
type Stats struct {
	Packets   uint64 // accepted packets; a coalesced run counts all of its packets
	Octets    uint64 // UDP payload of the accepted packets
	Rejected  uint64 // packets from another source or to another group
	Truncated uint64 // messages whose end was cut because the Buffer was too short
	Dropped   uint64 // packets that the kernel dropped, for lack of buffer mostly; 0 where unknown
}

func (s *Stats) add(t Stats) {
	s.Packets += t.Packets
	s.Octets += t.Octets
	s.Rejected += t.Rejected
	s.Truncated += t.Truncated
	s.Dropped += t.Dropped
}

// openReceiver binds before it joins, so that no packet of another group comes
// in between.
func openReceiver(h *Host, ch Channel, ifi *net.Interface) (*Receiver, error) {
	conn, err := listenGroup(ch, ifi)
	if err != nil {
		return nil, newError("bind", ifi, ch.Source, ch.Group, err)
	}
	r := &Receiver{host: h, ch: ch, iface: ifi.Name, conn: conn}
	if r.batch, err = newBatchReader(conn, ch, !h.config.NoOffload); err != nil {
		_ = conn.Close()
		return nil, newError("bind", ifi, ch.Source, ch.Group, err)
	}
	r.buffer = enlargeReceiveBuffer(conn, h.config.ReceiveBuffer)
	if r.buffer < h.config.ReceiveBuffer {
		h.warnBuffer.Do(func() {
			h.config.Logger.Warn("receive buffer is smaller than asked for: bursts may be lost",
				"octets", r.buffer, "asked", h.config.ReceiveBuffer, "remedy", bufferRemedy(h.config.ReceiveBuffer))
		})
	}
	if err := join(conn, ch, ifi); err != nil {
		_ = conn.Close()
		return nil, newError("join", ifi, ch.Source, ch.Group, err)
	}
	return r, nil
}

func join(conn *net.UDPConn, ch Channel, ifi *net.Interface) error {
	group := &net.UDPAddr{IP: ch.Group.AsSlice()}
	switch {
	case ch.Source.IsValid():
		return joinSource(conn, ch, ifi)
	case ch.Group.Is4():
		return ipv4.NewPacketConn(conn).JoinGroup(ifi, group)
	}
	return ipv6.NewPacketConn(conn).JoinGroup(ifi, group)
}

// supported says what the system lacks for op, before it is asked for anything.
func supported(op string, source, group netip.Addr) error {
	switch {
	case !multicast:
		return newError(op, nil, source, group, fmt.Errorf("multicast on %s: %w", runtime.GOOS, errors.ErrUnsupported))
	case op == "join" && source.IsValid() && !sourceFilters:
		return newError(op, nil, source, group, fmt.Errorf("source-specific join on %s: %w", runtime.GOOS, errors.ErrUnsupported))
	}
	return nil
}

func (r *Receiver) watch(ctx context.Context) {
	r.ctx = ctx
	r.stopWatch = context.AfterFunc(ctx, func() { _ = r.Close() })
}

// Channel returns what was joined.
func (r *Receiver) Channel() Channel { return r.ch }

// Interface returns the name of the interface on which the channel was joined.
func (r *Receiver) Interface() string { return r.iface }

// ReceiveBuffer returns the octets that the system granted as receive buffer.
func (r *Receiver) ReceiveBuffer() int { return r.buffer }

// ReadBatch waits for packets and fills at least one and at most len(ms)
// messages. It returns their number, or an error that matches
//   - [os.ErrDeadlineExceeded] after the time set by SetReadDeadline,
//   - the cause of the context given to Join, if that has ended,
//   - [net.ErrClosed] after Close.
//
// It allocates nothing once the receiver has seen its largest batch.
func (r *Receiver) ReadBatch(ms []Message) (int, error) {
	if len(ms) == 0 {
		return 0, nil
	}
	for {
		n, err := r.batch.read(ms)
		if err != nil {
			return 0, r.readError(err)
		}
		if n = r.admit(ms[:n]); n > 0 {
			return n, nil
		}
	}
}

// receiveMessages is how many runs one call of Receive takes.
const receiveMessages = 16

// Receive is ReadBatch with memory of the receiver's own, which it takes when it is called first: it waits for packets and
// calls handle with each run of them, at least once unless it fails. The octets are valid until handle returns; at is when
// the batch came in. Errors are those of ReadBatch.
//
// It has types of the standard library alone, so that the interfaces of packages that know nothing of sockets can name it.
func (r *Receiver) Receive(handle func(at time.Time, from, to netip.AddrPort, run []byte, size int)) error {
	if r.own == nil {
		r.own = NewMessages(receiveMessages)
	}
	n, err := r.ReadBatch(r.own)
	if err != nil {
		return err
	}
	now := time.Now()
	for i := range r.own[:n] {
		m := &r.own[i]
		handle(now, m.Source, netip.AddrPortFrom(r.ch.Group, r.ch.Port), m.Buffer[:m.N], m.SegmentSize)
	}
	return nil
}

// admit moves the messages that belong to the channel to the front and returns
// their number. The kernel filters already; this holds where it does not.
func (r *Receiver) admit(ms []Message) int {
	var kept int
	var packets, octets, rejected, truncated uint64
	for i := range ms {
		m := &ms[i]
		if m.Truncated = r.batch.truncated(i); m.Truncated {
			truncated++
			if m.SegmentSize > 0 {
				m.N -= m.N % m.SegmentSize // whole packets only
			}
		}
		if m.N == 0 || !r.belongs(m) {
			if m.N > 0 {
				rejected += uint64(m.packets())
			}
			continue
		}
		packets += uint64(m.packets())
		octets += uint64(m.N)
		if i != kept {
			ms[i], ms[kept] = ms[kept], ms[i]
		}
		kept++
	}
	r.packets.Add(packets)
	r.octets.Add(octets)
	r.rejected.Add(rejected)
	r.truncated.Add(truncated)
	return kept
}

func (r *Receiver) belongs(m *Message) bool {
	if r.ch.Source.IsValid() && m.Source.Addr() != r.ch.Source.WithZone("") {
		return false
	}
	return m.Destination == r.ch.Group || m.Destination == netip.Addr{}
}

func (r *Receiver) readError(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return os.ErrDeadlineExceeded
	case errors.Is(err, net.ErrClosed):
		if r.ctx != nil && r.ctx.Err() != nil {
			return context.Cause(r.ctx)
		}
		return net.ErrClosed
	}
	return fmt.Errorf("ssm: receive %v: %w", r.ch, err)
}

// SetReadDeadline ends a ReadBatch that waits now or later at t; the zero time
// means never. A reader that is the sole owner of a state machine uses it for
// the next timeout of that machine, and others wake it with a time in the past.
func (r *Receiver) SetReadDeadline(t time.Time) error { return r.conn.SetReadDeadline(t) }

// Stats returns the counters.
func (r *Receiver) Stats() Stats {
	return Stats{
		Packets:   r.packets.Load(),
		Octets:    r.octets.Load(),
		Rejected:  r.rejected.Load(),
		Truncated: r.truncated.Load(),
		Dropped:   r.loadDropped(),
	}
}

// loadDropped asks the socket while it lives and remembers the answer.
func (r *Receiver) loadDropped() uint64 {
	if n, ok := r.batch.dropped(); ok {
		r.dropped.Store(n)
	}
	return r.dropped.Load()
}

// Close leaves the channel and unblocks ReadBatch. It may be called more than
// once.
func (r *Receiver) Close() error {
	r.closing.Do(func() {
		if r.stopWatch != nil {
			r.stopWatch()
		}
		r.loadDropped()
		r.closeErr = r.conn.Close()
		r.host.forget(r)
	})
	return r.closeErr
}
