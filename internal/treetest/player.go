package treetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/treedn/treedn/internal/cast"
	"github.com/treedn/treedn/internal/service"
	"github.com/treedn/treedn/internal/telemetry"
)

// Player reads every segment and init segment of a channel from a node as soon as it begins at CAST, as a player at the live
// edge does, and compares it with what CAST took in. As players do, it asks again for what it did not get in whole; that it
// had to is an error where the tree had the time to do what it promises.
type Player struct {
	url     string
	svc     *service.Service
	client  *http.Client
	ctx     context.Context
	cancel  context.CancelFunc
	reading sync.WaitGroup

	mu      sync.Mutex // guards below
	objects map[string]*object
	late    time.Duration // the longest by which this process got its turn too late
}

type object struct {
	want     []byte
	complete bool // at CAST
	broken   bool // off at CAST
	got      []byte
	read     bool // in whole
	refusals []string
}

const (
	// patience is how long what must happen may take on a machine that has much else to do.
	patience = time.Minute
	// tooLate is by how much this process may get its turn too late and still count as one that had the time it needs. A
	// node waits 350 to 800 ms for a sign of life of its parent, and there are up to three nodes with two ways each in a row;
	// of a tree that is not changed objects were missed where turns came half a second too late.
	tooLate = 200 * time.Millisecond
	// againAfter is how long a player waits until it asks again.
	againAfter = 250 * time.Millisecond
)

// Watch begins to read the channel from the node with the base URL. It waits for a manifest first.
func Watch(tb testing.TB, n *cast.Node, channel, url string) *Player {
	tb.Helper()
	p := &Player{
		url: url + "/" + channel + "/", svc: n.Service(channel), objects: make(map[string]*object),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}},
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	tb.Cleanup(p.end)
	p.reading.Go(p.watchTime)
	Eventually(tb, patience, func() bool {
		_, err := p.get("manifest.mpd")
		return err == nil
	}, "no manifest at "+p.url)
	p.svc.AddSink(p)
	return p
}

func (p *Player) end() {
	p.svc.RemoveSink(p)
	p.cancel()
	p.reading.Wait()
	p.client.CloseIdleConnections()
}

// watchTime measures how late this process gets its turns.
func (p *Player) watchTime() {
	const nap = 10 * time.Millisecond
	for p.ctx.Err() == nil {
		begun := time.Now()
		time.Sleep(nap)
		p.mu.Lock()
		p.late = max(p.late, time.Since(begun)-nap)
		p.mu.Unlock()
	}
}

// KeptUp tells whether the tree had the time that it needs while the player watched.
func (p *Player) KeptUp() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.keptUp()
}

func (p *Player) keptUp() bool { return p.late < tooLate || os.Getenv("TREEDN_QUIET") == "1" }

// Begin implements service.Sink.
func (p *Player) Begin(m service.Meta) service.ObjectSink {
	o := &object{}
	p.mu.Lock()
	p.objects[m.Name] = o
	p.mu.Unlock()
	p.reading.Go(func() {
		for !p.readObject(m.Name, o) {
			select {
			case <-p.ctx.Done():
				return
			case <-time.After(againAfter):
			}
		}
	})
	return &witness{p, o}
}

// readObject asks once for an object, and tells whether it is in vain to ask again.
func (p *Player) readObject(name string, o *object) (done bool) {
	got, err := p.get(name)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		o.refusals = append(o.refusals, err.Error())
		return o.broken
	}
	o.got, o.read = got, true
	return true
}

// Manifest implements service.Sink.
func (p *Player) Manifest(service.Meta, []byte) {}

func (p *Player) get(name string) ([]byte, error) {
	req, err := http.NewRequestWithContext(p.ctx, http.MethodGet, p.url+name, nil)
	if err != nil {
		return nil, err
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s", resp.Status)
	}
	return io.ReadAll(resp.Body)
}

type witness struct {
	p *Player
	o *object
}

func (w *witness) Write(b []byte, _ bool) {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	w.o.want = append(w.o.want, b...)
}

func (w *witness) Commit() {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	w.o.complete = true
}

func (w *witness) Abort(error) {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	w.o.broken = true
}

// Objects is how many objects were read in whole so far.
func (p *Player) Objects() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range p.objects {
		if o.complete && o.read {
			n++
		}
	}
	return n
}

// Wait waits until the player has read n objects more than now.
func (p *Player) Wait(tb testing.TB, n int) {
	tb.Helper()
	n += p.Objects()
	Eventually(tb, patience, func() bool { return p.Objects() >= n }, "objects do not come")
}

// Stop reads to their end what CAST has in whole by now, and fails the test for each object that is missing or differs, and,
// if the tree had the time that it needs, for each that had to be asked for again.
func (p *Player) Stop(tb testing.TB) {
	tb.Helper()
	p.svc.RemoveSink(p)
	for deadline := time.Now().Add(patience); p.open() && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var bad, again []string
	for name, o := range p.objects {
		switch {
		case !o.complete:
		case !o.read:
			bad = append(bad, fmt.Sprintf("%s is not there yet: %q", name, o.refusals))
		case !bytes.Equal(o.want, o.got):
			bad = append(bad, fmt.Sprintf("%s: %d octets differ from the %d at CAST", name, len(o.got), len(o.want)))
		case len(o.refusals) > 0:
			again = append(again, fmt.Sprintf("%s had to be asked for again: %q", name, o.refusals))
		}
	}
	if p.keptUp() {
		bad, again = append(bad, again...), nil
	}
	if len(again) > 0 {
		slices.Sort(again)
		tb.Logf("the machine gave turns %v too late:\n%s", p.late, strings.Join(again, "\n"))
	}
	if len(bad) > 0 {
		slices.Sort(bad)
		tb.Errorf("of %d objects at %s %d are bad; turns came up to %v too late:\n%s", len(p.objects), p.url, len(bad), p.late, strings.Join(bad, "\n"))
	}
}

// MostByMulticast fails the test if a service lost objects or had most from parents while the player watched, and the tree
// had the time that it needs.
func (p *Player) MostByMulticast(tb testing.TB, services ...telemetry.Service) {
	tb.Helper()
	for _, st := range services {
		if p.KeptUp() && (st.ObjectsLost > 0 || st.FallbackOctets >= st.Octets/2) {
			tb.Errorf("%s: %d objects were lost; %d of %d octets are from parents", st.Name, st.ObjectsLost, st.FallbackOctets, st.Octets)
		}
	}
}

func (p *Player) open() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range p.objects {
		if o.complete && !o.read {
			return true
		}
	}
	return false
}

// Eventually waits until a condition holds.
func Eventually(tb testing.TB, within time.Duration, holds func() bool, otherwise string) {
	tb.Helper()
	for deadline := time.Now().Add(within); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatal(otherwise)
		}
	}
}

// Get reads one URL.
func Get(tb testing.TB, url string) (*http.Response, []byte) {
	tb.Helper()
	return Do(tb, http.MethodGet, url, nil)
}

// Do makes one request, on a connection of its own.
func Do(tb testing.TB, method, url string, header http.Header) (*http.Response, []byte) {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), method, url, nil)
	if err != nil {
		tb.Fatal(err)
	}
	if header != nil {
		req.Header = header
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return resp, body
}
