package diagnose

import (
	"fmt"
	"slices"
	"strings"

	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/route/sls"
)

// fdt judges the FDT Instances that came by themselves.
func (d *diagnosis) fdt() {
	latest := map[uint64]*fdt.Instance{}
	seen := map[string]bool{} // what was said of another file
	for _, i := range d.in.Instances {
		where := fmt.Sprintf("FDT of TSI %d", i.TSI)
		if len(i.Instance.Files) == 0 && i.Instance.FileTemplate == "" {
			d.add(Note, "fdt-empty", "RFC 6726 3.3", where, "an instance lists no file")
		}
		for k := range i.Instance.Files {
			f := i.Instance.Resolve(i.Instance.Files[k])
			if f.FEC.HasEncodingID && !knownFEC(f.FEC.EncodingID) && !seen[fmt.Sprint(i.TSI, " ", f.FEC.EncodingID)] {
				seen[fmt.Sprint(i.TSI, " ", f.FEC.EncodingID)] = true
				d.add(Fault, "fdt-fec", "RFC 6726 3.3", where, "%.80q has FEC encoding id %d, which is unknown: it cannot be put together", f.ContentLocation, f.FEC.EncodingID)
			}
			switch f.ContentEncoding {
			case "", "gzip", "zlib", "deflate", "null":
			default:
				if seen[fmt.Sprint(i.TSI, f.ContentEncoding)] {
					continue
				}
				seen[fmt.Sprint(i.TSI, f.ContentEncoding)] = true
				d.add(Fault, "fdt-encoding", "RFC 6726 3.4.2", where, "%.80q has the content encoding %.40q, which is unknown", f.ContentLocation, f.ContentEncoding)
			}
		}
		if n := latest[i.TSI]; n == nil || later(i.Instance, n) {
			latest[i.TSI] = i.Instance
		}
	}
	// Only the one that lasts longest matters.
	for _, i := range d.in.Instances {
		if latest[i.TSI] == i.Instance {
			d.expiry(fmt.Sprintf("FDT of TSI %d", i.TSI), i.Instance)
		}
	}
	for i := range d.in.Channels {
		c := &d.in.Channels[i]
		if c.Protocol != ProtocolFLUTE || len(c.Objects) == 0 || !d.here(c) || latest[c.TSI] != nil {
			continue
		}
		if !slices.ContainsFunc(c.Objects, func(o Object) bool { return !o.Early }) {
			continue // the instance may have come before the reception
		}
		d.add(Fatal, "fdt-none", "RFC 6726 3.2", fmt.Sprintf("TSI %d to %s", c.TSI, c.Destination), "no FDT Instance came whole: nothing names its %d objects", len(c.Objects))
	}
}

// later compares modulo 2^32.
func later(a, b *fdt.Instance) bool { return int32(a.Expires-b.Expires) > 0 }

// objects judges what arrived on the channels.
func (d *diagnosis) objects() {
	repair := false
	d.eachLS(func(_ *sls.RS, ls *sls.LS) { repair = repair || ls.RepairFlow != nil })
	for i := range d.in.Channels {
		c := &d.in.Channels[i]
		if !d.here(c) {
			continue
		}
		where := fmt.Sprintf("TSI %d to %s", c.TSI, c.Destination)
		d.flute(where, c)
		lost, nameless, complete, wrong, example := 0, 0, 0, 0, ""
		for _, o := range c.Objects {
			switch {
			case o.Complete:
				complete++
			case o.Lost:
				lost++
			}
			if o.Name == "" && !o.Early && c.TSI != 0 {
				nameless++
			}
			if o.Mismatch != "" {
				if wrong++; wrong == 1 {
					example = fmt.Sprintf("%.80q is not what its %s says", o.Name, o.Mismatch)
				}
			}
			if o.TOI == 0 {
				d.add(Fault, "toi-zero", "RFC 9223 3.2", where, "an object of media has the TOI 0, which is that of FDT Instances: receivers take it for one, or drop it")
			}
		}
		if lost > 0 {
			how := "nothing repairs them"
			if repair || c.Repair > 0 {
				how = "repair packets do not suffice, or were not used"
			}
			if complete == 0 {
				how += "; none is whole"
			}
			d.add(Fault, "loss", "", where, "%d of %d objects lack octets: %s", lost, len(c.Objects), how)
		}
		if wrong > 0 {
			d.add(Fault, "digest", "RFC 6726 3.4.2", where, "%d of %d objects have other octets than their digest says, and receivers drop them: %s", wrong, len(c.Objects), example)
		}
		if n := len(c.Objects); n > 0 && complete+lost == 0 && !d.found("fdt-none", where) {
			d.add(Note, "unfinished", "", where, "none of its %d objects came from beginning to end, but no packets are missing in between: listen for longer", n)
		}
		named := c.Protocol == ProtocolROUTE && (d.in.STSID != nil || d.in.Described) ||
			described(d.in.Instances, c.TSI)
		if nameless > 0 && named && c.Packets != c.Repair {
			d.add(Fault, "nameless", "RFC 6726 3.2", where, "%d of %d objects are named by nothing: receivers drop them", nameless, len(c.Objects))
		}
		if c.Closed {
			d.add(Note, "closed", "RFC 5651 5.1", where, "the sender has announced the end of the session (A flag)")
		}
	}
}

// found tells whether a rule was broken at a place.
func (d *diagnosis) found(rule, where string) bool {
	return slices.ContainsFunc(d.findings, func(f Finding) bool { return f.Rule == rule && f.Where == where })
}

// described tells whether an FDT Instance came.
func described(list []Instance, tsi uint64) bool {
	return slices.ContainsFunc(list, func(i Instance) bool { return i.TSI == tsi })
}

