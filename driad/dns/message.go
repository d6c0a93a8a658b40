package dns

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
)

// Type is the type of a resource record.
type Type uint16

// Types of resource records.
const (
	TypeA        Type = 1
	TypeNS       Type = 2
	TypeCNAME    Type = 5
	TypeSOA      Type = 6
	TypePTR      Type = 12
	TypeTXT      Type = 16
	TypeAAAA     Type = 28
	TypeSRV      Type = 33
	TypeDNAME    Type = 39
	TypeOPT      Type = 41
	TypeNSEC     Type = 47
	TypeIXFR     Type = 251
	TypeAXFR     Type = 252
	TypeANY      Type = 255
	TypeAMTRELAY Type = 260
)

var typeNames = map[Type]string{
	TypeA: "A", TypeNS: "NS", TypeCNAME: "CNAME", TypeSOA: "SOA", TypePTR: "PTR", TypeTXT: "TXT", TypeAAAA: "AAAA", TypeSRV: "SRV",
	TypeDNAME: "DNAME", TypeOPT: "OPT", TypeNSEC: "NSEC", TypeIXFR: "IXFR", TypeAXFR: "AXFR", TypeANY: "ANY", TypeAMTRELAY: "AMTRELAY",
}

// String returns the mnemonic, or TYPEn (RFC 3597 section 5).
func (t Type) String() string {
	if s, ok := typeNames[t]; ok {
		return s
	}
	return "TYPE" + strconv.Itoa(int(t))
}

// Class is the class of a record or a question.
type Class uint16

// ClassINET is the Internet.
const ClassINET Class = 1

// RCode is the outcome of a query, with the upper bits from an OPT record.
type RCode uint16

// Response codes.
const (
	RCodeSuccess        RCode = 0
	RCodeFormatError    RCode = 1
	RCodeServerFailure  RCode = 2
	RCodeNameError      RCode = 3 // NXDOMAIN
	RCodeNotImplemented RCode = 4
	RCodeRefused        RCode = 5
	RCodeNotAuth        RCode = 9
	RCodeBadVersion     RCode = 16
)

// String returns the mnemonic.
func (r RCode) String() string {
	switch r {
	case RCodeSuccess:
		return "NOERROR"
	case RCodeFormatError:
		return "FORMERR"
	case RCodeServerFailure:
		return "SERVFAIL"
	case RCodeNameError:
		return "NXDOMAIN"
	case RCodeNotImplemented:
		return "NOTIMP"
	case RCodeRefused:
		return "REFUSED"
	case RCodeNotAuth:
		return "NOTAUTH"
	case RCodeBadVersion:
		return "BADVERS"
	}
	return "RCODE" + strconv.Itoa(int(r))
}

// HeaderLen is the length of a message's header in octets.
const HeaderLen = 12

// MaxMessage is the length of the longest message in octets.
const MaxMessage = 65535

// Flags of a header, in its second 16 bits (RFC 1035 section 4.1.1, RFC 4035
// section 3).
const (
	FlagResponse           = 1 << 15
	FlagAuthoritative      = 1 << 10
	FlagTruncated          = 1 << 9
	FlagRecursionDesired   = 1 << 8
	FlagRecursionAvailable = 1 << 7
	FlagAuthenticData      = 1 << 5
	FlagCheckingDisabled   = 1 << 4
)

// Header is a message's header.
type Header struct {
	ID     uint16
	Flags  uint16    // with opcode and RCODE
	Counts [4]uint16 // of questions, answers, authority and additional records
}

// Opcodes of queries.
const (
	OpcodeQuery  = 0
	OpcodeNotify = 4 // RFC 1996
)

// Opcode returns the kind of query.
func (h Header) Opcode() int { return int(h.Flags >> 11 & 0xf) }

// RCode returns the four bits of the response code that the header has.
func (h Header) RCode() RCode { return RCode(h.Flags & 0xf) }

