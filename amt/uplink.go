package amt

import (
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/treedn/treedn/amt/internal/udpio"
)

// uplink is a gateway with its sockets. Who embeds it has the mutex that guards
// all of it.
type uplink struct {
	gateway *Gateway
	up      uplinkConfig
	paths   map[Path]*gatewayPath
	sockets map[netip.AddrPort]*relaySocket // by where the first message went to
	closed  bool
}

type uplinkConfig struct {
	local         []netip.Addr
	receiveBuffer int
	log           *slog.Logger
	lock          *sync.Mutex     // of who embeds it
	done          *sync.WaitGroup // of its goroutines
	// packet takes a packet that is wanted, after takes notice that datagrams were
	// handled. The mutex is held.
	packet func(now time.Time, path Path, p *Packet)
	after  func(now time.Time)
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
}

func newUplink(gateway GatewayConfig, config uplinkConfig) uplink {
	return uplink{
		gateway: NewGateway(gateway), up: config,
		paths: make(map[Path]*gatewayPath), sockets: make(map[netip.AddrPort]*relaySocket),
	}
}

// readPath takes the datagrams of one socket of the gateway.
func (u *uplink) readPath(socket *relaySocket, conn *udpio.Conn) {
	ms := udpio.NewMessages(8)
	for {
		n, err := conn.ReadBatch(ms)
		if err != nil {
			return // closed
		}
		now := time.Now()
		u.up.lock.Lock()
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
			for d.Payload = range m.Segments {
				var p Packet
				if u.gateway.HandleDatagram(now, path, &d, m.ECN, &p) {
					u.up.packet(now, path, &p)
				}
			}
		}
		u.up.after(now)
		u.up.lock.Unlock()
	}
}

// transmit sends what the gateway has to say. The mutex is held, as in all that
// follows.
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
				u.up.log.Error("opening a socket for a relay", "relay", t.To, "err", err)
				continue
			}
			socket.users++
			socket.path = t.Path
			p = &gatewayPath{socket: socket, relay: t.To}
			u.paths[t.Path] = p
		}
		if n, err := p.socket.writer.WriteBatch([]udpio.Datagram{{Payload: t.Payload, To: t.To}}); n == 0 && err == nil && !u.closed {
			// No route, or an ICMP error from before.
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
	config := udpio.Config{ReceiveBuffer: u.up.receiveBuffer}
	conn, err := udpio.Listen(netip.AddrPortFrom(local, s.port), config)
	if err != nil && s.port != 0 {
		conn, err = udpio.Listen(netip.AddrPortFrom(local, 0), config) // somebody else has it
	}
	if err != nil {
		return nil, err
	}
	s.conn, s.writer, s.port = conn, conn.NewWriter(), conn.LocalAddr().Port()
	if !u.closed {
		u.up.done.Go(func() { u.readPath(s, conn) })
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
	u.closed = true
	u.gateway.Close(now)
	u.transmit()
	for path := range u.paths {
		u.closePath(path)
	}
}
