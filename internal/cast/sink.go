package cast

import (
	"errors"
	"time"

	"github.com/treedn/treedn/internal/ingest"
	"github.com/treedn/treedn/internal/service"
	"github.com/treedn/treedn/internal/telemetry"
	"github.com/treedn/treedn/route"
)

// sink gives what publishers push to the services of their channels.
type sink struct{ n *Node }

var errNoChannel = errors.New("cast: no such channel")

// Begin implements ingest.Sink.
func (s sink) Begin(o ingest.Object) (ingest.Writer, error) {
	x := s.n.channel(o.Channel)
	if x == nil {
		return nil, errNoChannel
	}
	m := service.Meta{Name: o.Name, ContentType: o.ContentType, Generation: o.Generation, Length: -1}
	switch o.Kind {
	case ingest.Manifest:
		m.Kind = service.Manifest
		return &manifestWriter{svc: x.svc, meta: m}, nil
	case ingest.Init:
		m.Kind = service.Init
	case ingest.Media:
		m.Kind = service.Media
		if !o.Track.Template.IsZero() {
			m.Track = route.Track{
				Stem: o.Track.Template.String(), Number: o.Track.Number, Run: o.Run, Kind: service.RouteKind(o.Track.Kind),
			}
		}
	}
	w, err := x.svc.Begin(m)
	if err != nil {
		return nil, err
	}
	return writer{w, x.rate, s.n.now}, nil
}

// Delete implements ingest.Sink. What an encoder drops from its window stays for readers behind it.
func (s sink) Delete(string, string) {}

type writer struct {
	*service.Object
	rate *telemetry.Rate
	now  func() time.Time
}

func (w writer) Write(p []byte, chunkEnd bool) error {
	w.rate.Add(w.now(), len(p))
	return w.Object.Write(p, chunkEnd)
}

type manifestWriter struct {
	svc  *service.Service
	meta service.Meta
	body []byte
}

func (w *manifestWriter) Write(p []byte, _ bool) error {
	w.body = append(w.body, p...)
	return nil
}

func (w *manifestWriter) Commit() error {
	err := w.svc.PutManifest(w.meta, w.body)
	if errors.Is(err, service.ErrOlder) {
		return nil // a newer one has overtaken it
	}
	return err
}

func (w *manifestWriter) Abort(error) {}
