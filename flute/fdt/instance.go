package fdt

import (
	"time"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute/ntp"
)

// The namespaces that Append writes.
const (
	NamespaceV1     = "urn:IETF:metadata:2005:FLUTE:FDT" // 3GPP's name for FLUTE version 1
	NamespaceV2     = "urn:ietf:params:xml:ns:fdt"       // RFC 6726
	NamespaceATSC   = "tag:atsc.org,2016:XMLSchemas/ATSC3/Delivery/ATSC-FDT/1.0/"
	NamespaceTreeDN = "urn:treedn:route:1"

	namespaceSchema   = "urn:3gpp:metadata:2009:MBMS:schemaVersion"
	namespaceRFC3926  = "http://www.example.com/flute" // the schema of RFC 3926 itself
	namespaceMBMS2007 = "urn:3GPP:metadata:2007:MBMS:FLUTE:FDT"
	namespaceMBMS2008 = "urn:3GPP:metadata:2008:MBMS:FLUTE:FDT_ext"
	namespaceMBMS2009 = "urn:3GPP:metadata:2009:MBMS:FLUTE:FDT_ext"
	namespaceMBMS2012 = "urn:3GPP:metadata:2012:MBMS:FLUTE:FDT"
	namespaceMBMS2015 = "urn:3GPP:metadata:2015:MBMS:FLUTE:FDT"
	namespaceDVB      = "urn:dvb:metadata:ExtendedFileDeliveryTable:2022"
)

// MediaType is that of a stand-alone FDT Instance.
const MediaType = "application/fdt+xml"

// An Instance is one FDT Instance. Where zero has no meaning of its own it
// stands for an absent attribute.
type Instance struct {
	// Version is that of FLUTE, 1 or 2, which decides the namespace. 0 is
	// taken for 2, which ROUTE has, too.
	Version uint8

	// Expires ends the validity of the instance, in NTP seconds. See ExpiresAt.
	Expires uint32
	// Complete: no other instance will list files that this one does not.
	Complete bool
	// FullFDT: files that this instance does not list are gone (3GPP).
	FullFDT bool

	// SchemaVersion is that of the schema of 3GPP, currently 3. If it is not 0, the elements schemaVersion and delimiter
	// are written, which that schema demands and most senders leave out.
	SchemaVersion uint32

	// ContentType, ContentEncoding and FEC hold for the files that have none
	// of their own. Resolve applies them.
	ContentType     string
	ContentEncoding string
	FEC             FEC

	// BaseURL1 and BaseURL2 are what the alternate locations of set 1 and 2
	// are relative to (3GPP).
	BaseURL1, BaseURL2 string
	// Groups are the groups of which this instance has files: who wants one file of
	// a group wants all (3GPP).
	Groups                  []string
	SessionIdentityExpiries []SessionIdentityExpiry

	// EFDTVersion counts the changes of an Extended FDT, modulo 256.
	EFDTVersion    uint8
	HasEFDTVersion bool
	// MaxExpiresDelta is how long an object lives after its first packet, in
	// seconds.
	MaxExpiresDelta uint32
	// MaxTransportSize bounds the transfer length of every object, in octets.
	MaxTransportSize uint32
	// FileTemplate is the Content-Location of the objects that no File lists.
	// See ParseTemplate.
	FileTemplate  string
	AppContextIDs []string
	FilterCodes   []uint32

	// Generation orders the versions of what is delivered here: the run of
	// the track that FileTemplate names. 0 if the sender is not TreeDN.
	Generation uint64

	Files []File
}

// A File describes one object.
type File struct {
	// TOI is that of the object, never 0.
	TOI uint64
	// ContentLocation is the name of the file, an opaque string.
	ContentLocation string

	// ContentLength is the length of the file, TransferLength that of the
	// object, which differ by the content encoding. See Length.
	ContentLength     uint64
	HasContentLength  bool
	TransferLength    uint64
	HasTransferLength bool

	ContentType     string
	ContentEncoding string
	// ContentMD5 has 16 octets. Senders compute it over the decoded or over
	// the encoded file; it is no protection against forgery.
	ContentMD5 []byte
	FEC        FEC

	// ETag is the entity tag of the file, as 3GPP's File-ETag has it: without
	// quotation marks in the field.
	ETag         string
	CacheControl CacheControl
	// AlternateLocations are where to fetch missing octets by HTTP.
	AlternateLocations []AlternateLocation
	// Groups are the groups that the file belongs to, SessionIdentities the MBMS
	// sessions that it is sent in (3GPP).
	Groups            []string
	SessionIdentities []uint8
	// DecryptionKeyURI is where the key to the file is (3GPP).
	DecryptionKeyURI string
	// FECRedundancyLevel is how much repair is sent, in percent of the source
	// symbols; 0 if it is not stated (3GPP).
	FECRedundancyLevel uint32
	// IndependentUnitPositions are the offsets in octets of random access points,
	// from which the file is of use without what comes before (3GPP).
	IndependentUnitPositions []uint64

	// ContentDigest is over the file as it is transferred, ReprDigest over the
	// whole representation, of which the file may be a chunk (DVB).
	ContentDigest, ReprDigest Digests
	Signatures                []Signature

	AppContextIDs []string
	FilterCodes   []uint32

	// Generation orders the versions of the file: the newer has the higher
	// one. 0 if the sender is not TreeDN.
	Generation uint64
}