// AppendTo appends the header.
func (h Header) AppendTo(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, h.ID)
	b = binary.BigEndian.AppendUint16(b, h.Flags)
	for _, n := range h.Counts {
		b = binary.BigEndian.AppendUint16(b, n)
	}
	return b
}

// Question is what is asked.
type Question struct {
	Name  Name
	Type  Type
	Class Class // 0 is ClassINET when sent
}

// String returns name and type.
func (q Question) String() string { return q.Name.String() + " " + q.Type.String() }

// Section is a part of a message.
type Section int

// Sections with records, and their number in Header.Counts.
const (
	SectionAnswer Section = 1 + iota
	SectionAuthority
	SectionAdditional
)

// Resource is a record of a message. It is valid until the message changes.
type Resource struct {
	Name    Name
	Type    Type
	Class   Class
	TTL     uint32
	Section Section
	Data    []byte // aliases the message

	msg []byte
	off int // of Data
}

// NameAt reads a name, which may be compressed, at an offset within Data and
// returns the offset of what follows it.
func (r *Resource) NameAt(off int) (n Name, end int, err error) {
	end, err = n.unpack(r.msg[:r.off+len(r.Data)], r.off+off, true)
	return n, end - r.off, err
}

// onlyName reads Data that is one name and nothing else.
func (r *Resource) onlyName() (Name, error) {
	n, end, err := r.NameAt(0)
	if err == nil && end != len(r.Data) {
		err = fmt.Errorf("%w: %s record of %s: %d octets after the name", ErrMessage, r.Type, r.Name, len(r.Data)-end)
	}
	return n, err
}

// ErrMessage is matched by errors about the form of messages.
var ErrMessage = errors.New("dns: malformed message")

// Parser reads a message from its start to its end.
type Parser struct {
	Header  Header
	msg     []byte
	off     int
	section Section
	left    uint16 // records of the section
}

// Start begins with a message, of which it reads the header.
func (p *Parser) Start(msg []byte) error {
	*p = Parser{msg: msg, off: HeaderLen}
	if len(msg) < HeaderLen {
		return fmt.Errorf("%w: header of %d octets", ErrMessage, len(msg))
	}
	p.Header.ID = binary.BigEndian.Uint16(msg)
	p.Header.Flags = binary.BigEndian.Uint16(msg[2:])
	for i := range p.Header.Counts {
		p.Header.Counts[i] = binary.BigEndian.Uint16(msg[4+2*i:])
	}
	p.left = p.Header.Counts[0]
	return nil
}

// Question reads the next question; false if there is none.
func (p *Parser) Question(q *Question) (bool, error) {
	if p.section != 0 || p.left == 0 {
		return false, nil
	}
	at, err := q.Name.unpack(p.msg, p.off, true)
	if err != nil {
		return false, fmt.Errorf("%w: question: %w", ErrMessage, err)
	}
	if at+4 > len(p.msg) {
		return false, fmt.Errorf("%w: ends within a question", ErrMessage)
	}
	q.Type = Type(binary.BigEndian.Uint16(p.msg[at:]))
	q.Class = Class(binary.BigEndian.Uint16(p.msg[at+2:]))
	p.off = at + 4
	p.left--
	return true, nil
}

