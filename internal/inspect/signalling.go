package inspect

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"

	"github.com/treedn/treedn/flute/bundle"
	"github.com/treedn/treedn/flute/gunzip"
	"github.com/treedn/treedn/route/diagnose"
	"github.com/treedn/treedn/route/sls"
)

// received takes signalling out of an object that is complete.
func (ch *channel) received(o *object) {
	switch {
	case o.isInstance():
		ch.fdtInstance(o)
	case ch.protocol == routing && ch.tsi == 0:
		ch.s.slsPackage(o)
	}
}

func (ch *channel) signalling(o *object, kind, name string, version *uint32, err error) {
	tsi, toi := ch.tsi, o.key.toi
	e := SignallingEvent{
		Head: Head{Event: "signalling", Time: ch.s.in.now}, Source: ch.s.source, Dst: ch.s.to.Addr(), Port: ch.s.to.Port(),
		TSI: &tsi, TOI: &toi, Kind: kind, Name: name, Version: version,
	}
	if err != nil {
		e.Error = err.Error()
		ch.s.bad(fmt.Sprintf("%s of TSI %d", kind, tsi), err)
	}
	ch.s.in.cfg.Emit(&e)
}

func (s *session) bad(where string, err error) {
	if len(s.malformed) < maxMalformed {
		s.malformed = append(s.malformed, diagnose.Malformed{Where: where, Err: err})
	}
}

// maxPackages bounds the packages that are compared, fewer than there are versions, for these come again.
const maxPackages = 64

// slsPackage takes a package of TSI 0 apart.
func (s *session) slsPackage(o *object) {
	ch := o.ch
	body := o.body()
	p, err := unpack(body)
	version := uint32(sls.TOI(o.key.toi).Version())
	ch.signalling(o, "SLS", "", &version, err)
	if err != nil {
		return
	}
	same := s.pkg != nil && s.pkg.SameTOI
	if before, ok := s.packages[o.key.toi]; ok && before != o.sum {
		same = true
	}
	if s.packages == nil || len(s.packages) >= maxPackages {
		s.packages = map[uint64][sha256.Size]byte{}
	}
	s.packages[o.key.toi] = o.sum
	s.pkg = &diagnose.Package{TOI: sls.TOI(o.key.toi), Gzip: gunzip.Is(body), SameTOI: same, Package: p}
	for i := range p.Parts {
		part := &p.Parts[i]
		var version *uint32
		if part.Version != 0 {
			version = &part.Version
		}
		kind, err := s.part(part)
		ch.signalling(o, kind, part.Location, version, err)
	}
}

// part takes a fragment of signalling, and says what it is.
func (s *session) part(part *sls.Part) (kind string, err error) {
	switch part.Kind() {
	case sls.KindSTSID:
		t, err := sls.ParseSTSID(part.Body)
		if err == nil {
			s.takeSTSID(t)
		}
		return "S-TSID", err
	case sls.KindUSBD:
		u, err := sls.ParseUSBD(part.Body)
		if err == nil {
			s.usbd = u
		}
		return "USBD", err
	case sls.KindManifest:
		if bundle.MediaType(part.ContentType) != sls.MediaTypeDASH {
			return "HLS playlist", nil
		}
		m, err := parseMPD(part.Body)
		if err == nil {
			m.Location = part.Location
			s.manifest = m
		}
		return "MPD", err
	case sls.KindAPD:
		_, err = sls.ParseAPD(part.Body)
		return "APD", err
	case sls.KindHELD:
		_, err = sls.ParseHELD(part.Body)
		return "HELD", err
	case sls.KindDWD:
		_, err = sls.ParseDWD(part.Body)
		return "DWD", err
	case sls.KindRSAT:
		return "RSAT", nil
	}
	return bundle.MediaType(part.ContentType), nil
}

// maxPlans bounds the destinations that S-TSIDs describe, maxPlansEach how many describe one.
const (
	maxPlans     = 1024
	maxPlansEach = 64
)

func (s *session) takeSTSID(t *sls.STSID) {
	in := s.in
	s.stsid = t
	changed := map[netip.AddrPort]bool{s.to: true}
	for to, list := range in.plans {
		if list = slices.DeleteFunc(list, func(p plan) bool { return p.by == s }); len(list) == 0 {
			delete(in.plans, to)
		} else {
			in.plans[to] = list
		}
	}
	for i := range t.RS {
		rs := &t.RS[i]
		addr, port := rs.Destination, rs.Port
		if !addr.IsValid() {
			addr = s.to.Addr()
		}
		if port == 0 {
			port = s.to.Port()
		}
		to := netip.AddrPortFrom(addr, port)
		if list := in.plans[to]; list == nil && len(in.plans) >= maxPlans || len(list) >= maxPlansEach {
			continue
		}
		in.plans[to] = append(in.plans[to], plan{s, rs})
		changed[to] = true
		if to != s.to {
			in.announce(rs.Source, to)
		}
	}
	for _, other := range in.sorted() {
		if !changed[other.to] {
			continue
		}
		for _, ch := range other.sortedChannels() {
			ch.join()
			if ch.protocol == undecided && ch.flow != nil {
				ch.protocol = routing
				other.seenROUTE = true
				other.decided(ch)
			}
			ch.redescribe()
		}
	}
}
