//go:build !linux

package ssm

import (
	"net"
	"net/netip"
)

type batchWriter struct{ conn *net.UDPConn }

func newBatchWriter(conn *net.UDPConn, _ bool) (*batchWriter, error) {
	return &batchWriter{conn: conn}, nil
}

func (w *batchWriter) close() error { return w.conn.Close() }

func (w *batchWriter) write(packets [][]byte, dst netip.AddrPort) (int, error) {
	for i, packet := range packets {
		if _, err := w.conn.WriteToUDPAddrPort(packet, dst); err != nil {
			return i, err
		}
	}
	return len(packets), nil
}
