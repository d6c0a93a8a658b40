package inspect

import (
	"bytes"
	"container/list"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"github.com/treedn/treedn/fec"
	fecobject "github.com/treedn/treedn/fec/object"
	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/flute/lct"
	"github.com/treedn/treedn/flute/reassembly"
	"github.com/treedn/treedn/route/diagnose"
)

// objectKey identifies an object of a channel.
type objectKey struct {
	toi uint64
	// instance is the FDT Instance ID plus one, 0 for other objects.
	instance uint32
}

// object is one transport object.
type object struct {
	ch        *channel
	key       objectKey
	place     *list.Element // in Inspector.open or done
	joined    bool          // no object of its channel was seen from its beginning before
	last      time.Time
	packets   uint64
	codepoint uint8

	length int64 // -1 if unknown
	firm   bool  // the length is not a guess by the flag B
	held   reassembly.Set
	data   reassembly.Buffer

	complete bool
	retired  bool // another object has its key
	dropped  bool // its octets are gone, and it is not known any more
	told     bool
	sum      [sha256.Size]byte
	file     *fdt.File // its description
	template string    // its name by a fileTemplate
	mismatch string    // a digest of the description that it does not have

	// Of FLUTE.
	info    fec.ObjectInfo
	hasInfo bool
	waiting []symbols // that came before the info
	decoder *fecobject.Decoder
	cenc    lct.CENC

	recovered int64
	content   []byte // the file in an object of Entity Mode
}

// symbols are those of one packet.
type symbols struct {
	id   fec.PayloadID
	data []byte
}

// errConflict: octets or lengths differ from those that came before, so that it is another object.
var errConflict = errors.New("inspect: another object")

// setLength takes a length that a packet or a description tells. A guess by the flag B is firm no more than until
// something better comes.
func (o *object) setLength(n int64, firm bool) error {
	switch {
	case n < 0 || n > maxObject:
		return nil
	case o.length >= 0 && !firm:
		return nil
	case o.length >= 0 && o.firm:
		if o.length != n {
			return errConflict
		}
		return nil
	case o.held.End() > n:
		if firm {
			return errConflict
		}
		return nil
	}
	o.length, o.firm = n, firm
	return nil
}

// store puts octets into the object.
func (o *object) store(off int64, b []byte) (added int64, err error) {
	end := off + int64(len(b))
	if o.length >= 0 && end > o.length {
		if !o.firm && off >= 0 {
			o.length = -1 // the flag B was early
		} else if end = o.length; off >= end {
			return 0, nil
		}
		b = b[:end-off]
	}
	if len(b) == 0 || end > maxObject {
		return 0, nil
	}
	if o.dropped {
		return 0, nil
	}
	for at := off; ; {
		r, ok := o.held.Next(at, end)
		if !ok {
			break
		}
		for p := r.Start; p < r.End; {
			piece := o.data.Bytes(p, r.End)
			if len(piece) == 0 {
				break
			}
			if !bytes.Equal(piece, b[p-off:p-off+int64(len(piece))]) {
				return 0, errConflict
			}
			p += int64(len(piece))
		}
		at = r.End
	}
	if o.held.Contains(off, end) {
		return 0, nil
	}
	if o.held.Len() >= maxRanges {
		return 0, nil
	}
	in := o.ch.s.in
	places := o.data.Slabs()
	for !o.data.WriteAt(in.pool, b, off) {
		if !in.evict(o) {
			return 0, nil
		}
	}
	// A high offset takes places for all octets before it.
	in.places += o.data.Slabs() - places
	for int64(in.places)*placeSize > in.cfg.MaxMemory/4 && in.evict(o) {
	}
	return o.held.Add(off, end), nil
}

// placeSize is what a place for a slab takes, in octets.
const placeSize = 8

// whole tells whether all octets are there.
func (o *object) whole() bool {
	return o.length >= 0 && (o.length == 0 || o.held.Contains(0, o.length))
}

// body returns the octets of a complete object.
func (o *object) body() []byte {
	b := make([]byte, o.length)
	o.data.ReadAt(b, 0)
	return b
}

func (o *object) digest() {
	h := sha256.New()
	for at := int64(0); at < o.length; {
		piece := o.data.Bytes(at, o.length)
		if len(piece) == 0 {
			break
		}
		h.Write(piece)
		at += int64(len(piece))
	}
	h.Sum(o.sum[:0])
}

// drop gives the octets back.
func (o *object) drop() {
	o.ch.s.in.places -= o.data.Slabs()
	o.data.Release(o.ch.s.in.pool, false)
	o.waiting, o.decoder = nil, nil
	o.dropped = true
}

// name returns the name that the signalling gives, empty if there is none.
func (o *object) name() string {
	if o.file != nil {
		return o.file.ContentLocation
	}
	return o.template
}

