package lct

import (
	"encoding/binary"
	"math/bits"
)

// MaxHeaderLen is the longest header that HDR_LEN, eight bits counting 32-bit
// words, can describe.
const MaxHeaderLen = 255 * 4

const version = 1

// Masks of the first 32-bit word, section 5.1.
const (
	wordS = 1 << 23
	wordH = 1 << 20
	wordT = 1 << 19 // RFC 3451 only, reserved since RFC 5651
	wordR = 1 << 18 // RFC 3451 only, reserved since RFC 5651
	wordA = 1 << 17
	wordB = 1 << 16
)

// A Header is one LCT header. The zero value with TSI and TOI filled in
// encodes as the form ROUTE uses (S=1, O=1, H=0, C=0).
//
// A Header may be reused for any number of packets. It is not safe for
// concurrent use.
type Header struct {
	// PSI is the two Protocol-Specific Indication bits, 0 to 3. ALC calls
	// the upper one SPI: source packet (PSI 2) or repair packet (PSI 0).
	PSI uint8
	// Codepoint is the FEC Encoding ID in FLUTE and the kind of delivery
	// object in ROUTE.
	Codepoint uint8
	// CloseSession is the A flag, CloseObject the B flag. Both are hints:
	// packets that were overtaken on the way may follow.
	CloseSession bool
	CloseObject  bool

	// CCI is the first word of the Congestion Control Information.
	CCI uint32
	// CCIRest holds the other words, none when C=0. After Unmarshal it
	// aliases the packet.
	CCIRest []byte

	// TSI identifies the session together with the sender's address.
	TSI uint64
	// TOI identifies the object inside the session, if HasTOI is set.
	// FLUTE's last packet of a session has none (RFC 6726, section 3.1).
	// TOIHigh holds the bits above the lowest 64 of one that has up to 112:
	// who uses TOI alone must see to it that TOIHigh is zero.
	TOI     uint64
	TOIHigh uint64
	HasTOI  bool

	// TSILen and TOILen are the widths of the fields in octets: 2, 4, 6 and
	// 2 to 14. They differ by a multiple of 4, since the flag H serves both.
	// Zero lets AppendTo take 4 octets, or more if the value needs them;
	// TOILen is not used without HasTOI. Receivers compare values, never
	// widths.
	TSILen uint8
	TOILen uint8

	// HasSCT and HasERT tell that an RFC 3451 header carries a Sender
	// Current Time and an Expected Residual Time, in milliseconds. Only
	// UnmarshalRFC3451 finds them; newer senders use EXT_TIME.
	HasSCT, HasERT bool
	SCT, ERT       uint32

	// Extensions is the area of the header extensions. After Unmarshal it
	// aliases the packet and is known to be well-formed.
	Extensions Extensions
}

// Unmarshal decodes the header at the start of the UDP payload b and returns
// its length. What follows is either nothing (an empty packet) or at least the
// four octets of a FEC Payload ID, or of a start_offset in ROUTE.
//
// Every field of h is overwritten. CCIRest and Extensions alias b. After an
// error h holds nothing of use.
func (h *Header) Unmarshal(b []byte) (n int, err error) {
	return h.unmarshal(b, false)
}

// UnmarshalRFC3451 is Unmarshal for sessions that are known to be FLUTE
// version 1 over the first LCT: the flags T and R put up to two more words
// before the extensions, where RFC 5651 wants both flags ignored. Nothing in
// the packet tells the two apart.
func (h *Header) UnmarshalRFC3451(b []byte) (n int, err error) {
	return h.unmarshal(b, true)
}

func (h *Header) unmarshal(b []byte, rfc3451 bool) (int, error) {
	if len(b) < 4 {
		return 0, ErrShort
	}
	w := binary.BigEndian.Uint32(b)
	if w>>28 != version {
		return 0, ErrVersion
	}
	n := int(w>>8&0xff) * 4
	if n > len(b) {
		return 0, ErrTruncated
	}
	half := int(w>>20&1) * 2
	cci := int(w>>26&3)*4 + 4
	tsi := int(w>>23&1)*4 + half
	toi := int(w>>21&3)*4 + half
	ext := 4 + cci + tsi + toi
	hasSCT := rfc3451 && w&wordT != 0
	hasERT := rfc3451 && w&wordR != 0
	if hasSCT {
		ext += 4
	}
	if hasERT {
		ext += 4
	}
	if n < ext {
		return 0, ErrHeaderLen
	}
	if tsi == 0 {
		return 0, ErrNoTSI
	}
	if len(b)-n != 0 && len(b)-n < 4 {
		return 0, ErrPayload
	}
	x := Extensions(b[ext:n:n])
	if !x.valid() {
		return 0, ErrExtension
	}

	h.PSI = uint8(w >> 24 & 3)
	h.Codepoint = uint8(w)
	h.CloseSession = w&wordA != 0
	h.CloseObject = w&wordB != 0
	h.CCI = binary.BigEndian.Uint32(b[4:])
	h.CCIRest = nil
	if cci > 4 {
		h.CCIRest = b[8 : 4+cci : 4+cci]
	}
	h.TSILen, h.TOILen = uint8(tsi), uint8(toi)
	h.HasTOI = toi != 0
	p := b[4+cci : ext]
	h.TOIHigh = 0
	switch {
	case tsi == 4 && toi == 4: // ROUTE
		h.TSI = uint64(binary.BigEndian.Uint32(p))
		h.TOI = uint64(binary.BigEndian.Uint32(p[4:]))
	case tsi == 2 && toi == 2: // FLUTE version 1
		h.TSI = uint64(binary.BigEndian.Uint16(p))
		h.TOI = uint64(binary.BigEndian.Uint16(p[2:]))
	default:
		_, h.TSI = uintN(p[:tsi])
		h.TOIHigh, h.TOI = uintN(p[tsi : tsi+toi])
	}
	p = p[tsi+toi:]
	h.HasSCT, h.SCT = hasSCT, 0
	h.HasERT, h.ERT = hasERT, 0
	if hasSCT {
		h.SCT, p = binary.BigEndian.Uint32(p), p[4:]
	}
	if hasERT {
		h.ERT = binary.BigEndian.Uint32(p)
	}
	h.Extensions = x
	return n, nil
}

