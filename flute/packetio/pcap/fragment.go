package pcap

import (
	"net/netip"
	"slices"
)

// fragmentKey tells to which datagram a fragment belongs (RFC 791, section 3.2; RFC 8200, section 4.5).
type fragmentKey struct {
	src, dst netip.Addr
	id       uint32
}

// fragments puts datagrams together. The oldest of too many is given up.
type fragments struct {
	list []*datagram
	done []byte // the latest whole one
}

const maxDatagrams = 16

type datagram struct {
	key   fragmentKey
	buf   []byte
	parts []part // sorted, disjoint
	count uint64
	total int // -1 until the last fragment has come
}

type part struct{ start, end int }

func (f *fragments) waiting() (n uint64) {
	for _, d := range f.list {
		n += d.count
	}
	return n
}

// add takes a fragment and returns the datagram if it is whole now.
func (f *fragments) add(key fragmentKey, off int, b []byte, more bool, stats *Stats) []byte {
	end := off + len(b)
	if end > 65535 || more && len(b)%8 != 0 || len(b) == 0 {
		stats.CutOff++
		return nil
	}
	i := slices.IndexFunc(f.list, func(d *datagram) bool { return d.key == key })
	if i < 0 {
		if len(f.list) == maxDatagrams {
			stats.Incomplete += f.list[0].count
			f.list = slices.Delete(f.list, 0, 1)
		}
		f.list = append(f.list, &datagram{key: key, total: -1})
		i = len(f.list) - 1
	}
	d := f.list[i]
	d.count++
	if !more {
		d.total = end
	}
	at, _ := slices.BinarySearchFunc(d.parts, off, func(p part, off int) int { return p.start - off })
	if at > 0 && d.parts[at-1].end > off || at < len(d.parts) && d.parts[at].start < end || d.total >= 0 && end > d.total {
		if at < len(d.parts) && d.parts[at] == (part{off, end}) {
			return nil // the same again
		}
		// Overlapping fragments are an attack, or another datagram of the same number (RFC 5722).
		stats.Incomplete += d.count
		f.list = slices.Delete(f.list, i, i+1)
		return nil
	}
	d.parts = slices.Insert(d.parts, at, part{off, end})
	if len(d.buf) < end {
		d.buf = append(d.buf, make([]byte, end-len(d.buf))...)
	}
	copy(d.buf[off:], b)
	next := 0
	for _, p := range d.parts {
		if p.start != next {
			return nil
		}
		next = p.end
	}
	if next != d.total {
		return nil
	}
	f.list = slices.Delete(f.list, i, i+1)
	f.done = d.buf[:d.total]
	return f.done
}
