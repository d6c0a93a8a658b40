package reception

import (
	"context"
	"errors"
	"io"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/treedn/treedn/flute/seal"
	"github.com/treedn/treedn/internal/follow"
	"github.com/treedn/treedn/internal/ingress"
	"github.com/treedn/treedn/internal/service"
)

// A follower does what a follow.Machine decides: it watches the service as a sink, and its jobs ask the parents. A
// service without parents has one that finds nobody to ask.
type follower struct {
	x      *Service
	from   service.Fetcher // verifies what parents give
	ctx    context.Context
	group  sync.WaitGroup
	packet func() uint64 // counts the packets of the service's objects

	mu      sync.Mutex // guards below; taken while the service is locked, so that nothing here calls the service
	machine *follow.Machine
	jobs    map[uint64]context.CancelFunc
	growing map[*followed]struct{}
	packets uint64
	ended   bool // no more jobs
}

// look is how often the follower looks at the packets and at the clock. It is what silence is measured by.
const look = 40 * time.Millisecond

func newFollower(x *Service, from service.Fetcher, packets func() uint64) *follower {
	return &follower{
		x: x, from: from, ctx: x.ctx, packet: packets,
		machine: follow.New(x.set.cfg.Now(), follow.Config{Index: x.Index(), Has: x.Has}),
		jobs:    make(map[uint64]context.CancelFunc), growing: make(map[*followed]struct{}),
	}
}

// run follows the service until its context ends.
func (f *follower) run() {
	f.x.AddSink(f)
	defer f.end()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		select {
		case <-f.ctx.Done():
			return
		case <-tick.C:
			f.look()
		}
	}
}

func (f *follower) end() {
	f.x.RemoveSink(f)
	f.mu.Lock()
	f.ended = true
	f.mu.Unlock()
	f.group.Wait()
}

func (f *follower) look() {
	packets := f.packet()
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.x.set.cfg.Now()
	if packets != f.packets {
		f.machine.Packets(now)
	}
	f.packets = packets
	for o := range f.growing {
		if o.grew.Swap(false) {
			f.machine.Grown(now, o.object)
		}
	}
	f.machine.HandleTimeout(now)
	f.settle()
}

// settle does what the machine wants. It is called with mu held.
func (f *follower) settle() {
	for !f.ended {
		a, ok := f.machine.Poll()
		if !ok {
			return
		}
		if a.Kind == follow.Cancel {
			if cancel := f.jobs[a.Job]; cancel != nil {
				cancel()
			}
			continue
		}
		ctx, cancel := context.WithCancel(f.ctx)
		f.jobs[a.Job] = cancel
		f.group.Go(func() {
			defer cancel()
			out := f.do(ctx, a)
			f.mu.Lock()
			defer f.mu.Unlock()
			delete(f.jobs, a.Job)
			f.machine.Result(f.x.set.cfg.Now(), a.Job, out)
			f.settle()
		})
	}
}

func (f *follower) do(ctx context.Context, a follow.Action) follow.Outcome {
	ctx = service.WithPatience(ctx, a.Wait)
	var err error
	switch a.Kind {
	case follow.Fetch:
		err = f.fetch(ctx, a)
	case follow.Fill:
		err = f.x.Fill(ctx, a.Name)
	case follow.Feed:
		err = f.x.feed(ctx, a.Name)
	case follow.Refresh:
		err = f.x.Renew(ctx, a.Name, a.Expect)
	case follow.Discover:
		err = f.discover(ctx)
	}
	switch {
	case err == nil:
		return follow.Done
	case errors.Is(err, service.ErrExists):
		return follow.Taken
	case errors.Is(err, seal.ErrOpen), errors.Is(err, ingress.ErrNotFed):
		return follow.Busy
	case errors.Is(err, service.ErrNotFound), errors.Is(err, service.ErrUnchanged):
		return follow.Absent
	}
	if ctx.Err() == nil {
		f.x.set.cfg.Logger.Debug("parents", "service", f.x.Name(), "name", a.Name, "error", err)
	}
	return follow.Failed
}

