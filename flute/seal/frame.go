package seal

import (
	"encoding/binary"
	"io"
)

// AppendFrame appends a datagram with its length in front, as two octets: the
// form in which several travel over HTTP.
func AppendFrame(dst, datagram []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(datagram)))
	return append(dst, datagram...)
}

// Frame splits the first datagram off what AppendFrame made. Both results alias
// b. It returns io.ErrUnexpectedEOF if more octets are needed, ErrLong for what
// cannot be a datagram, and io.EOF if b is empty.
func Frame(b []byte) (datagram, rest []byte, err error) {
	if len(b) == 0 {
		return nil, nil, io.EOF
	}
	if len(b) < 2 {
		return nil, b, io.ErrUnexpectedEOF
	}
	n := int(binary.BigEndian.Uint16(b))
	if n > MaxDatagram {
		return nil, b, ErrLong
	}
	if len(b) < 2+n {
		return nil, b, io.ErrUnexpectedEOF
	}
	return b[2 : 2+n : 2+n], b[2+n:], nil
}
