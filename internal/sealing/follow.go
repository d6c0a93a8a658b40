package sealing

import (
	"context"
	"net/http"
	"sync"

	"github.com/treedn/treedn/flute/seal"
	"github.com/treedn/treedn/internal/service"
)

// maxWaiting bounds the datagrams that wait for one child. There is always a newer one.
const maxWaiting = 64

// listener is a sink of a service that keeps its seals for one child.
type listener struct {
	wake chan struct{}

	mu    sync.Mutex // guards below
	seals [][]byte
}

var _ service.SealSink = (*listener)(nil)

func (l *listener) Begin(service.Meta) service.ObjectSink { return nil }
func (l *listener) Manifest(service.Meta, []byte)         {}

func (l *listener) Seal(datagram []byte) {
	l.mu.Lock()
	if len(l.seals) >= maxWaiting {
		l.seals = l.seals[:copy(l.seals, l.seals[1:])]
	}
	l.seals = append(l.seals, datagram)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// take moves what waits to dst, each with its length in front.
func (l *listener) take(dst []byte) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.seals {
		dst = seal.AppendFrame(dst, b)
	}
	clear(l.seals)
	l.seals = l.seals[:0]
	return dst
}

// followAll sends the newest seals of a service and then all that come.
func followAll(w http.ResponseWriter, r *http.Request, s *service.Service, newest []byte) {
	ctx, cancel := context.WithTimeout(r.Context(), maxFollow)
	defer cancel()
	l := &listener{wake: make(chan struct{}, 1)}
	s.AddSink(l)
	defer s.RemoveSink(l)
	begin(w)
	for frames := newest; ; frames = l.take(frames[:0]) {
		if _, err := w.Write(frames); err != nil || http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		}
	}
}
