package inspect

import (
	"net/netip"
	"time"

	"github.com/treedn/treedn/route/diagnose"
	"github.com/treedn/treedn/route/sls"
)

// An Event is one of the types below. It marshals to JSON with the name of its type in the field event.
type Event interface{ event() }

// Head is what all events have.
type Head struct {
	Event string `json:"event"`
	// Time is that of the packet; zero if there was none.
	Time time.Time `json:"time,omitzero"`
}

func (Head) event() {}

// SessionEvent is a session that was found: what one source sends to one group and port.
type SessionEvent struct {
	Head
	Source netip.Addr `json:"source"`
	Dst    netip.Addr `json:"dst"`
	Port   uint16     `json:"port"`
	// Protocol is flute or route.
	Protocol string `json:"protocol"`
	// System is atsc3 or dvb-mabr if signalling has named the session, else empty.
	System string `json:"system,omitempty"`
}

// ServiceEvent is a service that signalling announces.
type ServiceEvent struct {
	Head
	// System is atsc3, dvb-mabr or mbms.
	System string `json:"system"`
	ID     string `json:"id"`
	Name   string `json:"name,omitempty"`
	// Channel is the number that viewers know, such as 10.1.
	Channel string `json:"channel,omitempty"`
	// Protocol is route, mmtp or flute.
	Protocol string     `json:"protocol,omitempty"`
	Dst      netip.Addr `json:"dst,omitzero"`
	Port     uint16     `json:"port,omitempty"`
	Source   netip.Addr `json:"source,omitzero"`
}

// SignallingEvent is a piece of signalling that is new or has changed.
type SignallingEvent struct {
	Head
	Source netip.Addr `json:"source"`
	Dst    netip.Addr `json:"dst"`
	Port   uint16     `json:"port"`
	TSI    *uint64    `json:"tsi,omitempty"`
	TOI    *uint64    `json:"toi,omitempty"`
	// Kind is that of the piece, such as SLT, S-TSID, MPD, FDT.
	Kind string `json:"kind"`
	Name string `json:"name,omitempty"`
	// Version is that of the piece, if it has one.
	Version *uint32 `json:"version,omitempty"`
	// Error says why it cannot be read.
	Error string `json:"error,omitempty"`
}

// ObjectEvent is a transport object: one that is complete, or one that stayed incomplete.
type ObjectEvent struct {
	Head
	Source netip.Addr `json:"source"`
	Dst    netip.Addr `json:"dst"`
	Port   uint16     `json:"port"`
	TSI    uint64     `json:"tsi"`
	TOI    uint64     `json:"toi"`
	// FDT is the FDT Instance ID, if the object is an FDT Instance of FLUTE.
	FDT *uint32 `json:"fdt"`
	// Protocol is flute or route, Codepoint the last one seen.
	Protocol  string `json:"protocol"`
	Codepoint uint8  `json:"codepoint"`
	// Packets are those that came, with repetitions.
	Packets uint64 `json:"packets"`
	// Length is in octets, nil if nothing told it.
	Length   *int64 `json:"length"`
	Complete bool   `json:"complete"`
	// Missing are the octets that did not come, first and last of each range. An object of unknown length lacks those
	// behind the last one that came, too.
	Missing []Missing `json:"missing"`
	// SHA256 is the digest in hexadecimal of the object as transferred, nil if it is incomplete.
	SHA256 *string `json:"sha256"`
	// Location is the name that the signalling gives to the object, if any.
	Location    *string `json:"location"`
	ContentType string  `json:"contentType,omitempty"`
	Encoding    string  `json:"encoding,omitempty"`
	// Recovered are the octets that came by FEC.
	Recovered int64 `json:"recovered,omitempty"`
	// Cut says that an object that is incomplete began before the reception, or went on behind it.
	Cut Cut `json:"cut,omitempty"`

	// Body is the object, if it is complete. Content is the file in it, if that is something else: without the header
	// of ROUTE's Entity Mode. Parts are those of a package. They are valid during the call.
	Body    []byte     `json:"-"`
	Content []byte     `json:"-"`
	Parts   []sls.Part `json:"-"`
}

// Cut tells what of an object lies outside of the time of the reception.
type Cut string

// The values of Cut; empty is nothing.
const (
	CutBegin Cut = "begin"
	CutEnd   Cut = "end"
	CutBoth  Cut = "both"
)

// Missing is a range of octets, the last one included. It marshals to a pair.
type Missing [2]int64

// FindingEvent is one finding of package diagnose.
type FindingEvent struct {
	Head
	Source   netip.Addr `json:"source,omitzero"`
	Dst      netip.Addr `json:"dst,omitzero"`
	Port     uint16     `json:"port,omitempty"`
	Severity string     `json:"severity"`
	Rule     string     `json:"rule"`
	Where    string     `json:"where"`
	Text     string     `json:"text"`
	Section  string     `json:"section,omitempty"`

	Finding diagnose.Finding `json:"-"`
}

// SummaryEvent is the sum of a session at the end; or that of all, with neither source nor destination.
type SummaryEvent struct {
	Head
	Source   netip.Addr `json:"source,omitzero"`
	Dst      netip.Addr `json:"dst,omitzero"`
	Port     uint16     `json:"port,omitempty"`
	Protocol string     `json:"protocol,omitempty"`
	System   string     `json:"system,omitempty"`
	Channels int        `json:"channels,omitempty"`
	// FEC are the codes that protect the session, such as RaptorQ.
	FEC []string `json:"fec,omitempty"`
	Counts
}

// Counts counts what came.
type Counts struct {
	Packets uint64 `json:"packets"`
	// Octets are those of UDP payloads.
	Octets uint64 `json:"octets"`
	// Objects are complete, Incomplete are not; Missing is what they lack, in octets.
	Objects    int   `json:"objects"`
	Incomplete int   `json:"incomplete"`
	Missing    int64 `json:"missingOctets"`
	// Repair are packets of repair symbols, Recovered the octets that came by them.
	Repair    uint64 `json:"repairPackets"`
	Recovered int64  `json:"recoveredOctets"`
	// Foreign are datagrams that are neither FLUTE nor ROUTE nor LLS.
	Foreign uint64 `json:"foreignPackets"`
}
