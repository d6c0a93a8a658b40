package resolver

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/treedn/treedn/driad/dns"
)

// TLS asks by DNS over TLS (RFC 7858), and only servers that prove who they are
// (RFC 8310's strict profile). It is safe for concurrent use.
type TLS struct {
	// Servers are asked one after the other. A port of 0 is 853.
	Servers []netip.AddrPort
	// Name is what the servers' certificates are for. Default: their addresses.
	Name string
	// Config has the certificates to believe, and more. Default: the system's.
	Config *tls.Config
	// Timeout is when the next server is asked. Default: 5 s.
	Timeout time.Duration
	// Dial opens connections for TCP. Default: net.Dialer's.
	Dial Dial

	streams  streams
	once     sync.Once
	sessions tls.ClientSessionCache
}

// Resolve asks the servers until one answers.
func (t *TLS) Resolve(ctx context.Context, q dns.Question) (dns.Response, error) {
	msg, _, err := t.streams.resolve(ctx, q, withPort(t.Servers, 853), true, t.Timeout, t.dial)
	return dns.Response{Message: msg, Trusted: true}, err
}

func (t *TLS) dial(ctx context.Context, server netip.AddrPort) (net.Conn, error) {
	dial := t.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(ctx, "tcp", server.String())
	if err != nil {
		return nil, err
	}
	config := new(tls.Config)
	if t.Config != nil {
		config = t.Config.Clone()
	}
	if config.ServerName == "" {
		if config.ServerName = t.Name; t.Name == "" {
			config.ServerName = server.Addr().WithZone("").String()
		}
	}
	if config.ClientSessionCache == nil { // connections come again (RFC 7858 section 3.4)
		t.once.Do(func() { t.sessions = tls.NewLRUClientSessionCache(0) })
		config.ClientSessionCache = t.sessions
	}
	if config.NextProtos == nil {
		config.NextProtos = []string{"dot"}
	}
	c := tls.Client(conn, config)
	if err := c.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return c, nil
}

// Close closes the connections; questions that are on them fail.
func (t *TLS) Close() error {
	t.streams.close()
	return nil
}
