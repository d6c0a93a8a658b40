package packetio

import (
	"net"
	"os"
	"sync"
	"time"

	"github.com/treedn/treedn/flute/packetio/pcap"
)

// Replay is a Source of the packets of a capture. The times that handlers get are those of the capture, so that state
// machines see it as it was, however fast it is read; deadlines are times of this machine's clock.
//
// Each datagram is a run of its own. A capture that was taken where the system splits or joins datagrams (UDP GSO at the
// sender, GRO at a receiver) has several as one, with one UDP header for all, and nothing in it tells where one ends: they
// come as one packet, which receivers reject or misread. See Oversize of [pcap.Stats]; to capture them as they are on the wire,
// switch it off first: ethtool -K eth0 tx-udp-segmentation off gro off.
type Replay struct {
	// Speed is how fast it goes: 1 as it was captured, 2 twice as fast, 0 as fast as it is read.
	Speed float64

	r     *pcap.Reader
	began time.Time // here
	first time.Time // in the capture
	next  pcap.Packet
	held  bool // next has not been handed out

	mu       sync.Mutex
	deadline time.Time
	changed  chan struct{} // closed at each change of deadline
	closed   bool
}

// NewReplay returns a Source of the packets of a capture in the formats pcap and pcapng.
func NewReplay(r *pcap.Reader) *Replay { return &Replay{r: r, changed: make(chan struct{})} }

// Receive waits until the next packet is due.
func (p *Replay) Receive(handle Handler) error {
	if !p.held {
		var err error
		if p.next, err = p.r.Next(); err != nil {
			return err
		}
		p.held = true
	}
	if p.first.IsZero() {
		p.first, p.began = p.next.At, time.Now()
	}
	if err := p.wait(); err != nil {
		return err
	}
	p.held = false
	handle(p.next.At, p.next.Src, p.next.Dst, p.next.Payload, len(p.next.Payload))
	return nil
}

func (p *Replay) wait() error {
	for {
		p.mu.Lock()
		closed, deadline, changed := p.closed, p.deadline, p.changed
		p.mu.Unlock()
		now := time.Now()
		switch {
		case closed:
			return net.ErrClosed
		case !deadline.IsZero() && !now.Before(deadline):
			return os.ErrDeadlineExceeded
		case p.Speed <= 0:
			return nil
		}
		at := p.began.Add(time.Duration(float64(p.next.At.Sub(p.first)) / p.Speed))
		d := at.Sub(now)
		if d <= 0 {
			return nil
		}
		if !deadline.IsZero() {
			d = min(d, deadline.Sub(now))
		}
		timer := time.NewTimer(d)
		select {
		case <-timer.C:
		case <-changed:
			timer.Stop()
		}
	}
}

// SetReadDeadline ends a Receive that waits at t.
func (p *Replay) SetReadDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return net.ErrClosed
	}
	p.deadline = t
	close(p.changed)
	p.changed = make(chan struct{})
	return nil
}

// Close ends a Receive that waits. The reader of the capture is the caller's to close.
func (p *Replay) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.closed = true
		close(p.changed)
		p.changed = make(chan struct{})
	}
	return nil
}
