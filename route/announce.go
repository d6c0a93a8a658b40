package route

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/route/sls"
)

const (
	slsCopies  = 3                     // of a new version, at once
	slsSpacing = 20 * time.Millisecond // between them
	// slsGather is how long a change that no packet waits for is held back
	// for others: an encoder writes several manifests at a time.
	slsGather = 5 * time.Millisecond

	// A sender that starts again finds receivers that remember its packages by
	// their versions. Where versions begin moves on with FirstTSI, faster than
	// packages change, within the half of the numbers that leaves the other
	// half to a run before its versions begin again.
	slsVersionStep  = 4
	slsVersionRange = 128

	stsidLocation = "stsid.xml"
	// expiresNever is the Expires of an EFDT without an end, as GPAC and the
	// example of RFC 6726 have it.
	expiresNever = 4294944000
)

// signal is the signalling channel, TSI 0: an SLS package with the S-TSID and
// all manifests, under a TOI that carries its version (A/331, Annex C).
type signal struct {
	version uint8
	toi     uint32
	body    []byte
	rev     uint64 // of the announcement in body
	off     int    // of the copy that is being sent
	sending bool
	copies  int
	next    time.Time // of the next copy
	due     time.Time // when to make a new version, zero if nothing changed
	urgent  bool      // packets wait for it
	stsid   []byte
	since   uint64 // generation of the S-TSID
}

// versionBefore is the version before the first one of a sender.
func versionBefore(firstTSI uint32) uint8 {
	return uint8((firstTSI - 1) * slsVersionStep % slsVersionRange)
}

func (g *signal) nextTimeout() time.Time {
	return sooner(g.next, g.due)
}

// announce has the S-TSID made and sent at once, and returns the revision that
// must have been sent before packets of what is new.
func (s *Sender) announce() uint64 {
	s.rev++
	s.signal.urgent = true
	return s.rev
}

// changed has a new version made soon.
func (s *Sender) changed(now time.Time) {
	if s.signal.due.IsZero() {
		s.signal.due = now.Add(slsGather)
	}
}

// SetManifest puts a part into the signalling package in place of the one with
// the same Location: a manifest, or any other fragment. The S-TSID is the
// Sender's own.
//
// A part that cannot be written is refused.
func (s *Sender) SetManifest(now time.Time, part sls.Part) error {
	if part.Location == stsidLocation || part.Kind() == sls.KindSTSID {
		return fmt.Errorf("%w: the S-TSID is the Sender's own", ErrName)
	}
	if len(part.Location) > maxName {
		return ErrName
	}
	if _, err := (&sls.Package{Parts: []sls.Part{part}}).Append(nil); err != nil {
		return fmt.Errorf("route: %w", err)
	}
	part.Body = bytes.Clone(part.Body)
	i := slices.IndexFunc(s.parts, func(p sls.Part) bool { return p.Location == part.Location })
	if i < 0 {
		s.parts = append(s.parts, part)
	} else if p := &s.parts[i]; p.ContentType == part.ContentType && p.Generation == part.Generation && bytes.Equal(p.Body, part.Body) {
		return nil
	} else {
		*p = part
	}
	s.changed(now)
	return nil
}

// RemoveManifest takes a part out of the signalling package.
func (s *Sender) RemoveManifest(now time.Time, location string) {
	n := len(s.parts)
	s.parts = slices.DeleteFunc(s.parts, func(p sls.Part) bool { return p.Location == location })
	if len(s.parts) != n {
		s.changed(now)
	}
}

// STSID returns the S-TSID that was announced last, and its generation, which
// rises with every change: for whoever seals it.
func (s *Sender) STSID() (body []byte, generation uint64) {
	return s.signal.stsid, s.signal.since
}

// appendSignalling appends the next packet of the package, if one is due.
func (s *Sender) appendSignalling(now time.Time, dst []byte) ([]byte, bool) {
	g := &s.signal
	if g.urgent || !g.due.IsZero() && !now.Before(g.due) {
		s.buildSignalling(now)
	}
	if !g.sending {
		if g.next.IsZero() || now.Before(g.next) {
			return dst, false
		}
		g.sending, g.off = true, 0
	}
	n := min(len(g.body)-g.off, s.cfg.MaxPayload-sourceOverhead)
	last := g.off+n == len(g.body)
	dst = appendHeader(dst, psiSource, cpPackage, 0, g.toi, last, int64(len(g.body)))
	dst = binary.BigEndian.AppendUint32(dst, uint32(g.off))
	dst = append(dst, g.body[g.off:g.off+n]...)
	if g.off += n; last {
		g.sending = false
		g.copies++
		s.sentRev = g.rev
		g.next = now.Add(s.cfg.SLSInterval)
		if g.copies < slsCopies {
			g.next = now.Add(slsSpacing)
		}
	}
	return dst, true
}

