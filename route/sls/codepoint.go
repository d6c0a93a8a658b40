package sls

// The Codepoints that RFC 9223 (table 2) and A/331 (table A.3.6) define: the
// kind of the delivery object in a source packet.
const (
	CPFile              = 1 // a file, described by the FDT
	CPEntity            = 2 // a file with its HTTP header fields before it
	CPPackage           = 3 // an unsigned package, such as service signalling
	CPSignedPackage     = 4
	CPInitNew           = 5 // an initialization segment that begins a new timeline
	CPInitContinued     = 6 // a new one that continues the timeline
	CPInitRedundant     = 7 // the same one again
	CPMedia             = 8 // a media segment as a file
	CPMediaEntity       = 9
	CPMediaRandomAccess = 10 // as 8, at a CMAF random access chunk; RFC 9223 only
)

// The formats of delivery objects.
const (
	FormatFile          = 1
	FormatEntity        = 2
	FormatPackage       = 3
	FormatSignedPackage = 4
)

// BuiltinPayload returns what a Codepoint means that the S-TSID does not
// declare. There is none for 0 and from 11 on.
func BuiltinPayload(cp uint8) (Payload, bool) {
	p := Payload{Codepoint: cp, FormatID: FormatFile, Order: true}
	switch cp {
	case CPFile, CPInitNew, CPInitContinued, CPInitRedundant:
	case CPEntity:
		p.FormatID = FormatEntity
	case CPPackage:
		p.FormatID = FormatPackage
	case CPSignedPackage:
		p.FormatID = FormatSignedPackage
	case CPMedia, CPMediaRandomAccess:
		p.Frag = 1
	case CPMediaEntity:
		p.FormatID, p.Frag = FormatEntity, 1
	default:
		return Payload{}, false
	}
	return p, true
}

// Payload returns what a Codepoint means in this source flow: as the flow
// declares it, else as the standard does. Senders declare the reserved 0, and
// send undeclared values below 128 while declaring 128.
func (s *SrcFlow) Payload(cp uint8) (Payload, bool) {
	for _, p := range s.Payloads {
		if p.Codepoint == cp {
			return p, true
		}
	}
	return BuiltinPayload(cp)
}
