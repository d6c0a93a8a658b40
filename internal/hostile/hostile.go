// Package hostile makes the packets of somebody who sends to a multicast session that is another's, for tests: everything
// that is unauthenticated is forged, and everything that was heard may be sent again.
package hostile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/flute/lct"
	"github.com/treedn/treedn/flute/seal"
	"github.com/treedn/treedn/route"
	"github.com/treedn/treedn/route/sls"
)

// Mark is in all forged payloads. No node may ever give it to anybody.
var Mark = []byte("\xf0\x9f\x98\x88<forged mark")

// Packet is one UDP payload.
type Packet struct {
	Bytes []byte
	Seal  bool // it goes to the port of the seals
}

// Attacker forges packets. Its methods are safe for concurrent use.
type Attacker struct {
	service string
	session route.Session
	marks   []byte

	mu       sync.Mutex // guards below
	r        *rand.Rand
	living   []object // the newest objects of the session, with source packets
	repair   []object // likewise, of repair packets
	packages []uint32 // TOIs of the newest packages
	seals    [][]byte // the newest ones
	names    []string // of objects, from the seals
	past     []Packet // to be sent again
	next     int
	signals  [2][]Packet // made before: it takes longer to make them than to send them
}

// maxSignals bounds the packages of a kind that are made.
const maxSignals = 256

type object struct{ tsi, toi uint32 }

const remembered = 8

// New returns an Attacker that has heard nothing yet.
func New(service string, session route.Session, seed uint64) *Attacker {
	return &Attacker{
		service: service, session: session, marks: bytes.Repeat(Mark, 90),
		r: rand.New(rand.NewPCG(seed, seed)), living: []object{{2, 1}, {3, 1}}, repair: []object{{4, 1}},
	}
}

// Past makes packets those that are sent again by the class "replay".
func (a *Attacker) Past(packets []Packet) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.past = packets
}

// Hear tells of a true packet.
func (a *Attacker) Hear(p Packet) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p.Seal {
		var d seal.Datagram
		if d.Unmarshal(p.Bytes) != nil {
			return
		}
		a.seals = remember(a.seals, bytes.Clone(p.Bytes))
		for _, rec := range d.Records {
			if rec.Flags&seal.Named != 0 && !slices.Contains(a.names, string(rec.Name)) {
				a.names = remember(a.names, string(rec.Name))
			}
		}
		return
	}
	var h lct.Header
	if _, err := h.Unmarshal(p.Bytes); err != nil || !h.HasTOI {
		return
	}
	o := object{uint32(h.TSI), uint32(h.TOI)}
	list := &a.living
	switch {
	case h.TSI == 0:
		if !slices.Contains(a.packages, o.toi) {
			a.packages = remember(a.packages, o.toi)
		}
		return
	case h.PSI&psiSource == 0:
		list = &a.repair
	}
	if !slices.Contains(*list, o) {
		*list = remember(*list, o)
	}
}

func remember[T any](list []T, x T) []T {
	if len(list) >= remembered {
		list = append(list[:0], list[1:]...)
	}
	return append(list, x)
}

// Classes are the names of what Forge makes.
func Classes() []string {
	names := make([]string, len(classes))
	for i := range classes {
		names[i] = classes[i].name
	}
	return names
}

// Forge makes a packet of a class, given by its place in Classes.
func (a *Attacker) Forge(class int) Packet {
	a.mu.Lock()
	defer a.mu.Unlock()
	return classes[class].forge(a)
}

// Any makes a packet of a class that chance chooses.
func (a *Attacker) Any() Packet {
	a.mu.Lock()
	defer a.mu.Unlock()
	return classes[a.r.IntN(len(classes))].forge(a)
}