// flute judges what is odd about packets of FLUTE.
func (d *diagnosis) flute(where string, c *Channel) {
	if c.Protocol != ProtocolFLUTE {
		return
	}
	for _, cp := range c.Codepoints {
		if !knownFEC(cp) {
			d.add(Fault, "fec-codepoint", "RFC 6726 5", where, "packets come with codepoint %d, which is no FEC Encoding ID: receivers drop them", cp)
		}
	}
	if c.OtherFEC > 0 {
		d.add(Fault, "fec-codepoint", "RFC 6726 5", where, "%d packets have a codepoint that is not the FEC Encoding ID of their object: receivers drop them", c.OtherFEC)
	}
	if c.Unmarked > 0 {
		d.add(Fault, "fdt-extension", "RFC 6726 3.4.1", where, "%d packets have the TOI 0, which is that of FDT Instances, without an EXT_FDT: receivers drop them", c.Unmarked)
	}
	if c.Reused > 0 {
		d.add(Fault, "fdt-reused", "RFC 6726 3.4.1", where, "%d FDT Instances come again with other files under the same ID: the sender was started again, or counts wrong; receivers may keep the old ones", c.Reused)
	}
}

// manifest compares the MPD with the S-TSID.
func (d *diagnosis) manifest() {
	m := d.in.Manifest
	if m == nil || d.in.STSID == nil {
		return
	}
	where := "MPD"
	if m.Location != "" {
		where = fmt.Sprintf("MPD %.60q", m.Location)
	}
	flows := map[string][]*sls.LS{}
	d.eachLS(func(_ *sls.RS, ls *sls.LS) {
		if ls.SrcFlow != nil && ls.SrcFlow.Media != nil {
			flows[ls.SrcFlow.Media.RepID] = append(flows[ls.SrcFlow.Media.RepID], ls)
		}
	})
	known := map[string]bool{}
	for i := range m.Representations {
		r := &m.Representations[i]
		if known[r.ID] {
			continue // of another period
		}
		known[r.ID] = true
		list := flows[r.ID]
		if len(list) == 0 {
			if ls := d.byName(r); ls != nil {
				list = append(list, ls)
			}
		}
		if len(list) == 0 {
			d.add(Fault, "mpd-channel", "A/331 7.1.4", where, "representation %.60q has no LCT channel: players that choose it get nothing by broadcast", r.ID)
			continue
		}
		d.names(where, r, list)
	}
	d.eachLS(func(_ *sls.RS, ls *sls.LS) {
		if ls.SrcFlow == nil || ls.SrcFlow.Media == nil || known[ls.SrcFlow.Media.RepID] || len(known) == 0 {
			return
		}
		d.add(Note, "mpd-representation", "A/331 7.1.4", fmt.Sprintf("S-TSID: LS %d", ls.TSI), "it carries the representation %.60q, which the MPD does not have", ls.SrcFlow.Media.RepID)
	})
}

// template returns the fileTemplate that a pattern of an MPD amounts to. It is
// false if the names do not go by number.
func template(media, id string) (string, bool) {
	s := strings.ReplaceAll(media, "$RepresentationID$", strings.ReplaceAll(id, "$", "$$"))
	if strings.Contains(s, "$Time") || strings.Contains(s, "$SubNumber") {
		return "", false
	}
	return strings.ReplaceAll(s, "$Number", "$TOI"), true
}

// byName finds a channel whose template is that of the representation.
func (d *diagnosis) byName(r *Representation) (found *sls.LS) {
	want, ok := template(r.Media, r.ID)
	if !ok || r.Media == "" {
		return nil
	}
	d.eachLS(func(_ *sls.RS, ls *sls.LS) {
		if ls.SrcFlow != nil && ls.SrcFlow.EFDT != nil && sameName(ls.SrcFlow.EFDT.FileTemplate, want) {
			found = ls
		}
	})
	return found
}

// sameName compares two names of which either may have a base before it.
func sameName(a, b string) bool {
	a, b = normal(a), normal(b)
	if a == "" || b == "" {
		return false
	}
	return a == b || strings.HasSuffix(a, "/"+b) || strings.HasSuffix(b, "/"+a)
}

func normal(s string) string {
	return strings.ReplaceAll(strings.TrimPrefix(s, "./"), "%01d$", "$")
}

func (d *diagnosis) names(where string, r *Representation, list []*sls.LS) {
	if r.Media == "" {
		return
	}
	want, byNumber := template(r.Media, r.ID)
	for _, ls := range list {
		e := ls.SrcFlow.EFDT
		if e == nil || e.FileTemplate == "" {
			continue
		}
		channel := fmt.Sprintf("S-TSID: LS %d", ls.TSI)
		switch {
		case !byNumber:
			d.add(Fault, "mpd-template", "RFC 9223 6.3.1", channel, "the MPD names segments of %.60q by time (%.80q), which a fileTemplate cannot: they need File entries", r.ID, r.Media)
		case !sameName(e.FileTemplate, want):
			d.add(Fault, "mpd-template", "RFC 9223 6.3.1", channel, "it names segments %.80q, the MPD asks for %.80q: players find none", e.FileTemplate, r.Media)
		}
		if r.Init == "" || len(e.Files) == 0 {
			continue
		}
		init := strings.ReplaceAll(r.Init, "$RepresentationID$", r.ID)
		if !slices.ContainsFunc(e.Files, func(f fdt.File) bool { return sameName(f.ContentLocation, init) }) {
			d.add(Fault, "mpd-init", "A/331 A.3.3.2.6", channel, "it names the init segment %.80q, the MPD asks for %.80q: a player cannot start", e.Files[0].ContentLocation, init)
		}
	}
}
