package ingress

import (
	"context"
	"errors"
	"time"

	"github.com/treedn/treedn/internal/manifest"
	"github.com/treedn/treedn/internal/service"
	"github.com/treedn/treedn/route"
)

// incoming is one object on its way from the receiver to the service.
type incoming struct {
	out       *service.Object // nil until the object is worth a beginning
	read      int64           // octets given to the service
	repairing bool
	refused   bool          // the service has it already, or has a newer one
	hole      time.Time     // since when octets wait behind a hole; zero if none do
	delay     time.Duration // the longest that any did
}

var errLost = errors.New("object is incomplete and too late")

func (in *Ingress) events(now time.Time) {
	for {
		ev, ok := in.rx.Poll()
		if !ok {
			return
		}
		switch ev.Kind {
		case route.Started:
			in.objects[ev.Object] = &incoming{}
			if ev.Object.Seen() {
				in.advance(now, ev.Object)
			}
		case route.Progress:
			in.advance(now, ev.Object)
		case route.Complete:
			in.finish(now, ev.Object)
		case route.NeedRepair:
			in.repair(ev)
		case route.Lost:
			in.drop(ev.Object, errLost)
		case route.Manifest:
			in.manifest(now, ev)
		}
	}
}

func (in *Ingress) manifest(now time.Time, ev route.Event) {
	if !in.begins {
		return
	}
	gen := ev.Part.Generation
	if gen == 0 {
		gen = uint64(now.UnixMicro())
	}
	m := service.Meta{Name: ev.Part.Location, ContentType: ev.Part.ContentType, Generation: gen, Kind: service.Manifest}
	if !manifest.ValidName(m.Name) {
		in.log.Debug("manifest with an unusable name", "service", in.cfg.Service.Name())
		return
	}
	if err := in.cfg.Service.PutManifest(m, ev.Part.Body); err != nil && !errors.Is(err, service.ErrOlder) {
		in.log.Warn("manifest is not kept", "service", in.cfg.Service.Name(), "name", m.Name, "error", err)
	}
}

// advance gives the service what has become contiguous. The packets of a chunk end where the chunk ends, so that the end
// of what has come is a good place to cut when it is sent on.
func (in *Ingress) advance(now time.Time, o *route.Object) {
	x := in.objects[o]
	if x == nil || x.refused {
		return
	}
	x.watch(now, o)
	if x.out == nil {
		if !in.begin(now, o, x) {
			return
		}
	}
	for prefix := o.Prefix(); x.read < prefix; {
		b := o.Bytes(x.read)
		if len(b) == 0 {
			return
		}
		x.read += int64(len(b))
		if err := x.out.Write(b, x.read == prefix); err != nil {
			in.log.Warn("object is not kept", "service", in.cfg.Service.Name(), "name", o.Name(), "error", err)
			in.drop(o, err)
			return
		}
	}
}

// begin opens the object in the service. It returns false if there is nothing to open yet, or never will be.
func (in *Ingress) begin(now time.Time, o *route.Object, x *incoming) bool {
	m, ok := in.meta(o)
	if !ok {
		return false
	}
	refuse := func() bool {
		x.refused = true
		in.rx.Release(now, o)
		delete(in.objects, o)
		return false
	}
	if !in.begins || !manifest.ValidName(m.Name) {
		return refuse()
	}
	out, err := in.cfg.Service.Begin(m)
	if err != nil {
		if !errors.Is(err, service.ErrExists) && !errors.Is(err, service.ErrOlder) {
			in.log.Warn("object is not kept", "service", in.cfg.Service.Name(), "name", m.Name, "error", err)
		}
		return refuse()
	}
	x.out = out
	return true
}