var classes = []struct {
	name  string
	forge func(a *Attacker) Packet
}{
	{"random octets", func(a *Attacker) Packet { return Packet{Bytes: a.random(a.r.IntN(1400)), Seal: a.r.IntN(4) == 0} }},
	{"random packets", func(a *Attacker) Packet {
		return packet{object: object{a.r.Uint32N(6), a.r.Uint32()}, off: a.r.Uint32N(1 << 20), data: a.mark()}.make()
	}},
	{"payload of living objects", func(a *Attacker) Packet {
		return packet{object: a.alive(), off: a.r.Uint32N(300_000), data: a.mark()}.make()
	}},
	{"beginnings of living objects", func(a *Attacker) Packet {
		return packet{object: a.alive(), data: a.mark()}.make()
	}},
	{"payload of objects to come", func(a *Attacker) Packet {
		return packet{object: a.coming(), off: a.r.Uint32N(50) * 1000, data: a.mark()}.make()
	}},
	{"whole objects of any name", func(a *Attacker) Packet {
		o := a.alive()
		o.toi = a.r.Uint32()
		data := a.mark()
		return packet{object: o, data: data, tol: int64(len(data)), close: true}.make()
	}},
	{"whole objects to come", func(a *Attacker) Packet {
		data := a.mark()
		return packet{object: a.coming(), data: data, tol: int64(len(data)), close: true}.make()
	}},
	{"far offsets", func(a *Attacker) Packet {
		return packet{object: a.alive(), off: a.r.Uint32N(60_000_000), data: a.mark()}.make()
	}},
	{"flags A and B", func(a *Attacker) Packet {
		o := a.alive()
		if a.r.IntN(2) == 0 {
			o = a.coming()
		}
		p := packet{object: o, off: a.r.Uint32N(300_000), data: a.mark()[:a.r.IntN(2)*400], close: true}.make()
		p.Bytes[1] |= 2 // A
		return p
	}},
	{"EXT_TOL", func(a *Attacker) Packet {
		return packet{object: a.alive(), off: 0, tol: int64(a.r.Uint32N(400_000) + 1), close: a.r.IntN(2) == 0}.make()
	}},
	{"FEC symbols", func(a *Attacker) Packet {
		o := a.repair[a.r.IntN(len(a.repair))]
		o.toi += a.r.Uint32N(3)
		oti, err := route.RepairOTI(int64(a.r.Uint32N(400_000)+1), 1344, 1024)
		if err != nil {
			panic(err)
		}
		k, _, _ := oti.Block(0)
		data := slices.Clone(a.marks[:1344])
		binary.BigEndian.PutUint64(data[100:], a.r.Uint64())
		return packet{object: o, repair: true, off: uint32(k) + a.r.Uint32N(30), data: data, fti: fec.AppendOTI(nil, oti)}.make()
	}},
	{"small FEC blocks of any object", func(a *Attacker) Packet {
		o := a.repair[a.r.IntN(len(a.repair))]
		o.toi = a.r.Uint32()
		oti, err := route.RepairOTI(500, 512, 1024)
		if err != nil {
			panic(err)
		}
		k, _, _ := oti.Block(0)
		return packet{object: o, repair: true, off: uint32(k), data: bytes.Repeat(a.marks[:512], k), fti: fec.AppendOTI(nil, oti)}.make()
	}},
	{"S-TSID", func(a *Attacker) Packet { return a.some(0, (*Attacker).stsid) }},
	{"manifests", func(a *Attacker) Packet { return a.some(1, (*Attacker).manifest) }},
	{"EFDT", func(a *Attacker) Packet {
		in := fdt.Instance{Expires: 0xffffffff, Files: []fdt.File{{TOI: uint64(a.r.Uint32N(10) + 1), ContentLocation: "evil", Generation: a.generation()}}}
		b, err := in.Append(nil)
		if err != nil {
			panic(err)
		}
		return packet{object: object{a.alive().tsi, 0}, data: b, tol: int64(len(b))}.make()
	}},
	{"pieces of packages", func(a *Attacker) Packet {
		p := packet{object: object{0, a.r.Uint32()}, codepoint: 3, off: a.r.Uint32N(3000), data: a.mark()[:100]}
		if n := len(a.packages); n > 0 {
			p.toi = a.packages[a.r.IntN(n)] + a.r.Uint32N(2)
		}
		if a.r.IntN(2) == 0 {
			p.tol = int64(a.r.Uint32N(4000) + 1)
		}
		return p.make()
	}},
	{"seals", func(a *Attacker) Packet {
		if len(a.seals) == 0 {
			return Packet{Bytes: a.random(300), Seal: true}
		}
		b := slices.Clone(a.seals[a.r.IntN(len(a.seals))])
		switch a.r.IntN(5) {
		case 0: // another digest, later
			binary.BigEndian.PutUint64(b[8:], binary.BigEndian.Uint64(b[8:])+uint64(a.r.IntN(5e6)))
			b[17+20] ^= 1
		case 1: // a newer generation
			b[17+1+a.r.IntN(8)]++
		case 2: // final, or aborted
			b[17] ^= byte(1 + a.r.IntN(2))
		case 3:
			b[a.r.IntN(len(b))] ^= 1 << a.r.IntN(8)
		case 4: // from the far future
			b[8+2]++
		}
		return Packet{Bytes: b, Seal: true}
	}},
	{"replay", func(a *Attacker) Packet {
		if len(a.past) == 0 {
			return Packet{Bytes: a.random(100)}
		}
		a.next = (a.next + 1) % len(a.past)
		return a.past[a.next]
	}},
}

