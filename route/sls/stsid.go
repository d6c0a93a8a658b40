package sls

import (
	"net/netip"
	"time"

	"github.com/treedn/treedn/flute/fdt"
)

// NamespaceSTSID is the namespace of the S-TSID.
const NamespaceSTSID = "tag:atsc.org,2016:XMLSchemas/ATSC3/Delivery/S-TSID/1.0/"

// An STSID describes the ROUTE sessions of a service (A/331, 7.1.4). Where zero
// has no meaning of its own it stands for an absent attribute.
type STSID struct {
	RS []RS
}

// RS is one ROUTE session. An address or port that is absent is that of the
// session in which the S-TSID came. The source can differ from the address that
// the packets really come from, after address translation or in AMT.
type RS struct {
	Source      netip.Addr
	Destination netip.Addr
	Port        uint16
	LS          []LS
}

// LS is one LCT session (channel) of a ROUTE session.
type LS struct {
	TSI uint32
	// Bandwidth is the highest rate in kbit/s in a window of one second, with
	// the headers of IP and UDP.
	Bandwidth  uint32
	Start, End time.Time
	SrcFlow    *SrcFlow
	RepairFlow *RepairFlow
}

// SrcFlow is a flow of source packets.
type SrcFlow struct {
	// RealTime: the flow carries the media of a live service.
	RealTime bool
	// MinBufferSize is in kilobytes.
	MinBufferSize uint32
	// EFDT describes the objects of the flow. Nil: a description comes in the
	// flow itself, as TOI 0.
	EFDT *fdt.Instance
	// Media says which media component the flow carries, if any.
	Media *MediaInfo
	// AEAs are the emergency messages that the files of the flow belong to.
	AEAs     []string
	Payloads []Payload
}

// MediaInfo names the media component that a flow carries.
type MediaInfo struct {
	// Startup: the receiver may start without a manifest.
	Startup bool
	Lang    string
	// ContentType is audio, video or subtitles.
	ContentType string
	// RepID is that of the Representation in the manifest.
	RepID   string
	Ratings []ContentRating
}

// ContentRating is one rating of the content.
type ContentRating struct {
	Scheme, Value string
}

// Payload says what a Codepoint means in a source flow.
type Payload struct {
	Codepoint uint8
	// FormatID is one of FormatFile to FormatSignedPackage.
	FormatID uint8
	// Frag is 0 for arbitrary cuts, 1 for whole samples, 2 for whole boxes that
	// begin with a random access point.
	Frag uint8
	// Order: objects are sent in the order of their generation. Parsing takes
	// true if it is absent, as the text of the standard does.
	Order bool
	// SrcFECPayloadID is 0 for a start_offset. All else is reserved.
	SrcFECPayloadID uint8
	// FECParams is opaque.
	FECParams []byte
}

// RepairFlow is a flow of repair packets.
type RepairFlow struct {
	// MaximumDelay is the longest time between source and repair packets of
	// an object, in milliseconds.
	MaximumDelay uint32
	// Overhead is the share of repair packets in percent, up to 1000.
	Overhead uint16
	// MinBufferSize is in kilobytes.
	MinBufferSize uint32
	// OTI is the FEC Object Transmission Information of RaptorQ, if HasOTI.
	// Its transfer length may be 0, for lengths that vary.
	OTI       [12]byte
	HasOTI    bool
	Protected []ProtectedObject
	// GrowingTSI is the TSI of a flow of ours beside this one, which repairs
	// the same objects while they grow; 0 if there is none. Its repair packets
	// follow the source packets within GrowingDelay, in milliseconds.
	GrowingTSI   uint32
	GrowingDelay uint32
}

// ProtectedObject says which objects of a source flow a repair flow protects.
// Several make super-objects, in this order.
type ProtectedObject struct {
	// Session names the ROUTE session by pairs such as
	// "sIpAddr=192.0.2.1,dPort=6000", empty for that of the repair flow.
	Session string
	// TSI is that of the source flow.
	TSI uint32
	// SourceTOIs maps the TOI of a repair packet to that of a source object.
	// None: they are equal.
	SourceTOIs []SourceTOI
	// ObjectSize is the size of the FEC transport object in octets.
	ObjectSize uint64
	// PercentRepair and Checksums are of the edition of 2025, the latter as it
	// stands there.
	PercentRepair uint32
	Checksums     []string
}

// SourceTOI is the linear map X*TOI+Y from a repair TOI to a source TOI.
type SourceTOI struct{ X, Y uint64 }

// Of returns the TOI of the source object, modulo 2^64.
func (s SourceTOI) Of(repair uint64) uint64 { return s.X*repair + s.Y }
