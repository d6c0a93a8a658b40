package ingress

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/internal/manifest"
	"github.com/treedn/treedn/internal/sealing"
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

	// In a service with a gate:
	gate    *sealing.Object
	known   bool      // a seal tells of it
	sealed  int64     // of so many octets
	since   time.Time // when octets became readable last
	class   class     // while no seal tells of it
	doubted bool      // it counts in its class
}

var (
	errDisplaced = errors.New("a newer generation has begun")
	errFetched   = errors.New("it is fetched from a parent")
	errGone      = errors.New("it is complete by another way, or given up")
)

func (in *Ingress) events(now time.Time) {
	for {
		ev, ok := in.rx.Poll()
		if !ok {
			return
		}
		switch ev.Kind {
		case route.Started:
			in.start(now, ev.Object)
		case route.Progress:
			in.advance(now, ev.Object)
		case route.Complete:
			in.finish(now, ev.Object)
		case route.NeedRepair:
			in.repair(ev)
		case route.Lost:
			if x := in.objects[ev.Object]; x == nil || !in.refetch(now, ev.Object, x) {
				in.drop(ev.Object, Incomplete)
			}
		case route.Manifest:
			in.manifest(now, ev)
		case route.Signalling:
			in.signalling(now, ev.Signal)
		}
	}
}

func (in *Ingress) start(now time.Time, o *route.Object) {
	x := &incoming{since: now}
	in.objects[o] = x
	if in.cfg.Gate != nil {
		if x.class = classify(in.cfg.Service, o.Name()); x.class == expected {
			in.rx.Prefer(now, o)
		}
	}
	if o.Seen() {
		in.advance(now, o)
	}
}

func (in *Ingress) manifest(now time.Time, ev route.Event) {
	if !in.begins {
		return
	}
	m := service.Meta{
		Name: ev.Part.Location, ContentType: ev.Part.ContentType, Generation: ev.Part.Generation, Kind: service.Manifest,
	}
	if !manifest.ValidName(m.Name) {
		in.log.Debug("manifest with an unusable name", "service", in.cfg.Service.Name())
		return
	}
	if in.cfg.Gate != nil {
		// The type of a part is not sealed: the name tells it.
		m.ContentType = cache.ContentType(m.Name)
		in.hold(now, bodyKey{m.Name, m.Generation}, ev.Part.Body, func(_ time.Time, datagram []byte) {
			in.putManifest(m, ev.Part.Body, datagram)
		})
		return
	}
	if m.Generation == 0 {
		m.Generation = uint64(now.UnixMicro())
	}
	in.putManifest(m, ev.Part.Body, nil)
}

func (in *Ingress) putManifest(m service.Meta, body, datagram []byte) {
	err := in.cfg.Service.PutSealed(m, body, datagram)
	if err != nil && !errors.Is(err, service.ErrOlder) {
		in.log.Warn("manifest is not kept", "service", in.cfg.Service.Name(), "name", m.Name, "error", err)
	}
}

// advance gives the service what has become readable. The packets of a chunk end where the chunk ends, so that the end
// of what has come is a good place to cut when it is sent on; what is sealed ends there in any case.
func (in *Ingress) advance(now time.Time, o *route.Object) {
	x := in.objects[o]
	if x == nil || x.refused {
		return
	}
	x.watch(now, o)
	if in.cfg.Gate != nil {
		in.verify(now, o, x)
		return
	}
	if x.out == nil && !in.begin(now, o, x, o.Prefix()) {
		return
	}
	in.pass(o, x, o.Prefix())
}

// pass writes to the service up to an offset. It returns false if the object is gone.
func (in *Ingress) pass(o *route.Object, x *incoming, end int64) bool {
	for x.read < end {
		b := o.Bytes(x.read)
		if len(b) == 0 {
			break
		}
		b = b[:min(int64(len(b)), end-x.read)]
		x.read += int64(len(b))
		if err := x.out.Write(b, x.read == end); err != nil {
			in.drop(o, fmt.Errorf("%w: %w", Refused, err))
			return false
		}
	}
	return true
}

