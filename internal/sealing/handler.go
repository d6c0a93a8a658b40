package sealing

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/flute/seal"
	"github.com/treedn/treedn/internal/service"
)

// Handler gives seals to children, see PathPrefix.
type Handler struct {
	// Store keeps the seals beside the objects.
	Store *cache.Store
	// Newest returns the newest datagrams of a service, by each of its keys, and false for a service that is not sealed
	// here.
	Newest func(service string) (datagrams [][]byte, ok bool)
	// Services finds a service whose seals can be followed, nil if there is none. Optional.
	Services func(name string) *service.Service
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !readOnly(w, r) {
		return
	}
	svc, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, PathPrefix), "/")
	newest, ok := h.Newest(svc)
	if !ok {
		http.NotFound(w, r)
		return
	}
	if name == "" {
		var body []byte
		for _, b := range newest {
			body = seal.AppendFrame(body, b)
		}
		if h.Services != nil && r.URL.Query().Has("follow") {
			if s := h.Services(svc); s != nil {
				followAll(w, r, s, body)
				return
			}
		}
		if len(body) == 0 {
			http.NotFound(w, r)
			return
		}
		begin(w)
		_, _ = w.Write(body)
		return
	}
	o, ok := h.Store.Lookup(cache.Key{Service: svc, Name: name})
	if g, err := strconv.ParseUint(r.URL.Query().Get("generation"), 10, 64); !ok || err != nil || o.Meta().Generation != g {
		http.NotFound(w, r)
		return
	}
	follow(w, r, o)
}

// readOnly refuses requests that would change something.
func readOnly(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD")
	http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	return false
}

func begin(w http.ResponseWriter) {
	w.Header().Set("Content-Type", MediaType)
	w.Header().Set("Cache-Control", "no-store")
}

// pollTime is how often the seals of an object are looked at that is readable beyond them, which it is at the root for
// some milliseconds. Elsewhere the seal is there before the octets are.
const pollTime = 5 * time.Millisecond

// maxFollow bounds an answer: an object that grows for longer is asked for again.
const maxFollow = time.Minute

// lastSeal is how long after the end of an object its last seal may come.
const lastSeal = newsTime / 2

// follow sends the seals of an object until it has ended.
func follow(w http.ResponseWriter, r *http.Request, o *cache.Object) {
	ctx, cancel := context.WithTimeout(r.Context(), maxFollow)
	defer cancel()
	id, generation := seal.ObjectIDOf(o.Key().Service, o.Key().Name), o.Meta().Generation
	var last string
	var frame []byte
	var sealed seal.Record
	var ended time.Time
	for {
		n, final, err := o.Size()
		if s := o.Meta().Header[service.SealHeader]; s != last {
			if last == "" {
				begin(w)
			}
			last = s
			frame = seal.AppendFrame(frame[:0], []byte(s))
			if _, err := w.Write(frame); err != nil || http.NewResponseController(w).Flush() != nil {
				return
			}
			sealed = recordOf(s, o.Key().Service, id, generation)
		}
		if final && ended.IsZero() {
			ended = time.Now()
		}
		if err != nil || ctx.Err() != nil || final && (sealed.Flags&(seal.Final|seal.Aborted) != 0 || time.Since(ended) > lastSeal) {
			break
		}
		wait, done := ctx, context.CancelFunc(func() {})
		if final || int64(sealed.End) < n {
			wait, done = context.WithTimeout(ctx, pollTime)
		}
		if final {
			<-wait.Done()
		} else {
			_ = o.WaitPrefix(wait, n+1)
		}
		done()
	}
	if last == "" {
		http.NotFound(w, r)
	}
}

// recordOf returns what a datagram says of an object; the zero Record if nothing.
func recordOf(datagram, svc string, id seal.ObjectID, generation uint64) seal.Record {
	var d seal.Datagram
	if d.Unmarshal([]byte(datagram)) != nil {
		return seal.Record{}
	}
	for i := range d.Records {
		rec := &d.Records[i]
		if rec.Flags&seal.Named != 0 {
			rec.ID = seal.ObjectIDOf(svc, string(rec.Name))
		}
		if rec.ID == id && rec.Generation == generation {
			return *rec
		}
	}
	return seal.Record{}
}
