package pcap

import (
	"encoding/binary"
	"math/bits"
	"time"
)

// Block types of pcapng.
const (
	blockSection   = 0x0a0d0d0a
	blockInterface = 1
	blockPacket    = 2 // obsolete
	blockSimple    = 3
	blockEnhanced  = 6
)

const byteOrderMagic = 0x1a2b3c4d

// Options of an interface.
const (
	optionEnd      = 0
	optionTSResol  = 9
	optionTSOffset = 14
)

// block reads one block of a pcapng file.
func (c *Reader) block() (at time.Time, link uint32, frame []byte, cut bool, err error) {
	start := c.off
	h, err := c.take(12) // type, length, and the first word of the body: every block has one, or its length again
	if err != nil {
		return at, 0, nil, false, ended(err)
	}
	var head [12]byte
	copy(head[:], h)
	section := binary.BigEndian.Uint32(head[:]) == blockSection
	switch {
	case section && binary.LittleEndian.Uint32(head[8:]) == byteOrderMagic:
		c.order, c.ifaces = binary.LittleEndian, nil
	case section && binary.BigEndian.Uint32(head[8:]) == byteOrderMagic:
		c.order, c.ifaces = binary.BigEndian, nil
	case section || c.order == nil:
		return at, 0, nil, false, broken(start, "section without its byte-order magic")
	}
	kind, n := c.order.Uint32(head[:]), c.order.Uint32(head[4:])
	if n < 12 || n%4 != 0 || n > maxBlock {
		return at, 0, nil, false, broken(start+4, "block of an impossible length")
	}
	rest, err := c.take(int(n) - 12)
	if err != nil {
		return at, 0, nil, false, cutShort(err)
	}
	first := head[8:]
	if n > 12 {
		rest = rest[:len(rest)-4] // the length again
	}
	switch kind {
	case blockInterface:
		if len(c.ifaces) == maxInterfaces {
			return at, 0, nil, false, broken(start, "too many interfaces")
		}
		c.ifaces = append(c.ifaces, c.iface(first, rest))
	case blockEnhanced:
		if len(rest) >= 16 {
			return c.packet(start, c.order.Uint32(first), rest[0:8], c.order.Uint32(rest[8:]), c.order.Uint32(rest[12:]), rest[16:])
		}
	case blockPacket:
		if len(rest) >= 16 {
			return c.packet(start, uint32(c.order.Uint16(first)), rest[0:8], c.order.Uint32(rest[8:]), c.order.Uint32(rest[12:]), rest[16:])
		}
	case blockSimple:
		full := c.order.Uint32(first)
		return c.packet(start, 0, nil, min(full, uint32(len(rest))), full, rest)
	}
	return at, 0, nil, false, nil
}

// packet takes a frame out of its block.
func (c *Reader) packet(start int64, id uint32, stamp []byte, n, full uint32, body []byte) (at time.Time, link uint32, frame []byte, cut bool, err error) {
	if int64(id) >= int64(len(c.ifaces)) {
		return at, 0, nil, false, broken(start, "frame of an interface that was not described")
	}
	if uint64(n) > uint64(len(body)) || n > maxFrame {
		return at, 0, nil, false, broken(start, "frame is longer than its block")
	}
	i := c.ifaces[id]
	if stamp != nil {
		ticks := uint64(c.order.Uint32(stamp))<<32 | uint64(c.order.Uint32(stamp[4:]))
		hi, lo := bits.Mul64(ticks%i.units, 1_000_000_000)
		ns, _ := bits.Div64(hi, lo, i.units)
		at = time.Unix(int64(min(ticks/i.units, 1<<33)), int64(ns)).Add(i.shift)
	}
	if n == 0 {
		return at, 0, nil, false, nil
	}
	return at, i.link, body[:n], full > n, nil
}

// iface reads the description of an interface.
func (c *Reader) iface(first, rest []byte) iface {
	i := iface{link: uint32(c.order.Uint16(first)), units: 1_000_000}
	if len(rest) < 4 {
		return i
	}
	for b := rest[4:]; len(b) >= 4; {
		code, n := c.order.Uint16(b), int(c.order.Uint16(b[2:]))
		b = b[4:]
		if code == optionEnd || n > len(b) {
			break
		}
		switch {
		case code == optionTSResol && n == 1:
			i.units = resolution(b[0])
		case code == optionTSOffset && n == 8:
			s := int64(c.order.Uint64(b))
			if s > -1<<33 && s < 1<<33 {
				i.shift = time.Duration(s) * time.Second
			}
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return i
}

// resolution is a power of ten, or of two if the highest bit is set.
func resolution(b byte) uint64 {
	n := b & 0x7f
	switch {
	case b&0x80 != 0:
		return 1 << min(n, 63)
	case n > 19:
		return 1_000_000
	}
	units := uint64(1)
	for range n {
		units *= 10
	}
	return units
}
