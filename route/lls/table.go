package lls

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"github.com/treedn/treedn/flute/gunzip"
)

// Port and Group are where LLS is sent to (A/331, 6.1).
const Port = 4937

// Group is the multicast group of LLS.
func Group() netip.Addr { return netip.AddrFrom4([4]byte{224, 0, 23, 60}) }

// MaxDatagram is the length of the longest datagram, in octets.
const MaxDatagram = 65507

// A TableID says what a table is (A/331, table 6.1).
type TableID uint8

// The table ids. CertificationDataID is from A/360.
const (
	SLTID               TableID = 0x01
	RRTID               TableID = 0x02
	SystemTimeID        TableID = 0x03
	AEATID              TableID = 0x04
	OnscreenID          TableID = 0x05
	CertificationDataID TableID = 0x06
	SignedMultiTableID  TableID = 0xfe
	UserDefinedID       TableID = 0xff
)

func (id TableID) String() string {
	switch id {
	case SLTID:
		return "SLT"
	case RRTID:
		return "RRT"
	case SystemTimeID:
		return "SystemTime"
	case AEATID:
		return "AEAT"
	case OnscreenID:
		return "OnscreenMessageNotification"
	case CertificationDataID:
		return "CertificationData"
	case SignedMultiTableID:
		return "SignedMultiTable"
	case UserDefinedID:
		return "UserDefined"
	}
	return fmt.Sprintf("table 0x%02x", uint8(id))
}

// Errors of this package. A datagram that ends too early gives an error that
// matches io.ErrUnexpectedEOF.
var (
	// ErrTable: the table id is reserved, or not allowed where it stands.
	ErrTable = errors.New("lls: table id is reserved")
	// ErrSize: a table is too large, or grows too much when it is inflated.
	ErrSize = gunzip.ErrSize
)

// A Table is one table of signalling.
type Table struct {
	ID TableID
	// Group tells tables of several providers in one broadcast apart, of
	// Groups altogether (1 to 256).
	Group  uint8
	Groups uint16
	// Version is raised by one at every change, modulo 256.
	Version uint8
	// Body is the XML document, inflated. Of a SignedMultiTable it is what
	// ParseSigned takes.
	Body []byte
}

const headerLen = 4

// Limits bounds what Parse accepts. The zero value has the defaults.
type Limits struct {
	// Octets is the length of a table, inflated. Default 1 MiB.
	Octets int
	// Ratio is how many times its length a table may inflate to. Up to 64 KiB
	// are allowed anyway. Default 200.
	Ratio int
}

func (l Limits) inflate(b []byte) ([]byte, error) {
	if l.Octets <= 0 {
		l.Octets = 1 << 20
	}
	// Some test generators send plain XML, though the standard says gzip.
	if !gunzip.Is(b) {
		if len(b) > l.Octets {
			return nil, fmt.Errorf("lls: %w: %d octets", ErrSize, len(b))
		}
		return b, nil
	}
	out, err := gunzip.Limits(l).Inflate(b)
	if err != nil {
		return nil, fmt.Errorf("lls: %w", err)
	}
	return out, nil
}

// Parse decodes a datagram within the default limits.
func Parse(b []byte) (Table, error) { return Limits{}.Parse(b) }

// Parse decodes a datagram. The body aliases b if it is not compressed.
func (l Limits) Parse(b []byte) (Table, error) {
	t, err := parseHeader(b)
	if err != nil || t.ID == SignedMultiTableID {
		return t, err
	}
	t.Body, err = l.inflate(t.Body)
	return t, err
}

// parseHeader leaves the body as it is.
func parseHeader(b []byte) (Table, error) {
	if len(b) < headerLen {
		return Table{}, fmt.Errorf("lls: header: %w", io.ErrUnexpectedEOF)
	}
	t := Table{ID: TableID(b[0]), Group: b[1], Groups: uint16(b[2]) + 1, Version: b[3], Body: b[headerLen:]}
	if t.ID == 0 {
		return Table{}, ErrTable
	}
	return t, nil
}