// buildSignalling makes a new version of the package and begins to send it.
func (s *Sender) buildSignalling(now time.Time) {
	g := &s.signal
	g.urgent, g.due = false, time.Time{}
	stsid, err := s.stsid()
	if err != nil {
		s.cfg.Logger.Error("S-TSID cannot be made", "error", err)
		return
	}
	if !bytes.Equal(stsid, g.stsid) {
		g.stsid, g.since = stsid, max(g.since+1, uint64(now.UnixMicro()))
	}
	g.version++
	if g.version == 0 {
		g.version = 1 // GPAC takes version 0 for no version, and ignores the package
	}
	pkg := sls.Package{Version: g.version}
	if stsid != nil {
		pkg.Parts = append(pkg.Parts, sls.Part{
			ContentType: sls.MediaTypeSTSID, Location: stsidLocation, Generation: g.since, Body: stsid,
		})
	}
	pkg.Parts = append(pkg.Parts, s.parts...)
	if len(pkg.Parts) == 0 {
		g.sending, g.next, s.sentRev = false, time.Time{}, s.rev
		return
	}
	// Of several manifests GPAC takes the first, and HLS playlists it does not
	// expect here. It refuses an envelope without a DASH manifest.
	slices.SortStableFunc(pkg.Parts, func(a, b sls.Part) int { return order(a) - order(b) })
	pkg.NoEnvelope = !slices.ContainsFunc(pkg.Parts, isDASH)
	body, err := pkg.AppendGzip(nil)
	if err != nil {
		s.cfg.Logger.Error("SLS package cannot be made", "error", err)
		return
	}
	g.body, g.toi = body, uint32(pkg.TOI(true))
	g.rev, g.off, g.copies, g.sending, g.next = s.rev, 0, 0, true, now
}

func isDASH(p sls.Part) bool { return strings.HasPrefix(p.ContentType, sls.MediaTypeDASH) }

// order is where a part stands in the package.
func order(p sls.Part) int {
	switch {
	case p.Kind() == sls.KindSTSID:
		return 0
	case isDASH(p):
		return 1
	}
	return 2
}

// stsid describes all channels. Source and repair packets of a channel share
// its TSI, where SPI tells them apart (RFC 9223, section 9.4): receivers that
// know of no repair flow, GPAC among them, refuse an S-TSID with a channel that
// has no source flow. In a RepairSession there is no other way.
func (s *Sender) stsid() ([]byte, error) {
	rs := sls.RS{Source: s.cfg.Session.Source, Destination: s.cfg.Session.Group, Port: s.cfg.Session.Port}
	apart := s.repairApart() != together
	var repair []sls.LS
	for _, f := range s.flows {
		if f == s.meta && len(f.files) == 0 {
			continue // an EFDT that describes nothing is not allowed
		}
		ls := s.channelOf(f)
		if ls.RepairFlow != nil && apart {
			repair = append(repair, sls.LS{TSI: s.repairTSI(f.tsi), RepairFlow: ls.RepairFlow})
			ls.RepairFlow = nil
		}
		rs.LS = append(rs.LS, ls)
	}
	for _, p := range s.pools {
		repair = append(repair, s.poolChannel(p))
	}
	if len(rs.LS) == 0 {
		return nil, nil
	}
	doc := sls.STSID{RS: []sls.RS{rs}}
	switch to := s.cfg.RepairSession; {
	case !apart:
		doc.RS[0].LS = append(doc.RS[0].LS, repair...)
	case len(repair) > 0:
		if !to.Source.IsValid() {
			to.Source = s.cfg.Session.Source
		}
		doc.RS = append(doc.RS, sls.RS{Source: to.Source, Destination: to.Group, Port: to.Port, LS: repair})
	}
	return doc.Append(nil)
}

func (s *Sender) channelOf(f *flow) sls.LS {
	efdt := &fdt.Instance{
		Expires:          expiresNever,
		MaxTransportSize: uint32(s.cfg.MaxObject),
		FileTemplate:     f.track.Stem,
		Generation:       f.track.Run,
	}
	for _, x := range f.files {
		file := fdt.File{
			TOI: uint64(x.tx.toi), ContentLocation: x.name,
			ContentType: x.tx.out.ContentType, Generation: x.tx.out.Generation,
		}
		if n := x.tx.length; n >= 0 {
			file.ContentLength, file.HasContentLength = uint64(n), true
		}
		efdt.Files = append(efdt.Files, file)
	}
	f.describe(efdt)
	src := &sls.SrcFlow{RealTime: f != s.meta, EFDT: efdt}
	codepoints := []uint8{cpMedia}
	if f == s.meta {
		codepoints = []uint8{cpFile, cpInit, cpMedia}
	} else if f.track.Representation != "" {
		src.Media = &sls.MediaInfo{ContentType: f.track.Kind.String(), RepID: f.track.Representation}
	}
	if f.entities {
		codepoints = append(codepoints, sls.CPMediaEntity)
	}
	for _, x := range f.files {
		if !slices.Contains(codepoints, x.tx.cp) {
			codepoints = append(codepoints, x.tx.cp)
		}
	}
	for _, cp := range codepoints {
		p, _ := sls.BuiltinPayload(cp)
		src.Payloads = append(src.Payloads, p)
	}
	ls := sls.LS{TSI: f.tsi, SrcFlow: src, Bandwidth: uint32(min((f.limit+999)/1000, math.MaxUint32))}
	if !s.cfg.NoRepair && f.pool == nil {
		ls.RepairFlow = &sls.RepairFlow{
			HasOTI: true, MaximumDelay: uint32(s.cfg.RepairAge / time.Millisecond), Protected: []sls.ProtectedObject{{TSI: f.tsi}},
		}
		if tsi := s.growingTSI(f.tsi); tsi != 0 {
			ls.RepairFlow.GrowingTSI = tsi
			ls.RepairFlow.GrowingDelay = uint32(time.Duration(f.maxPatience()) * s.cfg.GrowingDelay / time.Millisecond)
		}
		// F and T vary with the object and come in each packet's EXT_FTI.
		fec.AppendOTI(ls.RepairFlow.OTI[:0], fec.OTI{
			SymbolSize: uint16(s.unit), SourceBlocks: 1, SubBlocks: 1, Alignment: symbolAlignment,
		})
	}
	return ls
}
