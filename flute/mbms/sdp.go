package mbms

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"
)

// MediaTypeSDP is that of a session description.
const MediaTypeSDP = "application/sdp"

var (
	// ErrSDP matches the errors of ParseSDP, all of type *SDPError.
	ErrSDP = errors.New("mbms: SDP")
	// ErrIncomplete matches the errors of Append about a value that lacks what
	// the standards require, or contradicts itself.
	ErrIncomplete = errors.New("mbms: incomplete")
)

// An SDPError says which line of a session description cannot be what it has to
// be.
type SDPError struct {
	// Line counts from 1; 0 is the description as a whole.
	Line int
	// Text is the line, cut off after 64 octets.
	Text string
	// Reason says what is wrong.
	Reason string
}

func (e *SDPError) Error() string {
	if e.Line == 0 {
		return "mbms: SDP: " + e.Reason
	}
	return fmt.Sprintf("mbms: SDP: line %d: %s: %q", e.Line, e.Reason, e.Text)
}

// Is makes the error match ErrSDP.
func (e *SDPError) Is(target error) bool { return target == ErrSDP }

// An SDP is the session description of a FLUTE session (RFC 8866; TS 26.346,
// 7.3). Where zero has no meaning of its own it stands for what is absent.
type SDP struct {
	// Username, SessionID, Version and Origin are of the line o=.
	Username           string
	SessionID, Version uint64
	Origin             netip.Addr
	Name, Info         string
	// Start and Stop are zero where they are open.
	Start, Stop time.Time
	// Mode is that of the attribute mbms-mode, such as broadcast-mbsfn, and TMGI
	// the number after it.
	Mode    string
	TMGI    uint64
	HasTMGI bool
	// Source is that of source-specific multicast.
	Source netip.Addr
	// TSI is that of the session, and MaxChannels the number of its channels, 1
	// if absent.
	TSI         uint64
	HasTSI      bool
	MaxChannels uint16
	// Bandwidth is in kbit/s (b=AS).
	Bandwidth uint32
	FEC       []FECDeclaration
	Media     []Media
	// Attributes are the others of the session, such as QoE metrics.
	Attributes []Attribute
}

// Media is one m= section of FLUTE: one channel, or several at consecutive
// addresses or ports.
type Media struct {
	Group netip.Addr
	// Groups and Ports are how many consecutive ones there are, 1 if absent.
	Groups uint16
	Port   uint16
	Ports  uint16
	// TTL is that of IPv4.
	TTL uint8
	// Protocol is FLUTE/UDP, or FLUTE/UDP/ESP.
	Protocol  string
	Bandwidth uint32
	// FEC are the references to a FECDeclaration.
	FEC        []uint32
	Lang       string
	Attributes []Attribute
}

// A FECDeclaration says which FEC scheme may be in use.
type FECDeclaration struct {
	Ref        uint32
	EncodingID uint8
	InstanceID uint16
	// HasInstanceID: the scheme is one of those that have one.
	HasInstanceID bool
}

// An Attribute is one a= line, of which Value may be empty.
type Attribute struct{ Name, Value string }

// A Channel is where the packets of a session are sent to.
type Channel struct {
	Source      netip.Addr
	Destination netip.AddrPort
}

// maxChannels bounds those of one session.
const maxChannels = 64

// Channels lists the channels of the session, at most 64.
func (s *SDP) Channels() (list []Channel) {
	for _, m := range s.Media {
		group := m.Group
		for range max(m.Groups, 1) {
			port := m.Port
			for range max(m.Ports, 1) {
				if len(list) >= maxChannels || !group.IsValid() || port == 0 {
					return list
				}
				list = append(list, Channel{Source: s.Source, Destination: netip.AddrPortFrom(group, port)})
				port++
			}
			group = group.Next()
		}
	}
	return list
}

// ntpEpoch is 1970 in seconds since 1900. SDP has no eras: seconds are as many
// digits as it takes.
const ntpEpoch = 2208988800

func fromNTP(seconds uint64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(int64(min(seconds, 1<<40))-ntpEpoch, 0).UTC()
}

func toNTP(t time.Time) string {
	if t.IsZero() {
		return "0"
	}
	return strconv.FormatInt(t.Unix()+ntpEpoch, 10)
}
