package lct

import "encoding/binary"

// The bits of the Use field of EXT_TIME, section 5.2.2.
const (
	useSCTHigh = 1 << 15
	useSCTLow  = 1 << 14
	useERT     = 1 << 13
	useSLC     = 1 << 12
)

// Time is EXT_TIME, with any combination of its values. Package ntp converts
// the NTP ones.
type Time struct {
	// SCT is the Sender Current Time as a 64-bit NTP timestamp. The lower
	// half is zero unless HasSCTLow is set, too.
	SCT               uint64
	HasSCT, HasSCTLow bool
	// ERT is the Expected Residual Time of the object, in seconds.
	ERT    uint32
	HasERT bool
	// SLC is the time of the Session Last Changed, in NTP seconds.
	SLC    uint32
	HasSLC bool
	// PI is the lower octet of Use, left to the protocol instance.
	PI uint8
}

// Time returns the EXT_TIME. One that contradicts itself counts as absent: its
// flags promise more words than it has, or SCT-Low without SCT-High.
func (x Extensions) Time() (Time, bool) {
	c, ok := x.Find(ExtTime)
	if !ok {
		return Time{}, false
	}
	use := binary.BigEndian.Uint16(c)
	c = c[2:]
	t := Time{
		HasSCT:    use&useSCTHigh != 0,
		HasSCTLow: use&useSCTLow != 0,
		HasERT:    use&useERT != 0,
		HasSLC:    use&useSLC != 0,
		PI:        uint8(use),
	}
	if len(c) < 4*t.words() || t.HasSCTLow && !t.HasSCT {
		return Time{}, false
	}
	next := func() (v uint32) {
		v, c = binary.BigEndian.Uint32(c), c[4:]
		return v
	}
	if t.HasSCT {
		t.SCT = uint64(next()) << 32
	}
	if t.HasSCTLow {
		t.SCT |= uint64(next())
	}
	if t.HasERT {
		t.ERT = next()
	}
	if t.HasSLC {
		t.SLC = next()
	}
	return t, true
}

// AppendTime appends an EXT_TIME with the values that t says it has.
func (x Extensions) AppendTime(t Time) (Extensions, error) {
	if t.HasSCTLow && !t.HasSCT {
		return x, errContent
	}
	use := uint32(t.PI) | flag(t.HasSCT, useSCTHigh) | flag(t.HasSCTLow, useSCTLow) |
		flag(t.HasERT, useERT) | flag(t.HasSLC, useSLC)
	x = append(x, byte(ExtTime), byte(1+t.words()), byte(use>>8), byte(use))
	if t.HasSCT {
		x = binary.BigEndian.AppendUint32(x, uint32(t.SCT>>32))
	}
	if t.HasSCTLow {
		x = binary.BigEndian.AppendUint32(x, uint32(t.SCT))
	}
	if t.HasERT {
		x = binary.BigEndian.AppendUint32(x, t.ERT)
	}
	if t.HasSLC {
		x = binary.BigEndian.AppendUint32(x, t.SLC)
	}
	return x, nil
}

func (t *Time) words() int {
	n := 0
	for _, has := range [...]bool{t.HasSCT, t.HasSCTLow, t.HasERT, t.HasSLC} {
		if has {
			n++
		}
	}
	return n
}

// PresentationTime returns the 64-bit NTP timestamp of
// EXT_ROUTE_PRESENTATION_TIME (A/331, A.3.7.1).
func (x Extensions) PresentationTime() (ts uint64, ok bool) {
	c, ok := x.Find(ExtPresentationTime)
	if !ok || len(c) != 10 {
		return 0, false
	}
	return binary.BigEndian.Uint64(c[2:]), true
}

// AppendPresentationTime appends an EXT_ROUTE_PRESENTATION_TIME.
func (x Extensions) AppendPresentationTime(ts uint64) Extensions {
	return binary.BigEndian.AppendUint64(append(x, byte(ExtPresentationTime), 3, 0, 0), ts)
}
