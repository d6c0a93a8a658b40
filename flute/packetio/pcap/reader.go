package pcap

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"
)

// Packet is one UDP datagram.
type Packet struct {
	At       time.Time
	Src, Dst netip.AddrPort
	// Payload is what follows the UDP header, valid until the next call of Next.
	Payload []byte
}

// Stats counts what was read.
type Stats struct {
	Frames     uint64 // all of them
	Packets    uint64 // datagrams returned
	Foreign    uint64 // frames that are not of UDP over IP, or of a link type that is not understood
	CutOff     uint64 // frames that the capture holds only in part, or whose lengths contradict
	Incomplete uint64 // fragments without the rest of their datagram
}

// ErrFormat is matched by errors about files that are no capture, or broken.
var ErrFormat = errors.New("pcap: no capture, or a broken one")

func broken(off int64, what string) error {
	return fmt.Errorf("%w: octet %d: %s", ErrFormat, off, what)
}

// Limits on what a file can make a Reader hold.
const (
	maxFrame      = 1 << 20
	maxBlock      = 16 << 20
	maxInterfaces = 1024
)

// Reader reads one capture.
type Reader struct {
	r     *bufio.Reader
	off   int64
	order binary.ByteOrder
	buf   []byte
	stats Stats
	parts fragments

	ng     bool
	ifaces []iface // of pcapng; of pcap the only one
}

// iface is the interface that a frame was captured on.
type iface struct {
	link  uint32
	units uint64        // ticks of the clock in a second
	shift time.Duration // to be added
}

// NewReader reads the head of a capture, whichever of the formats it has.
func NewReader(r io.Reader) (*Reader, error) {
	c := &Reader{r: bufio.NewReaderSize(r, 64<<10)}
	head, err := c.r.Peek(4)
	if err != nil {
		return nil, broken(0, "fewer than 4 octets")
	}
	if binary.BigEndian.Uint32(head) == blockSection {
		c.ng = true
		return c, nil
	}
	return c, c.readHead()
}

// The magic numbers of pcap, as its own octet order shows them.
const (
	magicMicro    = 0xa1b2c3d4
	magicNano     = 0xa1b23c4d
	magicModified = 0xa1b2cd34 // Kuznetzov's: longer record heads
)

func (c *Reader) readHead() error {
	b, err := c.take(24)
	if err != nil {
		return broken(0, "head is cut off")
	}
	units := uint64(1_000_000)
	for _, c.order = range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		switch c.order.Uint32(b) {
		case magicNano:
			units = 1_000_000_000
			fallthrough
		case magicMicro:
			c.ifaces = []iface{{link: c.order.Uint32(b[20:]) & 0xffff, units: units}}
			return nil
		case magicModified:
			return broken(0, "modified pcap is not supported")
		}
	}
	return broken(0, "unknown magic number")
}

// take returns the next n octets.
func (c *Reader) take(n int) ([]byte, error) {
	if cap(c.buf) < n {
		c.buf = make([]byte, max(n, 64<<10))
	}
	b := c.buf[:n]
	m, err := io.ReadFull(c.r, b)
	c.off += int64(m)
	return b, err
}

// Stats returns the counters.
func (c *Reader) Stats() Stats {
	st := c.stats
	st.Incomplete += c.parts.waiting()
	return st
}

// Next returns the next datagram, or io.EOF behind the last one. A capture whose end is missing, because the program that
// wrote it was stopped, gives an error that matches io.ErrUnexpectedEOF behind the last whole one.
func (c *Reader) Next() (Packet, error) {
	for {
		at, link, frame, cut, err := c.frame()
		if err != nil {
			return Packet{}, err
		}
		if frame == nil {
			continue
		}
		c.stats.Frames++
		p, how := c.decode(link, frame, cut)
		switch how {
		case whole:
			p.At = at
			c.stats.Packets++
			return p, nil
		case foreign:
			c.stats.Foreign++
		case cutOff:
			c.stats.CutOff++
		}
	}
}

// frame returns the next frame; nil for a block without one.
func (c *Reader) frame() (at time.Time, link uint32, frame []byte, cut bool, err error) {
	if c.ng {
		return c.block()
	}
	h, err := c.take(16)
	if err != nil {
		return at, 0, nil, false, ended(err)
	}
	i := c.ifaces[0]
	at = time.Unix(int64(c.order.Uint32(h)), int64(uint64(c.order.Uint32(h[4:]))*1_000_000_000/i.units))
	n, full := c.order.Uint32(h[8:]), c.order.Uint32(h[12:])
	if n > maxFrame {
		return at, 0, nil, false, broken(c.off-8, "frame is too long")
	}
	frame, err = c.take(int(n))
	return at, i.link, frame, full > n, cutShort(err)
}

// ended leaves io.EOF as it is.
func ended(err error) error {
	if err == io.ErrUnexpectedEOF {
		return fmt.Errorf("pcap: capture ends in the middle of a frame: %w", err)
	}
	return err
}

func cutShort(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return ended(err)
}
