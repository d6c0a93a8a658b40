package pcap

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
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
	// TTL is the time to live of IPv4, or the hop limit of IPv6.
	TTL uint8
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
	// UnknownLinks are the frames of Foreign whose link type is not understood, UnknownLink is that of the last one.
	UnknownLinks uint64
	UnknownLink  uint32
	// Oversize are the datagrams, counted in Packets, that came in frames of more than 9,234 octets, which no Ethernet
	// carries: several datagrams each, as the system joined them, unless an interface of the machine itself (loopback)
	// was captured and they are that large.
	Oversize uint64
}

// maxEthernet is the longest frame that interfaces send or take, in octets: jumbo frames have no standard, but end there.
const maxEthernet = 9216 + 18

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
	extra int // octets of the head of a record that other formats do not have

	ng     bool
	ifaces []iface // of pcapng; of pcap the only one
}

// iface is the interface that a frame was captured on.
type iface struct {
	link  uint32
	units uint64        // ticks of the clock in a second
	shift time.Duration // to be added
}

// NewReader reads the head of a capture, whichever of the formats it has. One that is compressed by gzip is read as it
// is.
func NewReader(r io.Reader) (*Reader, error) {
	c := &Reader{r: bufio.NewReaderSize(r, 64<<10)}
	head, err := c.r.Peek(4)
	if err == nil && head[0] == 0x1f && head[1] == 0x8b {
		z, err := gzip.NewReader(c.r)
		if err != nil {
			return nil, broken(0, "compressed by gzip, and the head of that is broken")
		}
		c.r = bufio.NewReaderSize(inflater{z}, 64<<10)
		if head, err = c.r.Peek(4); err != nil {
			return nil, broken(0, "fewer than 4 octets are compressed")
		}
	}
	if err != nil {
		return nil, broken(0, "fewer than 4 octets")
	}
	if binary.BigEndian.Uint32(head) == blockSection {
		c.ng = true
		return c, nil
	}
	for magic, name := range map[string]string{"\x28\xb5\x2f\xfd": "zstd", "\xfd7zX": "xz", "\x04\x22\x4d\x18": "lz4", "BZh": "bzip2", "PK\x03\x04": "zip"} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return nil, broken(0, "compressed by "+name+": decompress it first")
		}
	}
	return c, c.readHead()
}

// inflater makes an ErrFormat of what is wrong with the compression.
type inflater struct{ r *gzip.Reader }

func (i inflater) Read(b []byte) (int, error) {
	n, err := i.r.Read(b)
	if corrupt := flate.CorruptInputError(0); errors.Is(err, gzip.ErrChecksum) || errors.Is(err, gzip.ErrHeader) || errors.As(err, &corrupt) {
		err = fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return n, err
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
			c.extra = 8 // the index of an interface, a protocol and a type
			c.ifaces = []iface{{link: c.order.Uint32(b[20:]) & 0xffff, units: units}}
			return nil
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
			if len(frame) > maxEthernet {
				c.stats.Oversize++
			}
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
	h, err := c.take(16 + c.extra)
	if err != nil {
		return at, 0, nil, false, ended(err)
	}
	i := c.ifaces[0]
	at = time.Unix(int64(c.order.Uint32(h)), int64(uint64(c.order.Uint32(h[4:]))*1_000_000_000/i.units))
	n, full := c.order.Uint32(h[8:]), c.order.Uint32(h[12:])
	if n > maxFrame {
		return at, 0, nil, false, broken(c.off-8-int64(c.extra), "frame is too long")
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
