package amt

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/treedn/treedn/amt/internal/udpio"
)

// uplink is a gateway with its sockets and a clock. [Conn], [Chain] and [Bridge]
// are built on it, and have what they add guarded by its mutex.
type uplink struct {
	up   uplinkConfig
	wake chan struct{}
	done sync.WaitGroup // of its goroutines, and of those of who embeds it

	mu      sync.Mutex // guards below
	gateway *Gateway
	paths   map[Path]*gatewayPath
	sockets map[netip.AddrPort]*relaySocket // by where the first message went to
	armed   time.Time                       // when run wakes
	events  []ConnEvent                     // not told yet
	closed  bool
}

// uplinkConfig: all functions but told are called with the mutex held, and may be
// nil, except for packet.
type uplinkConfig struct {
	local         []netip.Addr
	receiveBuffer int
	log           *slog.Logger
	// packet takes a packet that is wanted, and is valid until it returns.
	packet func(now time.Time, path Path, p *Packet)
	// batch takes notice that datagrams were handled.
	batch func()
	// event takes what has happened to the gateway.
	event func(now time.Time, e *GatewayEvent)
	// due is called when run has woken, and returns when to do so again.
	due func(now time.Time) time.Time
	// told is told of events, without the mutex.
	told func(ConnEvent)
}

// gatewayPath is what a path of the gateway stands for.
type gatewayPath struct {
	socket *relaySocket
	relay  netip.AddrPort
}

// relaySocket is the socket for a relay. Whoever speaks to a relay again does so
// from the same port: Linux keeps tunnels by the address alone, and sends to the
// port that it has seen first.
type relaySocket struct {
	conn   *udpio.Conn // nil while no path uses it
	writer *udpio.Writer
	path   Path // the latest
	users  int
	port   uint16
	zone   string // of a relay with a link-local address
}

// open makes it ready for use; the loop of who embeds it, or run, has to run.
func (u *uplink) open(gateway GatewayConfig, config uplinkConfig) {
	orDefault(&config.receiveBuffer, 4<<20)
	config.log = LimitLog(config.log)
	u.up, u.wake = config, make(chan struct{}, 1)
	u.gateway = NewGateway(gateway)
	u.paths, u.sockets = make(map[Path]*gatewayPath), make(map[netip.AddrPort]*relaySocket)
}

// readPath takes the datagrams of one socket of the gateway.
func (u *uplink) readPath(socket *relaySocket, conn *udpio.Conn) {
	ms := udpio.NewMessages(1)
	var p Packet // one for all of them: u.up.packet keeps none
	for {
		n, err := conn.ReadBatch(ms)
		if err != nil {
			return // closed
		}
		now := time.Now()
		u.mu.Lock()
		path := socket.path
		if n == 0 {
			for {
				e, ok := conn.ReadICMP()
				if !ok {
					break
				}
				if e.MTU == 0 && !u.closed {
					u.gateway.HandleUnreachable(now, path)
				}
			}
		}
		for i := range ms[:n] {
			if u.closed {
				break
			}
			m := &ms[i]
			d := Datagram{Local: conn.LocalAddr(), Remote: m.Remote}
			if a := d.Remote.Addr(); socket.zone != "" && a.IsLinkLocalUnicast() {
				d.Remote = netip.AddrPortFrom(a.WithZone(socket.zone), d.Remote.Port())
			}
			for d.Payload = range m.Segments {
				if u.gateway.HandleDatagram(now, path, &d, m.ECN, &p) {
					u.up.packet(now, path, &p)
				}
			}
		}
		if u.up.batch != nil {
			u.up.batch()
		}
		u.follow(now)
		u.mu.Unlock()
		if n == len(ms) && n < readMessages {
			ms = append(ms, udpio.NewMessages(1)...)
		}
	}
}

// readMessages is how many runs are read at a time, once so many have come: there may be
// thousands of sockets, and each run takes 64 KiB.
const readMessages = 8

// follow does what comes of a call of the gateway: it sends what that has to say,
// and passes its events on. The mutex is held, as in what comes after.
func (u *uplink) follow(now time.Time) {
	if u.closed {
		return
	}
	for {
		u.transmit()
		polled, ok := u.gateway.PollEvent()
		if !ok {
			break
		}
		e := polled // which is allocated, and not for each batch of data
		if p := u.paths[e.Path]; p != nil && e.Relay.IsValid() {
			p.relay = e.Relay
		}
		switch e.Type {
		case GatewayConnected, GatewayMoving:
			u.note(ConnEvent{Type: ConnRelay, Relay: e.Relay, Candidate: e.Candidate, RTT: e.RTT})
		case GatewayLost:
			u.note(ConnEvent{Type: ConnRelayLost, Relay: e.Relay, Candidate: e.Candidate, Err: e.Err})
		case GatewaySilent:
			u.note(ConnEvent{Type: ConnRelaySilent, Relay: e.Relay, Candidate: e.Candidate, Err: e.Err})
		case GatewayExhausted:
			u.note(ConnEvent{Type: ConnNoRelay})
		}
		if u.up.event != nil {
			u.up.event(now, &e)
		}
		if e.Type == GatewayClosed {
			u.closePath(e.Path)
		}
	}
	if at := u.gateway.NextTimeout(); !at.IsZero() && (u.armed.IsZero() || at.Before(u.armed)) {
		u.poke()
	}
}

// note keeps an event until run tells it.
func (u *uplink) note(e ConnEvent) {
	if u.up.told != nil {
		u.events = append(u.events, e)
		u.poke()
	}
}

