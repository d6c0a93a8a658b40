package diagnose

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/flute/mbms"
	"github.com/treedn/treedn/route/lls"
	"github.com/treedn/treedn/route/mabr"
	"github.com/treedn/treedn/route/sls"
)

// Severity says what a finding means to a viewer.
type Severity uint8

// The severities, the worst first.
const (
	// Fatal: nothing plays.
	Fatal Severity = iota
	// Fault: a part does not play, or some receivers play nothing.
	Fault
	// Note: it departs from the standard, and receivers are known to bear it; or
	// something to know.
	Note
)

func (s Severity) String() string {
	switch s {
	case Fatal:
		return "fatal"
	case Fault:
		return "fault"
	case Note:
		return "note"
	}
	return fmt.Sprintf("severity %d", uint8(s))
}

// A Finding is one thing that is wrong, or worth knowing.
type Finding struct {
	Severity Severity
	// Where is the place, such as "S-TSID: LS 10".
	Where string
	// Text says it in a sentence.
	Text string
	// Rule is the name of the rule, such as stsid-source, and Section where the
	// standard has it; empty for what is no rule of one.
	Rule, Section string
}

func (f Finding) String() string {
	s := fmt.Sprintf("%s: %s: %s", f.Severity, f.Where, f.Text)
	if f.Section != "" {
		s += " (" + f.Section + ")"
	}
	return s
}

// Input is what was received of one session. Zero members were not received.
type Input struct {
	// Now is the time of the diagnosis; in a capture, that of its last packet.
	// Without it no times are judged.
	Now time.Time
	// SenderTime is the clock of the sender when the packet came that says it
	// (EXT_TIME), and ReceivedAt the receiver's at that moment.
	SenderTime, ReceivedAt time.Time

	// Destination is the group and port that the session was looked for at. Without it only the announcements are
	// judged.
	Destination netip.AddrPort

	// LLS is what the low level signalling says, nil if none was expected.
	LLS *LLS
	// Package is the newest package of TSI 0.
	Package *Package
	STSID   *sls.STSID
	// Described: the S-TSID of another session describes this one, so that it needs no
	// signalling of its own.
	Described bool
	USBD      *sls.USBD
	// MABR is the configuration of DVB, SDP that of MBMS.
	MABR *mabr.Configuration
	SDP  *mbms.SDP
	// Manifest is the MPD.
	Manifest *Manifest
	// Instances are the FDT Instances that came by themselves.
	Instances []Instance
	// Received are the destinations that were listened to; nil is all. What was
	// announced elsewhere cannot have come.
	Received []netip.AddrPort
	// Channels are all LCT channels that packets came on.
	Channels []Channel
	// Malformed are the documents that could not be decoded, and packets that are
	// none of ROUTE and FLUTE.
	Malformed []Malformed
}

// LLS is the low level signalling of ATSC 3.0.
type LLS struct {
	Datagrams  uint64
	SLT        *lls.SLT
	SystemTime *lls.SystemTime
	// SameVersion: a table has changed without a new version.
	SameVersion bool
	// Signed: tables came signed. Unverified: nobody checked the signature.
	Signed, Unverified bool
}

// A Package is an object of TSI 0 that came whole.
type Package struct {
	TOI sls.TOI
	// Gzip: the object is compressed.
	Gzip bool
	// SameTOI: a package has changed without a new TOI.
	SameTOI bool
	Package sls.Package
}

// An Instance is an FDT Instance that came as TOI 0.
type Instance struct {
	TSI      uint64
	Instance *fdt.Instance
}

// A Malformed is something that could not be decoded.
type Malformed struct {
	Where string
	Err   error
}

// Protocol is what a channel is by its packets.
type Protocol uint8

// The protocols.
const (
	ProtocolUnknown Protocol = iota
	ProtocolROUTE
	ProtocolFLUTE
)

// A Channel is what arrived on one LCT channel.
type Channel struct {
	Source      netip.Addr
	Destination netip.AddrPort
	TSI         uint64
	Protocol    Protocol
	Packets     uint64
	// Repair are those of them that are repair packets.
	Repair uint64
	// Codepoints are those seen.
	Codepoints []uint8
	// Objects are the transport objects, without FDT Instances.
	Objects []Object
	// Of FLUTE: Unmarked are packets with the TOI 0 that have no EXT_FDT, OtherFEC those
	// whose codepoint is not the FEC Encoding ID of their object, and Reused the FDT
	// Instances whose IDs came again with other files.
	Unmarked, OtherFEC, Reused uint64
	// Closed: the sender has announced the end of the session.
	Closed bool
	// Last is the arrival of the last packet.
	Last time.Time
}

