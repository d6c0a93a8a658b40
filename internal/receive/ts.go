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
	packets  uint64 // of the transport stream
	gaps     uint64 // places where some are missing
	rtp      bool
	rtpLost  uint64
	sequence uint16
	counters [1 << 13]uint8 // by PID; the last counter plus 1; 0: none
}

func (t *transport) add(b []byte) {
	if n, ok := rtpHeader(b); ok {
		sequence := uint16(b[2])<<8 | uint16(b[3])
		if d := sequence - t.sequence; t.rtp && d > 1 && d < 1<<15 {
			t.rtpLost += uint64(d - 1)
		}
		t.rtp, t.sequence = true, sequence
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
