// Package depot is what a node's repair server gives out: the octets and the repair symbols of the objects that it sends
// by multicast, and by name everything that it holds.
package depot

import (
	"context"
	"strings"
	"sync"

	"github.com/treedn/treedn/cache"
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

	mu      sync.Mutex // guards below
	outlets map[route.Session]Outlet

	encoders encoders
}

// New returns a Depot without outlets.
func New(store *cache.Store) *Depot {
	return &Depot{store: store, outlets: make(map[route.Session]Outlet)}
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

// LookupName implements repair.Backend for the name of a service, a slash and the name of an object: octets alone, since
// only a session has symbols.
func (d *Depot) LookupName(_ context.Context, name string) (repair.Object, error) {
	service, name, _ := strings.Cut(name, "/")
	o, ok := d.store.Lookup(cache.Key{Service: service, Name: name})
	if !ok {
		return nil, repair.ErrUnknown
	}
	r, err := o.NewReader(context.Background(), 0)
	if err != nil {
		return nil, repair.ErrExpired
	}
	return octets{Reader: r, o: o, name: service + "/" + name}, nil
}

// octets is an object of the store.
type octets struct {
	*cache.Reader
	o    *cache.Object
	name string
}

func (x octets) Info() repair.Info {
	n, final, _ := x.o.Size()
	length := int64(-1)
	if final {
		length = n
	}
	return repair.Info{Name: x.name, ContentType: x.o.Meta().ContentType, ETag: x.o.ETag(), Prefix: n, Length: length}
}

// object is one that a session sends.
type object struct {
	octets
	depot *Depot
	info  route.Lookup
}

func open(d *Depot, o *cache.Object, info route.Lookup) (repair.Object, error) {
	r, err := o.NewReader(context.Background(), 0)
	if err != nil {
		return nil, repair.ErrExpired
	}
	return &object{octets: octets{Reader: r, o: o, name: info.Name}, depot: d, info: info}, nil
}
