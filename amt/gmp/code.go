package gmp

import (
	"math/bits"
	"time"
)

// decode8 decodes the floating-point codes of RFC 3376 section 4.1.1:
// 1 bit 1, 3 bits exponent, 4 bits mantissa.
func decode8(c byte) int {
	if c < 0x80 {
		return int(c)
	}
	return int(c&0xf|0x10) << (c>>4&7 + 3)
}

// encode8 encodes the largest value that is no larger than v.
func encode8(v int) byte {
	switch {
	case v < 0:
		return 0
	case v < 0x80:
		return byte(v)
	case v >= 0x1f<<10:
		return 0xff
	}
	exponent := bits.Len(uint(v)) - 5 - 3
	return 0x80 | byte(exponent)<<4 | byte(v>>(exponent+3))&0xf
}

// decode16 decodes the floating-point codes of RFC 3810 section 5.1.3:
// 1 bit 1, 3 bits exponent, 12 bits mantissa.
func decode16(c uint16) int {
	if c < 0x8000 {
		return int(c)
	}
	return int(c&0xfff|0x1000) << (c>>12&7 + 3)
}

// encode16 encodes the largest value that is no larger than v.
func encode16(v int) uint16 {
	switch {
	case v < 0:
		return 0
	case v < 0x8000:
		return uint16(v)
	case v >= 0x1fff<<10:
		return 0xffff
	}
	exponent := bits.Len(uint(v)) - 13 - 3
	return 0x8000 | uint16(exponent)<<12 | uint16(v>>(exponent+3))&0xfff
}

const (
	igmpUnit  = 100 * time.Millisecond // of Max Resp Code, RFC 3376 section 4.1.1
	mldUnit   = time.Millisecond       // of Maximum Response Code, RFC 3810 section 5.1.3
	queryUnit = time.Second            // of QQIC, RFC 3376 section 4.1.7
)