// An Object is one transport object of a channel.
type Object struct {
	TOI      uint64
	Complete bool
	// Lost tells one that lacks octets for good from one that is on its way.
	Lost bool
	// Name is the Content-Location that the signalling gives it, empty if there is
	// none.
	Name string
	// Early: it came before any description of the session did, which may have been
	// sent before the reception.
	Early bool
	// Mismatch names a digest of its description that it does not have, such as
	// Content-MD5.
	Mismatch string
}

// A Manifest is what matters of an MPD.
type Manifest struct {
	Location        string
	Dynamic         bool
	Representations []Representation
}

// A Representation is one track of an MPD.
type Representation struct {
	ID string
	// Init is the name of the init segment, Media the pattern of the names of
	// media segments with its tags, such as v_$Number%05d$.m4s.
	Init, Media string
}

// Diagnose returns what is wrong with a session, the worst first.
func Diagnose(in *Input) []Finding {
	d := diagnosis{in: in}
	d.malformed()
	d.lls()
	d.mabr()
	d.sdp()
	if in.Destination.IsValid() {
		d.packets()
		d.signalling()
		d.stsid()
		d.fdt()
		d.manifest()
		d.objects()
		d.clock()
	}
	slices.SortStableFunc(d.findings, func(a, b Finding) int { return cmp.Compare(a.Severity, b.Severity) })
	return d.findings
}

type diagnosis struct {
	in       *Input
	findings []Finding
}

// maxFindings bounds what hostile signalling can make of it.
const maxFindings = 256

func (d *diagnosis) add(severity Severity, rule, section, where, format string, args ...any) {
	f := Finding{Severity: severity, Where: where, Text: fmt.Sprintf(format, args...), Rule: rule, Section: section}
	if len(d.findings) < maxFindings && !slices.Contains(d.findings, f) {
		d.findings = append(d.findings, f)
	}
}

// channels returns what arrived with that TSI at a destination; the zero
// destination is any.
func (d *diagnosis) channels(to netip.AddrPort, tsi uint64) (list []*Channel) {
	for i := range d.in.Channels {
		c := &d.in.Channels[i]
		if c.TSI == tsi && (!to.IsValid() || c.Destination == to) {
			list = append(list, c)
		}
	}
	return list
}

// arrivals returns all channels at a destination.
func (d *diagnosis) arrivals(to netip.AddrPort) (list []*Channel) {
	for i := range d.in.Channels {
		if d.in.Channels[i].Destination == to {
			list = append(list, &d.in.Channels[i])
		}
	}
	return list
}

// unheard tells whether nobody listened to a destination, and says so.
func (d *diagnosis) unheard(where string, to netip.AddrPort) bool {
	if d.in.Received == nil || slices.Contains(d.in.Received, to) {
		return false
	}
	d.add(Note, "unheard", "", where, "it announces %s, which was not listened to", to)
	return true
}

// source compares an announced source with that of the packets.
func (d *diagnosis) source(rule, section, where string, announced netip.Addr, channels []*Channel) {
	if !announced.IsValid() {
		return
	}
	for _, c := range channels {
		if c.Source == announced {
			return
		}
	}
	for _, c := range channels {
		d.add(Fault, rule, section, where,
			"it announces the source %s, the packets to %s come from %s: receivers that join the announced source, or check it, get nothing",
			announced, c.Destination, c.Source)
		return
	}
}

func (d *diagnosis) malformed() {
	for _, m := range d.in.Malformed {
		d.add(Fault, "malformed", "", m.Where, "it cannot be read: %v", m.Err)
	}
}

// maxSkew is how far the clocks of sender and receiver may be apart before live
// media suffer.
const maxSkew = 2 * time.Second

func (d *diagnosis) clock() {
	in := d.in
	if in.SenderTime.IsZero() || in.ReceivedAt.IsZero() {
		return
	}
	skew := in.SenderTime.Sub(in.ReceivedAt)
	if skew.Abs() <= maxSkew {
		return
	}
	than := "ahead of"
	if skew < 0 {
		than = "behind"
	}
	by := skew.Abs().Round(time.Second).String()
	if days := int64(skew.Abs() / (24 * time.Hour)); days > 2 {
		by = fmt.Sprintf("%d days", days)
	}
	d.add(Fault, "clock", "RFC 5651 5.2.2", "EXT_TIME",
		"the clock of the sender is %s %s that of the receiver: segments of a live manifest are asked for too early or too late", by, than)
}
