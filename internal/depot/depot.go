// Package depot is what a node's repair server gives out: the octets and the repair symbols of the objects that it sends
// by multicast, and by name everything that it holds.
package depot

import (
	"context"
	"io"
	"sync"
	"sync/atomic"

	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/fec/raptorq"
	"github.com/treedn/treedn/flute/repair"
	"github.com/treedn/treedn/route"
)

// A Sender knows which object stands behind a TSI and a TOI.
type Sender interface {
	Session() route.Session
	Lookup(tsi, toi uint32) (route.Lookup, bool)
}

// Outlet is one session that the node sends, with the service that it carries.
type Outlet struct {
	Service string
	Sender  Sender
}

// Depot is a repair.Backend. Its methods are safe for concurrent use.
type Depot struct {
	store *cache.Store
	codec raptorq.Codec

	mu       sync.Mutex // guards below
	outlets  map[route.Session]Outlet
	encoders map[blockKey]*encoder
	order    []blockKey // oldest first
}

// New returns a Depot without outlets.
func New(store *cache.Store) *Depot {
	return &Depot{store: store, outlets: make(map[route.Session]Outlet), encoders: make(map[blockKey]*encoder)}
}

// Add makes the objects of a session known; Remove ends that.
func (d *Depot) Add(o Outlet) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.outlets[o.Sender.Session()] = o
}

// Remove forgets what a sender sends, unless another one has taken over its session.
func (d *Depot) Remove(s Sender) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.outlets[s.Session()].Sender == s {
		delete(d.outlets, s.Session())
	}
}

// Lookup implements repair.Backend.
func (d *Depot) Lookup(_ context.Context, id repair.ObjectID) (repair.Object, error) {
	session := route.Session{Source: id.Session.Source, Group: id.Session.Group, Port: id.Session.Port}
	d.mu.Lock()
	outlet, ok := d.outlets[session]
	d.mu.Unlock()
	if !ok || id.TSI > 0xffffffff || id.TOI > 0xffffffff {
		return nil, repair.ErrUnknown
	}
	info, ok := outlet.Sender.Lookup(uint32(id.TSI), uint32(id.TOI))
	if !ok {
		return nil, repair.ErrUnknown
	}
	o, ok := d.store.Lookup(cache.Key{Service: outlet.Service, Name: info.Name})
	if !ok {
		return nil, repair.ErrExpired
	}
	if o.Meta().Generation != info.Generation {
		return nil, repair.ErrExpired // the name stands for something newer by now
	}
	return open(d, o, info)
}

// LookupName implements repair.Backend. Objects by name are served by the handler for whole objects, which can wait for
// them and follow their growth.
func (d *Depot) LookupName(context.Context, string) (repair.Object, error) {
	return nil, repair.ErrUnknown
}

type object struct {
	*cache.Reader
	depot *Depot
	o     *cache.Object
	info  route.Lookup
}

func open(d *Depot, o *cache.Object, info route.Lookup) (repair.Object, error) {
	r, err := o.NewReader(context.Background(), 0)
	if err != nil {
		return nil, repair.ErrExpired
	}
	return &object{Reader: r, depot: d, o: o, info: info}, nil
}

func (x *object) Info() repair.Info {
	n, final, _ := x.o.Size()
	length := int64(-1)
	if final {
		length = n
	}
	return repair.Info{
		Name: x.info.Name, ContentType: x.o.Meta().ContentType, ETag: x.o.ETag(), Prefix: n, Length: length,
	}
}

// The methods below make it a repair.SymbolSource.

func (x *object) OTI() (oti repair.OTI) {
	fec.AppendOTI(oti[:0], x.info.OTI)
	return oti
}

func (x *object) block(sbn uint8) (k int, off, n uint64, err error) {
	if !x.info.Repair {
		return 0, 0, 0, repair.ErrNotReady
	}
	if sbn >= x.info.OTI.SourceBlocks {
		return 0, 0, 0, repair.ErrUnknown
	}
	k, off, n = x.info.OTI.Block(sbn)
	return k, off, n, nil
}

func (x *object) SourceSymbols(sbn uint8) (int, error) {
	k, _, _, err := x.block(sbn)
	return k, err
}

func (x *object) FreshESI(sbn uint8, n int) (uint32, error) {
	e, err := x.encoder(sbn)
	if err != nil {
		return 0, err
	}
	for {
		first := e.next.Load()
		if n < 0 || uint64(first)+uint64(n) > 1<<24 {
			return 0, repair.ErrNoSymbols // all encoding symbol IDs are used up
		}
		if e.next.CompareAndSwap(first, first+uint32(n)) {
			return first, nil
		}
	}
}

func (x *object) AppendSymbol(dst []byte, sbn uint8, esi uint32) ([]byte, error) {
	e, err := x.encoder(sbn)
	if err != nil {
		return dst, err
	}
	return e.enc.AppendSymbol(dst, esi), nil
}

// blockKey names a source block of one generation of an object.
type blockKey struct {
	key        cache.Key
	generation uint64
	oti        fec.OTI
	sbn        uint8
}

type encoder struct {
	once sync.Once
	enc  *raptorq.Encoder
	err  error
	next atomic.Uint32 // ESI that nobody got
}

// maxEncoders bounds the blocks that stay ready for further symbols.
const maxEncoders = 32

func (x *object) encoder(sbn uint8) (*encoder, error) {
	_, off, n, err := x.block(sbn)
	if err != nil {
		return nil, err
	}
	key := blockKey{x.o.Key(), x.info.Generation, x.info.OTI, sbn}
	d := x.depot
	d.mu.Lock()
	e := d.encoders[key]
	if e == nil {
		e = &encoder{}
		e.next.Store(x.info.NextESI)
		if len(d.order) >= maxEncoders {
			delete(d.encoders, d.order[0])
			d.order = d.order[1:]
		}
		d.encoders[key] = e
		d.order = append(d.order, key)
	}
	d.mu.Unlock()
	e.once.Do(func() {
		body := make([]byte, x.info.Length)
		if _, err := x.ReadAt(body, 0); err != nil && err != io.EOF {
			e.err = err
			return
		}
		y := int(x.info.OTI.SymbolSize)
		super := route.AppendSuperObject(nil, body, y)
		if uint64(len(super)) < off+n {
			e.err = repair.ErrExpired
			return
		}
		e.enc, e.err = d.codec.NewEncoder(super[off:off+n], y)
	})
	return e, e.err
}