// nameable tells whether signalling may name the object: FDT Instances and packages of signalling have no names.
func (o *object) nameable() bool {
	return !o.isInstance() && (o.ch.protocol == flute || o.ch.tsi != 0)
}

// isInstance tells whether the object is an FDT Instance. A flow of ROUTE that is described in the S-TSID has none; GPAC
// sends media as TOI 0 there, if it begins at that time.
func (o *object) isInstance() bool {
	f := o.ch.flow
	return o.key.toi == 0 && (o.key.instance > 0 || o.ch.protocol == flute || f == nil || f.SrcFlow == nil || f.SrcFlow.EFDT == nil)
}

// maxMissing bounds the ranges that an event lists.
const maxMissing = 4096

func (o *object) objectEvent(at time.Time) ObjectEvent {
	e := ObjectEvent{
		Head: Head{Event: "object", Time: at}, Source: o.ch.s.source, Dst: o.ch.s.to.Addr(), Port: o.ch.s.to.Port(),
		TSI: o.ch.tsi, TOI: o.key.toi, Protocol: o.ch.protocol.String(), Codepoint: o.codepoint, Packets: o.packets,
		Complete: o.complete, Missing: []Missing{}, Recovered: o.recovered,
	}
	if o.key.instance > 0 {
		id := o.key.instance - 1
		e.FDT = &id
	}
	if o.length >= 0 {
		n := o.length
		e.Length = &n
	}
	if name := o.name(); name != "" {
		e.Location = &name
	}
	if o.file != nil {
		e.ContentType, e.Encoding = o.file.ContentType, o.file.ContentEncoding
	}
	if o.complete {
		s := hex.EncodeToString(o.sum[:])
		e.SHA256 = &s
		return e
	}
	e.Received = o.held.Total()
	switch begin, ends, _ := o.cut(); {
	case begin && ends:
		e.Cut = CutBoth
	case begin:
		e.Cut = CutBegin
	case ends:
		e.Cut = CutEnd
	}
	end := o.length
	if end < 0 {
		end = o.held.End()
	}
	for i, r := range o.held.AppendMissing(nil, 0, end) {
		if i == maxMissing {
			break
		}
		e.Missing = append(e.Missing, Missing{r.Start, r.End - 1})
	}
	return e
}

// file returns the file in the object.
func (e *ObjectEvent) file() []byte {
	if e.Content != nil {
		return e.Content
	}
	return e.Body
}

// onItsWay is how long after its last packet more of an object may come.
const onItsWay = 2 * time.Second

// cut tells whether an object lacks octets that were sent before reception began, or would have come after it ended.
// Lost tells whether others are missing.
func (o *object) cut() (begin, end, lost bool) {
	if o.complete {
		return false, false, false
	}
	fresh := !o.retired && o.ch.s.in.now.Sub(o.last) < onItsWay
	held := o.held.All()
	if len(held) == 0 { // symbols that nothing describes
		begin = o.joined && !slices.ContainsFunc(o.waiting, func(s symbols) bool { return s.id == fec.PayloadID{} })
		return begin, fresh, !begin && !fresh
	}
	tail := o.length < 0 || o.held.End() < o.length
	begin = o.joined && held[0].Start > 0
	end = fresh && tail || !o.retired && tail && o.ch.lastOf == o
	lost = held[0].Start > 0 && !begin || tail && !end || len(held) > 1
	if lost && fresh && o.repairable() {
		return begin, true, false
	}
	return begin, end, lost
}

// repairable tells whether repair packets may come for the object.
func (o *object) repairable() bool {
	if o.ch.protocol == flute {
		return o.hasInfo && o.info.ID != fec.CompactNoCode
	}
	if len(o.ch.s.repairs) > 0 {
		return true
	}
	for _, ch := range o.ch.s.channels {
		if ch.flow != nil && ch.flow.RepairFlow != nil {
			return true
		}
	}
	return false
}

// early tells whether the object came before the session was described, so that its name may have been sent before.
func (o *object) early() bool {
	begin, end, _ := o.cut()
	switch f := o.ch.flow; {
	case o.ch.protocol == flute:
		return begin || o.last.Before(o.ch.described)
	case f != nil && f.SrcFlow != nil && f.SrcFlow.EFDT == nil: // described by FDT Instances of its own
		return begin || end
	}
	return false
}

// observed is what the diagnosis hears of the object.
func (o *object) observed() diagnose.Object {
	_, _, lost := o.cut()
	return diagnose.Object{TOI: o.key.toi, Complete: o.complete, Lost: lost, Name: o.name(), At: o.last, Early: o.early(), Mismatch: o.mismatch}
}

// lacks returns how many octets are missing, as far as that is known.
func (o *object) lacks() int64 {
	if o.complete {
		return 0
	}
	return max(o.length, o.held.End()) - o.held.Total()
}
