package gmp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/treedn/treedn/amt/internal/checksum"
)

// Type is what a message is, in either protocol.
type Type uint8

// Types of message.
const (
	// TypeQuery asks hosts what they want.
	TypeQuery Type = 1 + iota
	// TypeReport says what a host wants. Reports of IGMPv1, IGMPv2 and MLDv1 read
	// as the one record that they are equal to (RFC 3376 section 7.3.2).
	TypeReport
	// TypeLeave is Leave Group of IGMPv2 or Done of MLDv1; it reads as one record.
	TypeLeave
)

// String returns the name of t.
func (t Type) String() string {
	switch t {
	case TypeQuery:
		return "query"
	case TypeReport:
		return "report"
	case TypeLeave:
		return "leave"
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// RecordType is the type of a group record (RFC 3376 section 4.2.12).
type RecordType uint8

// Types of group record; receivers ignore others.
const (
	ModeIsInclude   RecordType = 1
	ModeIsExclude   RecordType = 2
	ChangeToInclude RecordType = 3
	ChangeToExclude RecordType = 4
	AllowNewSources RecordType = 5
	BlockOldSources RecordType = 6
)

// String returns the name that RFC 3376 gives t.
func (t RecordType) String() string {
	switch t {
	case ModeIsInclude:
		return "MODE_IS_INCLUDE"
	case ModeIsExclude:
		return "MODE_IS_EXCLUDE"
	case ChangeToInclude:
		return "CHANGE_TO_INCLUDE_MODE"
	case ChangeToExclude:
		return "CHANGE_TO_EXCLUDE_MODE"
	case AllowNewSources:
		return "ALLOW_NEW_SOURCES"
	case BlockOldSources:
		return "BLOCK_OLD_SOURCES"
	}
	return fmt.Sprintf("record type %d", uint8(t))
}

// Record is a group record of a report.
type Record struct {
	Type    RecordType
	Group   netip.Addr
	Sources Sources
}

// Query is what a query asks.
type Query struct {
	// Group is the group asked for, unspecified in a General Query.
	Group netip.Addr
	// Sources makes it a Group-and-Source-Specific Query.
	Sources Sources
	// MaxResponse is the time within which hosts answer.
	MaxResponse time.Duration
	// Suppress is the S flag: routers keep their timers as they are.
	Suppress bool
	// Robustness is QRV, 0 to 7; 0 says nothing.
	Robustness uint8
	// Interval is the time between General Queries, QQI; 0 says nothing.
	Interval time.Duration
}

// Message is a message of IGMP or MLD. It aliases the packet it was parsed from.
type Message struct {
	Header  Header
	Type    Type
	Version int   // of IGMP 1 to 3, of MLD 1 or 2
	Query   Query // also holds the Group of a report of IGMPv1, IGMPv2 or MLDv1

	records []byte
	n       int
}

// Types of the protocols' own numbering.
const (
	igmpQuery    = 0x11
	igmpReportV1 = 0x12
	igmpReportV2 = 0x16
	igmpLeave    = 0x17
	igmpReport   = 0x22

	mldQuery    = 130
	mldReportV1 = 131
	mldDone     = 132
	mldReport   = 143
)

// IPv6 reports whether the message is MLD.
func (m *Message) IPv6() bool { return m.Header.Destination.Is6() }

// General reports whether the message is a General Query.
func (m *Message) General() bool { return m.Type == TypeQuery && m.Query.Group.IsUnspecified() }

// Parse parses an IP packet that carries IGMP or MLD. Octets behind the packet
// are ignored. The whole message is checked, so that what it holds can be
// believed to be complete. The error is a [*PacketError], and m is then zero. It
// allocates nothing.
func (m *Message) Parse(packet []byte) error {
	*m = Message{}
	err := m.parse(packet)
	if err != nil {
		*m = Message{}
	}
	return err
}

func (m *Message) parse(packet []byte) error {
	if len(packet) == 0 {
		return errNoIP
	}
	switch packet[0] >> 4 {
	case 4:
		b, err := parseIPv4(packet, &m.Header)
		if err != nil {
			return err
		}
		return m.parseIGMP(b)
	case 6:
		b, err := parseIPv6(packet, &m.Header)
		if err != nil {
			return err
		}
		if len(b) < 8 {
			return errMLDShort
		}
		if checksum.Fold(checksum.Add(pseudoHeader(packet, len(b), protocolICMPv6), b)) != 0 {
			return errMLDChecksum
		}
		return m.parseMLD(b)
	}
	return errNoIP
}

func (m *Message) parseIGMP(b []byte) error {
	if len(b) < 8 {
		return errIGMPShort
	}
	if checksum.Fold(checksum.Add(0, b)) != 0 {
		return errIGMPChecksum
	}
	m.Query.Group = netip.AddrFrom4([4]byte(b[4:]))
	switch b[0] {
	case igmpQuery:
		m.Type = TypeQuery
		switch { // RFC 3376 section 7.1
		case len(b) == 8 && b[1] == 0:
			m.Version = 1
			m.Query.Group = unspecified4 // ignored when received, RFC 1112 appendix I
			m.Query.MaxResponse = 10 * time.Second
			return nil
		case len(b) == 8:
			m.Version = 2
			m.Query.MaxResponse = time.Duration(b[1]) * igmpUnit
			return nil
		case len(b) < 12:
			return errQueryShort
		}
		m.Version = 3
		m.Query.MaxResponse = time.Duration(decode8(b[1])) * igmpUnit
		return m.parseQuery(b[8:], 4)
	case igmpReportV1:
		m.Type, m.Version = TypeReport, 1
	case igmpReportV2:
		m.Type, m.Version = TypeReport, 2
	case igmpLeave:
		m.Type, m.Version = TypeLeave, 2
	case igmpReport:
		m.Type, m.Version = TypeReport, 3
		m.Query.Group = netip.Addr{}
		return m.parseRecords(b, 4)
	default:
		return errIGMPType
	}
	return nil
}

func (m *Message) parseMLD(b []byte) error {
	switch b[0] {
	case mldQuery, mldReportV1, mldDone:
		if len(b) < 24 {
			return errMLDShort
		}
		m.Query.Group = netip.AddrFrom16([16]byte(b[8:]))
		m.Version = 1
		switch b[0] {
		case mldReportV1:
			m.Type = TypeReport
			return nil
		case mldDone:
			m.Type = TypeLeave
			return nil
		}
		m.Type = TypeQuery
		code := binary.BigEndian.Uint16(b[4:])
		switch { // RFC 3810 section 8.1
		case len(b) == 24:
			m.Query.MaxResponse = time.Duration(code) * mldUnit
			return nil
		case len(b) < 28:
			return errQueryShort
		}
		m.Version = 2
		m.Query.MaxResponse = time.Duration(decode16(code)) * mldUnit
		return m.parseQuery(b[24:], 16)
	case mldReport:
		m.Type, m.Version = TypeReport, 2
		return m.parseRecords(b, 16)
	}
	return errMLDType
}

// parseQuery parses what IGMPv3 and MLDv2 add to a query.
func (m *Message) parseQuery(b []byte, size int) error {
	m.Query.Suppress = b[0]&8 != 0
	m.Query.Robustness = b[0] & 7
	m.Query.Interval = time.Duration(decode8(b[1])) * queryUnit
	n := int(binary.BigEndian.Uint16(b[2:]))
	if n*size > len(b)-4 {
		return errQueryShort
	}
	m.Query.Sources = Sources{b[4 : 4+n*size], n}
	return nil
}

// parseRecords checks all records, so that Records can trust them.
func (m *Message) parseRecords(b []byte, size int) error {
	m.n = int(binary.BigEndian.Uint16(b[6:]))
	rest := b[8:]
	for range m.n {
		_, n := cutRecord(rest, size)
		if n < 0 {
			return errReportShort
		}
		rest = rest[n:]
	}
	m.records = b[8 : len(b)-len(rest)]
	return nil
}

// cutRecord returns the first record of b and its length, or -1.
func cutRecord(b []byte, size int) (Record, int) {
	if len(b) < 4+size {
		return Record{}, -1
	}
	sources := int(binary.BigEndian.Uint16(b[2:])) * size
	// Auxiliary data are in words of 4 octets; none are defined.
	length := 4 + size + sources + int(b[1])*4
	if len(b) < length {
		return Record{}, -1
	}
	r := Record{Type: RecordType(b[0])}
	if size == 4 {
		r.Group = netip.AddrFrom4([4]byte(b[4:]))
	} else {
		r.Group = netip.AddrFrom16([16]byte(b[4:]))
	}
	r.Sources = Sources{b[4+size : 4+size+sources], sources / size}
	return r, length
}

// Len returns the number of records of a report or leave.
func (m *Message) Len() int {
	switch {
	case m.Type != TypeReport && m.Type != TypeLeave:
		return 0
	case m.older():
		return 1
	}
	return m.n
}

// Records iterates over the records of a report or leave, those of unknown type
// included. It is made for the range statement: for r := range m.Records.
func (m *Message) Records(yield func(Record) bool) {
	if m.Type != TypeReport && m.Type != TypeLeave {
		return
	}
	if m.older() {
		// RFC 3376 section 7.3.2 and RFC 3810 section 8.3.2.
		r := Record{Type: ModeIsExclude, Group: m.Query.Group}
		if m.Type == TypeLeave {
			r.Type = ChangeToInclude
		}
		yield(r)
		return
	}
	size := 4
	if m.IPv6() {
		size = 16
	}
	b := m.records
	for range m.n {
		r, n := cutRecord(b, size)
		if !yield(r) {
			return
		}
		b = b[n:]
	}
}

// older reports whether the message has no records.
func (m *Message) older() bool {
	if m.IPv6() {
		return m.Version < 2
	}
	return m.Version < 3
}