// fetch brings an object for readers and sinks.
func (f *follower) fetch(ctx context.Context, a follow.Action) error {
	if o := f.x.Complete(a.Name); o != nil {
		// A player has had it fetched; the sinks have not seen it.
		m := o.Meta()
		r, err := o.NewReader(ctx, 0)
		if err == nil {
			defer r.Close()
			n, _, _ := o.Size()
			out, err := f.begin(service.Meta{Name: a.Name, ContentType: m.ContentType, Generation: m.Generation, Length: n, Fallback: true})
			if err != nil {
				return err
			}
			if datagram := m.Header[service.SealHeader]; datagram != "" {
				out.SetSeal([]byte(datagram))
			}
			_, err = io.Copy(out, r)
			return out.end(err)
		}
	}
	var out *writer
	err := f.from.Fetch(ctx, service.Request{Service: f.x.Name(), Name: a.Name, Persist: true, Expect: a.Expect},
		func(m service.Meta) (io.Writer, error) {
			w, err := f.begin(m)
			if err != nil {
				return nil, err
			}
			out = w
			return w, nil
		})
	if out == nil {
		return err
	}
	return out.end(err)
}

func (f *follower) begin(m service.Meta) (*writer, error) {
	o, err := f.x.Begin(f.x.Describe(m))
	if err != nil {
		return nil, err
	}
	return &writer{o}, nil
}

// writer writes an object of a parent. What comes at once is a chunk, or the end of one: the parent sends as it gets.
type writer struct{ o *service.Object }

func (w *writer) Write(p []byte) (int, error) {
	if err := w.o.Write(p, true); err != nil {
		return 0, err
	}
	return len(p), nil
}

// SetSeal is told of the datagram that makes the octets written next readable.
func (w *writer) SetSeal(datagram []byte) { w.o.SetSeal(datagram) }

func (w *writer) end(err error) error {
	if err != nil {
		w.o.Abort(err)
		return err
	}
	return w.o.Commit()
}

// discover asks for the manifests of a service of which nothing has come.
func (f *follower) discover(ctx context.Context) error {
	names, err := f.x.parents.Names(ctx, f.x.Name())
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := f.x.Renew(ctx, name, 0); err != nil {
			return err
		}
	}
	return nil
}

// state returns what the follower does, the parent that it asks first, and what is wrong with those before that one.
func (f *follower) state() (s follow.State, parent *url.URL, why string) {
	f.mu.Lock()
	s = f.machine.State()
	f.mu.Unlock()
	parent, why = f.x.parents.Current()
	return s, parent, why
}

// fed tells whether parents have given anything of late.
func (f *follower) fed(now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return now.Sub(f.machine.News()) <= silence
}

// Begin implements service.Sink.
func (f *follower) Begin(m service.Meta) service.ObjectSink {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := &followed{f: f}
	x := follow.Meta{Name: m.Name, Media: m.Kind == service.Media, Parent: m.Fallback}
	if f.x.Sealed() {
		x.Stem, x.Run = m.Track.Stem, m.Track.Run
	}
	o.object = f.machine.Begun(f.x.set.cfg.Now(), x)
	f.growing[o] = struct{}{}
	f.settle()
	return o
}

// Manifest implements service.Sink.
func (f *follower) Manifest(m service.Meta, _ []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.machine.Manifest(f.x.set.cfg.Now(), m.Name)
	f.settle()
}

// followed is one object that the follower watches.
type followed struct {
	f      *follower
	object *follow.Object
	grew   atomic.Bool
}

func (o *followed) Write([]byte, bool) { o.grew.Store(true) }
func (o *followed) Commit()            { o.ended(true) }
func (o *followed) Abort(error)        { o.ended(false) }

func (o *followed) ended(complete bool) {
	f := o.f
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.growing, o)
	f.machine.Ended(f.x.set.cfg.Now(), o.object, complete)
	f.settle()
}
