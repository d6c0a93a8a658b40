package seal

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
)

// The layout is described in doc.go.
const (
	// MaxDatagram bounds a datagram, in octets: it passes any path unfragmented.
	MaxDatagram = 1200

	label      = 0x5ea1
	headerLen  = 17
	recordLen  = 1 + 8 + 1 + sha256.Size // at least, without id and name
	minLen     = headerLen + recordLen + 2 + 1 + ed25519.SignatureSize
	maxRecords = 255
	maxEnd     = 1<<62 - 1

	// context is signed in front of every datagram, so that no signature made
	// for something else is one of a seal.
	context = "treedn seal 1\x00"
)

// Flags say what a record states beyond its digest.
type Flags uint8

const (
	// Final: the object ends at End.
	Final Flags = 1 << iota
	// Aborted: the object broke off at End and will never be whole.
	Aborted
	// Named: the record has the object's name in place of its ObjectID.
	Named
	// Current: the object is sealed again every few seconds for as long as it
	// is the newest of its name. So an old seal of it proves nothing.
	Current

	knownFlags = Final | Aborted | Named | Current
	endFlags   = Final | Aborted
)

// Record states what an object begins with.
type Record struct {
	Flags      Flags
	Generation uint64
	// End is the number of octets that Sum is the SHA-256 of. At most 62 bits.
	End uint64
	Sum [sha256.Size]byte
	// ID is ignored by Append if Flags has Named, and not set by Unmarshal.
	ID ObjectID
	// Name, with Named, is a hostile string of 1 to MaxName octets. After
	// Unmarshal it aliases the datagram.
	Name []byte
}

func (r *Record) valid() bool {
	return r.Flags&^knownFlags == 0 && r.Flags&endFlags != endFlags &&
		(r.End > 0 || r.Flags&endFlags != 0)
}

// encodedLen is the number of octets that the record takes.
func (r *Record) encodedLen() int {
	n := 1 + 8 + varintLen(r.End) + sha256.Size
	if r.Flags&Named != 0 {
		return n + 2 + len(r.Name)
	}
	return n + 8
}

func (r *Record) append(b []byte) []byte {
	b = append(b, byte(r.Flags))
	b = binary.BigEndian.AppendUint64(b, r.Generation)
	b = appendVarint(b, r.End)
	b = append(b, r.Sum[:]...)
	if r.Flags&Named != 0 {
		b = binary.BigEndian.AppendUint16(b, uint16(len(r.Name)))
		return append(b, r.Name...)
	}
	return binary.BigEndian.AppendUint64(b, uint64(r.ID))
}

// unmarshal reads a record from the beginning of b, and returns the rest.
func (r *Record) unmarshal(b []byte) ([]byte, error) {
	if len(b) < recordLen {
		return nil, ErrShort
	}
	r.Flags, r.Generation = Flags(b[0]), binary.BigEndian.Uint64(b[1:])
	n := 1 << (b[9] >> 6)
	b = b[9:]
	if len(b) < n+sha256.Size {
		return nil, ErrShort
	}
	r.End = uint64(b[0] & 0x3f)
	for _, c := range b[1:n] {
		r.End = r.End<<8 | uint64(c)
	}
	if !r.valid() || varintLen(r.End) != n {
		return nil, ErrRecord
	}
	b = b[n:]
	copy(r.Sum[:], b)
	b = b[sha256.Size:]
	r.ID, r.Name = 0, nil
	if r.Flags&Named == 0 {
		if len(b) < 8 {
			return nil, ErrShort
		}
		r.ID = ObjectID(binary.BigEndian.Uint64(b))
		return b[8:], nil
	}
	if len(b) < 2 {
		return nil, ErrShort
	}
	n = int(binary.BigEndian.Uint16(b))
	b = b[2:]
	if n == 0 || n > MaxName {
		return nil, ErrRecord
	}
	if len(b) < n {
		return nil, ErrShort
	}
	r.Name = b[:n:n]
	return b[n:], nil
}

