package packetio

import (
	"cmp"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/treedn/treedn/flute/pacing"
)

// Paced is a Sink that sends no faster than a rate, in batches of at most Burst octets: the buffers of receivers and of
// queues on the way hold so much and no more. The sender of package route paces by itself; others may not. WriteBatch is
// for one goroutine at a time.
type Paced struct {
	// Sink is where packets go. It is required.
	Sink Sink
	// Rate is what may be sent, in octets a second, with Overhead for each packet. Zero means without limit.
	Rate int64
	// Burst is how much may leave at once, in octets. Default 64 KiB.
	Burst int
	// Overhead is what headers add to a packet on the wire. Default 28, those of IPv4 and UDP.
	Overhead int

	bucket pacing.Bucket
	once   sync.Once
	closed chan struct{}
}

const defaultBurst = 64 << 10

func (p *Paced) init() { p.once.Do(func() { p.closed = make(chan struct{}) }) }

// WriteBatch sends packets at their time and returns when the last of them has been handed to the Sink.
func (p *Paced) WriteBatch(packets [][]byte, to netip.AddrPort) (n int, err error) {
	p.init()
	for n < len(packets) {
		now := time.Now()
		if d := p.wait(now); d > 0 {
			timer := time.NewTimer(d)
			select {
			case <-timer.C:
			case <-p.closed:
				timer.Stop()
				return n, net.ErrClosed
			}
			continue
		}
		end := n
		for end < len(packets) && p.wait(now) == 0 {
			p.take(now, len(packets[end]))
			end++
		}
		sent, err := p.Sink.WriteBatch(packets[n:end], to)
		n += sent
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// wait is how long the next packet has to wait: it may leave while the bucket is not empty.
func (p *Paced) wait(now time.Time) time.Duration {
	if p.Rate <= 0 {
		return 0
	}
	burst := p.Burst
	if burst <= 0 {
		burst = defaultBurst
	}
	return p.bucket.Wait(now, 8*p.Rate, burst)
}

func (p *Paced) take(now time.Time, n int) {
	if p.Rate > 0 {
		p.bucket.Take(now, n+cmp.Or(p.Overhead, pacing.UDPOverhead), 8*p.Rate)
	}
}

// Close ends a WriteBatch that waits, and closes the Sink.
func (p *Paced) Close() error {
	p.init()
	select {
	case <-p.closed:
	default:
		close(p.closed)
	}
	return p.Sink.Close()
}
