package amt

import (
	"net/netip"
	"slices"
	"time"
)

// reassembler puts the fragments of IP packets together (RFC 791 section 3.2, RFC
// 8200 section 4.5), those that a relay or the source has cut. Packets with
// overlapping fragments are dropped whole (RFC 5722).
type reassembler struct {
	packets []*partial // oldest first
	octets  int
}

type partial struct {
	key    fragmentKey
	at     time.Time
	pieces []piece // in order
	have   int
	total  int // 0: the last fragment is missing
	first  Packet
	broken bool
}

type fragmentKey struct {
	source, group netip.Addr
	id            uint32
	protocol      uint8
}

type piece struct {
	offset int
	data   []byte
}

// Bounds of what fragments can make us hold.
const (
	maxPartials        = 64
	maxPartialOctets   = 1 << 20
	fragmentLifetime   = 30 * time.Second
	maxFragmentPayload = 65535
)

// add takes a fragment. It returns the packet that it completes, with ParseUDP
// done.
func (r *reassembler) add(now time.Time, p *Packet) (Packet, bool) {
	for len(r.packets) > 0 && now.Sub(r.packets[0].at) > fragmentLifetime {
		r.drop(0)
	}
	if p.more && len(p.Payload)%8 != 0 || p.offset+len(p.Payload) > maxFragmentPayload || len(p.Payload) == 0 {
		return Packet{}, false
	}
	key := fragmentKey{p.Source.Addr(), p.Destination.Addr(), p.id, p.protocol}
	i := slices.IndexFunc(r.packets, func(q *partial) bool { return q.key == key })
	if i < 0 {
		for len(r.packets) >= maxPartials || len(r.packets) > 0 && r.octets+len(p.Payload) > maxPartialOctets {
			r.drop(0)
		}
		r.packets = append(r.packets, &partial{key: key, at: now})
		i = len(r.packets) - 1
	}
	q := r.packets[i]
	q.insert(r, p)
	if q.broken {
		// It stays until its time is over, so that the rest does not begin anew.
		r.octets -= q.have
		q.pieces, q.have = nil, 0
		return Packet{}, false
	}
	if q.total == 0 || q.have < q.total {
		return Packet{}, false
	}
	b := make([]byte, 0, q.total)
	for _, piece := range q.pieces {
		b = append(b, piece.data...)
	}
	whole := q.first
	whole.fragment = false
	whole.Raw = nil
	r.drop(i)
	if whole.protocol != protocolUDP || whole.parseUDP(b) != nil {
		return Packet{}, false
	}
	return whole, true
}

func (q *partial) insert(r *reassembler, p *Packet) {
	if q.broken {
		return
	}
	end := p.offset + len(p.Payload)
	if !p.more {
		last := 0
		if n := len(q.pieces); n > 0 {
			last = q.pieces[n-1].offset + len(q.pieces[n-1].data)
		}
		if q.total != 0 && q.total != end || last > end {
			q.broken = true
			return
		}
		q.total = end
	}
	at, found := slices.BinarySearchFunc(q.pieces, p.offset, func(a piece, offset int) int { return a.offset - offset })
	if found && len(q.pieces[at].data) == len(p.Payload) {
		return // once more
	}
	if found || at > 0 && q.pieces[at-1].offset+len(q.pieces[at-1].data) > p.offset ||
		at < len(q.pieces) && q.pieces[at].offset < end || q.total != 0 && end > q.total {
		q.broken = true
		return
	}
	if p.offset == 0 {
		q.first = *p
		q.first.Payload = nil
	}
	q.pieces = slices.Insert(q.pieces, at, piece{p.offset, slices.Clone(p.Payload)})
	q.have += len(p.Payload)
	r.octets += len(p.Payload)
}

func (r *reassembler) drop(i int) {
	r.octets -= r.packets[i].have
	r.packets = slices.Delete(r.packets, i, i+1)
}