// Datagram is what a seal says. Whether it is true, only a Verifier tells.
type Datagram struct {
	Service ServiceID
	Key     KeyID
	Time    uint64 // Unix microseconds
	Records []Record
}

// Unmarshal reads a datagram and checks its layout, not its signature. Records
// is reused; names alias b. On an error d holds nothing of use.
func (d *Datagram) Unmarshal(b []byte) error {
	d.Records = d.Records[:0]
	switch {
	case len(b) >= 2 && binary.BigEndian.Uint16(b) != label:
		return ErrLabel
	case len(b) < minLen:
		return ErrShort
	case len(b) > MaxDatagram:
		return ErrLong
	}
	d.Service = ServiceID(binary.BigEndian.Uint32(b[2:]))
	d.Key = KeyID(binary.BigEndian.Uint16(b[6:]))
	d.Time = binary.BigEndian.Uint64(b[8:])
	n := int(b[16])
	if n == 0 {
		return ErrRecord
	}
	b = b[headerLen : len(b)-ed25519.SignatureSize]
	for range n {
		if len(d.Records) < cap(d.Records) {
			d.Records = d.Records[:len(d.Records)+1]
		} else {
			d.Records = append(d.Records, Record{})
		}
		var err error
		if b, err = d.Records[len(d.Records)-1].unmarshal(b); err != nil {
			return err
		}
	}
	if len(b) > 0 {
		return ErrLong
	}
	return nil
}

// Append appends the datagram, signed for a service. d.Service is ignored.
func (d *Datagram) Append(dst []byte, service string, key ed25519.PrivateKey) ([]byte, error) {
	if !validService(service) {
		return dst, errService
	}
	if len(d.Records) == 0 || len(d.Records) > maxRecords {
		return dst, errCount
	}
	size := headerLen + ed25519.SignatureSize
	for i := range d.Records {
		r := &d.Records[i]
		switch {
		case !r.valid():
			return dst, errFlags
		case r.End > maxEnd:
			return dst, errEnd
		case r.Flags&Named != 0 && (len(r.Name) == 0 || len(r.Name) > MaxName):
			return dst, errName
		}
		size += r.encodedLen()
	}
	if size > MaxDatagram {
		return dst, errSize
	}
	var scratch [maxSigned]byte
	msg := appendContext(scratch[:0], service)
	start := len(msg)
	msg = binary.BigEndian.AppendUint16(msg, label)
	msg = binary.BigEndian.AppendUint32(msg, uint32(ServiceIDOf(service)))
	msg = binary.BigEndian.AppendUint16(msg, uint16(d.Key))
	msg = binary.BigEndian.AppendUint64(msg, d.Time)
	msg = append(msg, byte(len(d.Records)))
	for i := range d.Records {
		msg = d.Records[i].append(msg)
	}
	dst = append(dst, msg[start:]...)
	return append(dst, ed25519.Sign(key, msg)...), nil
}

// maxSigned bounds what is signed.
const maxSigned = len(context) + 1 + MaxService + MaxDatagram

// appendContext appends what is signed in front of a datagram.
func appendContext(b []byte, service string) []byte {
	b = append(b, context...)
	b = append(b, byte(len(service)))
	return append(b, service...)
}

// varintLen is the length of a variable-length integer (RFC 9000, section 16).
func varintLen(v uint64) int {
	switch {
	case v < 1<<6:
		return 1
	case v < 1<<14:
		return 2
	case v < 1<<30:
		return 4
	}
	return 8
}

func appendVarint(b []byte, v uint64) []byte {
	switch varintLen(v) {
	case 1:
		return append(b, byte(v))
	case 2:
		return binary.BigEndian.AppendUint16(b, uint16(v)|1<<14)
	case 4:
		return binary.BigEndian.AppendUint32(b, uint32(v)|2<<30)
	}
	return binary.BigEndian.AppendUint64(b, v|3<<62)
}
