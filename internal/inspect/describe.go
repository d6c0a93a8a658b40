package inspect

import (
	"bytes"
	"reflect"
	"slices"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/flute/gunzip"
	"github.com/treedn/treedn/route/diagnose"
	"github.com/treedn/treedn/route/sls"
)

// maxInstances bounds the FDT Instances of a channel that the diagnosis hears of, maxFiles the descriptions.
const (
	maxInstances = 64
	maxFiles     = 1 << 16
)

func (ch *channel) fdtInstance(o *object) {
	b, err := o.body(), error(nil)
	if encoding := encodingOf(o.cenc); encoding != "" {
		b, err = decoded(b, encoding)
	} else if gunzip.Is(b) {
		b, err = gunzip.Limits{}.Inflate(b)
	}
	var in *fdt.Instance
	if err == nil {
		in, err = fdt.Parse(b)
	}
	var version *uint32
	switch {
	case o.key.instance > 0:
		v := o.key.instance - 1
		version = &v
	case in != nil && in.HasEFDTVersion:
		v := uint32(in.EFDTVersion)
		version = &v
	}
	ch.signalling(o, "FDT", "", version, err)
	if err != nil {
		return
	}
	if len(ch.instances) >= maxInstances {
		ch.instances = ch.instances[1:]
	}
	if ch.described.IsZero() {
		ch.described = o.last
	}
	ch.instances = append(ch.instances, diagnose.Instance{TSI: ch.tsi, Instance: in})
	if o.key.instance > 0 {
		if before := ch.byID[o.key.instance]; before != nil && !reflect.DeepEqual(before.Files, in.Files) {
			ch.reused++ // many senders change the expiry alone
		}
		if ch.byID == nil || len(ch.byID) >= maxInstances {
			ch.byID = map[uint32]*fdt.Instance{}
		}
		ch.byID[o.key.instance] = in
	}
	for i := range in.Files {
		f := in.Resolve(in.Files[i])
		if before := ch.files[f.TOI]; before != nil {
			ch.supersede(before, &f)
		} else if len(ch.files) >= maxFiles {
			continue
		}
		ch.files[f.TOI] = &f
	}
	ch.redescribe()
}

// supersede makes place for an object whose TOI is used again, if the description says so.
func (ch *channel) supersede(before, now *fdt.File) {
	o := ch.objects[objectKey{toi: now.TOI}]
	if o == nil {
		return
	}
	n, known := before.Length()
	m, knows := now.Length()
	if o.mismatch != "" && !o.dropped && mismatch(now, o.body()) == "" {
		o.mismatch = ""
		return
	}
	a, b := &before.FEC, &now.FEC
	coded := a.EncodingID == b.EncodingID && a.EncodingSymbolLength == b.EncodingSymbolLength && a.MaxSourceBlockLength == b.MaxSourceBlockLength
	if !o.complete && knows && o.length == int64(m) && coded {
		return // its packets were faster
	}
	if (!known || !knows || n == m) && bytes.Equal(before.ContentMD5, now.ContentMD5) && coded {
		return
	}
	ch.retire(o)
}

// describe gives an object its description.
func (ch *channel) describe(o *object) {
	if !o.nameable() {
		return
	}
	f := ch.files[o.key.toi]
	if f == nil && ch.flow != nil && ch.flow.SrcFlow != nil && ch.flow.SrcFlow.EFDT != nil {
		efdt := ch.flow.SrcFlow.EFDT
		for i := range efdt.Files {
			if efdt.Files[i].TOI == o.key.toi {
				r := efdt.Resolve(efdt.Files[i])
				f = &r
			}
		}
	}
	if f != nil {
		o.file = f
	} else if ch.template != nil {
		o.template = ch.template.Expand(o.key.toi)
	}
	if o.file == nil || o.complete {
		return
	}
	if ch.protocol == flute {
		return // configureFromFile, with the packets
	}
	if n, ok := o.file.Length(); ok && o.length < 0 {
		_ = o.setLength(int64(min(n, maxObject+1)), true)
	}
}

// redescribe gives all objects of the channel the descriptions that are known now.
func (ch *channel) redescribe() {
	ch.s.in.renamed = true
	for _, o := range ch.objects {
		if o.name() != "" && o.complete {
			continue
		}
		ch.describe(o)
		if ch.protocol == flute && !o.hasInfo {
			o.configureFromFile(fec.EncodingID(o.codepoint))
		}
		ch.finish(o)
	}
}

// plan is what the S-TSID of a session says of one, mostly of itself.
type plan struct {
	by *session
	rs *sls.RS
}

// join takes what an S-TSID says of the channel: that of its own session, or else of its source, or else of any.
func (ch *channel) join() {
	s, best := ch.s, 0
	consider := func(rs *sls.RS, rank int) {
		for i := range rs.LS {
			if ls := &rs.LS[i]; uint64(ls.TSI) == ch.tsi && rank >= best {
				ch.flow, best = ls, rank
			}
		}
	}
	for _, p := range s.in.plans[s.to] {
		switch {
		case p.by == s:
			consider(p.rs, 4)
		case p.by.source == s.source:
			consider(p.rs, 3)
		default:
			consider(p.rs, 1)
		}
	}
	if s.stsid != nil { // a session that is sent again under another destination still has the old S-TSID
		for i := range s.stsid.RS {
			consider(&s.stsid.RS[i], 2)
		}
	}
	ch.template = nil
	if ch.flow == nil || ch.flow.SrcFlow == nil || ch.flow.SrcFlow.EFDT == nil {
		return
	}
	if t, err := fdt.ParseTemplate(ch.flow.SrcFlow.EFDT.FileTemplate); err == nil {
		ch.template = &t
	}
}

// described tells whether the S-TSID of another session describes this one.
func (s *session) described() bool {
	return slices.ContainsFunc(s.in.plans[s.to], func(p plan) bool { return p.by != s })
}
