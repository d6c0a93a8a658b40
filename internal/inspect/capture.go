package inspect

import (
	"context"
	"errors"
	"io"

	"github.com/treedn/treedn/flute/packetio/pcap"
)

// ReadCapture feeds all datagrams of a capture to an Inspector. A capture that ends in the middle of a packet, because
// the program that wrote it was stopped, is read up to there, and gives an error that matches io.ErrUnexpectedEOF.
func ReadCapture(ctx context.Context, r *pcap.Reader, in *Inspector) error {
	for n := 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		in.Push(p.At, p.Src, p.Dst, p.Payload)
	}
}
