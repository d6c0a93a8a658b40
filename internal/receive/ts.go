package receive

const (
	tsPacket = 188
	tsSync   = 0x47
)

// rtpHeader returns the length of the RTP header (RFC 3550 section 5.1) before an MPEG transport stream.
func rtpHeader(b []byte) (n int, ok bool) {
	if len(b) < 12 || b[0]>>6 != 2 {
		return 0, false
	}
	n = 12 + 4*int(b[0]&0xf)
	if b[0]&0x10 != 0 {
		if len(b) < n+4 {
			return 0, false
		}
		n += 4 + 4*(int(b[n+2])<<8|int(b[n+3]))
	}
	return n, len(b) > n && b[n] == tsSync && (len(b)-n)%tsPacket == 0
}

// transport counts what is missing of an MPEG transport stream, by the continuity counters of its packets (ISO/IEC
// 13818-1 section 2.4.3.3), and of RTP by its sequence numbers.
type transport struct {
	packets  uint64         // of the transport stream
	gaps     uint64         // places where some are missing
	counters [1 << 13]uint8 // by PID; the last counter plus 1; 0: none

	rtp           bool
	source        [4]byte // SSRC
	highest       uint16  // sequence number
	recent        uint64  // bit n: highest-n has come
	expected, got uint64
}

func (t *transport) add(b []byte) {
	if n, ok := rtpHeader(b); ok {
		t.sequence(uint16(b[2])<<8|uint16(b[3]), [4]byte(b[8:]))
		b = b[n:]
	}
	if len(b)%tsPacket != 0 {
		return
	}
	for ; len(b) > 0; b = b[tsPacket:] {
		if b[0] != tsSync {
			return
		}
		t.packet(b[:tsPacket])
	}
}

// sequence counts a packet of RTP as RFC 3550 appendix A.3 does, but one that comes again not once more.
func (t *transport) sequence(n uint16, source [4]byte) {
	ahead := n - t.highest
	late := -ahead
	switch {
	case !t.rtp, source != t.source, ahead >= 1<<15 && late >= 64: // another sender, or it has begun again
		t.rtp, t.source, t.highest, t.recent = true, source, n, 1
		t.expected++
		t.got++
	case ahead < 1<<15 && ahead > 0:
		t.recent = t.recent<<ahead | 1
		t.highest = n
		t.expected += uint64(ahead)
		t.got++
	case t.recent>>late&1 == 0:
		t.recent |= 1 << late
		// Those before the first packet are not expected, and are not missing.
		t.got = min(t.got+1, t.expected)
	}
}

// lost is how many packets of RTP are missing.
func (t *transport) lost() uint64 { return t.expected - t.got }

func (t *transport) packet(b []byte) {
	t.packets++
	pid := int(b[1]&0x1f)<<8 | int(b[2])
	if pid == 0x1fff { // null packets do not count on
		return
	}
	payload := b[3]&0x10 != 0
	discontinuity := b[3]&0x20 != 0 && b[4] > 0 && b[5]&0x80 != 0
	counter := b[3] & 0xf
	last := t.counters[pid]
	t.counters[pid] = counter + 1
	if last == 0 || discontinuity {
		return
	}
	last--
	// One packet may come twice, and one without a payload repeats the counter.
	if counter == last || payload && counter == (last+1)&0xf {
		return
	}
	t.gaps++
}