// Next reads the next record of any section, and skips questions that have not
// been read; false at the end.
func (p *Parser) Next(r *Resource) (bool, error) {
	var q Question
	for p.section == 0 {
		if ok, err := p.Question(&q); err != nil {
			return false, err
		} else if !ok {
			p.section = SectionAnswer
			p.left = p.Header.Counts[p.section]
		}
	}
	for p.left == 0 {
		if p.section == SectionAdditional {
			return false, nil
		}
		p.section++
		p.left = p.Header.Counts[p.section]
	}
	at, err := r.Name.unpack(p.msg, p.off, true)
	if err != nil {
		return false, fmt.Errorf("%w: record at octet %d: %w", ErrMessage, p.off, err)
	}
	if at+10 > len(p.msg) {
		return false, fmt.Errorf("%w: ends within a record", ErrMessage)
	}
	b := p.msg[at:]
	length := int(binary.BigEndian.Uint16(b[8:]))
	if 10+length > len(b) {
		return false, fmt.Errorf("%w: record at octet %d: %d octets of data, %d are there", ErrMessage, p.off, length, len(b)-10)
	}
	r.Type = Type(binary.BigEndian.Uint16(b))
	r.Class = Class(binary.BigEndian.Uint16(b[2:]))
	r.TTL = binary.BigEndian.Uint32(b[4:])
	r.Section = p.section
	r.Data = b[10 : 10+length : 10+length]
	r.msg, r.off = p.msg, at+10
	p.off = at + 10 + length
	p.left--
	return true, nil
}

// Builder writes a message with one question. The zero value is of no use, see
// [NewBuilder].
type Builder struct {
	msg      []byte
	question Name
	asked    bool
	exact    bool
}

// NewBuilder begins a message in b, which must be empty, with a header and a
// question; without one if q is nil.
func NewBuilder(b []byte, h Header, q *Question) Builder {
	h.Counts = [4]uint16{}
	if q != nil {
		h.Counts[0] = 1
	}
	b = h.AppendTo(b[:0])
	if q == nil {
		return Builder{msg: b}
	}
	b = q.Name.AppendTo(b)
	b = binary.BigEndian.AppendUint16(b, uint16(q.Type))
	b = binary.BigEndian.AppendUint16(b, uint16(max(q.Class, ClassINET)))
	return Builder{msg: b, question: q.Name, asked: true}
}

// Record appends a record to a section; sections must be written in their order.
// The data are those that fill appends; names in them may be written with
// [Builder.AppendName].
func (b *Builder) Record(s Section, owner *Name, t Type, c Class, ttl uint32, data []byte) {
	b.msg = b.AppendName(b.msg, owner)
	b.msg = binary.BigEndian.AppendUint16(b.msg, uint16(t))
	b.msg = binary.BigEndian.AppendUint16(b.msg, uint16(c))
	b.msg = binary.BigEndian.AppendUint32(b.msg, ttl)
	b.msg = binary.BigEndian.AppendUint16(b.msg, uint16(len(data)))
	b.msg = append(b.msg, data...)
	at := 4 + 2*int(s)
	binary.BigEndian.PutUint16(b.msg[at:], binary.BigEndian.Uint16(b.msg[at:])+1)
}

// AppendName appends a name to data, as a pointer where it is the end of the
// question's.
func (b *Builder) AppendName(data []byte, n *Name) []byte {
	if b.asked && !n.IsRoot() {
		if at, ok := b.question.suffixAt(n); ok && (!b.exact || bytes.Equal(b.question.wire[at:b.question.n], n.wire[:n.n])) {
			return append(data, 0xc0|byte((HeaderLen+at)>>8), byte(HeaderLen+at))
		}
	}
	return n.AppendTo(data)
}

// PreserveCase lets names point to the question's only where the letters are of the same
// case, too (RFC 5936 section 3.4).
func (b *Builder) PreserveCase() { b.exact = true }

// Len returns the octets written.
func (b *Builder) Len() int { return len(b.msg) }

// Truncate removes all records and sets the TC flag.
func (b *Builder) Truncate() {
	end := HeaderLen
	if b.asked {
		end += b.question.Len() + 4
	}
	b.msg = b.msg[:end]
	b.SetFlags(FlagTruncated)
	clear(b.msg[6:HeaderLen])
}

// SetFlags sets flags in the header.
func (b *Builder) SetFlags(flags uint16) {
	binary.BigEndian.PutUint16(b.msg[2:], binary.BigEndian.Uint16(b.msg[2:])|flags)
}

// Message returns the message.
func (b *Builder) Message() []byte { return b.msg }