// FEC is the FEC Object Transmission Information as attributes.
type FEC struct {
	EncodingID    uint8
	HasEncodingID bool
	InstanceID    uint16
	// MaxSourceBlockLength is in symbols, EncodingSymbolLength in octets.
	MaxSourceBlockLength uint32
	EncodingSymbolLength uint32
	MaxEncodingSymbols   uint32
	// SchemeSpecific is the scheme-specific OTI, decoded from base64.
	SchemeSpecific []byte
}

// Info returns the FEC Object Transmission Information of an object of length
// octets. Resolve the File first: its attributes may be those of the instance.
// Without FEC-OTI-FEC-Encoding-ID the scheme is Compact No-Code, FLUTE's default.
// The error is that of package fec.
func (f *FEC) Info(length uint64) (fec.ObjectInfo, error) {
	a := fec.Attributes{
		EncodingID: f.EncodingID, InstanceID: f.InstanceID, TransferLength: length,
		MaxSourceBlockLength: f.MaxSourceBlockLength, EncodingSymbolLength: f.EncodingSymbolLength,
		MaxEncodingSymbols: f.MaxEncodingSymbols, SchemeSpecific: f.SchemeSpecific,
	}
	return a.Info()
}

// FECOf returns the attributes that describe an object. Its length, which they do
// not hold, is that of the File.
func FECOf(info fec.ObjectInfo) (FEC, error) {
	a, err := info.Attributes()
	if err != nil {
		return FEC{}, err
	}
	f := FEC{
		EncodingID: a.EncodingID, HasEncodingID: true, InstanceID: a.InstanceID,
		MaxSourceBlockLength: a.MaxSourceBlockLength, EncodingSymbolLength: a.EncodingSymbolLength,
		MaxEncodingSymbols: a.MaxEncodingSymbols,
	}
	if len(a.SchemeSpecific) > 0 {
		f.SchemeSpecific = a.SchemeSpecific
	}
	return f, nil
}

// CacheControl is the caching directive of 3GPP: one of its values, or none.
type CacheControl struct {
	NoCache  bool
	MaxStale bool
	// Expires is in NTP seconds.
	Expires uint32
}

// AlternateLocation is one Alternate-Content-Location-1 or -2 of 3GPP.
type AlternateLocation struct {
	// Set is 1 or 2. Those of set 1 come first.
	Set uint8
	// Until is the end of the availability, zero if not stated.
	Until time.Time
	URLs  []string
}

// Resolve returns f with the attributes of the instance filled in where f has
// none of its own.
func (in *Instance) Resolve(f File) File {
	if f.ContentType == "" {
		f.ContentType = in.ContentType
	}
	if f.ContentEncoding == "" {
		f.ContentEncoding = in.ContentEncoding
	}
	if !f.FEC.HasEncodingID {
		f.FEC.EncodingID, f.FEC.HasEncodingID = in.FEC.EncodingID, in.FEC.HasEncodingID
	}
	if f.FEC.InstanceID == 0 {
		f.FEC.InstanceID = in.FEC.InstanceID
	}
	if f.FEC.MaxSourceBlockLength == 0 {
		f.FEC.MaxSourceBlockLength = in.FEC.MaxSourceBlockLength
	}
	if f.FEC.EncodingSymbolLength == 0 {
		f.FEC.EncodingSymbolLength = in.FEC.EncodingSymbolLength
	}
	if f.FEC.MaxEncodingSymbols == 0 {
		f.FEC.MaxEncodingSymbols = in.FEC.MaxEncodingSymbols
	}
	if f.FEC.SchemeSpecific == nil {
		f.FEC.SchemeSpecific = in.FEC.SchemeSpecific
	}
	return f
}

// Length returns the transfer length of the object in octets, if f tells it:
// without Transfer-Length that is the Content-Length, provided that there is no
// content encoding. Resolve f first.
func (f *File) Length() (uint64, bool) {
	if f.HasTransferLength {
		return f.TransferLength, true
	}
	if f.HasContentLength && f.ContentEncoding == "" {
		return f.ContentLength, true
	}
	return 0, false
}

// The Expires that senders write who do not mean a time: GPAC at one time the
// first, and now the second, which is the example of RFC 6726, 6 h 28 min
// before the end of the first NTP era. ATEME writes the last second of it.
const (
	placeholderOld = 4000000000
	placeholderMin = 4294944000
)

// ExpiresAt returns the end of the validity, in the NTP era nearest to now.
// There is none if Expires is absent or one of the placeholders in the field.
func (in *Instance) ExpiresAt(now time.Time) (time.Time, bool) {
	if in.Expires == 0 || in.Expires == placeholderOld || in.Expires >= placeholderMin {
		return time.Time{}, false
	}
	return ntp.Time(in.Expires, now), true
}
