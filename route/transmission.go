package route

import (
	"cmp"
	"encoding/binary"
	"errors"
	"time"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute/lct"
	"github.com/treedn/treedn/route/entity"
)

// Outgoing describes an object that is about to be sent.
type Outgoing struct {
	// Name is the Content-Location: a path relative to the service, at most
	// 512 octets. It is required.
	Name string
	// Generation orders the objects of one name, the newer replaces the
	// older. For an object that a track's template names, the receiver is
	// told Track.Run instead.
	Generation uint64
	// ContentType is announced in a File entry. Objects named by a template
	// have none.
	ContentType string
	// Length in octets, if it is known before the octets are. Zero means
	// unknown. With a length every packet carries it, which receivers like.
	Length int64
	// Track is the media track of the object. The zero value makes it a lone
	// file in the metadata channel.
	Track Track
	// Pool names the tracks whose objects of equal Number are protected together
	// by repair packets of a TSI of their own (RFC 9223, section 7.2), if it is
	// not empty: video and audio of a service, say. It takes fewer repair packets
	// for small objects than each alone does, and replaces the track's own repair
	// flow, that for growing objects included. A track joins when its first object
	// begins; objects that ended before are not repaired. All tracks of a pool have to have
	// an object of each number. GPAC complains about a TSI without a source flow,
	// and receives what the others carry.
	Pool string
	// Format is the delivery object format (RFC 9223, section 4): sls.FormatFile,
	// which 0 stands for, sls.FormatEntity, or one of the packages. Objects of
	// Entity Mode begin with the fields Content-Location, Content-Type and those
	// of Header, and with Content-Length if Length, which is that of the body, is
	// known; otherwise the body goes in HTTP chunks, one for each Append.
	// Packages, which SendPackage makes, are lone files.
	Format uint8
	Header []entity.Field
	// Carousel repeats the object every CarouselInterval until an object of
	// the same name replaces it or RemoveFile ends it: for initialization
	// segments. It has no effect on objects that a template names.
	Carousel bool
	// Every is the time between repetitions in place of CarouselInterval. It
	// repeats files that are no initialization segments, too.
	Every time.Duration
	// Times is how often the object is sent in all before it is withdrawn, 0 for
	// without end.
	Times int
	// Priority puts the object's source packets, or its repetitions, before all
	// of lower ones that wait. Default 0.
	Priority int
	// Within is how long after Append octets have to have left. Of one priority
	// what is due first leaves first; channels without it take turns, and count
	// as if it were a second.
	Within time.Duration
	// ChannelRate limits what is sent in the channel of the object, in bit/s,
	// repair packets included. The latest one that is not 0 counts. It is
	// announced as the channel's bandwidth.
	ChannelRate int64
}

// Track names one media track in one run of its encoder.
type Track struct {
	// Stem is the file template with $TOI$ in place of the number, as
	// RFC 9223, section 6.3.1 writes it: "chunk-stream0-$TOI%05d$.m4s".
	Stem string
	// Number is the TOI, if Stem with this number yields the object's name
	// and the number is new in this run. Otherwise the object goes with the
	// lone files and gets a File entry.
	Number uint32
	// Run is the generation of the run. A new one takes a new TSI.
	Run uint64
	// Kind and Representation describe the media in the S-TSID.
	Kind           TrackKind
	Representation string
}

var (
	errLength  = errors.New("route: octets differ from the length announced")
	errAborted = errors.New("route: transmission was aborted")
	errChunks  = errors.New("route: object is not in HTTP chunks")
	errFormat  = errors.New("route: no such delivery object format, or not for this object")
)

// A Transmission is one object on its way out. It belongs to its Sender's
// goroutine.
type Transmission struct {
	s    *Sender
	flow *flow
	out  Outgoing
	file *file // its File entry, or nil if the template names it
	toi  uint32
	cp   uint8
	rev  uint64 // announcement that must have been sent before

	chunked bool           // an entity without a length
	trailer []entity.Field // of it
	line    []byte         // scratch

	buf     []byte
	packets []span
	due     []time.Time // when a packet has to leave
	at      time.Time   // of the latest Append
	cutAt   int         // where the latest Cut was
	cut     int         // octets in packets
	next    int         // first packet not sent
	length  int64
	ended   bool
	aborted bool
	closed  bool // a packet with B was sent
	coding  int  // Works that read buf
	settled bool // no longer counted as waiting
	endedAt time.Time
	sentAt  time.Time // when the last source packet left
	growth  growth
}

// TSI and TOI identify the object on the wire.
func (t *Transmission) TSI() uint32 { return t.flow.tsi }

// TOI is the object's Transport Object Identifier.
func (t *Transmission) TOI() uint32 { return t.toi }

// Append adds octets to the object. Packets that are full become ready to
// leave at once; the rest waits for more, for Cut or for End. b is copied.
func (t *Transmission) Append(now time.Time, b []byte) error {
	if t.chunked {
		return t.AppendChunk(now, b, "")
	}
	return t.append(now, b)
}

// AppendChunk is Append for an entity that goes in HTTP chunks: b is one, with
// extensions (RFC 9112, section 7.1.1) such as the digests of DVB.
func (t *Transmission) AppendChunk(now time.Time, b []byte, extensions string) error {
	if !t.chunked {
		return errChunks
	}
	if len(b) == 0 {
		return nil
	}
	t.line = entity.AppendChunk(t.line[:0], b, extensions)
	return t.append(now, t.line)
}