// Append appends the table as a datagram. Its body is compressed, except that of
// a SignedMultiTable.
func (t *Table) Append(b []byte) ([]byte, error) {
	if t.ID == 0 {
		return b, ErrTable
	}
	if t.Groups == 0 || t.Groups > 256 || uint16(t.Group) >= t.Groups && t.Groups > 1 {
		return b, fmt.Errorf("%w: group %d of %d", ErrIncomplete, t.Group, t.Groups)
	}
	body := t.Body
	if t.ID != SignedMultiTableID {
		var err error
		if body, err = gunzip.Append(nil, t.Body); err != nil {
			return b, err
		}
	}
	if headerLen+len(body) > MaxDatagram {
		return b, fmt.Errorf("lls: %w: %d octets", ErrSize, headerLen+len(body))
	}
	b = append(b, byte(t.ID), t.Group, byte(t.Groups-1), t.Version)
	return append(b, body...), nil
}

// Signed is the body of a SignedMultiTable: tables, and a signature over all of
// them (A/331, table 6.15).
type Signed struct {
	// Tables have the group of the datagram.
	Tables []Table
	// Octets are what is signed, and CMS the SignedData message in DER, which
	// holds the signature detached from them.
	Octets, CMS []byte
}

// ParseSigned decodes the body of a SignedMultiTable. A table inside that cannot
// be inflated makes the whole unusable.
func (l Limits) ParseSigned(t Table) (Signed, error) {
	s, err := splitSigned(t)
	if err != nil {
		return Signed{}, err
	}
	for i := range s.Tables {
		if s.Tables[i].Body, err = l.inflate(s.Tables[i].Body); err != nil {
			return Signed{}, fmt.Errorf("%w (%s in a SignedMultiTable)", err, s.Tables[i].ID)
		}
	}
	return s, nil
}

// splitSigned leaves the tables compressed.
func splitSigned(t Table) (s Signed, err error) {
	short := fmt.Errorf("lls: SignedMultiTable: %w", io.ErrUnexpectedEOF)
	b := t.Body
	if len(b) < 1 {
		return Signed{}, short
	}
	count := int(b[0])
	rest := b[1:]
	for range count {
		if len(rest) < 4 || len(rest)-4 < int(binary.BigEndian.Uint16(rest[2:])) {
			return Signed{}, short
		}
		inner := Table{ID: TableID(rest[0]), Group: t.Group, Groups: t.Groups, Version: rest[1]}
		if inner.ID == 0 || inner.ID == SignedMultiTableID {
			return Signed{}, fmt.Errorf("%w: %s in a SignedMultiTable", ErrTable, inner.ID)
		}
		end := 4 + int(binary.BigEndian.Uint16(rest[2:]))
		inner.Body = rest[4:end:end]
		rest = rest[end:]
		s.Tables = append(s.Tables, inner)
	}
	signed := len(b) - len(rest)
	if len(rest) < 2 || len(rest)-2 < int(binary.BigEndian.Uint16(rest)) {
		return Signed{}, short
	}
	s.Octets = b[:signed:signed]
	s.CMS = rest[2 : 2+int(binary.BigEndian.Uint16(rest))]
	return s, nil
}

// SignedOctets returns what a SignedMultiTable of these tables signs.
func SignedOctets(tables []Table) ([]byte, error) {
	if len(tables) == 0 || len(tables) > 255 {
		return nil, fmt.Errorf("%w: SignedMultiTable of %d tables", ErrIncomplete, len(tables))
	}
	b := []byte{byte(len(tables))}
	for i := range tables {
		t := &tables[i]
		if t.ID == 0 || t.ID == SignedMultiTableID {
			return nil, fmt.Errorf("%w: %s in a SignedMultiTable", ErrTable, t.ID)
		}
		body, err := gunzip.Append(nil, t.Body)
		if err != nil {
			return nil, err
		}
		if len(body) > 0xffff {
			return nil, fmt.Errorf("lls: %w: %s of %d octets", ErrSize, t.ID, len(body))
		}
		b = append(b, byte(t.ID), t.Version)
		b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
		b = append(b, body...)
	}
	return b, nil
}

// SignedTable returns the SignedMultiTable that holds what SignedOctets returned
// and the CMS message over it.
func SignedTable(octets, cms []byte, group uint8, groups uint16, version uint8) (Table, error) {
	if len(cms) > 0xffff {
		return Table{}, fmt.Errorf("lls: %w: signature of %d octets", ErrSize, len(cms))
	}
	body := binary.BigEndian.AppendUint16(append([]byte(nil), octets...), uint16(len(cms)))
	return Table{ID: SignedMultiTableID, Group: group, Groups: groups, Version: version, Body: append(body, cms...)}, nil
}
