package route

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/route/sls"
)

// maxFiles bounds the File entries of one channel.
const maxFiles = 65536

// handlePackage takes the parts of an SLS package in.
func (r *Receiver) handlePackage(now time.Time, o *Object, body []byte) {
	if !r.reads.allow(now, maxReadings) {
		r.stats.Rejected[RejectSignalling]++
		r.records.remove(o.key) // hear it again
		return
	}
	pkg, err := r.openPackage(o.format, body, 4<<20)
	if err != nil {
		r.badSignalling(o, err)
		return
	}
	for _, part := range pkg.Parts {
		if len(part.Location) > maxName {
			r.badSignalling(o, ErrName)
			continue
		}
		old, ok := r.parts[part.Location]
		if ok && old.ContentType == part.ContentType && old.Generation == part.Generation && bytes.Equal(old.Body, part.Body) {
			continue
		}
		if !ok && len(r.parts) >= maxParts {
			clear(r.parts)
		}
		part.Body = bytes.Clone(part.Body)
		r.parts[part.Location] = part
		if part.Kind() == sls.KindSTSID {
			s, err := r.STSID(part.Body, part.Generation)
			if err != nil {
				r.badSignalling(o, err)
				continue
			}
			s.TOI, s.ContentType, s.Location = o.key.toi, part.ContentType, part.Location
			r.signalled(now, s)
			continue
		}
		r.events.push(Event{Kind: Manifest, Part: part})
	}
}

// STSID reads an S-TSID that came by another way than packets. Accept acts on
// it. body must not be changed any more.
func (r *Receiver) STSID(body []byte, generation uint64) (*Signal, error) {
	doc, err := sls.ParseSTSID(body)
	if err != nil {
		return nil, err
	}
	return &Signal{
		ContentType: sls.MediaTypeSTSID, Generation: generation, Body: body,
		apply: func(now time.Time) { r.applySTSID(now, doc) },
	}, nil
}

// readings bounds what is done in a second of what costs far more than receiving
// a packet, such as the reading of packages and EFDTs: anybody may send them.
type readings struct {
	second time.Time
	n      int
}

// maxReadings is more than a sender needs that sends each change of some
// manifests, several in a second.
const maxReadings = 200

func (b *readings) allow(now time.Time, most int) bool { return b.spend(now, 1, most) }

// spend is allow for what costs n units.
func (b *readings) spend(now time.Time, n, most int) bool {
	if d := now.Sub(b.second); d >= time.Second || d < 0 {
		b.second, b.n = now, 0
	}
	if n > most-b.n {
		return false
	}
	b.n += n
	return true
}

// maxParts bounds the names of parts that are remembered.
const maxParts = 1024

// handleEFDT takes in an Extended FDT Instance that came as TOI 0 of a channel.
// It has no EXT_FDT, its version is efdtVersion.
func (r *Receiver) handleEFDT(now time.Time, o *Object, body []byte) {
	if !r.reads.allow(now, maxReadings) {
		r.stats.Rejected[RejectSignalling]++
		r.records.remove(o.key)
		return
	}
	in, err := fdt.Parse(body)
	if err != nil {
		r.badSignalling(o, err)
		return
	}
	ch := o.ch
	if ch.embedded {
		r.badSignalling(o, errEFDT)
		return
	}
	if !ch.described {
		// Not a channel of this session yet: hear it again when it is.
		r.records.remove(o.key)
		return
	}
	r.signalled(now, &Signal{
		TSI: o.key.tsi, ContentType: fdt.MediaType, Location: fmt.Sprintf("efdt/%d", o.key.tsi),
		Generation: in.Generation, Body: body,
		apply: func(now time.Time) {
			if r.channels[ch.tsi] != ch {
				return
			}
			ch.inband = in
			if !ch.embedded {
				r.applyEFDT(now, ch, in)
				r.redescribe(now, ch)
			}
		},
	})
}

func (r *Receiver) badSignalling(o *Object, err error) {
	r.stats.Rejected[RejectSignalling]++
	r.fault(o.ch, faultRejected+faultBit(RejectSignalling), o.key, err)
	if r.warned.IsZero() || o.lastPkt.Sub(r.warned) > time.Second {
		r.warned = o.lastPkt
		r.cfg.Logger.Warn("signalling dropped", "tsi", o.key.tsi, "toi", o.key.toi, "error", err)
	}
}

// signalled reports signalling and, unless it has to be accepted first, acts on
// it.
func (r *Receiver) signalled(now time.Time, s *Signal) {
	if !r.cfg.HoldSignalling {
		s.apply(now)
		s.apply = nil
	}
	r.events.push(Event{Kind: Signalling, Signal: s})
}

// Accept acts on signalling that was held back, see HoldSignalling, or that
// STSID has read.
func (r *Receiver) Accept(now time.Time, s *Signal) {
	if s.apply != nil {
		s.apply(now)
		s.apply = nil
	}
}

