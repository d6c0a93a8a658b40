package fec

// scheme is what the registry knows of one FEC Encoding ID.
type scheme struct {
	// The FEC Payload ID: source block number, then encoding symbol ID, then
	// for lengthInID a source block length of 16 bits between them.
	sbnBits, esiBits uint
	lengthInID       bool

	fields    field  // parameters that the scheme has
	maxLength uint64 // of the object, in octets

	// minK and maxK bound a block where Z says how many blocks there are.
	minK, maxK uint64

	// ftiLen is the content of the EXT_FTI in octets, at least.
	ftiLen int

	// validate checks what is particular to the scheme. Its argument is a copy, so
	// that checking an OTI on each packet allocates nothing.
	validate func(ObjectInfo) error

	// appendFTI appends what follows the transfer length in an EXT_FTI, and
	// parseFTI takes it; it has ftiLen-6 octets at least.
	appendFTI func([]byte, *ObjectInfo) []byte
	parseFTI  func(*ObjectInfo, []byte) error

	// appendSpecific appends the Scheme-Specific-Info of an FDT, and
	// parseSpecific takes it.
	appendSpecific func([]byte, *ObjectInfo) []byte
	parseSpecific  func(*ObjectInfo, []byte) error
}

// schemeOf returns the registry's entry, or nil.
func schemeOf(id EncodingID) *scheme {
	switch id {
	case CompactNoCode:
		return &compactNoCode
	case Raptor:
		return &raptor
	case ReedSolomonGF2M:
		return &reedSolomonGF2M
	case LDPCStaircase:
		return &ldpcStaircase
	case ReedSolomonGF256:
		return &reedSolomonGF256
	case RaptorQ:
		return &raptorQ
	case SmallBlockSystematic:
		return &smallBlockSystematic
	}
	return nil
}

// Supported reports whether the registry has formats for the scheme.
func (id EncodingID) Supported() bool { return schemeOf(id) != nil }

const max48 = 1<<48 - 1

func noneToValidate(ObjectInfo) error { return nil }

// nothingSpecific is for schemes without Scheme-Specific-Info.
func nothingSpecific(b []byte, _ *ObjectInfo) []byte { return b }

func refuseSpecific(o *ObjectInfo, b []byte) error {
	if len(b) > 0 {
		return o.invalid("%d octets of scheme-specific information", len(b))
	}
	return nil
}
