package amtrelay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/driad"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/gateway"
)

// gatewayEnd is our end of a tunnel: an [amt.Chain] or an [amt.Bridge].
type gatewayEnd interface {
	SetRelays([]amt.Candidate)
	Close() error
}

// tunnels are those to other relays. DRIAD finds relays by the source (RFC 8777), so with it each source has a tunnel of
// its own while a channel of it is joined. Without, all channels share one that stays: Linux as a relay wants a gateway
// to keep its port.
type tunnels[T gatewayEnd] struct {
	open func(relays []amt.Candidate, told func(amt.ConnEvent)) (T, error)
	// ended takes notice of one that is closed. The mutex is held.
	ended func(T)
	own   []netip.AddrPort // addresses of this relay, to which no tunnel leads
	most  int              // tunnels
	log   *slog.Logger

	mu       sync.Mutex // guards below
	relays   config.AMTRelays
	client   *gateway.Client           // looks for all; nil until the first does
	list     map[netip.Addr]*tunnel[T] // by source
	leaving  map[*tunnel[T]]bool       // closed soon
	closed   bool
	tooMany  bool // the log has been told
	finished sync.WaitGroup
}

type tunnel[T gatewayEnd] struct {
	end      T
	source   netip.Addr
	finder   atomic.Pointer[gateway.Finder]
	channels int
}

var (
	errNoSource = errors.New("relays are found by the source, and all sources of a group are wanted")
	errTooMany  = errors.New("too many sources have a tunnel (amt.upstream.max_sources)")
)

// join gives the end of the tunnel for a source to f.
func (t *tunnels[T]) join(source netip.Addr, f func(T) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return net.ErrClosed
	}
	u, err := t.tunnel(source)
	if err != nil {
		return err
	}
	if err := f(u.end); err != nil {
		t.drop(u)
		return err
	}
	u.channels++
	return nil
}

// tunnel returns the one for a source. The mutex is held, as in what follows.
func (t *tunnels[T]) tunnel(source netip.Addr) (*tunnel[T], error) {
	switch {
	case !t.relays.DRIAD:
		source = netip.Addr{}
	case !source.IsValid():
		return nil, errNoSource
	}
	if u := t.list[source]; u != nil {
		return u, nil
	}
	if len(t.list) >= t.most {
		if !t.tooMany {
			t.log.Warn("no more sources get a tunnel", "amt.upstream.max_sources", t.most)
		}
		t.tooMany = true
		return nil, errTooMany
	}
	u := &tunnel[T]{source: source}
	finder := t.find(u) // before the first event, which it is told of
	u.finder.Store(finder)
	end, err := t.open(finder.Relays(), func(e amt.ConnEvent) { u.finder.Load().Event(e) })
	if err != nil {
		finder.Close()
		return nil, err
	}
	u.end = end
	finder.Use(end.SetRelays)
	if t.list == nil {
		t.list, t.leaving = make(map[netip.Addr]*tunnel[T]), make(map[*tunnel[T]]bool)
	}
	t.list[source] = u
	return u, nil
}

// find begins to look for the relays of a tunnel.
func (t *tunnels[T]) find(u *tunnel[T]) *gateway.Finder {
	log := t.log
	if u.source.IsValid() {
		log = log.With("source", u.source)
	}
	if err := t.look(); err != nil {
		log.Warn("no AMT relay can be looked for", "error", err)
	}
	var client *driad.Client
	if t.client != nil {
		client = t.client.Client
	}
	return gateway.Find(context.Background(), u.source, t.relays.Candidates(), client, func(f gateway.Found) {
		if len(f.Relays) == 0 {
			log.Warn("no AMT relay was found", "error", f.Err)
			return
		}
		texts := make([]string, len(f.Relays))
		for i, r := range f.Relays {
			texts[i] = fmt.Sprintf("%v (%v)", r.Address, r.Method)
		}
		log.Info("AMT relays", "relays", strings.Join(texts, ", "))
	})
}

// look makes the client that looks for the relays of all sources, so that what is known of names and relays serves all,
// and the questions of all are bounded in their rate (RFC 8777 section 3.2.2).
func (t *tunnels[T]) look() (err error) {
	discovery := t.relays.Discovery()
	if discovery == nil || t.client != nil {
		return nil
	}
	discovery.Allow = func(a netip.Addr) bool { return driad.Usable(a) && !t.isOwn(a) }
	discovery.NoAnycast = discovery.NoAnycast || t.isOwn(amt.DiscoveryIPv4) || t.isOwn(amt.DiscoveryIPv6)
	t.client, err = gateway.NewClient(*discovery)
	return err
}

// isOwn says whether a relay at this address is this one.
func (t *tunnels[T]) isOwn(a netip.Addr) bool {
	return slices.ContainsFunc(t.own, func(own netip.AddrPort) bool {
		return own.Port() == amt.Port && (own.Addr() == a || own.Addr().IsUnspecified() && own.Addr().Is4() == a.Is4() && ofThisMachine(a))
	})
}

func ofThisMachine(a netip.Addr) bool {
	list, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(list, func(x net.Addr) bool {
		n, ok := x.(*net.IPNet)
		return ok && n.IP.Equal(a.AsSlice())
	})
}

// leave ends join.
func (t *tunnels[T]) leave(source netip.Addr, f func(T)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.relays.DRIAD {
		source = netip.Addr{}
	}
	if u := t.list[source]; u != nil {
		f(u.end)
		u.channels--
		t.drop(u)
	}
}

// drop closes a tunnel without channels, if it is that of a source.
func (t *tunnels[T]) drop(u *tunnel[T]) {
	if u.channels > 0 || !u.source.IsValid() {
		return
	}
	t.tooMany = false
	t.end(u)
}

// end closes a tunnel, and does not wait for what is being delivered.
func (t *tunnels[T]) end(u *tunnel[T]) {
	delete(t.list, u.source)
	t.leaving[u] = true
	t.finished.Go(func() {
		f := u.finder.Load()
		f.Use(nil)
		f.Close()
		_ = u.end.Close()
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.leaving, u)
		t.ended(u.end)
	})
}

// set looks for other relays from now on. What is in use stays in use.
func (t *tunnels[T]) set(relays config.AMTRelays) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if relays.Key() == t.relays.Key() {
		return
	}
	t.relays = relays
	old := t.client
	t.client = nil
	for _, u := range t.list {
		old := u.finder.Swap(t.find(u))
		old.Use(nil)
		old.Close()
		u.finder.Load().Use(u.end.SetRelays)
	}
	if old != nil {
		_ = old.Close() // of those that are leaving, too
	}
}

// each calls f for all whose counters are not among those of the ended ones. The mutex is held.
func (t *tunnels[T]) each(f func(T)) {
	for _, u := range t.list {
		f(u.end)
	}
	for u := range t.leaving {
		f(u.end)
	}
}

func (t *tunnels[T]) close() {
	t.mu.Lock()
	t.closed = true
	for _, u := range t.list {
		t.end(u)
	}
	t.mu.Unlock()
	t.finished.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.client != nil {
		_ = t.client.Close()
	}
}
