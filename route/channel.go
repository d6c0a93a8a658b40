package route

import (
	"time"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/route/sls"
)

// channel is one LCT channel, a TSI, as the signalling describes it.
type channel struct {
	tsi       uint32
	described bool

	hasTemplate bool
	template    fdt.Template
	stem        string // the template as it was announced
	run         uint64 // generation of the template's objects
	announced   bool   // the sender told it
	track       Track  // Kind and Representation
	files       map[uint32]fdt.File
	payloads    map[uint8]payload
	maxDelta    time.Duration // lifetime of an object after its first packet
	until       time.Time     // end of the EFDT

	protected   bool          // a repair flow protects its objects
	pooled      bool          // together with others
	repairDelay time.Duration // of the repair flow of this TSI, as announced
	maxDelay    time.Duration // between source and repair packets, 0 if it is not announced
	repairOTI   fec.OTI
	// growingDelay is how far repair packets for growing objects lag, zero if
	// there are none.
	growingDelay time.Duration
	// sources maps repair TOIs of this TSI to objects.
	sources []mapping

	embedded bool          // the S-TSID has the EFDT
	inband   *fdt.Instance // TOI 0, which counts otherwise

	faults  uint32 // reported
	sizes   packetSizes
	objects []*Object
	seen    bool   // a packet of any object
	began   uint64 // objects with a source packet
	highest uint32 // TOI of the template
}

// payload is what SrcFlow/Payload declares for a codepoint.
type payload struct {
	format uint8
	id     uint8 // srcFecPayloadId
}

// mapping is sourceTOI = x*rTOI + y (RFC 9223, section 7.2).
type mapping struct {
	tsi  uint32
	x, y uint64
	size int64 // of the FEC transport object in octets, 0 if it is not announced
}

// of returns the source object of a repair TOI.
func (m mapping) of(toi uint32) (objectKey, bool) {
	n := m.x*uint64(toi) + m.y
	if n == 0 || n > 0xffffffff || m.x > 0xffffffff || m.y > 0xffffffff {
		return objectKey{}, false
	}
	return objectKey{m.tsi, uint32(n)}, true
}

func newChannel(tsi uint32) *channel {
	// TSI 0 carries signalling by definition.
	return &channel{tsi: tsi, described: tsi == 0}
}

// format returns the delivery object format that a codepoint stands for: the
// channel's own declaration first, since real senders declare and use even the
// reserved codepoint 0, then RFC 9223, table 2. Undeclared codepoints count as
// File Mode. It is false if the packets carry no start_offset.
func (ch *channel) format(cp uint8) (uint8, bool) {
	if p, ok := ch.payloads[cp]; ok {
		return p.format, p.id == 0
	}
	if p, ok := sls.BuiltinPayload(cp); ok {
		return p.FormatID, true
	}
	return sls.FormatFile, true
}

// description is what the signalling says about an object.
type description struct {
	kind                               kind
	name, contentType, contentEncoding string
	generation                         uint64 // 0 if there is none yet
	announced                          bool
	length                             int64
}

func (ch *channel) describe(key objectKey) description {
	switch {
	case !ch.described:
		return description{}
	case key.toi == 0 && !(ch.embedded && ch.hasTemplate):
		// What a template names is none: GPAC takes $Time$ for the TOI, and that of the first segment may be 0.
		return description{kind: kindEFDT, length: -1}
	case key.tsi == 0:
		return description{kind: kindPackage, length: -1}
	}
	// A TOI that a File entry lists is not the template's (A/331, A.3.3.2.8).
	if f, ok := ch.files[key.toi]; ok {
		d := description{
			kind: kindFile, name: f.ContentLocation, contentType: f.ContentType,
			contentEncoding: f.ContentEncoding, generation: f.Generation, announced: f.Generation != 0, length: -1,
		}
		if n, ok := f.Length(); ok && n <= maxObject {
			d.length = int64(n)
		}
		return d
	}
	if ch.hasTemplate {
		return description{
			kind: kindMedia, name: ch.template.Expand(uint64(key.toi)),
			generation: ch.run, announced: ch.announced, length: -1,
		}
	}
	return description{}
}

// expiry is when an object whose first packet came at a time is given up, zero
// for never: after maxExpiresDelta, else with the EFDT (RFC 9223, section
// 6.3.3).
func (ch *channel) expiry(first time.Time) time.Time {
	if ch.maxDelta > 0 {
		return first.Add(ch.maxDelta)
	}
	if !ch.until.IsZero() && ch.until.After(first) {
		return ch.until
	}
	return time.Time{}
}

// sourceOf returns the object that a repair TOI of this channel protects.
func (ch *channel) sourceOf(toi uint32) (objectKey, bool) {
	if len(ch.sources) != 1 {
		return objectKey{}, false // none, or a super-object of several objects
	}
	return ch.sources[0].of(toi)
}

// unused tells that nothing would be lost with the channel.
func (ch *channel) unused() bool {
	return !ch.described && len(ch.objects) == 0
}

func (ch *channel) incomplete() (n int) {
	for _, o := range ch.objects {
		if !o.complete {
			n++
		}
	}
	return n
}
