package fecframe

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// RepairFlow is the value of SDP's fec-repair-flow attribute (RFC 6364 section 4.5).
type RepairFlow struct {
	Scheme SchemeID

	// Preference is preference-lvl, if HasPreference: the order in which to use
	// repair flows.
	Preference    uint32
	HasPreference bool

	SenderFSSI string // ss-fssi, which receivers have no use for
	FSSI       string // fssi; see [ParseFSSIText]
}

// String returns the value, as it follows the colon and a blank.
func (f RepairFlow) String() string {
	s := "encoding-id=" + strconv.Itoa(int(f.Scheme))
	if f.HasPreference {
		s += "; preference-lvl=" + strconv.FormatUint(uint64(f.Preference), 10)
	}
	if f.SenderFSSI != "" {
		s += "; ss-fssi=" + f.SenderFSSI
	}
	if f.FSSI != "" {
		s += "; fssi=" + f.FSSI
	}
	return s
}

// ParseRepairFlow parses the value of a fec-repair-flow attribute. Parameters that it
// does not know are skipped.
func ParseRepairFlow(value string) (f RepairFlow, err error) {
	hasID := false
	for name, v := range parameters(value) {
		var n uint64
		switch name {
		case "encoding-id":
			n, err = strconv.ParseUint(v, 10, 8)
			f.Scheme, hasID = SchemeID(n), true
		case "preference-lvl":
			n, err = strconv.ParseUint(v, 10, 32)
			f.Preference, f.HasPreference = uint32(n), true
		case "ss-fssi":
			f.SenderFSSI = v
		case "fssi":
			f.FSSI = v
		}
		if err != nil {
			return RepairFlow{}, fmt.Errorf("%w: fec-repair-flow: %s=%.40q", ErrConfig, name, v)
		}
	}
	if !hasID {
		return RepairFlow{}, fmt.Errorf("%w: fec-repair-flow without encoding-id", ErrConfig)
	}
	return f, nil
}

// SourceFlow is the value of SDP's fec-source-flow attribute (RFC 6364 section 4.4).
type SourceFlow struct {
	ID     uint32
	TagLen int // of the Explicit Source FEC Payload ID in octets; zero if there is none
}

// String returns the value, as it follows the colon and a blank.
func (f SourceFlow) String() string {
	s := "id=" + strconv.FormatUint(uint64(f.ID), 10)
	if f.TagLen > 0 {
		s += "; tag-len=" + strconv.Itoa(f.TagLen)
	}
	return s
}

// ParseSourceFlow parses the value of a fec-source-flow attribute.
func ParseSourceFlow(value string) (f SourceFlow, err error) {
	hasID := false
	for name, v := range parameters(value) {
		var n uint64
		switch name {
		case "id":
			n, err = strconv.ParseUint(v, 10, 32)
			f.ID, hasID = uint32(n), true
		case "tag-len":
			n, err = strconv.ParseUint(v, 10, 16)
			f.TagLen = int(n)
		}
		if err != nil {
			return SourceFlow{}, fmt.Errorf("%w: fec-source-flow: %s=%.40q", ErrConfig, name, v)
		}
	}
	if !hasID {
		return SourceFlow{}, fmt.Errorf("%w: fec-source-flow without id", ErrConfig)
	}
	return f, nil
}

// parameters yields the parameters of an attribute, separated by semicolons.
func parameters(value string) func(yield func(name, value string) bool) {
	return func(yield func(name, value string) bool) {
		for p := range strings.SplitSeq(value, ";") {
			name, v, _ := strings.Cut(strings.TrimSpace(p), "=")
			if !yield(name, v) {
				return
			}
		}
	}
}

// ParseRepairWindow parses the value of a repair-window attribute (RFC 6364 section
// 4.6). A receiver should not give a block up before so much time has passed since its
// first packet.
func ParseRepairWindow(value string) (time.Duration, error) {
	value = strings.TrimSpace(value)
	unit := time.Millisecond
	digits, ok := strings.CutSuffix(value, "ms")
	if !ok {
		digits, ok = strings.CutSuffix(value, "us")
		unit = time.Microsecond
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	if !ok || err != nil || n == 0 {
		return 0, fmt.Errorf("%w: repair-window %.40q", ErrConfig, value)
	}
	return time.Duration(n) * unit, nil
}
