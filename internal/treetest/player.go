package treetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/treedn/treedn/internal/cast"
	"github.com/treedn/treedn/internal/service"
)

// Player reads every segment and init segment of a channel from a node, each once and as soon as it begins at CAST, as a
// player at the live edge does, and compares it with what CAST took in.
type Player struct {
	url     string
	svc     *service.Service
	client  *http.Client
	ctx     context.Context
	cancel  context.CancelFunc
	reading sync.WaitGroup

	mu      sync.Mutex // guards below
	objects map[string]*object
}

type object struct {
	want     []byte
	complete bool
	got      []byte
	err      error
	answered bool
}

// Watch begins to read the channel from the node with the base URL. It waits for a manifest first, up to ten seconds.
func Watch(tb testing.TB, n *cast.Node, channel, url string) *Player {
	tb.Helper()
	p := &Player{
		url: url + "/" + channel + "/", svc: n.Service(channel), objects: make(map[string]*object),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}},
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	tb.Cleanup(p.end)
	Eventually(tb, 10*time.Second, func() bool {
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

// Begin implements service.Sink.
func (p *Player) Begin(m service.Meta) service.ObjectSink {
	o := &object{}
	p.mu.Lock()
	p.objects[m.Name] = o
	p.mu.Unlock()
	p.reading.Go(func() {
		got, err := p.get(m.Name)
		p.mu.Lock()
		defer p.mu.Unlock()
		o.got, o.err, o.answered = got, err, true
	})
	return &witness{p, o}
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

func (w *witness) Abort(error) {}

// Objects is how many objects were read in whole so far.
func (p *Player) Objects() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range p.objects {
		if o.complete && o.answered && o.err == nil {
			n++
		}
	}
	return n
}

// Wait waits until the player has read n objects more than now.
func (p *Player) Wait(tb testing.TB, n int) {
	tb.Helper()
	n += p.Objects()
	Eventually(tb, 15*time.Second, func() bool { return p.Objects() >= n }, "objects do not come")
}

// Stop reads to their end what CAST has in whole by now, and fails the test for each object that is missing or differs.
func (p *Player) Stop(tb testing.TB) {
	tb.Helper()
	p.svc.RemoveSink(p)
	deadline := time.Now().Add(5 * time.Second)
	for p.open() && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var bad []string
	for name, o := range p.objects {
		switch {
		case !o.complete:
		case !o.answered:
			bad = append(bad, name+" is not there yet")
		case o.err != nil:
			bad = append(bad, name+": "+o.err.Error())
		case !bytes.Equal(o.want, o.got):
			bad = append(bad, fmt.Sprintf("%s: %d octets differ from the %d at CAST", name, len(o.got), len(o.want)))
		}
	}
	if len(bad) > 0 {
		slices.Sort(bad)
		tb.Errorf("of %d objects at %s are bad:\n%s", len(p.objects), p.url, strings.Join(bad, "\n"))
	}
}

func (p *Player) open() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range p.objects {
		if o.complete && !o.answered {
			return true
		}
	}
	return false
}

// Eventually waits until a condition holds.
func Eventually(tb testing.TB, patience time.Duration, holds func() bool, otherwise string) {
	tb.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(10 * time.Millisecond) {
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
