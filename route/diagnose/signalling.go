package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/route/sls"
)

func stamp(t time.Time) string {
	if t.IsZero() {
		return "no time"
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}

// route tells whether the session is one of ROUTE.
func (d *diagnosis) route() bool {
	if d.in.STSID != nil || d.in.Package != nil {
		return true
	}
	return slices.ContainsFunc(d.in.Channels, func(c Channel) bool { return c.Protocol == ProtocolROUTE && d.here(&c) })
}

// here tells whether a channel belongs to the session of the diagnosis.
func (d *diagnosis) here(c *Channel) bool {
	return c.Destination == d.in.Destination
}

// signalling judges the package of TSI 0.
func (d *diagnosis) signalling() {
	in := d.in
	if !d.route() {
		return
	}
	if in.Package == nil && in.STSID == nil {
		if in.Described {
			return
		}
		slsChannels := d.channels(in.Destination, 0)
		if len(slsChannels) == 0 {
			d.add(Fatal, "sls-none", "RFC 9223 2.1", "SLS", "no packets have the TSI 0: no S-TSID comes, and nothing names the objects")
			return
		}
		d.add(Fatal, "sls-incomplete", "A/331 7.1.6", "SLS", "packets come with the TSI 0, but no package of signalling came whole: nothing names the objects")
		return
	}
	if p := in.Package; p != nil {
		d.slsPackage(p)
	}
	if in.STSID == nil {
		d.add(Fatal, "stsid-none", "A/331 7.1.4", "SLS", "the package of signalling has no S-TSID: nothing names the objects")
	}
	d.usbd()
}

func (d *diagnosis) slsPackage(p *Package) {
	where := fmt.Sprintf("SLS: package 0x%08x", uint32(p.TOI))
	if p.SameTOI {
		d.add(Fault, "sls-version", "A/331 C", where, "a package changes without a new version in its TOI: receivers that go by it keep the old one")
	}
	want := p.Package
	want.Version = p.TOI.Version()
	bits := want.TOI(p.Gzip)
	for _, b := range []struct {
		bit  sls.TOI
		what string
	}{
		{sls.TOIUSBD, "a USBD"}, {sls.TOISTSID, "an S-TSID"}, {sls.TOIMPD, "a manifest"}, {sls.TOIAPD, "an APD"},
		{sls.TOIHELD, "a HELD"}, {sls.TOIDWD, "a DWD"}, {sls.TOIRSAT, "an RSAT"}, {sls.TOIGzip, "compression"},
	} {
		switch {
		case bits.Has(b.bit) && !p.TOI.Has(b.bit):
			d.add(Note, "sls-toi", "A/331 C", where, "its TOI does not tell of %s, which it has: receivers that filter by the TOI pass over it", b.what)
		case !bits.Has(b.bit) && p.TOI.Has(b.bit):
			d.add(Note, "sls-toi", "A/331 C", where, "its TOI tells of %s, which it does not have", b.what)
		}
	}
	if p.Package.NoEnvelope {
		d.add(Note, "sls-envelope", "A/331 7.1.6", where, "it has no metadataEnvelope, so that its fragments have no versions")
	}
	manifest := false
	for i := range p.Package.Parts {
		part := &p.Package.Parts[i]
		manifest = manifest || part.Kind() == sls.KindManifest
		if !d.in.Now.IsZero() && !part.Valid(d.in.Now) {
			d.add(Fault, "sls-validity", "A/331 7.1.6", fmt.Sprintf("%s: %.60q", where, part.Location), "it is valid from %s to %s, and it is %s",
				stamp(part.ValidFrom), stamp(part.ValidUntil), stamp(d.in.Now))
		}
	}
	if !manifest && d.in.Manifest == nil && d.media() {
		d.add(Fault, "sls-manifest", "A/331 7.1.5", where, "it has no manifest, though the S-TSID has channels of media: a player cannot start")
	}
}

// media tells whether the S-TSID has channels of a presentation.
func (d *diagnosis) media() bool {
	found := false
	d.eachLS(func(_ *sls.RS, ls *sls.LS) {
		found = found || ls.SrcFlow != nil && (ls.SrcFlow.Media != nil || ls.SrcFlow.RealTime)
	})
	return found
}

func (d *diagnosis) eachLS(f func(*sls.RS, *sls.LS)) {
	if d.in.STSID == nil {
		return
	}
	for i := range d.in.STSID.RS {
		rs := &d.in.STSID.RS[i]
		for k := range rs.LS {
			f(rs, &rs.LS[k])
		}
	}
}

func (d *diagnosis) usbd() {
	if d.in.LLS == nil || d.in.LLS.SLT == nil {
		return // not ATSC, where it need not be
	}
	if d.in.USBD == nil {
		if d.in.Package != nil {
			d.add(Fault, "usbd-none", "A/331 7.1.3", "SLS", "the package of signalling has no USBD, which receivers of ATSC 3.0 need")
		}
		return
	}
	ids := []string{}
	for _, s := range d.in.LLS.SLT.Services {
		if s.Signalling != nil && s.Signalling.Destination == d.in.Destination {
			ids = append(ids, fmt.Sprint(s.ID))
		}
	}
	if len(ids) > 0 && !slices.Contains(ids, d.in.USBD.ServiceID) {
		d.add(Fault, "usbd-service", "A/331 7.1.3", "USBD", "it is of the service %.40q, the SLT has %s here", d.in.USBD.ServiceID, strings.Join(ids, ", "))
	}
	if d.in.USBD.Inactive {
		d.add(Fault, "usbd-inactive", "A/331 7.1.3", "USBD", "serviceStatus says that the service is not on air")
	}
}

// stsid judges the channels that the S-TSID announces.
func (d *diagnosis) stsid() {
	if d.in.STSID == nil {
		return
	}
	if len(d.in.STSID.RS) == 0 {
		d.add(Fatal, "stsid-empty", "A/331 7.1.4", "S-TSID", "it has no RS: it announces no channel")
		return
	}
	announced := map[uint64]bool{}
	received, silent, elsewhere := 0, []string{}, ""
	for i := range d.in.STSID.RS {
		rs := &d.in.STSID.RS[i]
		to := rs.Destination
		if !to.IsValid() {
			to = d.in.Destination.Addr()
		}
		port := rs.Port
		if port == 0 {
			port = d.in.Destination.Port()
		}
		at := d.in.Destination
		if to.IsValid() && port != 0 {
			at = netip.AddrPortFrom(to, port)
		}
		d.source("stsid-source", "A/331 7.1.4", "S-TSID", rs.Source, d.arrivals(at))
		for k := range rs.LS {
			ls := &rs.LS[k]
			announced[uint64(ls.TSI)] = true
			channels := d.channels(at, uint64(ls.TSI))
			if len(channels) == 0 && d.unheard(fmt.Sprintf("S-TSID: LS %d", ls.TSI), at) {
				continue
			}
			if len(channels) == 0 {
				silent = append(silent, fmt.Sprint(ls.TSI))
				if at != d.in.Destination && len(d.channels(d.in.Destination, uint64(ls.TSI))) > 0 {
					elsewhere = fmt.Sprintf("; it says that they are at %s, and packets with such a TSI come to %s: was it sent again under another address?", at, d.in.Destination)
				}
			} else {
				received++
			}
			d.ls(ls, channels)
		}
	}
	if received == 0 && len(silent) > 0 {
		d.add(Fatal, "stsid-packets", "A/331 7.1.4", "S-TSID", "no packets come on any of its LCT channels (%s)%s", strings.Join(silent, ", "), elsewhere)
	} else {
		for _, tsi := range silent {
			d.add(Fault, "stsid-packets", "A/331 7.1.4", "S-TSID: LS "+tsi, "LCT channel %s has no packets", tsi)
		}
	}
	d.eachLS(func(_ *sls.RS, ls *sls.LS) {
		if ls.RepairFlow == nil {
			return
		}
		if g := ls.RepairFlow.GrowingTSI; g != 0 {
			announced[uint64(g)] = true
		}
		for _, p := range ls.RepairFlow.Protected {
			if !announced[uint64(p.TSI)] && p.Session == "" {
				d.add(Fault, "repair-source", "A/331 A.4.3", fmt.Sprintf("S-TSID: LS %d", ls.TSI), "its repair flow protects the TSI %d, which no LS announces", p.TSI)
			}
		}
	})
	for i := range d.in.Channels {
		c := &d.in.Channels[i]
		if c.Protocol == ProtocolROUTE && c.TSI != 0 && !announced[c.TSI] && d.here(c) {
			d.add(Fault, "stsid-unannounced", "A/331 7.1.4", "S-TSID", "packets come with the TSI %d to %s, which no LS announces: receivers drop them", c.TSI, c.Destination)
		}
	}
}

func (d *diagnosis) ls(ls *sls.LS, channels []*Channel) {
	where := fmt.Sprintf("S-TSID: LS %d", ls.TSI)
	now := d.in.Now
	if ls.TSI == 0 {
		d.add(Fault, "stsid-tsi", "RFC 9223 2.1", where, "TSI 0 is that of the signalling")
	}
	if !now.IsZero() && (!ls.Start.IsZero() && now.Before(ls.Start) || !ls.End.IsZero() && !now.Before(ls.End)) {
		d.add(Fault, "stsid-time", "A/331 7.1.4", where, "it is on air from %s to %s, and it is %s", stamp(ls.Start), stamp(ls.End), stamp(now))
	}
	if ls.SrcFlow == nil && ls.RepairFlow == nil {
		d.add(Note, "stsid-flow", "A/331 7.1.4", where, "it has neither a source nor a repair flow; GPAC refuses the S-TSID for it")
	}
	if ls.SrcFlow != nil {
		d.srcFlow(where, ls, channels)
	}
	if r := ls.RepairFlow; r != nil {
		switch {
		case !r.HasOTI:
			d.add(Fault, "repair-oti", "A/331 A.4.3", where, "its repair flow has no fecOTI, so that nobody knows how to decode it")
		case r.OTI[6] == 0 && r.OTI[7] == 0:
			d.add(Fault, "repair-oti", "RFC 6330 3.3.2", where, "its repair flow is of unknown FEC: %x is no OTI of RaptorQ, for its symbols have no octets", r.OTI)
		}
		if len(r.Protected) == 0 && ls.SrcFlow == nil {
			d.add(Fault, "repair-source", "A/331 A.4.3", where, "its repair flow protects no object")
		}
	}
}

func (d *diagnosis) srcFlow(where string, ls *sls.LS, channels []*Channel) {
	f := ls.SrcFlow
	for _, p := range f.Payloads {
		if p.SrcFECPayloadID != 0 {
			d.add(Fault, "payload-id", "RFC 9223 5.1", where, "codepoint %d has srcFecPayloadId %d: only 0, a start_offset, has a meaning", p.Codepoint, p.SrcFECPayloadID)
		}
		if p.FormatID < sls.FormatFile || p.FormatID > sls.FormatSignedPackage {
			d.add(Fault, "payload-format", "A/331 A.3.2.2", where, "codepoint %d has formatId %d, which has no meaning", p.Codepoint, p.FormatID)
		}
	}
	undescribed := f.EFDT == nil
	for _, c := range channels {
		for _, cp := range c.Codepoints {
			if _, ok := f.Payload(cp); !ok {
				d.add(Fault, "codepoint", "A/331 A.3.6", where, "packets come with codepoint %d, which it does not declare and the standard does not define: receivers drop them", cp)
			} else if cp == 0 {
				d.add(Note, "codepoint-reserved", "A/331 A.3.6", where, "packets come with codepoint 0, which is reserved; it declares it")
			}
		}
		if c.Packets == c.Repair {
			undescribed = false
		}
	}
	if undescribed && len(channels) > 0 {
		if !slices.ContainsFunc(d.in.Instances, func(i Instance) bool { return i.TSI == uint64(ls.TSI) }) {
			d.add(Fault, "efdt-none", "A/331 A.3.3.2", where, "it has no EFDT, and none came with the TOI 0: nothing names its objects")
		}
		return
	}
	if f.EFDT != nil {
		d.efdt(where, f, channels)
	}
}

func (d *diagnosis) efdt(where string, f *sls.SrcFlow, channels []*Channel) {
	e := f.EFDT
	d.expiry(where+": EFDT", e)
	if t := e.FileTemplate; t != "" {
		if _, err := fdt.ParseTemplate(t); err != nil {
			what := fmt.Sprintf("the media template %.80q is malformed", t)
			if !strings.Contains(t, "$TOI") {
				what = fmt.Sprintf("the media template %.80q lacks $TOI$", t)
			}
			d.add(Fault, "efdt-template", "RFC 9223 6.3.1", where, "%s: nothing names its segments", what)
		}
		if e.MaxTransportSize == 0 {
			d.add(Note, "efdt-size", "A/331 A.3.3.2.3", where, "it has a fileTemplate without maxTransportSize, which is required then")
		}
	} else if f.RealTime && len(e.Files) == 0 {
		d.add(Fault, "efdt-template", "A/331 A.3.3.2.3", where, "its EFDT has neither File nor fileTemplate: nothing names its objects")
	}
	if f.Media == nil && e.FileTemplate == "" {
		return
	}
	if len(e.Files) == 0 && e.FileTemplate != "" && !d.initElsewhere(f) {
		d.add(Fault, "efdt-init", "A/331 A.3.3.2.6", where, "its EFDT lists no init segment, without which a player cannot start")
	}
	if e.FileTemplate == "" || len(channels) == 0 {
		return
	}
	for _, file := range e.Files {
		seen := false
		for _, c := range channels {
			seen = seen || slices.ContainsFunc(c.Objects, func(o Object) bool { return o.TOI == file.TOI })
		}
		if !seen {
			d.add(Fault, "init-none", "A/331 A.3.3.2.6", where, "the init segment %.80q (TOI %d) was never seen: a player cannot start", file.ContentLocation, file.TOI)
		}
	}
}

// initElsewhere tells whether another flow may have the init segment of a flow that has none: the one that the MPD names,
// or any file if there is no MPD.
func (d *diagnosis) initElsewhere(f *sls.SrcFlow) (yes bool) {
	want := ""
	if m := d.in.Manifest; m != nil && f.Media != nil {
		for _, r := range m.Representations {
			if r.ID == f.Media.RepID {
				want = strings.ReplaceAll(r.Init, "$RepresentationID$", r.ID)
			}
		}
	}
	listed := func(in *fdt.Instance) {
		for i := range in.Files {
			yes = yes || want == "" || sameName(in.Files[i].ContentLocation, want)
		}
	}
	d.eachLS(func(_ *sls.RS, ls *sls.LS) {
		if ls.SrcFlow != nil && ls.SrcFlow != f && ls.SrcFlow.EFDT != nil {
			listed(ls.SrcFlow.EFDT)
		}
	})
	for _, i := range d.in.Instances {
		listed(i.Instance)
	}
	return yes
}

func (d *diagnosis) expiry(where string, in *fdt.Instance) {
	if d.in.Now.IsZero() {
		return
	}
	if end, ok := in.ExpiresAt(d.in.Now); ok && !d.in.Now.Before(end) {
		d.add(Fault, "fdt-expired", "RFC 6726 3.3", where, "the FDT expired at %s, and it is %s: receivers take no new objects by it; or a clock is wrong", stamp(end), stamp(d.in.Now))
	}
}