// applySTSID makes the channels what an S-TSID says. Channels that it does not
// name any more describe no new objects.
func (r *Receiver) applySTSID(now time.Time, doc *sls.STSID) {
	clear(r.growing)
	for _, ch := range r.channels {
		if ch.tsi != 0 {
			ch.growingDelay = 0
			ch.described, ch.embedded, ch.hasTemplate, ch.protected, ch.pooled = false, false, false, false, false
			ch.repairDelay, ch.maxDelay = 0, 0
			clear(ch.payloads)
			ch.sources = nil
		}
	}
	own := r.ownSessions(doc)
	r.forgive()
	r.checkSource(own)
	for _, rs := range own {
		for i := range rs.LS {
			r.applyLS(now, &rs.LS[i])
		}
	}
	r.applyOtherSessions(now, doc, own)
	for tsi := range r.growing {
		if ch := r.channels[tsi]; ch != nil && ch.described {
			delete(r.growing, tsi) // a TSI with a meaning of its own
		}
	}
	for _, ch := range r.channels {
		for _, m := range ch.sources {
			if src := r.channels[m.tsi]; src != nil {
				src.protected = true
				src.pooled = src.pooled || len(ch.sources) > 1
				src.maxDelay = max(src.maxDelay, ch.repairDelay)
			}
		}
		if ch.unused() {
			r.forget(ch)
			continue
		}
		r.redescribe(now, ch)
	}
}

// forget removes a channel.
func (r *Receiver) forget(ch *channel) {
	delete(r.channels, ch.tsi)
	r.records.remove(objectKey{ch.tsi, 0})
}

// ownSessions returns the ROUTE sessions of an S-TSID that are this one: those
// with its group and port, or all if there is none such, since services are
// re-streamed to other groups without a change.
func (r *Receiver) ownSessions(doc *sls.STSID) []sls.RS {
	s := r.cfg.Session
	var own []sls.RS
	for _, rs := range doc.RS {
		group := !rs.Destination.IsValid() || !s.Group.IsValid() || rs.Destination.Unmap() == s.Group.Unmap()
		port := rs.Port == 0 || s.Port == 0 || rs.Port == s.Port
		if group && port {
			own = append(own, rs)
		}
	}
	if own == nil {
		return doc.RS
	}
	return own
}

// applyOtherSessions finds the flows of the service that go to groups, or ports, of their own: source flows, and the
// repair flows of what is received. A TSI that has a meaning already keeps it.
func (r *Receiver) applyOtherSessions(now time.Time, doc *sls.STSID, own []sls.RS) {
	r.otherSessions = nil
	if len(own) == len(doc.RS) { // all of them are applied: those of this session, or none is
		for i := range doc.RS {
			r.addSession(&doc.RS[i])
		}
		return
	}
	ours := func(p sls.ProtectedObject) bool {
		ch := r.channels[p.TSI]
		return ch != nil && ch.described && p.TSI != 0
	}
	for _, repair := range []bool{false, true} {
		for i := range doc.RS {
			rs := &doc.RS[i]
			for k := range rs.LS {
				ls := &rs.LS[k]
				if (ls.SrcFlow == nil) != repair || repair && (ls.RepairFlow == nil || !slices.ContainsFunc(ls.RepairFlow.Protected, ours)) {
					continue
				}
				if ch := r.channels[ls.TSI]; ch != nil && ch.described {
					continue
				}
				r.applyLS(now, ls)
				r.addSession(rs)
			}
		}
	}
}

// addSession remembers the session of flows, if it is another one.
func (r *Receiver) addSession(rs *sls.RS) {
	s := r.cfg.Session
	if rs.Source.IsValid() {
		s.Source = rs.Source
	}
	if rs.Destination.IsValid() {
		s.Group = rs.Destination
	}
	if rs.Port != 0 {
		s.Port = rs.Port
	}
	if (s.Group != r.cfg.Session.Group || s.Port != r.cfg.Session.Port) && !slices.Contains(r.otherSessions, s) && len(r.otherSessions) < maxOtherSessions {
		r.otherSessions = append(r.otherSessions, s)
	}
}

// maxOtherSessions bounds the sessions that OtherSessions returns.
const maxOtherSessions = 16

// OtherSessions returns where flows go, of media or of repair, that do not go to the group and port of the session, as
// the S-TSID says: a receiver that wants them joins these and pushes what comes.
func (r *Receiver) OtherSessions() []Session { return r.otherSessions }

// otherSession tells whether packets from a source, and to a destination, may be of another session. Invalid ones are
// not asked for.
func (r *Receiver) otherSession(from netip.Addr, to netip.AddrPort) bool {
	return slices.ContainsFunc(r.otherSessions, func(s Session) bool {
		return (!from.IsValid() || from.Unmap() == s.Source.Unmap()) && (!to.IsValid() || to == netip.AddrPortFrom(s.Group, s.Port))
	})
}

