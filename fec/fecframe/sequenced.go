package fecframe

import "fmt"

// recent holds packets of a sequenced flow: whether they belong to a block, only a
// repair packet tells. The oldest go first.
type recent struct {
	packets map[uint16][]byte // ADU information without padding
	order   []uint16
	head    int
	octets  int
}

func (r *recent) add(seq uint16, adui []byte, limit int) {
	if r.packets == nil {
		r.packets = make(map[uint16][]byte)
	}
	if old, ok := r.packets[seq]; ok { // a repetition, or 65536 packets later
		r.octets -= len(old)
	} else {
		r.order = append(r.order, seq)
	}
	r.packets[seq] = adui
	r.octets += len(adui)
	for r.octets > limit && r.head < len(r.order) {
		oldest := r.order[r.head]
		r.head++
		r.octets -= len(r.packets[oldest])
		delete(r.packets, oldest)
	}
	if r.head > len(r.order)/2 {
		r.order = append(r.order[:0], r.order[r.head:]...)
		r.head = 0
	}
}

// SourceSequenced takes a source packet of schemes 5 and 6, with the lowest 16 bits of
// its sequence number. The packet itself is delivered by the caller.
func (d *Decoder) SourceSequenced(flow uint8, seq uint16, packet []byte) error {
	if !d.config.Scheme.sequenced() {
		return fmt.Errorf("%w: the scheme has no sequence numbers", ErrConfig)
	}
	if d.config.symbolsOf(len(packet)) > d.config.MaxBlock || len(packet) > 0xffff || d.config.RTP && len(packet) < rtpHeader {
		return fmt.Errorf("%w: packet of %d octets", ErrPacket, len(packet))
	}
	length := len(packet)
	if d.config.RTP {
		length -= rtpHeader
	}
	adui := AppendADUI(nil, flow, uint16(length), packet, 0)
	d.recent.add(seq, adui, d.limits.Blocks*d.config.MaxBlock*d.config.SymbolSize)
	for isn, b := range d.blocks {
		at := int(seq - uint16(isn))
		if b.group == 0 || at >= b.k/b.group {
			continue
		}
		if b.done {
			if err := b.late(uint32(at * b.group)); err != nil {
				return err
			}
		} else if b.code != nil {
			if err := d.addSource(isn, b, uint32(at*b.group), adui); err != nil {
				return err
			}
		}
	}
	return nil
}

// sequencedBlock returns the block that begins with a sequence number, which it
// begins, in the place of the oldest, if it is new.
func (d *Decoder) sequencedBlock(isn uint32) (*rxBlock, error) {
	if b := d.blocks[isn]; b != nil {
		return b, nil
	}
	if len(d.order) == d.limits.Blocks {
		delete(d.blocks, d.order[0])
		d.order = append(d.order[:0], d.order[1:]...)
	}
	b := &rxBlock{source: make(map[uint32][]byte)}
	d.blocks[isn] = b
	d.order = append(d.order, isn)
	return b, nil
}
