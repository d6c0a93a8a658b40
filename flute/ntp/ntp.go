// Package ntp converts the NTP timestamps of FLUTE and ROUTE.
//
// NTP seconds count from 1900 and wrap every 2^32 seconds, next on
// 2036-02-07T06:28:16Z. The protocols send no era, so a receiver takes the one
// that brings the timestamp nearest to its own clock (RFC 6726, section 3.3).
package ntp

import "time"

// unixEpoch is 1970-01-01 in NTP seconds.
const unixEpoch = 2208988800

// Time returns the moment nearest to near that has these NTP seconds.
func Time(seconds uint32, near time.Time) time.Time {
	// The signed difference modulo 2^32 is the way to the nearest era.
	diff := int32(seconds - Seconds(near))
	return time.Unix(near.Unix()+int64(diff), 0).UTC()
}

// Time64 is Time for a 64-bit timestamp: 32 bits of seconds, 32 of fraction.
func Time64(timestamp uint64, near time.Time) time.Time {
	fraction := timestamp & 0xffffffff * 1e9 >> 32
	return Time(uint32(timestamp>>32), near).Add(time.Duration(fraction))
}

// Seconds returns t in NTP seconds, without the era and the fraction.
func Seconds(t time.Time) uint32 {
	return uint32(t.Unix() + unixEpoch)
}

// Timestamp returns t as a 64-bit timestamp, without the era.
func Timestamp(t time.Time) uint64 {
	// Rounded up, so that Time64 brings the nanosecond back.
	fraction := (uint64(t.Nanosecond())<<32 + 1e9 - 1) / 1e9
	return uint64(Seconds(t))<<32 | fraction
}
