package route

import (
	"errors"
	"fmt"
	"time"

	"github.com/treedn/treedn/route/sls"
)

// Fault is something that a sender does other than the standards say, or that makes packets useless. Reception goes on.
// Of each kind a channel reports one, until an S-TSID comes that differs: the counters of ReceiverStats tell how often
// packets were rejected.
type Fault struct {
	// TSI and TOI are those of the packet, zero if it has none.
	TSI, TOI uint32
	// Err is one of the Err… of faults, a *RejectError, or an error of package lct, fdt, sls or entity.
	Err error
}

// Faults of senders that a Receiver tolerates.
var (
	// ErrReservedCodepoint is codepoint 0, which is reserved (RFC 9223, table 2); encoders declare and send it.
	ErrReservedCodepoint = errors.New("route: codepoint 0 is reserved")
	// ErrUndeclaredCodepoint is a codepoint that neither the S-TSID nor RFC 9223 defines. Its objects count as files.
	ErrUndeclaredCodepoint = errors.New("route: codepoint is not declared in the S-TSID")
	// ErrAnnouncedSource is an S-TSID with another source than the one whose packets it describes: a service that was
	// re-streamed or translated.
	ErrAnnouncedSource = errors.New("route: S-TSID names another source")
	// ErrMissingLength is an object whose end only the flag B tells, although its length shall be in the signalling, in
	// EXT_TOL or in EXT_FTI (RFC 9223, section 6.3.2).
	ErrMissingLength = errors.New("route: object ends without a length")
)

// faultBit numbers the kinds of faults.
type faultBit uint8

const (
	faultReserved faultBit = iota
	faultUndeclared
	faultAnnounced
	faultLength
	faultEntity
	faultRejected // and those behind it, one for each Reason
)

// fault reports a fault, unless the channel has one of its kind already.
func (r *Receiver) fault(ch *channel, bit faultBit, key objectKey, err error) {
	seen := &r.faults // of packets whose TSI is but a claim, too: a flood of forged ones makes no flood of events
	if ch != nil && ch.described {
		seen = &ch.faults
	}
	if *seen&(1<<bit) != 0 {
		return
	}
	*seen |= 1 << bit
	r.events.push(Event{Kind: Faulty, Fault: &Fault{TSI: key.tsi, TOI: key.toi, Err: err}})
}

// rejected reports why a packet was dropped.
func (r *Receiver) rejected(reason Reason, err error) {
	if reason == RejectSource {
		r.fault(nil, faultRejected+faultBit(reason), objectKey{}, err)
		return
	}
	var key objectKey
	if e := (*RejectError)(nil); errors.As(err, &e) && r.hdr.TSI <= 0xffffffff && r.hdr.TOI <= 0xffffffff {
		key = objectKey{uint32(r.hdr.TSI), uint32(r.hdr.TOI)}
	}
	r.fault(r.channels[key.tsi], faultRejected+faultBit(reason), key, err)
}

// checkCodepoint reports the codepoint of an object that has no meaning by the standards.
func (r *Receiver) checkCodepoint(o *Object) {
	_, declared := o.ch.payloads[o.cp]
	switch {
	case o.cp == 0:
		r.fault(o.ch, faultReserved, o.key, ErrReservedCodepoint)
	case !declared && o.cp > sls.CPMediaRandomAccess:
		r.fault(o.ch, faultUndeclared, o.key, ErrUndeclaredCodepoint)
	}
}

// checkSource compares the source that an S-TSID announces with that of the packets.
func (r *Receiver) checkSource(own []sls.RS) {
	for _, rs := range own {
		if rs.Source.IsValid() && r.source.IsValid() && rs.Source.Unmap() != r.source.Unmap() {
			err := fmt.Errorf("%w: %v, and packets come from %v", ErrAnnouncedSource, rs.Source, r.source)
			r.fault(nil, faultAnnounced, objectKey{}, err)
		}
	}
}

// forgive lets every fault be reported again: the signalling has changed.
func (r *Receiver) forgive() {
	r.faults = 0
	for _, ch := range r.channels {
		ch.faults = 0
	}
}

// endedByFlag completes an object of which nothing but B told the end.
func (r *Receiver) endedByFlag(now time.Time, o *Object) {
	if o.visible() {
		r.fault(o.ch, faultLength, o.key, ErrMissingLength)
	}
	o.firm = true
	r.finish(now, o)
}