func (r *Receiver) applyLS(now time.Time, ls *sls.LS) {
	if ls.TSI == 0 {
		return
	}
	ch := r.channels[ls.TSI]
	if ch == nil {
		if len(r.channels) >= 2*r.cfg.MaxChannels { // half of them may be mere claims
			r.cfg.Logger.Warn("too many channels", "tsi", ls.TSI)
			return
		}
		ch = newChannel(ls.TSI)
		r.channels[ls.TSI] = ch
	}
	ch.described = true
	if src := ls.SrcFlow; src != nil {
		if m := src.Media; m != nil {
			ch.track = Track{Kind: trackKind(m.ContentType), Representation: m.RepID}
		}
		if ch.payloads == nil {
			ch.payloads = make(map[uint8]payload)
		}
		for _, p := range src.Payloads {
			ch.payloads[p.Codepoint] = payload{format: p.FormatID, id: p.SrcFECPayloadID}
		}
		// The EFDT is in the S-TSID or comes as TOI 0 of the channel, never
		// both (A/331, A.3.3.2.1).
		ch.embedded = src.EFDT != nil
		if ch.embedded {
			clear(ch.files)
			r.applyEFDT(now, ch, src.EFDT)
		} else if ch.inband != nil {
			r.applyEFDT(now, ch, ch.inband)
		}
	}
	if rep := ls.RepairFlow; rep != nil {
		ch.repairDelay = time.Duration(rep.MaximumDelay) * time.Millisecond
		if oti, err := fec.ParseOTI(rep.OTI[:]); err == nil && rep.HasOTI {
			ch.repairOTI = oti
		}
		for _, p := range rep.Protected {
			m := mapping{tsi: p.TSI, x: 1, size: int64(min(p.ObjectSize, maxObject))}
			if len(p.SourceTOIs) == 0 {
				ch.sources = append(ch.sources, m)
			}
			for _, s := range p.SourceTOIs {
				m.x, m.y = s.X, s.Y
				ch.sources = append(ch.sources, m)
			}
		}
		if rep.GrowingTSI != 0 {
			r.growing[rep.GrowingTSI] = ch
			if ls.SrcFlow == nil && len(rep.Protected) == 1 { // the repair flow is in a session of its own
				ch = cmp.Or(r.channels[rep.Protected[0].TSI], ch)
			}
			ch.growingDelay = min(time.Duration(rep.GrowingDelay)*time.Millisecond, maxGrowingDelay)
		}
	}
}

// maxGrowingDelay bounds what a sender may announce as the delay of repair
// packets for growing objects.
const maxGrowingDelay = time.Second

// applyEFDT describes the objects of a channel.
func (r *Receiver) applyEFDT(now time.Time, ch *channel, in *fdt.Instance) {
	ch.maxDelta = time.Duration(in.MaxExpiresDelta) * time.Second
	ch.until, _ = in.ExpiresAt(now)
	if in.FileTemplate != "" {
		t, err := fdt.ParseTemplate(in.FileTemplate)
		if len(in.FileTemplate) > maxName {
			err = ErrName
		}
		if err != nil {
			r.cfg.Logger.Warn("file template dropped", "tsi", ch.tsi, "error", err)
		}
		same := ch.stem == in.FileTemplate
		ch.template, ch.hasTemplate, ch.stem = t, err == nil, in.FileTemplate
		ch.announced = in.Generation != 0
		if ch.announced {
			ch.run = in.Generation
		} else if !same || ch.run == 0 {
			ch.run = r.newGeneration(now)
		}
	}
	if ch.files == nil && len(in.Files) > 0 {
		ch.files = make(map[uint32]fdt.File)
	}
	for _, f := range in.Files {
		if f.TOI == 0 || f.TOI > 0xffffffff || f.ContentLocation == "" || len(f.ContentLocation) > maxName || len(ch.files) >= maxFiles {
			continue
		}
		f = in.Resolve(f)
		toi := uint32(f.TOI)
		r.refile(now, ch, toi, &f)
		ch.files[toi] = f
	}
}

// refile looks for an object or record under a TOI whose File entry is new: one
// of another file is over.
func (r *Receiver) refile(now time.Time, ch *channel, toi uint32, f *fdt.File) {
	key := objectKey{ch.tsi, toi}
	n, known := f.Length()
	differs := func(name string, generation uint64, announced bool, length int64) bool {
		return name != f.ContentLocation || f.Generation != 0 && announced && f.Generation != generation ||
			known && length >= 0 && uint64(length) != n
	}
	if o := r.objects[key]; o != nil && o.kind == kindFile && differs(o.name, o.generation, o.announced, o.length) {
		if o.complete {
			r.unmap(o)
		} else {
			r.lose(now, o)
		}
	}
	if rec := r.records.m[key]; rec != nil && rec.kind == kindFile &&
		differs(rec.name, rec.generation, rec.announced, rec.length) {
		r.records.remove(key)
	}
}