// Len is the number of octets that AppendTo appends, provided that it does not
// return an error.
func (h *Header) Len() int {
	tsi, toi := h.widths()
	n := 8 + len(h.CCIRest) + tsi + toi + len(h.Extensions)
	if h.HasSCT {
		n += 4
	}
	if h.HasERT {
		n += 4
	}
	return n
}

// AppendTo appends the encoded header to b. It returns b unchanged and an
// error that matches ErrEncode if a field does not fit.
func (h *Header) AppendTo(b []byte) ([]byte, error) {
	tsi, toi := h.widths()
	n := h.Len()
	switch {
	case h.PSI > 3:
		return b, errPSI
	case len(h.CCIRest) > 12 || len(h.CCIRest)%4 != 0:
		return b, errCCI
	case tsi > 6 || tsi < 2 || toi > 14 || (tsi|toi)&1 != 0 || tsi&2 != toi&2:
		return b, errWidths
	case !fitsIn(0, h.TSI, tsi) || h.HasTOI && !fitsIn(h.TOIHigh, h.TOI, toi):
		return b, errWidths
	case n > MaxHeaderLen:
		return b, errTooLong
	case !h.Extensions.valid():
		return b, ErrExtension
	}
	w := uint32(version)<<28 | uint32(len(h.CCIRest)/4)<<26 | uint32(h.PSI)<<24 |
		uint32(toi/4)<<21 | uint32(n/4)<<8 | uint32(h.Codepoint)
	w |= flag(tsi >= 4, wordS) | flag(tsi&2 != 0, wordH)
	w |= flag(h.HasSCT, wordT) | flag(h.HasERT, wordR)
	w |= flag(h.CloseSession, wordA) | flag(h.CloseObject, wordB)

	b = binary.BigEndian.AppendUint32(b, w)
	b = binary.BigEndian.AppendUint32(b, h.CCI)
	b = append(b, h.CCIRest...)
	b = appendUintN(b, 0, h.TSI, tsi)
	if h.HasTOI {
		b = appendUintN(b, h.TOIHigh, h.TOI, toi)
	}
	if h.HasSCT {
		b = binary.BigEndian.AppendUint32(b, h.SCT)
	}
	if h.HasERT {
		b = binary.BigEndian.AppendUint32(b, h.ERT)
	}
	return append(b, h.Extensions...), nil
}

// widths fills in the widths that were left open: never less than the 32 bits
// of ROUTE, and TSI and TOI agreeing in the half word.
func (h *Header) widths() (tsi, toi int) {
	tsi, toi = int(h.TSILen), int(h.TOILen)
	if !h.HasTOI {
		toi = 0
	}
	if tsi == 0 {
		tsi = 4 + toi&2
		if !fitsIn(0, h.TSI, tsi) {
			tsi = 6
		}
	}
	if h.HasTOI && toi == 0 {
		toi = 4
		if tsi&2 != 0 {
			toi = 2
		}
		for toi <= 10 && !fitsIn(h.TOIHigh, h.TOI, toi) {
			toi += 4
		}
	}
	return tsi, toi
}

func fitsIn(high, low uint64, octets int) bool {
	if high != 0 {
		return 64+bits.Len64(high) <= 8*octets
	}
	return bits.Len64(low) <= 8*octets
}

func flag(on bool, mask uint32) uint32 {
	if on {
		return mask
	}
	return 0
}

// uintN reads a big-endian number of up to 16 octets.
func uintN(b []byte) (high, low uint64) {
	for _, c := range b {
		high = high<<8 | low>>56
		low = low<<8 | uint64(c)
	}
	return high, low
}

func appendUintN(b []byte, high, low uint64, octets int) []byte {
	for i := octets - 1; i >= 0; i-- {
		if i >= 8 {
			b = append(b, byte(high>>(8*(i-8))))
			continue
		}
		b = append(b, byte(low>>(8*i)))
	}
	return b
}
