// Package cliptest has an HTTP origin for tests: it takes what an encoder
// pushes and serves it to players at once.
package cliptest

import (
	"io"
	"net/http"
	"path"
	"sync"
	"time"
)

// An Origin takes objects by PUT or POST and serves them by GET, also while
// they are still arriving. It forgets nothing. The zero value is ready to use,
// and safe for concurrent use.
type Origin struct {
	mu      sync.Mutex // guards below
	objects map[string]*object
	names   []string
	conns   map[string]bool
}

// Arrival is the time at which the object had Size octets.
type Arrival struct {
	Time time.Time
	Size int
}

type object struct {
	body     []byte
	arrivals []Arrival
	done     bool // in whole
	broken   bool
	changed  chan struct{} // closed at the next change
}

// Objects returns the names of all objects in the order of their first arrival.
func (o *Origin) Objects() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.names...)
}

// Body returns an object; whole is false while it grows or if it broke off.
func (o *Origin) Body(name string) (body []byte, whole bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	x := o.objects[name]
	if x == nil {
		return nil, false
	}
	return x.body, x.done
}

// Arrivals returns how an object grew.
func (o *Origin) Arrivals(name string) []Arrival {
	o.mu.Lock()
	defer o.mu.Unlock()
	if x := o.objects[name]; x != nil {
		return append([]Arrival(nil), x.arrivals...)
	}
	return nil
}

// Connections returns the number of connections over which objects came.
func (o *Origin) Connections() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.conns)
}

// ServeHTTP names objects by the last element of the path.
func (o *Origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := path.Base(r.URL.Path)
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Access-Control-Expose-Headers", "Content-Length, Content-Range, Date") // dash.js sets its clock by Date
	w.Header().Set("Cache-Control", "no-cache")
	switch r.Method {
	case http.MethodPut, http.MethodPost:
		o.put(w, r, name)
	case http.MethodGet, http.MethodHead:
		o.get(w, r, name)
	case http.MethodDelete, http.MethodOptions:
		w.WriteHeader(http.StatusNoContent)
	default:
		w.WriteHeader(http.StatusMethodNotAllowed)
	}
}

func (o *Origin) put(w http.ResponseWriter, r *http.Request, name string) {
	x := &object{changed: make(chan struct{})}
	// A manifest is swapped at its end, media can be read from its start.
	manifest := path.Ext(name) != ".m4s"
	store := func() {
		if o.objects == nil {
			o.objects = make(map[string]*object)
			o.conns = make(map[string]bool)
		}
		if o.objects[name] == nil {
			o.names = append(o.names, name)
		}
		o.objects[name] = x
		o.conns[r.RemoteAddr] = true
	}
	o.mu.Lock()
	if !manifest {
		store()
	}
	o.mu.Unlock()
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Body.Read(buf)
		o.mu.Lock()
		x.body = append(x.body, buf[:n]...)
		x.arrivals = append(x.arrivals, Arrival{time.Now(), len(x.body)})
		if err != nil {
			x.done = err == io.EOF
			x.broken = !x.done
			if manifest && x.done {
				store()
			}
		}
		close(x.changed)
		x.changed = make(chan struct{})
		o.mu.Unlock()
		if err != nil {
			break
		}
	}
	w.WriteHeader(http.StatusCreated)
}

func (o *Origin) get(w http.ResponseWriter, r *http.Request, name string) {
	o.mu.Lock()
	x := o.objects[name]
	o.mu.Unlock()
	if x == nil {
		http.NotFound(w, r)
		return
	}
	types := map[string]string{".m3u8": "application/vnd.apple.mpegurl", ".mpd": "application/dash+xml", ".m4s": "video/mp4"}
	w.Header().Set("Content-Type", types[path.Ext(name)])
	if r.Method == http.MethodHead {
		return
	}
	for sent := 0; ; {
		o.mu.Lock()
		part, done, broken, changed := x.body[sent:], x.done, x.broken, x.changed
		o.mu.Unlock()
		if _, err := w.Write(part); err != nil {
			return
		}
		sent += len(part)
		switch {
		case broken:
			panic(http.ErrAbortHandler)
		case done:
			return
		}
		_ = http.NewResponseController(w).Flush()
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}
