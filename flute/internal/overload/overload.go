// Package overload is how a server of many receivers says "not now": it bounds the requests under way, in all and for one
// peer, and tells the refused why and when to come back.
package overload

import (
	"net/netip"
	"sync"
)

// Limiter bounds the requests under way. The zero value refuses none. It is safe for concurrent use.
type Limiter struct {
	mu    sync.Mutex // guards below
	total int
	peers map[netip.Addr]int
}

// Enter takes one of the places, of which there are maxTotal and, for one peer, maxPeer; zero or less means any number. If
// it returns true, Leave gives the place back.
func (l *Limiter) Enter(peer netip.Addr, maxTotal, maxPeer int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if maxTotal > 0 && l.total >= maxTotal || peer.IsValid() && maxPeer > 0 && l.peers[peer] >= maxPeer {
		return false
	}
	l.total++
	if peer.IsValid() {
		if l.peers == nil {
			l.peers = make(map[netip.Addr]int)
		}
		l.peers[peer]++
	}
	return true
}

// Leave gives a place back.
func (l *Limiter) Leave(peer netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
	if !peer.IsValid() {
		return
	}
	if l.peers[peer]--; l.peers[peer] <= 0 {
		delete(l.peers, peer)
	}
}

// Peer returns what a remote address, as in http.Request.RemoteAddr, is counted under: the IPv4 address, or the /64 of an
// IPv6 address, which is one site's. It is not valid for other forms, which are not counted by peer.
func Peer(remote string) netip.Addr {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	addr := ap.Addr().Unmap().WithZone("")
	if addr.Is6() {
		prefix, _ := addr.Prefix(64) // 64 is in range
		return prefix.Addr()
	}
	return addr
}