func (a *Attacker) random(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(a.r.Uint32())
	}
	return b
}

// mark returns a payload of 100 octets or more.
func (a *Attacker) mark() []byte { return a.marks[:400+a.r.IntN(900)] }

func (a *Attacker) alive() object { return a.living[a.r.IntN(len(a.living))] }

// coming is an object that follows one that lives.
func (a *Attacker) coming() object {
	o := a.alive()
	for _, p := range a.living {
		if p.tsi == o.tsi {
			o.toi = max(o.toi, p.toi)
		}
	}
	o.toi += 1 + a.r.Uint32N(3)
	return o
}

// generation is one that comes after all that are true, or close to them.
func (a *Attacker) generation() uint64 {
	if a.r.IntN(2) == 0 {
		return a.r.Uint64() | 1<<63
	}
	if n := len(a.seals); n > 0 {
		return binary.BigEndian.Uint64(a.seals[n-1][8:]) + uint64(a.r.IntN(1000))
	}
	return a.r.Uint64()
}

// some returns one of those that make has made, or a new one.
func (a *Attacker) some(kind int, make func(*Attacker) Packet) Packet {
	list := a.signals[kind]
	if len(list) < maxSignals && a.r.IntN(20) == 0 || len(list) == 0 {
		p := make(a)
		a.signals[kind] = append(list, p)
		return p
	}
	return list[a.r.IntN(len(list))]
}

func (a *Attacker) stsid() Packet {
	doc := sls.STSID{RS: []sls.RS{{LS: []sls.LS{a.flow(a.alive().tsi)}}}}
	body, err := doc.Append(nil)
	if err != nil {
		panic(err)
	}
	return a.signal(sls.Part{ContentType: sls.MediaTypeSTSID, Location: "stsid.xml", Generation: a.generation(), Body: body})
}

func (a *Attacker) manifest() Packet {
	name := fmt.Sprintf("evil%d.m3u8", a.r.IntN(1000))
	for _, n := range a.names {
		if kind := n[max(0, len(n)-4):]; (kind == "m3u8" || kind == ".mpd") && a.r.IntN(3) > 0 {
			name = n
		}
	}
	body := append([]byte("#EXTM3U\n#"), a.mark()[:200]...)
	return a.signal(sls.Part{ContentType: "application/vnd.apple.mpegurl", Location: name, Generation: a.generation(), Body: body})
}

func (a *Attacker) flow(tsi uint32) sls.LS {
	return sls.LS{TSI: tsi, SrcFlow: &sls.SrcFlow{EFDT: &fdt.Instance{
		Expires: 0xffffffff, MaxExpiresDelta: 60, MaxTransportSize: 1 << 20, FileTemplate: fmt.Sprintf("evil-%d-$TOI$", a.r.Uint32()),
	}}}
}

// signal is a package of one packet.
func (a *Attacker) signal(part sls.Part) Packet {
	pkg := sls.Package{Version: byte(a.r.Uint32()), NoEnvelope: true, Parts: []sls.Part{part}}
	b, err := pkg.AppendGzip(nil)
	if err != nil {
		panic(err)
	}
	return packet{object: object{0, uint32(pkg.TOI(true))}, codepoint: 3, data: b, tol: int64(len(b))}.make()
}

const psiSource = 2

// packet is a packet in the making.
type packet struct {
	object
	codepoint uint8
	repair    bool
	off       uint32
	data      []byte
	tol       int64
	close     bool
	fti       []byte
}

func (p packet) make() Packet {
	h := lct.Header{
		PSI: psiSource, Codepoint: max(p.codepoint, 8), TSI: uint64(p.tsi), TOI: uint64(p.toi), HasTOI: true,
		CloseObject: p.close,
	}
	if p.codepoint != 0 {
		h.Codepoint = p.codepoint
	}
	if p.repair {
		h.PSI = 0
	}
	var err error
	if p.tol > 0 {
		if h.Extensions, err = h.Extensions.AppendTOL(uint64(p.tol)); err != nil {
			panic(err)
		}
	}
	if p.fti != nil {
		if h.Extensions, err = h.Extensions.AppendFTI(p.fti); err != nil {
			panic(err)
		}
	}
	b, err := h.AppendTo(nil)
	if err != nil {
		panic(err)
	}
	b = binary.BigEndian.AppendUint32(b, p.off)
	return Packet{Bytes: append(b, p.data...)}
}
