package node

import (
	"errors"
	"net"
	"syscall"
)

// pushListener accepts connections of clients that push and leave. FFmpeg sends its last requests without a pause, does
// not read the answers, and exits, which resets the connection. An http.Server takes the failure to answer the first of
// them as the end of the connection, although the others lie in its receive buffer; so that failure is kept from it.
// Reading fails when nothing more is to come.
type pushListener struct{ net.Listener }

func (l pushListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return pushConn{c}, nil
}

type pushConn struct{ net.Conn }

func (c pushConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return len(p), nil
	}
	return n, err
}
