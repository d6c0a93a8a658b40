// Package chromiumtest drives a headless Chromium from tests, by the DevTools
// protocol over a pair of pipes.
package chromiumtest

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// Browser is a running Chromium with a profile of its own.
type Browser struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	exited chan struct{}

	mu      sync.Mutex // guards below
	next    int
	waiting map[int]chan reply
	closed  bool
	pages   map[string]*Page // by session
}

type reply struct {
	ID        int             `json:"id"`
	Method    string          `json:"method"`
	SessionID string          `json:"sessionId"`
	Result    json.RawMessage `json:"result"`
	Params    json.RawMessage `json:"params"`
	Error     *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// Start starts the program file. It ends with the test.
func Start(t testing.TB, file string, args ...string) *Browser {
	t.Helper()
	toChrome, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, fromChrome, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	b := &Browser{in: in, exited: make(chan struct{}), waiting: make(map[int]chan reply), pages: make(map[string]*Page)}
	b.cmd = exec.Command(file, append([]string{
		"--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-extensions",
		"--disable-sync", "--disable-quic",
		"--mute-audio", "--autoplay-policy=no-user-gesture-required", "--window-size=1320,1240",
		"--user-data-dir=" + t.TempDir(),
	}, args...)...)
	b.cmd.ExtraFiles = []*os.File{toChrome, fromChrome} // become 3 and 4
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	toChrome.Close()
	fromChrome.Close()
	read := make(chan struct{})
	go func() {
		defer close(read)
		b.read(out)
		out.Close()
	}()
	go func() {
		defer close(b.exited)
		_ = b.cmd.Wait() // it is killed if need be
	}()
	t.Cleanup(func() {
		_ = b.call(context.Background(), "", "Browser.close", nil, nil)
		select {
		case <-b.exited:
		case <-time.After(5 * time.Second):
			_ = b.cmd.Process.Kill()
			<-b.exited
		}
		in.Close()
		<-read
	})
	return b
}

func (b *Browser) read(out io.Reader) {
	r := bufio.NewReaderSize(out, 1<<20)
	for {
		line, err := r.ReadBytes(0)
		var m reply
		if err == nil && json.Unmarshal(line[:len(line)-1], &m) != nil {
			continue
		}
		b.mu.Lock()
		if err != nil {
			b.closed = true
			for id, ch := range b.waiting {
				delete(b.waiting, id)
				close(ch)
			}
			b.mu.Unlock()
			return
		}
		ch := b.waiting[m.ID]
		delete(b.waiting, m.ID)
		page := b.pages[m.SessionID]
		b.mu.Unlock()
		if ch != nil {
			ch <- m
		} else if page != nil {
			page.event(&m)
		}
	}
}

func (b *Browser) call(ctx context.Context, session, method string, params, result any) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	ch := make(chan reply, 1)
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return os.ErrClosed
	}
	b.next++
	id := b.next
	b.waiting[id] = ch
	b.mu.Unlock()
	msg, err := json.Marshal(struct {
		ID        int    `json:"id"`
		SessionID string `json:"sessionId,omitempty"`
		Method    string `json:"method"`
		Params    any    `json:"params,omitempty"`
	}{id, session, method, params})
	if err != nil {
		return err
	}
	if _, err := b.in.Write(append(msg, 0)); err != nil {
		return err
	}
	select {
	case m, ok := <-ch:
		switch {
		case !ok:
			return os.ErrClosed
		case m.Error != nil:
			return fmt.Errorf("%s: %s", method, m.Error.Message)
		case result != nil:
			return json.Unmarshal(m.Result, result)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", method, ctx.Err())
	}
}

// Page is one tab.
type Page struct {
	b       *Browser
	t       testing.TB
	session string

	mu     sync.Mutex // guards below
	errors []string
}

// Open opens url in a new tab. The scripts run before those of the page.
func (b *Browser) Open(t testing.TB, url string, scripts ...string) *Page {
	t.Helper()
	ctx := context.Background()
	var target struct {
		TargetID string `json:"targetId"`
	}
	var session struct {
		SessionID string `json:"sessionId"`
	}
	p := &Page{b: b, t: t}
	err := b.call(ctx, "", "Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	if err == nil {
		err = b.call(ctx, "", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &session)
	}
	p.session = session.SessionID
	b.mu.Lock()
	b.pages[p.session] = p
	b.mu.Unlock()
	for _, domain := range []string{"Runtime", "Log", "Page"} {
		if err == nil {
			err = p.call(domain+".enable", nil, nil)
		}
	}
	for _, script := range scripts {
		if err == nil {
			err = p.call("Page.addScriptToEvaluateOnNewDocument", map[string]any{"source": script}, nil)
		}
	}
	if err == nil {
		err = p.call("Page.navigate", map[string]any{"url": url}, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *Page) call(method string, params, result any) error {
	return p.b.call(context.Background(), p.session, method, params, result)
}

// event keeps what a developer would see in red.
func (p *Page) event(m *reply) {
	var text string
	switch m.Method {
	case "Runtime.exceptionThrown":
		var e struct {
			Details struct {
				Text      string `json:"text"`
				Exception struct {
					Description string `json:"description"`
				} `json:"exception"`
			} `json:"exceptionDetails"`
		}
		_ = json.Unmarshal(m.Params, &e)
		text = e.Details.Text + " " + e.Details.Exception.Description
	case "Log.entryAdded":
		var e struct {
			Entry struct{ Level, Text, URL string } `json:"entry"`
		}
		_ = json.Unmarshal(m.Params, &e)
		if e.Entry.Level != "error" {
			return
		}
		text = e.Entry.Text + " " + e.Entry.URL
	default:
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.errors = append(p.errors, text)
}

// Errors returns the exceptions and logged errors so far.
func (p *Page) Errors() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.errors...)
}

// Eval evaluates a JavaScript expression, awaits it if it is a promise, and
// stores its JSON value in result.
func (p *Page) Eval(expression string, result any) error {
	var r struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		Exception *struct {
			Text      string `json:"text"`
			Exception struct {
				Description string `json:"description"`
			} `json:"exception"`
		} `json:"exceptionDetails"`
	}
	err := p.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true, "userGesture": true}, &r)
	if err != nil {
		return err
	}
	if r.Exception != nil {
		return errors.New(r.Exception.Text + " " + r.Exception.Exception.Description)
	}
	if result == nil || len(r.Result.Value) == 0 {
		return nil
	}
	return json.Unmarshal(r.Result.Value, result)
}

// WaitFor polls a JavaScript expression until it is true, and fails the test if
// it is not after d.
func (p *Page) WaitFor(d time.Duration, expression string) {
	p.t.Helper()
	for end := time.Now().Add(d); ; time.Sleep(50 * time.Millisecond) {
		var ok bool
		err := p.Eval("!!("+expression+")", &ok)
		if err == nil && ok {
			return
		}
		if time.Now().After(end) {
			p.t.Fatalf("not within %v: %s (%v); page errors: %q", d, expression, err, p.Errors())
		}
	}
}

// Close closes the tab.
func (p *Page) Close() error { return p.call("Page.close", nil, nil) }

// Resize sets the size of the viewport.
func (p *Page) Resize(width, height int) error {
	return p.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}, nil)
}

// Screenshot returns the viewport as PNG.
func (p *Page) Screenshot() ([]byte, error) {
	var r struct {
		Data string `json:"data"`
	}
	if err := p.call("Page.captureScreenshot", map[string]any{"format": "png"}, &r); err != nil {
		return nil, err
	}
	return base64.StdEncoding.DecodeString(r.Data)
}