// begin opens the object in the service, of which a number of octets can be read. It returns false if there is nothing to
// open yet, or never will be.
func (in *Ingress) begin(now time.Time, o *route.Object, x *incoming, readable int64) bool {
	m, ok := in.meta(o, readable)
	if !ok {
		return false
	}
	out, err := in.open(m)
	if err != nil {
		in.refuse(now, o, x)
		return false
	}
	x.out = out
	return true
}

var errUnwanted = errors.New("not taken")

// open begins an object in the service.
func (in *Ingress) open(m service.Meta) (*service.Object, error) {
	if !in.begins || !manifest.ValidName(m.Name) {
		return nil, errUnwanted
	}
	out, err := in.cfg.Service.Begin(m)
	if err != nil && !errors.Is(err, service.ErrExists) && !errors.Is(err, service.ErrOlder) {
		in.log.Warn("object is not kept", "service", in.cfg.Service.Name(), "name", m.Name, "error", err)
	}
	return out, err
}

// refuse lets packets of the object go unread.
func (in *Ingress) refuse(now time.Time, o *route.Object, x *incoming) {
	x.refused = true
	in.rx.Release(now, o)
	in.forget(o, x)
}

// forget ends the interest in an object that the receiver has released or is about to.
func (in *Ingress) forget(o *route.Object, x *incoming) {
	delete(in.objects, o)
	in.trust(x)
	if x.gate != nil {
		x.gate.Release()
	}
}

// meta tells what an object is. A lone file shows by its first octets whether it is an init segment, whatever codepoint
// its sender chose.
func (in *Ingress) meta(o *route.Object, readable int64) (service.Meta, bool) {
	m := service.Meta{Name: o.Name(), ContentType: o.ContentType(), Generation: o.Generation(), Length: o.Length()}
	if in.cfg.Gate != nil {
		// Anybody may have sent a length.
		m.Length = -1
		if x := in.objects[o]; x != nil && x.gate != nil {
			m.Length = x.gate.End()
		}
	}
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
	if readable < 8 && !o.Complete() {
		return m, false
	}
	var head [8]byte
	if n, _ := o.ReadAt(head[:], 0); o.Init() || isInit(head[:n]) {
		m.Kind = service.Init
	}
	return m, true
}

// isInit tells an init segment by its first octets.
func isInit(head []byte) bool { return len(head) >= 8 && string(head[4:8]) == "ftyp" }

func (in *Ingress) finish(now time.Time, o *route.Object) {
	in.advance(now, o)
	if x := in.objects[o]; x != nil && in.cfg.Gate == nil {
		in.commit(now, o, x)
	}
}

// commit ends an object that is whole.
func (in *Ingress) commit(now time.Time, o *route.Object, x *incoming) {
	if x.out != nil {
		if err := x.out.Commit(); err != nil {
			in.log.Warn("object is not kept", "service", in.cfg.Service.Name(), "name", o.Name(), "error", err)
		}
	}
	in.count(now, o, x)
	in.forget(o, x)
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
	in.counts.Octets += uint64(x.read)
	switch supplied := o.Supplied(); {
	case supplied > 0 && supplied >= x.read:
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
	now := in.cfg.Now()
	in.dropped(now, o, x, cause)
	in.forget(o, x)
	if x.out != nil {
		x.out.Abort(cause)
	}
	if in.cfg.Gate != nil && !x.known {
		in.rx.Forget(now, o) // the true one may be yet to come
		return
	}
	in.rx.Release(now, o)
}

const maxRepairs = 32

// repair asks the parents for what is missing. While an object still grows its FEC is yet to come, and is cheaper, unless
// the receiver waits for the FEC of growing objects before it reports a hole.
func (in *Ingress) repair(ev route.Event) {
	o := ev.Object
	x := in.objects[o]
	if x == nil || in.cfg.Repair == nil || ev.Growing && !o.GrowingRepair() || x.repairing || !in.wanted(o, x) || in.repairs >= maxRepairs || in.ctx == nil {
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
				return errGone
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
		if err != nil && !errors.Is(err, errGone) && ctx.Err() == nil {
			in.log.Debug("repair", "service", want.Service, "name", want.Name, "error", err)
		}
	})
}
