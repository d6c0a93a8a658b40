package inspect

import (
	"context"
	"errors"
	"io"

	"github.com/treedn/treedn/flute/packetio/pcap"
)

// ReadCapture feeds all datagrams of a capture to an Inspector; of those that AMT tunnels, what is in them. A capture that ends in the middle of a packet, because
// the program that wrote it was stopped, is read up to there, and gives an error that matches io.ErrUnexpectedEOF. Tick,
// unless it is nil, is called now and then.
func ReadCapture(ctx context.Context, r *pcap.Reader, in *Inspector, tick func()) error {
	for n := 1; ; n++ {
		if n%1024 == 0 {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if tick != nil && n%(64*1024) == 0 {
				tick()
			}
		}
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if inner, ok := r.Tunnelled(p); ok {
			p = inner
		}
		in.Push(p.At, p.Src, p.Dst, p.Payload)
	}
}