// meta tells what an object is. A lone file shows by its first octets whether it is an init segment, whatever codepoint
// its sender chose.
func (in *Ingress) meta(o *route.Object) (service.Meta, bool) {
	m := service.Meta{Name: o.Name(), ContentType: o.ContentType(), Generation: o.Generation(), Length: o.Length()}
	if o.Templated() {
		m.Kind = service.Media
		m.Track = o.Track()
		if m.Track.Kind == route.Unknown {
			if t, ok := in.cfg.Service.Index().TrackOf(m.Name); ok {
				m.Track.Kind = service.RouteKind(t.Kind)
			}
		}
		return m, true
	}
	if o.Prefix() < 8 && !o.Complete() {
		return m, false
	}
	var head [8]byte
	if n, _ := o.ReadAt(head[:], 0); o.Init() || n == len(head) && string(head[4:]) == "ftyp" {
		m.Kind = service.Init
	}
	return m, true
}

func (in *Ingress) finish(now time.Time, o *route.Object) {
	in.advance(now, o)
	x := in.objects[o]
	if x == nil {
		return
	}
	if x.out != nil {
		if err := x.out.Commit(); err != nil {
			in.log.Warn("object is not kept", "service", in.cfg.Service.Name(), "name", o.Name(), "error", err)
		}
	}
	in.count(now, o, x)
	delete(in.objects, o)
	in.rx.Release(now, o)
}

// watch notes how long what has come waits for what was lost before it.
func (x *incoming) watch(now time.Time, o *route.Object) {
	switch {
	case o.Held() > o.Prefix():
		if x.hole.IsZero() {
			x.hole = now
		}
	case !x.hole.IsZero():
		x.delay = max(x.delay, now.Sub(x.hole))
		x.hole = time.Time{}
	}
}

// count counts an object that is complete.
func (in *Ingress) count(now time.Time, o *route.Object, x *incoming) {
	in.counts.Octets += uint64(o.Length())
	switch supplied := o.Supplied(); {
	case supplied > 0 && supplied == o.Length():
		in.counts.ObjectsUnicast++
	case supplied > 0:
		in.counts.ObjectsRepair++
	case o.Recovered() > 0:
		in.counts.ObjectsFEC++
	}
	if in.cfg.Delay != nil && !o.LateStart() {
		// Where the end was lost nothing stands behind the hole.
		in.cfg.Delay.Observe(max(x.delay, now.Sub(o.LastPacket())))
	}
}

// drop gives an object up.
func (in *Ingress) drop(o *route.Object, cause error) {
	x := in.objects[o]
	if x == nil {
		return
	}
	delete(in.objects, o)
	if x.out != nil {
		x.out.Abort(cause)
	}
	in.rx.Release(in.cfg.Now(), o)
}

const maxRepairs = 32

// repair asks the parents for what is missing. While an object still grows its FEC is yet to come, and is cheaper.
func (in *Ingress) repair(ev route.Event) {
	o := ev.Object
	x := in.objects[o]
	if x == nil || in.cfg.Repair == nil || ev.Growing || x.repairing || in.repairs >= maxRepairs || in.ctx == nil {
		return
	}
	want := Wanted{
		Session: in.cfg.Receiver.Session, TSI: o.TSI(), TOI: o.TOI(),
		Service: in.cfg.Service.Name(), Name: o.Name(), Missing: ev.Missing,
	}
	if o.Announced() {
		want.Generation = o.Generation()
	}
	x.repairing = true
	in.repairs++
	ctx := in.ctx
	in.group.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		err := in.cfg.Repair.Repair(ctx, want, func(off int64, p []byte, total int64) error {
			in.mu.Lock()
			defer in.mu.Unlock()
			if in.objects[o] != x {
				return errLost // complete by another way, or given up
			}
			now := in.cfg.Now()
			err := in.rx.Supply(now, o, off, p, total)
			in.settle(now)
			return err
		})
		in.mu.Lock()
		defer in.mu.Unlock()
		in.repairs--
		x.repairing = false
		if err != nil && !errors.Is(err, errLost) && ctx.Err() == nil {
			in.log.Debug("repair", "service", want.Service, "name", want.Name, "error", err)
		}
	})
}
