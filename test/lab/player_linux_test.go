package lab_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"time"
)

// A player models what a player at a node sees: it fetches the segments of one
// video and one audio track in turn, and plays each a fixed time after the
// publisher made it. What has not come by then stalls it, and from then on it
// plays later by that much.
type player struct {
	// lag is how far behind the publisher it plays. A player near the live
	// edge fetches a segment while it grows and plays what it has of it;
	// another fetches complete segments as soon as they can be.
	lag  time.Duration
	near bool

	s      *source
	client *http.Client
	base   string
	cancel context.CancelFunc
	group  sync.WaitGroup

	mu      sync.Mutex // guards below
	stalled time.Duration
	seen    seen
}

// seen is what became of a player's segments.
type seen struct {
	segments  int           // complete and equal
	different int           // complete, and not what CAST took in
	missing   []string      // given up, or not here when they should have been played
	stalls    int           // times that something came too late
	longest   time.Duration // of the stalls
	total     time.Duration // of the stalls
	slack     time.Duration // the least time to spare
	repeated  int           // requests that failed
}

func (v seen) String() string {
	text := fmt.Sprintf("%2d segments, least time to spare %5.2f s", v.segments, v.slack.Seconds())
	if v.stalls > 0 {
		text = fmt.Sprintf("%2d segments, STALLED %.2f s in all, %.2f s at most", v.segments, v.total.Seconds(), v.longest.Seconds())
	}
	if v.repeated > 0 {
		text += fmt.Sprintf(", %d requests failed", v.repeated)
	}
	if v.different > 0 {
		text += fmt.Sprintf(", %d DIFFERENT", v.different)
	}
	if len(v.missing) > 0 {
		text += fmt.Sprintf(", MISSING %v", v.missing)
	}
	return text
}

// play starts a player that begins with the segment that is made next.
func (l *lab) play(node string, s *source, lag time.Duration, near bool) *player {
	ctx, cancel := context.WithCancel(l.t.Context())
	p := &player{lag: lag, near: near, s: s, client: l.client(node), base: playerURL(node), cancel: cancel}
	p.seen.slack = lag
	first := s.number() + 1
	for _, stream := range []int{0, 2} {
		p.group.Go(func() {
			for n := first; ctx.Err() == nil; n++ {
				p.segment(ctx, stream, n)
			}
		})
	}
	l.t.Cleanup(func() { p.end() })
	return p
}

// end stops the player and returns what it saw.
func (p *player) end() seen {
	p.cancel()
	p.group.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen
}

// patience is how long after its time a segment may come before the player
// goes on without it.
const patience = 15 * time.Second

func (p *player) segment(ctx context.Context, stream, number int) {
	var o *object
	if p.s.wait(ctx, func() bool {
		o = p.s.segment(stream, number)
		return o != nil && (p.near || !o.ended.IsZero())
	}) != nil {
		return
	}
	limited, cancel := context.WithDeadline(ctx, o.begun.Add(p.lag+patience))
	defer cancel()
	have := 0 // octets that have been played or wait to be
	for {
		body, err := p.fetch(limited, o, &have)
		p.mu.Lock()
		switch {
		case err == nil:
			if p.equal(ctx, o, body) {
				p.seen.segments++
			} else if ctx.Err() == nil {
				p.seen.different++
			}
			p.mu.Unlock()
			return
		case limited.Err() != nil:
			if time.Now().After(o.begun.Add(p.lag + p.stalled)) {
				p.seen.missing = append(p.seen.missing, o.name)
			}
			p.mu.Unlock()
			return
		}
		p.seen.repeated++
		p.mu.Unlock()
		select {
		case <-limited.Done():
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// fetch makes one request. have rises with the octets that come.
func (p *player) fetch(ctx context.Context, o *object, have *int) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.base+o.name, nil)
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
	var body bytes.Buffer
	buf := make([]byte, 16<<10)
	for {
		n, err := resp.Body.Read(buf)
		body.Write(buf[:n])
		if p.near && body.Len() > *have {
			p.came(o, *have)
			*have = body.Len()
		}
		if err != nil {
			if err.Error() != "EOF" {
				return nil, err
			}
			if !p.near {
				p.came(o, 0)
			}
			return body.Bytes(), nil
		}
	}
}

// came notes that octets from off on have come.
func (p *player) came(o *object, off int) {
	now := time.Now()
	made := o.begun
	if p.near {
		p.s.mu.Lock()
		for _, s := range o.stamps {
			if made = s.at; s.n > off {
				break
			}
		}
		p.s.mu.Unlock()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	slack := made.Add(p.lag + p.stalled).Sub(now)
	p.seen.slack = min(p.seen.slack, slack)
	if slack < 0 {
		p.stalled -= slack
		p.seen.stalls++
		p.seen.total -= slack
		p.seen.longest = max(p.seen.longest, -slack)
	}
}

// equal compares a body with what CAST took in. It is called with mu held.
func (p *player) equal(ctx context.Context, o *object, body []byte) bool {
	if p.s.wait(ctx, func() bool { return !o.ended.IsZero() }) != nil {
		return false
	}
	return bytes.Equal(body, o.body)
}

// A lister reads the playlist of a node as a player does, and notes how far it
// falls behind.
type lister struct {
	cancel context.CancelFunc
	group  sync.WaitGroup

	mu      sync.Mutex // guards below
	behind  int        // segments
	refused int        // requests without an answer
}

var segmentNumber = regexp.MustCompile(`chunk-stream0-(\d+)\.m4s`)

func (l *lab) list(node string, s *source) *lister {
	ctx, cancel := context.WithCancel(l.t.Context())
	x := &lister{cancel: cancel}
	client := l.client(node)
	x.group.Go(func() {
		for ctx.Err() == nil {
			newest := s.number() - 1 // the one before it is complete
			body, err := get(ctx, client, playerURL(node)+"media_0.m3u8")
			x.mu.Lock()
			if err != nil && ctx.Err() == nil {
				x.refused++
			} else if all := segmentNumber.FindAllSubmatch(body, -1); len(all) > 0 {
				n, _ := strconv.Atoi(string(all[len(all)-1][1]))
				x.behind = max(x.behind, newest-n)
			}
			x.mu.Unlock()
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	})
	l.t.Cleanup(func() { x.end() })
	return x
}

func (x *lister) end() string {
	x.cancel()
	x.group.Wait()
	x.mu.Lock()
	defer x.mu.Unlock()
	return fmt.Sprintf("playlist at most %d segments behind, %d requests without an answer", x.behind, x.refused)
}