func (u *uplink) poke() {
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

// transmit sends what the gateway has to say.
func (u *uplink) transmit() {
	for {
		t, ok := u.gateway.PollTransmission()
		if !ok {
			return
		}
		p := u.paths[t.Path]
		if p == nil {
			socket, err := u.socket(t.To)
			if err != nil {
				// As for a relay without a route, the next one may do: one of the other
				// family, for instance.
				u.up.log.Error("opening a socket for a relay", "relay", t.To, "err", err)
				u.gateway.HandleUnreachable(time.Now(), t.Path)
				continue
			}
			socket.users++
			socket.path = t.Path
			p = &gatewayPath{socket: socket, relay: t.To}
			u.paths[t.Path] = p
		}
		one := []udpio.Datagram{{Payload: t.Payload, To: t.To}}
		n, err := p.socket.writer.WriteBatch(one)
		if n == 0 && err == nil {
			// An ICMP error from before, which may be forged and is told elsewhere, takes the
			// place of one datagram.
			n, err = p.socket.writer.WriteBatch(one)
		}
		if n == 0 && err == nil && !u.closed {
			// No route.
			u.gateway.HandleUnreachable(time.Now(), t.Path)
		}
	}
}

// maxSockets bounds the relays whose ports are remembered.
const maxSockets = 256

// socket returns the socket for a relay.
func (u *uplink) socket(to netip.AddrPort) (*relaySocket, error) {
	s := u.sockets[to]
	if s == nil {
		if len(u.sockets) >= maxSockets {
			for key, old := range u.sockets {
				if old.users == 0 {
					delete(u.sockets, key)
				}
			}
		}
		s = new(relaySocket)
		u.sockets[to] = s
	}
	if s.conn != nil {
		return s, nil
	}
	local := netip.IPv4Unspecified()
	if to.Addr().Is6() {
		local = netip.IPv6Unspecified()
	}
	for _, a := range u.up.local {
		if a.Is4() == to.Addr().Is4() {
			local = a
		}
	}
	if zone := to.Addr().Zone(); zone != "" {
		s.zone = zone
		if !local.IsLinkLocalUnicast() {
			// A socket that is bound to such an address has its zone by that.
			var err error
			if local, err = linkLocal(zone); err != nil {
				return nil, err
			}
		}
	}
	config := udpio.Config{ReceiveBuffer: u.up.receiveBuffer, ZeroChecksum: byte(TypeData)}
	conn, err := udpio.Listen(netip.AddrPortFrom(local, s.port), config)
	if err != nil && s.port != 0 {
		conn, err = udpio.Listen(netip.AddrPortFrom(local, 0), config) // somebody else has it
	}
	if err != nil {
		return nil, err
	}
	s.conn, s.writer, s.port = conn, conn.NewWriter(), conn.LocalAddr().Port()
	if !u.closed {
		u.done.Go(func() { u.readPath(s, conn) })
	}
	return s, nil
}

func (u *uplink) closePath(path Path) {
	p := u.paths[path]
	if p == nil {
		return
	}
	delete(u.paths, path)
	if p.socket.users--; p.socket.users == 0 {
		_ = p.socket.conn.Close()
		p.socket.conn = nil
	}
}

// goodbye tells the relays, and closes the sockets.
func (u *uplink) goodbye(now time.Time) {
	if u.closed {
		return
	}
	u.closed = true
	u.gateway.Close(now)
	u.transmit()
	for path := range u.paths {
		u.closePath(path)
	}
	u.poke()
}

// run handles timeouts and tells of events until the uplink is closed.
func (u *uplink) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-u.wake:
		}
		now := time.Now()
		u.mu.Lock()
		if u.closed {
			u.mu.Unlock()
			return
		}
		var next time.Time
		if u.up.due != nil {
			next = u.up.due(now)
		}
		if isDue(u.gateway.NextTimeout(), now) {
			u.gateway.HandleTimeout(now)
		}
		u.follow(now)
		u.armed = sooner(next, u.gateway.NextTimeout())
		wait := time.Hour
		if !u.armed.IsZero() {
			wait = max(time.Until(u.armed), time.Millisecond)
		}
		events := u.events
		u.events = nil
		u.mu.Unlock()
		for _, e := range events {
			u.up.told(e)
		}
		timer.Reset(wait)
	}
}

// SetRelays replaces the candidates. The relay in use stays in use.
func (u *uplink) SetRelays(relays []Candidate) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return
	}
	now := time.Now()
	u.gateway.SetRelays(now, relays)
	u.follow(now)
}

// linkLocal returns the link-local IPv6 address of an interface.
func linkLocal(zone string) (netip.Addr, error) {
	ifi, err := net.InterfaceByName(zone)
	if index, number := strconv.Atoi(zone); err != nil && number == nil {
		ifi, err = net.InterfaceByIndex(index)
	}
	if err != nil {
		return netip.Addr{}, err
	}
	addrs, err := ifi.Addrs()
	if err != nil {
		return netip.Addr{}, err
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if a, _ := netip.AddrFromSlice(n.IP); a.Is6() && a.IsLinkLocalUnicast() {
				return a.WithZone(ifi.Name), nil
			}
		}
	}
	return netip.Addr{}, fmt.Errorf("interface %s has no link-local IPv6 address", ifi.Name)
}

// logRelay tells the log of relays.
func (u *uplink) logRelay(_ time.Time, e *GatewayEvent) {
	switch e.Type {
	case GatewayConnected, GatewayMoving:
		u.up.log.Info("a relay has been told what is wanted", "relay", e.Relay)
	case GatewayLost:
		u.up.log.Warn("a relay is left", "relay", e.Relay, "reason", e.Err)
	case GatewaySilent:
		u.up.log.Info("a relay delivers nothing: others are tried", "relay", e.Relay)
	case GatewayExhausted:
		u.up.log.Warn("no relay works; they are tried again")
	}
}
