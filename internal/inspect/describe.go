package inspect

import (
	"bytes"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/flute/gunzip"
	"github.com/treedn/treedn/route/diagnose"
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
	ch.instances = append(ch.instances, diagnose.Instance{TSI: ch.tsi, Instance: in})
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
	if (!known || !knows || n == m) && bytes.Equal(before.ContentMD5, now.ContentMD5) {
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

// join takes what the S-TSID says of the channel.
func (ch *channel) join() {
	rs := ch.s.in.plans[ch.s.to]
	if rs == nil {
		return
	}
	for i := range rs.LS {
		ls := &rs.LS[i]
		if uint64(ls.TSI) != ch.tsi {
			continue
		}
		ch.flow, ch.template = ls, nil
		if f := ls.SrcFlow; f != nil && f.EFDT != nil && f.EFDT.FileTemplate != "" {
			if t, err := fdt.ParseTemplate(f.EFDT.FileTemplate); err == nil {
				ch.template = &t
			}
		}
	}
}
