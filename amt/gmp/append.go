package gmp

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// AppendQuery appends the IP packet of a query of the given version to b. The
// family is that of q.Group; an invalid source means the unspecified address.
// Codes that cannot represent a time get the next smaller one.
func AppendQuery(b []byte, source netip.Addr, version int, q *Query) []byte {
	start := len(b)
	v6 := q.Group.Is6()
	to := destination(TypeQuery, version, v6, q.Group)
	if v6 {
		b = appendIPv6(b, orUnspecified(source, v6), to)
		milliseconds := int(q.MaxResponse / mldUnit)
		code := uint16(min(milliseconds, 0xffff))
		if version > 1 {
			code = encode16(milliseconds)
		}
		group := q.Group.As16()
		b = append(b, mldQuery, 0, 0, 0, byte(code>>8), byte(code), 0, 0)
		b = append(b, group[:]...)
		if version > 1 {
			b = appendQueryTail(b, q)
		}
		finishIPv6(b[start:])
		return b
	}
	b = appendIPv4(b, orUnspecified(source, v6), to)
	tenths := int(q.MaxResponse / igmpUnit)
	code := encode8(tenths)
	switch version {
	case 1:
		code = 0
	case 2:
		code = byte(max(1, min(tenths, 0xff))) // 0 would make it a query of IGMPv1
	}
	group := q.Group.As4()
	b = append(b, igmpQuery, code, 0, 0)
	b = append(b, group[:]...)
	if version > 2 {
		b = appendQueryTail(b, q)
	}
	finishIPv4(b[start:])
	return b
}

func appendQueryTail(b []byte, q *Query) []byte {
	flags := q.Robustness
	if flags > 7 {
		flags = 0 // RFC 3376 section 4.1.6
	}
	if q.Suppress {
		flags |= 8
	}
	b = append(b, flags, encode8(int(q.Interval/time.Second)))
	b = binary.BigEndian.AppendUint16(b, uint16(q.Sources.Len()))
	return append(b, q.Sources.b...)
}

// AppendReport appends the IP packet of a report of IGMPv3 or MLDv2 with these
// records to b. v6 chooses the protocol; an invalid source means the unspecified
// address. Groups and sources must be of that family, and the caller sees to the
// MTU.
func AppendReport(b []byte, source netip.Addr, v6 bool, records ...Record) []byte {
	start := len(b)
	if v6 {
		b = appendIPv6(b, orUnspecified(source, v6), mldRouters)
		b = append(b, mldReport, 0, 0, 0, 0, 0)
	} else {
		b = appendIPv4(b, orUnspecified(source, v6), igmpRouters)
		b = append(b, igmpReport, 0, 0, 0, 0, 0)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(records)))
	for i := range records {
		b = appendRecord(b, &records[i])
	}
	if v6 {
		finishIPv6(b[start:])
	} else {
		finishIPv4(b[start:])
	}
	return b
}

func appendRecord(b []byte, r *Record) []byte {
	b = append(b, byte(r.Type), 0)
	b = binary.BigEndian.AppendUint16(b, uint16(r.Sources.Len()))
	if r.Group.Is4() {
		a := r.Group.As4()
		b = append(b, a[:]...)
	} else {
		a := r.Group.As16()
		b = append(b, a[:]...)
	}
	return append(b, r.Sources.b...)
}

// recordLen is the length of a record with n sources.
func recordLen(v6 bool, n int) int {
	if v6 {
		return 4 + 16 + 16*n
	}
	return 4 + 4 + 4*n
}

// AppendOlder appends the IP packet of a report or leave of the older versions:
// IGMPv1 (reports only), IGMPv2 or MLDv1. The family is that of group.
func AppendOlder(b []byte, source netip.Addr, version int, t Type, group netip.Addr) []byte {
	start := len(b)
	v6 := group.Is6()
	to := destination(t, version, v6, group)
	if v6 {
		b = appendIPv6(b, orUnspecified(source, v6), to)
		code := byte(mldReportV1)
		if t == TypeLeave {
			code = mldDone
		}
		g := group.As16()
		b = append(b, code, 0, 0, 0, 0, 0, 0, 0)
		b = append(b, g[:]...)
		finishIPv6(b[start:])
		return b
	}
	b = appendIPv4(b, orUnspecified(source, v6), to)
	code := byte(igmpReportV2)
	switch {
	case t == TypeLeave:
		code = igmpLeave
	case version == 1:
		code = igmpReportV1
	}
	g := group.As4()
	b = append(b, code, 0, 0, 0)
	b = append(b, g[:]...)
	finishIPv4(b[start:])
	return b
}

func orUnspecified(a netip.Addr, v6 bool) netip.Addr {
	switch {
	case a.IsValid():
		return a
	case v6:
		return unspecified6
	}
	return unspecified4
}