// SetTrailer gives the fields that follow the last chunk of an entity.
func (t *Transmission) SetTrailer(fields ...entity.Field) error {
	if !t.chunked {
		return errChunks
	}
	if _, err := entity.AppendEnd(nil, fields...); err != nil {
		return err
	}
	t.trailer = fields
	return nil
}

func (t *Transmission) append(now time.Time, b []byte) error {
	switch {
	case t.aborted:
		return errAborted
	case t.ended:
		return ErrClosed
	case t.length >= 0 && int64(len(t.buf)+len(b)) > t.length:
		return errLength
	case int64(len(t.buf)+len(b)) > t.s.cfg.MaxObject:
		return ErrTooLarge
	case t.s.buffered+int64(len(b)) > t.s.cfg.MaxBuffered:
		return ErrBacklog
	}
	t.s.buffered += int64(len(b))
	t.s.peak.add(now, len(b))
	t.grew(now)
	t.at = now
	t.buf = append(t.buf, b...)
	for unit := t.s.unit; ; {
		// Packets end at multiples of the unit, counted from the start of
		// the object, so that one lost packet is one lost symbol. A chunk
		// that may turn out to fit one packet waits for its end.
		end := (t.cut/unit + 1) * unit
		if len(t.buf) < end || t.cut == t.cutAt && t.cut > 0 && len(t.buf) <= t.cut+unit {
			break
		}
		t.addPacket(end)
	}
	return nil
}

const defaultWithin = time.Second

func (t *Transmission) addPacket(end int) {
	t.packets = append(t.packets, span{uint32(t.cut), uint32(end - t.cut)})
	t.due = append(t.due, t.at.Add(cmp.Or(t.out.Within, defaultWithin)))
	t.cut = end
	t.s.enqueue(t)
}

// Cut sends what Append held back: a CMAF chunk is complete, and nothing
// shall wait for the next one.
func (t *Transmission) Cut() {
	if t.ended || t.aborted {
		return
	}
	if t.cut < len(t.buf) {
		t.addPacket(len(t.buf))
	}
	t.cutAt = t.cut
	t.cutOff()
}

// End completes the object. Its repair packets are computed by the Work that
// the Sender hands out next.
func (t *Transmission) End(now time.Time) error {
	switch {
	case t.aborted:
		return errAborted
	case t.ended:
		return ErrClosed
	case t.length >= 0 && int64(len(t.buf)) != t.length:
		t.Abort()
		return errLength
	case t.chunked:
		end, err := entity.AppendEnd(nil, t.trailer...)
		if err == nil {
			err = t.append(now, end)
		}
		if err != nil {
			t.Abort()
			return err
		}
	}
	t.Cut()
	t.length = int64(len(t.buf))
	t.ended, t.endedAt = true, now
	t.s.ungrow(t)
	if t.next == len(t.packets) && !t.closed {
		// All octets have left without a word about the length: one more
		// packet without payload carries EXT_TOL and B.
		t.addPacket(len(t.buf))
	}
	t.s.ended(now, t)
	return nil
}

// Abort gives the object up. Packets that have not left never will; receivers
// see an object that stays incomplete. Abort after End does nothing.
func (t *Transmission) Abort() {
	if t.ended || t.aborted {
		return
	}
	t.aborted = true
	t.s.abort(t)
}

// pending tells whether a packet may leave now.
func (t *Transmission) pending() bool {
	return t.next < len(t.packets) && t.s.sentRev >= t.rev
}

// appendSource appends packet number i.
func (t *Transmission) appendSource(dst []byte, i int) []byte {
	p := t.packets[i]
	end := int64(p.off) + int64(p.n)
	last := end == t.length
	t.closed = t.closed || last
	dst = appendHeader(dst, psiSource, t.cp, t.flow.tsi, t.toi, last, t.length)
	dst = binary.BigEndian.AppendUint32(dst, p.off)
	return append(dst, t.buf[p.off:end]...)
}

// appendHeader appends an LCT header in ROUTE's form (RFC 9223, section 2.1)
// with EXT_TOL if the length is known.
func appendHeader(dst []byte, psi, cp uint8, tsi, toi uint32, last bool, length int64) []byte {
	var room [8]byte
	h := lct.Header{
		PSI: psi, Codepoint: cp, TSI: uint64(tsi), TOI: uint64(toi), HasTOI: true,
		TSILen: 4, TOILen: 4, CloseObject: last,
	}
	if length >= 0 {
		h.Extensions, _ = lct.Extensions(room[:0]).AppendTOL(uint64(length))
	}
	dst, _ = h.AppendTo(dst)
	return dst
}

// Lookup is what a repair server needs to know about an object.
type Lookup struct {
	Name        string
	Generation  uint64
	ContentType string
	// Length in octets, -1 while it is unknown.
	Length int64
	// Repair is set once the repair symbols of the object were computed: OTI
	// is the one that receivers got, and no ESI from NextESI on was ever
	// sent, in any source block.
	Repair  bool
	OTI     fec.OTI
	NextESI uint32
}
