package resolver_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/driad/amtrelay"
	"github.com/treedn/treedn/driad/authority"
	"github.com/treedn/treedn/driad/dns"
	"github.com/treedn/treedn/driad/resolver"
)

// answersTo reads n queries from a connection and returns the answers to them.
func answersTo(conn net.Conn, a *authority.Authority, n int) (out [][]byte) {
	for range n {
		var length [2]byte
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			return out
		}
		msg := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(conn, msg); err != nil {
			return out
		}
		msg = a.Respond(time.Now(), netip.MustParseAddr("127.0.0.1"), false, msg, nil)
		out = append(out, append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...))
	}
	return out
}

// Many questions are on one connection at a time, and their answers come in any order.
// Those that are on it when the server closes it are asked again.
func TestPipelining(t *testing.T) {
	const n = 20
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	a := newAuthority(t, 1)
	done := make(chan int, 1)
	go func() {
		conns := 0
		defer func() { done <- conns }()
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns++
			count := n
			if conns > 1 {
				count = n / 2
			}
			list := answersTo(conn, a, count) // none is answered before all are there
			for i := range n / 2 {
				_, _ = conn.Write(list[len(list)-1-i])
			}
			if conns > 1 {
				_, _ = io.Copy(io.Discard, conn)
			}
			_ = conn.Close()
		}
	}()
	p := &resolver.Plain{Servers: []netip.AddrPort{l.Addr().(*net.TCPAddr).AddrPort()}, TCPOnly: true, Timeout: 30 * time.Second}
	results := make(chan error, n)
	for i := range n {
		go func() {
			q := question
			q.Name = amtrelay.ReverseName(netip.AddrFrom4([4]byte{69, 25, 95, byte(i)}))
			r, err := p.Resolve(t.Context(), q)
			if err == nil {
				_, err = dns.ParseAnswer(r.Message, q)
			}
			results <- err
		}()
	}
	for range n {
		require.NoError(t, <-results)
	}
	require.NoError(t, p.Close())
	require.NoError(t, l.Close())
	require.Equal(t, 2, <-done)
}

// A server that closes each connection without an answer is not asked for ever, and one
// that says nothing does not keep the next question waiting.
func TestStreamsOfBadServers(t *testing.T) {
	for name, act := range map[string]func(net.Conn){
		"closes":   func(c net.Conn) {},
		"is short": func(c net.Conn) { _, _ = c.Write([]byte{0, 3, 1, 2, 3}) },
		"is silent": func(c net.Conn) {
			_, _ = io.Copy(io.Discard, c)
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			done := make(chan int, 1)
			go func() {
				conns := 0
				defer func() { done <- conns }()
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					conns++
					answersTo(conn, newAuthority(t, 1), 1)
					act(conn)
					_ = conn.Close()
				}
			}()
			p := &resolver.Plain{Servers: []netip.AddrPort{l.Addr().(*net.TCPAddr).AddrPort()}, TCPOnly: true, Timeout: 100 * time.Millisecond}
			for range 2 {
				_, err = p.Resolve(t.Context(), question)
				require.Error(t, err)
			}
			require.NoError(t, p.Close())
			require.NoError(t, l.Close())
			require.Equal(t, 2, <-done, "a connection for each question")
		})
	}
}

// A connection serves until it has been idle for 10 s, and then another is made.
func TestIdleConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t, 1)
		conns, closed := 0, make(chan struct{}, 2)
		p := &resolver.Plain{Servers: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53")}, TCPOnly: true}
		p.Dial = func(context.Context, string, string) (net.Conn, error) {
			conns++
			client, server := net.Pipe()
			go func() {
				for list := answersTo(server, a, 1); len(list) > 0; list = answersTo(server, a, 1) {
					_, _ = server.Write(list[0])
				}
				closed <- struct{}{}
			}()
			return client, nil
		}
		ask := func() {
			_, err := p.Resolve(t.Context(), question)
			require.NoError(t, err)
		}
		ask()
		time.Sleep(9 * time.Second)
		ask()
		time.Sleep(9 * time.Second)
		ask()
		require.Equal(t, 1, conns)
		start := time.Now()
		<-closed
		require.Equal(t, 10*time.Second, time.Since(start))
		ask()
		require.Equal(t, 2, conns)
		require.NoError(t, p.Close())
		<-closed
	})
}
