package sls

// TOI is the Transport Object Identifier of a service signalling package: it
// tells what the package holds (A/331, Annex C). The bits are hints. Senders in
// the field leave out some, so only the parts found decide.
type TOI uint32

// The bits of a TOI. All others but those of the version are reserved.
const (
	TOIGzip  TOI = 1 << 31 // the package is compressed as a whole
	TOIRSAT  TOI = 1 << 24
	TOIDWD   TOI = 1 << 23
	TOIHELD  TOI = 1 << 22
	TOIAPD   TOI = 1 << 19
	TOIMPD   TOI = 1 << 18
	TOISTSID TOI = 1 << 17
	TOIUSBD  TOI = 1 << 16
)

// Version returns the version of the package, which a sender raises by one at
// every change, modulo 256.
func (t TOI) Version() uint8 { return uint8(t) }

// Has tells whether all these bits are set.
func (t TOI) Has(bits TOI) bool { return t&bits == bits }

// TOI returns the identifier under which to send the package.
func (p *Package) TOI(gzip bool) TOI {
	t := TOI(p.Version)
	if gzip {
		t |= TOIGzip
	}
	for i := range p.Parts {
		t |= kindBits[p.Parts[i].Kind()]
	}
	return t
}

var kindBits = [...]TOI{
	KindSTSID:    TOISTSID,
	KindManifest: TOIMPD,
	KindUSBD:     TOIUSBD,
	KindAPD:      TOIAPD,
	KindHELD:     TOIHELD,
	KindDWD:      TOIDWD,
	KindRSAT:     TOIRSAT,
}
